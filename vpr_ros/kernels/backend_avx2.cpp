// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// The table for processors with AVX2; empty where the compiler is not told so.

#if defined(__AVX2__)

#include "lanes_avx2.hpp"

#include "generic_backend.hpp"

namespace vpr_ros::kernels {

const Backend* backend_avx2() {
    static constexpr Backend backend = table(Isa::avx2);
    return &backend;
}

}  // namespace vpr_ros::kernels

#else

#include "backend.hpp"

namespace vpr_ros::kernels {

const Backend* backend_avx2() { return nullptr; }

}  // namespace vpr_ros::kernels

#endif
