// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// The operators of exported files: their inputs are those of the functions of the same names in
// vpr_ros/export/functions.py.

#include "ort_node.hpp"

#include <optional>
#include <string_view>

namespace vpr_ros::ort {
namespace {

using kernels::Activation;
using kernels::AttentionShape;
using kernels::Epilogue;
using kernels::Rows;

// ---- linear layers ----------------------------------------------------------------------------

// What the linear operators share: x (..., K) and the epilogue, whose inputs come last.
class LinearNode : public Node {
public:
    LinearNode(const Api& api, const KernelInfo* info, const Registered& op)
        : Node(api, info, op),
          epilogue_(op.epilogue),
          bias_(op.inputs.size() - (epilogue_ == "BiasAdd" ? 2 : 1)) {}

protected:
    // run(x, rows, epilogue, y) for x, whose last dimension must be `inputs`, and y with `outputs`
    // instead.
    template <typename Run>
    void apply(KernelContext* context, std::int64_t inputs, std::int64_t outputs, Run run) const {
        const Tensor x = input(context, 0);
        if (x.sizes.empty() || x.sizes.back() != inputs) {
            refuse(x.name + " has shape " + x.shape() + ", but its last dimension must be " +
                   std::to_string(inputs));
        }
        std::vector<std::int64_t> sizes = x.sizes;
        sizes.back() = outputs;
        const Epilogue epilogue = read_epilogue(context, sizes);
        run(x.as<float>(), x.count() / inputs, epilogue, output(context, sizes));
    }

private:
    Epilogue read_epilogue(const KernelContext* context,
                           const std::vector<std::int64_t>& sizes) const {
        Epilogue epilogue;
        if (epilogue_.empty()) return epilogue;
        epilogue.bias = vector(context, bias_, sizes.back());
        if (epilogue_ == "BiasGelu") epilogue.activation = Activation::gelu;
        if (epilogue_ == "BiasAdd") {
            const Tensor residual = input(context, bias_ + 1);
            if (residual.sizes != sizes) {
                refuse(residual.name + " has shape " + residual.shape() + ", the product " +
                       Tensor{{}, {}, sizes, nullptr}.shape());
            }
            epilogue.residual = residual.as<float>();
        }
        return epilogue;
    }

    std::string_view epilogue_;
    std::size_t bias_;
};

// NestedTernaryLinear, and SlimTernaryLinear, whose outputs are nested as well.
template <bool SLIM>
class NestedKernel : public LinearNode {
public:
    NestedKernel(const Api& api, const KernelInfo* info, const Registered& op)
        : LinearNode(api, info, op) {
        const Tensor packed = constant(info, 1, 2);
        const Tensor rank = constant(info, 4, 1);
        if (packed.count() == 0) refuse(packed.name + " is empty");
        const std::int64_t* places = rank.as<std::int64_t>();
        named([&] {
            linear_.emplace(packed.as<std::uint8_t>(), packed.sizes[0], 4 * packed.sizes[1],
                            std::vector<std::int64_t>(places, places + rank.count()), SLIM);
        });
    }

    void run(KernelContext* context) const {
        apply(context, linear_->inputs(), linear_->outputs(),
              [&](const float* x, std::int64_t rows, const Epilogue& epilogue, float* y) {
                  linear_->run(x, rows, read_delta(context), read_sparsity(context), epilogue, y,
                               workers(context));
              });
    }

private:
    kernels::Delta read_delta(const KernelContext* context) const {
        const Tensor delta = input(context, 2);
        if (delta.count() == 1) return {*delta.as<float>(), nullptr};
        return {1.0F, vector(context, 2, linear_->outputs())};
    }

    float read_sparsity(const KernelContext* context) const {
        const float sparsity = *vector(context, 3, 1);
        if (!(sparsity < 1.0F)) {
            refuse("sparsity is " + std::to_string(sparsity) + "; it must be below 1");
        }
        return sparsity;
    }

    std::optional<kernels::NestedTernaryLinear> linear_;
};

class Int8Kernel : public LinearNode {
public:
    Int8Kernel(const Api& api, const KernelInfo* info, const Registered& op)
        : LinearNode(api, info, op) {
        const Tensor weight = constant(info, 1, 2);
        const Tensor scale = constant(info, 2, 1);
        if (weight.count() == 0) refuse(weight.name + " is empty");
        if (scale.sizes[0] != weight.sizes[1]) {
            refuse(scale.name + " has " + std::to_string(scale.sizes[0]) + " values, " +
                   weight.name + " has shape " + weight.shape());
        }
        named([&] {
            linear_.emplace(weight.as<std::int8_t>(), scale.as<float>(), weight.sizes[0],
                            weight.sizes[1]);
        });
    }

    void run(KernelContext* context) const {
        apply(context, linear_->inputs(), linear_->outputs(),
              [&](const float* x, std::int64_t rows, const Epilogue& epilogue, float* y) {
                  linear_->run(x, rows, epilogue, y, workers(context));
              });
    }

private:
    std::optional<kernels::Int8Linear> linear_;
};

// ---- attention --------------------------------------------------------------------------------

class AttentionNode : public Node {
public:
    AttentionNode(const Api& api, const KernelInfo* info, const Registered& op)
        : Node(api, info, op), heads_(int_attribute(info, "num_heads")) {
        if (heads_ < 1) refuse("num_heads is " + std::to_string(heads_) + "; it must be positive");
    }

protected:
    Tensor read(const KernelContext* context, std::size_t index) const {
        Tensor tensor = input(context, index);
        if (tensor.sizes.size() != 3) {
            refuse(tensor.name + " has shape " + tensor.shape() + ", but must have rank 3");
        }
        return tensor;
    }

    // Attention with `channels` values per row; messages name `source`.
    void attend(KernelContext* context, const Tensor& source, std::int64_t channels,
                std::int64_t queries, std::int64_t keys, const Rows& q, const Rows& k,
                const Rows& v) const {
        if (channels % heads_ != 0) {
            refuse(source.name + " has shape " + source.shape() + ", which does not divide into " +
                   std::to_string(heads_) + " heads");
        }
        if (keys == 0) refuse(source.name + " has shape " + source.shape() + ", no keys");
        const std::int64_t batch = source.sizes[0];
        const AttentionShape shape{batch, queries, keys, heads_, channels / heads_};
        kernels::attention(shape, q, k, v, output(context, {batch, queries, channels}),
                           workers(context));
    }

private:
    std::int64_t heads_;
};

class CrossAttentionKernel : public AttentionNode {
public:
    using AttentionNode::AttentionNode;

    void run(KernelContext* context) const {
        const Tensor q = read(context, 0);
        const Tensor k = read(context, 1);
        const Tensor v = read(context, 2);
        if (k.sizes != v.sizes || k.sizes[0] != q.sizes[0] || k.sizes[2] != q.sizes[2]) {
            refuse(k.name + " has shape " + k.shape() + " and " + v.name + " " + v.shape() +
                   ", which do not match " + q.name + " " + q.shape());
        }
        const std::int64_t channels = q.sizes[2];
        const auto rows = [&](const Tensor& tensor) {
            return Rows{tensor.as<float>(), tensor.sizes[1] * channels, channels};
        };
        attend(context, q, channels, q.sizes[1], k.sizes[1], rows(q), rows(k), rows(v));
    }
};

// Queries, keys and values side by side in one tensor.
class SelfAttentionKernel : public AttentionNode {
public:
    using AttentionNode::AttentionNode;

    void run(KernelContext* context) const {
        const Tensor qkv = read(context, 0);
        const std::int64_t tokens = qkv.sizes[1];
        const std::int64_t row = qkv.sizes[2];
        if (row % 3 != 0) {
            refuse(qkv.name + " has shape " + qkv.shape() + ", which does not divide into three");
        }
        const auto part = [&](int index) {
            return Rows{qkv.as<float>() + index * row / 3, tokens * row, row};
        };
        attend(context, qkv, row / 3, tokens, tokens, part(0), part(1), part(2));
    }
};

// ---- norm -------------------------------------------------------------------------------------

// Over the last dimension.
class LayerNormKernel : public Node {
public:
    LayerNormKernel(const Api& api, const KernelInfo* info, const Registered& op)
        : Node(api, info, op), epsilon_(float_attribute(info, "epsilon")) {}

    void run(KernelContext* context) const {
        const Tensor x = input(context, 0);
        if (x.sizes.empty() || x.sizes.back() == 0) {
            refuse(x.name + " has shape " + x.shape() + ", nothing to normalise");
        }
        const std::int64_t columns = x.sizes.back();
        const float* gain = vector(context, 1, columns);
        const float* offset = vector(context, 2, columns);
        kernels::layer_norm(x.as<float>(), x.count() / columns, columns, gain, offset, epsilon_,
                            output(context, x.sizes), workers(context));
    }

private:
    float epsilon_;
};

}  // namespace

std::deque<Registered> operators_for(int threads) {
    const Input x{"x", Element::float32};
    const Input bias{"bias", Element::float32};
    const Input residual{"residual", Element::float32};
    const std::vector<Input> ternary{x,
                                     {"packed", Element::uint8},
                                     {"delta", Element::float32},
                                     {"sparsity", Element::float32},
                                     {"rank", Element::int64}};
    const std::vector<Input> int8{x, {"weight", Element::int8}, {"scale", Element::float32}};

    std::deque<Registered> operators;  // ONNX Runtime keeps the addresses of its elements
    const auto add = [&](std::string name, std::vector<Input> inputs,
                         const char* epilogue = "") -> Registered& {
        return operators.emplace_back(
            Registered{{}, std::move(name), epilogue, threads, std::move(inputs)});
    };
    const std::pair<const char*, std::vector<Input>> epilogues[] = {
        {"", {}}, {"Bias", {bias}}, {"BiasGelu", {bias}}, {"BiasAdd", {bias, residual}}};
    for (const auto& [epilogue, more] : epilogues) {
        const auto add_linear = [&](const char* name, std::vector<Input> inputs) -> Registered& {
            inputs.insert(inputs.end(), more.begin(), more.end());
            return add(std::string(name) + epilogue, std::move(inputs), epilogue);
        };
        bind<NestedKernel<false>>(add_linear("NestedTernaryLinear", ternary));
        bind<NestedKernel<true>>(add_linear("SlimTernaryLinear", ternary));
        bind<Int8Kernel>(add_linear("Int8Linear", int8));
    }
    const Element number = Element::float32;
    bind<CrossAttentionKernel>(
        add("CrossAttention", {{"q", number}, {"k", number}, {"v", number}}));
    bind<SelfAttentionKernel>(add("SelfAttention", {{"qkv", number}}));
    bind<LayerNormKernel>(add("LayerNorm", {x, {"gain", number}, {"offset", number}}));
    return operators;
}

}  // namespace vpr_ros::ort
