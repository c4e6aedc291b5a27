// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// The operators CrossAttention, of queries to keys and values, and SelfAttention, of one packed
// tensor.

#include "ort_operators.hpp"

namespace vpr_ros::ort {
namespace {

using kernels::AttentionShape;
using kernels::Rows;

class AttentionNode : public Node {
public:
    AttentionNode(const Api& api, const KernelInfo* info, const Registered& op)
        : Node(api, info, op.operator_name, op.inputs),
          heads_(int_attribute(info, "num_heads")),
          threads_(op.threads) {
        if (heads_ < 1) {
            refuse("num_heads is " + std::to_string(heads_) + ", at least 1 is needed");
        }
    }

protected:
    Tensor read(const KernelContext* context, std::size_t index) const {
        Tensor tensor = input(context, index);
        if (tensor.sizes.size() != 3) {
            refuse(tensor.name + " has shape " + tensor.shape() + ", rank 3 is needed");
        }
        return tensor;
    }

    // q, k and v with `channels` values a row, from `source` for messages.
    void attend(KernelContext* context, const Tensor& source, std::int64_t channels,
                std::int64_t queries, std::int64_t keys, const Rows& q, const Rows& k,
                const Rows& v) const {
        if (channels % heads_ != 0) {
            refuse(source.name + " has shape " + source.shape() + ", which " +
                   std::to_string(heads_) + " heads do not divide");
        }
        if (keys == 0) refuse(source.name + " has shape " + source.shape() + ", no keys");
        const std::int64_t batch = source.sizes[0];
        const AttentionShape shape{batch, queries, keys, heads_, channels / heads_};
        kernels::attention(shape, q, k, v, output(context, {batch, queries, channels}),
                           workers(*this, context, threads_));
    }

private:
    std::int64_t heads_;
    int threads_;
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
                   ", which do not fit " + q.name + " " + q.shape());
        }
        const std::int64_t channels = q.sizes[2];
        const auto rows = [&](const Tensor& tensor) {
            return Rows{tensor.as<float>(), tensor.sizes[1] * channels, channels};
        };
        attend(context, k, channels, q.sizes[1], k.sizes[1], rows(q), rows(k), rows(v));
    }
};

class SelfAttentionKernel : public AttentionNode {
public:
    using AttentionNode::AttentionNode;

    void run(KernelContext* context) const {
        const Tensor qkv = read(context, 0);
        const std::int64_t tokens = qkv.sizes[1];
        const std::int64_t row = qkv.sizes[2];
        if (row % 3 != 0) {
            refuse(qkv.name + " has shape " + qkv.shape() + ", which is not cut into three");
        }
        const auto part = [&](int index) {
            return Rows{qkv.as<float>() + index * row / 3, tokens * row, row};
        };
        attend(context, qkv, row / 3, tokens, tokens, part(0), part(1), part(2));
    }
};

}  // namespace

void add_attention(std::deque<Registered>& operators, int threads) {
    constexpr Element number = Element::float32;
    operators.push_back(
        {{}, "CrossAttention", "", threads, {{"q", number}, {"k", number}, {"v", number}}});
    bind<CrossAttentionKernel>(operators.back());
    operators.push_back({{}, "SelfAttention", "", threads, {{"qkv", number}}});
    bind<SelfAttentionKernel>(operators.back());
}

}  // namespace vpr_ros::ort
