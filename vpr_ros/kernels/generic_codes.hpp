// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// Floats become int8 codes: rows of activations, and the panels of attention, which are packed
// anew for every input.
//
// Rounding follows the torch layers operation by operation: one division, one product, ties to
// even.

#pragma once

#include "generic_vectors.hpp"

#include <limits>

namespace vpr_ros::kernels {
namespace {

TokenCodes quantise(const float* x, std::int64_t count, std::int8_t* codes) {
    Int largest = Lanes::all_int(0);
    for_vectors(count, [&](std::int64_t i, auto n) {
        largest = Lanes::larger_int(largest, Lanes::magnitude_bits(load(x + i, n)));
    });
    const std::int32_t peak_bits = Lanes::largest_int_of(largest);
    const std::int64_t padded = round_up(count, STEP);
    if (peak_bits >= INFINITE) {
        std::memset(codes, 0, static_cast<std::size_t>(padded));
        return {std::numeric_limits<float>::quiet_NaN(), 0};
    }
    float peak;
    std::memcpy(&peak, &peak_bits, sizeof peak);
    peak = peak < SMALLEST_PEAK ? SMALLEST_PEAK : peak;
    const Float gain = Lanes::all(static_cast<float>(LEVELS) / peak);
    Int sum = Lanes::all_int(0);
    for_vectors(count, [&](std::int64_t i, auto n) {
        const Int code = Lanes::round_to_int(Lanes::multiply(load(x + i, n), gain));
        Lanes::store_codes(codes + i, code);
        sum = Lanes::add_int(sum, code);
    });
    const std::int64_t written = round_up(count, WIDTH);
    std::memset(codes + written, 0, static_cast<std::size_t>(padded - written));
    return {peak / LEVELS, Lanes::sum_of(sum)};
}

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
    for (std::int32_t& output : bytes) {
        output = static_cast<std::int32_t>(OFFSET_BITS);
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
