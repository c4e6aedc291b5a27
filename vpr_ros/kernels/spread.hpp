// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// Tasks on the caller's threads.

#pragma once

#include "kernels.hpp"

namespace vpr_ros::kernels {

// task(i) for every i in [0, count).
template <class Task>
void spread(const Workers& workers, std::int64_t count, const Task& task) {
    if (workers.threads > 1 && workers.parallel_for && count > 1) {
        workers.parallel_for(static_cast<std::size_t>(count), [&task](std::size_t i) {
            task(static_cast<std::int64_t>(i));
        });
        return;
    }
    for (std::int64_t i = 0; i < count; ++i) {
        task(i);
    }
}

}  // namespace vpr_ros::kernels
