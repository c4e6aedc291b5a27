// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// The ternary layer: codes and selection tile by tile, then products panel by panel.

#include "product.hpp"
#include "spread.hpp"
#include "tile_codes.hpp"
#include "weights.hpp"

#include <map>
#include <stdexcept>
#include <string>
#include <utility>

namespace vpr_ros::kernels {
namespace {

constexpr std::int64_t ROWS_PER_TASK = 16;  // when codes are made
constexpr std::int64_t TASKS_PER_THREAD = 4;

// Rows that are multiplied by the same channels.
struct Strip {
    std::int64_t begin;
    std::int64_t end;
    const std::int32_t* channels;  // or none: all
    std::int64_t groups;
};

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
thread_local Aligned<std::uint8_t> panel_scratch;  // of a task

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

// Rows [begin, end) times a panel, which is made while it meets the first of them.
void multiply_strip(const Backend& backend, const std::uint8_t* packed,
                    const std::int32_t* channels, const CodeRows& rows, std::int64_t begin,
                    std::int64_t end, std::int64_t groups, std::uint8_t* panel,
                    const Finish& finish) {
    bool made = false;
    const auto multiply = [&](const std::int8_t* codes, std::int64_t stride, int count,
                              const std::int32_t* first, int outputs, std::int32_t* sums) {
        if (made) {
            backend.multiply_ternary(codes, stride, count, first, panel, groups, outputs, sums);
        } else {
            backend.expand_and_multiply(packed, channels, codes, stride, count, first, panel,
                                        groups, outputs, sums);
            made = true;
        }
    };
    multiply_rows(backend, multiply, rows, begin, end, finish);
}

// Every panel times every strip. With few panels a thread, rows are divided as well.
void multiply_strips(const Backend& backend, const TernaryWeights& weights, const CodeRows& rows,
                     std::vector<Strip>& strips, std::int64_t row_count,
                     const float* output_factor, const Epilogue& epilogue, float* y,
                     const Workers& workers) {
    const std::int64_t panels = weights.panels();
    const std::int64_t tasks = workers.threads > 1 ? TASKS_PER_THREAD * workers.threads : 1;
    const std::int64_t chunks = std::min(row_count, (tasks + panels - 1) / panels);
    const std::int64_t chunk_rows = (row_count + chunks - 1) / chunks;
    spread(workers, panels * chunks, [&](std::int64_t task) {
        const std::int64_t number = task / chunks;
        const std::int64_t chunk_begin = task % chunks * chunk_rows;
        const std::int64_t chunk_end = chunk_begin + chunk_rows;
        Finish finish = finish_of(epilogue, y, weights.outputs, number * PANEL);
        finish.output_factor =
            output_factor == nullptr ? nullptr : output_factor + number * PANEL;
        std::uint8_t* panel = room(panel_scratch, weights.groups * GROUP_BYTES);
        for (const Strip& strip : strips) {
            const std::int64_t begin = std::max(strip.begin, chunk_begin);
            const std::int64_t end = std::min(strip.end, chunk_end);
            if (begin < end) {
                multiply_strip(backend, weights.panel(number), strip.channels, rows, begin, end,
                               strip.groups, panel, finish);
            }
        }
    });
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
    multiply_strips(*backend_, *weights_, rows, scratch.strips, row_count, delta.of_output,
                    epilogue, y, workers);
    spare = std::move(scratch);
}

}  // namespace vpr_ros::kernels
