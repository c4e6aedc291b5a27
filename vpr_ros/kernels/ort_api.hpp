// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// The part of ONNX Runtime's C interface that custom operators need, declared without its headers.
//
// ONNX Runtime hands a library one table of functions. New versions append to that table and
// change nothing in it, so a place in the table means the same in every version that has it. Only
// places are used here that version 16 of the interface has: onnxruntime 1.16 and newer.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace vpr_ros::ort {

constexpr std::uint32_t api_version = 16;

// Things that only ONNX Runtime looks into.
struct Status;  // a null pointer is success
struct SessionOptions;
struct Domain;
struct KernelInfo;
struct KernelContext;
struct Value;
struct ShapeInfo;

enum class Code : int { fail = 1, invalid_argument = 2 };
enum class Element : int { float32 = 1, uint8 = 2, int8 = 3, int64 = 7 };
enum class Presence : int { required = 0 };
enum class Memory : int { processor = 0 };

// The table of functions. `call` enters one place of it; the functions below are those in use.
class Api {
public:
    Status* create_status(Code code, const char* text) const {
        return call<0, Status*>(static_cast<int>(code), text);
    }
    const char* message(const Status* status) const { return call<2, const char*>(status); }
    Status* create_domain(const char* name, Domain** domain) const {
        return call<26, Status*>(name, domain);
    }
    Status* add_operator(Domain* domain, const struct Operator* op) const {
        return call<27, Status*>(domain, op);
    }
    Status* add_domain(SessionOptions* options, Domain* domain) const {
        return call<28, Status*>(options, domain);
    }
    Status* data(Value* value, void** data) const { return call<51, Status*>(value, data); }
    Status* element(const ShapeInfo* info, Element* element) const {
        return call<60, Status*>(info, element);
    }
    Status* rank(const ShapeInfo* info, std::size_t* rank) const {
        return call<61, Status*>(info, rank);
    }
    Status* sizes(const ShapeInfo* info, std::int64_t* sizes, std::size_t rank) const {
        return call<62, Status*>(info, sizes, rank);
    }
    Status* shape(const Value* value, ShapeInfo** info) const {
        return call<65, Status*>(value, info);
    }
    Status* attribute(const KernelInfo* info, const char* name, float* value) const {
        return call<85, Status*>(info, name, value);
    }
    Status* attribute(const KernelInfo* info, const char* name, std::int64_t* value) const {
        return call<86, Status*>(info, name, value);
    }
    Status* input_count(const KernelContext* context, std::size_t* count) const {
        return call<88, Status*>(context, count);
    }
    Status* input(const KernelContext* context, std::size_t index, const Value** value) const {
        return call<90, Status*>(context, index, value);
    }
    Status* output(KernelContext* context, std::size_t index, const std::int64_t* sizes,
                   std::size_t rank, Value** value) const {
        return call<91, Status*>(context, index, sizes, rank, value);
    }
    void release(Status* status) const { call<93, void>(status); }
    void release(ShapeInfo* info) const { call<99, void>(info); }
    // The next two write at most *size characters and set *size to what they need.
    Status* input_name(const KernelInfo* info, std::size_t index, char* text,
                       std::size_t* size) const {
        return call<232, Status*>(info, index, text, size);
    }
    Status* setting(const SessionOptions* options, const char* key, char* text,
                    std::size_t* size) const {
        return call<238, Status*>(options, key, text, size);
    }
    Status* node_name(const KernelInfo* info, char* text, std::size_t* size) const {
        return call<244, Status*>(info, text, size);
    }
    // A null value where the input is not constant.
    Status* constant_input(const KernelInfo* info, std::size_t index, int* is_constant,
                           const Value** value) const {
        return call<249, Status*>(info, index, is_constant, value);
    }
    // task(user, i) for all i below count, in `batches` pieces; 0: as many as there are threads.
    Status* parallel_for(const KernelContext* context, void (*task)(void*, std::size_t),
                         std::size_t count, std::size_t batches, void* user) const {
        return call<274, Status*>(context, task, count, batches, user);
    }

private:
    template <std::size_t place, typename Result, typename... Arguments>
    Result call(Arguments... arguments) const {
        return reinterpret_cast<Result (*)(Arguments...)>(table_[place])(arguments...);
    }

    void (*table_[275])();  // ONNX Runtime's, never ours: only pointers to it exist
};

struct ApiBase {
    const Api* (*get_api)(std::uint32_t version);  // null if the runtime is older
    const char* (*get_version)();
};

// What ONNX Runtime asks of an operator; laid out as it reads it. Version 16 ends with `compute`.
struct Operator {
    std::uint32_t version;
    void* (*create_unchecked)(const Operator*, const Api*, const KernelInfo*);
    const char* (*name)(const Operator*);
    const char* (*provider)(const Operator*);
    Element (*input_type)(const Operator*, std::size_t);
    std::size_t (*input_count)(const Operator*);
    Element (*output_type)(const Operator*, std::size_t);
    std::size_t (*output_count)(const Operator*);
    void (*compute_unchecked)(void*, KernelContext*);
    void (*destroy)(void*);
    Presence (*input_presence)(const Operator*, std::size_t);
    Presence (*output_presence)(const Operator*, std::size_t);
    Memory (*input_memory)(const Operator*, std::size_t);
    int (*variadic_input_minimum)(const Operator*);
    int (*variadic_inputs_alike)(const Operator*);
    int (*variadic_output_minimum)(const Operator*);
    int (*variadic_outputs_alike)(const Operator*);
    Status* (*create)(const Operator*, const Api*, const KernelInfo*, void**);
    Status* (*compute)(void*, KernelContext*);
};
static_assert(offsetof(Operator, create) == 136 && offsetof(Operator, compute) == 144);

}  // namespace vpr_ros::ort
