// The model's formulas for a pair of frames, in double precision or, where `Real` is float, in single: what every kernel shares.
// The pointwise reference and the derivations are in src/model; signs and factors here are those of src/gram (valley
// coordinates).
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

// Below this |x| sinc and its derivative are summed as series, six terms each; beyond, the formula loses a few bits at most.
template <class Real> constexpr Real FAR = Real(0.15);
template <> constexpr float FAR<float> = 1.0f;

__device__ inline double reciprocal(double x) { return 1.0 / x; }
// to the last bit or the one before, in one instruction
__device__ inline float reciprocal(float x) { return __fdividef(1.0f, x); }

// sinc x and its derivative, from x with its sine and cosine.
template <class Real> __device__ inline void sinc(Real x, Real sine, Real cosine, Real &value, Real &slope) {
    if (fabs(x) < FAR<Real>) {
        const Real y = x * x;
        value = fma(Real(-1.0 / 39916800.0), y, Real(1.0 / 362880.0));
        value = fma(value, y, Real(-1.0 / 5040.0));
        value = fma(value, y, Real(1.0 / 120.0));
        value = fma(value, y, Real(-1.0 / 6.0));
        value = fma(value, y, Real(1.0));
        slope = fma(Real(1.0 / 518918400.0), y, Real(-1.0 / 3991680.0));
        slope = fma(slope, y, Real(1.0 / 45360.0));
        slope = fma(slope, y, Real(-1.0 / 840.0));
        slope = fma(slope, y, Real(1.0 / 30.0));
        slope = x * fma(slope, y, Real(-1.0 / 3.0));
    } else {
        const Real inverse = reciprocal(x);
        value = sine * inverse;
        slope = (cosine - value) * inverse;
    }
}

// g = e^m and h = e^(m-1) d, m = 2 or 4.
template <bool QUARTIC, class Real> __device__ inline void powers(Real e, Real d, Real &g, Real &h) {
    const Real square = e * e;
    if (QUARTIC) {
        g = square * square;
        h = square * e * d;
    } else {
        g = square;
        h = e * d;
    }
}

// What a residual counts as: losses as src/gram/loss.rs defines them.
template <class Real> struct Seen {
    Real pull, root, cost, bare;
};

constexpr int SQUARES = 0, SOFT_L1 = 1, HUBER = 2, CAUCHY = 3;

template <class Real> __device__ inline Seen<Real> see(int loss, Real sigma, Real r) {
    const Real one = 1, two = 2;
    if (loss == SQUARES) return {r, one, r * r, r};
    const Real f = r / sigma, z = f * f;
    Real pull, root, rho;
    if (loss == SOFT_L1) {
        const Real t = sqrt(one + z), inverse = one / t;
        pull = r * inverse;
        root = inverse * sqrt(inverse);
        rho = two * z / (one + t);
    } else if (loss == HUBER) {
        const Real size = sqrt(z);
        const bool inside = z < one;
        pull = inside ? r : r / size;
        root = inside ? one : Real(0);
        rho = inside ? z : two * size - one;
    } else {
        const Real u = one + z, inverse = one / u;
        pull = r * inverse;
        root = z < one ? sqrt(one - z) * inverse : Real(0);
        rho = log1p(z);
    }
    return {pull, root, rho * sigma * sigma, pull};
}
