// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// The part of ONNX Runtime's C interface that custom operators need, declared without its headers,
// which its Python package does not include.
//
// ONNX Runtime gives a library one table of functions. New versions append to the table and change
// nothing else, so a place in it means the same in every version that has it. Only places of
// version 16 of the interface are used here: onnxruntime 1.16 and newer. test_ort_api.py compares
// them with ONNX Runtime's header where that is installed.

#pragma once

#include <cstddef>
#include <cstdint>

namespace vpr_ros::ort {

constexpr std::uint32_t api_version = 16;

// Opaque types of ONNX Runtime.
struct Status;  // a null pointer means success
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

// Places in the table, by the names of the members of `OrtApi`.
enum Place : std::size_t {
    CreateStatus = 0,
    GetErrorMessage = 2,
    CreateCustomOpDomain = 26,
    CustomOpDomain_Add = 27,
    AddCustomOpDomain = 28,
    GetTensorMutableData = 51,
    GetTensorElementType = 60,
    GetDimensionsCount = 61,
    GetDimensions = 62,
    GetTensorTypeAndShape = 65,
    KernelInfoGetAttribute_float = 85,
    KernelInfoGetAttribute_int64 = 86,
    KernelContext_GetInput = 90,
    KernelContext_GetOutput = 91,
    ReleaseStatus = 93,
    ReleaseTensorTypeAndShapeInfo = 99,
    KernelInfo_GetInputName = 232,
    GetSessionConfigEntry = 238,
    KernelInfo_GetNodeName = 244,
    KernelInfoGetConstantInput_tensor = 249,
    KernelContext_ParallelFor = 274,
};

class Api {
public:
    Status* create_status(Code code, const char* text) const {
        return call<CreateStatus, Status*>(static_cast<int>(code), text);
    }
    const char* message(const Status* status) const {
        return call<GetErrorMessage, const char*>(status);
    }
    Status* create_domain(const char* name, Domain** domain) const {
        return call<CreateCustomOpDomain, Status*>(name, domain);
    }
    Status* add_operator(Domain* domain, const struct Operator* op) const {
        return call<CustomOpDomain_Add, Status*>(domain, op);
    }
    Status* add_domain(SessionOptions* options, Domain* domain) const {
        return call<AddCustomOpDomain, Status*>(options, domain);
    }
    Status* data(Value* value, void** data) const {
        return call<GetTensorMutableData, Status*>(value, data);
    }
    Status* element(const ShapeInfo* info, Element* element) const {
        return call<GetTensorElementType, Status*>(info, element);
    }
    Status* rank(const ShapeInfo* info, std::size_t* rank) const {
        return call<GetDimensionsCount, Status*>(info, rank);
    }
    Status* sizes(const ShapeInfo* info, std::int64_t* sizes, std::size_t rank) const {
        return call<GetDimensions, Status*>(info, sizes, rank);
    }
    Status* shape(const Value* value, ShapeInfo** info) const {
        return call<GetTensorTypeAndShape, Status*>(value, info);
    }
    Status* attribute(const KernelInfo* info, const char* name, float* value) const {
        return call<KernelInfoGetAttribute_float, Status*>(info, name, value);
    }
    Status* attribute(const KernelInfo* info, const char* name, std::int64_t* value) const {
        return call<KernelInfoGetAttribute_int64, Status*>(info, name, value);
    }
    Status* input(const KernelContext* context, std::size_t index, const Value** value) const {
        return call<KernelContext_GetInput, Status*>(context, index, value);
    }
    Status* output(KernelContext* context, std::size_t index, const std::int64_t* sizes,
                   std::size_t rank, Value** value) const {
        return call<KernelContext_GetOutput, Status*>(context, index, sizes, rank, value);
    }
    void release(Status* status) const { call<ReleaseStatus, void>(status); }
    void release(ShapeInfo* info) const { call<ReleaseTensorTypeAndShapeInfo, void>(info); }
    // These three write at most *size characters and set *size to what they need.
    Status* input_name(const KernelInfo* info, std::size_t index, char* text,
                       std::size_t* size) const {
        return call<KernelInfo_GetInputName, Status*>(info, index, text, size);
    }
    Status* setting(const SessionOptions* options, const char* key, char* text,
                    std::size_t* size) const {
        return call<GetSessionConfigEntry, Status*>(options, key, text, size);
    }
    Status* node_name(const KernelInfo* info, char* text, std::size_t* size) const {
        return call<KernelInfo_GetNodeName, Status*>(info, text, size);
    }
    // The value is null if the input is not constant.
    Status* constant_input(const KernelInfo* info, std::size_t index, int* is_constant,
                           const Value** value) const {
        return call<KernelInfoGetConstantInput_tensor, Status*>(info, index, is_constant, value);
    }
    // task(user, i) for all i below count, in `batches` pieces; 0: as many as there are threads.
    Status* parallel_for(const KernelContext* context, void (*task)(void*, std::size_t),
                         std::size_t count, std::size_t batches, void* user) const {
        return call<KernelContext_ParallelFor, Status*>(context, task, count, batches, user);
    }

private:
    template <Place place, typename Result, typename... Arguments>
    Result call(Arguments... arguments) const {
        return reinterpret_cast<Result (*)(Arguments...)>(table_[place])(arguments...);
    }

    void (*table_[KernelContext_ParallelFor + 1])();  // allocated by ONNX Runtime, never here
};

struct ApiBase {
    const Api* (*get_api)(std::uint32_t version);  // null if the runtime is older
    const char* (*get_version)();
};

// What ONNX Runtime asks of an operator, in its layout. In version 16 `compute` is the last member.
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
