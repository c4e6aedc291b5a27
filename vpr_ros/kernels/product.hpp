// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// Rows of codes times a panel of weights, to y.

#pragma once

#include "backend.hpp"

#include <algorithm>

namespace vpr_ros::kernels {

// Rows of codes and where their products go; all arrays have an element a row.
struct CodeRows {
    const std::int8_t* codes;
    std::int64_t stride;         // bytes from row to row
    const std::int32_t* first;   // what sums start at: minus the offset's share
    const float* factor;         // of the sums
    const std::int64_t* y_row;
};

// Rows [begin, end) times one panel, a block of rows after the other. multiply(codes, stride,
// rows, first, outputs, sums) knows the panel, `finish` what concerns its outputs.
template <class Multiply>
void multiply_rows(const Backend& backend, const Multiply& multiply, const CodeRows& rows,
                   std::int64_t begin, std::int64_t end, Finish finish) {
    alignas(64) std::int32_t sums[MOST_ROWS * PANEL];
    finish.sums = sums;
    std::int64_t blocks = round_up(end - begin, backend.row_block) / backend.row_block;
    for (std::int64_t row = begin; row < end; --blocks) {
        // Blocks of nearly equal size: 16 rows are 6 + 5 + 5, not 6 + 6 + 4.
        finish.rows = static_cast<int>((end - row + blocks - 1) / blocks);
        finish.row_factor = rows.factor + row;
        finish.y_row = rows.y_row + row;
        multiply(rows.codes + row * rows.stride, rows.stride, finish.rows, rows.first + row,
                 finish.outputs, sums);
        backend.finish(finish);
        row += finish.rows;
    }
}

// What an epilogue says of the outputs from `first_output` on.
inline Finish finish_of(const Epilogue& epilogue, float* y, std::int64_t outputs,
                        std::int64_t first_output) {
    Finish finish{};
    finish.outputs = static_cast<int>(std::min<std::int64_t>(PANEL, outputs - first_output));
    finish.bias = epilogue.bias == nullptr ? nullptr : epilogue.bias + first_output;
    finish.activation = epilogue.activation;
    finish.residual = epilogue.residual == nullptr ? nullptr : epilogue.residual + first_output;
    finish.y = y + first_output;
    finish.y_stride = outputs;
    return finish;
}

}  // namespace vpr_ros::kernels
