//! Per-frame tables of one point at one level: everything with an exp, a sin or a power in it, computed once per frame
//! instead of per pair.

use std::ops::Range;

use super::axis::{Axis, BY_A, BY_B, BY_KAPPA, Clock, Integrate, RATE, SHEAR, two_sum};
use super::elementary::{PHASE_LIMIT, exp, sin_cos};
use super::isa::{InstructionSet, Kernel};
use super::lanes::{Isa, V};
use super::loss::{Loss, Robust};
use super::plan::{LANES, Level};
use super::spans::{self, Span, Spans};
use super::work::Crew;
use super::{Pass, Point};
use crate::model::{Block, Experiment};

/// Exponentials below this are taken as zero: nothing they enter can be seen, and denormals would cost time.
pub(crate) const NEGLIGIBLE: f64 = 1e-60;
/// Phases per unit of strain below this are none: their squares must stay normal numbers.
const NO_PHASE: f64 = 1e-60;

/// Repeats the last value, so that eight can be read from any position.
fn padded(mut values: Vec<f64>) -> Vec<f64> {
    let last = values.last().copied().unwrap_or(0.0);
    values.extend([last; LANES]);
    values
}

/// Eight values from a position on.
#[inline(always)]
pub(super) fn lanes(values: &[f64], first: usize) -> &V {
    // the slice has exactly eight elements, or indexing has panicked
    values[first..first + LANES].try_into().unwrap_or(&[0.0; LANES])
}

/// Running integrals gathered at the frames of a level, as hi + lo, padded by eight.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gathered {
    pub hi: Vec<f64>,
    pub lo: Vec<f64>,
}

impl Gathered {
    fn new(axis: &Axis, lane: usize, frames: &[usize]) -> Self {
        let gather = |from: &[V]| padded(frames.iter().map(|&f| from[f][lane]).collect());
        Self { hi: gather(&axis.hi), lo: gather(&axis.lo) }
    }

    /// Value at position k less that at position `at`.
    #[inline(always)]
    pub fn relative(&self, k: usize, at: usize) -> f64 {
        (self.hi[k] - self.hi[at]) + (self.lo[k] - self.lo[at])
    }

    /// The same for eight positions from `first` on.
    #[inline(always)]
    pub fn difference<I: Isa>(&self, isa: I, at: usize, first: usize) -> I::V {
        let hi = isa.sub(isa.load(lanes(&self.hi, first)), isa.splat(self.hi[at]));
        let lo = isa.sub(isa.load(lanes(&self.lo, first)), isa.splat(self.lo[at]));
        isa.add(hi, lo)
    }
}

/// Sine and cosine of p·C^γ for one angle at every frame of the level, and the angle's factors.
#[derive(Debug, Clone, Default)]
pub(crate) struct AngleTables {
    /// s·cos(phi0 − φ).
    pub p: f64,
    /// Its derivative by phi0, 1/degree.
    pub dp: f64,
    pub sin: Vec<f64>,
    pub cos: Vec<f64>,
    /// The same at the nodes of all spans.
    pub at_nodes: (Vec<f64>, Vec<f64>),
}

impl AngleTables {
    /// 1/p, 0 where there is no phase to speak of.
    pub fn inverse(&self) -> f64 {
        if self.p.abs() < NO_PHASE { 0.0 } else { 1.0 / self.p }
    }
}

/// All tables of one point at one level, shared by tiles and threads.
pub(crate) struct Tables<'a> {
    /// q²·dt.
    pub k: f64,
    /// Power of the shape's root: g = root^power.
    pub power: i32,
    /// Roots below this are taken as zero.
    pub least: f64,
    /// C^D.
    pub diffusion: Gathered,
    /// C^γ.
    pub strain: Gathered,
    /// Integrals of the derivatives. Smooth: by A (frame numbers, the same in both blocks), then by B and κ of diffusion and
    /// of shear. Otherwise the three of diffusion, the three of shear, C^γ. Empty in χ²-only passes.
    pub functions: Vec<Gathered>,
    /// No rate is at its floor: both derivatives by A are frame numbers, and C^γ follows from the others.
    pub smooth: bool,
    /// (A, B, −κ) of the shear rate: C^γ by the integrals of its derivatives.
    pub strain_weights: [f64; 3],
    /// Column factors: exp(−k/power·(C_j − C at the start of j's eight)).
    pub u: Vec<f64>,
    /// Row factors: exp(−k/power·(C at the start of the next eight − C_i)); at the end the last frame.
    pub v: Vec<f64>,
    /// By angle; empty where none were needed.
    pub angles: Vec<AngleTables>,
    /// Nodes that stand for many frames.
    pub spans: Spans,
    /// (contrast₀, offset₀).
    pub scaling: &'a [(f64, f64)],
    /// Pairs may be taken in f32.
    pub mixed: bool,
    /// The loss, if residuals aren't squared, and a factor of σ.
    loss: Option<(Loss, f64)>,
    /// Pairs have a σ of their own.
    pub weighted: bool,
    /// By angle.
    sigma: &'a [f64],
}

/// exp(−x) with everything negligible flushed to zero.
#[inline]
pub(crate) fn decay(x: f64) -> f64 {
    let e = (-x).exp();
    if e < NEGLIGIBLE { 0.0 } else { e }
}

/// Factors of neighbouring frames, eight at a time.
struct Exponentials<'a> {
    diffusion: &'a Gathered,
    /// k/power.
    k: f64,
    n: usize,
}

impl Kernel for Exponentials<'_> {
    /// (u, v) as in [`Tables`].
    type Output = (Vec<f64>, Vec<f64>);

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> Self::Output {
        let (mut u, mut v) = (Vec::with_capacity(self.n + 2 * LANES), Vec::with_capacity(self.n + 2 * LANES));
        for first in (0..self.n).step_by(LANES) {
            let next = (first + LANES).min(self.n - 1);
            let (mut a, mut b) = ([0.0; LANES], [0.0; LANES]);
            let k = isa.splat(self.k);
            let since = self.diffusion.difference(isa, first, first);
            let until = self.diffusion.difference(isa, next, first);
            isa.store(exp(isa, isa.fnma(k, since, isa.zero())), &mut a);
            isa.store(exp(isa, isa.mul(k, until)), &mut b);
            u.extend(a);
            v.extend(b);
        }
        u.extend([0.0; LANES]);
        v.extend([0.0; LANES]);
        (u, v)
    }
}

/// Sines and cosines of p·strain, strain from the level's first frame as hi + lo.
struct Phases<'a> {
    p: f64,
    strain: &'a (Vec<V>, Vec<V>),
}

impl Kernel for Phases<'_> {
    type Output = (Vec<f64>, Vec<f64>);

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> Self::Output {
        let (hi, lo) = self.strain;
        let (mut sin, mut cos) = (Vec::with_capacity(hi.len() * LANES), Vec::with_capacity(hi.len() * LANES));
        let p = isa.splat(self.p);
        for (c, low) in hi.iter().zip(lo) {
            let (c, low) = (isa.load(c), isa.load(low));
            let x = isa.mul(p, c);
            // the phase reaches 1e9 rad: its rounding error is put back to first order
            let e = isa.fma(p, low, isa.fma(p, c, isa.sub(isa.zero(), x)));
            let (s, c) = sin_cos(isa, x);
            let (mut a, mut b) = ([0.0; LANES], [0.0; LANES]);
            isa.store(isa.fma(e, c, s), &mut a);
            isa.store(isa.fnma(e, s, c), &mut b);
            sin.extend(a);
            cos.extend(b);
        }
        (sin, cos)
    }
}

/// Strain since the level's first frame as (rounded, remainder), eight frames a lane, padded.
struct Strain<'a>(&'a Gathered);

impl Kernel for Strain<'_> {
    type Output = (Vec<V>, Vec<V>);

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> Self::Output {
        let Gathered { hi, lo } = self.0;
        let n = hi.len() / LANES * LANES;
        let (mut high, mut low) = (Vec::with_capacity(n / LANES + 1), Vec::with_capacity(n / LANES + 1));
        // the padding lets the last, overlapping eight be read as well
        for first in (0..n).step_by(LANES).chain((n < hi.len()).then_some(n)) {
            let (mut a, mut b) = ([hi[hi.len() - 1]; LANES], [lo[lo.len() - 1]; LANES]);
            let there = LANES.min(hi.len() - first);
            a[..there].copy_from_slice(&hi[first..first + there]);
            b[..there].copy_from_slice(&lo[first..first + there]);
            let (s, e) = two_sum(isa, isa.load(&a), isa.splat(-hi[0]));
            let rest = isa.add(e, isa.sub(isa.load(&b), isa.splat(lo[0])));
            let (s, e) = two_sum(isa, s, rest);
            let (mut x, mut y) = ([0.0; LANES], [0.0; LANES]);
            isa.store(s, &mut x);
            isa.store(e, &mut y);
            high.push(x);
            low.push(y);
        }
        (high, low)
    }
}

/// What doesn't change from point to point.
pub(crate) struct Source<'a> {
    pub experiment: &'a Experiment,
    pub clock: &'a Clock,
    pub level: &'a Level,
    /// Angles that tables are needed of.
    pub angles: &'a Range<usize>,
    /// Who forms them.
    pub crew: Crew<'a>,
    /// Pairs may be taken in f32.
    pub mixed: bool,
    /// σ of every angle, by which robust losses measure.
    pub sigma: &'a [f64],
    /// Pairs have a σ of their own; `sigma` is then what it is measured by.
    pub weighted: bool,
}

impl<'a> Tables<'a> {
    /// How an angle's residuals count, if they aren't squared.
    pub fn robust(&self, angle: usize) -> Option<Robust> {
        let unit = self.sigma[angle];
        match self.loss {
            Some((loss, factor)) => Some(Robust { loss: Some(loss), sigma: factor * unit, unit }),
            None => self.weighted.then_some(Robust { loss: None, sigma: unit, unit }),
        }
    }

    pub fn new(set: InstructionSet, source: &Source<'a>, point: &'a Point, pass: Pass) -> Self {
        let Source { experiment, clock, level, angles: held, crew, mixed, sigma, weighted } = *source;
        let derivatives = pass != Pass::Chi2;
        let loss = match pass {
            Pass::Robust { loss, doublings } => Some((loss, f64::from(doublings).exp2())),
            Pass::Gram | Pass::Chi2 => None,
        };
        let frames = &level.frames[..];
        let sheared = experiment.mode.has_shear();
        let axis = crew.task(|| set.run(Integrate { clock, physical: &point.physical, derivatives }));
        let smooth = axis.smooth;
        let mut wanted = vec![RATE];
        if sheared {
            wanted.push(SHEAR + RATE);
        }
        if derivatives {
            wanted.extend(if smooth { &[BY_B, BY_KAPPA][..] } else { &[BY_A, BY_B, BY_KAPPA] });
            if sheared {
                let of: &[usize] = if smooth { &[BY_B, BY_KAPPA] } else { &[BY_A, BY_B, BY_KAPPA] };
                wanted.extend(of.iter().map(|lane| SHEAR + lane));
            }
        }
        let mut gathered = crew.each(wanted.len(), |k| Gathered::new(&axis, wanted[k], frames)).into_iter();
        let diffusion = gathered.next().unwrap_or_default();
        let strain = if sheared { gathered.next().unwrap_or_default() } else { Gathered::default() };
        let mut functions = Vec::new();
        if derivatives && smooth {
            let hi = padded(frames.iter().map(|&f| f as f64).collect());
            functions.push(Gathered { lo: vec![0.0; hi.len()], hi });
        }
        functions.extend(gathered);
        if derivatives && sheared && !smooth {
            functions.push(strain.clone());
        }
        let k = experiment.diffusion_factor();
        let power = if sheared { experiment.convention.power() } else { 1 };
        let share = k / f64::from(power);
        let (u, v) = crew.task(|| set.run(Exponentials { diffusion: &diffusion, k: share, n: frames.len() }));
        let n = experiment.n_angles();
        let phase = |angle: usize| experiment.phase_factors(point.physical[6], angle);
        let mut phases = (0.0, 0.0);
        if sheared {
            let m = f64::from(power);
            let of = (0..n).map(|angle| m * phase(angle).0.abs());
            phases = of.fold((f64::INFINITY, 0.0), |(least, most): (f64, f64), p| (least.min(p), most.max(p)));
        }
        let source = spans::Source {
            set,
            k,
            least: NEGLIGIBLE,
            diffusion: &diffusion,
            strain: &strain,
            functions: &functions,
            phases,
        };
        let strain_weights = if sheared {
            let [a, b, kappa] = Block::from_slice(&point.physical[3..]).to_valley(experiment.t_ref());
            [a, b, -kappa]
        } else {
            [0.0; 3]
        };
        let since_first = if sheared { crew.task(|| set.run(Strain(&strain))) } else { Default::default() };
        let largest = since_first.0.iter().flatten().fold(0.0f64, |m, x| m.max(x.abs()));
        let turned = |angle: usize, strain: &(Vec<V>, Vec<V>)| {
            if !held.contains(&angle) {
                return Default::default();
            }
            let p = phase(angle).0;
            if p.abs() * largest < PHASE_LIMIT {
                set.run(Phases { p, strain })
            } else {
                // no phase this large means anything; it must only stay a phase
                strain.0.iter().flatten().map(|c| (p * c).sin_cos()).unzip()
            }
        };
        // weights differ from pair to pair, and nodes stand for many
        let spans = || if pass == Pass::Gram { source.spans(frames.len(), crew) } else { Spans::default() };
        let at_frames = || crew.each(if sheared { n } else { 0 }, |angle| turned(angle, &since_first));
        let (spans, at_frames) = crew.join(spans, at_frames);
        let gather = |part: fn(&Span) -> &Vec<V>| spans.iter().flat_map(part).copied().collect();
        let strain_at_nodes = (gather(|s| &s.strain.0), gather(|s| &s.strain.1));
        let at_nodes = crew.each(at_frames.len(), |angle| turned(angle, &strain_at_nodes));
        let whole = |(angle, ((sin, cos), at_nodes))| {
            let (p, dp) = phase(angle);
            AngleTables { p, dp, sin, cos, at_nodes }
        };
        let angles = at_frames.into_iter().zip(at_nodes).enumerate().map(whole).collect();
        let scaling = &point.scaling;
        Self {
            k,
            power,
            least: NEGLIGIBLE.powf(1.0 / f64::from(power)),
            diffusion,
            strain,
            functions,
            smooth,
            strain_weights,
            u,
            v,
            angles,
            spans,
            mixed,
            loss,
            weighted,
            sigma,
            scaling,
        }
    }
}
