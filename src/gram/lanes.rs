//! Eight lanes of f64 on three instruction sets, behind one small trait.
//!
//! Every operation is one IEEE operation per lane, fused multiply-adds included, so a kernel written against [`Isa`] gives the
//! same bits on all of them. A value of an `Isa` type is the proof that the processor has the instructions.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

use super::isa::Kernel;
use super::pack::Lane;
use super::plan::LANES;
#[cfg(target_arch = "x86_64")]
pub(super) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(super) use avx512::Avx512;

/// Eight numbers in memory.
pub(super) type V = [f64; LANES];

/// Eight values into a slice from position `first` on.
#[inline(always)]
pub(super) fn put<I: Isa>(isa: I, v: I::V, into: &mut [f64], first: usize) {
    let mut lanes = [0.0; LANES];
    isa.store(v, &mut lanes);
    into[first..first + LANES].copy_from_slice(&lanes);
}

/// Sixteen f32 in memory: two rows of eight columns.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Wide(pub [f32; 2 * LANES]);

/// Instruction set: a token that can only be had where it is available.
pub(super) trait Isa: Copy {
    /// Eight f64.
    type V: Copy;
    /// Eight flags.
    type M: Copy;
    /// Sixteen f32: two rows of eight columns.
    type W: Copy;
    /// Whether two panels at a time fit into the registers.
    const WIDE: bool;

    fn splat(self, x: f64) -> Self::V;
    fn load(self, p: &V) -> Self::V;
    fn store(self, v: Self::V, p: &mut V);
    /// Eight f32, widened.
    fn widen(self, p: &Lane) -> Self::V;
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    fn sqrt(self, a: Self::V) -> Self::V;
    /// a·b + c, rounded once.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// c − a·b, rounded once.
    fn fnma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// |a| < limit; false for NaN.
    fn below(self, a: Self::V, limit: f64) -> Self::M;
    /// a ≥ limit; false for NaN.
    fn at_least(self, a: Self::V, limit: f64) -> Self::M;
    /// Not NaN.
    fn present(self, a: Self::V) -> Self::M;
    /// a where the flag is set, b elsewhere.
    fn pick(self, m: Self::M, a: Self::V, b: Self::V) -> Self::V;
    /// a where the flag is set, 0 elsewhere.
    fn keep(self, m: Self::M, a: Self::V) -> Self::V;
    /// a·2^n for n from the low bits of `shifted` = [`SHIFT`] + n; a and the result must be normal numbers.
    fn scale(self, a: Self::V, shifted: Self::V) -> Self::V;
    /// Lane k is the [`sum`] of row k.
    fn sums(self, rows: &[V; LANES]) -> Self::V;

    fn splat16(self, x: f32) -> Self::W;
    fn load16(self, p: &Wide) -> Self::W;
    fn store16(self, v: Self::W, p: &mut Wide);
    /// Two rows of a panel.
    fn rows16(self, p: &[Lane; 2]) -> Self::W;
    fn add16(self, a: Self::W, b: Self::W) -> Self::W;
    fn sub16(self, a: Self::W, b: Self::W) -> Self::W;
    fn mul16(self, a: Self::W, b: Self::W) -> Self::W;
    /// a·b + c, rounded once.
    fn fma16(self, a: Self::W, b: Self::W, c: Self::W) -> Self::W;
    /// c − a·b, rounded once.
    fn fnma16(self, a: Self::W, b: Self::W, c: Self::W) -> Self::W;
    /// a where y is not NaN, 0 elsewhere.
    fn keep16(self, y: Self::W, a: Self::W) -> Self::W;
    /// Two rows, rounded to nearest.
    fn narrow16(self, rows: [Self::V; 2]) -> Self::W;
    /// Both rows, widened.
    fn halves(self, a: Self::W) -> [Self::V; 2];

    #[inline(always)]
    fn zero(self) -> Self::V {
        self.splat(0.0)
    }

    /// Asks for the line at `p` to be brought near; `p` may lie anywhere.
    #[inline(always)]
    fn prefetch(self, p: *const Lane) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch is a hint and never faults, whatever the address.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(p.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = p;
    }
}

/// Added to a number below 2^51, leaves the nearest integer in the low bits of the sum.
pub(super) const SHIFT: f64 = 6_755_399_441_055_744.0;
/// Where a double's exponent begins.
const EXPONENT: u32 = 52;

/// Sum of the lanes in a fixed order.
#[inline(always)]
pub(super) fn sum(v: V) -> f64 {
    ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]))
}

/// Plain Rust: any processor. Without fused multiply-add in hardware it is slow, and still the same bits.
#[derive(Clone, Copy)]
pub(super) struct Portable;

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

#[inline(always)]
fn map16(f: impl Fn(usize) -> f32) -> Wide {
    Wide(std::array::from_fn(f))
}

impl Isa for Portable {
    type V = V;
    type M = [bool; LANES];
    type W = Wide;
    const WIDE: bool = false;

    #[inline(always)]
    fn splat(self, x: f64) -> V {
        [x; LANES]
    }
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
    fn sqrt(self, a: V) -> V {
        map(|l| a[l].sqrt())
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
    fn sums(self, rows: &[V; LANES]) -> V {
        map(|l| sum(rows[l]))
    }
    #[inline(always)]
    fn splat16(self, x: f32) -> Wide {
        Wide([x; 2 * LANES])
    }
    #[inline(always)]
    fn load16(self, p: &Wide) -> Wide {
        *p
    }
    #[inline(always)]
    fn store16(self, v: Wide, p: &mut Wide) {
        *p = v;
    }
    #[inline(always)]
    fn rows16(self, p: &[Lane; 2]) -> Wide {
        map16(|l| p[l / LANES].0[l % LANES])
    }
    #[inline(always)]
    fn add16(self, a: Wide, b: Wide) -> Wide {
        map16(|l| a.0[l] + b.0[l])
    }
    #[inline(always)]
    fn sub16(self, a: Wide, b: Wide) -> Wide {
        map16(|l| a.0[l] - b.0[l])
    }
    #[inline(always)]
    fn mul16(self, a: Wide, b: Wide) -> Wide {
        map16(|l| a.0[l] * b.0[l])
    }
    #[inline(always)]
    fn fma16(self, a: Wide, b: Wide, c: Wide) -> Wide {
        map16(|l| a.0[l].mul_add(b.0[l], c.0[l]))
    }
    #[inline(always)]
    fn fnma16(self, a: Wide, b: Wide, c: Wide) -> Wide {
        map16(|l| (-a.0[l]).mul_add(b.0[l], c.0[l]))
    }
    #[inline(always)]
    fn keep16(self, y: Wide, a: Wide) -> Wide {
        map16(|l| if y.0[l].is_nan() { 0.0 } else { a.0[l] })
    }
    #[inline(always)]
    fn narrow16(self, rows: [V; 2]) -> Wide {
        map16(|l| rows[l / LANES][l % LANES] as f32)
    }
    #[inline(always)]
    fn halves(self, a: Wide) -> [V; 2] {
        [map(|l| f64::from(a.0[l])), map(|l| f64::from(a.0[LANES + l]))]
    }
}
