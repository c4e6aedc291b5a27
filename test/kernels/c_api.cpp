// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// The layers as functions of plain arrays, for conftest.py: no ONNX Runtime between test and code.
//
// Functions that can fail return null, or a message that is valid until the thread's next call.

#include "kernels.hpp"

#include <atomic>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>

namespace {

using namespace vpr_ros::kernels;

// Threads that exist for one call.
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
    throw std::invalid_argument(std::string("No instruction set '") + wanted + "' here.");
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
const char* vpr_test_isas() {
    static const std::string names = [] {
        std::string text;
        for (const Isa isa : available_isas()) {
            text += (text.empty() ? "" : " ") + std::string(name(isa));
        }
        return text;
    }();
    return names.c_str();
}

// The one that is used if none is named.
const char* vpr_test_detect(const char** isa) {
    return message_of([=] { *isa = name(detect()); });
}

const char* vpr_test_nested(const char* isa, const std::uint8_t* packed, std::int64_t inputs,
                            std::int64_t outputs, const std::int64_t* rank, int slim,
                            const float* x, std::int64_t rows, float delta,
                            const float* output_delta, float sparsity, const float* bias,
                            int gelu, const float* residual, float* y, int threads) {
    return message_of([=] {
        const NestedTernaryLinear layer(packed, inputs, outputs, {rank, rank + inputs}, slim != 0,
                                        isa_of(isa));
        const Epilogue epilogue{bias, gelu != 0 ? Activation::gelu : Activation::none, residual};
        layer.run(x, rows, {delta, output_delta}, sparsity, epilogue, y, own_threads(threads));
    });
}

const char* vpr_test_int8(const char* isa, const std::int8_t* weight, const float* scale,
                          std::int64_t inputs, std::int64_t outputs, const float* x,
                          std::int64_t rows, const float* bias, int gelu, const float* residual,
                          float* y, int threads) {
    return message_of([=] {
        const Int8Linear layer(weight, scale, inputs, outputs, isa_of(isa));
        const Epilogue epilogue{bias, gelu != 0 ? Activation::gelu : Activation::none, residual};
        layer.run(x, rows, epilogue, y, own_threads(threads));
    });
}

// Rows of q, k and v are `stride` floats apart, images rows * stride.
const char* vpr_test_attention(const char* isa, std::int64_t batch, std::int64_t queries,
                               std::int64_t keys, std::int64_t heads, std::int64_t head_size,
                               const float* q, std::int64_t q_stride, const float* k,
                               const float* v, std::int64_t kv_stride, float* y, int threads) {
    return message_of([=] {
        const AttentionShape shape{batch, queries, keys, heads, head_size};
        attention(shape, {q, queries * q_stride, q_stride}, {k, keys * kv_stride, kv_stride},
                  {v, keys * kv_stride, kv_stride}, y, own_threads(threads), isa_of(isa));
    });
}

}  // extern "C"
