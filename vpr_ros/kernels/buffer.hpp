// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// Memory that starts at a cache line, so that no aligned vector straddles two.

#pragma once

#include <cstdint>
#include <memory>
#include <new>

namespace vpr_ros::kernels {

template <class T>
class Buffer {
public:
    // Room for at least rows * columns elements, with undefined contents. Throws std::bad_alloc, and
    // then keeps what it had.
    T* room(std::int64_t rows, std::int64_t columns = 1) {
        std::int64_t count;
        std::size_t bytes;
        if (__builtin_mul_overflow(rows, columns, &count) ||
            __builtin_mul_overflow(count, sizeof(T), &bytes)) {
            throw std::bad_alloc();
        }
        if (size_ < count) {
            memory_.reset(static_cast<T*>(::operator new(bytes, CACHE_LINE)));
            size_ = count;
        }
        return memory_.get();
    }

    T* data() const { return memory_.get(); }

private:
    static constexpr std::align_val_t CACHE_LINE{64};
    struct Free {
        void operator()(T* memory) const { ::operator delete(memory, CACHE_LINE); }
    };

    std::unique_ptr<T, Free> memory_;
    std::int64_t size_ = 0;
};

}  // namespace vpr_ros::kernels
