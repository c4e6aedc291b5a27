// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// 4 numbers at a time with NEON and the dot product of ARMv8.2, whose operands are both signed.

#pragma once

#include "backend.hpp"

#include <arm_neon.h>

#include <cstring>

namespace vpr_ros::kernels {
namespace {

struct Lanes {
    using Float = float32x4_t;
    using Int = int32x4_t;
    static constexpr int WIDTH = 4;
    static constexpr int ROW_BLOCK = 6;  // 6 x 4 sums, 4 weights and 1 code of 32 registers
    static constexpr int BYTE_OFFSET = 0;

    static Float load(const float* p) { return vld1q_f32(p); }
    static void store(float* p, Float v) { vst1q_f32(p, v); }
    static Float all(float v) { return vdupq_n_f32(v); }
    static Int load_int(const std::int32_t* p) { return vld1q_s32(p); }
    static void store_int(std::int32_t* p, Int v) { vst1q_s32(p, v); }
    static Int all_int(std::int32_t v) { return vdupq_n_s32(v); }

    static Float add(Float a, Float b) { return vaddq_f32(a, b); }
    static Float subtract(Float a, Float b) { return vsubq_f32(a, b); }
    static Float multiply(Float a, Float b) { return vmulq_f32(a, b); }
    static Float multiply_add(Float a, Float b, Float c) { return vfmaq_f32(c, a, b); }
    static Float larger(Float a, Float b) { return vmaxq_f32(a, b); }
    static Float smaller(Float a, Float b) { return vminq_f32(a, b); }
    static Float magnitude(Float a) { return vabsq_f32(a); }
    static Float round(Float a) { return vrndnq_f32(a); }
    static Float times_power_of_two(Float a, Float exponent) {
        const Int bits = vshlq_n_s32(vcvtnq_s32_f32(exponent), 23);
        return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(a), bits));
    }

    static Int add_int(Int a, Int b) { return vaddq_s32(a, b); }
    static Int larger_int(Int a, Int b) { return vmaxq_s32(a, b); }
    static Int exclusive_or(Int a, Int b) { return veorq_s32(a, b); }
    static Int low_byte_to(Int a, int byte) {
        return vshlq_s32(vandq_s32(a, all_int(255)), all_int(8 * byte));
    }
    static Int magnitude_bits(Float a) {
        return vandq_s32(vreinterpretq_s32_f32(a), all_int(0x7fffffff));
    }

    static Int round_to_int(Float a) { return vcvtnq_s32_f32(a); }
    static Float to_float(Int a) { return vcvtq_f32_s32(a); }
    static void store_codes(std::int8_t* p, Int v) {
        const int16x4_t words = vqmovn_s32(v);
        const int8x8_t bytes = vqmovn_s16(vcombine_s16(words, words));
        const std::uint32_t four = vget_lane_u32(vreinterpret_u32_s8(bytes), 0);
        std::memcpy(p, &four, sizeof four);
    }

    static std::int32_t sum_of(Int a) { return vaddvq_s32(a); }
    static std::int32_t largest_int_of(Int a) { return vmaxvq_s32(a); }
    static float largest_of(Float a) { return vmaxvq_f32(a); }

    // 4 channels x 64 outputs from 4 x 16 bytes.
    static void expand_group(const std::uint8_t* const rows[GROUP], std::uint8_t* panel) {
        const uint8x16x2_t pair01 = vzipq_u8(vld1q_u8(rows[0]), vld1q_u8(rows[1]));
        const uint8x16x2_t pair23 = vzipq_u8(vld1q_u8(rows[2]), vld1q_u8(rows[3]));
        for (int half = 0; half < 2; ++half) {  // 8 of the 16 bytes of each row
            const uint16x8x2_t fours = vzipq_u16(vreinterpretq_u16_u8(pair01.val[half]),
                                                 vreinterpretq_u16_u8(pair23.val[half]));
            for (int quarter = 0; quarter < 2; ++quarter) {
                const uint8x16_t fields = vreinterpretq_u8_u16(fours.val[quarter]);
                std::uint8_t* outputs = panel + half * 32 + quarter * 16;
                const uint8x16_t two_bits = vdupq_n_u8(3);
                vst1q_u8(outputs, vandq_u8(fields, two_bits));
                vst1q_u8(outputs + 64, vandq_u8(vshrq_n_u8(fields, 2), two_bits));
                vst1q_u8(outputs + 128, vandq_u8(vshrq_n_u8(fields, 4), two_bits));
                vst1q_u8(outputs + 192, vshrq_n_u8(fields, 6));
            }
        }
    }

    static Int load_bytes(const std::uint8_t* p) { return vreinterpretq_s32_u8(vld1q_u8(p)); }
    static Int add_products(Int sum, Int weight, Int code) {
        return vdotq_s32(sum, vreinterpretq_s8_s32(weight), vreinterpretq_s8_s32(code));
    }
    static constexpr auto multiply_bytes = multiply_tiles<Lanes, 4>;
    static constexpr auto multiply_ternary = multiply_bytes;
    static constexpr decltype(Backend::multiply_unsigned) multiply_unsigned = nullptr;

    static constexpr auto expand_and_multiply = expand_then_multiply<Lanes>;
};

}  // namespace
}  // namespace vpr_ros::kernels
