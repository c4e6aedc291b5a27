// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// Which instruction sets the library and the machine have in common.

#include "backend.hpp"

#include <cstdlib>
#include <stdexcept>

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace vpr_ros::kernels {
namespace {

struct Known {
    Isa isa;
    const char* name;
    const Backend* (*backend)();
};

constexpr Known KNOWN[] = {
    // slowest first
    {Isa::scalar, "scalar", backend_scalar},
    {Isa::neon_dotprod, "neon_dotprod", backend_neon_dotprod},
    {Isa::avx2, "avx2", backend_avx2},
    {Isa::avx2_vnni, "avx2_vnni", backend_avx2_vnni},
    {Isa::avx512_vnni, "avx512_vnni", backend_avx512_vnni},
    {Isa::avx512_vbmi, "avx512_vbmi", backend_avx512_vbmi},
};

const Known& known(Isa isa) {
    for (const Known& entry : KNOWN) {
        if (entry.isa == isa) {
            return entry;
        }
    }
    throw std::invalid_argument("Instruction set " + std::to_string(static_cast<int>(isa)) +
                                " is none of vpr_ros::kernels::Isa.");
}

#if defined(__x86_64__)
// CPUID leaf 7, subleaf 1: not every compiler's __builtin_cpu_supports knows "avxvnni".
[[maybe_unused]] bool has_avx_vnni() {
    unsigned eax = 7;
    unsigned ecx = 1;
    unsigned ebx = 0;
    unsigned edx = 0;
    if (__builtin_cpu_supports("avx2")) {
        __asm__("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
        return (eax >> 4) & 1;
    }
    return false;
}

// __builtin_cpu_supports counts AVX only where the operating system saves its registers.
bool supported(Isa isa) {
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                      __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                        __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vl") &&
                        __builtin_cpu_supports("avx512vnni");
    switch (isa) {
        case Isa::scalar:
            return true;
        case Isa::avx2:
            return avx2;
        case Isa::avx2_vnni:
#if defined(VPR_ROS_AVX_VNNI_BY_AVX512)  // a test, for machines that have only that
            return avx512;
#else
            return avx2 && has_avx_vnni();
#endif
        case Isa::avx512_vnni:
            return avx512;
        case Isa::avx512_vbmi:
            return avx512 && __builtin_cpu_supports("avx512vbmi") &&
                   __builtin_cpu_supports("avx512vbmi2");
        default:
            return false;
    }
}
#elif defined(__aarch64__) && defined(__linux__)
bool supported(Isa isa) {
    constexpr unsigned long DOT_PRODUCT = 1UL << 20;  // HWCAP_ASIMDDP
    return isa == Isa::scalar ||
           (isa == Isa::neon_dotprod && (getauxval(AT_HWCAP) & DOT_PRODUCT) != 0);
}
#else
bool supported(Isa isa) { return isa == Isa::scalar; }
#endif

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

bool available(Isa isa) { return known(isa).backend() != nullptr && supported(isa); }

std::vector<Isa> available_isas() {
    std::vector<Isa> isas;
    for (const Known& entry : KNOWN) {
        if (available(entry.isa)) {
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
    if (!available(isa)) {
        throw std::invalid_argument(std::string("Instruction set '") + name(isa) +
                                    "' is not available here; leave the choice to detect().");
    }
    return *known(isa).backend();
}

}  // namespace vpr_ros::kernels
