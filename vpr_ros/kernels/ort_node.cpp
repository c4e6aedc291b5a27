// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// Tensors, attributes, threads and errors of ONNX Runtime; see ort_node.hpp.

#include "ort_node.hpp"

#include <algorithm>
#include <memory>

namespace vpr_ros::ort {
namespace {

const char* word(Element element) {
    switch (element) {
        case Element::float32: return "float32";
        case Element::uint8: return "uint8";
        case Element::int8: return "int8";
        case Element::int64: return "int64";
    }
    return "of another type";
}

}  // namespace

std::int64_t Tensor::count() const {
    std::int64_t product = std::count(sizes.begin(), sizes.end(), 0) > 0 ? 0 : 1;
    for (const std::int64_t size : sizes) {
        if (__builtin_mul_overflow(product, size, &product)) {
            throw std::invalid_argument(name + " has shape " + shape() + ", which is too large.");
        }
    }
    return product;
}

std::string Tensor::shape() const {
    std::string text = "(";
    for (const std::int64_t size : sizes) {
        text += (text.size() > 1 ? ", " : "") + std::to_string(size);
    }
    return text + ")";
}

Node::Node(const Api& api, const KernelInfo* info, const Registered& op)
    : api_(api), title_(op.operator_name), threads_(op.threads), inputs_(op.inputs) {
    const auto read = [&](auto&& ask) {
        std::size_t size = 0;
        check(ask(nullptr, &size));
        std::string text(size, '\0');
        check(ask(text.data(), &size));
        return std::string(text.c_str());  // without the terminating zero
    };
    title_ = "vpr_ros::" + op.operator_name + " '" + read([&](char* text, std::size_t* size) {
                 return api_.node_name(info, text, size);
             }) + "'";
    for (std::size_t i = 0; i < inputs_.size(); i++) {
        graph_names_.push_back(read([&](char* text, std::size_t* size) {
            return api_.input_name(info, i, text, size);
        }));
    }
}

void Node::check_attribute(Status* status, const char* name) const {
    if (status != nullptr) {
        api_.release(status);
        refuse(std::string("attribute ") + name + " is missing or has another type");
    }
}

std::int64_t Node::int_attribute(const KernelInfo* info, const char* name) const {
    std::int64_t value = 0;
    check_attribute(api_.attribute(info, name, &value), name);
    return value;
}

float Node::float_attribute(const KernelInfo* info, const char* name) const {
    float value = 0;
    check_attribute(api_.attribute(info, name, &value), name);
    return value;
}

Tensor Node::constant(const KernelInfo* info, std::size_t index, std::size_t rank) const {
    int is_constant = 0;
    const Value* value = nullptr;
    check(api_.constant_input(info, index, &is_constant, &value));
    if (is_constant == 0 || value == nullptr) refuse(label(index) + " must be constant");
    const Tensor tensor = view(value, index);
    if (tensor.sizes.size() != rank) {
        refuse(tensor.name + " has shape " + tensor.shape() + ", but must have rank " +
               std::to_string(rank));
    }
    return tensor;
}

Tensor Node::input(const KernelContext* context, std::size_t index) const {
    const Value* value = nullptr;
    check(api_.input(context, index, &value));
    return view(value, index);
}

const float* Node::vector(const KernelContext* context, std::size_t index,
                          std::int64_t count) const {
    const Tensor tensor = input(context, index);
    if (tensor.count() != count) {
        refuse(tensor.name + " has shape " + tensor.shape() + ", but must have " +
               std::to_string(count) + " value(s)");
    }
    return tensor.as<float>();
}

float* Node::output(KernelContext* context, const std::vector<std::int64_t>& sizes) const {
    Value* value = nullptr;
    check(api_.output(context, 0, sizes.data(), sizes.size(), &value));
    if (value == nullptr) refuse("its output is missing");
    void* data = nullptr;
    check(api_.data(value, &data));
    return static_cast<float*>(data);
}

kernels::Workers Node::workers(const KernelContext* context) const {
    using Task = std::function<void(std::size_t)>;
    kernels::Workers workers;
    workers.threads = threads_;
    if (threads_ > 1) {
        workers.parallel_for = [this, context](std::size_t count, const Task& task) {
            const auto enter = [](void* user, std::size_t i) {
                (*static_cast<const Task*>(user))(i);
            };
            check(api_.parallel_for(context, enter, count, 0, const_cast<Task*>(&task)));
        };
    }
    return workers;
}

void Node::refuse(const std::string& text) const { throw Fault(title_ + ": " + text + "."); }

void Node::check(Status* status) const {
    if (status != nullptr) {
        const auto release = [this](Status* held) { api_.release(held); };
        const std::unique_ptr<Status, decltype(release)> held(status, release);
        throw Fault(title_ + ": " + api_.message(status));
    }
}

std::string Node::label(std::size_t index) const {
    return std::string("input ") + inputs_[index].name + " '" + graph_names_[index] + "'";
}

Tensor Node::view(const Value* value, std::size_t index) const {
    Tensor tensor;
    tensor.name = label(index);
    if (value == nullptr) refuse(tensor.name + " is missing");
    ShapeInfo* info = nullptr;
    check(api_.shape(value, &info));
    const auto release = [this](ShapeInfo* held) { api_.release(held); };
    const std::unique_ptr<ShapeInfo, decltype(release)> held(info, release);
    std::size_t rank = 0;
    check(api_.element(info, &tensor.element));
    check(api_.rank(info, &rank));
    tensor.sizes.resize(rank);
    check(api_.sizes(info, tensor.sizes.data(), rank));
    if (tensor.element != inputs_[index].element) {
        refuse(tensor.name + " is " + word(tensor.element) + ", but must be " +
               word(inputs_[index].element));
    }
    check(api_.data(const_cast<Value*>(value), &tensor.data));
    return tensor;
}

}  // namespace vpr_ros::ort
