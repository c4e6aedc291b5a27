// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// Loops over whole vectors and the rest, for the `Lanes` of one instruction set. Include this and
// the other generic_*.hpp after exactly one lanes_*.hpp.

#pragma once

#include "backend.hpp"

#include <cstring>
#include <type_traits>

namespace vpr_ros::kernels {
namespace {

using Float = Lanes::Float;
using Int = Lanes::Int;
constexpr int WIDTH = Lanes::WIDTH;

// Calls body(index, WIDTH) for whole vectors and body(index, rest) for the rest.
template <class Body>
inline void for_vectors(std::int64_t count, Body body) {
    std::int64_t i = 0;
    for (; i + WIDTH <= count; i += WIDTH) {
        body(i, std::integral_constant<int, WIDTH>{});
    }
    if (i < count) {
        body(i, static_cast<int>(count - i));
    }
}

using Whole = std::integral_constant<int, WIDTH>;

inline Float load(const float* p, Whole) { return Lanes::load(p); }
inline Int load_int(const std::int32_t* p, Whole) { return Lanes::load_int(p); }
inline void store_int(std::int32_t* p, Int v, Whole) { Lanes::store_int(p, v); }

inline Float load(const float* p, int count) {
    float part[WIDTH] = {};
    std::memcpy(part, p, static_cast<std::size_t>(count) * sizeof(float));
    return Lanes::load(part);
}
inline Int load_int(const std::int32_t* p, int count) {
    std::int32_t part[WIDTH] = {};
    std::memcpy(part, p, static_cast<std::size_t>(count) * sizeof(std::int32_t));
    return Lanes::load_int(part);
}
inline void store_int(std::int32_t* p, Int v, int count) {
    std::int32_t part[WIDTH];
    Lanes::store_int(part, v);
    std::memcpy(p, part, static_cast<std::size_t>(count) * sizeof(std::int32_t));
}

}  // namespace
}  // namespace vpr_ros::kernels
