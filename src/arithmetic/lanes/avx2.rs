//! AVX2 with FMA behind the trait.

use std::arch::x86_64::*;

use super::super::isa::Kernel;
use super::{Arithmetic, EXPONENT, Isa, LANES, Lane, V};

/// AVX2 with FMA: two registers.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// The token, where the processor has AVX2 and FMA.
    pub fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }

    /// Runs a kernel compiled for AVX2. A method for the sake of the compiler, as that of AVX-512.
    pub fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma")]
        fn inside<K: Kernel>(isa: Avx2, kernel: K) -> K::Output {
            kernel.run(isa)
        }
        // SAFETY: the token shows that the processor has the features this is compiled for.
        unsafe { inside(self, kernel) }
    }
}

const HALF: usize = LANES / 2;
type Pair = [__m256d; 2];

/// Applies an intrinsic to both halves. (Macros, because closures would not inherit the instruction set.)
macro_rules! both {
    ($f:ident($($x:expr),*)) => {
        // SAFETY: see below.
        unsafe { [$f($($x[0]),*), $f($($x[1]),*)] }
    };
}

// SAFETY of all blocks below: the token exists only where `detect` saw the instructions, references to eight numbers are
// valid for unaligned loads and stores of eight numbers.
impl Arithmetic for Avx2 {
    type V = Pair;

    #[inline(always)]
    fn splat(self, x: f64) -> Pair {
        // SAFETY: see above.
        unsafe { [_mm256_set1_pd(x); 2] }
    }
    #[inline(always)]
    fn add(self, a: Pair, b: Pair) -> Pair {
        both!(_mm256_add_pd(a, b))
    }
    #[inline(always)]
    fn sub(self, a: Pair, b: Pair) -> Pair {
        both!(_mm256_sub_pd(a, b))
    }
    #[inline(always)]
    fn mul(self, a: Pair, b: Pair) -> Pair {
        both!(_mm256_mul_pd(a, b))
    }
    #[inline(always)]
    fn div(self, a: Pair, b: Pair) -> Pair {
        both!(_mm256_div_pd(a, b))
    }
    #[inline(always)]
    fn fma(self, a: Pair, b: Pair, c: Pair) -> Pair {
        both!(_mm256_fmadd_pd(a, b, c))
    }
    #[inline(always)]
    fn fnma(self, a: Pair, b: Pair, c: Pair) -> Pair {
        both!(_mm256_fnmadd_pd(a, b, c))
    }
    #[inline(always)]
    fn within(self, x: Pair, limit: f64, a: Pair, b: Pair) -> Pair {
        self.pick(self.below(x, limit), a, b)
    }
}

impl Isa for Avx2 {
    type M = Pair;
    const WIDE: bool = false;

    #[inline(always)]
    fn load(self, p: &V) -> Pair {
        // SAFETY: see above.
        unsafe { [_mm256_loadu_pd(p.as_ptr()), _mm256_loadu_pd(p[HALF..].as_ptr())] }
    }
    #[inline(always)]
    fn store(self, v: Pair, p: &mut V) {
        // SAFETY: see above.
        unsafe {
            _mm256_storeu_pd(p.as_mut_ptr(), v[0]);
            _mm256_storeu_pd(p[HALF..].as_mut_ptr(), v[1]);
        }
    }
    #[inline(always)]
    fn widen(self, p: &Lane) -> Pair {
        // SAFETY: see above.
        unsafe { [_mm256_cvtps_pd(_mm_loadu_ps(p.0.as_ptr())), _mm256_cvtps_pd(_mm_loadu_ps(p.0[HALF..].as_ptr()))] }
    }
    #[inline(always)]
    fn sqrt(self, a: Pair) -> Pair {
        both!(_mm256_sqrt_pd(a))
    }
    #[inline(always)]
    fn below(self, a: Pair, limit: f64) -> Pair {
        // SAFETY: see above.
        unsafe {
            let sign = _mm256_set1_pd(-0.0);
            let limit = _mm256_set1_pd(limit);
            [
                _mm256_cmp_pd::<_CMP_LT_OQ>(_mm256_andnot_pd(sign, a[0]), limit),
                _mm256_cmp_pd::<_CMP_LT_OQ>(_mm256_andnot_pd(sign, a[1]), limit),
            ]
        }
    }
    #[inline(always)]
    fn at_least(self, a: Pair, limit: f64) -> Pair {
        // SAFETY: see above.
        unsafe {
            let limit = _mm256_set1_pd(limit);
            [_mm256_cmp_pd::<_CMP_GE_OQ>(a[0], limit), _mm256_cmp_pd::<_CMP_GE_OQ>(a[1], limit)]
        }
    }
    #[inline(always)]
    fn present(self, a: Pair) -> Pair {
        // SAFETY: see above.
        unsafe { [_mm256_cmp_pd::<_CMP_ORD_Q>(a[0], a[0]), _mm256_cmp_pd::<_CMP_ORD_Q>(a[1], a[1])] }
    }
    #[inline(always)]
    fn bits(self, m: Pair) -> u8 {
        // SAFETY: see above.
        let [low, high] = unsafe { [_mm256_movemask_pd(m[0]), _mm256_movemask_pd(m[1])] };
        (low | high << HALF) as u8
    }
    #[inline(always)]
    fn pick(self, m: Pair, a: Pair, b: Pair) -> Pair {
        both!(_mm256_blendv_pd(b, a, m))
    }
    #[inline(always)]
    fn keep(self, m: Pair, a: Pair) -> Pair {
        both!(_mm256_and_pd(m, a))
    }
    #[inline(always)]
    fn scale(self, a: Pair, shifted: Pair) -> Pair {
        // SAFETY: see above.
        unsafe {
            macro_rules! half {
                ($k:expr) => {{
                    let n = _mm256_slli_epi64::<{ EXPONENT as i32 }>(_mm256_castpd_si256(shifted[$k]));
                    _mm256_castsi256_pd(_mm256_add_epi64(_mm256_castpd_si256(a[$k]), n))
                }};
            }
            [half!(0), half!(1)]
        }
    }
    #[inline(always)]
    fn sums(self, rows: [&V; LANES]) -> Pair {
        // SAFETY: see above.
        unsafe {
            macro_rules! row {
                ($k:expr, $at:expr) => {
                    _mm256_loadu_pd(rows[$k][$at..].as_ptr())
                };
            }
            // (0+1)+(2+3) of four rows, from their lanes `at` on
            macro_rules! quarter {
                ($k:expr, $at:expr) => {{
                    let a = _mm256_hadd_pd(row!($k, $at), row!($k + 1, $at));
                    let b = _mm256_hadd_pd(row!($k + 2, $at), row!($k + 3, $at));
                    _mm256_add_pd(_mm256_permute2f128_pd::<0x20>(a, b), _mm256_permute2f128_pd::<0x31>(a, b))
                }};
            }
            [_mm256_add_pd(quarter!(0, 0), quarter!(0, HALF)), _mm256_add_pd(quarter!(HALF, 0), quarter!(HALF, HALF))]
        }
    }
}
