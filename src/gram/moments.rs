//! Moments of a span: sums over its frames, or over the nodes of its halves, of interpolation weights times E, E² and the
//! functions (see `spans`).

use std::ops::Range;

use super::axis::two_sum;
use super::elementary::exp;
use super::isa::Kernel;
use super::lanes::{Isa, V, put};
use super::plan::LANES;
use super::rectangle::flushed;
use super::scratch::{FUNCTIONS, ZERO};
use super::spans::{Rule, Source, Span};
use super::tables::{Gathered, decay};

/// Distance below which a strain is taken to lie on a node.
const ON_NODE: f64 = 1e-100;

/// Where the moments with one power of E begin, then those with two: alone, with each function, with each pair of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order<const F: usize>;

impl<const F: usize> Order<F> {
    pub const ONE: usize = 0;
    pub const ONE_F: usize = 1;
    pub const TWO: usize = 1 + F;
    pub const TWO_F: usize = 2 + F;
    pub const TWO_FF: usize = 2 + 2 * F;
    pub const ALL: usize = 2 + 2 * F + F * (F + 1) / 2;

    /// Where functions a and b together are.
    pub const fn both(a: usize, b: usize) -> usize {
        let (a, b) = if a <= b { (a, b) } else { (b, a) };
        Self::TWO_FF + a * F - a * (a + 1) / 2 + b
    }
}

/// Most moments.
pub(super) const MOMENTS: usize = Order::<FUNCTIONS>::ALL;
/// Moments formed together, as many as leave their sums in registers.
const TOGETHER: usize = 8;

/// A span to be made.
pub(super) struct Build<'a> {
    pub source: &'a Source<'a>,
    /// What it is made from, if not from frames.
    pub halves: Option<[&'a Span; 2]>,
    pub frames: Range<usize>,
    pub width: f64,
    pub rule: &'static Rule,
    pub serves: f64,
}

/// With so many functions.
pub(super) struct MomentsOf<'a, const F: usize>(pub Build<'a>);

#[inline(always)]
fn push<I: Isa>(isa: I, v: I::V, into: &mut Vec<V>) {
    let mut lanes = ZERO;
    isa.store(v, &mut lanes);
    into.push(lanes);
}

/// A factor of every item (frame, or node of a half) for each moment, moment by moment.
struct Factors {
    items: usize,
    values: Vec<f64>,
}

impl Factors {
    fn new(moments: usize, items: usize) -> Self {
        Self { items, values: vec![0.0; moments.next_multiple_of(TOGETHER) * items] }
    }

    #[inline(always)]
    fn of(&mut self, moment: usize) -> &mut [f64] {
        &mut self.values[moment * self.items..(moment + 1) * self.items]
    }
}

/// How far the functions and E at frame `to` are from those at `origin`: (differences, factor of E).
#[inline(always)]
pub(super) fn distance<const F: usize>(
    functions: &[Gathered],
    (k, diffusion): (f64, &Gathered),
    to: usize,
    origin: usize,
) -> ([f64; F], f64) {
    let mut by = [0.0; F];
    for (by, f) in by.iter_mut().zip(functions) {
        *by = f.relative(to, origin);
    }
    (by, decay(k * diffusion.relative(to, origin).abs()))
}

/// Moments of eight nodes taken relative to elsewhere: functions `by` further, E times `scale`.
#[inline(always)]
pub(super) fn shifted<I: Isa, const F: usize>(isa: I, from: &[V], (by, scale): &([f64; F], f64)) -> [I::V; MOMENTS] {
    let mut out = [isa.zero(); MOMENTS];
    for (order, scale) in [(Order::<F>::ONE, *scale), (Order::<F>::TWO, scale * scale)] {
        let scale = isa.splat(scale);
        out[order] = isa.mul(scale, isa.load(&from[order]));
        for a in 0..F {
            let own = isa.mul(scale, isa.load(&from[order + 1 + a]));
            out[order + 1 + a] = isa.fma(isa.splat(by[a]), out[order], own);
        }
    }
    let scale = isa.splat(scale * scale);
    for a in 0..F {
        let alone = isa.mul(scale, isa.load(&from[Order::<F>::TWO_F + a]));
        for b in a..F {
            // b is shifted first, then a
            let at = Order::<F>::both(a, b);
            let own = isa.fma(isa.splat(by[b]), alone, isa.mul(scale, isa.load(&from[at])));
            out[at] = isa.fma(isa.splat(by[a]), out[Order::<F>::TWO_F + b], own);
        }
    }
    out
}

impl<const F: usize> MomentsOf<'_, F> {
    /// Interpolation weights of eight strains since the first frame, panel by panel of nodes, one after the other.
    #[inline(always)]
    fn weights<I: Isa>(&self, isa: I, since: I::V, out: &mut [V]) {
        let Build { width, rule, .. } = &self.0;
        // a span without any strain is all its middle
        let to_t = if *width > 0.0 { 2.0 / width } else { 0.0 };
        let mut t = ZERO;
        isa.store(isa.sub(isa.mul(since, isa.splat(to_t)), isa.splat(1.0)), &mut t);
        let mut totals = [ZERO; LANES];
        for l in 0..LANES {
            let own = isa.splat(t[l]);
            let mut total = isa.zero();
            for panel in 0..rule.panels {
                let apart = isa.sub(own, isa.load(&rule.nodes[panel]));
                // on a node its weight outweighs all others
                let apart = isa.pick(isa.below(apart, ON_NODE), isa.splat(ON_NODE), apart);
                let weight = isa.div(isa.load(&rule.weights[panel]), apart);
                total = isa.add(total, weight);
                isa.store(weight, &mut out[l * rule.panels + panel]);
            }
            isa.store(total, &mut totals[l]);
        }
        let mut scale = ZERO;
        isa.store(isa.div(isa.splat(1.0), isa.sums(&totals)), &mut scale);
        for l in 0..LANES {
            for weight in &mut out[l * rule.panels..(l + 1) * rule.panels] {
                isa.store(isa.mul(isa.load(weight), isa.splat(scale[l])), weight);
            }
        }
    }

    /// E^w and E^w·f… of every frame against the frame at position `at`.
    #[inline(always)]
    fn of_frames<I: Isa>(&self, isa: I, at: usize, out: &mut Factors) {
        let Build { source, frames, .. } = &self.0;
        for first in (0..frames.len()).step_by(LANES) {
            let there = frames.start + first;
            let mut f = [isa.zero(); F];
            for t in 0..F {
                f[t] = source.functions[t].difference(isa, at, there);
            }
            let since = source.diffusion.difference(isa, at, there);
            let sign = if at == frames.start { -source.k } else { source.k };
            let e = flushed(isa, exp(isa, isa.mul(since, isa.splat(sign))), source.least);
            let square = isa.mul(e, e);
            put(isa, e, out.of(Order::<F>::ONE), first);
            put(isa, square, out.of(Order::<F>::TWO), first);
            for a in 0..F {
                put(isa, isa.mul(e, f[a]), out.of(Order::<F>::ONE_F + a), first);
                let weighted = isa.mul(square, f[a]);
                put(isa, weighted, out.of(Order::<F>::TWO_F + a), first);
                for b in a..F {
                    put(isa, isa.mul(weighted, f[b]), out.of(Order::<F>::both(a, b)), first);
                }
            }
        }
    }

    /// Sums of factors times weights over the items, panel by panel.
    #[inline(always)]
    fn sums<I: Isa>(&self, isa: I, factors: &Factors, weights: &[V]) -> Vec<V> {
        let items = factors.items;
        let panels = self.0.rule.panels;
        let mut out = vec![ZERO; panels * Order::<F>::ALL];
        for (panel, out) in out.chunks_exact_mut(Order::<F>::ALL).enumerate() {
            for (out, factors) in out.chunks_mut(TOGETHER).zip(factors.values.chunks_exact(TOGETHER * items)) {
                let mut sums = [isa.zero(); TOGETHER];
                for i in 0..items {
                    let weight = isa.load(&weights[i * panels + panel]);
                    for k in 0..TOGETHER {
                        sums[k] = isa.fma(isa.splat(factors[k * items + i]), weight, sums[k]);
                    }
                }
                for (out, sum) in out.iter_mut().zip(sums) {
                    isa.store(sum, out);
                }
            }
        }
        out
    }
}

impl<const F: usize> Kernel for MomentsOf<'_, F> {
    type Output = Span;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> Span {
        let Build { source, halves, ref frames, width, rule, serves } = self.0;
        let (panels, first) = (rule.panels, frames.start);
        let items =
            halves.map_or(frames.len().next_multiple_of(LANES), |of| of.iter().map(|h| h.n_panels() * LANES).sum());
        let mut factors = Factors::new(Order::<F>::ALL, items);
        let mut span = Span { frames: frames.clone(), n: rule.n, serves, ..Span::default() };
        let sheared = rule.n > 1;
        let mut weights = vec![ZERO; items * panels];
        if !sheared {
            // one node weighs all there is
            weights.fill([1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        }
        if let Some(halves) = halves {
            let mut item = 0;
            for half in halves {
                let start = half.frames.start;
                let distance = distance::<F>(source.functions, (source.k, source.diffusion), start, first);
                for panel in 0..half.n_panels() {
                    let all = Order::<F>::ALL;
                    let moments = shifted::<I, F>(isa, &half.columns[panel * all..(panel + 1) * all], &distance);
                    for k in 0..all {
                        put(isa, moments[k], factors.of(k), item);
                    }
                    if sheared {
                        let since = isa.splat(source.strain.relative(start, first));
                        let since = isa.add(isa.load(&half.since_first[panel]), since);
                        self.weights(isa, since, &mut weights[item * panels..]);
                    }
                    item += LANES;
                }
            }
            span.columns = self.sums(isa, &factors, &weights);
        } else {
            if sheared {
                for k in (0..frames.len()).step_by(LANES) {
                    let since = source.strain.difference(isa, first, first + k);
                    self.weights(isa, since, &mut weights[k * panels..]);
                }
            }
            // what is read beyond the last frame is none of it
            weights[frames.len() * panels..].fill(ZERO);
            self.of_frames(isa, frames.end - 1, &mut factors);
            span.rows = self.sums(isa, &factors, &weights);
            self.of_frames(isa, first, &mut factors);
            span.columns = self.sums(isa, &factors, &weights);
        }
        if !sheared {
            return span;
        }
        let half = isa.splat(0.5 * width);
        let strain = source.strain;
        let (high, low) = two_sum(isa, isa.splat(strain.hi[first]), isa.splat(-strain.hi[0]));
        let low = isa.add(low, isa.splat(strain.lo[first] - strain.lo[0]));
        for nodes in &rule.nodes[..panels] {
            let t = isa.load(nodes);
            let since_first = isa.fma(t, half, half);
            let (hi, e) = two_sum(isa, high, since_first);
            let (hi, lo) = two_sum(isa, hi, isa.add(low, e));
            push(isa, since_first, &mut span.since_first);
            push(isa, isa.sub(isa.mul(t, half), half), &mut span.since_last);
            push(isa, hi, &mut span.strain.0);
            push(isa, lo, &mut span.strain.1);
        }
        span
    }
}
