// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// Byte shuffles that bring the kept ones of eight bytes together.

#pragma once

#include <cstdint>

namespace vpr_ros::kernels {
namespace {

// from[bits][i]: where byte i of the result comes from; NOTHING makes a zero.
struct CompressTable {
    static constexpr std::uint8_t NOTHING = 0x80;
    std::uint8_t from[256][8] = {};

    constexpr CompressTable() {
        for (unsigned bits = 0; bits < 256; ++bits) {
            unsigned count = 0;
            for (unsigned i = 0; i < 8; ++i) {
                if ((bits >> i) & 1U) {
                    from[bits][count++] = static_cast<std::uint8_t>(i);
                }
            }
            for (; count < 8; ++count) {
                from[bits][count] = NOTHING;
            }
        }
    }
};
constexpr CompressTable COMPRESS;

}  // namespace
}  // namespace vpr_ros::kernels
