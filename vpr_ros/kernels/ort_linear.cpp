// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// The linear operators, each with every epilogue.

#include "ort_operators.hpp"

#include <optional>
#include <string_view>

namespace vpr_ros::ort {
namespace {

using kernels::Activation;
using kernels::Epilogue;

// A node that multiplies x (..., K) by constant weights: what does not depend on their form.
class LinearNode : public Node {
public:
    LinearNode(const Api& api, const KernelInfo* info, const Registered& op)
        : Node(api, info, op.operator_name, op.inputs),
          kind_(op.epilogue),
          bias_(op.inputs.size() - (kind_ == "BiasAdd" ? 2 : 1)),
          threads_(op.threads) {}

protected:
    // x, whose last dimension must be `inputs`.
    Tensor read_x(const KernelContext* context, std::int64_t inputs) const {
        Tensor x = input(context, 0);
        if (x.sizes.empty() || x.sizes.back() != inputs) {
            refuse(x.name + " has shape " + x.shape() + ", the weights need " +
                   std::to_string(inputs) + " values at the end");
        }
        return x;
    }

    Epilogue read_epilogue(const KernelContext* context,
                           const std::vector<std::int64_t>& sizes) const {
        Epilogue epilogue;
        if (kind_.empty()) return epilogue;
        epilogue.bias = vector(context, bias_, sizes.back());
        if (kind_ == "BiasGelu") epilogue.activation = Activation::gelu;
        if (kind_ == "BiasAdd") {
            const Tensor residual = input(context, bias_ + 1);
            if (residual.sizes != sizes) {
                refuse(residual.name + " has shape " + residual.shape() + ", the product " +
                       Tensor{{}, {}, sizes, nullptr}.shape());
            }
            epilogue.residual = residual.as<float>();
        }
        return epilogue;
    }

    // Of a ternary layer, whose third and fourth inputs they are.
    kernels::Delta read_delta(const KernelContext* context, std::int64_t outputs) const {
        const Tensor delta = input(context, 2);
        if (delta.count() == 1) return {*delta.as<float>(), nullptr};
        if (delta.count() != outputs) {
            refuse(delta.name + " has shape " + delta.shape() + ", 1 value or " +
                   std::to_string(outputs) + " are needed");
        }
        return {1.0F, delta.as<float>()};
    }

    float read_sparsity(const KernelContext* context) const {
        const float sparsity = scalar(context, 3);
        if (!(sparsity < 1.0F)) {
            refuse("sparsity is " + std::to_string(sparsity) + "; it must be below 1");
        }
        return sparsity;
    }

    kernels::Workers hands(const KernelContext* context) const {
        return workers(*this, context, threads_);
    }

private:
    std::string_view kind_;
    std::size_t bias_;
    int threads_;
};

class TernaryKernel : public LinearNode {
public:
    TernaryKernel(const Api& api, const KernelInfo* info, const Registered& op)
        : LinearNode(api, info, op) {
        const Tensor packed = constant(info, 1, 2);
        const Tensor tiles = constant(info, 4, 1);
        for (const Tensor* tensor : {&packed, &tiles}) {
            if (tensor->count() == 0) refuse(tensor->name + " is empty");
        }
        const std::int64_t* numbers = tiles.as<std::int64_t>();
        tokens_ = tiles.count();
        for (std::int64_t i = 0; i < tokens_; i++) {
            if (numbers[i] < 0 || numbers[i] >= tokens_) {
                refuse(tiles.name + " has tile " + std::to_string(numbers[i]) +
                       ", but tiles are numbered from 0 and are no more than the " +
                       std::to_string(tokens_) + " tokens");
            }
        }
        named([&] {
            linear_.emplace(packed.as<std::uint8_t>(), packed.sizes[0], 4 * packed.sizes[1],
                            std::vector<std::int64_t>(numbers, numbers + tokens_));
        });
    }

    void run(KernelContext* context) const {
        const Tensor x = read_x(context, linear_->inputs());
        if (x.sizes.size() != 3) refuse(x.name + " has shape " + x.shape() + ", rank 3 is needed");
        const kernels::Delta delta = read_delta(context, linear_->outputs());
        const float sparsity = read_sparsity(context);
        if (sparsity > 0 && x.sizes[1] != tokens_) {
            refuse(x.name + " has " + std::to_string(x.sizes[1]) + " tokens, tile_of_token " +
                   std::to_string(tokens_));
        }
        const std::vector<std::int64_t> sizes{x.sizes[0], x.sizes[1], linear_->outputs()};
        const Epilogue epilogue = read_epilogue(context, sizes);
        linear_->run(x.as<float>(), sizes[0], sizes[1], delta, sparsity, epilogue,
                     output(context, sizes), hands(context));
    }

private:
    std::optional<kernels::TernaryLinear> linear_;
    std::int64_t tokens_;
};

// vpr_ros::NestedTernaryLinear, and vpr_ros::SlimTernaryLinear, whose outputs are nested too;
// inputs as in `functions.nested_ternary_linear`.
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
        const Tensor x = read_x(context, linear_->inputs());
        std::vector<std::int64_t> sizes = x.sizes;
        sizes.back() = linear_->outputs();
        const kernels::Delta delta = read_delta(context, linear_->outputs());
        const Epilogue epilogue = read_epilogue(context, sizes);
        linear_->run(x.as<float>(), x.count() / linear_->inputs(), delta, read_sparsity(context),
                     epilogue, output(context, sizes), hands(context));
    }

private:
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
        const Tensor x = read_x(context, linear_->inputs());
        std::vector<std::int64_t> sizes = x.sizes;
        sizes.back() = linear_->outputs();
        const Epilogue epilogue = read_epilogue(context, sizes);
        linear_->run(x.as<float>(), x.count() / linear_->inputs(), epilogue,
                     output(context, sizes), hands(context));
    }

private:
    std::optional<kernels::Int8Linear> linear_;
};

constexpr Input X{"x", Element::float32};
constexpr Input BIAS{"bias", Element::float32};
constexpr Input RESIDUAL{"residual", Element::float32};

// The operators with one epilogue.
struct Form {
    const char* epilogue;
    const char* ternary;
    const char* nested;
    const char* slim;
    const char* int8;
    std::vector<Input> inputs;
};

std::vector<Input> joined(std::vector<Input> inputs, const std::vector<Input>& more) {
    inputs.insert(inputs.end(), more.begin(), more.end());
    return inputs;
}

}  // namespace

void add_linear(std::deque<Registered>& operators, int threads) {
    const std::vector<Form> forms{
        {"", "SparseTernaryLinear", "NestedTernaryLinear", "SlimTernaryLinear", "Int8Linear", {}},
        {"Bias", "SparseTernaryLinearBias", "NestedTernaryLinearBias", "SlimTernaryLinearBias",
         "Int8LinearBias", {BIAS}},
        {"BiasGelu", "SparseTernaryLinearBiasGelu", "NestedTernaryLinearBiasGelu",
         "SlimTernaryLinearBiasGelu", "Int8LinearBiasGelu", {BIAS}},
        {"BiasAdd", "SparseTernaryLinearBiasAdd", "NestedTernaryLinearBiasAdd",
         "SlimTernaryLinearBiasAdd", "Int8LinearBiasAdd", {BIAS, RESIDUAL}},
    };
    const std::vector<Input> ternary{X,
                                     {"packed", Element::uint8},
                                     {"delta", Element::float32},
                                     {"sparsity", Element::float32}};
    const std::vector<Input> tiled = joined(ternary, {{"tile_of_token", Element::int64}});
    const std::vector<Input> nested = joined(ternary, {{"rank", Element::int64}});
    const std::vector<Input> int8{X, {"weight", Element::int8}, {"scale", Element::float32}};
    for (const Form& form : forms) {
        const auto add = [&](const char* name, const std::vector<Input>& inputs) -> Registered& {
            const std::vector<Input> all = joined(inputs, form.inputs);
            return operators.emplace_back(Registered{{}, name, form.epilogue, threads, all});
        };
        bind<TernaryKernel>(add(form.ternary, tiled));
        bind<NestedKernel<false>>(add(form.nested, nested));
        bind<NestedKernel<true>>(add(form.slim, nested));
        bind<Int8Kernel>(add(form.int8, int8));
    }
}

}  // namespace vpr_ros::ort
