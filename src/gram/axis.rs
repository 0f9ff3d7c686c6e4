//! The time axis of one point in lanes: rates, their derivatives, and the running integrals of all of them, on every frame.
//!
//! The same quantities as [`crate::model::TimeAxis`] in valley coordinates, several times faster: logarithms of time are
//! kept from point to point, powers are formed eight frames at a time, and the eight running integrals are the eight
//! lanes of one sum.

use crate::arithmetic::elementary::{EXP_LIMIT, LN2, exp};
use crate::arithmetic::{Isa, Kernel, LANES, V, horner};
use crate::model::pair::SHEAR;
use crate::model::{Block, Experiment, RATE_FLOOR};

/// Below this |z| ψ(z) is summed as a series; above it z·e^z − (e^z − 1) loses less than two digits.
const PSI_SERIES: f64 = 0.25;
/// (k − 1)/k! for k = 2 … 15.
const PSI: [f64; 14] = [
    1.0 / 2.0,
    2.0 / 6.0,
    3.0 / 24.0,
    4.0 / 120.0,
    5.0 / 720.0,
    6.0 / 5040.0,
    7.0 / 40_320.0,
    8.0 / 362_880.0,
    9.0 / 3_628_800.0,
    10.0 / 39_916_800.0,
    11.0 / 479_001_600.0,
    12.0 / 6_227_020_800.0,
    13.0 / 87_178_291_200.0,
    14.0 / 1_307_674_368_000.0,
];

/// A number as an unevaluated sum, some 30 digits.
#[derive(Debug, Clone, Copy)]
struct Double {
    hi: f64,
    lo: f64,
}

/// ln x as hi + lo, exact to about 1e-19·|ln x|: powers of long times must not lose digits to the exponent.
fn logarithm(x: f64) -> Double {
    let mut m = x;
    let mut n = 0.0;
    // powers of two are exact
    while m > std::f64::consts::SQRT_2 {
        m *= 0.5;
        n += 1.0;
    }
    while m < std::f64::consts::FRAC_1_SQRT_2 {
        m *= 2.0;
        n -= 1.0;
    }
    // ln m = 2·artanh(s), s = (m − 1)/(m + 1); only the leading term needs both parts
    let (numerator, denominator) = (m - 1.0, m + 1.0);
    let lost = (m - (denominator - 1.0)) + (1.0 - (denominator - (denominator - 1.0)));
    let s = numerator / denominator;
    let s_lo = ((-s).mul_add(denominator, numerator) - s * lost) / denominator;
    let y = s * s;
    let mut series = 0.0;
    for k in (1..12).rev() {
        series = series * y + 2.0 / f64::from(2 * k + 1);
    }
    let tail = series * y * s + 2.0 * s_lo;
    let [n_hi, n_lo] = LN2.map(|part| n * part);
    let hi = n_hi + 2.0 * s;
    let rest = (n_hi - hi) + 2.0 * s;
    let lo = rest + (n_lo + tail);
    let sum = hi + lo;
    Double { hi: sum, lo: (hi - sum) + lo }
}

/// Logarithms of time on every frame of an experiment.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    n_frames: usize,
    /// ln τ, eight frames a lane, padded with the last.
    hi: Vec<V>,
    lo: Vec<V>,
    t_ref: f64,
    /// ln t_ref.
    reference: Double,
    /// Largest |ln τ|.
    largest: f64,
    tau: Vec<V>,
    /// Frames before this one are taken at another time than theirs.
    clamped: usize,
}

impl Clock {
    pub fn new(experiment: &Experiment) -> Self {
        let n = experiment.n_frames;
        let tau: Vec<V> = (0..n.div_ceil(LANES))
            .map(|g| std::array::from_fn(|l| experiment.tau((g * LANES + l).min(n - 1))))
            .collect();
        let logs: Vec<[Double; LANES]> = tau.iter().map(|t| t.map(logarithm)).collect();
        let hi: Vec<V> = logs.iter().map(|l| l.map(|d| d.hi)).collect();
        let lo = logs.iter().map(|l| l.map(|d| d.lo)).collect();
        let largest = hi.iter().flatten().fold(0.0f64, |m, x| m.max(x.abs()));
        let t_ref = experiment.t_ref();
        let clamped = (1..n).take_while(|&i| experiment.tau(i) != experiment.time(i)).last().map_or(0, |i| i + 1);
        Self { n_frames: n, hi, lo, t_ref, reference: logarithm(t_ref), largest, tau, clamped }
    }
}

/// Running integrals of one point at the frames of a level.
pub(super) struct Axis {
    /// Per frame the eight integrals, as hi + lo.
    pub hi: Vec<V>,
    pub lo: Vec<V>,
    /// Per frame, how often a rate has come to its floor or left it until there; empty where none did.
    kinks: Vec<u32>,
}

impl Axis {
    /// Whether rates are smooth no longer between two frames (positions).
    pub fn has_kink(&self, first: usize, last: usize) -> bool {
        !self.kinks.is_empty() && self.kinks[first] != self.kinks[last]
    }
}

/// One block on eight frames: its rate and derivatives.
struct Rates<I: Isa> {
    quantities: [I::V; 4],
    /// Where the rate is above its floor.
    above: I::M,
}

/// A block's constants.
struct Constants {
    block: Block,
    valley: [f64; 3],
    /// t_ref^−a.
    unit: f64,
    /// Whether t^a may leave the range of [`exp`].
    wild: bool,
}

impl Constants {
    fn new(clock: &Clock, p: &[f64]) -> Self {
        let block = Block::from_slice(p);
        let wild = block.exponent.abs() * clock.largest >= EXP_LIMIT;
        Self { block, valley: block.to_valley(clock.t_ref), unit: clock.t_ref.powf(-block.exponent), wild }
    }
}

#[inline(always)]
fn rates<I: Isa, const DERIVATIVES: bool>(isa: I, clock: &Clock, c: &Constants, group: usize) -> Rates<I> {
    let (hi, lo) = (isa.load(&clock.hi[group]), isa.load(&clock.lo[group]));
    let a = isa.splat(c.block.exponent);
    let power = if c.wild {
        isa.load(&clock.tau[group].map(|t| t.powf(c.block.exponent)))
    } else {
        let z = isa.mul(a, hi);
        // what rounding took from the exponent
        let rest = isa.fma(a, lo, isa.fma(a, hi, isa.sub(isa.zero(), z)));
        let power = exp(isa, z);
        isa.fma(power, rest, power)
    };
    let value = isa.fma(isa.splat(c.block.amplitude), power, isa.splat(c.block.offset));
    let above = isa.at_least(value, RATE_FLOOR);
    let rate = isa.pick(above, value, isa.splat(RATE_FLOOR));
    let zero = isa.zero();
    if !DERIVATIVES {
        return Rates { quantities: [rate, zero, zero, zero], above };
    }
    let l = isa.add(isa.sub(hi, isa.splat(clock.reference.hi)), isa.sub(lo, isa.splat(clock.reference.lo)));
    let e = isa.mul(power, isa.splat(c.unit));
    let z = isa.mul(a, l);
    let series = isa.mul(isa.mul(z, z), horner(isa, &PSI, z));
    let formula = isa.fma(isa.sub(z, isa.splat(1.0)), e, isa.splat(1.0));
    let psi = isa.pick(isa.below(z, PSI_SERIES), series, formula);
    let f_ref = 1.0 / c.valley[2];
    let by_b = isa.mul(l, e);
    let by_kappa = isa.mul(isa.splat(f_ref * f_ref), psi);
    let quantities = [rate, isa.keep(above, isa.splat(1.0)), isa.keep(above, by_b), isa.keep(above, by_kappa)];
    Rates { quantities, above }
}

/// a + b as (rounded sum, exact error).
#[inline(always)]
pub(super) fn two_sum<I: Isa>(isa: I, a: I::V, b: I::V) -> (I::V, I::V) {
    let s = isa.add(a, b);
    let bb = isa.sub(s, a);
    (s, isa.add(isa.sub(a, isa.sub(s, bb)), isa.sub(b, bb)))
}

/// The axis of a point (natural physical parameters), to be run on an instruction set.
pub(super) struct Integrate<'a> {
    pub clock: &'a Clock,
    pub physical: &'a [f64],
    /// Frames that are wanted, ascending.
    pub frames: &'a [usize],
    pub derivatives: bool,
}

impl Integrate<'_> {
    #[inline(always)]
    fn integrate<I: Isa, const DERIVATIVES: bool>(self, isa: I) -> Axis {
        let clock = self.clock;
        let n = clock.n_frames;
        let diffusion = Constants::new(clock, self.physical);
        let shear = (self.physical.len() > 3).then(|| Constants::new(clock, &self.physical[3..]));
        let (mut hi, mut lo) = (Vec::with_capacity(self.frames.len()), Vec::with_capacity(self.frames.len()));
        let mut kinks = Vec::with_capacity(self.frames.len());
        let (mut wanted, mut n_kinks, mut state) = (self.frames.iter().copied().peekable(), 0, None);
        let zero = [0.0; LANES];
        let (mut h, mut l, mut before) = (isa.zero(), isa.zero(), isa.zero());
        for group in 0..clock.hi.len() {
            // by quantity, then by frame
            let (mut of, mut flags) = ([zero; LANES], [zero; 2]);
            let found = rates::<I, DERIVATIVES>(isa, clock, &diffusion, group);
            for k in 0..SHEAR {
                isa.store(found.quantities[k], &mut of[k]);
            }
            isa.store(isa.keep(found.above, isa.splat(1.0)), &mut flags[0]);
            if let Some(shear) = &shear {
                let found = rates::<I, DERIVATIVES>(isa, clock, shear, group);
                for k in 0..SHEAR {
                    isa.store(found.quantities[k], &mut of[SHEAR + k]);
                }
                isa.store(isa.keep(found.above, isa.splat(1.0)), &mut flags[1]);
            }
            for frame in 0..LANES.min(n - group * LANES) {
                let mut values = zero;
                for quantity in 0..LANES {
                    values[quantity] = of[quantity][frame];
                }
                let now = isa.load(&values);
                if group + frame > 0 {
                    // trapezoid rule in units of one frame, hi + lo
                    let (s, e) = two_sum(isa, h, isa.mul(isa.splat(0.5), isa.add(before, now)));
                    (h, l) = two_sum(isa, s, isa.add(l, e));
                }
                before = now;
                let number = group * LANES + frame;
                let own = Some((flags[0][frame] != 0.0, flags[1][frame] != 0.0, number < clock.clamped));
                n_kinks += u32::from(number > 0 && own != state);
                state = own;
                if wanted.next_if_eq(&number).is_none() {
                    continue;
                }
                let (mut a, mut b) = (zero, zero);
                isa.store(h, &mut a);
                isa.store(l, &mut b);
                hi.push(a);
                lo.push(b);
                kinks.push(n_kinks);
            }
        }
        if kinks.first() == kinks.last() {
            kinks.clear();
        }
        Axis { hi, lo, kinks }
    }
}

impl Kernel for Integrate<'_> {
    type Output = Axis;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> Axis {
        if self.derivatives { self.integrate::<I, true>(isa) } else { self.integrate::<I, false>(isa) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arithmetic::InstructionSet;
    use crate::model::{AnalysisMode, Basis, ShearConvention, TimeAxis};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn logarithms_carry_thirty_digits(x in 1e-6f64..1e9) {
            let d = logarithm(x);
            prop_assert!((d.hi - x.ln()).abs() <= 2e-16 * x.ln().abs().max(1e-3), "{x}");
            // e^hi·(1 + lo) gives x back to the last digits of exp
            prop_assert!((d.hi.exp() * (1.0 + d.lo) / x - 1.0).abs() < 4e-16 * (1.0 + d.hi.abs() / 4.0));
            prop_assert!(d.lo.abs() <= f64::EPSILON * d.hi.abs().max(f64::MIN_POSITIVE));
            // ln(x²) = 2·ln x beyond one double
            let (twice, square) = (logarithm(x), logarithm(x * x));
            let rounding = x.mul_add(x, -(x * x)) / (x * x);
            let defect = (square.hi - 2.0 * twice.hi) + (square.lo - 2.0 * twice.lo) + rounding;
            prop_assert!(defect.abs() < 1e-18 * (1.0 + twice.hi.abs()), "{x}: {defect}");
        }

        #[test]
        fn integrals_are_those_of_the_reference(
            n in 3usize..400, d0 in 2.0f64..5.0, alpha in -2.0f64..2.0, d_offset in -1e5f64..1e5,
            gamma in -6.0f64..-0.3, beta in -2.0f64..2.0, gamma_offset in -0.1f64..0.1, time_offset in 0usize..300,
        ) {
            let e = Experiment {
                mode: AnalysisMode::LaminarFlow, convention: ShearConvention::Homodyne, q: 0.005, gap: 1e6, dt: 0.1,
                phi: vec![0.0], n_frames: n, time_offset,
            };
            let p = [10f64.powf(d0), alpha, d_offset, 10f64.powf(gamma), beta, gamma_offset, 0.0];
            let reference = TimeAxis::new(&e, &p, Basis::Valley);
            let shear = reference.shear.as_ref().unwrap();
            let clock = Clock::new(&e);
            let frames: Vec<usize> = (0..n).collect();
            let job = || Integrate { clock: &clock, physical: &p, frames: &frames, derivatives: true };
            let axis = InstructionSet::available()[0].run(job());
            for set in InstructionSet::available() {
                let other = set.run(job());
                prop_assert!(other.hi == axis.hi && other.lo == axis.lo && other.kinks == axis.kinks, "{}", set.name());
            }
            for (at, block) in [(0, &reference.diffusion), (SHEAR, shear)] {
                let lanes = [&block.integral, &block.derivatives[0], &block.derivatives[1], &block.derivatives[2]];
                for (k, expected) in lanes.into_iter().enumerate() {
                    // rates are differences of terms this large
                    let amplitude = p[if at == 0 { 0 } else { 3 }].abs();
                    let term = if k == 0 { amplitude * 900f64.powf(p[if at == 0 { 1 } else { 4 }].abs()) } else { 0.0 };
                    // derivatives change sign, so the last sum may be the smallest
                    let largest = (1..n).fold(0.0f64, |most, f| most.max(expected.difference(0, f).abs()));
                    let size = largest + n as f64 * term;
                    for f in 1..n {
                        let got = (axis.hi[f][at + k] - axis.hi[0][at + k]) + (axis.lo[f][at + k] - axis.lo[0][at + k]);
                        let want = expected.difference(0, f);
                        prop_assert!((got - want).abs() <= 1e-13 * size, "lane {} frame {f}: {got} {want}", at + k);
                    }
                }
            }
        }
    }
}
