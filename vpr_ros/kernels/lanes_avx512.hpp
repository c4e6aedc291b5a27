// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// 16 numbers at a time with AVX-512 and its dot product (VNNI): unsigned bytes of a panel times
// signed codes. Two instructions of VBMI are used where the unit is compiled for them.

#pragma once

#include "tiles_of_rows.hpp"

#pragma GCC diagnostic push  // gcc 12 mistakes its own headers' undefined vectors for a fault
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

namespace vpr_ros::kernels {
namespace {

struct Lanes {
    using Float = __m512;
    using Int = __m512i;
    static constexpr int WIDTH = 16;
    static constexpr int ROW_BLOCK = 6;  // 6 x 4 sums, 4 weights and 1 code of 32 registers
    static constexpr int BYTE_OFFSET = 128;
    static constexpr int BUILD_COST = 2;

    static Float load(const float* p) { return _mm512_loadu_ps(p); }
    static void store(float* p, Float v) { _mm512_storeu_ps(p, v); }
    static Float all(float v) { return _mm512_set1_ps(v); }
    static Int load_int(const std::int32_t* p) { return _mm512_loadu_si512(p); }
    static void store_int(std::int32_t* p, Int v) { _mm512_storeu_si512(p, v); }
    static Int all_int(std::int32_t v) { return _mm512_set1_epi32(v); }

    static Float add(Float a, Float b) { return _mm512_add_ps(a, b); }
    static Float subtract(Float a, Float b) { return _mm512_sub_ps(a, b); }
    static Float multiply(Float a, Float b) { return _mm512_mul_ps(a, b); }
    static Float multiply_add(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }
    static Float larger(Float a, Float b) { return _mm512_max_ps(a, b); }
    static Float smaller(Float a, Float b) { return _mm512_min_ps(a, b); }
    static Float magnitude(Float a) { return _mm512_abs_ps(a); }
    static Float round(Float a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT); }
    static Float times_power_of_two(Float a, Float exponent) {
        return _mm512_scalef_ps(a, exponent);
    }

    static Int add_int(Int a, Int b) { return _mm512_add_epi32(a, b); }
    static Int larger_int(Int a, Int b) { return _mm512_max_epi32(a, b); }
    static Int magnitude_int(Int a) { return _mm512_abs_epi32(a); }
    static Int exclusive_or(Int a, Int b) { return _mm512_xor_si512(a, b); }
    static Int low_byte_to(Int a, int byte) {
        const Int low = _mm512_and_si512(a, all_int(255));
        return _mm512_sll_epi32(low, _mm_cvtsi32_si128(8 * byte));
    }
    static Int magnitude_bits(Float a) {
        return _mm512_and_si512(_mm512_castps_si512(a), all_int(0x7fffffff));
    }

    static Int round_to_int(Float a) { return _mm512_cvtps_epi32(a); }
    static Float to_float(Int a) { return _mm512_cvtepi32_ps(a); }
    static Int load_codes(const std::int8_t* p) {
        return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    }
    static void store_codes(std::int8_t* p, Int v) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v));
    }

    static std::int32_t sum_of(Int a) { return _mm512_reduce_add_epi32(a); }
    static std::int32_t largest_int_of(Int a) { return _mm512_reduce_max_epi32(a); }
    static float largest_of(Float a) { return _mm512_reduce_max_ps(a); }

    static std::uint64_t votes_at_least(const float* votes, std::int32_t bits) {
        const Int level = all_int(bits);
        std::uint64_t mask = 0;
        for (int i = 0; i < STEP; i += WIDTH) {
            const Int vote = _mm512_loadu_si512(votes + i);
            mask |= static_cast<std::uint64_t>(_mm512_cmpge_epi32_mask(vote, level)) << i;
        }
        return mask;
    }
    static std::uint64_t codes_at_least(const std::int8_t* codes, std::int32_t level) {
        const Int magnitude = _mm512_abs_epi8(_mm512_loadu_si512(codes));
        return _mm512_cmpge_epu8_mask(magnitude, _mm512_set1_epi8(static_cast<char>(level)));
    }

#if defined(__AVX512VBMI2__)
    static std::int64_t compress_step(const std::int8_t* codes, std::uint64_t keep,
                                      std::int8_t* kept_codes) {
        const Int all_codes = _mm512_loadu_si512(codes);
        _mm512_storeu_si512(kept_codes, _mm512_maskz_compress_epi8(keep, all_codes));
        return __builtin_popcountll(keep);
    }
#else
    static std::int64_t compress_step(const std::int8_t* codes, std::uint64_t keep,
                                      std::int8_t* kept_codes) {
        std::int64_t count = 0;
        for (int i = 0; i < STEP; i += WIDTH) {  // as 32-bit numbers
            const auto bits = static_cast<__mmask16>(keep >> i);
            const Int some = load_codes(codes + i);
            store_codes(kept_codes + count, _mm512_maskz_compress_epi32(bits, some));
            count += __builtin_popcount(bits);
        }
        return count;
    }
#endif

    // 4 channels x 64 outputs from 4 x 16 bytes.
    static void weights_of(const std::uint8_t* const rows[GROUP], Int (&weight)[4]) {
        const auto row = [rows](int i) {
            return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[i]));
        };
        Int fields = _mm512_castsi128_si512(row(0));
        fields = _mm512_inserti32x4(fields, row(1), 1);
        fields = _mm512_inserti32x4(fields, row(2), 2);
        fields = _mm512_inserti32x4(fields, row(3), 3);
        fields = interleave_rows(fields);
        const Int two_bits = _mm512_set1_epi8(3);
        weight[0] = _mm512_and_si512(fields, two_bits);
        weight[1] = _mm512_and_si512(_mm512_srli_epi32(fields, 2), two_bits);
        weight[2] = _mm512_and_si512(_mm512_srli_epi32(fields, 4), two_bits);
        weight[3] = _mm512_and_si512(_mm512_srli_epi32(fields, 6), two_bits);
    }
    static void store_weights(const Int (&weight)[4], std::uint8_t* panel) {
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) {
            _mm512_store_si512(panel + v * 64, weight[v]);
        }
    }

    // Byte 16 r + i to byte 4 i + r: the four rows' bytes of one output side by side.
    static Int interleave_rows(Int rows) {
        alignas(64) static constexpr std::uint8_t FROM[64] = {
            0,  16, 32, 48, 1,  17, 33, 49, 2,  18, 34, 50, 3,  19, 35, 51,
            4,  20, 36, 52, 5,  21, 37, 53, 6,  22, 38, 54, 7,  23, 39, 55,
            8,  24, 40, 56, 9,  25, 41, 57, 10, 26, 42, 58, 11, 27, 43, 59,
            12, 28, 44, 60, 13, 29, 45, 61, 14, 30, 46, 62, 15, 31, 47, 63};
#if defined(__AVX512VBMI__)
        return _mm512_permutexvar_epi8(_mm512_load_si512(FROM), rows);
#else
        // First whole 32-bit words between the rows, then bytes within 16.
        const Int words = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
        const __m128i bytes =
            _mm_set_epi8(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
        static_cast<void>(FROM);
        return _mm512_shuffle_epi8(_mm512_permutexvar_epi32(words, rows),
                                   _mm512_broadcast_i32x4(bytes));
#endif
    }

    // Where a product gets its weights: from a panel,
    template <int VECTORS>
    struct Panel {
        static constexpr int COUNT = VECTORS;
        const std::uint8_t* panel;

        void load_group(std::int64_t group, Int (&weight)[VECTORS]) const {
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; ++v) {
                weight[v] = _mm512_loadu_si512(panel + group * GROUP_BYTES + v * 64);
            }
        }
    };
    // or from 2-bit weights, which leaves the panel behind for the rows that follow.
    struct Packed {
        static constexpr int COUNT = 4;
        const std::uint8_t* packed;
        const std::int32_t* channels;
        std::uint8_t* panel;

        void load_group(std::int64_t group, Int (&weight)[4]) const {
            const std::uint8_t* rows[GROUP];
            find_rows(packed, channels, group, rows);
            weights_of(rows, weight);
            store_weights(weight, panel + group * GROUP_BYTES);
        }
    };

    // ROWS x (16 COUNT) sums in registers.
    template <class Weights>
    struct Tile {
        template <int ROWS>
        static void run(const std::int8_t* codes, std::int64_t stride, const std::int32_t* first,
                        Weights weights, std::int64_t groups, std::int32_t* sums) {
            constexpr int VECTORS = Weights::COUNT;
            Int sum[ROWS][VECTORS];
#pragma GCC unroll 6
            for (int row = 0; row < ROWS; ++row) {
#pragma GCC unroll 4
                for (int v = 0; v < VECTORS; ++v) {
                    sum[row][v] = all_int(first[row]);
                }
            }
            for (std::int64_t group = 0; group < groups; ++group) {
                Int weight[VECTORS];
                weights.load_group(group, weight);
#pragma GCC unroll 6
                for (int row = 0; row < ROWS; ++row) {
                    std::int32_t four;
                    __builtin_memcpy(&four, codes + row * stride + group * GROUP, sizeof four);
                    const Int code = all_int(four);
#pragma GCC unroll 4
                    for (int v = 0; v < VECTORS; ++v) {
                        sum[row][v] = _mm512_dpbusd_epi32(sum[row][v], weight[v], code);
                    }
                }
            }
#pragma GCC unroll 6
            for (int row = 0; row < ROWS; ++row) {
#pragma GCC unroll 4
                for (int v = 0; v < VECTORS; ++v) {
                    store_int(sums + row * PANEL + v * WIDTH, sum[row][v]);
                }
            }
        }
    };

    static void multiply_bytes(const std::int8_t* codes, std::int64_t stride, int rows,
                               const std::int32_t* first, const std::uint8_t* panel,
                               std::int64_t groups, int outputs, std::int32_t* sums) {
        if (outputs > 48) {
            with_rows<Tile<Panel<4>>>(rows, codes, stride, first, Panel<4>{panel}, groups, sums);
        } else if (outputs > 32) {
            with_rows<Tile<Panel<3>>>(rows, codes, stride, first, Panel<3>{panel}, groups, sums);
        } else if (outputs > 16) {
            with_rows<Tile<Panel<2>>>(rows, codes, stride, first, Panel<2>{panel}, groups, sums);
        } else {
            with_rows<Tile<Panel<1>>>(rows, codes, stride, first, Panel<1>{panel}, groups, sums);
        }
    }
    static constexpr auto multiply_ternary = multiply_bytes;

    // Expanding waits for stores and products do not, so both at once cost little more than one.
    static void expand_and_multiply(const std::uint8_t* packed, const std::int32_t* channels,
                                    const std::int8_t* codes, std::int64_t stride, int rows,
                                    const std::int32_t* first, std::uint8_t* panel,
                                    std::int64_t groups, int, std::int32_t* sums) {
        with_rows<Tile<Packed>>(rows, codes, stride, first, Packed{packed, channels, panel},
                                groups, sums);
    }
};

}  // namespace
}  // namespace vpr_ros::kernels
