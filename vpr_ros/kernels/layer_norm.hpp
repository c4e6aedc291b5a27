// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// Layer normalisation, which stands before almost every product.

#pragma once

#include "kernels.hpp"

namespace vpr_ros::kernels {

// y = (x - mean) / sqrt(variance + epsilon) * gain + offset for every row (columns) of x (rows,
// columns); gain and offset (columns). Variance is that of the row itself, divided by columns.
void layer_norm(const float* x, std::int64_t rows, std::int64_t columns, const float* gain,
                const float* offset, float epsilon, float* y, const Workers& workers = {});

}  // namespace vpr_ros::kernels
