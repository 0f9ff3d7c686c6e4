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

use super::isa::InstructionSet;
use super::lanes::V;
use super::moments::{Build, MomentsOf};
use super::plan::{LANES, TILE_COLUMNS, TILE_ROWS};
use super::scratch::ZERO;
use super::tables::Gathered;
use super::work::Crew;

/// Most nodes of a tile's rows; more would cost as much as their frames.
pub(super) const MAX_ROW_NODES: usize = 32;
/// Most nodes of any span.
const MAX_NODES: usize = 128;
/// Most panels of nodes of a span, and of the spans of a tile's columns.
const MAX_PANELS: usize = MAX_NODES / LANES;
pub(super) const MAX_COLUMN_PANELS: usize = TILE_COLUMNS / TILE_ROWS * MAX_ROW_NODES / LANES;
/// Strips that a thread takes at a time: to wake another one takes as long as a few of them.
const AT_A_TIME: usize = 2 * TILE_COLUMNS / TILE_ROWS;
/// What interpolation may leave of F's largest value.
const TOLERANCE: f64 = 1e-13;

/// Numbers of nodes on offer under shear: those of a tile's rows first.
const NUMBERS: [usize; 19] = [8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, MAX_NODES];
const ROW_NUMBERS: usize = 7;

const _: () = assert!(NUMBERS[ROW_NUMBERS - 1] == MAX_ROW_NODES);

/// Nodes on −1 … 1.
pub(super) struct Rule {
    pub n: usize,
    /// Largest m·p·(strain across the span) for which they serve.
    reach: f64,
    pub nodes: [V; MAX_PANELS],
    /// L_k(t) is weights[k]/(t − nodes[k]) over the sum of all such (the second barycentric formula); beyond the last node 0.
    pub weights: [V; MAX_PANELS],
    pub panels: usize,
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
    /// The spans of a level of `n` frames; none where there is no pair of spans.
    pub fn spans(&self, n: usize, crew: Crew) -> Spans {
        if n <= TILE_ROWS {
            return Spans::default();
        }
        let strips = n.div_ceil(TILE_ROWS);
        let mut all = self.tree(n, 0..strips, strips.next_power_of_two(), crew);
        let mut before = 0;
        for span in all.iter_mut().flatten() {
            span.before = before;
            before += span.n_panels();
        }
        Spans(all)
    }

    /// The spans of a run of strips, which are a node of the tree over all of them that would hold `room`: by length.
    fn tree(&self, n: usize, strips: Range<usize>, room: usize, crew: Crew) -> Vec<Vec<Span>> {
        if room <= AT_A_TIME && !crew.is_alone() {
            return crew.task(|| self.tree(n, strips, room, Crew::ALONE));
        }
        if room == 1 {
            let frames = strips.start * TILE_ROWS..(strips.end * TILE_ROWS).min(n);
            return vec![vec![self.strip(frames)]];
        }
        let half = room / 2;
        let middle = (strips.start + half).min(strips.end);
        let (first, second) = (strips.start..middle, middle..strips.end);
        if second.is_empty() {
            return self.tree(n, first, half, crew);
        }
        let full = second.len() == half && room * TILE_ROWS <= TILE_COLUMNS;
        let (mut all, others) = crew.join(|| self.tree(n, first, half, crew), || self.tree(n, second, half, crew));
        for (own, others) in all.iter_mut().zip(others) {
            own.extend(others);
        }
        if let (true, Some([.., one, other])) = (full, all.last().map(|top| &top[..])) {
            let whole = self.merged([one, other]);
            all.push(vec![whole]);
        }
        all
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

#[cfg(test)]
mod tests {
    use super::super::moments::Order;
    use super::super::work::Crew;
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
        let spans = source.spans(n, Crew::ALONE);
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
        assert!(source.spans(192, Crew::ALONE).iter().all(|span| span.n == 0));
    }
}
