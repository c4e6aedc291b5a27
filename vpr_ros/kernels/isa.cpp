// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// Which instruction sets both the library and the machine have.

#include "backend.hpp"

#include <cstdlib>
#include <stdexcept>
#include <string>

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace vpr_ros::kernels {

// Null where the library was built without the set; see backend.cpp.
const Backend* backend_scalar() __attribute__((weak));
const Backend* backend_avx2() __attribute__((weak));
const Backend* backend_avx2_vnni() __attribute__((weak));
const Backend* backend_avx512_vnni() __attribute__((weak));
const Backend* backend_neon_dotprod() __attribute__((weak));

namespace {

#if defined(__x86_64__)
// __builtin_cpu_supports reports AVX only if the operating system saves its registers.
bool has_avx2() {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
}

bool has_avx512_vnni() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
}

bool has_avx2_vnni() {
#if defined(VPR_ROS_AVX_VNNI_BY_AVX512)  // in test_fuzz.py, for machines without AVX-VNNI
    return has_avx512_vnni();
#else
    // CPUID leaf 7, subleaf 1: older compilers' __builtin_cpu_supports does not know "avxvnni".
    unsigned eax = 7;
    unsigned ebx = 0;
    unsigned ecx = 1;
    unsigned edx = 0;
    if (!has_avx2()) return false;
    __asm__("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    return (eax >> 4) & 1;
#endif
}
#else
bool has_avx2() { return false; }
bool has_avx512_vnni() { return false; }
bool has_avx2_vnni() { return false; }
#endif

bool has_neon_dotprod() {
#if defined(__aarch64__) && defined(__linux__)
    constexpr unsigned long DOT_PRODUCT = 1UL << 20;  // HWCAP_ASIMDDP
    return (getauxval(AT_HWCAP) & DOT_PRODUCT) != 0;
#else
    return false;
#endif
}

struct Known {
    Isa isa;
    const char* name;
    const Backend* (*backend)();
    bool (*supported)();

    bool available() const { return backend != nullptr && supported(); }
};

const Known KNOWN[] = {
    // slowest first
    {Isa::scalar, "scalar", backend_scalar, [] { return true; }},
    {Isa::neon_dotprod, "neon_dotprod", backend_neon_dotprod, has_neon_dotprod},
    {Isa::avx2, "avx2", backend_avx2, has_avx2},
    {Isa::avx2_vnni, "avx2_vnni", backend_avx2_vnni, has_avx2_vnni},
    {Isa::avx512_vnni, "avx512_vnni", backend_avx512_vnni, has_avx512_vnni},
};

const Known& known(Isa isa) {
    for (const Known& entry : KNOWN) {
        if (entry.isa == isa) {
            return entry;
        }
    }
    throw std::invalid_argument("Instruction set " + std::to_string(static_cast<int>(isa)) +
                                " is not in vpr_ros::kernels::Isa.");
}

Isa choose() {
    const std::vector<Isa> isas = available_isas();
    const char* wanted = std::getenv("VPR_ROS_KERNELS_ISA");
    if (wanted == nullptr || *wanted == '\0') {
        return isas.back();
    }
    std::string names;
    for (const Isa isa : isas) {
        if (std::string(wanted) == name(isa)) {
            return isa;
        }
        names += std::string(names.empty() ? "" : ", ") + name(isa);
    }
    throw std::invalid_argument("VPR_ROS_KERNELS_ISA is '" + std::string(wanted) +
                                "'; this machine has " + names + ".");
}

}  // namespace

const char* name(Isa isa) { return known(isa).name; }

std::vector<Isa> available_isas() {
    std::vector<Isa> isas;
    for (const Known& entry : KNOWN) {
        if (entry.available()) {
            isas.push_back(entry.isa);
        }
    }
    return isas;
}

Isa detect() {
    static const Isa chosen = choose();
    return chosen;
}

const Backend& backend_of(Isa isa) {
    if (!known(isa).available()) {
        throw std::invalid_argument(std::string("Instruction set '") + name(isa) +
                                    "' is not available here; let detect() choose.");
    }
    return *known(isa).backend();
}

}  // namespace vpr_ros::kernels
