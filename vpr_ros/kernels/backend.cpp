// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// The table of one instruction set. build.py compiles this file once per set, with the set's flags
// and two macros: VPR_ISA, its name in `Isa`, and VPR_LANES, the header with its vectors.

#include VPR_LANES

#include "generic_codes.hpp"
#include "generic_floats.hpp"

#define VPR_JOINED(left, right) left##right
#define VPR_BACKEND(isa) VPR_JOINED(backend_, isa)

namespace vpr_ros::kernels {

const Backend* VPR_BACKEND(VPR_ISA)() {
    static constexpr Backend backend{
        Isa::VPR_ISA,
        Lanes::ROW_BLOCK,
        Lanes::BYTE_OFFSET,
        quantise,
        Lanes::expand_and_multiply,
        Lanes::multiply_ternary,
        Lanes::multiply_bytes,
        Lanes::multiply_unsigned,
        finish,
        logits,
        shares,
        fine_shares,
        interleave,
        raise_to,
        value_group,
    };
    return &backend;
}

}  // namespace vpr_ros::kernels
