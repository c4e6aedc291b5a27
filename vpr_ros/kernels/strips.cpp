// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// Codes times ternary weights, strip by strip and panel by panel.

#include "strips.hpp"

#include "spread.hpp"

namespace vpr_ros::kernels {
namespace {

constexpr std::int64_t TASKS_PER_THREAD = 4;
thread_local Aligned<std::uint8_t> panel_scratch;  // of a task

// Rows [begin, end) times a panel, which is made while it meets the first of them.
void multiply_strip(const Backend& backend, const std::uint8_t* packed,
                    const std::int32_t* channels, const CodeRows& rows, std::int64_t begin,
                    std::int64_t end, std::int64_t groups, std::uint8_t* panel,
                    const Finish& finish) {
    bool made = false;
    const auto multiply = [&](const std::int8_t* codes, std::int64_t stride, int count,
                              const std::int32_t* first, int outputs, std::int32_t* sums) {
        if (made) {
            backend.multiply_ternary(codes, stride, count, first, panel, groups, outputs, sums);
        } else {
            backend.expand_and_multiply(packed, channels, codes, stride, count, first, panel,
                                        groups, outputs, sums);
            made = true;
        }
    };
    multiply_rows(backend, multiply, rows, begin, end, finish);
}

}  // namespace

void multiply_strips(const Backend& backend, const TernaryWeights& weights, const CodeRows& rows,
                     const std::vector<Strip>& strips, std::int64_t row_count,
                     std::int64_t outputs, const float* output_factor, const Epilogue& epilogue,
                     float* y, const Workers& workers) {
    const std::int64_t panels = round_up(outputs, PANEL) / PANEL;
    const std::int64_t tasks = workers.threads > 1 ? TASKS_PER_THREAD * workers.threads : 1;
    const std::int64_t chunks = std::min(row_count, (tasks + panels - 1) / panels);
    const std::int64_t chunk_rows = (row_count + chunks - 1) / chunks;
    spread(workers, panels * chunks, [&](std::int64_t task) {
        const std::int64_t number = task / chunks;
        const std::int64_t chunk_begin = task % chunks * chunk_rows;
        const std::int64_t chunk_end = chunk_begin + chunk_rows;
        Finish finish = finish_of(epilogue, y, weights.outputs, number * PANEL);
        finish.outputs = static_cast<int>(std::min<std::int64_t>(PANEL, outputs - number * PANEL));
        finish.output_factor =
            output_factor == nullptr ? nullptr : output_factor + number * PANEL;
        std::uint8_t* panel = room(panel_scratch, weights.groups * GROUP_BYTES);
        for (const Strip& strip : strips) {
            const std::int64_t begin = std::max(strip.begin, chunk_begin);
            const std::int64_t end = std::min(strip.end, chunk_end);
            if (begin < end) {
                multiply_strip(backend, weights.panel(number), strip.channels, rows, begin, end,
                               strip.groups, panel, finish);
            }
        }
    });
}

}  // namespace vpr_ros::kernels
