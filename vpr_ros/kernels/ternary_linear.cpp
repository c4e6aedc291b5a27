// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// The ternary layer: codes and selection tile by tile, then products panel by panel.

#include "spread.hpp"
#include "strips.hpp"
#include "tile_codes.hpp"

#include <map>
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
    std::vector<TileRun> tiles;
    std::vector<Strip> strips;
};
thread_local Scratch spare;

std::vector<std::vector<std::int64_t>> group_by_tile(const std::vector<std::int64_t>& tile_of) {
    std::map<std::int64_t, std::vector<std::int64_t>> tokens_of;
    for (std::size_t token = 0; token < tile_of.size(); ++token) {
        if (tile_of[token] < 0) {
            throw std::invalid_argument("Token " + std::to_string(token) + " is in tile " +
                                        std::to_string(tile_of[token]) +
                                        "; tiles are counted from 0.");
        }
        tokens_of[tile_of[token]].push_back(static_cast<std::int64_t>(token));
    }
    std::vector<std::vector<std::int64_t>> tiles;
    for (auto& entry : tokens_of) {
        tiles.push_back(std::move(entry.second));
    }
    return tiles;
}

// Makes the codes of all tokens; one strip takes them all.
void make_dense(const Codes& codes, std::int64_t row_count, std::int64_t groups,
                const Workers& workers, std::vector<Strip>& strips) {
    const std::int64_t tasks = round_up(row_count, ROWS_PER_TASK) / ROWS_PER_TASK;
    spread(workers, tasks, [&](std::int64_t task) {
        const std::int64_t end = std::min(row_count, (task + 1) * ROWS_PER_TASK);
        for (std::int64_t row = task * ROWS_PER_TASK; row < end; ++row) {
            codes.make(row, row);
        }
    });
    strips.push_back({0, row_count, nullptr, groups});
}

// Which tiles are multiplied by a panel of their own channels, and which, too small for that, all
// together by a panel of all channels with zeros for what they leave out. Times are in units of
// one row times one channel.
std::vector<bool> tiles_to_mask(const Backend& backend,
                                const std::vector<std::vector<std::int64_t>>& tiles,
                                std::int64_t batch, std::int64_t kept, std::int64_t inputs) {
    std::vector<bool> masked(tiles.size(), false);
    std::int64_t saved = -inputs * backend.build_cost;
    for (std::size_t i = 0; i < tiles.size(); ++i) {
        const auto rows = static_cast<std::int64_t>(tiles[i].size());
        const std::int64_t gain = kept * (backend.build_cost + rows) - inputs * rows;
        masked[i] = gain > 0;
        saved += masked[i] ? batch * gain : 0;
    }
    return saved > 0 ? masked : std::vector<bool>(tiles.size(), false);
}

// Orders the tiles of all images: first those with panels of their own, a strip each, then the
// masked ones, together a strip. `channels` has room for `kept_groups` groups a tile.
void plan_tiles(const std::vector<std::vector<std::int64_t>>& tiles,
                const std::vector<bool>& masked, std::int64_t batch,
                const std::int32_t* channels, std::int64_t kept_groups, std::int64_t all_groups,
                std::vector<TileRun>& runs, std::vector<Strip>& strips) {
    std::int64_t row = 0;
    for (const bool is_masked : {false, true}) {
        const std::int64_t first_row = row;
        for (std::int64_t image = 0; image < batch; ++image) {
            for (std::size_t i = 0; i < tiles.size(); ++i) {
                if (masked[i] != is_masked) {
                    continue;
                }
                const std::int64_t end = row + static_cast<std::int64_t>(tiles[i].size());
                if (!is_masked) {
                    const auto number = static_cast<std::int64_t>(runs.size());
                    const std::int32_t* own = channels + number * kept_groups * GROUP;
                    strips.push_back({row, end, own, kept_groups});
                }
                runs.push_back({image, &tiles[i], row, is_masked});
                row = end;
            }
        }
        if (is_masked && row > first_row) {
            strips.push_back({first_row, row, nullptr, all_groups});
        }
    }
}

}  // namespace

TernaryLinear::TernaryLinear(const std::uint8_t* packed, std::int64_t inputs, std::int64_t outputs,
                             const std::vector<std::int64_t>& tile_of_token, Isa isa)
    : weights_(std::make_unique<const TernaryWeights>(packed, inputs, outputs)),
      backend_(&backend_of(isa)),
      tiles_(group_by_tile(tile_of_token)),
      tokens_(static_cast<std::int64_t>(tile_of_token.size())) {}

TernaryLinear::~TernaryLinear() = default;
TernaryLinear::TernaryLinear(TernaryLinear&&) noexcept = default;

std::int64_t TernaryLinear::inputs() const { return weights_->inputs; }
std::int64_t TernaryLinear::outputs() const { return weights_->outputs; }
std::size_t TernaryLinear::weight_bytes() const { return weights_->bytes.size(); }

void TernaryLinear::run(const float* x, std::int64_t batch, std::int64_t tokens,
                        const Delta& delta, float sparsity, const Epilogue& epilogue, float* y,
                        const Workers& workers) const {
    const std::int64_t inputs = weights_->inputs;
    const std::int64_t kept = sparsity > 0.0F ? kept_channels(sparsity, inputs) : inputs;
    const std::int64_t row_count = batch * tokens;
    if (kept < inputs && tokens != tokens_) {
        throw std::invalid_argument("The layer's tiles are of " + std::to_string(tokens_) +
                                    " tokens, the input has " + std::to_string(tokens) +
                                    "; export the network for this image size.");
    }
    if (row_count < 1) {
        return;
    }

    Scratch scratch = std::exchange(spare, {});  // a nested run on this thread gets its own
    const std::int64_t stride = round_up(inputs, STEP) + STEP;
    const Codes codes{*backend_,
                      x,
                      inputs,
                      tokens,
                      delta.of_all,
                      room(scratch.codes, row_count * stride),
                      stride,
                      room(scratch.first, row_count),
                      room(scratch.factor, row_count),
                      room(scratch.y_row, row_count)};
    scratch.strips.clear();
    scratch.tiles.clear();
    if (kept == inputs) {
        make_dense(codes, row_count, weights_->groups, workers, scratch.strips);
    } else {
        const std::int64_t kept_groups = round_up(kept, GROUP) / GROUP;
        const std::int64_t tiles = batch * static_cast<std::int64_t>(tiles_.size());
        std::int32_t* channels = room(scratch.channels, tiles * kept_groups * GROUP);
        plan_tiles(tiles_, tiles_to_mask(*backend_, tiles_, batch, kept, inputs), batch, channels,
                   kept_groups, weights_->groups, scratch.tiles, scratch.strips);
        spread(workers, tiles, [&](std::int64_t tile) {
            make_tile(codes, scratch.tiles[static_cast<std::size_t>(tile)], kept,
                      channels + tile * kept_groups * GROUP);
        });
    }

    const CodeRows rows{codes.codes, stride, codes.first, codes.factor, codes.y_row};
    multiply_strips(*backend_, *weights_, rows, scratch.strips, row_count, weights_->outputs,
                    delta.of_output, epilogue, y, workers);
    spare = std::move(scratch);
}

}  // namespace vpr_ros::kernels
