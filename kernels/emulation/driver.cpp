// A libcuda of one emulated GPU: as many functions of NVIDIA's driver as src/gram/gpu/cuda.rs calls, so that it can be tested
// where there is no GPU. Modules are taken as they come; kernels are those of this library. Calls end when their work is done.
//
// EMULATED_DRIVER=memory:BYTES lets it have so much memory, EMULATED_DRIVER=launch:N the N-th launch fail,
// EMULATED_DRIVER=version:NUMBER it be older than its NVRTC, whose PTX it then refuses.
#include "library.cpp"

#include <chrono>
#include <map>
#include <string>

namespace {

enum Result { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700 };

size_t asked_for(const char *what) {
    const char *text = std::getenv("EMULATED_DRIVER");
    const std::string begin = std::string(what) + ":";
    return text && std::strncmp(text, begin.c_str(), begin.size()) == 0 ? std::strtoull(text + begin.size(), nullptr, 10) : 0;
}

size_t memory() {
    const size_t asked = asked_for("memory");
    return asked ? asked : size_t(1) << 30;
}

std::map<char *, size_t> allocated;
size_t in_use = 0;

// Whether so many bytes from an address on were allocated.
bool is_allocated(unsigned long long address, size_t bytes) {
    char *first = reinterpret_cast<char *>(address);
    auto next = allocated.upper_bound(first);
    if (next == allocated.begin()) return false;
    --next;
    return first + bytes <= next->first + next->second;
}

} // namespace

extern "C" {

// NVRTC looks for tables of tools in a driver that it finds loaded; this one says how long it is, and that there is nothing in it.
int cuGetExportTable(const void **table, const void *) {
    static const size_t nothing[8] = {sizeof(size_t)};
    *table = nothing;
    return SUCCESS;
}

int cuInit(unsigned int) { return SUCCESS; }

int cuDriverGetVersion(int *version) {
    *version = asked_for("version") ? static_cast<int>(asked_for("version")) : 12090;
    return SUCCESS;
}

int cuGetErrorString(int error, const char **text) {
    *text = error == OUT_OF_MEMORY ? "out of memory" : error == ILLEGAL_ADDRESS ? "an illegal memory access was encountered" : "failed";
    return SUCCESS;
}

int cuDeviceGetCount(int *count) {
    *count = 1;
    return SUCCESS;
}

int cuDeviceGet(int *device, int number) {
    *device = number;
    return number == 0 ? SUCCESS : INVALID_VALUE;
}

int cuDeviceGetName(char *name, int length, int) {
    std::snprintf(name, length, "emulated driver's GPU");
    return SUCCESS;
}

int cuDeviceTotalMem_v2(size_t *bytes, int) {
    *bytes = memory();
    return SUCCESS;
}

// compute capability 8.0, one multiprocessor of 1 GHz
int cuDeviceGetAttribute(int *value, int attribute, int) {
    static const std::map<int, int> values = {{13, 1'000'000}, {16, 1}, {75, 8}, {76, 0}};
    const auto found = values.find(attribute);
    if (found == values.end()) return INVALID_VALUE;
    *value = found->second;
    return SUCCESS;
}

int cuDevicePrimaryCtxRetain(void **context, int) {
    *context = &allocated;
    return SUCCESS;
}

int cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
int cuDevicePrimaryCtxRelease(int) { return SUCCESS; }
int cuCtxSetCurrent(void *) { return SUCCESS; }
int cuCtxSynchronize() { return SUCCESS; }

int cuStreamCreate(void **stream, unsigned int) {
    *stream = &allocated;
    return SUCCESS;
}

int cuStreamSynchronize(void *) { return SUCCESS; }
int cuStreamDestroy_v2(void *) { return SUCCESS; }

int cuModuleLoadData(void **module, const void *image) {
    // machine code, or PTX, which an older driver doesn't understand
    const char *text = static_cast<const char *>(image);
    const bool is_ptx = std::strstr(text, ".target sm_80") != nullptr && !asked_for("version");
    if (!is_ptx && std::memcmp(text, "\177ELF", 4) != 0) return INVALID_VALUE;
    *module = &allocated;
    return SUCCESS;
}

int cuModuleUnload(void *) { return SUCCESS; }

int cuModuleGetFunction(void **function, void *, const char *name) {
    for (const Entry &entry : ENTRIES_BY_NAME) {
        if (std::strcmp(entry.name, name) == 0) {
            *function = const_cast<Entry *>(&entry);
            return SUCCESS;
        }
    }
    return NOT_FOUND;
}

int cuMemGetInfo_v2(size_t *available, size_t *total) {
    *total = memory();
    *available = *total - in_use;
    return SUCCESS;
}

int cuMemAlloc_v2(unsigned long long *address, size_t bytes) {
    // half of what it says is free belongs to somebody else
    if (in_use + bytes > memory() / 2) return OUT_OF_MEMORY;
    char *block = static_cast<char *>(std::aligned_alloc(256, (bytes + 255) / 256 * 256));
    std::memset(block, 0xff, bytes);
    allocated[block] = bytes;
    in_use += bytes;
    *address = reinterpret_cast<unsigned long long>(block);
    return SUCCESS;
}

int cuMemFree_v2(unsigned long long address) {
    auto found = allocated.find(reinterpret_cast<char *>(address));
    if (found == allocated.end()) return INVALID_VALUE;
    in_use -= found->second;
    std::free(found->first);
    allocated.erase(found);
    return SUCCESS;
}

int cuMemHostAlloc(void **memory, size_t bytes, unsigned int) {
    *memory = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
    return *memory ? SUCCESS : OUT_OF_MEMORY;
}

int cuMemFreeHost(void *memory) {
    std::free(memory);
    return SUCCESS;
}

int cuEventCreate(void **event, unsigned int) {
    *event = new double(0.0);
    return SUCCESS;
}

int cuEventRecord(void *event, void *) {
    *static_cast<double *>(event) = std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
    return SUCCESS;
}

int cuEventElapsedTime(float *milliseconds, void *start, void *end) {
    *milliseconds = static_cast<float>(1e3 * (*static_cast<double *>(end) - *static_cast<double *>(start)));
    return SUCCESS;
}

int cuEventDestroy_v2(void *event) {
    delete static_cast<double *>(event);
    return SUCCESS;
}

int cuMemcpyHtoDAsync_v2(unsigned long long to, const void *from, size_t bytes, void *) {
    if (!is_allocated(to, bytes)) return INVALID_VALUE;
    std::memcpy(reinterpret_cast<void *>(to), from, bytes);
    return SUCCESS;
}

int cuMemcpyDtoHAsync_v2(void *to, unsigned long long from, size_t bytes, void *) {
    if (!is_allocated(from, bytes)) return INVALID_VALUE;
    std::memcpy(to, reinterpret_cast<void *>(from), bytes);
    return SUCCESS;
}

int cuLaunchKernel(void *function, unsigned int blocks, unsigned int y, unsigned int z, unsigned int block, unsigned int block_y,
                   unsigned int block_z, unsigned int shared, void *, void **arguments, void **) {
    static size_t launches = 0;
    if (++launches == asked_for("launch")) return ILLEGAL_ADDRESS;
    if (y != 1 || z != 1 || block_y != 1 || block_z != 1) return INVALID_VALUE;
    const char *name = static_cast<Entry *>(function)->name;
    return homodyne_emulated_launch(name, blocks, block, shared, arguments[0], 0) == 0 ? SUCCESS : ILLEGAL_ADDRESS;
}

} // extern "C"
