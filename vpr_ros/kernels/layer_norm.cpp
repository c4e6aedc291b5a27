// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// Layer normalisation in the compiler's own vectors, compiled once per instruction set. All sets add
// in the same order and give the same result.

#include "kernels.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

// AddressSanitizer starts after the choice among clones and ends a process that has one.
#if defined(__x86_64__) && defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && \
    (!defined(__clang__) || __clang_major__ >= 14)
#define VPR_PER_ISA __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define VPR_PER_ISA
#endif

namespace vpr_ros::kernels {
namespace {

constexpr int LANES = 8;   // GCC 12 keeps wider vectors in memory where the set has none as wide
constexpr int CHAINS = 8;  // independent sums, which the processor adds at the same time
constexpr int BLOCK = LANES * CHAINS;

typedef float Vector __attribute__((vector_size(LANES * sizeof(float))));
typedef Vector Stored __attribute__((aligned(4), may_alias));  // arrays need no alignment

// The sum of all lanes of all chains.
inline __attribute__((always_inline)) float total(const Vector (&chains)[CHAINS]) {
    const Vector even = (chains[0] + chains[2]) + (chains[4] + chains[6]);
    const Vector odd = (chains[1] + chains[3]) + (chains[5] + chains[7]);
    const Vector sum = even + odd;
    float lanes[LANES];
    std::memcpy(lanes, &sum, sizeof lanes);
    for (int half = LANES / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    }
    return lanes[0];
}

VPR_PER_ISA void norm_row(const float* x, std::int64_t columns, const float* gain,
                          const float* offset, float epsilon, float* y) {
    const std::int64_t blocks = columns / BLOCK;
    const auto size = static_cast<float>(columns);
    const Stored* x_vectors = reinterpret_cast<const Stored*>(x);
    const Stored* gain_vectors = reinterpret_cast<const Stored*>(gain);
    const Stored* offset_vectors = reinterpret_cast<const Stored*>(offset);
    Stored* y_vectors = reinterpret_cast<Stored*>(y);

    Vector sums[CHAINS] = {};
    for (std::int64_t block = 0; block < blocks; ++block) {
        for (int c = 0; c < CHAINS; ++c) sums[c] += x_vectors[block * CHAINS + c];
    }
    float rest = 0;
    for (std::int64_t i = blocks * BLOCK; i < columns; ++i) rest += x[i];
    const float mean = (total(sums) + rest) / size;

    Vector squares[CHAINS] = {};
    for (std::int64_t block = 0; block < blocks; ++block) {
        for (int c = 0; c < CHAINS; ++c) {
            const Vector deviation = x_vectors[block * CHAINS + c] - mean;
            squares[c] += deviation * deviation;
        }
    }
    rest = 0;
    for (std::int64_t i = blocks * BLOCK; i < columns; ++i) rest += (x[i] - mean) * (x[i] - mean);
    const float scale = 1.0F / std::sqrt((total(squares) + rest) / size + epsilon);

    for (std::int64_t i = 0; i < blocks * CHAINS; ++i) {
        y_vectors[i] = (x_vectors[i] - mean) * scale * gain_vectors[i] + offset_vectors[i];
    }
    for (std::int64_t i = blocks * BLOCK; i < columns; ++i) {
        y[i] = (x[i] - mean) * scale * gain[i] + offset[i];
    }
}

}  // namespace

void layer_norm(const float* x, std::int64_t rows, std::int64_t columns, const float* gain,
                const float* offset, float epsilon, float* y, const Workers& workers) {
    const std::int64_t tasks = std::min<std::int64_t>(rows, std::max(1, workers.threads));
    workers.run(tasks, [&](std::int64_t task) {
        for (std::int64_t row = rows * task / tasks; row < rows * (task + 1) / tasks; ++row) {
            norm_row(x + row * columns, columns, gain, offset, epsilon, y + row * columns);
        }
    });
}

}  // namespace vpr_ros::kernels
