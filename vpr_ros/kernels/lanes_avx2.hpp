// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// 8 numbers at a time with AVX2, and the dot product of AVX-VNNI if the unit is compiled for it.
// Without it, pairs of products are added in 16 bits. Sums of ternary weights cannot overflow there
// for GROUPS_IN_16_BITS groups; those of other bytes are widened at once.

#pragma once

#include "backend.hpp"

#include <immintrin.h>

namespace vpr_ros::kernels {
namespace {

#if defined(__AVXVNNI__)
constexpr bool DOT_PRODUCT = true;
inline __m256i dot_product(__m256i sum, __m256i weight, __m256i code) {
    return _mm256_dpbusd_avx_epi32(sum, weight, code);
}
#elif defined(__AVX512VNNI__) && defined(__AVX512VL__)  // the same in AVX-512's encoding
constexpr bool DOT_PRODUCT = true;
inline __m256i dot_product(__m256i sum, __m256i weight, __m256i code) {
    return _mm256_dpbusd_epi32(sum, weight, code);
}
#else
constexpr bool DOT_PRODUCT = false;
inline __m256i dot_product(__m256i sum, __m256i, __m256i) { return sum; }
#endif

// Ends the products of one row before those of the next begin. Otherwise GCC loads the codes of all
// rows first, runs out of registers and keeps sums in memory, which takes 1.7 times as long.
inline void keep_in_registers(__m256i& a, __m256i& b) {
    __asm__ volatile("" : "+x"(a), "+x"(b) : : "memory");
}

struct Lanes {
    using Float = __m256;
    using Int = __m256i;
    static constexpr int WIDTH = 8;
    static constexpr int ROW_BLOCK = 6;  // times 2 sums, of 16 registers
    static constexpr int BYTE_OFFSET = DOT_PRODUCT ? 128 : 0;
    static constexpr std::int64_t GROUPS_IN_16_BITS = 64;  // of at most 2 * 2 * 127 each

    static Float load(const float* p) { return _mm256_loadu_ps(p); }
    static void store(float* p, Float v) { _mm256_storeu_ps(p, v); }
    static Float all(float v) { return _mm256_set1_ps(v); }
    static Int load_bytes(const void* p) {
        return _mm256_loadu_si256(static_cast<const __m256i*>(p));
    }
    static void store_bytes(void* p, Int v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
    static Int load_int(const std::int32_t* p) { return load_bytes(p); }
    static void store_int(std::int32_t* p, Int v) { store_bytes(p, v); }
    static Int all_int(std::int32_t v) { return _mm256_set1_epi32(v); }

    static Float add(Float a, Float b) { return _mm256_add_ps(a, b); }
    static Float subtract(Float a, Float b) { return _mm256_sub_ps(a, b); }
    static Float multiply(Float a, Float b) { return _mm256_mul_ps(a, b); }
    static Float multiply_add(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }
    static Float larger(Float a, Float b) { return _mm256_max_ps(a, b); }
    static Float smaller(Float a, Float b) { return _mm256_min_ps(a, b); }
    static Float magnitude(Float a) { return _mm256_castsi256_ps(magnitude_bits(a)); }
    static Float round(Float a) {
        return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    }
    static Float times_power_of_two(Float a, Float exponent) {
        const Int bits = _mm256_slli_epi32(_mm256_cvtps_epi32(exponent), 23);
        return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a), bits));
    }

    static Int add_int(Int a, Int b) { return _mm256_add_epi32(a, b); }
    static Int larger_int(Int a, Int b) { return _mm256_max_epi32(a, b); }
    static Int exclusive_or(Int a, Int b) { return _mm256_xor_si256(a, b); }
    static Int low_byte_to(Int a, int byte) {
        const Int low = _mm256_and_si256(a, all_int(255));
        return _mm256_sll_epi32(low, _mm_cvtsi32_si128(8 * byte));
    }
    static Int magnitude_bits(Float a) {
        return _mm256_and_si256(_mm256_castps_si256(a), all_int(0x7fffffff));
    }

    static Int round_to_int(Float a) { return _mm256_cvtps_epi32(a); }
    static Float to_float(Int a) { return _mm256_cvtepi32_ps(a); }
    static void store_codes(std::int8_t* p, Int v) {
        const __m128i words =
            _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
        _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(words, words));
    }

    static std::int32_t sum_of(Int a) {
        __m128i four =
            _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
        four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0b01001110));
        return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0b10110001)));
    }
    static std::int32_t largest_int_of(Int a) {
        __m128i four =
            _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
        four = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0b01001110));
        return _mm_cvtsi128_si32(_mm_max_epi32(four, _mm_shuffle_epi32(four, 0b10110001)));
    }
    static float largest_of(Float a) {
        __m128 four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
        four = _mm_max_ps(four, _mm_movehl_ps(four, four));
        return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
    }

    // 4 channels x 64 outputs from 4 x 16 bytes.
    static void expand_group(const std::uint8_t* const rows[GROUP], std::uint8_t* panel) {
        const auto row = [rows](int i) {
            return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[i]));
        };
        const __m128i low01 = _mm_unpacklo_epi8(row(0), row(1));
        const __m128i high01 = _mm_unpackhi_epi8(row(0), row(1));
        const __m128i low23 = _mm_unpacklo_epi8(row(2), row(3));
        const __m128i high23 = _mm_unpackhi_epi8(row(2), row(3));
        const Int first = _mm256_set_m128i(_mm_unpackhi_epi16(low01, low23),
                                           _mm_unpacklo_epi16(low01, low23));
        const Int second = _mm256_set_m128i(_mm_unpackhi_epi16(high01, high23),
                                            _mm_unpacklo_epi16(high01, high23));
        store_fields<0>(first, second, panel);
        store_fields<1>(first, second, panel);
        store_fields<2>(first, second, panel);
        store_fields<3>(first, second, panel);
    }
    template <int FIELD>
    static void store_fields(Int first, Int second, std::uint8_t* panel) {
        const Int two_bits = _mm256_set1_epi8(3);
        std::uint8_t* outputs = panel + FIELD * 64;
        store_bytes(outputs, _mm256_and_si256(_mm256_srli_epi32(first, 2 * FIELD), two_bits));
        store_bytes(outputs + 32,
                    _mm256_and_si256(_mm256_srli_epi32(second, 2 * FIELD), two_bits));
    }

    static Int add_products(Int sum, Int weight, Int code) { return dot_product(sum, weight, code); }

    // ROWS x 16 sums without the dot product, whose first factor is unsigned. For signed codes the
    // sign of the weight moves to the code, which is never -128, and |weight| <= 128 is that
    // factor. UNSIGNED codes are the factor themselves, and weights are narrow.
    template <bool UNSIGNED>
    struct ByteTile {
        template <int ROWS>
        static void run(const std::int8_t* codes, std::int64_t stride, const std::int32_t* first,
                        const std::uint8_t* panel, std::int64_t groups, std::int32_t* sums) {
            const Int ones = _mm256_set1_epi16(1);
            Int sum[ROWS][2];
#pragma GCC unroll 6
            for (int row = 0; row < ROWS; ++row) {
                sum[row][0] = sum[row][1] = all_int(first[row]);
            }
            for (std::int64_t group = 0; group < groups; ++group) {
                Int weight[2];
                PanelWeights<Lanes, 2>{panel}.load(group, weight);
                const Int size[2] = {_mm256_abs_epi8(weight[0]), _mm256_abs_epi8(weight[1])};
#pragma GCC unroll 6
                for (int row = 0; row < ROWS; ++row) {
                    std::int32_t four;
                    __builtin_memcpy(&four, codes + row * stride + group * GROUP, sizeof four);
                    const Int code = all_int(four);
#pragma GCC unroll 2
                    for (int v = 0; v < 2; ++v) {
                        Int pairs;
                        if constexpr (UNSIGNED) {
                            pairs = _mm256_maddubs_epi16(code, weight[v]);
                        } else {
                            pairs = _mm256_maddubs_epi16(size[v],
                                                         _mm256_sign_epi8(code, weight[v]));
                        }
                        sum[row][v] = add_int(sum[row][v], _mm256_madd_epi16(pairs, ones));
                    }
                    keep_in_registers(sum[row][0], sum[row][1]);
                }
            }
#pragma GCC unroll 6
            for (int row = 0; row < ROWS; ++row) {
                store_int(sums + row * PANEL, sum[row][0]);
                store_int(sums + row * PANEL + WIDTH, sum[row][1]);
            }
        }
    };

    template <bool UNSIGNED, int ROWS>
    static void multiply_pairs(const std::int8_t* codes, std::int64_t stride, int rows,
                               const std::int32_t* first, const std::uint8_t* panel,
                               std::int64_t groups, int outputs, std::int32_t* sums) {
        for (int row = 0; row < rows; row += ROWS) {
            const int count = rows - row < ROWS ? rows - row : ROWS;
            for (int output = 0; output < outputs; output += 2 * WIDTH) {
                with_rows<ByteTile<UNSIGNED>, ROWS>(count, codes + row * stride, stride,
                                                    first + row, panel + output * GROUP, groups,
                                                    sums + row * PANEL + output);
            }
        }
    }
    // Of signed codes, more rows would not leave registers for the sizes of the weights.
    static constexpr auto multiply_bytes =
        DOT_PRODUCT ? multiply_tiles<Lanes, 2> : multiply_pairs<false, 3>;
    static constexpr decltype(Backend::multiply_unsigned) multiply_unsigned =
        DOT_PRODUCT ? nullptr : multiply_pairs<true, 6>;

    // ROWS x 16 sums of ternary weights without the dot product. The 32-bit sums stay in memory,
    // because 16 registers only hold the 16-bit ones.
    struct TernaryTile {
        template <int ROWS>
        static void run(const std::int8_t* codes, std::int64_t stride, const std::int32_t* first,
                        const std::uint8_t* panel, std::int64_t groups, std::int32_t* sums) {
            for (int row = 0; row < ROWS; ++row) {
                store_int(sums + row * PANEL, all_int(first[row]));
                store_int(sums + row * PANEL + WIDTH, all_int(first[row]));
            }
            for (std::int64_t begin = 0; begin < groups; begin += GROUPS_IN_16_BITS) {
                const std::int64_t end =
                    groups < begin + GROUPS_IN_16_BITS ? groups : begin + GROUPS_IN_16_BITS;
                Int pairs[ROWS][2];
#pragma GCC unroll 6
                for (int row = 0; row < ROWS; ++row) {
                    pairs[row][0] = pairs[row][1] = _mm256_setzero_si256();
                }
                for (std::int64_t group = begin; group < end; ++group) {
                    Int weight[2];
                    PanelWeights<Lanes, 2>{panel}.load(group, weight);
#pragma GCC unroll 6
                    for (int row = 0; row < ROWS; ++row) {
                        std::int32_t four;
                        __builtin_memcpy(&four, codes + row * stride + group * GROUP, sizeof four);
                        const Int code = all_int(four);
#pragma GCC unroll 2
                        for (int v = 0; v < 2; ++v) {
                            pairs[row][v] = _mm256_add_epi16(
                                pairs[row][v], _mm256_maddubs_epi16(weight[v], code));
                        }
                        keep_in_registers(pairs[row][0], pairs[row][1]);
                    }
                }
                const Int ones = _mm256_set1_epi16(1);
                for (int row = 0; row < ROWS; ++row) {
                    for (int v = 0; v < 2; ++v) {
                        std::int32_t* place = sums + row * PANEL + v * WIDTH;
                        const Int sum = _mm256_madd_epi16(pairs[row][v], ones);
                        store_int(place, add_int(load_int(place), sum));
                    }
                }
            }
        }
    };

    static void multiply_ternary(const std::int8_t* codes, std::int64_t stride, int rows,
                                 const std::int32_t* first, const std::uint8_t* panel,
                                 std::int64_t groups, int outputs, std::int32_t* sums) {
        if constexpr (DOT_PRODUCT) {
            multiply_bytes(codes, stride, rows, first, panel, groups, outputs, sums);
        } else {
            for (int output = 0; output < outputs; output += 2 * WIDTH) {
                with_rows<TernaryTile>(rows, codes, stride, first, panel + output * GROUP, groups,
                                       sums + output);
            }
        }
    }
    static constexpr auto expand_and_multiply = expand_then_multiply<Lanes>;
};

}  // namespace
}  // namespace vpr_ros::kernels
