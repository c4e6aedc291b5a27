// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// The table for any processor.

#include "lanes_scalar.hpp"

#include "generic_backend.hpp"

namespace vpr_ros::kernels {

const Backend* backend_scalar() {
    static constexpr Backend backend = table(Isa::scalar);
    return &backend;
}

}  // namespace vpr_ros::kernels
