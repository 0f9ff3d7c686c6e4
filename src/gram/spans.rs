//! Spans of neighbouring frames, and the few nodes of strain that stand for each.
//!
//! Most of a Gram matrix holds no data: sums of E^w·F(p·(Γ_j − Γ_i)) times functions of frame i and of frame j, where w is 1
//! or 2, E splits into a factor of i and one of j, and F, a product of sinc and sinc', is an entire function of bandwidth
//! w·m. Over the frames of a span such an F is a polynomial of their strain to rounding, given by its values at a few
//! Chebyshev nodes. So a sum over all pairs of two spans is a sum over pairs of nodes, with the spans' *moments*
//! Σ_i L_k(Γ_i)·E_i^w·f_i·…, L_k the interpolation weight of node k, in place of the frames. Moments depend neither on the
//! angle nor on the other span. Under no shear F is 1 and one node is exact.
//!
//! The rows of a tile are one span, its columns the largest aligned ones that fit: twice the frames need less than twice
//! the nodes. The moments of a large span follow from its halves', whose nodes are interpolated like frames.
//!
//! Interpolation at n Chebyshev nodes of half-width a leaves Σ_{k ≥ n} 2·|J_k(ω·a)| of a wave of frequency ω (Trefethen,
//! *Approximation Theory and Approximation Practice*, ch. 4 and 8), and |J_n(z)| ≤ (z/2)^n/n!.

use std::ops::Range;
use std::sync::OnceLock;

use rayon::prelude::*;

use super::axis::two_sum;
use super::elementary::exp;
use super::isa::{InstructionSet, Kernel};
use super::lanes::{Isa, V};
use super::plan::{LANES, TILE_COLUMNS, TILE_ROWS};
use super::rectangle::flushed;
use super::scratch::{FUNCTIONS, ZERO};
use super::tables::{Gathered, decay};

/// Most nodes of a tile's rows; more would cost as much as their frames.
pub(super) const MAX_ROW_NODES: usize = 32;
/// Most nodes of any span.
const MAX_NODES: usize = 128;
/// Most panels of nodes of a span, and of the spans of a tile's columns.
const MAX_PANELS: usize = MAX_NODES / LANES;
pub(super) const MAX_COLUMN_PANELS: usize = TILE_COLUMNS / TILE_ROWS * MAX_ROW_NODES / LANES;
/// Distance below which a strain is taken to lie on a node.
const ON_NODE: f64 = 1e-100;
/// What interpolation may leave of F's largest value.
const TOLERANCE: f64 = 1e-13;

/// Numbers of nodes on offer under shear: those of a tile's rows first.
const NUMBERS: [usize; 19] = [8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, MAX_NODES];
const ROW_NUMBERS: usize = 7;

const _: () = assert!(NUMBERS[ROW_NUMBERS - 1] == MAX_ROW_NODES);

/// Nodes on −1 … 1.
struct Rule {
    n: usize,
    /// Largest m·p·(strain across the span) for which they serve.
    reach: f64,
    nodes: [V; MAX_PANELS],
    /// L_k(t) is weights[k]/(t − nodes[k]) over the sum of all such (the second barycentric formula); beyond the last node 0.
    weights: [V; MAX_PANELS],
    panels: usize,
}

impl Rule {
    fn new(n: usize) -> Self {
        let angle = |k: usize| std::f64::consts::PI * (k as f64 + 0.5) / n as f64;
        let (mut nodes, mut weights) = ([ZERO; MAX_PANELS], [ZERO; MAX_PANELS]);
        for k in 0..n {
            let sign = if k % 2 == 0 { 1.0 } else { -1.0 };
            nodes[k / LANES][k % LANES] = -angle(k).cos();
            weights[k / LANES][k % LANES] = sign * angle(k).sin();
        }
        let panels = n.div_ceil(LANES);
        Self { n, reach: reach(n), nodes, weights, panels }
    }

    /// The one node that stands for any frames where there is no shear.
    fn alone() -> &'static Self {
        static RULE: OnceLock<Rule> = OnceLock::new();
        RULE.get_or_init(|| Self::new(1))
    }

    /// Number `k` of those on offer.
    fn number(k: usize) -> &'static Self {
        static RULES: [OnceLock<Rule>; NUMBERS.len()] = [const { OnceLock::new() }; NUMBERS.len()];
        RULES[k].get_or_init(|| Self::new(NUMBERS[k]))
    }

    /// The first of some of those on offer that reaches so far.
    fn reaching(z: f64, mut among: Range<usize>) -> Option<&'static Self> {
        among.find(|&k| reach(NUMBERS[k]) >= z).map(Self::number)
    }
}

/// z with (z/2)^n/n! = the tolerance.
fn reach(n: usize) -> f64 {
    let ln_factorial: f64 = (1..=n).map(|k| (k as f64).ln()).sum();
    2.0 * ((TOLERANCE.ln() + ln_factorial) / n as f64).exp()
}

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

/// Nodes and moments of a span.
#[derive(Debug, Clone, Default)]
pub(crate) struct Span {
    /// Frames, as positions in the level's.
    pub frames: Range<usize>,
    /// Number of nodes; 0 = they would have to be too many.
    pub n: usize,
    /// Largest m·p for which they serve.
    pub serves: f64,
    /// Panels of nodes of the spans before this one.
    pub before: usize,
    /// Strain at the nodes since the first frame, and since the last one; lane by lane. Lanes behind the last node have no
    /// moments.
    pub since_first: Vec<V>,
    pub since_last: Vec<V>,
    /// Strain at the nodes since the level's first frame as (rounded, remainder).
    pub strain: (Vec<V>, Vec<V>),
    /// Moments as rows, E and functions taken from the last frame; panel by panel, in the order of [`Order`]. Only of spans
    /// as long as a tile has rows.
    pub rows: Vec<V>,
    /// Moments as columns, E and functions taken from the first frame.
    pub columns: Vec<V>,
}

impl Span {
    /// Panels of eight nodes.
    pub fn n_panels(&self) -> usize {
        self.n.div_ceil(LANES)
    }
}

/// The spans of a level: as long as a tile has rows, twice, four times … as long as it has columns.
#[derive(Debug, Default)]
pub(crate) struct Spans(Vec<Vec<Span>>);

impl Spans {
    /// All spans, in the order in which their nodes are numbered.
    pub fn iter(&self) -> impl Iterator<Item = &Span> {
        self.0.iter().flatten()
    }

    /// The span of a tile's rows.
    pub fn of_rows(&self, first: usize) -> &Span {
        &self.0[0][first / TILE_ROWS]
    }

    /// The largest span that begins with this frame and doesn't reach beyond `end`.
    pub fn of_columns(&self, first: usize, end: usize) -> &Span {
        let mut found = &self.0[0][first / TILE_ROWS];
        for (height, spans) in self.0.iter().enumerate().skip(1) {
            let length = TILE_ROWS << height;
            match spans.get(first / length) {
                Some(span) if first.is_multiple_of(length) && span.n > 0 && span.frames.end <= end => found = span,
                _ => break,
            }
        }
        found
    }
}

/// What spans are made from.
pub(super) struct Source<'a> {
    pub set: InstructionSet,
    /// q²·dt.
    pub k: f64,
    /// Values of E below this are taken as zero.
    pub least: f64,
    pub diffusion: &'a Gathered,
    /// Empty without shear.
    pub strain: &'a Gathered,
    pub functions: &'a [Gathered],
    /// m times the least and the largest |p| of all angles.
    pub phases: (f64, f64),
}

impl Source<'_> {
    /// The spans of a level of `n` frames; none where there is no pair of spans. `alone`: all threads may help.
    pub fn spans(&self, n: usize, alone: bool) -> Spans {
        if n <= TILE_ROWS {
            return Spans::default();
        }
        let of = |b: usize| self.strip(b * TILE_ROWS..((b + 1) * TILE_ROWS).min(n));
        let mut below: Vec<Span> = in_order(n.div_ceil(TILE_ROWS), alone, of);
        let mut all = Vec::new();
        for _ in 0..(TILE_COLUMNS / TILE_ROWS).ilog2() {
            let above = in_order(below.len() / 2, alone, |b| self.merged([&below[2 * b], &below[2 * b + 1]]));
            all.push(std::mem::replace(&mut below, above));
        }
        all.push(below);
        let mut before = 0;
        for span in all.iter_mut().flatten() {
            span.before = before;
            before += span.n_panels();
        }
        Spans(all)
    }

    /// A span of as many frames as a tile has rows.
    fn strip(&self, frames: Range<usize>) -> Span {
        let (mut width, mut rule, mut serves) = (0.0, Rule::alone(), f64::INFINITY);
        if !self.strain.hi.is_empty() {
            width = self.strain.relative(frames.end - 1, frames.start);
            let (least, largest) = self.phases;
            let last = Rule::number(ROW_NUMBERS - 1);
            if least * width > last.reach {
                return Span { frames, ..Span::default() };
            }
            rule = Rule::reaching(largest * width, 0..ROW_NUMBERS).unwrap_or(last);
            serves = rule.reach / width;
        }
        self.run(Build { source: self, halves: None, frames, width, rule, serves })
    }

    /// Two neighbours as one, without nodes where they would be more.
    fn merged(&self, halves: [&Span; 2]) -> Span {
        let frames = halves[0].frames.start..halves[1].frames.end;
        let none = Span { frames: frames.clone(), ..Span::default() };
        let largest = self.phases.1;
        if halves.iter().any(|half| half.n == 0 || half.serves < largest) {
            return none;
        }
        let nodes: usize = halves.iter().map(|half| half.n_panels() * LANES).sum();
        let (mut width, mut rule, mut serves) = (0.0, Rule::alone(), f64::INFINITY);
        if !self.strain.hi.is_empty() {
            width = self.strain.relative(frames.end - 1, frames.start);
            match Rule::reaching(largest * width, 0..NUMBERS.len()) {
                Some(found) if found.panels * LANES <= nodes => rule = found,
                _ => return none,
            }
            serves = rule.reach / width;
        }
        self.run(Build { source: self, halves: Some(halves), frames, width, rule, serves })
    }

    fn run(&self, build: Build) -> Span {
        match self.functions.len() {
            3 => self.set.run(MomentsOf::<3>(build)),
            5 => self.set.run(MomentsOf::<5>(build)),
            _ => self.set.run(MomentsOf::<7>(build)),
        }
    }
}

/// What a function gives for 0 … n − 1, by all threads if they have nothing else to do.
fn in_order<T: Send>(n: usize, alone: bool, of: impl Fn(usize) -> T + Sync + Send) -> Vec<T> {
    if alone { (0..n).into_par_iter().map(of).collect() } else { (0..n).map(of).collect() }
}

struct Build<'a> {
    source: &'a Source<'a>,
    /// What it is made from, if not from frames.
    halves: Option<[&'a Span; 2]>,
    frames: Range<usize>,
    width: f64,
    rule: &'static Rule,
    serves: f64,
}

struct MomentsOf<'a, const F: usize>(Build<'a>);

/// Eight values from position `first` on.
#[inline(always)]
fn put<I: Isa>(isa: I, v: I::V, into: &mut [f64], first: usize) {
    let mut lanes = ZERO;
    isa.store(v, &mut lanes);
    into[first..first + LANES].copy_from_slice(&lanes);
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(values: Vec<f64>) -> Gathered {
        let mut hi = values;
        hi.extend([hi[hi.len() - 1]; LANES]);
        Gathered { lo: vec![0.0; hi.len()], hi }
    }

    /// e^w·F at a phase.
    fn shape(x: f64, power: i32) -> f64 {
        let sinc = if x.abs() < 1e-8 { 1.0 } else { x.sin() / x };
        sinc.powi(power)
    }

    /// Frames whose strain grows unevenly, with decay and three functions, and what is made of them.
    fn check(largest: f64, m: i32, n: usize) {
        let uneven = |i: usize| 1.0 + 0.6 * (i as f64 * 0.7).sin();
        let running = |rate: &dyn Fn(usize) -> f64| {
            gathered(
                (0..n)
                    .scan(0.0, |sum, i| {
                        *sum += rate(i);
                        Some(*sum)
                    })
                    .collect::<Vec<f64>>(),
            )
        };
        let strain = running(&|i| uneven(i) * 1e-3);
        let diffusion = running(&|i| 1.0 + 0.3 * (i as f64 * 0.1).cos());
        let functions = [running(&|_| 1.0), running(&uneven), running(&|i| uneven(i).sqrt())];
        let k = 2e-3;
        let p = largest / f64::from(m);
        let source = Source {
            set: InstructionSet::available()[0],
            k,
            least: 1e-60,
            diffusion: &diffusion,
            strain: &strain,
            functions: &functions,
            phases: (0.1 * largest, largest),
        };
        let spans = source.spans(n, false);
        for span in spans.iter().filter(|span| span.n > 0) {
            let first = span.frames.start;
            for before in [0.0, 0.7, 5.0, 40.0] {
                // against a frame so far in front of the span, by g² and by g
                for (w, at, at_f) in [(1, Order::<3>::ONE, Order::<3>::ONE_F), (2, Order::<3>::TWO, Order::<3>::TWO_F)]
                {
                    let (mut sum, mut size, mut sum_f) = (0.0, 0.0, 0.0);
                    let allowed = p.min(span.serves / f64::from(m));
                    let start = before / allowed;
                    for i in span.frames.clone() {
                        let e = (-f64::from(w) * k * diffusion.relative(i, first)).exp();
                        let value = e * shape(allowed * (start + strain.relative(i, first)), w * m);
                        sum += value;
                        size += value.abs();
                        sum_f += value * functions[1].relative(i, first);
                    }
                    let (mut by_nodes, mut by_nodes_f) = (0.0, 0.0);
                    for panel in 0..span.n_panels() {
                        let moments = &span.columns[panel * Order::<3>::ALL..];
                        for l in 0..LANES {
                            let value = shape(allowed * (start + span.since_first[panel][l]), w * m);
                            by_nodes += moments[at][l] * value;
                            by_nodes_f += moments[at_f + 1][l] * value;
                        }
                    }
                    let far = functions[1].relative(span.frames.end - 1, first);
                    let what = format!(
                        "{} frames by {} nodes, z = {largest}, m = {m}, w = {w}, {before} away",
                        span.frames.len(),
                        span.n
                    );
                    assert!((by_nodes - sum).abs() < 1e-12 * size, "{what}: {by_nodes} against {sum}");
                    assert!((by_nodes_f - sum_f).abs() < 1e-12 * size * far, "{what}: {by_nodes_f} against {sum_f}");
                }
            }
        }
        let lengths: Vec<usize> = spans.iter().filter(|s| s.n > 0).map(|s| s.frames.len()).collect();
        assert!(lengths.iter().filter(|&&length| length == TILE_ROWS).count() >= n / TILE_ROWS, "{lengths:?}");
        if largest < 50.0 {
            assert!(lengths.contains(&TILE_COLUMNS), "{largest}: {lengths:?}");
        }
    }

    #[test]
    fn nodes_stand_for_frames() {
        for m in [2, 4] {
            // strain across 48 frames is about 0.05
            for largest in [1e-3, 1.0, 20.0, 45.0, 90.0, 150.0, 190.0] {
                check(largest, m, 2 * TILE_COLUMNS + 77);
            }
        }
    }

    #[test]
    fn too_much_strain_is_left_to_the_pairs() {
        let strain = gathered((0..192).map(f64::from).collect());
        let rest = gathered(vec![0.0; 192]);
        let functions = [rest.clone(), rest.clone(), rest.clone()];
        let source = Source {
            set: InstructionSet::available()[0],
            k: 0.0,
            least: 1e-60,
            diffusion: &rest,
            strain: &strain,
            functions: &functions,
            phases: (1.0, 2.0),
        };
        assert!(source.spans(192, false).iter().all(|span| span.n == 0));
    }
}
