// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// What our operators share in talking to ONNX Runtime: tensors, attributes, threads, errors.
//
// Internally, faults are exceptions that name the operator and the tensor. `guarded` turns them
// into statuses before they reach ONNX Runtime.

#pragma once

#include "kernels.hpp"
#include "ort_api.hpp"

#include <deque>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace vpr_ros::ort {

// A fault of the graph or of its inputs.
struct Fault : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// A tensor that belongs to ONNX Runtime. Inputs are only read.
struct Tensor {
    std::string name;  // for messages: the operator's name for it, and the graph's
    Element element;
    std::vector<std::int64_t> sizes;
    void* data;

    std::int64_t count() const;  // throws std::invalid_argument if it exceeds 63 bits
    std::string shape() const;  // "(1, 197, 768)"

    template <typename T>
    const T* as() const {
        return static_cast<const T*>(data);
    }
};

// The name and the required type of an input.
struct Input {
    const char* name;
    Element element;
};

// An operator as ONNX Runtime sees it, and what its kernels are made from.
struct Registered : Operator {
    std::string operator_name;
    const char* epilogue;  // of linear operators, see EPILOGUES in functions.py
    int threads;
    std::vector<Input> inputs;
};

// All operators of the library, for sessions with this many threads.
std::deque<Registered> operators_for(int threads);

// A node of a graph: what is known about it when the session is made.
class Node {
public:
    Node(const Api& api, const KernelInfo* info, const Registered& op);

    const Api& api() const { return api_; }

    // Throws Fault: "vpr_ros::Operator 'node': text."
    [[noreturn]] void refuse(const std::string& text) const;

    // Does `work`; arguments that it rejects are faults of this node, and it names the node if there
    // is no memory.
    template <typename Work>
    void named(Work&& work) const {
        try {
            work();
        } catch (const std::invalid_argument& error) {
            throw Fault(title_ + ": " + error.what());
        } catch (const std::bad_alloc&) {
            throw std::runtime_error(title_ + ": not enough memory.");
        }
    }

protected:
    std::int64_t int_attribute(const KernelInfo* info, const char* name) const;
    float float_attribute(const KernelInfo* info, const char* name) const;

    // An input, which must be constant and of this rank.
    Tensor constant(const KernelInfo* info, std::size_t index, std::size_t rank) const;

    // An input of one run.
    Tensor input(const KernelContext* context, std::size_t index) const;

    // The same, with `count` values.
    const float* vector(const KernelContext* context, std::size_t index, std::int64_t count) const;

    // The only output, newly allocated.
    float* output(KernelContext* context, const std::vector<std::int64_t>& sizes) const;

    // The threads of the session.
    kernels::Workers workers(const KernelContext* context) const;

private:
    // Throws Fault if ONNX Runtime reports one.
    void check(Status* status) const;
    void check_attribute(Status* status, const char* name) const;
    Tensor view(const Value* value, std::size_t index) const;
    std::string label(std::size_t index) const;  // of an input: "input x '/block/Add_3'"

    const Api& api_;
    std::string title_;
    int threads_;
    std::vector<Input> inputs_;
    std::vector<std::string> graph_names_;
};

// Runs `work` and turns what it throws into a status.
template <typename Work>
Status* guarded(const Api& api, Work&& work) noexcept {
    try {
        work();
        return nullptr;
    } catch (const Fault& error) {
        return api.create_status(Code::invalid_argument, error.what());
    } catch (const std::bad_alloc&) {
        return api.create_status(Code::fail, "vpr_ros: not enough memory.");
    } catch (const std::exception& error) {
        return api.create_status(Code::fail, error.what());
    } catch (...) {
        return api.create_status(Code::fail, "vpr_ros: unknown fault");
    }
}

// Lets `op` run a `Kernel(Api, KernelInfo, Registered)` with `run(KernelContext)`.
template <typename Kernel>
void bind(Registered& op) {
    op.version = api_version;
    op.name = [](const Operator* self) {
        return static_cast<const Registered*>(self)->operator_name.c_str();
    };
    op.provider = [](const Operator*) { return "CPUExecutionProvider"; };
    op.input_type = [](const Operator* self, std::size_t index) {
        return static_cast<const Registered*>(self)->inputs[index].element;
    };
    op.input_count = [](const Operator* self) {
        return static_cast<const Registered*>(self)->inputs.size();
    };
    op.output_type = [](const Operator*, std::size_t) { return Element::float32; };
    op.output_count = [](const Operator*) -> std::size_t { return 1; };
    op.input_presence = [](const Operator*, std::size_t) { return Presence::required; };
    op.output_presence = [](const Operator*, std::size_t) { return Presence::required; };
    op.input_memory = [](const Operator*, std::size_t) { return Memory::processor; };
    const auto none = [](const Operator*) { return 0; };
    op.variadic_input_minimum = op.variadic_inputs_alike = none;
    op.variadic_output_minimum = op.variadic_outputs_alike = none;
    op.create = [](const Operator* self, const Api* api, const KernelInfo* info, void** kernel) {
        *kernel = nullptr;
        return guarded(*api, [&] {
            *kernel = new Kernel(*api, info, *static_cast<const Registered*>(self));
        });
    };
    op.compute = [](void* kernel, KernelContext* context) {
        Kernel& self = *static_cast<Kernel*>(kernel);
        return guarded(self.api(), [&] { self.named([&] { self.run(context); }); });
    };
    op.destroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
}

}  // namespace vpr_ros::ort
