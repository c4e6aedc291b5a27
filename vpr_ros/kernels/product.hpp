// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// Rows of codes times one panel of weights, to y.

#pragma once

#include "backend.hpp"

#include <algorithm>

namespace vpr_ros::kernels {

// Rows of codes; the arrays have one element per row.
struct CodeRows {
    const std::int8_t* codes;
    std::int64_t stride;        // bytes from one row to the next
    const std::int32_t* first;  // what sums start at: minus the offset's share
    const float* factor;        // of the sums
};

// Multiplies rows [begin, end) by one panel, block by block, and writes them to y, which starts at
// row 0. multiply(codes, stride, rows, first, outputs, sums) knows the panel, `finish` everything
// about its outputs.
template <class Multiply>
void multiply_rows(const Backend& backend, const Multiply& multiply, const CodeRows& rows,
                   std::int64_t begin, std::int64_t end, const Finish& finish) {
    alignas(64) std::int32_t sums[MOST_ROWS * PANEL];
    std::int64_t left = blocks(end - begin, backend.row_block);
    for (std::int64_t row = begin; row < end; --left) {
        // Blocks of nearly equal size: 16 rows are 6 + 5 + 5, not 6 + 6 + 4.
        Finish block = finish;
        block.sums = sums;
        block.rows = static_cast<int>(blocks(end - row, left));
        block.row_factor = rows.factor + row;
        block.y += row * block.y_stride;
        block.residual += block.residual == nullptr ? 0 : row * block.y_stride;
        multiply(rows.codes + row * rows.stride, rows.stride, block.rows, rows.first + row,
                 block.outputs, sums);
        backend.finish(block);
        row += block.rows;
    }
}

// What an epilogue says about the outputs from `first_output` on; y has `outputs` columns.
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
