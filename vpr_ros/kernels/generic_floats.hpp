// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// Sums as float32: the epilogue with GELU, and softmax.

#pragma once

#include "generic_vectors.hpp"

#include <limits>

namespace vpr_ros::kernels {
namespace {

// ---- float32 functions ------------------------------------------------------------------------
//
// They work on SIDE vectors at once, operation by operation. The operations on a single vector
// each wait for the one before, which would leave the processor idle.

constexpr int SIDE = PANEL / WIDTH < 4 ? PANEL / WIDTH : 4;
constexpr int SIDE_WIDTH = SIDE * WIDTH;

struct Vectors {
    Float of[SIDE];
};

template <class Operation>
inline void each(Operation operation) {
#pragma GCC unroll 4
    for (int i = 0; i < SIDE; ++i) {
        operation(i);
    }
}

// p[0] + p[1] x + ...
template <std::size_t TERMS>
inline Vectors polynomial(const Vectors& x, const float (&p)[TERMS]) {
    Vectors value;
    each([&](int i) { value.of[i] = Lanes::all(p[TERMS - 1]); });
#pragma GCC unroll 8
    for (int term = static_cast<int>(TERMS) - 2; term >= 0; --term) {
        each([&](int i) {
            value.of[i] = Lanes::multiply_add(value.of[i], x.of[i], Lanes::all(p[term]));
        });
    }
    return value;
}

// 2^x = 2^round(x) * p(x - round(x)) with p of the least relative error on [-1/2, 1/2].
template <std::size_t TERMS>
inline Vectors power_of_two(const Vectors& x, const float (&p)[TERMS]) {
    Vectors whole;
    Vectors part;
    each([&](int i) { whole.of[i] = Lanes::round(x.of[i]); });
    each([&](int i) { part.of[i] = Lanes::subtract(x.of[i], whole.of[i]); });
    Vectors value = polynomial(part, p);
    each([&](int i) { value.of[i] = Lanes::times_power_of_two(value.of[i], whole.of[i]); });
    return value;
}

constexpr float POWER[] = {1.000000072F,   0.6931469671F,  0.2402211972F,
                           0.05550713275F, 0.00967554148F, 0.001327647203F};  // to 7.5e-8
constexpr float SHARES[] = {SHARE_LEVELS * 0.999928073F, SHARE_LEVELS * 0.6932609862F,
                            SHARE_LEVELS * 0.2426111314F,
                            SHARE_LEVELS * 0.05517166936F};  // times 254; to 7.5e-5
constexpr float SMALLEST_EXPONENT = -120.0F;  // 2^x is then still a normal number

// log2(erfc(z / sqrt 2) / 2) on [0, TAIL_END], fitted by reweighted least squares; z times the tail
// is off by at most 5.2e-8. Beyond TAIL_END the tail is negligible.
constexpr float TAIL_END = 7.0F;
constexpr float TAIL[] = {-0.999993061F, -1.1512017F,     -0.458770977F, -0.0534120987F,
                          0.00808071273F, -0.000769218438F, 3.30926562e-05F};

// x (1 + erf(x / sqrt 2)) / 2 = max(x, 0) - |x| erfc(|x| / sqrt 2) / 2.
inline void gelu(Vectors& x) {
    Vectors z;
    Vectors bounded;
    each([&](int i) { z.of[i] = Lanes::magnitude(x.of[i]); });
    each([&](int i) { bounded.of[i] = Lanes::smaller(z.of[i], Lanes::all(TAIL_END)); });
    const Vectors tail = power_of_two(polynomial(bounded, TAIL), POWER);
    each([&](int i) {
        const Float positive = Lanes::larger(x.of[i], Lanes::all(0.0F));
        x.of[i] = Lanes::subtract(positive, Lanes::multiply(z.of[i], tail.of[i]));
    });
}

// One row of PANEL outputs.
template <bool GELU>
inline void finish_row(const Finish& row) {
    const Float factor = Lanes::all(*row.row_factor);
    for (int start = 0; start < PANEL; start += SIDE_WIDTH) {
        Vectors value;
        each([&](int i) {
            const int at = start + i * WIDTH;
            Int sum = Lanes::load_int(row.sums + at);
            if (row.output_shift != nullptr) {
                sum = Lanes::add_int(sum, Lanes::load_int(row.output_shift + at));
            }
            value.of[i] = Lanes::multiply(Lanes::to_float(sum), factor);
            if (row.output_factor != nullptr) {
                value.of[i] = Lanes::multiply(value.of[i], Lanes::load(row.output_factor + at));
            }
            if (row.bias != nullptr) {
                value.of[i] = Lanes::add(value.of[i], Lanes::load(row.bias + at));
            }
        });
        if (GELU) {
            gelu(value);
        }
        each([&](int i) {
            const int at = start + i * WIDTH;
            if (row.residual != nullptr) {
                value.of[i] = Lanes::add(value.of[i], Lanes::load(row.residual + at));
            }
            Lanes::store(row.y + at, value.of[i]);
        });
    }
}

// `count` numbers followed by zeros; null stays null.
template <class T>
inline const T* padded(const T* numbers, int count, T (&room)[PANEL]) {
    if (numbers == nullptr || count == PANEL) {
        return numbers;
    }
    std::memset(room, 0, sizeof room);
    std::memcpy(room, numbers, static_cast<std::size_t>(count) * sizeof(T));
    return room;
}

template <bool GELU>
inline void finish_rows(const Finish& job) {
    float factor_room[PANEL];
    float bias_room[PANEL];
    float residual_room[PANEL];
    std::int32_t shift_room[PANEL];
    Finish row = job;
    row.output_factor = padded(job.output_factor, job.outputs, factor_room);
    row.output_shift = padded(job.output_shift, job.outputs, shift_room);
    row.bias = padded(job.bias, job.outputs, bias_room);
    for (int i = 0; i < job.rows; ++i) {
        const std::int64_t start = i * job.y_stride;
        row.sums = job.sums + i * PANEL;
        row.row_factor = job.row_factor + i;
        if (job.residual != nullptr) {
            row.residual = padded(job.residual + start, job.outputs, residual_room);
        }
        float y_room[PANEL];
        row.y = job.outputs == PANEL ? job.y + start : y_room;
        finish_row<GELU>(row);
        if (row.y == y_room) {
            std::memcpy(job.y + start, y_room,
                        static_cast<std::size_t>(job.outputs) * sizeof(float));
        }
    }
}

void finish(const Finish& job) {
    if (job.activation == Activation::gelu) {
        finish_rows<true>(job);
    } else {
        finish_rows<false>(job);
    }
}

// ---- softmax ----------------------------------------------------------------------------------

void logits(const std::int32_t* sums, float factor, const float* key_factor, int keys,
            float* logit) {
    const Float factors = Lanes::all(factor);
    for (int i = 0; i < PANEL; i += WIDTH) {
        const Float sum = Lanes::multiply(Lanes::to_float(Lanes::load_int(sums + i)), factors);
        Lanes::store(logit + i, Lanes::multiply(sum, Lanes::load(key_factor + i)));
    }
    for (int i = keys; i < PANEL; ++i) {
        logit[i] = -std::numeric_limits<float>::infinity();
    }
}

std::int32_t shares(float* logit, std::int64_t padded, std::int8_t* codes) {
    Float top = Lanes::load(logit);
    for (std::int64_t i = WIDTH; i < padded; i += WIDTH) {
        top = Lanes::larger(top, Lanes::load(logit + i));
    }
    const float largest = Lanes::largest_of(top);
    if (!(largest - largest == 0.0F)) {  // infinite or NaN
        std::memset(codes, 0, static_cast<std::size_t>(padded));
        return 0;
    }
    top = Lanes::all(largest);
    const Float least = Lanes::all(SMALLEST_EXPONENT);
    const Int offset = Lanes::all_int(-SHARE_OFFSET);
    Int total = Lanes::all_int(0);
    for (std::int64_t start = 0; start < padded; start += SIDE_WIDTH) {
        Vectors exponent;
        each([&](int i) {
            const Float below = Lanes::subtract(Lanes::load(logit + start + i * WIDTH), top);
            exponent.of[i] = Lanes::larger(below, least);
        });
        const Vectors share = power_of_two(exponent, SHARES);
        each([&](int i) {
            const Int whole = Lanes::round_to_int(share.of[i]);
            Lanes::store(logit + start + i * WIDTH, share.of[i]);
            Lanes::store_codes(codes + start + i * WIDTH, Lanes::add_int(whole, offset));
            total = Lanes::add_int(total, whole);
        });
    }
    return Lanes::sum_of(total);
}

std::int32_t fine_shares(const float* shares, std::int64_t padded, std::int8_t* codes) {
    const Float levels = Lanes::all(static_cast<float>(SHARE_LEVELS));
    Int total = Lanes::all_int(0);
    for (std::int64_t i = 0; i < padded; i += WIDTH) {
        const Float share = Lanes::load(shares + i);
        const Float rest = Lanes::subtract(share, Lanes::round(share));
        const Int code = Lanes::round_to_int(Lanes::multiply(rest, levels));
        Lanes::store_codes(codes + i, code);
        total = Lanes::add_int(total, code);
    }
    return Lanes::sum_of(total);
}

}  // namespace
}  // namespace vpr_ros::kernels
