// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// The table for processors with NEON with the dot product of ARMv8.2; empty where the compiler is
// not told so.

#if defined(__ARM_FEATURE_DOTPROD)

#include "lanes_neon.hpp"

#include "generic_backend.hpp"

namespace vpr_ros::kernels {

const Backend* backend_neon_dotprod() {
    static constexpr Backend backend = table(Isa::neon_dotprod);
    return &backend;
}

}  // namespace vpr_ros::kernels

#else

#include "backend.hpp"

namespace vpr_ros::kernels {

const Backend* backend_neon_dotprod() { return nullptr; }

}  // namespace vpr_ros::kernels

#endif
