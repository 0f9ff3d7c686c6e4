// Runs CUDA kernels as C++ on the host, for tests: a block's threads are fibers that take turns at barriers and shuffles, in
// ascending or descending order; shared memory is poisoned before every block. Slow, and blind to races within a turn that the
// order of threads doesn't show; but every index, every formula and every sum is the kernel's own.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <math.h>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(n)
// declared `extern __shared__`, defined below
#define __shared__

struct float4 {
    float x, y, z, w;
};

namespace emulation {

struct Index {
    unsigned int x;
};

// Most threads of a block, bytes of their stacks, and of shared memory.
constexpr unsigned int MOST_THREADS = 1024;
constexpr size_t STACK = 64 * 1024, SHARED = 48 * 1024;

struct Fiber {
    void *stack_pointer;
    bool ended;
};

inline Fiber fibers[MOST_THREADS];
inline void *scheduler;
inline Index thread, block, grid, threads;
inline uint64_t exchanged[2][MOST_THREADS];
inline unsigned int exchanges[MOST_THREADS];
inline void (*body)(const void *);
inline const void *body_arguments;

} // namespace emulation

// Saves what a call preserves, then goes on elsewhere.
extern "C" void emulation_switch(void **from, void *to);
asm(R"(
.text
.globl emulation_switch
.hidden emulation_switch
emulation_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");

namespace emulation {

// Lets the other threads come up to here.
inline void yield() { emulation_switch(&fibers[thread.x].stack_pointer, scheduler); }

inline void begin() {
    body(body_arguments);
    fibers[thread.x].ended = true;
    yield();
    std::abort();
}

template <class T> T exchange(T value, unsigned int with) {
    static_assert(sizeof(T) <= sizeof(uint64_t));
    // two buffers take turns: one thread may write the next exchange before another has read this one
    uint64_t *slots = exchanged[exchanges[thread.x]++ % 2];
    std::memcpy(&slots[thread.x], &value, sizeof(T));
    yield();
    T got;
    std::memcpy(&got, &slots[thread.x / 32 * 32 + with], sizeof(T));
    return got;
}

} // namespace emulation

__attribute__((aligned(16))) unsigned char shared_memory[emulation::SHARED];

#define threadIdx emulation::thread
#define blockIdx emulation::block
#define gridDim emulation::grid
#define blockDim emulation::threads

inline void __syncthreads() { emulation::yield(); }

inline float __fdividef(float a, float b) { return a / b; }

template <class T> T __shfl_xor_sync(unsigned int, T value, int mask) {
    return emulation::exchange(value, (emulation::thread.x % 32) ^ mask);
}

namespace emulation {

// Runs a kernel; false where its threads don't meet at the same barriers or where it leaves its shared memory.
inline bool run(void (*kernel)(const void *), const void *arguments, unsigned int blocks, unsigned int n_threads, size_t shared,
                bool reversed) {
    static std::vector<unsigned char> stacks(MOST_THREADS * STACK);
    body = kernel;
    body_arguments = arguments;
    grid.x = blocks;
    threads.x = n_threads;
    for (block.x = 0; block.x < blocks; block.x++) {
        std::memset(shared_memory, 0xff, SHARED);
        for (unsigned int t = 0; t < n_threads; t++) {
            uintptr_t top = reinterpret_cast<uintptr_t>(&stacks[(t + 1) * STACK]) & ~uintptr_t(15);
            void **frame = reinterpret_cast<void **>(top) - 8;
            // six registers, where to begin, and a return address that is never used
            frame[6] = reinterpret_cast<void *>(&begin);
            frame[7] = nullptr;
            fibers[t] = {frame, false};
            exchanges[t] = 0;
        }
        for (unsigned int ended = 0; ended < n_threads;) {
            ended = 0;
            for (unsigned int turn = 0; turn < n_threads; turn++) {
                thread.x = reversed ? n_threads - 1 - turn : turn;
                if (!fibers[thread.x].ended) emulation_switch(&scheduler, fibers[thread.x].stack_pointer);
                ended += fibers[thread.x].ended;
            }
            if (ended > 0 && ended < n_threads) {
                // some wait where others have left
                return false;
            }
        }
        for (size_t byte = shared; byte < SHARED; byte++) {
            if (shared_memory[byte] != 0xff) return false;
        }
    }
    return true;
}

} // namespace emulation
