// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// The table for processors with AVX-512 with VNNI; empty where the compiler is not told so.

#if defined(__AVX512VNNI__)

#include "lanes_avx512.hpp"

#include "generic_backend.hpp"

namespace vpr_ros::kernels {

const Backend* backend_avx512_vnni() {
    static constexpr Backend backend = table(Isa::avx512_vnni);
    return &backend;
}

}  // namespace vpr_ros::kernels

#else

#include "backend.hpp"

namespace vpr_ros::kernels {

const Backend* backend_avx512_vnni() { return nullptr; }

}  // namespace vpr_ros::kernels

#endif
