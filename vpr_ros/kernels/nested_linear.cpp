// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// The nested ternary layer: codes of the kept channels, then products panel by panel.

#include "product.hpp"
#include "weights.hpp"

#include <cmath>
#include <stdexcept>
#include <string>
#include <utility>

namespace vpr_ros::kernels {
namespace {

constexpr std::int64_t ROWS_PER_TASK = 16;  // when codes are made
constexpr std::int64_t TASKS_PER_THREAD = 4;
constexpr float ROUNDING_GUARD = 1e-3F;  // as in networks/sparse_ternary_linear.py

// Buffers of a run, which its thread keeps for the next one.
struct Scratch {
    Buffer<std::int8_t> codes;
    Buffer<std::int32_t> first;
    Buffer<float> factor;
    Buffer<std::int32_t> channels;
};
thread_local Scratch spare;
thread_local Buffer<float> row_scratch;           // of a task
thread_local Buffer<std::uint8_t> panel_scratch;  // of a task

// ceil((1 - s) K), at least 1, in float32.
std::int64_t kept_channels(float sparsity, std::int64_t channels) {
    const float share = 1.0F - sparsity;
    const volatile float product = share * static_cast<float>(channels);  // no fused subtraction
    const float whole = std::ceil(product - ROUNDING_GUARD);
    return std::min(static_cast<std::int64_t>(std::max(1.0F, whole)), channels);
}

void check_order(const std::vector<std::int64_t>& rank) {
    std::vector<bool> seen(rank.size(), false);
    for (const std::int64_t place : rank) {
        if (place < 0 || place >= static_cast<std::int64_t>(rank.size()) ||
            seen[static_cast<std::size_t>(place)]) {
            throw std::invalid_argument("Rank " + std::to_string(place) +
                                        " is out of range or appears twice; give each of 0 to " +
                                        std::to_string(rank.size() - 1) + " once.");
        }
        seen[static_cast<std::size_t>(place)] = true;
    }
}

// Writes the channels of the `kept` lowest ranks in ascending order, padded to whole groups with
// channel 0, which is multiplied by a code of zero.
void list_kept(const std::vector<std::int64_t>& rank, std::int64_t kept, std::int32_t* channels) {
    for (std::size_t channel = 0; channel < rank.size(); ++channel) {
        if (rank[channel] < kept) {
            *channels++ = static_cast<std::int32_t>(channel);
        }
    }
    std::fill(channels, channels + round_up(kept, GROUP) - kept, 0);
}

// Rows [begin, end) times one panel, which is expanded while it is multiplied by the first rows.
void multiply_panel(const Backend& backend, const std::uint8_t* packed,
                    const std::int32_t* channels, std::int64_t groups, const CodeRows& rows,
                    std::int64_t begin, std::int64_t end, const Finish& finish) {
    std::uint8_t* panel = panel_scratch.room(groups, GROUP_BYTES);
    bool expanded = false;
    const auto multiply = [&](const std::int8_t* codes, std::int64_t stride, int count,
                              const std::int32_t* first, int outputs, std::int32_t* sums) {
        if (expanded) {
            backend.multiply_ternary(codes, stride, count, first, panel, groups, outputs, sums);
        } else {
            backend.expand_and_multiply(packed, channels, codes, stride, count, first, panel,
                                        groups, outputs, sums);
            expanded = true;
        }
    };
    multiply_rows(backend, multiply, rows, begin, end, finish);
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
    const std::int64_t groups = blocks(kept, GROUP);
    const std::int64_t stride = round_up(kept, STEP) + STEP;

    Scratch scratch = std::exchange(spare, {});  // a nested run on this thread gets its own
    std::int32_t* channels = scratch.channels.room(groups, GROUP);
    list_kept(rank_, kept, channels);
    const bool prefix = channels[kept - 1] == kept - 1;  // ascending, so there is no gap
    std::int8_t* codes = scratch.codes.room(rows, stride);
    std::int32_t* first = scratch.first.room(rows);
    float* factor = scratch.factor.room(rows);
    workers.run(blocks(rows, ROWS_PER_TASK), [&](std::int64_t task) {
        float* gathered = row_scratch.room(kept);
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
        }
    });

    // Where there are few panels per thread, rows are divided as well.
    const CodeRows code_rows{codes, stride, first, factor};
    const std::int64_t panels = blocks(wanted, PANEL);
    const std::int64_t tasks = workers.threads > 1 ? TASKS_PER_THREAD * workers.threads : 1;
    const std::int64_t chunks = std::min(rows, blocks(tasks, panels));
    const std::int64_t chunk_rows = blocks(rows, chunks);
    workers.run(panels * chunks, [&](std::int64_t task) {
        const std::int64_t panel = task / chunks;
        const std::int64_t begin = task % chunks * chunk_rows;
        const std::int64_t end = std::min(rows, begin + chunk_rows);
        Finish finish = finish_of(epilogue, y, outputs, panel * PANEL);
        finish.outputs = static_cast<int>(std::min<std::int64_t>(PANEL, wanted - panel * PANEL));
        finish.output_factor =
            delta.of_output == nullptr ? nullptr : delta.of_output + panel * PANEL;
        multiply_panel(*backend_, weights_->panel(panel), prefix ? nullptr : channels, groups,
                       code_rows, begin, end, finish);
    });
    for (std::int64_t row = 0; row < rows && wanted < outputs; ++row) {
        std::fill(y + row * outputs + wanted, y + (row + 1) * outputs, 0.0F);
    }
    spare = std::move(scratch);
}

}  // namespace vpr_ros::kernels
