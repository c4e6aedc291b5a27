// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// 16 numbers at a time with AVX-512 and its dot product (VNNI), which multiplies the unsigned bytes
// of a panel by signed codes.

#pragma once

#include "backend.hpp"

#pragma GCC diagnostic push  // gcc 12 warns about undefined vectors in its own headers
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
    static void store_codes(std::int8_t* p, Int v) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v));
    }

    static std::int32_t sum_of(Int a) { return _mm512_reduce_add_epi32(a); }
    static std::int32_t largest_int_of(Int a) { return _mm512_reduce_max_epi32(a); }
    static float largest_of(Float a) { return _mm512_reduce_max_ps(a); }

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

    // Byte 16 r + i moves to byte 4 i + r, next to those of the other rows: first whole 32-bit words
    // move between the rows, then bytes within 16.
    static Int interleave_rows(Int rows) {
        const Int words = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
        const __m128i bytes =
            _mm_set_epi8(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
        return _mm512_shuffle_epi8(_mm512_permutexvar_epi32(words, rows),
                                   _mm512_broadcast_i32x4(bytes));
    }

    // Weights from 2 bits each, also written to a panel for the rows that follow.
    struct PackedWeights {
        static constexpr int COUNT = 4;
        const std::uint8_t* packed;
        const std::int32_t* channels;
        std::uint8_t* panel;

        void load(std::int64_t group, Int (&weight)[COUNT]) const {
            const std::uint8_t* rows[GROUP];
            find_rows(packed, channels, group, rows);
            weights_of(rows, weight);
#pragma GCC unroll 4
            for (int v = 0; v < COUNT; ++v) {
                _mm512_store_si512(panel + group * GROUP_BYTES + v * 64, weight[v]);
            }
        }
    };

    static Int load_bytes(const void* p) { return _mm512_loadu_si512(p); }
    static Int add_products(Int sum, Int weight, Int code) {
        return _mm512_dpbusd_epi32(sum, weight, code);
    }
    static constexpr auto multiply_bytes = multiply_tiles<Lanes, 4>;
    static constexpr auto multiply_ternary = multiply_bytes;
    static constexpr decltype(Backend::multiply_unsigned) multiply_unsigned = nullptr;

    // Expanding waits for stores, products do not: both at once cost little more than one of them.
    static void expand_and_multiply(const std::uint8_t* packed, const std::int32_t* channels,
                                    const std::int8_t* codes, std::int64_t stride, int rows,
                                    const std::int32_t* first, std::uint8_t* panel,
                                    std::int64_t groups, int, std::int32_t* sums) {
        with_rows<Tile<Lanes, PackedWeights>>(
            rows, codes, stride, first, PackedWeights{packed, channels, panel}, groups, sums);
    }
};

}  // namespace
}  // namespace vpr_ros::kernels
