// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// Allocations that fail on request; see failing_new.cpp.

#pragma once

extern "C" {

// From now on, allocations number `first` to first + count - 1 fail (0 is the next); count 0: none.
void vpr_test_fail(long first, long count);

// How many have failed since.
long vpr_test_failed();

// Whether those of this thread are left alone.
void vpr_test_exempt(bool on);

}  // extern "C"
