// Copyright 2026 The vpr_ros authors
// SPDX-License-Identifier: Apache-2.0
//
// Random layers of random shapes, empty ones included, on random numbers: compares every available
// instruction set with the scalar one, lets allocations fail, and asks for what must be refused.
// `fuzz SEED CASES SECONDS` prints what ran and a checksum that depends only on SEED and CASES; it
// exits with 1 at the first difference.

#include "failing_new.hpp"
#include "kernels.hpp"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <random>
#include <stdexcept>
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
        if (kind == 6 && count > 0) {
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
        vpr_test_exempt(true);  // threads and what they are made of are the driver's
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
        vpr_test_exempt(false);
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

    // Runs `layer` into y while allocations fail, in a new thread, so that no buffer is there yet.
    // It must throw std::bad_alloc or give what is wanted; the next run must give that. `random` is a
    // copy, so that later cases do not depend on the number of instruction sets.
    template <class Layer>
    void starve(const std::string& what, Isa isa, Random random, const Layer& layer,
                const std::vector<float>& wanted) {
        const std::int64_t first = random.whole(0, 9);
        const std::int64_t count = random.one_in(2) ? 1 : 1000;
        std::vector<float> y(wanted.size(), 7e7F);
        std::thread([&] {
            vpr_test_fail(first, count);
            bool threw = false;
            try {
                layer(y.data());
            } catch (const std::bad_alloc&) {
                threw = true;
            }
            const long failed = vpr_test_failed();
            vpr_test_fail(0, 0);
            starved_ += failed;
            if (threw != (failed > 0)) {
                std::printf("%s: %ld allocations failed and it %s\n", what.c_str(), failed,
                            threw ? "threw" : "went on");
                std::exit(1);
            }
            if (threw) layer(y.data());
        }).join();
        compare(what + " after want of memory", isa, y, wanted, 0.0F);
    }

    // `work` must throw std::invalid_argument or std::bad_alloc.
    template <class Work>
    void refused(const std::string& what, const Work& work) {
        try {
            work();
        } catch (const std::invalid_argument&) {
            return;
        } catch (const std::bad_alloc&) {
            return;
        }
        std::printf("%s was not refused\n", what.c_str());
        std::exit(1);
    }

    std::uint64_t sum() const { return sum_; }
    long starved() const { return starved_; }

private:
    std::uint64_t sum_ = 0;
    long starved_ = 0;
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
    const std::int64_t rows = random.whole(0, 60);
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
        const auto run = [&](float* to) {
            layer.run(x.data(), rows, {0.01F}, sparsity, epilogue, to, workers);
        };
        run(y.data());
        judge.starve("nested", isa, random, run, y);
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
    const std::int64_t rows = random.whole(0, 60);
    const auto weight = random.wholes<std::int8_t>(inputs * outputs, -128, 127);
    const std::vector<float> scale = random.activations(outputs);
    const std::vector<float> x = random.activations(rows * inputs);
    const Workers workers = random.one_in(4) ? threads(2) : Workers{};
    std::vector<float> wanted;
    for (const Isa isa : available_isas()) {
        const Int8Linear layer(weight.data(), scale.data(), inputs, outputs, isa);
        std::vector<float> y(static_cast<std::size_t>(rows * outputs), 7e7F);
        const auto run = [&](float* to) { layer.run(x.data(), rows, {}, to, workers); };
        run(y.data());
        judge.starve("int8", isa, random, run, y);
        if (isa == Isa::scalar) {
            wanted = y;
        }
        judge.compare("int8", isa, y, wanted, 0.0F);
    }
    judge.add(wanted);
}

void try_attention(Random& random, Judge& judge) {
    const AttentionShape shape{random.whole(0, 2), random.whole(0, 70), random.whole(1, 140),
                               random.whole(1, 3), random.whole(1, 140)};
    const std::int64_t channels = shape.heads * shape.head_size;
    const std::int64_t gap = random.whole(0, 9);  // between rows of q
    const auto rows_of = [&](const std::vector<float>& x, std::int64_t rows, std::int64_t stride) {
        return Rows{x.data(), rows * stride, stride};
    };
    // The last row ends where its columns end, so that the sanitizer sees a read beyond them.
    std::vector<float> q = random.activations(shape.batch * shape.queries * (channels + gap));
    q.resize(q.size() - static_cast<std::size_t>(q.empty() ? 0 : gap));
    const std::vector<float> k = random.activations(shape.batch * shape.keys * channels);
    const std::vector<float> v = random.activations(shape.batch * shape.keys * channels);
    const Workers workers = random.one_in(4) ? threads(2) : Workers{};
    std::vector<float> wanted;
    for (const Isa isa : available_isas()) {
        const std::int64_t outputs = shape.batch * shape.queries * channels;
        std::vector<float> y(static_cast<std::size_t>(outputs), 7e7F);
        const auto run = [&](float* to) {
            attention(shape, rows_of(q, shape.queries, channels + gap),
                      rows_of(k, shape.keys, channels), rows_of(v, shape.keys, channels), to,
                      workers, isa);
        };
        run(y.data());
        judge.starve("attention", isa, random, run, y);
        if (isa == Isa::scalar) {
            wanted = y;
        }
        // A share may round to its neighbour: at most 1 / 254 of a value for a few keys.
        judge.compare("attention", isa, y, wanted, 0.02F * largest(v));
    }
}

// Against plain double sums; with any number of threads the same.
void try_layer_norm(Random& random, Judge& judge) {
    const std::int64_t rows = random.whole(0, 20);
    const std::int64_t columns = random.whole(1, 300);
    const std::vector<float> x = random.activations(rows * columns);
    const std::vector<float> gain = random.activations(columns);
    const std::vector<float> offset = random.activations(columns);
    std::vector<float> y(x.size(), 7e7F);
    std::vector<float> again = y;
    layer_norm(x.data(), rows, columns, gain.data(), offset.data(), 1e-5F, y.data());
    layer_norm(x.data(), rows, columns, gain.data(), offset.data(), 1e-5F, again.data(),
               threads(3));
    judge.compare("layer_norm", Isa::scalar, again, y, 0.0F);
    judge.add(y);
}

// Sizes that do not fit, some of them so that their products overflow.
void try_refusals(Random& random, Judge& judge) {
    constexpr std::int64_t LARGE = std::int64_t{1} << 62;
    const std::int64_t odd[] = {0, -1, LARGE, -LARGE, std::numeric_limits<std::int64_t>::max()};
    const std::int64_t bad = odd[random.whole(0, 4)];
    const std::vector<float> x(64, 1.0F);
    std::vector<float> y(64);
    std::int64_t sizes[] = {1, 1, 1, 1, 1};
    const std::int64_t which = random.whole(0, 4);
    sizes[which] = bad == 0 && which < 2 ? -1 : bad;  // no images and no queries are fine
    const AttentionShape shape{sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]};
    judge.refused("attention", [&] {
        const Rows rows{x.data(), 1, 1};
        attention(shape, rows, rows, rows, y.data());
    });
    const std::vector<std::uint8_t> packed(64, 0b01010101);
    judge.refused("nested", [&] {
        NestedTernaryLinear(packed.data(), bad, 4, {0}, false);
    });
    judge.refused("nested", [&] {
        NestedTernaryLinear(packed.data(), 2, 4, {0, random.one_in(2) ? 0 : bad - 1}, false);
    });
    const NestedTernaryLinear layer(packed.data(), 2, 4, {0, 1}, false);
    if (bad > 0) {
        judge.refused("rows of nested", [&] {
            layer.run(x.data(), bad, {}, 0.0F, {}, y.data());
        });
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
        try_layer_norm(random, judge);
        try_refusals(random, judge);
    }
    std::string names;
    for (const Isa isa : available_isas()) {
        names += std::string(" ") + name(isa);
    }
    std::printf("cases %d checksum %llx starved %ld isas%s\n", done,
                static_cast<unsigned long long>(judge.sum()), judge.starved(), names.c_str());
    return 0;
}
