// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// Codes of a tile's tokens, reduced to the channels that the tile keeps.

#include "tile_codes.hpp"

#include "aligned.hpp"

#include <algorithm>
#include <cmath>

namespace vpr_ros::kernels {
namespace {

constexpr float ROUNDING_GUARD = 1e-3F;  // as in networks/structured_topk.py, like the next two
constexpr float VOTE_STEPS = 256.0F;
constexpr float SMALLEST_SUM = 1e-12F;

// Memory of a task.
struct TileScratch {
    Aligned<float> votes;
    Aligned<std::uint64_t> keep;
};
thread_local TileScratch tile_scratch;

void select(const Codes& rows, const TileRun& tile, std::int64_t kept, std::uint64_t* keep) {
    const Backend& backend = rows.backend;
    const auto count = static_cast<std::int64_t>(tile.tokens->size());
    const std::int64_t padded = round_up(rows.inputs, STEP);
    float* votes = room(tile_scratch.votes, padded);
    std::fill(votes, votes + padded, 0.0F);
    for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t row = tile.first_row + i;
        const TokenCodes made =
            rows.make(row, tile.image * rows.tokens + (*tile.tokens)[static_cast<std::size_t>(i)]);
        if (count > 1) {
            const float total = std::max(static_cast<float>(made.magnitude), SMALLEST_SUM);
            const float gain = VOTE_STEPS * static_cast<float>(rows.inputs) / total;
            backend.add_votes(rows.of(row), rows.inputs, gain, votes);
        }
    }
    if (count > 1) {
        backend.keep_largest_votes(votes, rows.inputs, kept, keep);
    } else {  // a token's votes are in the order of its magnitudes
        backend.keep_largest_codes(rows.of(tile.first_row), rows.inputs, kept, keep);
    }
}

// Writes the numbers of the set bits, padded to whole groups with channel 0.
void list_channels(const std::uint64_t* keep, std::int64_t steps, std::int32_t* channels) {
    std::int64_t count = 0;
    for (std::int64_t step = 0; step < steps; ++step) {
        for (std::uint64_t bits = keep[step]; bits != 0; bits &= bits - 1) {
            channels[count++] = static_cast<std::int32_t>(step * STEP + __builtin_ctzll(bits));
        }
    }
    for (; count % GROUP != 0; ++count) {
        channels[count] = 0;  // meets a code of zero
    }
}

}  // namespace

std::int64_t kept_channels(float sparsity, std::int64_t inputs) {
    const float share = 1.0F - sparsity;
    const volatile float product = share * static_cast<float>(inputs);  // rounded, not contracted
    const float whole = std::ceil(product - ROUNDING_GUARD);
    const auto kept = static_cast<std::int64_t>(std::max(1.0F, whole));
    return std::min(kept, inputs);
}

void make_tile(const Codes& rows, const TileRun& tile, std::int64_t kept, std::int32_t* channels) {
    const Backend& backend = rows.backend;
    const std::int64_t steps = round_up(rows.inputs, STEP) / STEP;
    std::uint64_t* keep = room(tile_scratch.keep, steps);
    select(rows, tile, kept, keep);
    for (std::size_t i = 0; i < tile.tokens->size(); ++i) {
        const std::int64_t row = tile.first_row + static_cast<std::int64_t>(i);
        std::int8_t* codes = rows.of(row);
        const std::int32_t sum = tile.masked ? backend.clear(codes, keep, steps)
                                             : backend.compress(codes, keep, steps, codes);
        rows.first[row] = -TERNARY_OFFSET * sum;
    }
    if (!tile.masked) {
        list_channels(keep, steps, channels);
    }
}

}  // namespace vpr_ros::kernels
