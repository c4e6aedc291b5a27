// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// What the layers ask of an instruction set: a table of functions, one table per translation unit
// that is compiled for that set.
//
// All products are of one kind: rows of int8 codes (one row a token) times a panel. A panel holds
// PANEL outputs in groups of GROUP channels: byte [group][output][channel of the group]. That is
// the order in which dot-product instructions take them. Bytes of a panel are weights plus an
// offset, because some of these instructions want one side unsigned; the offset is taken out again
// by starting the sums at -offset * (sum of the row's codes).

#pragma once

#include "kernels.hpp"

#include <cstdint>

namespace vpr_ros::kernels {

constexpr int PANEL = 64;                          // outputs of a panel
constexpr int GROUP = 4;                           // channels that one instruction sums
constexpr int GROUP_BYTES = PANEL * GROUP;         // a panel's bytes for one group
constexpr int PACKED_BYTES = PANEL / 4;            // 2-bit weights of one channel in a panel
constexpr int STEP = 64;                           // codes of a row are padded to whole steps
constexpr int TERNARY_OFFSET = 1;                  // w + 1 in {0, 1, 2}
constexpr int LEVELS = 127;                        // codes are whole numbers in [-127, 127]
constexpr int SHARE_LEVELS = 254;                  // softmax shares are whole numbers in [0, 254]
constexpr int SHARE_OFFSET = 127;                  // and stored less this, so that they are codes
constexpr int MOST_ROWS = 6;                       // rows that `multiply` takes at once, at most

static constexpr std::int64_t round_up(std::int64_t value, std::int64_t step) {
    return (value + step - 1) / step * step;
}

// Where the 2-bit weights of a group's channels lie; see `Backend::expand_and_multiply`.
static inline void find_rows(const std::uint8_t* packed, const std::int32_t* channels,
                             std::int64_t group, const std::uint8_t* (&rows)[GROUP]) {
    for (int i = 0; i < GROUP; ++i) {
        const std::int64_t channel = group * GROUP + i;
        rows[i] = packed + (channels == nullptr ? channel : channels[channel]) * PACKED_BYTES;
    }
}

// What is known of a token besides its codes.
struct TokenCodes {
    float scale;             // x is about code * scale; NaN where x has a non-finite value
    std::int32_t sum;        // of the codes
    std::int32_t magnitude;  // sum of |code|
};

// Sums (rows, PANEL) of codes times panel, and what becomes of them.
struct Finish {
    const std::int32_t* sums;
    int rows;
    int outputs;                       // of the panel, at most PANEL
    const float* row_factor;           // (rows)
    const float* output_factor;        // (outputs), or none
    const std::int32_t* output_shift;  // (outputs), added to the sums, or none
    const float* bias;                 // (outputs), or none
    Activation activation;
    const float* residual;             // a row of y's shape each `y_stride`, or none
    float* y;
    std::int64_t y_stride;
    const std::int64_t* y_row;         // (rows): which row of y and residual
};

struct Backend {
    Isa isa;
    int row_block;    // rows that `multiply` likes best
    int byte_offset;  // added to signed bytes in a panel
    int build_cost;   // building a panel takes about as long as multiplying it with so many rows

    // x (count) to codes, zero up to the next whole step.
    TokenCodes (*quantise)(const float* x, std::int64_t count, std::int8_t* codes);

    // votes += rint(|code| * gain); both arrays are whole steps long.
    void (*add_votes)(const std::int8_t* codes, std::int64_t count, float gain, float* votes);

    // Sets the bits of the `kept` largest votes or |codes|; ties go to the lower index. Arrays are
    // whole steps long; keep has one word a step.
    void (*keep_largest_votes)(const float* votes, std::int64_t count, std::int64_t kept,
                               std::uint64_t* keep);
    void (*keep_largest_codes)(const std::int8_t* codes, std::int64_t count, std::int64_t kept,
                               std::uint64_t* keep);

    // The kept codes one after the other; writes up to a step beyond them. Returns their sum.
    std::int32_t (*compress)(const std::int8_t* codes, const std::uint64_t* keep,
                             std::int64_t steps, std::int8_t* kept_codes);

    // Zero where not kept. Returns the sum of what is left.
    std::int32_t (*clear)(std::int8_t* codes, const std::uint64_t* keep, std::int64_t steps);

    // Makes a panel of 2-bit weights `packed` (channels, PACKED_BYTES): of the channels listed
    // (groups * GROUP of them), or without a list of the first ones; and, as `multiply_ternary`,
    // its product with the first rows.
    void (*expand_and_multiply)(const std::uint8_t* packed, const std::int32_t* channels,
                                const std::int8_t* codes, std::int64_t stride, int rows,
                                const std::int32_t* first, std::uint8_t* panel,
                                std::int64_t groups, int outputs, std::int32_t* sums);

    // sums (rows, PANEL) = first[row] + codes x panel for `outputs` (rounded up to 16) outputs.
    // codes: rows `stride` bytes apart. The ternary form may rely on panel bytes being 0, 1 or 2.
    void (*multiply_ternary)(const std::int8_t* codes, std::int64_t stride, int rows,
                             const std::int32_t* first, const std::uint8_t* panel,
                             std::int64_t groups, int outputs, std::int32_t* sums);
    void (*multiply_bytes)(const std::int8_t* codes, std::int64_t stride, int rows,
                           const std::int32_t* first, const std::uint8_t* panel,
                           std::int64_t groups, int outputs, std::int32_t* sums);

    void (*finish)(const Finish& job);

    // A row's logits for the PANEL keys of a panel, times log2 e: (sums * factor) * key_factor for
    // `keys` of them, minus infinity for the rest.
    void (*logits)(const std::int32_t* sums, float factor, const float* key_factor, int keys,
                   float* logits);

    // Logits become shares, 254 * 2^(logit - largest), and these, rounded and less SHARE_OFFSET,
    // codes; `padded` counts whole steps. Returns the sum of the rounded shares; 0, and leaves the
    // logits, where the largest is not finite.
    std::int32_t (*shares)(float* logits, std::int64_t padded, std::int8_t* codes);

    // What rounding took from shares, in 254ths, as codes. Returns their sum.
    std::int32_t (*fine_shares)(const float* shares, std::int64_t padded, std::int8_t* codes);

    // `tokens` rows of codes, `stride` apart, as the outputs of a panel (the rest: zeros).
    void (*interleave)(const std::int8_t* codes, std::int64_t stride, int tokens,
                       std::int64_t groups, std::uint8_t* panel);

    // Magnitudes: largest (channels) = max(largest, |x| of each of `rows` rows), as bit patterns.
    void (*raise_to)(const float* x, std::int64_t row_stride, std::int64_t rows, int channels,
                     std::int32_t* largest);

    // One group of a panel from GROUP rows of values (the last may lack): code = rint(x * gain) of
    // `channels` outputs; adds the codes to code_sum (PANEL).
    void (*value_group)(const float* x, std::int64_t row_stride, int rows, int channels,
                        const float* gain, std::uint8_t* group, std::int32_t* code_sum);
};

// The table for `isa`, or null where it was not compiled.
const Backend* backend_scalar();
const Backend* backend_avx2();
const Backend* backend_avx2_vnni();
const Backend* backend_avx512_vnni();
const Backend* backend_avx512_vbmi();
const Backend* backend_neon_dotprod();

// The table of an available set. Throws std::invalid_argument.
const Backend& backend_of(Isa isa);

}  // namespace vpr_ros::kernels
