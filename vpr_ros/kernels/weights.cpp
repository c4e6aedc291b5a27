// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// Brings weights into the order in which they are multiplied.

#include "weights.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace vpr_ros::kernels {

WeightSizes::WeightSizes(std::int64_t inputs_, std::int64_t outputs_)
    : inputs(inputs_), outputs(outputs_) {
    constexpr std::int64_t MOST_INPUTS = 65536;  // sums of 255 * 127 stay below 2^31
    constexpr std::int64_t MOST_OUTPUTS = std::int64_t{1} << 31;  // all sizes stay below 2^63
    if (inputs < 1 || outputs < 1 || inputs > MOST_INPUTS || outputs > MOST_OUTPUTS) {
        throw std::invalid_argument(
            "A linear layer has " + std::to_string(inputs) + " inputs and " +
            std::to_string(outputs) + " outputs; both must be at least 1, inputs at most " +
            std::to_string(MOST_INPUTS) + " and outputs " + std::to_string(MOST_OUTPUTS) + ".");
    }
    groups = blocks(inputs, GROUP);
    panels = blocks(outputs, PANEL);
}

TernaryWeights::TernaryWeights(const std::uint8_t* packed, std::int64_t inputs_,
                               std::int64_t outputs_)
    : WeightSizes(inputs_, outputs_) {
    constexpr std::uint8_t ALL_ZERO_WEIGHTS = 0b01010101;
    const std::int64_t row_bytes = blocks(outputs, 4);
    const std::int64_t size = panels * groups * GROUP * PACKED_BYTES;
    std::fill_n(bytes.room(size), size, ALL_ZERO_WEIGHTS);
    for (std::int64_t channel = 0; channel < inputs; ++channel) {
        for (std::int64_t output = 0; output < outputs; ++output) {
            const int code = (packed[channel * row_bytes + output / 4] >> (2 * (output % 4))) & 3;
            if (code > 2) {
                throw std::invalid_argument(
                    "The packed weight of channel " + std::to_string(channel) + ", output " +
                    std::to_string(output) + " is 3; ternary codes are 0, 1 and 2.");
            }
            const std::int64_t row = output / PANEL * groups * GROUP + channel;
            const std::int64_t place = output % PANEL;
            std::uint8_t& byte = bytes.data()[row * PACKED_BYTES + place % PACKED_BYTES];
            const int shift = static_cast<int>(2 * (place / PACKED_BYTES));
            byte = static_cast<std::uint8_t>((byte & ~(3 << shift)) | (code << shift));
        }
    }
}

ByteWeights::ByteWeights(const std::int8_t* weight, const float* scale_, std::int64_t inputs_,
                         std::int64_t outputs_, int offset)
    : WeightSizes(inputs_, outputs_),
      scale(scale_, scale_ + outputs_),
      narrow(true),
      shift(static_cast<std::size_t>(outputs_), 0) {
    const std::int64_t size = panels * groups * GROUP_BYTES;
    std::fill_n(bytes.room(size), size, static_cast<std::uint8_t>(offset));
    for (std::int64_t channel = 0; channel < inputs; ++channel) {
        for (std::int64_t output = 0; output < outputs; ++output) {
            const std::int64_t group = output / PANEL * groups + channel / GROUP;
            const std::int64_t place =
                group * GROUP_BYTES + output % PANEL * GROUP + channel % GROUP;
            const int value = weight[channel * outputs + output];
            bytes.data()[place] = static_cast<std::uint8_t>(value + offset);
            narrow = narrow && value >= -NARROW && value <= NARROW;
            shift[static_cast<std::size_t>(output)] -= CODE_OFFSET * value;
        }
    }
}

}  // namespace vpr_ros::kernels
