// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// The dense int8 layer.

#include "product.hpp"
#include "weights.hpp"

namespace vpr_ros::kernels {
namespace {

constexpr std::int64_t ROWS_PER_TASK = 48;

// Buffers of a task: codes of ROWS_PER_TASK rows and what belongs to them.
struct Scratch {
    Buffer<std::int8_t> codes;
    std::int32_t first[ROWS_PER_TASK];
    float factor[ROWS_PER_TASK];
};
thread_local Scratch scratch;

// codes + CODE_OFFSET, as unsigned bytes; `count` is a multiple of STEP.
void add_offset(std::int8_t* codes, std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i) {
        codes[i] = static_cast<std::int8_t>(codes[i] ^ CODE_OFFSET);
    }
}

}  // namespace

Int8Linear::Int8Linear(const std::int8_t* weight, const float* scale, std::int64_t inputs,
                       std::int64_t outputs, Isa isa)
    : weights_(std::make_unique<const ByteWeights>(weight, scale, inputs, outputs,
                                                   backend_of(isa).byte_offset)),
      backend_(&backend_of(isa)) {}

Int8Linear::~Int8Linear() = default;
Int8Linear::Int8Linear(Int8Linear&&) noexcept = default;

std::int64_t Int8Linear::inputs() const { return weights_->inputs; }
std::int64_t Int8Linear::outputs() const { return weights_->outputs; }

void Int8Linear::run(const float* x, std::int64_t rows, const Epilogue& epilogue, float* y,
                     const Workers& workers) const {
    const ByteWeights& weights = *weights_;
    const std::int64_t stride = round_up(weights.inputs, STEP) + STEP;
    const bool unsigned_codes = backend_->multiply_unsigned != nullptr && weights.narrow;
    const auto multiply_panel =
        unsigned_codes ? backend_->multiply_unsigned : backend_->multiply_bytes;
    workers.run(blocks(rows, ROWS_PER_TASK), [&](std::int64_t task) {
        const std::int64_t begin = task * ROWS_PER_TASK;
        const std::int64_t count = std::min(ROWS_PER_TASK, rows - begin);
        std::int8_t* codes = scratch.codes.room(ROWS_PER_TASK, stride);
        for (std::int64_t row = 0; row < count; ++row) {
            const TokenCodes made = backend_->quantise(x + (begin + row) * weights.inputs,
                                                       weights.inputs, codes + row * stride);
            scratch.first[row] = -backend_->byte_offset * made.sum;
            scratch.factor[row] = made.scale;
            if (unsigned_codes) {
                add_offset(codes + row * stride, stride - STEP);
            }
        }
        Epilogue own = epilogue;
        own.residual += own.residual == nullptr ? 0 : begin * weights.outputs;
        const CodeRows code_rows{codes, stride, scratch.first, scratch.factor};
        for (std::int64_t panel = 0; panel < weights.panels; ++panel) {
            Finish finish =
                finish_of(own, y + begin * weights.outputs, weights.outputs, panel * PANEL);
            finish.output_factor = weights.scale.data() + panel * PANEL;
            finish.output_shift = unsigned_codes ? weights.shift.data() + panel * PANEL : nullptr;
            const auto multiply = [&](const std::int8_t* block_codes, std::int64_t row_bytes,
                                      int block, const std::int32_t* first, int outputs,
                                      std::int32_t* sums) {
                multiply_panel(block_codes, row_bytes, block, first, weights.panel(panel),
                               weights.groups, outputs, sums);
            };
            multiply_rows(*backend_, multiply, code_rows, 0, count, finish);
        }
    });
}

}  // namespace vpr_ros::kernels
