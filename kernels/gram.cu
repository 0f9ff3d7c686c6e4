// The Gram pass: for every tile of every angle at every point the sums of z z^T over its pairs, and the completion of trees of
// tiles. In mixed precision pairs and the sums of a warp are floats, all before and after doubles. One block works on one tile at a time; which tile, angle and point follow from the block's number alone and sums are
// formed in a fixed order, so that the bits are the same from run to run.
//
// A tile's values lie as src/gram/pack.rs describes: lanes of eight columns, one lane per row, panel after panel; missing
// values are NaN. A thread takes half a lane, 16 bytes, so that neighbouring threads read neighbouring bytes.
#include "model.cuh"

constexpr int THREADS = 128, WARP = 32, WARPS = THREADS / WARP;
// Frames of a tile's columns and rows, as src/gram/plan.rs cuts them.
constexpr int TILE_COLUMNS = 256, TILE_ROWS = 64, LANES = 8;
constexpr int FRAMES = TILE_COLUMNS + TILE_ROWS;

// One tile of one angle.
struct Tile {
    unsigned long long lane; // its first lane in the data
    unsigned int angle;
    unsigned int slot; // where its sums go, among those of a point
    unsigned int first_row, rows, first_column, columns; // as positions among the frames
    unsigned int lanes;
    unsigned int diagonal; // rows and columns are the same frames
};

// What one angle is at one point.
struct Angle {
    double p, dp;            // phase per strain, and its derivative by phi0 (1/degree)
    double contrast, offset; // against which r is taken
    double sigma, unit;      // of losses, and of pairs with a sigma of their own
};

struct Pass {
    const float *data;
    const float *sigma; // of every pair, stored alike, or null
    const Tile *tiles;
    const double *axis;  // by point and frame: eight integrals as high parts, then as low parts
    const Angle *angles; // by point and angle
    double *sums;        // by point and slot: ENTRIES numbers
    float *values;       // of a kernel of the model: stored like the data
    double k;            // q^2 dt
    unsigned int n_tiles, n_points, n_frames, n_angles, n_slots;
    unsigned int loss;
};

// An angle and k, as pairs are formed with them.
template <class Real> struct Factors {
    Real p, dp, contrast, offset, sigma, unit, k;
    // what rounding to Real takes from contrast and offset: left away it would shift all residuals alike
    Real contrast_rest, offset_rest;

    __device__ Factors(const Angle &angle, double k)
        : p(angle.p), dp(angle.dp), contrast(angle.contrast), offset(angle.offset), sigma(angle.sigma), unit(angle.unit), k(k),
          contrast_rest(angle.contrast - contrast), offset_rest(angle.offset - offset) {}
};

// By frame, relative to the first column: integrals, the root of the correlation's factor, sine and cosine of the phase.
template <class Real> struct Tables {
    Real integral[INTEGRALS][FRAMES];
    Real root[FRAMES], sine[FRAMES], cosine[FRAMES];
};

// hi + lo of a difference of two sums hi + lo.
__device__ inline void difference(double a_hi, double a_lo, double b_hi, double b_lo, double &hi, double &lo) {
    const double d = a_hi - b_hi, back = d - a_hi;
    const double error = (a_hi - (d - back)) - (b_hi + back);
    const double rest = error + (a_lo - b_lo);
    hi = d + rest;
    lo = (d - hi) + rest;
}

// Tables of one frame of the tile; `sign` is +1 for columns, -1 for rows, whose factors lead up to the first column.
template <class Real, bool SHEAR, int POWER>
__device__ inline void fill(Tables<Real> &t, int at, const double *frame, const double *origin, const Angle &angle, double k,
                            double sign) {
    double hi, lo;
    for (int q = 0; q < (SHEAR ? INTEGRALS : STRAIN); q++) {
        difference(frame[q], frame[INTEGRALS + q], origin[q], origin[INTEGRALS + q], hi, lo);
        t.integral[q][at] = hi;
        if (q == DIFFUSION) t.root[at] = exp(-sign * (k / POWER) * hi);
        if (q == STRAIN) {
            // what rounding takes from phases of many turns is put back to first order
            const double x = angle.p * hi, e = fma(angle.p, hi, -x) + angle.p * lo;
            double s, c;
            sincos(x, &s, &c);
            t.sine[at] = fma(e, c, s);
            t.cosine[at] = fma(-e, s, c);
        }
    }
}

// What the threads of a block share.
template <class Real> struct Shared {
    Tables<Real> tables;
    double of_warps[WARPS][64];
};
extern __shared__ __align__(16) unsigned char shared_memory[];

// Sums of 64 numbers of every thread over its warp: lane l ends with entries 2l and 2l + 1. Every exchange halves what is left,
// so there are 62 of them instead of 320.
template <int HALF, class Real> __device__ inline void warp_sums(Real (&v)[64]) {
    const bool upper = threadIdx.x % WARP & (HALF / 2);
#pragma unroll
    for (int i = 0; i < HALF; i++) {
        const Real give = upper ? v[i] : v[i + HALF], keep = upper ? v[i + HALF] : v[i];
        v[i] = keep + __shfl_xor_sync(0xffffffffu, give, HALF / 2);
    }
    if constexpr (HALF > 2) warp_sums<HALF / 2>(v);
}

// g, h and the strain of a pair.
template <bool SHEAR, bool QUARTIC, class Real>
__device__ inline void shape(const Tables<Real> &t, int i, int j, bool diagonal, const Factors<Real> &f, Real &g, Real &h, Real &strain) {
    constexpr int POWER = SHEAR ? (QUARTIC ? 4 : 2) : 1;
    const Real decay = t.integral[DIFFUSION][j] - t.integral[DIFFUSION][i];
    // next to the diagonal the row's factor would overflow
    const Real root = diagonal ? exp(-(f.k / POWER) * decay) : t.root[i] * t.root[j];
    g = root, h = 0, strain = 0;
    if (SHEAR) {
        strain = t.integral[STRAIN][j] - t.integral[STRAIN][i];
        const Real sine = t.sine[j] * t.cosine[i] - t.cosine[j] * t.sine[i];
        const Real cosine = t.cosine[j] * t.cosine[i] + t.sine[j] * t.sine[i];
        Real value, slope;
        sinc(f.p * strain, sine, cosine, value, slope);
        powers<QUARTIC>(root * value, root * slope, g, h);
    }
}

// Adds one pair. KIND: all sums, those of a chi-squared pass, those of a loss or of weighted pairs.
constexpr int ALL = 0, CHI2 = 1, ROBUST = 2;

template <class Real, bool SHEAR, bool QUARTIC, int KIND>
__device__ inline void add_pair(Real (&sums)[64], const Tables<Real> &t, int i, int j, bool diagonal, const Factors<Real> &f,
                                unsigned int loss, Real y, Real sigma) {
    constexpr int POWER = SHEAR ? (QUARTIC ? 4 : 2) : 1;
    Real g, h, strain;
    shape<SHEAR, QUARTIC>(t, i, j, diagonal, f, g, h, strain);
    Real z[COLUMNS] = {};
    z[G] = g;
    z[ONE] = 1;
    Real above = y - f.offset;
    if (sizeof(Real) < sizeof(double)) above = fma(-f.contrast_rest, g, above - f.offset_rest);
    z[R] = fma(-f.contrast, g, above);
    if (KIND != CHI2) {
        const Real by_diffusion = -f.k * g;
#pragma unroll
        for (int q = 0; q < 3; q++) {
            z[q] = by_diffusion * (t.integral[BY_DIFFUSION + q][j] - t.integral[BY_DIFFUSION + q][i]);
        }
        if (SHEAR) {
            const Real by_strain = POWER * f.p * h;
#pragma unroll
            for (int q = 0; q < 3; q++) {
                z[3 + q] = by_strain * (t.integral[BY_STRAIN + q][j] - t.integral[BY_STRAIN + q][i]);
            }
            z[PHI0] = POWER * f.dp * h * strain;
        }
    }
    Real pull = z[R], cost = z[R] * z[R];
    Real own[COLUMNS];
#pragma unroll
    for (int a = 0; a < COLUMNS; a++) own[a] = z[a];
    if (KIND == ROBUST) {
        const Seen<Real> seen = see(loss, f.sigma, sigma * z[R]);
        pull = sigma * seen.pull;
        cost = seen.cost;
#pragma unroll
        for (int a = 0; a < R; a++) own[a] = sigma * seen.root * z[a];
        sums[SPREAD] = fma(seen.bare, seen.bare, sums[SPREAD]);
    }
    constexpr int BEGIN = KIND == CHI2 ? G : 0;
#pragma unroll
    for (int a = BEGIN; a < R; a++) {
        if (!SHEAR && a >= 3 && a < G) continue;
#pragma unroll
        for (int b = a; b < R; b++) {
            if (!SHEAR && b >= 3 && b < G) continue;
            sums[entry(a, b)] = fma(own[a], own[b], sums[entry(a, b)]);
        }
        sums[entry(a, R)] = fma(z[a], pull, sums[entry(a, R)]);
    }
    sums[entry(R, R)] += cost;
}

// Where a lane of a diagonal tile lies: strips of eight rows, of each the panels from the diagonal on.
__device__ inline void place_on_diagonal(unsigned int n, unsigned int lane, unsigned int &row, unsigned int &panel) {
    const unsigned int panels = (n + LANES - 1) / LANES;
    unsigned int strip = 0;
    while (strip + 1 < panels && lane >= LANES * (panels - strip)) {
        lane -= LANES * (panels - strip);
        strip++;
    }
    const unsigned int rows = n - LANES * strip < LANES ? n - LANES * strip : LANES;
    row = LANES * strip + lane % rows;
    panel = strip + lane / rows;
}

// Where the four pairs of half a lane lie in the tables.
__device__ inline void place(const Tile &tile, unsigned int half, int &row, int &column) {
    unsigned int i, panel;
    if (tile.diagonal) {
        place_on_diagonal(tile.rows, half / 2, i, panel);
    } else {
        i = half / 2 % tile.rows;
        panel = half / 2 / tile.rows;
    }
    row = (tile.diagonal ? 0 : TILE_COLUMNS) + i;
    column = panel * LANES + half % 2 * 4;
}

// One piece of work: a tile of an angle at a point.
struct Work {
    Tile tile;
    Angle angle;
    unsigned int point;

    __device__ Work(const Pass &pass, unsigned long long number)
        : tile(pass.tiles[number % pass.n_tiles]), point(number / pass.n_tiles) {
        angle = pass.angles[(unsigned long long)point * pass.n_angles + tile.angle];
    }
};

// Fills the tables of a tile, by all threads of the block, which have done with the last one's.
template <class Real, bool SHEAR, int POWER> __device__ inline void tabulate(Tables<Real> &t, const Pass &pass, const Work &work) {
    const Tile &tile = work.tile;
    const double *frames = pass.axis + (unsigned long long)work.point * pass.n_frames * 2 * INTEGRALS;
    const double *origin = frames + (unsigned long long)tile.first_column * 2 * INTEGRALS;
    __syncthreads();
    for (unsigned int j = threadIdx.x; j < tile.columns; j += THREADS) {
        fill<Real, SHEAR, POWER>(t, j, origin + j * 2 * INTEGRALS, origin, work.angle, pass.k, 1.0);
    }
    if (!tile.diagonal) {
        const double *rows = frames + (unsigned long long)tile.first_row * 2 * INTEGRALS;
        for (unsigned int i = threadIdx.x; i < tile.rows; i += THREADS) {
            fill<Real, SHEAR, POWER>(t, TILE_COLUMNS + i, rows + i * 2 * INTEGRALS, origin, work.angle, pass.k, -1.0);
        }
    }
    __syncthreads();
}

template <class Real, bool SHEAR, bool QUARTIC, int KIND> __device__ inline void gram(const Pass &pass) {
    constexpr int POWER = SHEAR ? (QUARTIC ? 4 : 2) : 1;
    Shared<Real> &shared = *reinterpret_cast<Shared<Real> *>(shared_memory);
    Tables<Real> &t = shared.tables;
    double(&of_warps)[WARPS][64] = shared.of_warps;
    const unsigned int thread = threadIdx.x;
    const unsigned long long n_work = (unsigned long long)pass.n_tiles * pass.n_points;
    for (unsigned long long number = blockIdx.x; number < n_work; number += gridDim.x) {
        const Work work(pass, number);
        const Tile &tile = work.tile;
        tabulate<Real, SHEAR, POWER>(t, pass, work);
        const Factors<Real> factors(work.angle, pass.k);
        Real sums[64];
#pragma unroll
        for (int e = 0; e < 64; e++) sums[e] = 0;
        const float4 *data = (const float4 *)(pass.data + tile.lane * LANES);
        const float4 *sigma = pass.sigma ? (const float4 *)(pass.sigma + tile.lane * LANES) : nullptr;
        for (unsigned int half = thread; half < 2 * tile.lanes; half += THREADS) {
            int row, column;
            place(tile, half, row, column);
            const float4 values = data[half];
            const float y[4] = {values.x, values.y, values.z, values.w};
            float weight[4] = {1.0f, 1.0f, 1.0f, 1.0f};
            if (KIND == ROBUST && sigma) {
                const float4 of = sigma[half];
                weight[0] = of.x, weight[1] = of.y, weight[2] = of.z, weight[3] = of.w;
            }
#pragma unroll
            for (int q = 0; q < 4; q++) {
                // missing values, what lies beyond the edge and below the diagonal
                if (y[q] != y[q]) continue;
                const Real own = KIND == ROBUST && sigma ? factors.unit / (Real)weight[q] : Real(1);
                add_pair<Real, SHEAR, QUARTIC, KIND>(sums, t, row, column + q, tile.diagonal, factors, pass.loss, (Real)y[q], own);
            }
        }
        warp_sums<32>(sums);
        of_warps[thread / WARP][2 * (thread % WARP)] = sums[0];
        of_warps[thread / WARP][2 * (thread % WARP) + 1] = sums[1];
        __syncthreads();
        if (thread < ENTRIES) {
            double sum = of_warps[0][thread];
            for (int w = 1; w < WARPS; w++) sum += of_warps[w][thread];
            pass.sums[((unsigned long long)work.point * pass.n_slots + tile.slot) * ENTRIES + thread] = sum;
        }
    }
}

// The model alone: offset + contrast g of every pair of the tiles, stored like the data; NaN beyond the edge and below the
// diagonal.
template <bool SHEAR, bool QUARTIC> __device__ inline void model(const Pass &pass) {
    constexpr int POWER = SHEAR ? (QUARTIC ? 4 : 2) : 1;
    Tables<double> &t = reinterpret_cast<Shared<double> *>(shared_memory)->tables;
    const unsigned long long n_work = (unsigned long long)pass.n_tiles * pass.n_points;
    for (unsigned long long number = blockIdx.x; number < n_work; number += gridDim.x) {
        const Work work(pass, number);
        const Tile &tile = work.tile;
        tabulate<double, SHEAR, POWER>(t, pass, work);
        const Factors<double> factors(work.angle, pass.k);
        float4 *values = (float4 *)(pass.values + tile.lane * LANES);
        for (unsigned int half = threadIdx.x; half < 2 * tile.lanes; half += THREADS) {
            int row, column;
            place(tile, half, row, column);
            float of[4];
#pragma unroll
            for (int q = 0; q < 4; q++) {
                const int j = column + q;
                of[q] = nanf("");
                if (j >= (int)tile.columns || (tile.diagonal && j <= row)) continue;
                double g, h, strain;
                shape<SHEAR, QUARTIC>(t, row, j, tile.diagonal, factors, g, h, strain);
                of[q] = fma(factors.contrast, g, factors.offset);
            }
            values[half] = {of[0], of[1], of[2], of[3]};
        }
    }
}

#define KERNEL(name, real, shear, quartic, kind)                                                                                         \
    extern "C" __global__ void __launch_bounds__(THREADS) name(const Pass pass) { gram<real, shear, quartic, kind>(pass); }

KERNEL(gram_still, double, false, false, ALL)
KERNEL(gram_square, double, true, false, ALL)
KERNEL(gram_quartic, double, true, true, ALL)
KERNEL(chi2_still, double, false, false, CHI2)
KERNEL(chi2_square, double, true, false, CHI2)
KERNEL(chi2_quartic, double, true, true, CHI2)
KERNEL(robust_still, double, false, false, ROBUST)
KERNEL(robust_square, double, true, false, ROBUST)
KERNEL(robust_quartic, double, true, true, ROBUST)
KERNEL(mixed_gram_still, float, false, false, ALL)
KERNEL(mixed_gram_square, float, true, false, ALL)
KERNEL(mixed_gram_quartic, float, true, true, ALL)
KERNEL(mixed_robust_still, float, false, false, ROBUST)
KERNEL(mixed_robust_square, float, true, false, ROBUST)
KERNEL(mixed_robust_quartic, float, true, true, ROBUST)

#define MODEL(name, shear, quartic)                                                                                                      \
    extern "C" __global__ void __launch_bounds__(THREADS) name(const Pass pass) { model<shear, quartic>(pass); }

MODEL(model_still, false, false)
MODEL(model_square, true, false)
MODEL(model_quartic, true, true)

// A tree node: the sums of `count` neighbours from `first` on, of which all but the last are whole nodes of one height.
struct Node {
    unsigned int first, count, into;
};

struct Trees {
    const double *from;
    double *into;
    const Node *nodes;
    unsigned int n_nodes, n_points, n_from, n_into;
};

// As src/gram/tree.rs sums them: pairs of neighbours, then pairs of these; carries as in a binary counter.
extern "C" __global__ void __launch_bounds__(64) complete_trees(const Trees trees) {
    const unsigned int e = threadIdx.x;
    if (e >= ENTRIES) return;
    const unsigned long long n_work = (unsigned long long)trees.n_nodes * trees.n_points;
    for (unsigned long long work = blockIdx.x; work < n_work; work += gridDim.x) {
        const Node node = trees.nodes[work % trees.n_nodes];
        const unsigned int point = work / trees.n_nodes;
        const double *from = trees.from + ((unsigned long long)point * trees.n_from + node.first) * ENTRIES + e;
        double waiting[32];
        int height = 0;
        for (unsigned int k = 0; k < node.count; k++) {
            double sum = from[(unsigned long long)k * ENTRIES];
            for (unsigned int carry = k; carry & 1; carry >>= 1) sum = waiting[--height] + sum;
            waiting[height++] = sum;
        }
        double sum = waiting[--height];
        while (height > 0) sum = waiting[--height] + sum;
        trees.into[((unsigned long long)point * trees.n_into + node.into) * ENTRIES + e] = sum;
    }
}
