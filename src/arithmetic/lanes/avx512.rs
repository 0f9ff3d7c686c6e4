//! AVX-512 behind the trait.

use std::arch::x86_64::*;

use super::super::isa::Kernel;
use super::{Arithmetic, EXPONENT, Isa, LANES, Lane, V};

/// AVX-512: one register.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// The token, where the processor has AVX-512.
    pub fn detect() -> Option<Self> {
        // all that `enter` compiles kernels for
        let foundation = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq");
        let shorter = is_x86_feature_detected!("avx512vl") && is_x86_feature_detected!("avx2");
        (foundation && shorter && is_x86_feature_detected!("fma")).then_some(Self(()))
    }

    /// Runs a kernel compiled for AVX-512. A method, so that the compiler puts the code of every instruction set into a unit of its
    /// own, and works on them in parallel.
    pub fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
        fn inside<K: Kernel>(isa: Avx512, kernel: K) -> K::Output {
            kernel.run(isa)
        }
        // SAFETY: the token shows that the processor has the features this is compiled for.
        unsafe { inside(self, kernel) }
    }
}

// SAFETY of all blocks below: the token exists only where `detect` saw the instructions, references to eight numbers are
// valid for unaligned loads and stores of eight numbers.
impl Arithmetic for Avx512 {
    type V = __m512d;

    #[inline(always)]
    fn splat(self, x: f64) -> __m512d {
        // SAFETY: see above.
        unsafe { _mm512_set1_pd(x) }
    }
    #[inline(always)]
    fn add(self, a: __m512d, b: __m512d) -> __m512d {
        // SAFETY: see above.
        unsafe { _mm512_add_pd(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512d, b: __m512d) -> __m512d {
        // SAFETY: see above.
        unsafe { _mm512_sub_pd(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512d, b: __m512d) -> __m512d {
        // SAFETY: see above.
        unsafe { _mm512_mul_pd(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m512d, b: __m512d) -> __m512d {
        // SAFETY: see above.
        unsafe { _mm512_div_pd(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m512d, b: __m512d, c: __m512d) -> __m512d {
        // SAFETY: see above.
        unsafe { _mm512_fmadd_pd(a, b, c) }
    }
    #[inline(always)]
    fn fnma(self, a: __m512d, b: __m512d, c: __m512d) -> __m512d {
        // SAFETY: see above.
        unsafe { _mm512_fnmadd_pd(a, b, c) }
    }
    #[inline(always)]
    fn within(self, x: __m512d, limit: f64, a: __m512d, b: __m512d) -> __m512d {
        self.pick(self.below(x, limit), a, b)
    }
}

impl Isa for Avx512 {
    type M = __mmask8;
    const WIDE: bool = true;

    #[inline(always)]
    fn load(self, p: &V) -> __m512d {
        // SAFETY: see above.
        unsafe { _mm512_loadu_pd(p.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, v: __m512d, p: &mut V) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_pd(p.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn widen(self, p: &Lane) -> __m512d {
        // SAFETY: see above.
        unsafe { _mm512_cvtps_pd(_mm256_loadu_ps(p.0.as_ptr())) }
    }
    #[inline(always)]
    fn sqrt(self, a: __m512d) -> __m512d {
        // SAFETY: see above.
        unsafe { _mm512_sqrt_pd(a) }
    }
    #[inline(always)]
    fn below(self, a: __m512d, limit: f64) -> __mmask8 {
        // SAFETY: see above.
        unsafe { _mm512_cmp_pd_mask::<_CMP_LT_OQ>(_mm512_abs_pd(a), _mm512_set1_pd(limit)) }
    }
    #[inline(always)]
    fn at_least(self, a: __m512d, limit: f64) -> __mmask8 {
        // SAFETY: see above.
        unsafe { _mm512_cmp_pd_mask::<_CMP_GE_OQ>(a, _mm512_set1_pd(limit)) }
    }
    #[inline(always)]
    fn present(self, a: __m512d) -> __mmask8 {
        // SAFETY: see above.
        unsafe { _mm512_cmp_pd_mask::<_CMP_ORD_Q>(a, a) }
    }
    #[inline(always)]
    fn bits(self, m: __mmask8) -> u8 {
        m
    }
    #[inline(always)]
    fn pick(self, m: __mmask8, a: __m512d, b: __m512d) -> __m512d {
        // SAFETY: see above.
        unsafe { _mm512_mask_blend_pd(m, b, a) }
    }
    #[inline(always)]
    fn keep(self, m: __mmask8, a: __m512d) -> __m512d {
        // SAFETY: see above.
        unsafe { _mm512_maskz_mov_pd(m, a) }
    }
    #[inline(always)]
    fn scale(self, a: __m512d, shifted: __m512d) -> __m512d {
        // SAFETY: see above.
        unsafe {
            let n = _mm512_slli_epi64::<EXPONENT>(_mm512_castpd_si512(shifted));
            _mm512_castsi512_pd(_mm512_add_epi64(_mm512_castpd_si512(a), n))
        }
    }
    #[inline(always)]
    fn sums(self, rows: [&V; LANES]) -> __m512d {
        // SAFETY: see above.
        unsafe {
            // 128-bit parts hold (0+1), (2+3), (4+5), (6+7) of two rows
            macro_rules! two {
                ($a:expr) => {{
                    let (x, y) = (_mm512_loadu_pd(rows[$a].as_ptr()), _mm512_loadu_pd(rows[$a + 1].as_ptr()));
                    _mm512_add_pd(_mm512_unpacklo_pd(x, y), _mm512_unpackhi_pd(x, y))
                }};
            }
            let (p, q, r, s) = (two!(0), two!(2), two!(4), two!(6));
            let (pq_even, pq_odd) = (_mm512_shuffle_f64x2::<0x88>(p, q), _mm512_shuffle_f64x2::<0xdd>(p, q));
            let (rs_even, rs_odd) = (_mm512_shuffle_f64x2::<0x88>(r, s), _mm512_shuffle_f64x2::<0xdd>(r, s));
            let (pq, rs) = (_mm512_add_pd(pq_even, pq_odd), _mm512_add_pd(rs_even, rs_odd));
            // parts of pq: first and second half of rows 0, 1; of rows 2, 3; of rs likewise 4, 5 and 6, 7
            let halves = (_mm512_shuffle_f64x2::<0x88>(pq, rs), _mm512_shuffle_f64x2::<0xdd>(pq, rs));
            _mm512_add_pd(halves.0, halves.1)
        }
    }
}
