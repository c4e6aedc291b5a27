// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// The table of everything that all instruction sets do the same way.

#pragma once

#include "generic_codes.hpp"
#include "generic_floats.hpp"
#include "generic_panels.hpp"

namespace vpr_ros::kernels {
namespace {

constexpr Backend table(Isa isa) {
    Backend backend{};
    backend.isa = isa;
    backend.row_block = Lanes::ROW_BLOCK;
    backend.byte_offset = Lanes::BYTE_OFFSET;
    backend.build_cost = Lanes::BUILD_COST;
    backend.quantise = quantise;
    backend.add_votes = add_votes;
    backend.keep_largest_votes = keep_largest_votes;
    backend.keep_largest_codes = keep_largest_codes;
    backend.compress = compress;
    backend.clear = clear;
    backend.expand_and_multiply = Lanes::expand_and_multiply;
    backend.multiply_ternary = Lanes::multiply_ternary;
    backend.multiply_bytes = Lanes::multiply_bytes;
    backend.finish = finish;
    backend.logits = logits;
    backend.shares = shares;
    backend.fine_shares = fine_shares;
    backend.interleave = interleave;
    backend.raise_to = raise_to;
    backend.value_group = value_group;
    return backend;
}

}  // namespace
}  // namespace vpr_ros::kernels
