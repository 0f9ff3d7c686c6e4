//! What a model makes of a pair of frames: the formula of g and its slope, written once for every arithmetic.
//!
//! A model is told of two frames i < j by what belongs to each alone ([`Frame`]) and gives the few **pair functions** w_k by which g
//! and all its derivatives go; w_0 is g. Every column of derivatives is ∂g/∂θ = factor · w_k · (f(j) − f(i)), with f one of the
//! running integrals of a frame: which k and which f is data ([`Column`]).
//!
//! ```text
//! g = E·sinc(x)^m    h = E·sinc(x)^(m−1)·sinc'(x)    E = exp(−q²·dt·ΔC^D)    x = p·ΔC^γ
//! ∂g/∂θ_D = −q²·dt·g·ΔA^θ    ∂g/∂θ_γ = m·p·h·ΔB^θ    ∂g/∂phi0 = m·(∂p/∂phi0)·h·ΔC^γ
//! ```

use super::{SINC_DERIVATIVE_SERIES, SINC_SERIES};
use crate::arithmetic::{Arithmetic, horner};

/// Running integrals of a frame: of D and its derivatives by (A, B, κ), then of the shear rate and its derivatives.
pub const INTEGRALS: usize = 8;
/// The integral of D, C^D.
pub const DIFFUSION: usize = 0;
/// The integral of the shear rate, C^γ.
pub const SHEAR: usize = 4;

/// Above this |x| sin(x)/x is formed by division, below it by the series: at the border sinc' keeps twelve digits.
const FAR: f64 = 0.15;
/// The series is accurate up to here, so that few pairs need both.
const SERIES_REACH: f64 = 0.2;
/// Terms that this takes.
const TERMS: usize = 6;
const SINC: [f64; TERMS] = leading(SINC_SERIES);
const SLOPE: [f64; TERMS] = leading(SINC_DERIVATIVE_SERIES);

/// The first terms of a series.
const fn leading(c: [f64; 7]) -> [f64; TERMS] {
    let mut out = [0.0; TERMS];
    let mut k = 0;
    while k < TERMS {
        out[k] = c[k];
        k += 1;
    }
    out
}

/// What belongs to one frame of a pair.
#[derive(Debug, Clone, Copy)]
pub struct Frame<V> {
    /// Its factor of E^(1/m): that of both frames is their product.
    pub decay: V,
    /// Phase p·C^γ from a frame that both share, with sine and cosine of it.
    pub phase: V,
    /// Its sine.
    pub sin: V,
    /// Its cosine.
    pub cos: V,
}

/// How large |x| is among pairs that are taken together: which way of forming sinc serves all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Small: the series.
    Near,
    /// Large: sin(x)/x.
    Far,
    /// Either: each pair has its own.
    Mixed,
}

impl Reach {
    /// For pairs whose |x| lie between these.
    pub fn of(least: f64, most: f64) -> Self {
        if most < SERIES_REACH {
            Self::Near
        } else if least >= FAR {
            Self::Far
        } else {
            Self::Mixed
        }
    }
}

/// A column of derivatives: by which pair function it goes, and across which running integral.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Number of the pair function.
    pub weight: usize,
    /// Number of the integral.
    pub integral: usize,
}

const fn column(weight: usize, integral: usize) -> Column {
    Column { weight, integral }
}

/// A model of c2, seen pair by pair.
pub trait PairModel: Copy {
    /// The m of E^(1/m) in [`Frame::decay`].
    const POWER: i32;
    /// Whether frames have phases.
    const TURNS: bool;
    /// Pair functions.
    const WEIGHTS: usize;
    /// Its columns, in the order of the physical parameters.
    const COLUMNS: &'static [Column];

    /// (g, h) of pairs of a row's frame i with a column's frame j > i; models without a second pair function give zero.
    fn weights<A: Arithmetic>(a: A, i: &Frame<A::V>, j: &Frame<A::V>, reach: Reach) -> [A::V; 2];
}

/// Time-dependent diffusion: g = E.
#[derive(Debug, Clone, Copy)]
pub struct Diffusion;

impl PairModel for Diffusion {
    const POWER: i32 = 1;
    const TURNS: bool = false;
    const WEIGHTS: usize = 1;
    const COLUMNS: &'static [Column] = &[column(0, 1), column(0, 2), column(0, 3)];

    #[inline(always)]
    fn weights<A: Arithmetic>(a: A, i: &Frame<A::V>, j: &Frame<A::V>, _: Reach) -> [A::V; 2] {
        [a.mul(i.decay, j.decay), a.splat(0.0)]
    }
}

/// Diffusion under shear: g = E·sinc(x)^M.
#[derive(Debug, Clone, Copy)]
pub struct LaminarFlow<const M: i32>;

impl<const M: i32> PairModel for LaminarFlow<M> {
    const POWER: i32 = M;
    const TURNS: bool = true;
    const WEIGHTS: usize = 2;
    const COLUMNS: &'static [Column] =
        &[column(0, 1), column(0, 2), column(0, 3), column(1, 5), column(1, 6), column(1, 7), column(1, SHEAR)];

    #[inline(always)]
    fn weights<A: Arithmetic>(a: A, i: &Frame<A::V>, j: &Frame<A::V>, reach: Reach) -> [A::V; 2] {
        let (sinc, slope) = sinc(a, i, j, reach);
        let root = a.mul(i.decay, j.decay);
        let (e, d) = (a.mul(root, sinc), a.mul(root, slope));
        let square = a.mul(e, e);
        if M == 2 { [square, a.mul(e, d)] } else { [a.mul(square, square), a.mul(a.mul(square, e), d)] }
    }
}

/// sin(x)/x and its derivative by division.
#[inline(always)]
fn far<A: Arithmetic>(a: A, i: &Frame<A::V>, j: &Frame<A::V>, x: A::V) -> (A::V, A::V) {
    let sin = a.fnma(j.cos, i.sin, a.mul(j.sin, i.cos));
    let cos = a.fma(j.cos, i.cos, a.mul(j.sin, i.sin));
    let inverse = a.div(a.splat(1.0), x);
    let sinc = a.mul(sin, inverse);
    (sinc, a.mul(a.sub(cos, sinc), inverse))
}

/// The same by their series.
#[inline(always)]
fn near<A: Arithmetic>(a: A, x: A::V) -> (A::V, A::V) {
    let y = a.mul(x, x);
    (horner(a, &SINC, y), a.mul(x, horner(a, &SLOPE, y)))
}

/// sinc and its derivative at the difference x of two phases.
#[inline(always)]
fn sinc<A: Arithmetic>(a: A, i: &Frame<A::V>, j: &Frame<A::V>, reach: Reach) -> (A::V, A::V) {
    let x = a.sub(j.phase, i.phase);
    match reach {
        Reach::Near => near(a, x),
        Reach::Far => far(a, i, j, x),
        Reach::Mixed => {
            let (near, far) = (near(a, x), far(a, i, j, x));
            (a.within(x, FAR, near.0, far.0), a.within(x, FAR, near.1, far.1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arithmetic::Scalar;
    use proptest::prelude::*;

    /// A number with its derivative by the phase of the later frame.
    #[derive(Debug, Clone, Copy)]
    struct Dual(f64, f64);

    #[derive(Clone, Copy)]
    struct Duals;

    impl Arithmetic for Duals {
        type V = Dual;

        fn splat(self, x: f64) -> Dual {
            Dual(x, 0.0)
        }
        fn add(self, a: Dual, b: Dual) -> Dual {
            Dual(a.0 + b.0, a.1 + b.1)
        }
        fn sub(self, a: Dual, b: Dual) -> Dual {
            Dual(a.0 - b.0, a.1 - b.1)
        }
        fn mul(self, a: Dual, b: Dual) -> Dual {
            Dual(a.0 * b.0, a.1 * b.0 + a.0 * b.1)
        }
        fn div(self, a: Dual, b: Dual) -> Dual {
            Dual(a.0 / b.0, (a.1 - a.0 / b.0 * b.1) / b.0)
        }
        fn fma(self, a: Dual, b: Dual, c: Dual) -> Dual {
            self.add(self.mul(a, b), c)
        }
        fn fnma(self, a: Dual, b: Dual, c: Dual) -> Dual {
            self.sub(c, self.mul(a, b))
        }
        fn within(self, x: Dual, limit: f64, a: Dual, b: Dual) -> Dual {
            if x.0.abs() < limit { a } else { b }
        }
    }

    fn frame(decay: f64, phase: f64) -> Frame<f64> {
        Frame { decay, phase, sin: phase.sin(), cos: phase.cos() }
    }

    fn check<M: PairModel>(decay: [f64; 2], from: f64, x: f64) {
        let [i, j] = [frame(decay[0], from), frame(decay[1], from + x)];
        let (root, m) = (decay[0] * decay[1], M::POWER);
        let s = if x == 0.0 { 1.0 } else { x.sin() / x };
        for reach in [Reach::of(x.abs(), x.abs()), Reach::Mixed] {
            let [g, h] = M::weights(Scalar, &i, &j, reach);
            let expected = (root * s).powi(m);
            assert!((g - expected).abs() <= 1e-12 * root.powi(m), "{g} {expected} at {x}");
            let dual = |f: Frame<f64>, by: f64| Frame {
                decay: Dual(f.decay, 0.0),
                phase: Dual(f.phase, by),
                sin: Dual(f.sin, by * f.cos),
                cos: Dual(f.cos, -by * f.sin),
            };
            let [slope, _] = M::weights(Duals, &dual(i, 0.0), &dual(j, 1.0), reach);
            assert_eq!(slope.0.to_bits(), M::weights(Duals, &dual(i, 0.0), &dual(j, 0.0), reach)[0].0.to_bits());
            // the series is cut where values, not their derivatives, are exact
            let error = (slope.1 - f64::from(m) * h).abs();
            assert!(error <= 1e-9 * root.powi(m), "∂g/∂x = {} but m·h = {} at {x}", slope.1, f64::from(m) * h);
        }
    }

    proptest! {
        #[test]
        fn the_second_pair_function_is_the_slope_of_the_first(
            a in 0.01f64..1.0, b in 0.01f64..1.0, from in -3.0f64..3.0, x in prop_oneof![-0.3f64..0.3, -40.0f64..40.0],
        ) {
            check::<LaminarFlow<2>>([a, b], from, x);
            check::<LaminarFlow<4>>([a, b], from, x);
        }
    }

    #[test]
    fn without_phases_g_is_the_decay() {
        assert_eq!(Diffusion::weights(Scalar, &frame(0.5, 0.0), &frame(0.25, 0.0), Reach::Near), [0.125, 0.0]);
    }
}
