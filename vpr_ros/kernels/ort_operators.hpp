// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// The operators of the library, by the names under which exported files call them.

#pragma once

#include "ort_kernel.hpp"

#include <deque>

namespace vpr_ros::ort {

// Append the operators of a kind, for sessions with so many threads.
void add_linear(std::deque<Registered>& operators, int threads);
void add_attention(std::deque<Registered>& operators, int threads);
void add_layer_norm(std::deque<Registered>& operators, int threads);

}  // namespace vpr_ros::ort
