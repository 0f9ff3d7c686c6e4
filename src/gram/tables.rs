//! What belongs to frames and to spans of frames at one point: running integrals, exponentials, and how well nodes resolve the model.
//!
//! All of it is shared by the angles. Integrals are kept from the first frame of a leaf or span on, so that differences within it keep
//! their digits whatever came before; those between two spans are added when a block is formed.
//!
//! **What nodes resolve.** In a frame of one side g is an average of exp(−k·C^D + iω·C^γ) over |ω| ≤ m·|p| (sinc^m is the transform
//! of a spline), and every column of derivatives that times an integral. If the integrals have on a span the Legendre-like
//! coefficients c_j, the error of the projection to degrees below n is at most about
//!
//! ```text
//! min_ρ  exp(k·[D(ρ) − D(1)]) · |sinc|^m(p·S(ρ)) · F(ρ) · ρ^−n      D(ρ) = Σ b_j·(ρ^j + ρ^−j)/2    S(ρ) = Σ b_j·(ρ^j − ρ^−j)/2
//! ```
//!
//! with b_j the largest contribution of degree j to C^D (C^γ), and F(ρ) by how much the integral of a derivative grows from the
//! span to the ellipse of sum of half-axes ρ (Bernstein's bound; Trefethen, *Approximation Theory and Approximation Practice*,
//! ch. 8). Where a rate meets its floor within a span nothing is resolved.

use super::axis::{Axis, Clock, Integrate, two_sum};
use super::work::Crew;
use super::{Level, Loss, Pass, Point};
use crate::arithmetic::elementary::exp;
use crate::arithmetic::lanes::{load, put};
use crate::arithmetic::{InstructionSet, Isa, Kernel, LANES, V};
use crate::gram::loss::Robust;
use crate::model::Experiment;
use crate::model::pair::{DIFFUSION, INTEGRALS, SHEAR};
use crate::nodes::plan::LEAF;
use crate::nodes::rules::{FEW, NODES};
use crate::nodes::spans::Slots;

/// Error that nodes are to make in the sums of an angle, relative to √(G_aa·G_bb): what is bounded is it in the mean, and five times as
/// much has been seen. That of sums without data is the square of how well
/// they resolve the model; in sums with data what isn't resolved meets noise, of which the square root of the number of pairs is left.
const TOLERANCE: f64 = 2e-11;
/// The same for draws: an angle's χ² of 11 × 3000 frames changes by some 0.003, of which a density notices nothing.
const OF_DRAWS: f64 = 1e-7;
/// Exponents below this, of a factor of E, are taken as −∞: nothing that is summed sees them, and products stay normal numbers.
const FLUSHED: f64 = -230.0;
/// Where q²·∫D is larger than this between all frames of two spans, g is zero.
pub(super) const DECAYED: f64 = 138.0;
/// Contributions smaller than this share of all are taken for rounding.
const ROUNDING: f64 = 4e-15;
/// Ellipses that are tried, for all nodes and for few.
const ELLIPSES: usize = 6;
const RHO: [[f64; ELLIPSES]; 2] = [[2.0, 3.0, 4.5, 7.0, 11.0, 18.0], [6.0, 10.0, 16.0, 28.0, 45.0, 75.0]];

/// Integrals and exponentials of `N` frames or nodes, by integral.
#[derive(Debug, Clone)]
pub(super) struct Local<const N: usize> {
    /// From the first frame of the span on.
    pub integrals: [[f64; N]; INTEGRALS],
    /// Factors of E^(1/m) for rows, to the last frame of the span, and for columns, from the first.
    pub rows: [f64; N],
    pub columns: [f64; N],
}

impl<const N: usize> Default for Local<N> {
    fn default() -> Self {
        Self { integrals: [[0.0; N]; INTEGRALS], rows: [0.0; N], columns: [0.0; N] }
    }
}

/// What stands for a span.
#[derive(Debug, Clone, Default)]
pub(super) struct AtSpan {
    pub nodes: Local<NODES>,
    pub few: Local<FEW>,
    /// Position of the first frame that lives, and of the last.
    pub ends: [usize; 2],
    /// Nodes are the frames: all nodes, and the few.
    is_exact: [bool; 2],
    /// A rate meets its floor within.
    has_kink: bool,
    /// Logarithm of the error bound by ellipse, of all nodes and of few: without phase, and by phase.
    bounds: [[(f64, f64); ELLIPSES]; 2],
    /// Values by node, as they are added up.
    values: [V; NODES],
}

impl AtSpan {
    /// Logarithm of the error with which all nodes, or few, resolve g/E, the m-th power of a sinc whose phases are p times the integral, to
    /// spans whose nearest frames are x apart.
    pub fn error(&self, few: bool, m: i32, p: f64, x: f64) -> f64 {
        match (self.is_exact[usize::from(few)], self.has_kink) {
            (true, _) => f64::NEG_INFINITY,
            (_, true) => f64::INFINITY,
            _ => {
                let of = |(fixed, turn): &(f64, f64)| {
                    let u = p * turn;
                    // |sinc| ≤ sinh(u)/u and about cosh(u)/x at a distance u from real phases; u·(1 + coth u) > 1 + u
                    fixed + f64::from(m) * (u - logarithm(x.max(1.0 + u).max(2.0 * u)).0)
                };
                self.bounds[usize::from(few)].iter().map(of).fold(f64::INFINITY, f64::min)
            }
        }
    }
}

/// One angle at the point.
#[derive(Debug, Clone, Copy)]
pub(super) struct AtAngle {
    /// Factor of C^γ in the phase, and its derivative by phi0.
    pub p: f64,
    pub dp: f64,
    pub contrast: f64,
    pub offset: f64,
}

/// What a pass needs of one point.
pub(crate) struct Tables<'a> {
    /// q²·dt.
    pub k: f64,
    /// m: 1 without shear.
    pub power: i32,
    pub decay: Decay,
    axis: Axis,
    /// By leaf: integrals of its frames.
    pub leaves: Vec<[[f64; LEAF]; INTEGRALS]>,
    /// By slot.
    pub spans: Vec<AtSpan>,
    /// By angle.
    pub angles: Vec<AtAngle>,
    /// Logarithm of the error with which nodes have to resolve the model, relative to the largest g.
    pub tolerance: f64,
    /// The loss, if residuals aren't squared, and a factor of σ.
    loss: Option<(Loss, f64)>,
    /// Pairs have a σ of their own.
    weighted: bool,
    /// By angle.
    sigma: &'a [f64],
}

/// What doesn't change from point to point.
pub(crate) struct Source<'a> {
    pub experiment: &'a Experiment,
    pub clock: &'a Clock,
    pub level: &'a Level,
    /// Spans that stand for frames, where they are needed.
    pub slots: Option<&'a Slots>,
    /// Who forms the tables.
    pub crew: Crew<'a>,
    /// σ of every angle, by which robust losses measure.
    pub sigma: &'a [f64],
    /// Pairs have a σ of their own; `sigma` is then what it is measured by.
    pub weighted: bool,
}

impl<'a> Tables<'a> {
    pub fn new(set: InstructionSet, source: &Source<'a>, point: &Point, pass: Pass) -> Self {
        let Source { experiment, clock, level, slots, crew, sigma, weighted } = *source;
        let derivatives = pass != Pass::Chi2;
        let axis = Integrate { clock, physical: &point.physical, frames: &level.frames, derivatives };
        let axis = crew.task(|| set.run(axis));
        let sheared = experiment.mode.has_shear();
        let power = if sheared { experiment.convention.power() } else { 1 };
        let k = experiment.diffusion_factor();
        let decay = Decay::new(k, power);
        let leaves = (0..level.frames.len().div_ceil(LEAF)).map(|leaf| leaf_of(&axis, leaf)).collect();
        let spans = match slots {
            Some(slots) => crew.task(|| set.run(Spans { slots, axis: &axis, k, decay })),
            None => Vec::new(),
        };
        let angle = |(angle, &(contrast, offset)): (usize, &(f64, f64))| {
            let (p, dp) = if sheared { experiment.phase_factors(point.physical[6], angle) } else { (0.0, 0.0) };
            AtAngle { p, dp, contrast, offset }
        };
        let loss = match pass {
            Pass::Robust { loss, doublings } => Some((loss, f64::from(doublings).exp2())),
            _ => None,
        };
        let angles = point.scaling.iter().enumerate().map(angle).collect();
        let n = level.frames.len() as f64;
        let tolerance = if pass == Pass::Slopes { OF_DRAWS } else { TOLERANCE };
        let tolerance = tolerance.ln() + 0.5 * (0.5 * n * (n - 1.0)).max(1.0).ln();
        Self { tolerance, k, power, decay, axis, leaves, spans, angles, loss, weighted, sigma }
    }

    /// How an angle's residuals count, if they aren't squared.
    pub fn robust(&self, angle: usize) -> Option<Robust> {
        let unit = self.sigma[angle];
        match self.loss {
            Some((loss, factor)) => Some(Robust { loss: Some(loss), sigma: factor * unit, unit }),
            None => self.weighted.then_some(Robust { loss: None, sigma: unit, unit }),
        }
    }

    /// Integrals of D and of the shear rate from one frame to another (positions).
    pub fn across(&self, from: usize, to: usize) -> [f64; 2] {
        let (hi, lo) = (&self.axis.hi, &self.axis.lo);
        [DIFFUSION, SHEAR].map(|t| (hi[to][t] - hi[from][t]) + (lo[to][t] - lo[from][t]))
    }

    /// All integrals from one frame to another, rounded once, and what rounding took.
    #[inline(always)]
    pub fn between<I: Isa>(&self, isa: I, from: usize, to: usize) -> (I::V, I::V) {
        let (hi, lo) = (&self.axis.hi, &self.axis.lo);
        let minus = isa.sub(isa.zero(), isa.load(&hi[from]));
        let (high, rest) = two_sum(isa, isa.load(&hi[to]), minus);
        two_sum(isa, high, isa.add(rest, isa.sub(isa.load(&lo[to]), isa.load(&lo[from]))))
    }
}

/// Integrals of a leaf's frames from the one of its ends where they change least: where rates fall or rise by many orders, small
/// differences there keep their digits.
fn leaf_of(axis: &Axis, leaf: usize) -> [[f64; LEAF]; INTEGRALS] {
    let mut out = [[0.0; LEAF]; INTEGRALS];
    let first = leaf * LEAF;
    let last = (first + LEAF).min(axis.hi.len()) - 1;
    let across =
        |t: usize, from: usize, to: usize| (axis.hi[to][t] - axis.hi[from][t]) + (axis.lo[to][t] - axis.lo[from][t]);
    for (t, of) in out.iter_mut().enumerate() {
        let middle = first.midpoint(last);
        let origin = if across(t, first, middle).abs() < across(t, middle, last).abs() { first } else { last };
        for (k, value) in of.iter_mut().enumerate() {
            // beyond the end as at the end
            *value = across(t, origin, (first + k).min(last));
        }
    }
    out
}

/// E^(1/m) at differences of the integral of D.
#[derive(Debug, Clone, Copy)]
pub(super) struct Decay {
    /// q²·dt/m.
    share: f64,
    flushed: f64,
}

impl Decay {
    pub fn new(k: f64, power: i32) -> Self {
        Self { share: k / f64::from(power), flushed: FLUSHED / f64::from(power) }
    }

    #[inline(always)]
    pub fn at<I: Isa>(self, isa: I, integral: I::V) -> I::V {
        let x = isa.mul(isa.splat(-self.share), integral);
        isa.keep(isa.at_least(x, self.flushed), exp(isa, x))
    }
}

struct Spans<'a> {
    slots: &'a Slots,
    axis: &'a Axis,
    k: f64,
    decay: Decay,
}

impl Kernel for Spans<'_> {
    type Output = Vec<AtSpan>;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> Vec<AtSpan> {
        let mut out: Vec<AtSpan> = Vec::with_capacity(self.slots.all.len());
        for number in 0..self.slots.all.len() {
            let span = self.span(isa, number, &out);
            out.push(span);
        }
        out
    }
}

impl Spans<'_> {
    #[inline(always)]
    fn difference<I: Isa>(&self, isa: I, from: usize, to: usize) -> I::V {
        let (hi, lo) = (&self.axis.hi, &self.axis.lo);
        let high = isa.sub(isa.load(&hi[to]), isa.load(&hi[from]));
        isa.add(high, isa.sub(isa.load(&lo[to]), isa.load(&lo[from])))
    }

    #[inline(always)]
    fn span<I: Isa>(&self, isa: I, number: usize, before: &[AtSpan]) -> AtSpan {
        let slot = &self.slots.all[number];
        let own = &slot.rule;
        let mut out = AtSpan::default();
        let mut nodes = [isa.zero(); NODES];
        match slot.halves {
            [None, None] => {
                let (first, last) = (slot.first + own.frames[0], slot.first + own.frames[own.frames.len() - 1]);
                out.ends = [first, last];
                out.is_exact[0] = own.frames.len() == own.rule.n();
                out.has_kink = self.axis.has_kink(first, last);
                for &frame in &own.frames {
                    let value = self.difference(isa, first, slot.first + frame);
                    for (node, factor) in own.spread[frame].iter().enumerate() {
                        nodes[node] = isa.fma(isa.splat(*factor), value, nodes[node]);
                    }
                }
            }
            halves => {
                let (mut first, mut n_points) = (None, 0);
                out.is_exact[0] = true;
                for (slot, spread) in halves.into_iter().zip(own.spread.chunks_exact(NODES)) {
                    let Some(slot) = slot else { continue };
                    let (half, n) = (&before[slot], self.slots.all[slot].rule.rule.n());
                    let first = *first.get_or_insert(half.ends[0]);
                    out.ends = [first, half.ends[1]];
                    out.is_exact[0] &= half.is_exact[0];
                    n_points += n;
                    let shift = self.difference(isa, first, half.ends[0]);
                    for (value, factors) in half.values[..n].iter().zip(spread) {
                        let value = isa.add(isa.load(value), shift);
                        for (node, factor) in factors.iter().enumerate() {
                            nodes[node] = isa.fma(isa.splat(*factor), value, nodes[node]);
                        }
                    }
                }
                out.is_exact[0] &= own.rule.n() == n_points;
                out.has_kink = self.axis.has_kink(out.ends[0], out.ends[1]);
            }
        }
        let n = own.rule.n();
        for node in 0..NODES {
            // places that no node takes are as the last one
            isa.store(nodes[node.min(n - 1)], &mut out.values[node]);
        }
        let length = self.difference(isa, out.ends[0], out.ends[1]);
        let mut last = [0.0; LANES];
        isa.store(length, &mut last);
        out.is_exact[1] = out.is_exact[0] && own.few.is_none();
        if !out.is_exact[1] {
            self.bounds(isa, own, &mut out);
        }
        transpose(&out.values, n, &mut out.nodes.integrals);
        let (nodes, few) = (&mut out.nodes, &mut out.few);
        self.decays(isa, last[DIFFUSION], nodes);
        if let Some(rule) = &own.few {
            let mut values = [[0.0; LANES]; FEW];
            for (value, factors) in values.iter_mut().zip(&rule.projection) {
                let mut sum = isa.zero();
                for (factor, at) in factors.iter().zip(&out.values) {
                    sum = isa.fma(isa.splat(*factor), isa.load(at), sum);
                }
                isa.store(sum, value);
            }
            transpose(&values, FEW, &mut few.integrals);
        } else {
            for (few, nodes) in few.integrals.iter_mut().zip(&nodes.integrals) {
                few.copy_from_slice(&nodes[..FEW]);
            }
        }
        self.decays(isa, last[DIFFUSION], few);
        out
    }

    #[inline(always)]
    fn decays<I: Isa, const N: usize>(&self, isa: I, length: f64, local: &mut Local<N>) {
        let length = isa.splat(length);
        for first in (0..N).step_by(LANES) {
            let integral = load(isa, &local.integrals[DIFFUSION], first);
            put(isa, self.decay.at(isa, isa.sub(length, integral)), &mut local.rows, first);
            put(isa, self.decay.at(isa, integral), &mut local.columns, first);
        }
    }

    /// The logarithms of the error bounds.
    #[inline(always)]
    fn bounds<I: Isa>(&self, isa: I, own: &crate::nodes::rules::SpanRule, out: &mut AtSpan) {
        let n = own.rule.n();
        let mut sizes = [isa.zero(); NODES];
        for (size, factors) in sizes.iter_mut().zip(&own.rule.spectrum) {
            let mut sum = isa.zero();
            for (factor, value) in factors.iter().zip(&out.values) {
                sum = isa.fma(isa.splat(*factor), isa.load(value), sum);
            }
            *size = isa.pick(isa.at_least(sum, 0.0), sum, isa.sub(isa.zero(), sum));
        }
        // what is smaller is rounding
        let mut all = isa.zero();
        for size in &sizes[1..n] {
            all = isa.add(all, *size);
        }
        let rounding = isa.mul(all, isa.splat(ROUNDING));
        for size in &mut sizes[1..n] {
            let rest = isa.sub(*size, rounding);
            *size = isa.keep(isa.at_least(rest, 0.0), rest);
        }
        let degrees = [n.min(NODES), FEW.min(n)];
        for (which, bounds) in out.bounds.iter_mut().enumerate() {
            for (rho, bound) in RHO[which].iter().zip(bounds) {
                // up, down and at the span itself, by Horner's rule
                let (mut up, mut down, mut at_one) = (isa.zero(), isa.zero(), isa.zero());
                let (mut high, mut low) = (*rho, 1.0 / rho);
                for size in &sizes[1..n] {
                    up = isa.fma(*size, isa.splat(high), up);
                    down = isa.fma(*size, isa.splat(low), down);
                    at_one = isa.add(at_one, *size);
                    high *= rho;
                    low /= rho;
                }
                let (mut ups, mut downs, mut ones) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
                isa.store(up, &mut ups);
                isa.store(down, &mut downs);
                isa.store(at_one, &mut ones);
                let decay = 0.5 * (ups[DIFFUSION] + downs[DIFFUSION]) - ones[DIFFUSION];
                let mut growth = 1.0f64;
                for t in (0..INTEGRALS).filter(|&t| ones[t] > 0.0) {
                    growth = growth.max(ups[t] / ones[t]);
                }
                let degree = degrees[which] as i32;
                let fixed = self.k * decay + logarithm(growth).1 - f64::from(degree) * rho.ln();
                *bound = (fixed, 0.5 * (ups[SHEAR] - downs[SHEAR]));
            }
        }
    }
}

/// No more than ln x, and no less; 0.06 lie between them: x positive and normal.
fn logarithm(x: f64) -> (f64, f64) {
    let bits = x.to_bits();
    let exponent = (bits >> 52) as i64 - 1023;
    let fraction = f64::from_bits(bits & (u64::MAX >> 12) | 1023 << 52) - 1.0;
    // log2(1 + f) lies within 0.087 above f
    let least = exponent as f64 + fraction;
    (least * std::f64::consts::LN_2, (least + 0.087) * std::f64::consts::LN_2)
}

/// Values by node to values by integral; places beyond the n-th are as the n-th.
fn transpose<const N: usize>(values: &[V; N], n: usize, out: &mut [[f64; N]; INTEGRALS]) {
    for t in 0..INTEGRALS {
        for node in 0..N {
            out[t][node] = values[node.min(n - 1)][t];
        }
    }
}
