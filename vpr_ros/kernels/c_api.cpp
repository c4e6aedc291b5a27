// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// The library for callers without C++: functions of plain arrays, for tests and for measuring.
//
// Those that can fail return null, or a message that is valid until the thread's next call.

#include "kernels.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>

namespace {

using namespace vpr_ros::kernels;

// Threads that live for one call: simple, and slower than a caller's pool.
Workers own_threads(int count) {
    Workers workers;
    workers.threads = count;
    workers.parallel_for = [count](std::size_t tasks, const auto& task) {
        std::atomic<std::size_t> next{0};
        const auto work = [&] {
            for (std::size_t i = next++; i < tasks; i = next++) {
                task(i);
            }
        };
        std::vector<std::thread> threads;
        for (int i = 1; i < count; ++i) {
            threads.emplace_back(work);
        }
        work();
        for (std::thread& thread : threads) {
            thread.join();
        }
    };
    return workers;
}

Isa isa_of(const char* wanted) {
    for (const Isa isa : available_isas()) {
        if (std::string(wanted) == name(isa)) {
            return isa;
        }
    }
    throw std::invalid_argument(std::string("Instruction set '") + wanted +
                                "' is not available here.");
}

template <class Action>
const char* message_of(Action action) {
    static thread_local std::string message;
    try {
        action();
        return nullptr;
    } catch (const std::exception& error) {
        message = error.what();
        return message.c_str();
    }
}

}  // namespace

extern "C" {

// The available instruction sets, slowest first, separated by spaces.
const char* vpr_kernels_isas() {
    static const std::string names = [] {
        std::string text;
        for (const Isa isa : available_isas()) {
            text += (text.empty() ? "" : " ") + std::string(name(isa));
        }
        return text;
    }();
    return names.c_str();
}

// The one that is used where none is named.
const char* vpr_kernels_detect(const char** isa) {
    return message_of([=] { *isa = name(detect()); });
}

// As TernaryLinear. The layer is made by `create` and ended by `destroy`.
const char* vpr_ternary_create(const char* isa, const std::uint8_t* packed, std::int64_t inputs,
                               std::int64_t outputs, const std::int64_t* tile_of_token,
                               std::int64_t tokens, void** layer) {
    return message_of([=] {
        const std::vector<std::int64_t> tiles(tile_of_token, tile_of_token + tokens);
        *layer = new TernaryLinear(packed, inputs, outputs, tiles, isa_of(isa));
    });
}

void vpr_ternary_destroy(void* layer) { delete static_cast<TernaryLinear*>(layer); }

const char* vpr_ternary_run(const void* layer, const float* x, std::int64_t batch,
                            std::int64_t tokens, float delta, const float* output_delta,
                            float sparsity, const float* bias, int gelu, const float* residual,
                            float* y, int threads) {
    return message_of([=] {
        const Epilogue epilogue{bias, gelu != 0 ? Activation::gelu : Activation::none, residual};
        static_cast<const TernaryLinear*>(layer)->run(x, batch, tokens, {delta, output_delta},
                                                      sparsity, epilogue, y, own_threads(threads));
    });
}

// As NestedTernaryLinear.
const char* vpr_nested_create(const char* isa, const std::uint8_t* packed, std::int64_t inputs,
                              std::int64_t outputs, const std::int64_t* rank, int slim,
                              void** layer) {
    return message_of([=] {
        const std::vector<std::int64_t> ranks(rank, rank + inputs);
        *layer =
            new NestedTernaryLinear(packed, inputs, outputs, ranks, slim != 0, isa_of(isa));
    });
}

void vpr_nested_destroy(void* layer) { delete static_cast<NestedTernaryLinear*>(layer); }

const char* vpr_nested_run(const void* layer, const float* x, std::int64_t rows, float delta,
                           const float* output_delta, float sparsity, const float* bias, int gelu,
                           const float* residual, float* y, int threads) {
    return message_of([=] {
        const Epilogue epilogue{bias, gelu != 0 ? Activation::gelu : Activation::none, residual};
        static_cast<const NestedTernaryLinear*>(layer)->run(
            x, rows, {delta, output_delta}, sparsity, epilogue, y, own_threads(threads));
    });
}

// As Int8Linear.
const char* vpr_int8_create(const char* isa, const std::int8_t* weight, const float* scale,
                            std::int64_t inputs, std::int64_t outputs, void** layer) {
    return message_of([=] {
        *layer = new Int8Linear(weight, scale, inputs, outputs, isa_of(isa));
    });
}

void vpr_int8_destroy(void* layer) { delete static_cast<Int8Linear*>(layer); }

const char* vpr_int8_run(const void* layer, const float* x, std::int64_t rows, const float* bias,
                         int gelu, const float* residual, float* y, int threads) {
    return message_of([=] {
        const Epilogue epilogue{bias, gelu != 0 ? Activation::gelu : Activation::none, residual};
        static_cast<const Int8Linear*>(layer)->run(x, rows, epilogue, y, own_threads(threads));
    });
}

// As attention; rows of q, k and v are `stride` floats apart, images rows * stride.
const char* vpr_attention(const char* isa, std::int64_t batch, std::int64_t queries,
                          std::int64_t keys, std::int64_t heads, std::int64_t head_size,
                          const float* q, std::int64_t q_stride, const float* k, const float* v,
                          std::int64_t kv_stride, float* y, int threads) {
    return message_of([=] {
        const AttentionShape shape{batch, queries, keys, heads, head_size};
        attention(shape, {q, queries * q_stride, q_stride}, {k, keys * kv_stride, kv_stride},
                  {v, keys * kv_stride, kv_stride}, y, own_threads(threads), isa_of(isa));
    });
}

}  // extern "C"
