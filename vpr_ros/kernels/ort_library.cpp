// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// The functions that the library exports.

#include "ort_node.hpp"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <thread>

namespace vpr_ros::ort {
namespace {

// The number of threads of a session, set when it is made; operators cannot ask for it.
constexpr const char* THREADS_SETTING = "vpr_ros.threads";
constexpr long MOST_THREADS = 1024;  // there is one set of operators for each number

int threads_of(const Api& api, const SessionOptions* options) {
    char text[16] = "";
    std::size_t size = sizeof text;
    if (Status* status = api.setting(options, THREADS_SETTING, text, &size)) {
        api.release(status);  // not set
        return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
    }
    return static_cast<int>(std::clamp(std::strtol(text, nullptr, 10), 1L, MOST_THREADS));
}

// The operators for one number of threads. They live as long as the process, because sessions
// refer to them, and are never changed.
struct Set {
    std::deque<Registered> operators;
    Domain* domain = nullptr;
};

const Set& set_for(const Api& api, int threads) {
    static std::mutex mutex;
    static std::map<int, std::unique_ptr<Set>> sets;
    const std::lock_guard<std::mutex> lock(mutex);
    std::unique_ptr<Set>& found = sets[threads];
    if (found == nullptr) {
        auto set = std::make_unique<Set>(Set{operators_for(threads)});
        Status* status = api.create_domain("vpr_ros", &set->domain);
        for (const Registered& op : set->operators) {
            if (status == nullptr) status = api.add_operator(set->domain, &op);
        }
        if (status != nullptr) {
            const std::string text = api.message(status);
            api.release(status);
            throw Fault("The operators of vpr_ros cannot be registered: " + text);
        }
        found = std::move(set);
    }
    return *found;
}

}  // namespace
}  // namespace vpr_ros::ort

#ifdef __GLIBCXX__
// Headers of GCC 11 and newer call this function, which older libstdc++.so lack. With our own, the
// library runs on systems of 2018 (manylinux_2_28); it is not exported.
void std::__throw_bad_array_new_length() { throw std::bad_array_new_length(); }
#endif

extern "C" {

// ONNX Runtime calls this for every session that loads the library.
vpr_ros::ort::Status* RegisterCustomOps(vpr_ros::ort::SessionOptions* options,
                                        const vpr_ros::ort::ApiBase* base) {
    using namespace vpr_ros::ort;
    const Api* api = base->get_api(api_version);
    if (api == nullptr) return nullptr;  // older than 1.16: it runs the definitions in the file
    Status* refused = nullptr;
    Status* failed = guarded(*api, [&] {
        refused = api->add_domain(options, set_for(*api, threads_of(*api, options)).domain);
    });
    return failed != nullptr ? failed : refused;
}

// The instruction set that the operators use; null if VPR_ROS_KERNELS_ISA names none that is
// available.
const char* vpr_kernels_isa() {
    try {
        return vpr_ros::kernels::name(vpr_ros::kernels::detect());
    } catch (...) {
        return nullptr;
    }
}

// Identifies the sources and the compiler of the library; see build.py.
const char* vpr_kernels_digest() { return VPR_KERNELS_DIGEST; }

}  // extern "C"
