// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// What the layers need from an instruction set: one table of functions per set. backend.cpp fills
// it and is compiled once for each set.
//
// All products have one form: rows of int8 codes (one row per token) times a panel. A panel holds
// PANEL outputs in groups of GROUP channels, as bytes [group][output][channel of the group]: the
// order in which dot-product instructions read them. Some of these instructions need one unsigned
// operand, so the bytes of a panel are weights plus an offset. Starting the sums at
// -offset * (sum of the row's codes) takes the offset out again.

#pragma once

#include "kernels.hpp"

#include <cstdint>

namespace vpr_ros::kernels {

constexpr int PANEL = 64;                   // outputs of a panel
constexpr int GROUP = 4;                    // channels that one instruction sums
constexpr int GROUP_BYTES = PANEL * GROUP;  // a panel's bytes for one group
constexpr int PACKED_BYTES = PANEL / 4;     // 2-bit weights of one channel in a panel
constexpr int STEP = 64;                    // rows of codes are padded to a multiple of this
constexpr int TERNARY_OFFSET = 1;           // w + 1 in {0, 1, 2}
constexpr int LEVELS = 127;                 // codes are whole numbers in [-127, 127]
constexpr int CODE_OFFSET = 128;            // codes plus this are unsigned bytes
constexpr int NARROW = 64;                  // 2 * 255 * 64 is a number of 16 bits
constexpr int SHARE_LEVELS = 254;           // softmax shares are whole numbers in [0, 254]
constexpr int SHARE_OFFSET = 127;           // subtracted from shares, which makes them codes
constexpr int MOST_ROWS = 6;                // the most rows that `multiply_*` takes at once
constexpr float SMALLEST_PEAK = 1e-8F;      // as in vpr_ros/networks
constexpr std::int32_t INFINITE = 0x7f800000;  // bits of infinity; those of NaN are larger

static constexpr std::int64_t round_up(std::int64_t value, std::int64_t step) {
    return (value + step - 1) / step * step;
}

// The number of blocks of `step` that hold `value` elements.
static constexpr std::int64_t blocks(std::int64_t value, std::int64_t step) {
    return (value + step - 1) / step;
}

// A row of activations as codes.
struct TokenCodes {
    float scale;       // x is about code * scale; NaN if x has a non-finite value
    std::int32_t sum;  // of the codes
};

// Sums (rows, PANEL) of codes times panel, and what follows.
struct Finish {
    const std::int32_t* sums;
    int rows;
    int outputs;                       // of the panel, at most PANEL
    const float* row_factor;           // (rows)
    const float* output_factor;        // (outputs), or null
    const std::int32_t* output_shift;  // (outputs), added to the sums; or null
    const float* bias;                 // (outputs), or null
    Activation activation;
    const float* residual;             // rows `y_stride` apart, like y; or null
    float* y;
    std::int64_t y_stride;
};

struct Backend {
    Isa isa;
    int row_block;    // the number of rows at which `multiply_*` is fastest
    int byte_offset;  // added to signed bytes in a panel

    // x (count) to codes, padded with zeros to a whole step.
    TokenCodes (*quantise)(const float* x, std::int64_t count, std::int8_t* codes);

    // Makes a panel from the 2-bit weights `packed` (channels, PACKED_BYTES) and, like
    // `multiply_ternary`, multiplies the first rows by it. `channels` lists groups * GROUP
    // channels; null stands for the first ones in order.
    void (*expand_and_multiply)(const std::uint8_t* packed, const std::int32_t* channels,
                                const std::int8_t* codes, std::int64_t stride, int rows,
                                const std::int32_t* first, std::uint8_t* panel,
                                std::int64_t groups, int outputs, std::int32_t* sums);

    // sums (rows, PANEL) = first[row] + codes x panel for `outputs` (rounded up to 16) outputs.
    // Rows of codes are `stride` bytes apart. In the ternary form all panel bytes are 0, 1 or 2.
    void (*multiply_ternary)(const std::int8_t* codes, std::int64_t stride, int rows,
                             const std::int32_t* first, const std::uint8_t* panel,
                             std::int64_t groups, int outputs, std::int32_t* sums);
    void (*multiply_bytes)(const std::int8_t* codes, std::int64_t stride, int rows,
                           const std::int32_t* first, const std::uint8_t* panel,
                           std::int64_t groups, int outputs, std::int32_t* sums);

    // Like `multiply_bytes`, for codes + CODE_OFFSET as unsigned bytes and a panel of signed bytes
    // in [-NARROW, NARROW]; null where that is no faster. The caller takes the offset out.
    void (*multiply_unsigned)(const std::int8_t* codes, std::int64_t stride, int rows,
                              const std::int32_t* first, const std::uint8_t* panel,
                              std::int64_t groups, int outputs, std::int32_t* sums);

    void (*finish)(const Finish& job);

    // The logits of one row for the PANEL keys of a panel, times log2 e:
    // (sums * factor) * key_factor for the first `keys`, minus infinity for the rest.
    void (*logits)(const std::int32_t* sums, float factor, const float* key_factor, int keys,
                   float* logits);

    // Replaces logits by shares, 254 * 2^(logit - largest), and writes the rounded shares less
    // SHARE_OFFSET as codes; `padded` is a multiple of STEP. Returns the sum of the rounded
    // shares. If the largest logit is not finite, returns 0 and leaves the logits alone.
    std::int32_t (*shares)(float* logits, std::int64_t padded, std::int8_t* codes);

    // What rounding took from the shares, in 1/254, as codes. Returns their sum.
    std::int32_t (*fine_shares)(const float* shares, std::int64_t padded, std::int8_t* codes);

    // `tokens` rows of codes, `stride` bytes apart, as the first outputs of a panel; zeros follow.
    void (*interleave)(const std::int8_t* codes, std::int64_t stride, int tokens,
                       std::int64_t groups, std::uint8_t* panel);

    // largest (channels) = max(largest, |x| of each of `rows` rows), as the bits of floats.
    void (*raise_to)(const float* x, std::int64_t row_stride, std::int64_t rows, int channels,
                     std::int32_t* largest);

    // Makes one group of a panel from up to GROUP rows of values: code = rint(x * gain) for
    // `channels` outputs. Adds the codes to code_sum (PANEL).
    void (*value_group)(const float* x, std::int64_t row_stride, int rows, int channels,
                        const float* gain, std::uint8_t* group, std::int32_t* code_sum);
};

// The table of an available set. Throws std::invalid_argument.
const Backend& backend_of(Isa isa);

// What follows is for the lanes_*.hpp. It has internal linkage, so that no function compiled for
// one instruction set can be linked into the code of another.
namespace {

// Where the 2-bit weights of a group's channels are; see `Backend::expand_and_multiply`.
[[maybe_unused]] inline void find_rows(const std::uint8_t* packed, const std::int32_t* channels,
                                       std::int64_t group, const std::uint8_t* (&rows)[GROUP]) {
    for (int i = 0; i < GROUP; ++i) {
        const std::int64_t channel = group * GROUP + i;
        rows[i] = packed + (channels == nullptr ? channel : channels[channel]) * PACKED_BYTES;
    }
}

// Calls Tile::run<ROWS>(arguments...) for rows = 1 .. MOST_ROWS.
template <class Tile, int ROWS = MOST_ROWS, class... Arguments>
inline void with_rows(int rows, Arguments... arguments) {
    if (rows == ROWS) {
        Tile::template run<ROWS>(arguments...);
    } else if constexpr (ROWS > 1) {
        with_rows<Tile, ROWS - 1>(rows, arguments...);
    }
}

// COUNT vectors of weights for one group, from a panel.
template <class Lanes, int VECTORS>
struct PanelWeights {
    static constexpr int COUNT = VECTORS;
    const std::uint8_t* panel;

    void load(std::int64_t group, typename Lanes::Int (&weight)[COUNT]) const {
#pragma GCC unroll 4
        for (int v = 0; v < COUNT; ++v) {
            weight[v] = Lanes::load_bytes(panel + group * GROUP_BYTES + v * Lanes::WIDTH * GROUP);
        }
    }
};

// ROWS rows times COUNT vectors of outputs, with all sums in registers.
template <class Lanes, class Weights>
struct Tile {
    using Int = typename Lanes::Int;

    template <int ROWS>
    static void run(const std::int8_t* codes, std::int64_t stride, const std::int32_t* first,
                    Weights weights, std::int64_t groups, std::int32_t* sums) {
        Int sum[ROWS][Weights::COUNT];
#pragma GCC unroll 6
        for (int row = 0; row < ROWS; ++row) {
#pragma GCC unroll 4
            for (int v = 0; v < Weights::COUNT; ++v) {
                sum[row][v] = Lanes::all_int(first[row]);
            }
        }
        for (std::int64_t group = 0; group < groups; ++group) {
            Int weight[Weights::COUNT];
            weights.load(group, weight);
#pragma GCC unroll 6
            for (int row = 0; row < ROWS; ++row) {
                std::int32_t four;
                __builtin_memcpy(&four, codes + row * stride + group * GROUP, sizeof four);
                const Int code = Lanes::all_int(four);
#pragma GCC unroll 4
                for (int v = 0; v < Weights::COUNT; ++v) {
                    sum[row][v] = Lanes::add_products(sum[row][v], weight[v], code);
                }
            }
        }
#pragma GCC unroll 6
        for (int row = 0; row < ROWS; ++row) {
#pragma GCC unroll 4
            for (int v = 0; v < Weights::COUNT; ++v) {
                Lanes::store_int(sums + row * PANEL + v * Lanes::WIDTH, sum[row][v]);
            }
        }
    }
};

// `Backend::multiply_bytes`, with up to VECTORS vectors of outputs at a time, but always a multiple
// of 16 outputs.
template <class Lanes, int VECTORS>
inline void multiply_tiles(const std::int8_t* codes, std::int64_t stride, int rows,
                           const std::int32_t* first, const std::uint8_t* panel,
                           std::int64_t groups, int outputs, std::int32_t* sums) {
    constexpr int WIDE = VECTORS * Lanes::WIDTH;
    int output = 0;
    for (; output + WIDE - 16 < outputs; output += WIDE) {
        using Weights = PanelWeights<Lanes, VECTORS>;
        with_rows<Tile<Lanes, Weights>>(rows, codes, stride, first,
                                        Weights{panel + output * GROUP}, groups, sums + output);
    }
    if constexpr (WIDE > 16) {
        if (output < outputs) {
            multiply_tiles<Lanes, VECTORS - 1>(codes, stride, rows, first, panel + output * GROUP,
                                               groups, outputs - output, sums + output);
        }
    }
}

// `Backend::expand_and_multiply` for sets that gain nothing from doing both at once.
template <class Lanes>
inline void expand_then_multiply(const std::uint8_t* packed, const std::int32_t* channels,
                                 const std::int8_t* codes, std::int64_t stride, int rows,
                                 const std::int32_t* first, std::uint8_t* panel,
                                 std::int64_t groups, int outputs, std::int32_t* sums) {
    for (std::int64_t group = 0; group < groups; ++group) {
        const std::uint8_t* channel_rows[GROUP];
        find_rows(packed, channels, group, channel_rows);
        Lanes::expand_group(channel_rows, panel + group * GROUP_BYTES);
    }
    Lanes::multiply_ternary(codes, stride, rows, first, panel, groups, outputs, sums);
}

}  // namespace
}  // namespace vpr_ros::kernels
