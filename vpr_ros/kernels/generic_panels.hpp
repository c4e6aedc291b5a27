// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// Panels whose outputs are keys or values: those of attention, packed anew for every input.

#pragma once

#include "generic_vectors.hpp"

namespace vpr_ros::kernels {
namespace {

constexpr std::uint32_t OFFSET_BITS = Lanes::BYTE_OFFSET == 0 ? 0 : 0x80808080U;
static_assert(Lanes::BYTE_OFFSET == 0 || Lanes::BYTE_OFFSET == 128, "added by an exclusive or");

void interleave(const std::int8_t* codes, std::int64_t stride, int tokens, std::int64_t groups,
                std::uint8_t* panel) {
    for (std::int64_t group = 0; group < groups; ++group) {
        std::uint32_t outputs[PANEL];
        for (int token = 0; token < tokens; ++token) {
            std::memcpy(outputs + token, codes + token * stride + group * GROUP, GROUP);
            outputs[token] ^= OFFSET_BITS;
        }
        for (int token = tokens; token < PANEL; ++token) {
            outputs[token] = OFFSET_BITS;
        }
        std::memcpy(panel + group * GROUP_BYTES, outputs, GROUP_BYTES);
    }
}

void raise_to(const float* x, std::int64_t row_stride, std::int64_t rows, int channels,
              std::int32_t* largest) {
    for_vectors(channels, [&](std::int64_t i, auto n) {
        Int peak = load_int(largest + i, n);
        for (std::int64_t row = 0; row < rows; ++row) {
            const Float value = load(x + row * row_stride + i, n);
            peak = Lanes::larger_int(peak, Lanes::magnitude_bits(value));
        }
        store_int(largest + i, peak, n);
    });
}

void value_group(const float* x, std::int64_t row_stride, int rows, int channels,
                 const float* gain, std::uint8_t* group, std::int32_t* code_sum) {
    std::int32_t bytes[PANEL];
    for (int i = 0; i < PANEL; ++i) {
        bytes[i] = static_cast<std::int32_t>(OFFSET_BITS);
    }
    for_vectors(channels, [&](std::int64_t i, auto n) {
        Int packed = Lanes::all_int(static_cast<std::int32_t>(OFFSET_BITS));
        Int sum = load_int(code_sum + i, n);
        for (int row = 0; row < rows; ++row) {
            const Float value = load(x + row * row_stride + i, n);
            const Int code = Lanes::round_to_int(Lanes::multiply(value, load(gain + i, n)));
            packed = Lanes::exclusive_or(packed, Lanes::low_byte_to(code, row));
            sum = Lanes::add_int(sum, code);
        }
        store_int(bytes + i, packed, n);
        store_int(code_sum + i, sum, n);
    });
    std::memcpy(group, bytes, GROUP_BYTES);
}

}  // namespace
}  // namespace vpr_ros::kernels
