// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// The operator LayerNorm, over the last dimension.

#include "layer_norm.hpp"
#include "ort_operators.hpp"

namespace vpr_ros::ort {
namespace {

class LayerNormKernel : public Node {
public:
    LayerNormKernel(const Api& api, const KernelInfo* info, const Registered& op)
        : Node(api, info, op.operator_name, op.inputs),
          epsilon_(float_attribute(info, "epsilon")),
          threads_(op.threads) {}

    void run(KernelContext* context) const {
        const Tensor x = input(context, 0);
        if (x.sizes.empty() || x.sizes.back() == 0) {
            refuse(x.name + " has shape " + x.shape() + ", nothing to normalise");
        }
        const std::int64_t columns = x.sizes.back();
        const float* gain = vector(context, 1, columns);
        const float* offset = vector(context, 2, columns);
        kernels::layer_norm(x.as<float>(), x.count() / columns, columns, gain, offset, epsilon_,
                            output(context, x.sizes), workers(*this, context, threads_));
    }

private:
    float epsilon_;
    int threads_;
};

}  // namespace

void add_layer_norm(std::deque<Registered>& operators, int threads) {
    constexpr Element number = Element::float32;
    operators.push_back(
        {{}, "LayerNorm", "", threads, {{"x", number}, {"gain", number}, {"offset", number}}});
    bind<LayerNormKernel>(operators.back());
}

}  // namespace vpr_ros::ort
