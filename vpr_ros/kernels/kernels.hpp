// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// The products that a ternary vision transformer spends its time in, for the CPU.
//
// What is computed stands in docs/networks.md, "Sparsity, as it is computed". All instruction sets
// give the same integers (codes, selected channels, sums) and the same products with scale, bias
// and residual. GELU differs in the last bit or two; in `attention` a softmax share may round to
// its neighbour.
//
// Not-a-number and infinity: a token that holds one has NaN for all its outputs and no vote in the
// selection of its tile; other tokens are not touched. In `attention` such a query has NaN
// outputs; such a key or value makes the whole head of its image NaN.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace vpr_ros::kernels {

// ---- instruction sets -------------------------------------------------------------------------

enum class Isa { scalar, avx2, avx2_vnni, avx512_vnni, avx512_vbmi, neon_dotprod };

// "avx512_vnni" and so on, as in the enumeration.
const char* name(Isa isa);

// Whether the library has code for `isa` and this machine (processor and system) runs it.
bool available(Isa isa);

// All that are available, slowest first; `scalar` always is.
std::vector<Isa> available_isas();

// The fastest available; or the one that the environment variable VPR_ROS_KERNELS_ISA names.
// Throws std::invalid_argument where that is unknown or not available.
Isa detect();

// ---- threads ----------------------------------------------------------------------------------

// How work is spread. `parallel_for(count, task)` calls task(i) once for every i in [0, count), in
// any order and on any thread, and returns when all are done. Without it, or with one thread, the
// calling thread does everything.
struct Workers {
    int threads = 1;
    std::function<void(std::size_t count, const std::function<void(std::size_t)>& task)>
        parallel_for;
};

// ---- linear layers ----------------------------------------------------------------------------

enum class Activation { none, gelu };  // gelu: x * (1 + erf(x / sqrt 2)) / 2

// What happens to a product: y = activation(product + bias) + residual.
struct Epilogue {
    const float* bias = nullptr;      // (N), or none
    Activation activation = Activation::none;
    const float* residual = nullptr;  // (B, M, N), or none; may be y itself
};

// The size of a weight that is not 0: of the whole matrix, or of each of its outputs.
struct Delta {
    float of_all = 1.0F;
    const float* of_output = nullptr;  // (N), times `of_all`; or none
};

struct TernaryWeights;  // 2 bits a weight, in the order in which they are multiplied
struct ByteWeights;     // 8 bits a weight
struct Backend;

// y = delta * (kept x) W with W in {-1, 0, 1}; x becomes int8, one scale per token. Immutable:
// several threads may call `run` at the same time.
class TernaryLinear {
public:
    // `packed` (inputs, ceil(outputs / 4)): the code w + 1 of output n lies at bits 2 (n mod 4) of
    // byte n / 4; it is not needed afterwards. `tile_of_token` (M): tokens of one number share
    // a selection; numbers are at least 0, in any order. If all differ, every token selects for
    // itself. Throws std::invalid_argument.
    TernaryLinear(const std::uint8_t* packed, std::int64_t inputs, std::int64_t outputs,
                  const std::vector<std::int64_t>& tile_of_token, Isa isa = detect());
    ~TernaryLinear();
    TernaryLinear(TernaryLinear&&) noexcept;

    // x (batch, tokens, inputs) to y (batch, tokens, outputs). Sparsity 0 (or less) is dense and
    // takes any number of tokens; above 0, `tokens` must be M. Throws std::invalid_argument.
    void run(const float* x, std::int64_t batch, std::int64_t tokens, const Delta& delta,
             float sparsity, const Epilogue& epilogue, float* y, const Workers& workers = {}) const;

    std::int64_t inputs() const;
    std::int64_t outputs() const;
    std::size_t weight_bytes() const;  // what the packed weights occupy

private:
    std::unique_ptr<const TernaryWeights> weights_;
    const Backend* backend_;
    std::vector<std::vector<std::int64_t>> tiles_;  // the tokens of every tile, ascending
    std::int64_t tokens_;
};

// The ternary layer whose channels have one order for all images: y = epilogue(W (mask * x)), where
// the mask keeps the first channels of that order. What is dropped is dropped before x becomes
// codes, and is not read.
class NestedTernaryLinear {
public:
    // `packed` as in TernaryLinear. `rank` (inputs): the place of every channel in the order, each
    // of 0 to inputs - 1 once. `slim`: whoever reads y keeps the first of its values as this layer
    // keeps those of x; the others are zeros and not computed. Throws std::invalid_argument.
    NestedTernaryLinear(const std::uint8_t* packed, std::int64_t inputs, std::int64_t outputs,
                        std::vector<std::int64_t> rank, bool slim, Isa isa = detect());
    ~NestedTernaryLinear();
    NestedTernaryLinear(NestedTernaryLinear&&) noexcept;

    // x (rows, inputs) to y (rows, outputs); rows = batch * tokens. Sparsity 0 (or less) is dense.
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

// y = scale * (x W) with int8 W; x becomes int8, one scale per token.
class Int8Linear {
public:
    // weight (inputs, outputs), scale (outputs); neither is needed afterwards.
    Int8Linear(const std::int8_t* weight, const float* scale, std::int64_t inputs,
               std::int64_t outputs, Isa isa = detect());
    ~Int8Linear();
    Int8Linear(Int8Linear&&) noexcept;

    // x (rows, inputs) to y (rows, outputs); rows = batch * tokens.
    void run(const float* x, std::int64_t rows, const Epilogue& epilogue, float* y,
             const Workers& workers = {}) const;

    std::int64_t inputs() const;
    std::int64_t outputs() const;

private:
    std::unique_ptr<const ByteWeights> weights_;
    const Backend* backend_;
};

// ---- attention --------------------------------------------------------------------------------

// A (batch, rows, columns) array of float32 whose columns are contiguous; strides count floats.
// Queries of one packed (B, N, 3C) array: {qkv, N * 3 * C, 3 * C}, keys: {qkv + C, ...}.
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
// products run on int8 (q and k: a scale per token and head, v: per channel; the softmax, float32
// itself, is rounded to 1/254 of its row's largest weight, and to 1/254 of that where much would
// be lost). y must not overlap the inputs.
// Throws std::invalid_argument.
void attention(const AttentionShape& shape, const Rows& q, const Rows& k, const Rows& v, float* y,
               const Workers& workers = {}, Isa isa = detect());

}  // namespace vpr_ros::kernels
