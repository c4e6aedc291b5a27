// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// Weights, stored in the order in which they are multiplied.

#pragma once

#include "buffer.hpp"
#include "backend.hpp"

#include <vector>

namespace vpr_ros::kernels {

// Sizes of a weight matrix, padded to whole groups of inputs and whole panels of outputs.
struct WeightSizes {
    // Throws std::invalid_argument if the sums of a row could overflow 32 bits, or sizes 64.
    WeightSizes(std::int64_t inputs, std::int64_t outputs);

    std::int64_t inputs;
    std::int64_t outputs;
    std::int64_t groups;
    std::int64_t panels;
};

// 2 bits per weight. Panel by panel and channel by channel PACKED_BYTES bytes: the code w + 1 of
// output n of the panel is at bits 2 (n / 16) of byte n mod 16, so one shift and one mask of a
// whole vector yield 16 neighbouring outputs. Padding has w = 0.
struct TernaryWeights : WeightSizes {
    TernaryWeights(const std::uint8_t* packed, std::int64_t inputs, std::int64_t outputs);

    Buffer<std::uint8_t> bytes;

    const std::uint8_t* panel(std::int64_t number) const {
        return bytes.data() + number * groups * GROUP * PACKED_BYTES;
    }
};

// 8 bits per weight: whole panels for `Backend::multiply_bytes`, `offset` included.
struct ByteWeights : WeightSizes {
    ByteWeights(const std::int8_t* weight, const float* scale, std::int64_t inputs,
                std::int64_t outputs, int offset);

    Buffer<std::uint8_t> bytes;
    std::vector<float> scale;
    bool narrow;                      // all are in [-NARROW, NARROW]
    std::vector<std::int32_t> shift;  // (outputs), takes CODE_OFFSET out of sums

    const std::uint8_t* panel(std::int64_t number) const {
        return bytes.data() + number * groups * GROUP_BYTES;
    }
};

}  // namespace vpr_ros::kernels
