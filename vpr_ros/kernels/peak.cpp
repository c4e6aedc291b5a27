// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// How fast this processor multiplies int8 at best: the ceiling that benchmarks measure against.

#include "kernels.hpp"

#include <chrono>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace {

using vpr_ros::kernels::Isa;

constexpr int CHAINS = 12;  // sums that do not wait for each other
constexpr int REPEATS = 100000;

#if defined(__x86_64__)
__attribute__((target("avx512f,avx512bw,avx512vnni"))) std::int64_t dots_avx512() {
    __m512i sums[CHAINS] = {};
    const __m512i ones = _mm512_set1_epi8(1);
    for (int i = 0; i < REPEATS; ++i) {
#pragma GCC unroll 12
        for (__m512i& sum : sums) {
            sum = _mm512_dpbusd_epi32(sum, ones, ones);
            __asm__ volatile("" : "+v"(sum));  // or the compiler adds them up at once
        }
    }
    return std::int64_t{REPEATS} * CHAINS * 64;
}

// What AVX2 without dot products offers: pairs of products in 16 bits, then pairs of pairs.
__attribute__((target("avx2"))) std::int64_t dots_avx2() {
    __m256i sums[CHAINS] = {};
    const __m256i bytes = _mm256_set1_epi8(1);
    const __m256i words = _mm256_set1_epi16(1);
    for (int i = 0; i < REPEATS; ++i) {
#pragma GCC unroll 12
        for (__m256i& sum : sums) {
            __m256i pairs = _mm256_maddubs_epi16(bytes, bytes);
            __asm__ volatile("" : "+x"(pairs));
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, words));
            __asm__ volatile("" : "+x"(sum));
        }
    }
    return std::int64_t{REPEATS} * CHAINS * 32;
}
#elif defined(__aarch64__)
__attribute__((target("arch=armv8.2-a+dotprod"))) std::int64_t dots_neon() {
    int32x4_t sums[CHAINS] = {};
    const int8x16_t ones = vdupq_n_s8(1);
    for (int i = 0; i < REPEATS; ++i) {
#pragma GCC unroll 12
        for (int32x4_t& sum : sums) {
            sum = vdotq_s32(sum, ones, ones);
            __asm__ volatile("" : "+w"(sum));
        }
    }
    return std::int64_t{REPEATS} * CHAINS * 16;
}
#endif

// Multiply-accumulates that one call does, or 0 where nothing is known of the machine.
std::int64_t dots() {
    switch (vpr_ros::kernels::available_isas().back()) {
#if defined(__x86_64__)
        case Isa::avx512_vnni:
        case Isa::avx512_vbmi:
            return dots_avx512();
        case Isa::avx2:
            return dots_avx2();
#elif defined(__aarch64__)
        case Isa::neon_dotprod:
            return dots_neon();
#endif
        default:
            return 0;
    }
}

}  // namespace

// The most int8 multiply-accumulates per second of one core, found in about 50 ms; 0 if unknown.
extern "C" double vpr_int8_peak() {
    using Clock = std::chrono::steady_clock;
    double best = 0;
    const Clock::time_point end = Clock::now() + std::chrono::milliseconds(50);
    while (Clock::now() < end) {
        const Clock::time_point start = Clock::now();
        const auto done = static_cast<double>(dots());
        const std::chrono::duration<double> took = Clock::now() - start;
        if (done / took.count() > best) best = done / took.count();
        if (done == 0) break;
    }
    return best;
}
