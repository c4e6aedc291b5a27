// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// 4 numbers at a time with NEON and the dot product of ARMv8.2, which takes both sides signed.

#pragma once

#include "compress_table.hpp"
#include "tiles_of_rows.hpp"

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
    static constexpr int BUILD_COST = 3;
    static constexpr int TILE_OUTPUTS = 16;

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
    static Int magnitude_int(Int a) { return vabsq_s32(a); }
    static Int exclusive_or(Int a, Int b) { return veorq_s32(a, b); }
    static Int low_byte_to(Int a, int byte) {
        return vshlq_s32(vandq_s32(a, all_int(255)), all_int(8 * byte));
    }
    static Int magnitude_bits(Float a) {
        return vandq_s32(vreinterpretq_s32_f32(a), all_int(0x7fffffff));
    }

    static Int round_to_int(Float a) { return vcvtnq_s32_f32(a); }
    static Float to_float(Int a) { return vcvtq_f32_s32(a); }
    static Int load_codes(const std::int8_t* p) {
        std::uint32_t four;
        std::memcpy(&four, p, sizeof four);
        const int8x8_t bytes = vreinterpret_s8_u32(vdup_n_u32(four));
        return vmovl_s16(vget_low_s16(vmovl_s8(bytes)));
    }
    static void store_codes(std::int8_t* p, Int v) {
        const int16x4_t words = vqmovn_s32(v);
        const int8x8_t bytes = vqmovn_s16(vcombine_s16(words, words));
        const std::uint32_t four = vget_lane_u32(vreinterpret_u32_s8(bytes), 0);
        std::memcpy(p, &four, sizeof four);
    }

    static std::int32_t sum_of(Int a) { return vaddvq_s32(a); }
    static std::int32_t largest_int_of(Int a) { return vmaxvq_s32(a); }
    static float largest_of(Float a) { return vmaxvq_f32(a); }

    // The 16 bits of 16 bytes that are all ones or all zeros.
    static std::uint64_t bits_of(uint8x16_t bytes) {
        static constexpr std::uint8_t PLACES[16] = {1, 2, 4, 8, 16, 32, 64, 128,
                                                    1, 2, 4, 8, 16, 32, 64, 128};
        const uint8x16_t places = vandq_u8(bytes, vld1q_u8(PLACES));
        return static_cast<std::uint64_t>(vaddv_u8(vget_low_u8(places))) |
               static_cast<std::uint64_t>(vaddv_u8(vget_high_u8(places))) << 8;
    }
    static std::uint64_t votes_at_least(const float* votes, std::int32_t bits) {
        const Int level = all_int(bits);
        const auto eight = [votes, level](int i) {
            const uint32x4_t low = vcgeq_s32(magnitude_bits(load(votes + i)), level);
            const uint32x4_t high = vcgeq_s32(magnitude_bits(load(votes + i + 4)), level);
            return vmovn_u16(vcombine_u16(vmovn_u32(low), vmovn_u32(high)));
        };
        std::uint64_t mask = 0;
        for (int i = 0; i < STEP; i += 16) {
            mask |= bits_of(vcombine_u8(eight(i), eight(i + 8))) << i;
        }
        return mask;
    }
    static std::uint64_t codes_at_least(const std::int8_t* codes, std::int32_t level) {
        const uint8x16_t levels = vdupq_n_u8(static_cast<std::uint8_t>(level));
        std::uint64_t mask = 0;
        for (int i = 0; i < STEP; i += 16) {
            const uint8x16_t magnitude = vreinterpretq_u8_s8(vabsq_s8(vld1q_s8(codes + i)));
            mask |= bits_of(vcgeq_u8(magnitude, levels)) << i;
        }
        return mask;
    }
    static std::int64_t compress_step(const std::int8_t* codes, std::uint64_t keep,
                                      std::int8_t* kept_codes) {
        std::int64_t count = 0;
        for (int i = 0; i < STEP; i += 8) {
            const auto bits = (keep >> i) & 255U;
            const uint8x8_t from = vld1_u8(COMPRESS.from[bits]);
            vst1_s8(kept_codes + count,
                    vtbl1_s8(vld1_s8(codes + i), vreinterpret_s8_u8(from)));
            count += __builtin_popcountll(bits);
        }
        return count;
    }

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

    // ROWS x 16 sums in registers. `panel` and `sums` start at the outputs in question.
    struct Tile {
        template <int ROWS>
        static void run(const std::int8_t* codes, std::int64_t stride, const std::int32_t* first,
                        const std::uint8_t* panel, std::int64_t groups, std::int32_t* sums) {
            Int sum[ROWS][4];
#pragma GCC unroll 6
            for (int row = 0; row < ROWS; ++row) {
#pragma GCC unroll 4
                for (int v = 0; v < 4; ++v) {
                    sum[row][v] = all_int(first[row]);
                }
            }
            for (std::int64_t group = 0; group < groups; ++group) {
                int8x16_t weight[4];
#pragma GCC unroll 4
                for (int v = 0; v < 4; ++v) {
                    const std::uint8_t* bytes = panel + group * GROUP_BYTES + v * 16;
                    weight[v] = vreinterpretq_s8_u8(vld1q_u8(bytes));
                }
#pragma GCC unroll 6
                for (int row = 0; row < ROWS; ++row) {
                    std::int32_t four;
                    std::memcpy(&four, codes + row * stride + group * GROUP, sizeof four);
                    const int8x16_t code = vreinterpretq_s8_s32(vdupq_n_s32(four));
#pragma GCC unroll 4
                    for (int v = 0; v < 4; ++v) {
                        sum[row][v] = vdotq_s32(sum[row][v], weight[v], code);
                    }
                }
            }
#pragma GCC unroll 6
            for (int row = 0; row < ROWS; ++row) {
#pragma GCC unroll 4
                for (int v = 0; v < 4; ++v) {
                    store_int(sums + row * PANEL + v * WIDTH, sum[row][v]);
                }
            }
        }
    };

    static void multiply_bytes(const std::int8_t* codes, std::int64_t stride, int rows,
                               const std::int32_t* first, const std::uint8_t* panel,
                               std::int64_t groups, int outputs, std::int32_t* sums) {
        for (int output = 0; output < outputs; output += TILE_OUTPUTS) {
            with_rows<Tile>(rows, codes, stride, first, panel + output * GROUP, groups,
                            sums + output);
        }
    }
    static constexpr auto multiply_ternary = multiply_bytes;

    static void expand_and_multiply(const std::uint8_t* packed, const std::int32_t* channels,
                                    const std::int8_t* codes, std::int64_t stride, int rows,
                                    const std::int32_t* first, std::uint8_t* panel,
                                    std::int64_t groups, int outputs, std::int32_t* sums) {
        for (std::int64_t group = 0; group < groups; ++group) {
            const std::uint8_t* channel_rows[GROUP];
            find_rows(packed, channels, group, channel_rows);
            expand_group(channel_rows, panel + group * GROUP_BYTES);
        }
        multiply_ternary(codes, stride, rows, first, panel, groups, outputs, sums);
    }
};

}  // namespace
}  // namespace vpr_ros::kernels
