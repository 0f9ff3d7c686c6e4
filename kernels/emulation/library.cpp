// The kernels behind one function, for the emulated device of src/gram/gpu/emulated.rs.
#include <mutex>

#include "shim.hpp"

#include "../gram.cu"

namespace {

struct Entry {
    const char *name;
    void (*run)(const void *);
};

template <auto RUN, class Arguments> void call(const void *arguments) { RUN(*static_cast<const Arguments *>(arguments)); }

#define GRAM(name) {#name, call<name, Pass>}
const Entry ENTRIES_BY_NAME[] = {
    GRAM(gram_still),           GRAM(gram_square),
    GRAM(gram_quartic),         GRAM(chi2_still),
    GRAM(chi2_square),          GRAM(chi2_quartic),
    GRAM(robust_still),         GRAM(robust_square),
    GRAM(robust_quartic),       GRAM(mixed_gram_still),
    GRAM(mixed_gram_square),    GRAM(mixed_gram_quartic),
    GRAM(mixed_robust_still),   GRAM(mixed_robust_square),
    GRAM(mixed_robust_quartic), GRAM(model_still),
    GRAM(model_square),         GRAM(model_quartic),
    {"complete_trees", call<complete_trees, Trees>},
};

} // namespace

// 0 when done, 1 where there is no such kernel, 2 where its threads go astray.
extern "C" int homodyne_emulated_launch(const char *name, unsigned int blocks, unsigned int threads, size_t shared, const void *arguments,
                                        int reversed) {
    // there is one set of fibers
    static std::mutex turn;
    const std::lock_guard<std::mutex> lock(turn);
    for (const Entry &entry : ENTRIES_BY_NAME) {
        if (std::strcmp(entry.name, name) == 0) {
            return emulation::run(entry.run, arguments, blocks, threads, shared, reversed) ? 0 : 2;
        }
    }
    return 1;
}
