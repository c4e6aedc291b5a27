// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// Codes times ternary weights, strip by strip and panel by panel.

#pragma once

#include "product.hpp"
#include "weights.hpp"

#include <vector>

namespace vpr_ros::kernels {

// Rows that are multiplied by the same channels.
struct Strip {
    std::int64_t begin;
    std::int64_t end;
    const std::int32_t* channels;  // or none: all
    std::int64_t groups;
};

// The first `outputs` of every strip's products. With few panels a thread, rows are divided as
// well.
void multiply_strips(const Backend& backend, const TernaryWeights& weights, const CodeRows& rows,
                     const std::vector<Strip>& strips, std::int64_t row_count,
                     std::int64_t outputs, const float* output_factor, const Epilogue& epilogue,
                     float* y, const Workers& workers);

}  // namespace vpr_ros::kernels
