//! The arithmetic in which formulas are written once and read in several ways.
//!
//! A formula that is generic over [`Arithmetic`] can be read as plain numbers ([`Scalar`]), as eight virtual lanes on three
//! instruction sets ([`lanes`]) with the same bits on each, and by tests as dual numbers. Every operation is one IEEE
//! operation on every number, fused multiply-adds included.

pub(crate) mod elementary;
pub(crate) mod isa;
pub(crate) mod lanes;
mod peak;

pub(crate) use isa::{InstructionSet, Kernel};
pub use isa::{names as instruction_sets, selected as selected_instruction_set};
pub(crate) use lanes::{Isa, V};
pub use lanes::{LANES, Lane};
pub use peak::{fma_per_second, read_bytes_per_second};

/// What formulas are made of.
pub trait Arithmetic: Copy {
    /// A number, or several.
    type V: Copy;

    /// x, in all of them.
    fn splat(self, x: f64) -> Self::V;
    /// a + b.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// a − b.
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// a·b.
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// a/b.
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// a·b + c, rounded once.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// c − a·b, rounded once.
    fn fnma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// a where |x| < limit, b elsewhere.
    fn within(self, x: Self::V, limit: f64, a: Self::V, b: Self::V) -> Self::V;
}

/// Plain numbers.
#[derive(Debug, Clone, Copy)]
pub struct Scalar;

impl Arithmetic for Scalar {
    type V = f64;

    fn splat(self, x: f64) -> f64 {
        x
    }
    fn add(self, a: f64, b: f64) -> f64 {
        a + b
    }
    fn sub(self, a: f64, b: f64) -> f64 {
        a - b
    }
    fn mul(self, a: f64, b: f64) -> f64 {
        a * b
    }
    fn div(self, a: f64, b: f64) -> f64 {
        a / b
    }
    fn fma(self, a: f64, b: f64, c: f64) -> f64 {
        a.mul_add(b, c)
    }
    fn fnma(self, a: f64, b: f64, c: f64) -> f64 {
        (-a).mul_add(b, c)
    }
    fn within(self, x: f64, limit: f64, a: f64, b: f64) -> f64 {
        if x.abs() < limit { a } else { b }
    }
}

/// c_0 + c_1·y + c_2·y² + …
#[inline(always)]
pub(crate) fn horner<A: Arithmetic, const N: usize>(a: A, c: &[f64; N], y: A::V) -> A::V {
    let mut sum = a.splat(c[N - 1]);
    for k in (0..N - 1).rev() {
        sum = a.fma(sum, y, a.splat(c[k]));
    }
    sum
}
