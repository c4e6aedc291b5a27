// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// The layers in which a vision transformer spends its time on a CPU.
//
// docs/networks.md, "Sparsity, as it is computed", defines what they compute. All instruction sets
// give the same integers (codes, sums) and the same products with scale, bias and residual. GELU
// differs in the last one or two bits; in `attention`, a softmax share may round to its neighbour.
//
// NaN and infinity: if a token contains one, all outputs of that token are NaN; other tokens are
// not affected. In `attention`, such a query has NaN outputs; such a key or value makes the whole
// head of its image NaN.

#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <stdexcept>
#include <vector>

namespace vpr_ros::kernels {

// ---- instruction sets -------------------------------------------------------------------------

enum class Isa { scalar, avx2, avx2_vnni, avx512_vnni, neon_dotprod };

// The name of the enumerator, such as "avx512_vnni".
const char* name(Isa isa);

// The sets that the library has code for and this machine (processor and operating system) runs,
// slowest first. The first one is always `scalar`.
std::vector<Isa> available_isas();

// The fastest available set, or the one named by the environment variable VPR_ROS_KERNELS_ISA.
// Throws std::invalid_argument if that name is unknown or the set is not available.
Isa detect();

// ---- threads ----------------------------------------------------------------------------------

// The first exception of tasks on several threads. None may leave a thread of somebody's pool: that
// would end the process, or leave others waiting for ever.
class FirstFault {
public:
    // Does `work`, unless earlier work has failed: then the result is lost anyway.
    template <class Work>
    void hold(Work&& work) noexcept {
        if (failed_.load(std::memory_order_relaxed)) return;
        try {
            work();
        } catch (const std::bad_alloc&) {
            if (!failed_.exchange(true)) no_memory_ = true;
        } catch (const std::exception& error) {
            if (!failed_.exchange(true)) std::strncpy(text_, error.what(), sizeof text_ - 1);
        } catch (...) {
            failed_ = true;
        }
    }

    // Throws std::bad_alloc or std::runtime_error on the thread that waited for the work.
    void release() const {
        if (no_memory_) throw std::bad_alloc();
        if (failed_) throw std::runtime_error(text_);
    }

private:
    std::atomic<bool> failed_{false};
    bool no_memory_ = false;
    char text_[200] = "";  // nothing that would have to be allocated
};

// How work is spread. `parallel_for(count, task)` calls task(i) once for every i in [0, count), in
// any order and on any thread, and returns when all calls are done. Without it, or with one
// thread, the calling thread does all the work. A task that throws ends the run: `run` throws on
// the calling thread.
struct Workers {
    int threads = 1;
    std::function<void(std::size_t count, const std::function<void(std::size_t)>& task)>
        parallel_for;

    template <class Task>
    void run(std::int64_t count, const Task& task) const {
        if (threads > 1 && parallel_for && count > 1) {
            FirstFault fault;
            parallel_for(static_cast<std::size_t>(count), [&task, &fault](std::size_t i) {
                fault.hold([&] { task(static_cast<std::int64_t>(i)); });
            });
            fault.release();
        } else {
            for (std::int64_t i = 0; i < count; ++i) task(i);
        }
    }
};

// ---- linear layers ----------------------------------------------------------------------------

enum class Activation { none, gelu };  // gelu: x * (1 + erf(x / sqrt 2)) / 2

// What follows a product: y = activation(product + bias) + residual.
struct Epilogue {
    const float* bias = nullptr;      // (N), or null
    Activation activation = Activation::none;
    const float* residual = nullptr;  // (rows, N), or null; may be y itself
};

// The magnitude of the non-zero weights: of the whole matrix, or of each output.
struct Delta {
    float of_all = 1.0F;
    const float* of_output = nullptr;  // (N), times `of_all`; or null
};

struct TernaryWeights;
struct ByteWeights;
struct Backend;

// y = epilogue(delta * W^T (mask * x)) with W in {-1, 0, 1}; x is rounded to int8 with one scale
// per row. All channels have one fixed order, and the mask keeps the first ones of that order. The
// others are dropped before rounding and never read. Immutable, so several threads may call `run`
// at the same time; the same holds for Int8Linear.
class NestedTernaryLinear {
public:
    // packed (inputs, ceil(outputs / 4)): the code w + 1 of output n lies at bits 2 (n mod 4) of
    // byte n / 4. rank (inputs): the place of every channel in the order, each of 0 to inputs - 1
    // once. `slim`: the reader of y keeps the first of its values as this layer keeps those of x,
    // so the others are set to zero without being computed. Throws std::invalid_argument.
    NestedTernaryLinear(const std::uint8_t* packed, std::int64_t inputs, std::int64_t outputs,
                        std::vector<std::int64_t> rank, bool slim, Isa isa = detect());
    ~NestedTernaryLinear();
    NestedTernaryLinear(NestedTernaryLinear&&) noexcept;

    // x (rows, inputs) to y (rows, outputs). At sparsity 0 or below, the layer is dense.
    void run(const float* x, std::int64_t rows, const Delta& delta, float sparsity,
             const Epilogue& epilogue, float* y, const Workers& workers = {}) const;

    std::int64_t inputs() const;
    std::int64_t outputs() const;

private:
    std::unique_ptr<const TernaryWeights> weights_;
    const Backend* backend_;
    std::vector<std::int64_t> rank_;
    bool slim_;
};

// y = epilogue(scale * W^T x) with int8 W; x is rounded to int8 with one scale per row.
class Int8Linear {
public:
    // weight (inputs, outputs), scale (outputs). Throws std::invalid_argument.
    Int8Linear(const std::int8_t* weight, const float* scale, std::int64_t inputs,
               std::int64_t outputs, Isa isa = detect());
    ~Int8Linear();
    Int8Linear(Int8Linear&&) noexcept;

    // x (rows, inputs) to y (rows, outputs).
    void run(const float* x, std::int64_t rows, const Epilogue& epilogue, float* y,
             const Workers& workers = {}) const;

    std::int64_t inputs() const;
    std::int64_t outputs() const;

private:
    std::unique_ptr<const ByteWeights> weights_;
    const Backend* backend_;
};

// ---- attention and norm -----------------------------------------------------------------------

// A (batch, rows, columns) array of float32 with contiguous columns; strides count floats. The
// queries of one packed (B, N, 3C) array are {qkv, N * 3 * C, 3 * C}, its keys {qkv + C, ...}.
struct Rows {
    const float* data;
    std::int64_t batch_stride;
    std::int64_t row_stride;
};

struct AttentionShape {
    std::int64_t batch;
    std::int64_t queries;
    std::int64_t keys;
    std::int64_t heads;
    std::int64_t head_size;
};

// y (batch, queries, heads * head_size) = softmax(q k^T / sqrt(head_size)) v for every head. Both
// products run on int8: q and k with a scale per token and head, v with one per channel. The
// softmax itself is float32. Its shares are rounded to 1/254 of the largest in their row and, where
// that would lose much, what was lost is rounded to 1/254 of that and added. y must not overlap
// the inputs. Throws std::invalid_argument.
void attention(const AttentionShape& shape, const Rows& q, const Rows& k, const Rows& v, float* y,
               const Workers& workers = {}, Isa isa = detect());

// y = (x - mean) / sqrt(variance + epsilon) * gain + offset for every row of x (rows, columns);
// gain and offset (columns). The variance of a row is divided by `columns`.
void layer_norm(const float* x, std::int64_t rows, std::int64_t columns, const float* gain,
                const float* offset, float epsilon, float* y, const Workers& workers = {});

}  // namespace vpr_ros::kernels
