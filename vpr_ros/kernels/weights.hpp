// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// Weights in the order in which they are multiplied.

#pragma once

#include "aligned.hpp"
#include "backend.hpp"

#include <vector>

namespace vpr_ros::kernels {

// 2 bits a weight. Panel by panel, channel by channel PACKED_BYTES bytes: the code w + 1 of output
// n of the panel lies at bits 2 (n / 16) of byte n mod 16, so that a shift and a mask of a whole
// vector give 16 neighbouring outputs. Channels are padded to whole groups, outputs to whole
// panels, with w = 0.
struct TernaryWeights {
    TernaryWeights(const std::uint8_t* packed, std::int64_t inputs, std::int64_t outputs);

    std::int64_t inputs;
    std::int64_t outputs;
    std::int64_t groups;
    Aligned<std::uint8_t> bytes;

    std::int64_t panels() const { return round_up(outputs, PANEL) / PANEL; }
    const std::uint8_t* panel(std::int64_t number) const {
        return bytes.data() + number * groups * GROUP * PACKED_BYTES;
    }
};

// 8 bits a weight, whole panels as `Backend::multiply_bytes` takes them, offset included.
struct ByteWeights {
    ByteWeights(const std::int8_t* weight, const float* scale, std::int64_t inputs,
                std::int64_t outputs, int offset);

    std::int64_t inputs;
    std::int64_t outputs;
    std::int64_t groups;
    Aligned<std::uint8_t> bytes;
    std::vector<float> scale;

    std::int64_t panels() const { return round_up(outputs, PANEL) / PANEL; }
    const std::uint8_t* panel(std::int64_t number) const {
        return bytes.data() + number * groups * GROUP_BYTES;
    }
};

}  // namespace vpr_ros::kernels
