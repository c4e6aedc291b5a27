// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// Attention with int8 products: first the keys and values of every head become panels, then blocks
// of queries are multiplied by them.

#include "buffer.hpp"
#include "product.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

namespace vpr_ros::kernels {
namespace {

constexpr std::int64_t QUERIES_PER_TASK = 48;
// If the mean of a row's rounded shares is below this, rounding may have taken more than 1/32 of
// the total, and a second product adds it back. Trained networks do have rows of one large share
// and many small ones.
constexpr std::int64_t COARSE_MEAN = 16;
constexpr float LOG2_E = 1.44269504F;
constexpr float NOT_A_NUMBER = std::numeric_limits<float>::quiet_NaN();

// Sizes that follow from the shape.
struct Sizes {
    explicit Sizes(const AttentionShape& shape)
        : key_panels(blocks(shape.keys, PANEL)),
          key_groups(blocks(shape.keys, GROUP)),
          size_panels(blocks(shape.head_size, PANEL)),
          size_groups(blocks(shape.head_size, GROUP)),
          key_panel_bytes(size_groups * GROUP_BYTES),
          value_panel_bytes(key_groups * GROUP_BYTES) {}

    std::int64_t key_panels;   // outputs of q k^T
    std::int64_t key_groups;   // channels of the product with v
    std::int64_t size_panels;  // outputs of the product with v
    std::int64_t size_groups;  // channels of q k^T
    std::int64_t key_panel_bytes;
    std::int64_t value_panel_bytes;
};

// Keys and values of one head of one image.
struct Head {
    std::uint8_t* key_panels;
    std::uint8_t* value_panels;
    float* key_factor;           // (key_panels * PANEL)
    float* value_factor;         // (size_panels * PANEL)
    std::int32_t* output_shift;  // (size_panels * PANEL): takes SHARE_OFFSET out of the sums
    std::uint8_t* finite;        // 1 or 0
};

// Buffers of a run, which its thread keeps for the next one.
struct Scratch {
    Buffer<std::uint8_t> panels;
    Buffer<float> factors;
    Buffer<std::int32_t> shifts;
    Buffer<std::uint8_t> finite;
};
thread_local Scratch spare;

// Buffers of a task.
struct TaskScratch {
    Buffer<std::int8_t> codes;
    Buffer<float> logits;
    Buffer<float> gains;
    Buffer<std::int32_t> peaks;
};
thread_local TaskScratch task_scratch;

struct Task {
    const Backend& backend;
    const AttentionShape& shape;
    const Sizes sizes;

    bool pack_keys(const Head& head, const float* k, std::int64_t row_stride) const;
    bool pack_values(const Head& head, const float* v, std::int64_t row_stride) const;
    void attend(const Head& head, const float* q, std::int64_t row_stride, std::int64_t queries,
                float* y) const;
    void attend_block(const Head& head, const float* q, std::int64_t row_stride, int queries,
                      float* y) const;
    void add_values(const Head& head, const CodeRows& rows, int queries, bool shifted,
                    const Epilogue& epilogue, float* y) const;
};

bool Task::pack_keys(const Head& head, const float* k, std::int64_t row_stride) const {
    const std::int64_t stride = round_up(shape.head_size, STEP);
    std::int8_t* codes = task_scratch.codes.room(PANEL, stride);
    bool finite = true;
    for (std::int64_t panel = 0; panel < sizes.key_panels; ++panel) {
        const std::int64_t begin = panel * PANEL;
        const int count = static_cast<int>(std::min<std::int64_t>(PANEL, shape.keys - begin));
        for (int i = 0; i < count; ++i) {
            const TokenCodes made = backend.quantise(k + (begin + i) * row_stride,
                                                     shape.head_size, codes + i * stride);
            head.key_factor[begin + i] = made.scale;
            finite = finite && !std::isnan(made.scale);
        }
        std::fill(head.key_factor + begin + count, head.key_factor + begin + PANEL, 0.0F);
        backend.interleave(codes, stride, count, sizes.size_groups,
                           head.key_panels + panel * sizes.key_panel_bytes);
    }
    return finite;
}

bool Task::pack_values(const Head& head, const float* v, std::int64_t row_stride) const {
    float* gains = task_scratch.gains.room(PANEL);
    std::int32_t* peaks = task_scratch.peaks.room(PANEL);
    for (std::int64_t panel = 0; panel < sizes.size_panels; ++panel) {
        const std::int64_t first = panel * PANEL;
        const int channels =
            static_cast<int>(std::min<std::int64_t>(PANEL, shape.head_size - first));
        std::fill(peaks, peaks + PANEL, 0);
        backend.raise_to(v + first, row_stride, shape.keys, channels, peaks);
        for (int i = 0; i < PANEL; ++i) {
            if (peaks[i] >= INFINITE) {
                return false;
            }
            float peak;
            std::memcpy(&peak, peaks + i, sizeof peak);
            peak = std::max(peak, SMALLEST_PEAK);
            gains[i] = static_cast<float>(LEVELS) / peak;
            head.value_factor[first + i] = peak / LEVELS;
        }
        std::int32_t* shift = head.output_shift + first;
        std::fill(shift, shift + PANEL, 0);
        std::uint8_t* bytes = head.value_panels + panel * sizes.value_panel_bytes;
        for (std::int64_t group = 0; group < sizes.key_groups; ++group) {
            const std::int64_t key = group * GROUP;
            const int rows = static_cast<int>(std::min<std::int64_t>(GROUP, shape.keys - key));
            backend.value_group(v + key * row_stride + first, row_stride, rows, channels, gains,
                                bytes + group * GROUP_BYTES, shift);
        }
        for (int i = 0; i < PANEL; ++i) {
            shift[i] *= SHARE_OFFSET;
        }
    }
    return true;
}

void Task::attend(const Head& head, const float* q, std::int64_t row_stride, std::int64_t queries,
                  float* y) const {
    const std::int64_t y_stride = shape.heads * shape.head_size;
    if (*head.finite == 0) {
        for (std::int64_t row = 0; row < queries; ++row) {
            std::fill_n(y + row * y_stride, shape.head_size, NOT_A_NUMBER);
        }
        return;
    }
    for (std::int64_t row = 0; row < queries; row += backend.row_block) {
        const int count =
            static_cast<int>(std::min<std::int64_t>(backend.row_block, queries - row));
        attend_block(head, q + row * row_stride, row_stride, count, y + row * y_stride);
    }
}

void Task::attend_block(const Head& head, const float* q, std::int64_t row_stride, int queries,
                        float* y) const {
    const std::int64_t key_room = sizes.key_panels * PANEL;
    const std::int64_t stride = std::max(round_up(shape.head_size, STEP), key_room);
    std::int8_t* codes = task_scratch.codes.room(2 * MOST_ROWS, stride);
    float* logits = task_scratch.logits.room(MOST_ROWS, key_room);
    alignas(64) std::int32_t sums[MOST_ROWS * PANEL];
    std::int32_t first[MOST_ROWS];
    float factor[MOST_ROWS];
    bool valid[MOST_ROWS];

    const float temperature = LOG2_E / std::sqrt(static_cast<float>(shape.head_size));
    for (int row = 0; row < queries; ++row) {
        const TokenCodes made =
            backend.quantise(q + row * row_stride, shape.head_size, codes + row * stride);
        valid[row] = !std::isnan(made.scale);
        factor[row] = valid[row] ? made.scale * temperature : 0.0F;
        first[row] = -backend.byte_offset * made.sum;
    }
    for (std::int64_t panel = 0; panel < sizes.key_panels; ++panel) {
        const std::int64_t key = panel * PANEL;
        const int keys = static_cast<int>(std::min<std::int64_t>(PANEL, shape.keys - key));
        backend.multiply_bytes(codes, stride, queries, first,
                               head.key_panels + panel * sizes.key_panel_bytes,
                               sizes.size_groups, keys, sums);
        for (int row = 0; row < queries; ++row) {
            backend.logits(sums + row * PANEL, factor[row], head.key_factor + key, keys,
                           logits + row * key_room + key);
        }
    }

    const auto share_codes = static_cast<std::int32_t>(sizes.key_groups * GROUP);
    std::int32_t total[MOST_ROWS];
    bool coarse = true;
    for (int row = 0; row < queries; ++row) {
        total[row] = backend.shares(logits + row * key_room, key_room, codes + row * stride);
        valid[row] = valid[row] && total[row] > 0;
        coarse = coarse && (!valid[row] || total[row] >= COARSE_MEAN * shape.keys);
        factor[row] = valid[row] ? 1.0F / static_cast<float>(total[row]) : NOT_A_NUMBER;
        first[row] = -backend.byte_offset * (total[row] - SHARE_OFFSET * share_codes);
    }
    if (coarse) {
        add_values(head, {codes, stride, first, factor}, queries, true, {}, y);
        return;
    }
    std::int8_t* fine_codes = codes + MOST_ROWS * stride;
    std::int32_t fine_first[MOST_ROWS];
    float fine_factor[MOST_ROWS];
    for (int row = 0; row < queries; ++row) {
        std::int8_t* row_codes = fine_codes + row * stride;
        std::int32_t fine_total = 0;
        if (valid[row]) {
            fine_total = backend.fine_shares(logits + row * key_room, key_room, row_codes);
            factor[row] = 1.0F / (static_cast<float>(total[row]) +
                                  static_cast<float>(fine_total) / SHARE_LEVELS);
        } else {
            std::fill_n(row_codes, key_room, std::int8_t{0});
        }
        fine_first[row] = -backend.byte_offset * fine_total;
        fine_factor[row] = factor[row] / SHARE_LEVELS;
    }
    add_values(head, {codes, stride, first, factor}, queries, true, {}, y);
    add_values(head, {fine_codes, stride, fine_first, fine_factor}, queries, false,
               {nullptr, Activation::none, y}, y);
}

// y = the values weighted by rows of share codes, which are less SHARE_OFFSET if `shifted`.
void Task::add_values(const Head& head, const CodeRows& rows, int queries, bool shifted,
                      const Epilogue& epilogue, float* y) const {
    alignas(64) std::int32_t sums[MOST_ROWS * PANEL];
    for (std::int64_t panel = 0; panel < sizes.size_panels; ++panel) {
        Finish finish = finish_of(epilogue, y, shape.head_size, panel * PANEL);
        backend.multiply_bytes(rows.codes, rows.stride, queries, rows.first,
                               head.value_panels + panel * sizes.value_panel_bytes,
                               sizes.key_groups, finish.outputs, sums);
        finish.sums = sums;
        finish.rows = queries;
        finish.row_factor = rows.factor;
        finish.output_factor = head.value_factor + panel * PANEL;
        finish.output_shift = shifted ? head.output_shift + panel * PANEL : nullptr;
        finish.y_stride = shape.heads * shape.head_size;
        backend.finish(finish);
    }
}

void check(const AttentionShape& shape) {
    constexpr std::int64_t MOST = 65536;  // sums of 255 * 127 stay below 2^31
    std::int64_t most;  // bytes of the output
    const bool too_large = __builtin_mul_overflow(shape.batch, shape.heads, &most) ||
                           __builtin_mul_overflow(most, shape.queries, &most) ||
                           __builtin_mul_overflow(most, shape.head_size, &most) ||
                           __builtin_mul_overflow(most, sizeof(float), &most);
    if (too_large || shape.batch < 0 || shape.queries < 0 || shape.heads < 1 ||
        shape.head_size < 1 || shape.head_size > MOST || shape.keys < 1 || shape.keys > MOST) {
        throw std::invalid_argument(
            "Attention has " + std::to_string(shape.batch) + " images of " +
            std::to_string(shape.queries) + " queries, " + std::to_string(shape.heads) +
            " heads of " + std::to_string(shape.head_size) + " channels and " +
            std::to_string(shape.keys) + " keys; heads, channels and keys must be at least 1, " +
            "channels and keys at most " + std::to_string(MOST) + ".");
    }
}

}  // namespace

void attention(const AttentionShape& shape, const Rows& q, const Rows& k, const Rows& v, float* y,
               const Workers& workers, Isa isa) {
    check(shape);
    const Task task{backend_of(isa), shape, Sizes(shape)};
    const Sizes& sizes = task.sizes;
    const std::int64_t heads = shape.batch * shape.heads;
    const std::int64_t key_bytes = sizes.key_panels * sizes.key_panel_bytes;
    const std::int64_t value_bytes = sizes.size_panels * sizes.value_panel_bytes;
    const std::int64_t key_room = sizes.key_panels * PANEL;
    const std::int64_t size_room = sizes.size_panels * PANEL;

    Scratch scratch = std::exchange(spare, {});  // a nested run on this thread gets its own
    std::uint8_t* panels = scratch.panels.room(heads, key_bytes + value_bytes);
    float* factors = scratch.factors.room(heads, key_room + size_room);
    std::int32_t* shifts = scratch.shifts.room(heads, size_room);
    std::uint8_t* finite = scratch.finite.room(heads);
    const auto head_of = [&](std::int64_t number) {
        std::uint8_t* keys = panels + number * (key_bytes + value_bytes);
        float* key_factor = factors + number * (key_room + size_room);
        return Head{keys,
                    keys + key_bytes,
                    key_factor,
                    key_factor + key_room,
                    shifts + number * size_room,
                    finite + number};
    };
    const auto part_of = [&](const Rows& rows, std::int64_t number) {
        return rows.data + number / shape.heads * rows.batch_stride +
               number % shape.heads * shape.head_size;
    };

    workers.run(heads, [&](std::int64_t number) {
        const Head head = head_of(number);
        *head.finite = task.pack_keys(head, part_of(k, number), k.row_stride) &&
                       task.pack_values(head, part_of(v, number), v.row_stride);
    });
    const std::int64_t query_blocks = blocks(shape.queries, QUERIES_PER_TASK);
    workers.run(heads * query_blocks, [&](std::int64_t i) {
        const std::int64_t number = i / query_blocks;
        const std::int64_t begin = i % query_blocks * QUERIES_PER_TASK;
        const std::int64_t count = std::min(QUERIES_PER_TASK, shape.queries - begin);
        const std::int64_t image = number / shape.heads;
        const std::int64_t y_stride = shape.heads * shape.head_size;
        task.attend(head_of(number), part_of(q, number) + begin * q.row_stride, q.row_stride,
                    count,
                    y + (image * shape.queries + begin) * y_stride +
                        number % shape.heads * shape.head_size);
    });
    spare = std::move(scratch);
}

}  // namespace vpr_ros::kernels
