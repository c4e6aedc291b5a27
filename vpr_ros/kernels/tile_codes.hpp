// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// Codes of a tile's tokens, reduced to the channels that the tile keeps.

#pragma once

#include "backend.hpp"

#include <vector>

namespace vpr_ros::kernels {

// ceil((1 - s) K), at least 1, in float32.
std::int64_t kept_channels(float sparsity, std::int64_t inputs);

// One selection of one image.
struct TileRun {
    std::int64_t image;
    const std::vector<std::int64_t>* tokens;
    std::int64_t first_row;
    bool masked;  // codes stay in place, zero where not kept; else only the kept ones stay
};

// Rows of codes while they are made.
struct Codes {
    const Backend& backend;
    const float* x;
    std::int64_t inputs;
    std::int64_t tokens;
    float delta;
    std::int8_t* codes;
    std::int64_t stride;
    std::int32_t* first;
    float* factor;
    std::int64_t* y_row;

    TokenCodes make(std::int64_t row, std::int64_t token) const {
        const TokenCodes made = backend.quantise(x + token * inputs, inputs, of(row));
        factor[row] = delta * made.scale;
        first[row] = -TERNARY_OFFSET * made.sum;
        y_row[row] = token;
        return made;
    }
    std::int8_t* of(std::int64_t row) const { return codes + row * stride; }
};

// Makes the codes of a tile's tokens. Unless it is masked, lists its channels as well, padded to
// whole groups.
void make_tile(const Codes& rows, const TileRun& tile, std::int64_t kept, std::int32_t* channels);

}  // namespace vpr_ros::kernels
