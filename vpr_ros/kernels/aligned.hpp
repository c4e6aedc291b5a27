// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// Arrays that start at a cache line, so that no vector lies across two.

#pragma once

#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

namespace vpr_ros::kernels {

template <class T>
struct CacheLineAllocator {
    using value_type = T;
    static constexpr std::align_val_t LINE{64};

    CacheLineAllocator() = default;
    template <class U>
    CacheLineAllocator(const CacheLineAllocator<U>&) {}

    T* allocate(std::size_t count) {
        return static_cast<T*>(::operator new(count * sizeof(T), LINE));
    }
    void deallocate(T* p, std::size_t) { ::operator delete(p, LINE); }

    // Elements are not cleared: whoever resizes writes before reading.
    template <class U>
    void construct(U* p) {
        ::new (static_cast<void*>(p)) U;
    }
    template <class U, class... Values>
    void construct(U* p, Values&&... values) {
        ::new (static_cast<void*>(p)) U(static_cast<Values&&>(values)...);
    }

    bool operator==(const CacheLineAllocator&) const { return true; }
    bool operator!=(const CacheLineAllocator&) const { return false; }
};

template <class T>
using Aligned = std::vector<T, CacheLineAllocator<T>>;

// Room for at least `count` elements; what was there is lost.
template <class T>
T* room(Aligned<T>& array, std::int64_t count) {
    if (array.size() < static_cast<std::size_t>(count)) {
        array.clear();
        array.resize(static_cast<std::size_t>(count));
    }
    return array.data();
}

}  // namespace vpr_ros::kernels
