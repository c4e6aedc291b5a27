// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// The table for processors with AVX2 with AVX-VNNI; empty where the compiler is not told so.

#if defined(__AVXVNNI__) || defined(__AVX512VNNI__)

#include "lanes_avx2.hpp"

#include "generic_backend.hpp"

namespace vpr_ros::kernels {

const Backend* backend_avx2_vnni() {
    static constexpr Backend backend = table(Isa::avx2_vnni);
    return &backend;
}

}  // namespace vpr_ros::kernels

#else

#include "backend.hpp"

namespace vpr_ros::kernels {

const Backend* backend_avx2_vnni() { return nullptr; }

}  // namespace vpr_ros::kernels

#endif
