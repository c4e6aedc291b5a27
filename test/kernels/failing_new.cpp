// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// Linked into the library or the fuzz driver for tests, it makes chosen allocations fail. It
// replaces `operator new`, so the library's own sources know nothing of it.

#include "failing_new.hpp"

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace {

std::atomic<long> first_{0};
std::atomic<long> end_{0};
std::atomic<long> made_{0};
std::atomic<long> failed_{0};
thread_local bool exempt = false;

bool must_fail() {
    if (exempt || end_ == 0) return false;
    const long number = made_++;
    if (number < first_ || number >= end_) return false;
    ++failed_;
    return true;
}

void* allocate(std::size_t bytes, std::size_t alignment) {
    void* memory = nullptr;
    if (!must_fail() && posix_memalign(&memory, alignment, bytes == 0 ? 1 : bytes) != 0) {
        memory = nullptr;
    }
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}

}  // namespace

extern "C" {

void vpr_test_fail(long first, long count) {
    end_ = 0;
    made_ = 0;
    failed_ = 0;
    first_ = first;
    end_ = count == 0 ? 0 : first + count;
}

long vpr_test_failed() { return failed_; }

void vpr_test_exempt(bool on) { exempt = on; }

}  // extern "C"

void* operator new(std::size_t bytes) { return allocate(bytes, alignof(std::max_align_t)); }
void* operator new[](std::size_t bytes) { return allocate(bytes, alignof(std::max_align_t)); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
    return allocate(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
