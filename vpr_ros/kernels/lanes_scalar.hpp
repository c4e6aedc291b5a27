// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// One number at a time, in plain C++, for processors without a faster set.
//
// Every lanes_*.hpp offers the same names, from which generic_*.hpp build the table. They are in
// unnamed namespaces, so that no function compiled for one instruction set can be linked into the
// code of another.

#pragma once

#include "backend.hpp"

#include <cmath>
#include <cstring>

namespace vpr_ros::kernels {
namespace {

struct Lanes {
    using Float = float;
    using Int = std::int32_t;
    static constexpr int WIDTH = 1;
    static constexpr int ROW_BLOCK = MOST_ROWS;
    static constexpr int BYTE_OFFSET = 0;

    static Float load(const float* p) { return *p; }
    static void store(float* p, Float v) { *p = v; }
    static Float all(float v) { return v; }
    static Int load_int(const std::int32_t* p) { return *p; }
    static void store_int(std::int32_t* p, Int v) { *p = v; }
    static Int all_int(std::int32_t v) { return v; }

    static Float add(Float a, Float b) { return a + b; }
    static Float subtract(Float a, Float b) { return a - b; }
    static Float multiply(Float a, Float b) { return a * b; }
    static Float multiply_add(Float a, Float b, Float c) { return a * b + c; }
    static Float larger(Float a, Float b) { return a > b ? a : b; }
    static Float smaller(Float a, Float b) { return a < b ? a : b; }
    static Float magnitude(Float a) { return std::fabs(a); }
    static Float round(Float a) { return std::nearbyint(a); }
    static Float times_power_of_two(Float a, Float exponent) {
        return std::ldexp(a, static_cast<int>(exponent));
    }

    static Int add_int(Int a, Int b) { return a + b; }
    static Int larger_int(Int a, Int b) { return a > b ? a : b; }
    static Int exclusive_or(Int a, Int b) { return a ^ b; }
    static Int low_byte_to(Int a, int byte) {
        return static_cast<Int>((static_cast<std::uint32_t>(a) & 255U) << (8 * byte));
    }
    static Int magnitude_bits(Float a) {
        Int bits;
        std::memcpy(&bits, &a, sizeof bits);
        return bits & 0x7fffffff;
    }

    static Int round_to_int(Float a) { return static_cast<Int>(std::nearbyint(a)); }
    static Float to_float(Int a) { return static_cast<float>(a); }
    static void store_codes(std::int8_t* p, Int v) { *p = static_cast<std::int8_t>(v); }

    static std::int32_t sum_of(Int a) { return a; }
    static std::int32_t largest_int_of(Int a) { return a; }
    static float largest_of(Float a) { return a; }

    static void expand_group(const std::uint8_t* const rows[GROUP], std::uint8_t* panel) {
        for (int output = 0; output < PANEL; ++output) {
            for (int channel = 0; channel < GROUP; ++channel) {
                const int fields = rows[channel][output % PACKED_BYTES];
                panel[output * GROUP + channel] =
                    static_cast<std::uint8_t>((fields >> (2 * (output / PACKED_BYTES))) & 3);
            }
        }
    }

    // The bytes of a panel are signed here (offset 0), or 0, 1, 2, which read the same as signed.
    static void multiply_bytes(const std::int8_t* codes, std::int64_t stride, int rows,
                               const std::int32_t* first, const std::uint8_t* panel,
                               std::int64_t groups, int outputs, std::int32_t* sums) {
        for (int row = 0; row < rows; ++row) {
            for (int output = 0; output < outputs; ++output) {
                std::int32_t sum = first[row];
                for (std::int64_t group = 0; group < groups; ++group) {
                    const std::int8_t* code = codes + row * stride + group * GROUP;
                    const std::uint8_t* weight = panel + group * GROUP_BYTES + output * GROUP;
                    for (int channel = 0; channel < GROUP; ++channel) {
                        sum += code[channel] * static_cast<std::int8_t>(weight[channel]);
                    }
                }
                sums[row * PANEL + output] = sum;
            }
        }
    }
    static constexpr auto multiply_ternary = multiply_bytes;
    static constexpr decltype(Backend::multiply_unsigned) multiply_unsigned = nullptr;

    static constexpr auto expand_and_multiply = expand_then_multiply<Lanes>;
};

}  // namespace
}  // namespace vpr_ros::kernels
