// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// From numbers of rows and outputs that are known at run time to functions for exactly so many.

#pragma once

#include "backend.hpp"

namespace vpr_ros::kernels {
namespace {

// Calls Tile::run<ROWS>(arguments...) for rows = 1 .. MOST_ROWS.
template <class Tile, int ROWS = MOST_ROWS, class... Arguments>
inline void with_rows(int rows, Arguments... arguments) {
    if (rows == ROWS) {
        Tile::template run<ROWS>(arguments...);
    } else if constexpr (ROWS > 1) {
        with_rows<Tile, ROWS - 1>(rows, arguments...);
    }
}

}  // namespace
}  // namespace vpr_ros::kernels
