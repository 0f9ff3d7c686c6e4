//! Eight lanes of f64 on three instruction sets, behind one small trait.
//!
//! Every operation is one IEEE operation per lane, fused multiply-adds included, so a kernel written against [`Isa`] gives the
//! same bits on all of them. A value of an `Isa` type is the proof that the processor has the instructions.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

use bytemuck::{Pod, Zeroable};

use super::Arithmetic;
use super::isa::Kernel;
#[cfg(target_arch = "x86_64")]
pub(super) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(super) use avx512::Avx512;

/// Virtual lanes: numbers that are worked on at once on every instruction set.
pub const LANES: usize = 8;

/// Eight numbers in memory.
pub(crate) type V = [f64; LANES];

/// Eight values as data are stored.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable, serde::Serialize, serde::Deserialize)]
#[repr(C, align(32))]
pub struct Lane(pub [f32; LANES]);

/// Eight values into a slice from position `first` on.
#[inline(always)]
pub(crate) fn put<I: Isa>(isa: I, v: I::V, into: &mut [f64], first: usize) {
    let mut lanes = [0.0; LANES];
    isa.store(v, &mut lanes);
    into[first..first + LANES].copy_from_slice(&lanes);
}

/// Eight values of a slice from position `first` on.
#[inline(always)]
pub(crate) fn load<I: Isa>(isa: I, from: &[f64], first: usize) -> I::V {
    let mut lanes = [0.0; LANES];
    lanes.copy_from_slice(&from[first..first + LANES]);
    isa.load(&lanes)
}

/// Asks for memory to be brought near.
#[inline(always)]
pub(crate) fn prefetch<T>(slice: &[T], at: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(value) = slice.get(at) {
        // SAFETY: a prefetch is a hint and never faults, whatever the address.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(std::ptr::from_ref(value).cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (slice, at);
}

/// Instruction set: a token that can only be had where it is available.
pub(crate) trait Isa: Arithmetic {
    /// Eight flags.
    type M: Copy;
    /// Whether two panels at a time fit into the registers.
    const WIDE: bool;

    fn load(self, p: &V) -> Self::V;
    fn store(self, v: Self::V, p: &mut V);
    /// Eight f32, widened.
    fn widen(self, p: &Lane) -> Self::V;
    fn sqrt(self, a: Self::V) -> Self::V;
    /// |a| < limit; false for NaN.
    fn below(self, a: Self::V, limit: f64) -> Self::M;
    /// a ≥ limit; false for NaN.
    fn at_least(self, a: Self::V, limit: f64) -> Self::M;
    /// Not NaN.
    fn present(self, a: Self::V) -> Self::M;
    /// Flags as bits, the first lane's the lowest.
    fn bits(self, m: Self::M) -> u8;
    /// a where the flag is set, b elsewhere.
    fn pick(self, m: Self::M, a: Self::V, b: Self::V) -> Self::V;
    /// a where the flag is set, 0 elsewhere.
    fn keep(self, m: Self::M, a: Self::V) -> Self::V;
    /// a·2^n for n from the low bits of `shifted` = [`SHIFT`] + n; a and the result must be normal numbers.
    fn scale(self, a: Self::V, shifted: Self::V) -> Self::V;
    /// Lane k is the [`sum`] of row k.
    fn sums(self, rows: [&V; LANES]) -> Self::V;

    #[inline(always)]
    fn zero(self) -> Self::V {
        self.splat(0.0)
    }
}

/// Added to a number below 2^51, leaves the nearest integer in the low bits of the sum.
pub(crate) const SHIFT: f64 = 6_755_399_441_055_744.0;
/// Where a double's exponent begins.
const EXPONENT: u32 = 52;

/// Sum of the lanes in a fixed order.
#[inline(always)]
pub(crate) fn sum(v: V) -> f64 {
    ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]))
}

/// Plain Rust: any processor. Without fused multiply-add in hardware it is slow, and still the same bits.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Portable {
    /// Runs a kernel. A method for the sake of the compiler, as that of AVX-512.
    pub fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
}

#[inline(always)]
fn map(f: impl Fn(usize) -> f64) -> V {
    std::array::from_fn(f)
}

impl Arithmetic for Portable {
    type V = V;

    #[inline(always)]
    fn splat(self, x: f64) -> V {
        [x; LANES]
    }
    #[inline(always)]
    fn add(self, a: V, b: V) -> V {
        map(|l| a[l] + b[l])
    }
    #[inline(always)]
    fn sub(self, a: V, b: V) -> V {
        map(|l| a[l] - b[l])
    }
    #[inline(always)]
    fn mul(self, a: V, b: V) -> V {
        map(|l| a[l] * b[l])
    }
    #[inline(always)]
    fn div(self, a: V, b: V) -> V {
        map(|l| a[l] / b[l])
    }
    #[inline(always)]
    fn fma(self, a: V, b: V, c: V) -> V {
        map(|l| a[l].mul_add(b[l], c[l]))
    }
    #[inline(always)]
    fn fnma(self, a: V, b: V, c: V) -> V {
        map(|l| (-a[l]).mul_add(b[l], c[l]))
    }
    #[inline(always)]
    fn within(self, x: V, limit: f64, a: V, b: V) -> V {
        self.pick(self.below(x, limit), a, b)
    }
}

impl Isa for Portable {
    type M = [bool; LANES];
    const WIDE: bool = false;

    #[inline(always)]
    fn load(self, p: &V) -> V {
        *p
    }
    #[inline(always)]
    fn store(self, v: V, p: &mut V) {
        *p = v;
    }
    #[inline(always)]
    fn widen(self, p: &Lane) -> V {
        map(|l| f64::from(p.0[l]))
    }
    #[inline(always)]
    fn sqrt(self, a: V) -> V {
        map(|l| a[l].sqrt())
    }
    #[inline(always)]
    fn below(self, a: V, limit: f64) -> [bool; LANES] {
        std::array::from_fn(|l| a[l].abs() < limit)
    }
    #[inline(always)]
    fn at_least(self, a: V, limit: f64) -> [bool; LANES] {
        std::array::from_fn(|l| a[l] >= limit)
    }
    #[inline(always)]
    fn present(self, a: V) -> [bool; LANES] {
        std::array::from_fn(|l| !a[l].is_nan())
    }
    #[inline(always)]
    fn bits(self, m: [bool; LANES]) -> u8 {
        m.iter().enumerate().fold(0, |bits, (l, &flag)| bits | u8::from(flag) << l)
    }
    #[inline(always)]
    fn pick(self, m: [bool; LANES], a: V, b: V) -> V {
        map(|l| if m[l] { a[l] } else { b[l] })
    }
    #[inline(always)]
    fn keep(self, m: [bool; LANES], a: V) -> V {
        map(|l| if m[l] { a[l] } else { 0.0 })
    }
    #[inline(always)]
    fn scale(self, a: V, shifted: V) -> V {
        map(|l| f64::from_bits(a[l].to_bits().wrapping_add(shifted[l].to_bits() << EXPONENT)))
    }
    #[inline(always)]
    fn sums(self, rows: [&V; LANES]) -> V {
        map(|l| sum(*rows[l]))
    }
}
