// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// Codes of tokens and the selection among them.
//
// Rounding follows the torch layer operation for operation (networks/activations.py and
// structured_topk.py): one division, one product, halves to even.

#pragma once

#include "generic_vectors.hpp"

#include <limits>

namespace vpr_ros::kernels {
namespace {

constexpr float SMALLEST_PEAK = 1e-8F;         // as in networks/activations.py
constexpr std::int32_t INFINITE = 0x7f800000;  // bits of infinity; those of NaN are larger

// ---- codes of a token -------------------------------------------------------------------------

TokenCodes quantise(const float* x, std::int64_t count, std::int8_t* codes) {
    Int largest = Lanes::all_int(0);
    for_vectors(count, [&](std::int64_t i, auto n) {
        largest = Lanes::larger_int(largest, Lanes::magnitude_bits(load(x + i, n)));
    });
    const std::int32_t peak_bits = Lanes::largest_int_of(largest);
    const std::int64_t padded = round_up(count, STEP);
    if (peak_bits >= INFINITE) {
        std::memset(codes, 0, static_cast<std::size_t>(padded));
        return {std::numeric_limits<float>::quiet_NaN(), 0, 0};
    }
    float peak;
    std::memcpy(&peak, &peak_bits, sizeof peak);
    peak = peak < SMALLEST_PEAK ? SMALLEST_PEAK : peak;
    const Float gain = Lanes::all(static_cast<float>(LEVELS) / peak);
    Int sum = Lanes::all_int(0);
    Int magnitude = Lanes::all_int(0);
    for_vectors(count, [&](std::int64_t i, auto n) {
        const Int code = Lanes::round_to_int(Lanes::multiply(load(x + i, n), gain));
        Lanes::store_codes(codes + i, code);
        sum = Lanes::add_int(sum, code);
        magnitude = Lanes::add_int(magnitude, Lanes::magnitude_int(code));
    });
    const std::int64_t written = round_up(count, WIDTH);
    std::memset(codes + written, 0, static_cast<std::size_t>(padded - written));
    return {peak / LEVELS, Lanes::sum_of(sum), Lanes::sum_of(magnitude)};
}

std::int32_t sum_of_codes(const std::int8_t* codes, std::int64_t padded) {
    Int sum = Lanes::all_int(0);
    for (std::int64_t i = 0; i < padded; i += WIDTH) {
        sum = Lanes::add_int(sum, Lanes::load_codes(codes + i));
    }
    return Lanes::sum_of(sum);
}

// ---- selection --------------------------------------------------------------------------------

void add_votes(const std::int8_t* codes, std::int64_t count, float gain, float* votes) {
    const Float gains = Lanes::all(gain);
    for (std::int64_t i = 0; i < round_up(count, STEP); i += WIDTH) {
        const Int magnitude = Lanes::magnitude_int(Lanes::load_codes(codes + i));
        const Float vote = Lanes::round(Lanes::multiply(Lanes::to_float(magnitude), gains));
        Lanes::store(votes + i, Lanes::add(Lanes::load(votes + i), vote));
    }
}

inline std::uint64_t bits_of_step(std::int64_t count, std::int64_t step) {
    const std::int64_t rest = count - step * STEP;
    return rest >= STEP ? ~std::uint64_t{0} : (std::uint64_t{1} << rest) - 1;
}

// The lowest `places` set bits.
inline std::uint64_t lowest_bits(std::uint64_t bits, std::int64_t places) {
    std::uint64_t chosen = 0;
    for (; places > 0; --places) {
        chosen |= bits & (~bits + 1);
        bits &= bits - 1;
    }
    return chosen;
}

// Marks the `kept` largest of `count` scores. at_least(step, level): the bits of the scores of a
// step that reach a level. Finds by bisection the highest level that `kept` scores reach, below
// `above_all`, which none does.
template <class AtLeast>
void keep_largest(std::int64_t count, std::int64_t kept, std::int32_t above_all, AtLeast at_least,
                  std::uint64_t* keep) {
    const std::int64_t steps = round_up(count, STEP) / STEP;
    std::int32_t reached = 0;
    while (above_all - reached > 1) {
        const std::int32_t level = reached + (above_all - reached) / 2;
        std::int64_t number = 0;
        for (std::int64_t step = 0; step < steps; ++step) {
            number += __builtin_popcountll(at_least(step, level) & bits_of_step(count, step));
        }
        (number >= kept ? reached : above_all) = level;
        if (number == kept) {
            break;
        }
    }
    std::int64_t places = kept;
    for (std::int64_t step = 0; step < steps; ++step) {
        keep[step] = at_least(step, reached + 1) & bits_of_step(count, step);
        places -= __builtin_popcountll(keep[step]);
    }
    for (std::int64_t step = 0; step < steps && places > 0; ++step) {
        const std::uint64_t tied =
            at_least(step, reached) & bits_of_step(count, step) & ~keep[step];
        const std::int64_t number = __builtin_popcountll(tied);
        keep[step] |= number <= places ? tied : lowest_bits(tied, places);
        places -= number;
    }
}

// Floats of at least 0 are in the order of their bits.
void keep_largest_votes(const float* votes, std::int64_t count, std::int64_t kept,
                        std::uint64_t* keep) {
    Int largest = Lanes::all_int(0);
    for (std::int64_t i = 0; i < round_up(count, STEP); i += WIDTH) {
        largest = Lanes::larger_int(largest, Lanes::magnitude_bits(Lanes::load(votes + i)));
    }
    const auto at_least = [votes](std::int64_t step, std::int32_t bits) {
        return Lanes::votes_at_least(votes + step * STEP, bits);
    };
    keep_largest(count, kept, Lanes::largest_int_of(largest) + 1, at_least, keep);
}

void keep_largest_codes(const std::int8_t* codes, std::int64_t count, std::int64_t kept,
                        std::uint64_t* keep) {
    const auto at_least = [codes](std::int64_t step, std::int32_t level) {
        return Lanes::codes_at_least(codes + step * STEP, level);
    };
    keep_largest(count, kept, LEVELS + 1, at_least, keep);
}

std::int32_t compress(const std::int8_t* codes, const std::uint64_t* keep, std::int64_t steps,
                      std::int8_t* kept_codes) {
    std::int64_t count = 0;
    for (std::int64_t step = 0; step < steps; ++step) {
        count += Lanes::compress_step(codes + step * STEP, keep[step], kept_codes + count);
    }
    std::memset(kept_codes + count, 0, STEP);
    return sum_of_codes(kept_codes, round_up(count, WIDTH));
}

// 0xff in the bytes whose bits are set.
struct ByteMasks {
    std::uint64_t of_bits[256] = {};
    constexpr ByteMasks() {
        for (unsigned bits = 0; bits < 256; ++bits) {
            for (unsigned i = 0; i < 8; ++i) {
                of_bits[bits] |= (bits >> i) & 1U ? std::uint64_t{255} << (8 * i) : 0;
            }
        }
    }
};
constexpr ByteMasks BYTE_MASKS;

std::int32_t clear(std::int8_t* codes, const std::uint64_t* keep, std::int64_t steps) {
    for (std::int64_t i = 0; i < steps * STEP; i += 8) {
        const std::uint64_t bits = (keep[i / STEP] >> (i % STEP)) & 255U;
        std::uint64_t eight;
        std::memcpy(&eight, codes + i, sizeof eight);
        eight &= BYTE_MASKS.of_bits[bits];
        std::memcpy(codes + i, &eight, sizeof eight);
    }
    return sum_of_codes(codes, steps * STEP);
}

}  // namespace
}  // namespace vpr_ros::kernels
