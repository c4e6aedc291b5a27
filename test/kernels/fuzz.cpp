// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// Random layers of random shapes on random numbers: compares every available instruction set with
// the scalar one. `fuzz SEED CASES SECONDS` prints what ran and a checksum that depends only on SEED
// and CASES; it exits with 1 at the first difference.

#include "kernels.hpp"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace vpr_ros::kernels;

class Random {
public:
    explicit Random(unsigned seed) : bits_(seed) {}

    std::int64_t whole(std::int64_t least, std::int64_t most) {
        const auto span = static_cast<unsigned>(most - least + 1);
        return least + static_cast<std::int64_t>(bits_() % span);
    }
    float real() { return static_cast<float>(bits_() >> 8) / (1 << 23) - 1.0F; }
    bool one_in(int chances) { return whole(1, chances) == 1; }

    // Activations of many kinds: ordinary, whole numbers, zeros, huge, tiny, not finite.
    std::vector<float> activations(std::int64_t count) {
        std::vector<float> x(static_cast<std::size_t>(count));
        const std::int64_t kind = whole(0, 7);
        const float size = kind == 0 ? 1e30F : kind == 1 ? 1e-30F : kind == 2 ? 3e38F : 1.0F;
        for (float& value : x) {
            value = real() * size;
            value = kind == 3 ? std::round(3 * value) : value;
            value = kind == 4 && one_in(2) ? 0.0F : value;
            value = kind == 5 ? 0.0F : value;
        }
        if (kind == 6) {
            const float odd[] = {std::numeric_limits<float>::infinity(),
                                 -std::numeric_limits<float>::infinity(),
                                 std::numeric_limits<float>::quiet_NaN(), -0.0F, 1e-45F};
            for (const float value : odd) {
                x[static_cast<std::size_t>(whole(0, count - 1))] = value;
            }
        }
        return x;
    }

    template <class T>
    std::vector<T> wholes(std::int64_t count, std::int64_t least, std::int64_t most) {
        std::vector<T> numbers(static_cast<std::size_t>(count));
        for (T& number : numbers) {
            number = static_cast<T>(whole(least, most));
        }
        return numbers;
    }

    // Packed weights.
    std::vector<std::uint8_t> ternary(std::int64_t inputs, std::int64_t outputs) {
        std::vector<std::uint8_t> packed(static_cast<std::size_t>(inputs * ((outputs + 3) / 4)));
        for (std::uint8_t& byte : packed) {
            for (int field = 0; field < 4; ++field) {
                byte = static_cast<std::uint8_t>(byte | whole(0, 2) << (2 * field));
            }
        }
        return packed;
    }

private:
    std::mt19937 bits_;
};

Workers threads(int count) {
    Workers workers;
    workers.threads = count;
    workers.parallel_for = [count](std::size_t tasks, const auto& task) {
        std::vector<std::thread> running;
        for (int first = 0; first < count; ++first) {
            running.emplace_back([=, &task] {
                for (std::size_t i = static_cast<std::size_t>(first); i < tasks;
                     i += static_cast<std::size_t>(count)) {
                    task(i);
                }
            });
        }
        for (std::thread& thread : running) {
            thread.join();
        }
    };
    return workers;
}

// Compares outputs and computes the checksum.
class Judge {
public:
    // Equal bit for bit, where any two NaN are equal; or, with a bound, at most that far apart.
    void compare(const std::string& what, Isa isa, const std::vector<float>& y,
                 const std::vector<float>& wanted, float bound) {
        for (std::size_t i = 0; i < y.size(); ++i) {
            const bool alike = y[i] == wanted[i] || (std::isnan(y[i]) && std::isnan(wanted[i])) ||
                               std::fabs(y[i] - wanted[i]) <= bound;
            if (!alike) {
                std::printf("%s: output %zu is %.9g with %s, %.9g with scalar\n", what.c_str(), i,
                            static_cast<double>(y[i]), name(isa), static_cast<double>(wanted[i]));
                std::exit(1);
            }
        }
    }

    void add(const std::vector<float>& y) {
        for (const float value : y) {
            std::uint32_t bits;
            std::memcpy(&bits, &value, sizeof bits);
            sum_ = sum_ * 31 + (std::isnan(value) ? 1 : bits);
        }
    }

    std::uint64_t sum() const { return sum_; }

private:
    std::uint64_t sum_ = 0;
};

constexpr float GELU_BOUND = 1e-6F;  // times the largest output: fused and unfused products differ

float largest(const std::vector<float>& numbers) {
    float most = 1.0F;
    for (const float number : numbers) {
        most = std::isfinite(number) ? std::max(most, std::fabs(number)) : most;
    }
    return most;
}

void try_nested(Random& random, Judge& judge) {
    const std::int64_t inputs = random.whole(1, random.one_in(3) ? 700 : 140);
    const std::int64_t outputs = random.whole(1, 150);
    const std::int64_t rows = random.whole(1, 60);
    const std::vector<std::uint8_t> packed = random.ternary(inputs, outputs);
    std::vector<std::int64_t> rank(static_cast<std::size_t>(inputs));
    for (std::int64_t i = 0; i < inputs; ++i) {
        rank[static_cast<std::size_t>(i)] = i;
    }
    for (std::int64_t i = random.one_in(4) ? 0 : inputs - 1; i > 0; --i) {
        const std::int64_t other = random.whole(0, i);
        std::swap(rank[static_cast<std::size_t>(i)], rank[static_cast<std::size_t>(other)]);
    }
    const bool slim = random.one_in(2);
    const std::vector<float> x = random.activations(rows * inputs);
    const std::vector<float> bias = random.activations(outputs);
    const std::vector<float> residual = random.activations(rows * outputs);
    const float sparsity = random.one_in(4) ? 0.0F : (random.real() + 1.0F) / 2.0F;
    Epilogue epilogue;
    epilogue.bias = random.one_in(2) ? bias.data() : nullptr;
    epilogue.residual = random.one_in(2) ? residual.data() : nullptr;
    epilogue.activation = random.one_in(4) ? Activation::gelu : Activation::none;
    const Workers workers = random.one_in(4) ? threads(3) : Workers{};
    const bool exact = epilogue.activation == Activation::none;

    std::vector<float> wanted;
    for (const Isa isa : available_isas()) {
        const NestedTernaryLinear layer(packed.data(), inputs, outputs, rank, slim, isa);
        std::vector<float> y(static_cast<std::size_t>(rows * outputs), 7e7F);
        layer.run(x.data(), rows, {0.01F}, sparsity, epilogue, y.data(), workers);
        if (isa == Isa::scalar) {
            wanted = y;
        }
        judge.compare("nested " + std::to_string(inputs) + "x" + std::to_string(outputs), isa, y,
                      wanted, exact ? 0.0F : GELU_BOUND * largest(wanted));
    }
    if (exact) {
        judge.add(wanted);
    }
}

void try_int8(Random& random, Judge& judge) {
    const std::int64_t inputs = random.whole(1, 300);
    const std::int64_t outputs = random.whole(1, 150);
    const std::int64_t rows = random.whole(1, 60);
    const auto weight = random.wholes<std::int8_t>(inputs * outputs, -128, 127);
    const std::vector<float> scale = random.activations(outputs);
    const std::vector<float> x = random.activations(rows * inputs);
    std::vector<float> wanted;
    for (const Isa isa : available_isas()) {
        const Int8Linear layer(weight.data(), scale.data(), inputs, outputs, isa);
        std::vector<float> y(static_cast<std::size_t>(rows * outputs), 7e7F);
        layer.run(x.data(), rows, {}, y.data(), random.one_in(4) ? threads(2) : Workers{});
        if (isa == Isa::scalar) {
            wanted = y;
        }
        judge.compare("int8", isa, y, wanted, 0.0F);
    }
    judge.add(wanted);
}

void try_attention(Random& random, Judge& judge) {
    const AttentionShape shape{random.whole(1, 2), random.whole(1, 70), random.whole(1, 140),
                               random.whole(1, 3), random.whole(1, 140)};
    const std::int64_t channels = shape.heads * shape.head_size;
    const std::int64_t gap = random.whole(0, 9);  // between rows of q
    const auto rows_of = [&](const std::vector<float>& x, std::int64_t rows, std::int64_t stride) {
        return Rows{x.data(), rows * stride, stride};
    };
    // The last row ends where its columns end, so that the sanitizer sees a read beyond them.
    std::vector<float> q = random.activations(shape.batch * shape.queries * (channels + gap));
    q.resize(q.size() - static_cast<std::size_t>(gap));
    const std::vector<float> k = random.activations(shape.batch * shape.keys * channels);
    const std::vector<float> v = random.activations(shape.batch * shape.keys * channels);
    std::vector<float> wanted;
    for (const Isa isa : available_isas()) {
        const std::int64_t outputs = shape.batch * shape.queries * channels;
        std::vector<float> y(static_cast<std::size_t>(outputs), 7e7F);
        attention(shape, rows_of(q, shape.queries, channels + gap),
                  rows_of(k, shape.keys, channels), rows_of(v, shape.keys, channels), y.data(),
                  random.one_in(4) ? threads(2) : Workers{}, isa);
        if (isa == Isa::scalar) {
            wanted = y;
        }
        // A share may round to its neighbour: at most 1 / 254 of a value for a few keys.
        judge.compare("attention", isa, y, wanted, 0.02F * largest(v));
    }
}

}  // namespace

int main(int count, char** arguments) {
    if (count != 4) {
        std::puts("usage: fuzz SEED CASES SECONDS");
        return 2;
    }
    const auto seed = static_cast<unsigned>(std::atoi(arguments[1]));
    const int cases = std::atoi(arguments[2]);
    const std::chrono::seconds limit(std::atoi(arguments[3]));
    const auto start = std::chrono::steady_clock::now();
    Judge judge;
    int done = 0;
    for (; done < cases && std::chrono::steady_clock::now() - start < limit; ++done) {
        Random random(seed + static_cast<unsigned>(done));
        try_nested(random, judge);
        try_int8(random, judge);
        try_attention(random, judge);
    }
    std::string names;
    for (const Isa isa : available_isas()) {
        names += std::string(" ") + name(isa);
    }
    std::printf("cases %d checksum %llx isas%s\n", done,
                static_cast<unsigned long long>(judge.sum()), names.c_str());
    return 0;
}
