// The model's formulas for a pair of frames, in double precision: what every kernel shares. The pointwise reference and the
// derivations are in src/model; signs and factors here are those of src/gram (valley coordinates).
#pragma once

// Columns of z: seven derivatives of g, g, 1 and the residual r.
constexpr int PHI0 = 6, G = 7, ONE = 8, R = 9, COLUMNS = 10;
// Where the sum of (rho' r)^2 is, behind the upper triangle of z z^T by rows.
constexpr int SPREAD = COLUMNS * (COLUMNS + 1) / 2;
constexpr int ENTRIES = SPREAD + 1;

__host__ __device__ constexpr int entry(int a, int b) { return a * COLUMNS - a * (a + 1) / 2 + b; }

// Integrals on the time axis, in the order in which they lie there: the rate and its derivatives by A, B and kappa, of
// diffusion, then of shear.
constexpr int DIFFUSION = 0, BY_DIFFUSION = 1, STRAIN = 4, BY_STRAIN = 5, INTEGRALS = 8;

// Below this |x| sinc and its derivative are summed as series, six terms each.
constexpr double FAR = 0.15;

// sinc x and its derivative, from x with its sine and cosine.
__device__ inline void sinc(double x, double sine, double cosine, double &value, double &slope) {
    if (fabs(x) < FAR) {
        const double y = x * x;
        value = fma(fma(fma(fma(fma(-1.0 / 39916800.0, y, 1.0 / 362880.0), y, -1.0 / 5040.0), y, 1.0 / 120.0), y, -1.0 / 6.0), y, 1.0);
        slope = x * fma(fma(fma(fma(fma(1.0 / 518918400.0, y, -1.0 / 3991680.0), y, 1.0 / 45360.0), y, -1.0 / 840.0), y, 1.0 / 30.0), y,
                        -1.0 / 3.0);
    } else {
        const double inverse = 1.0 / x;
        value = sine * inverse;
        slope = (cosine - value) * inverse;
    }
}

// g = e^m and h = e^(m-1) d, m = 2 or 4.
template <bool QUARTIC> __device__ inline void powers(double e, double d, double &g, double &h) {
    const double square = e * e;
    if (QUARTIC) {
        g = square * square;
        h = square * e * d;
    } else {
        g = square;
        h = e * d;
    }
}

// What a residual counts as: losses as src/gram/loss.rs defines them.
struct Seen {
    double pull, root, cost, bare;
};

constexpr int SQUARES = 0, SOFT_L1 = 1, HUBER = 2, CAUCHY = 3;

__device__ inline Seen see(int loss, double sigma, double r) {
    if (loss == SQUARES) return {r, 1.0, r * r, r};
    const double f = r / sigma, z = f * f;
    double pull, root, rho;
    if (loss == SOFT_L1) {
        const double t = sqrt(1.0 + z), inverse = 1.0 / t;
        pull = r * inverse;
        root = inverse * sqrt(inverse);
        rho = 2.0 * z / (1.0 + t);
    } else if (loss == HUBER) {
        const double size = sqrt(z);
        const bool inside = z < 1.0;
        pull = inside ? r : r / size;
        root = inside ? 1.0 : 0.0;
        rho = inside ? z : 2.0 * size - 1.0;
    } else {
        const double u = 1.0 + z, inverse = 1.0 / u;
        pull = r * inverse;
        root = z < 1.0 ? sqrt(1.0 - z) * inverse : 0.0;
        rho = log1p(z);
    }
    return {pull, root, rho * sigma * sigma, pull};
}
