// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// The nested ternary layer: the same channels for all rows, and so one strip.

#include "spread.hpp"
#include "strips.hpp"
#include "tile_codes.hpp"

#include <stdexcept>
#include <string>
#include <utility>

namespace vpr_ros::kernels {
namespace {

constexpr std::int64_t ROWS_PER_TASK = 16;  // when codes are made

// Memory of a run, kept by its thread for the next.
struct Scratch {
    Aligned<std::int8_t> codes;
    Aligned<std::int32_t> first;
    Aligned<float> factor;
    Aligned<std::int64_t> y_row;
    Aligned<std::int32_t> channels;
};
thread_local Scratch spare;
thread_local Aligned<float> row_scratch;  // of a task

void check_order(const std::vector<std::int64_t>& rank) {
    std::vector<bool> seen(rank.size(), false);
    for (const std::int64_t place : rank) {
        if (place < 0 || place >= static_cast<std::int64_t>(rank.size()) ||
            seen[static_cast<std::size_t>(place)]) {
            throw std::invalid_argument("Rank " + std::to_string(place) +
                                        " is out of range or there twice; give the places 0 to " +
                                        std::to_string(rank.size() - 1) + " once each.");
        }
        seen[static_cast<std::size_t>(place)] = true;
    }
}

// Writes the channels of the `kept` lowest ranks, padded to whole groups with channel 0, which
// meets a code of zero.
void list_kept(const std::vector<std::int64_t>& rank, std::int64_t kept, std::int32_t* channels) {
    for (std::size_t channel = 0; channel < rank.size(); ++channel) {
        if (rank[channel] < kept) {
            *channels++ = static_cast<std::int32_t>(channel);
        }
    }
    std::fill(channels, channels + round_up(kept, GROUP) - kept, 0);
}

}  // namespace

NestedTernaryLinear::NestedTernaryLinear(const std::uint8_t* packed, std::int64_t inputs,
                                         std::int64_t outputs, std::vector<std::int64_t> rank,
                                         bool slim, Isa isa)
    : weights_(std::make_unique<const TernaryWeights>(packed, inputs, outputs)),
      backend_(&backend_of(isa)),
      rank_(std::move(rank)),
      slim_(slim) {
    if (static_cast<std::int64_t>(rank_.size()) != inputs) {
        throw std::invalid_argument("There are " + std::to_string(rank_.size()) + " ranks for " +
                                    std::to_string(inputs) + " inputs; give one for each.");
    }
    check_order(rank_);
}

NestedTernaryLinear::~NestedTernaryLinear() = default;
NestedTernaryLinear::NestedTernaryLinear(NestedTernaryLinear&&) noexcept = default;

std::int64_t NestedTernaryLinear::inputs() const { return weights_->inputs; }
std::int64_t NestedTernaryLinear::outputs() const { return weights_->outputs; }

void NestedTernaryLinear::run(const float* x, std::int64_t rows, const Delta& delta,
                              float sparsity, const Epilogue& epilogue, float* y,
                              const Workers& workers) const {
    if (rows < 1) {
        return;
    }
    const std::int64_t inputs = weights_->inputs;
    const std::int64_t outputs = weights_->outputs;
    const bool sparse = sparsity > 0.0F;
    const std::int64_t kept = sparse ? kept_channels(sparsity, inputs) : inputs;
    const std::int64_t wanted = sparse && slim_ ? kept_channels(sparsity, outputs) : outputs;
    const std::int64_t groups = round_up(kept, GROUP) / GROUP;
    const std::int64_t stride = round_up(kept, STEP) + STEP;

    Scratch scratch = std::exchange(spare, {});  // a nested run on this thread gets its own
    std::int32_t* channels = room(scratch.channels, groups * GROUP);
    list_kept(rank_, kept, channels);
    const bool prefix = channels[kept - 1] == kept - 1;  // they ascend: then none is left out
    std::int8_t* codes = room(scratch.codes, rows * stride);
    std::int32_t* first = room(scratch.first, rows);
    float* factor = room(scratch.factor, rows);
    std::int64_t* y_row = room(scratch.y_row, rows);
    const std::int64_t tasks = round_up(rows, ROWS_PER_TASK) / ROWS_PER_TASK;
    spread(workers, tasks, [&](std::int64_t task) {
        float* gathered = room(row_scratch, kept);
        const std::int64_t end = std::min(rows, (task + 1) * ROWS_PER_TASK);
        for (std::int64_t row = task * ROWS_PER_TASK; row < end; ++row) {
            const float* source = x + row * inputs;
            if (!prefix) {
                for (std::int64_t i = 0; i < kept; ++i) {
                    gathered[i] = source[channels[i]];
                }
                source = gathered;
            }
            const TokenCodes made = backend_->quantise(source, kept, codes + row * stride);
            first[row] = -TERNARY_OFFSET * made.sum;
            factor[row] = delta.of_all * made.scale;
            y_row[row] = row;
        }
    });

    const CodeRows code_rows{codes, stride, first, factor, y_row};
    const std::vector<Strip> strips{{0, rows, prefix ? nullptr : channels, groups}};
    multiply_strips(*backend_, *weights_, code_rows, strips, rows, wanted, delta.of_output,
                    epilogue, y, workers);
    for (std::int64_t row = 0; row < rows && wanted < outputs; ++row) {
        std::fill(y + row * outputs + wanted, y + (row + 1) * outputs, 0.0F);
    }
    spare = std::move(scratch);
}

}  // namespace vpr_ros::kernels
