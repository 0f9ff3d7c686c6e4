//! The sums of a rectangle that hold no data, from the nodes of its strips instead of its pairs (see `spans`).
//!
//! With W one of g, h, g², g·h, h² between node k of the rows' span and node l of a columns' span, R and C the moments of
//! rows and columns, every function taken relative to the rectangle's first column,
//!
//! ```text
//! Σ W·(f_j − f_i)            → Σ_kl W·(R_k·C_f,l − R_f,k·C_l)
//! Σ W·(f_j − f_i)(q_j − q_i) → Σ_kl W·(R_k·C_fq,l − R_f,k·C_q,l − R_q,k·C_f,l + R_fq,k·C_l)
//! ```
//!
//! Away from the diagonal f_j and f_i have opposite signs, so nothing cancels.

use super::lanes::{Isa, V, put};
use super::moments::{MOMENTS, Order, distance, shifted};
use super::panel::{Shape, Turned, accumulate_product, far, powers, take_product};
use super::plan::{Brick, LANES};
use super::products::Functions;
use super::scratch::{G, G1, GG, GG1, GG2, GH1, GH2, H1, HH2, Line, Sums, ZERO};
use super::sinc_lanes::{FAR, SERIES_REACH, near};
use super::spans::{MAX_COLUMN_PANELS, MAX_ROW_NODES};
use super::tables::{AngleTables, Gathered, Tables, lanes};

/// What is summed by row.
const ROW_G: usize = 0;
const ROW_H: usize = 1;
const ROW_GG: usize = 2;
const ROW_GH: usize = 3;
const ROW_HH: usize = 4;
const KINDS: usize = 5;

/// The nodes of eight columns.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Columns {
    strain: V,
    /// Of one angle: sine and cosine of the phase.
    sin: V,
    cos: V,
    /// Where they are in the tables.
    at: usize,
    moments: [V; MOMENTS],
}

/// Working memory: nodes and moments of a rectangle, relative to its first column.
#[repr(align(64))]
pub(super) struct Nodes {
    /// Number of the rows' nodes.
    n: usize,
    /// Panels of the columns' nodes.
    panels: usize,
    /// Largest m·p for which they stand for the frames; negative where they can't.
    serve: f64,
    /// Where the rows' nodes are in the tables.
    at: usize,
    strain: [f64; MAX_ROW_NODES],
    /// Of one angle.
    turned: [Turned; MAX_ROW_NODES],
    moments: [[f64; MAX_ROW_NODES]; MOMENTS],
    columns: Box<[Columns]>,
    /// 1/(strain_l − strain_k), by panel of columns, then row.
    inverse: Box<[Line]>,
    /// Row by row: sums of each kind.
    work: [[V; KINDS]; MAX_ROW_NODES],
}

impl Nodes {
    pub fn new() -> Self {
        let columns = Columns { strain: ZERO, sin: ZERO, cos: ZERO, at: 0, moments: [ZERO; MOMENTS] };
        Self {
            n: 0,
            panels: 0,
            serve: -1.0,
            at: 0,
            strain: [0.0; MAX_ROW_NODES],
            turned: [Turned { sin: 0.0, cos: 0.0, sin_p: 0.0, cos_p: 0.0 }; MAX_ROW_NODES],
            moments: [[0.0; MAX_ROW_NODES]; MOMENTS],
            columns: vec![columns; MAX_COLUMN_PANELS].into_boxed_slice(),
            inverse: vec![Line(ZERO); MAX_COLUMN_PANELS * MAX_ROW_NODES].into_boxed_slice(),
            work: [[ZERO; KINDS]; MAX_ROW_NODES],
        }
    }

    /// Whether they can stand for the frames of an angle with m·p.
    pub fn serve(&self, phase: f64) -> bool {
        phase.abs() <= self.serve
    }

    /// Where they can't stand for any.
    pub fn none(&mut self) {
        self.serve = -1.0;
    }
}

/// Strain at eight nodes relative to frame `origin`, given that relative to frame `to`.
#[inline(always)]
fn strain_at<I: Isa>(isa: I, strain: &Gathered, since: &V, to: usize, origin: usize) -> I::V {
    isa.add(isa.load(since), isa.splat(strain.relative(to, origin)))
}

/// Fills what all angles share.
#[inline(always)]
pub(super) fn prepare<I: Isa, const SHEAR: bool, const F: usize>(
    isa: I,
    brick: &Brick,
    tables: &Tables,
    nodes: &mut Nodes,
) {
    let all = Order::<F>::ALL;
    let origin = brick.columns.start;
    let rows = tables.spans.of_rows(brick.rows.start);
    let last = rows.frames.end - 1;
    nodes.none();
    if rows.n == 0 {
        return;
    }
    (nodes.n, nodes.at) = (rows.n, LANES * rows.before);
    let mut serve = rows.serves;
    let by = distance::<F>(&tables.functions, (tables.k, &tables.diffusion), last, origin);
    for panel in 0..rows.n_panels() {
        let moments = shifted::<I, F>(isa, &rows.rows[panel * all..(panel + 1) * all], &by);
        let at = panel * LANES;
        for k in 0..all {
            put(isa, moments[k], &mut nodes.moments[k], at);
        }
        if SHEAR {
            let strain = strain_at(isa, &tables.strain, &rows.since_last[panel], last, origin);
            put(isa, strain, &mut nodes.strain, at);
        }
    }
    nodes.panels = 0;
    let mut first = origin;
    while first < brick.columns.end {
        let span = tables.spans.of_columns(first, brick.columns.end);
        if span.n == 0 {
            return;
        }
        serve = serve.min(span.serves);
        let by = distance::<F>(&tables.functions, (tables.k, &tables.diffusion), first, origin);
        for panel in 0..span.n_panels() {
            let moments = shifted::<I, F>(isa, &span.columns[panel * all..(panel + 1) * all], &by);
            let column = &mut nodes.columns[nodes.panels];
            column.at = LANES * (span.before + panel);
            for k in 0..all {
                isa.store(moments[k], &mut column.moments[k]);
            }
            if SHEAR {
                let strain = strain_at(isa, &tables.strain, &span.since_first[panel], first, origin);
                isa.store(strain, &mut column.strain);
                for k in 0..nodes.n {
                    let across = isa.sub(strain, isa.splat(nodes.strain[k]));
                    let inverse = isa.div(isa.splat(1.0), across);
                    isa.store(inverse, &mut nodes.inverse[nodes.panels * nodes.n + k].0);
                }
            }
            nodes.panels += 1;
        }
        first = span.frames.end;
    }
    nodes.serve = serve;
}

/// Sums over the rows' nodes against eight columns' nodes: of each W alone, and of g², g·h and h² times each function.
struct ByColumn<I: Isa, const K: usize, const KD: usize> {
    g: I::V,
    h: I::V,
    gg: (I::V, [I::V; 3]),
    gh: (I::V, [I::V; KD]),
    hh: (I::V, [I::V; K]),
}

/// e and d of a row's node near eight columns' nodes.
#[inline(always)]
fn root_near<I: Isa>(isa: I, p: f64, (row, strain): (Turned, f64), of: &Columns, inverse: &Line) -> (I::V, I::V) {
    let p_lanes = isa.splat(p);
    let x = isa.mul(p_lanes, isa.sub(isa.load(&of.strain), isa.splat(strain)));
    let (s, slope) = near(isa, x);
    let slope = isa.mul(slope, p_lanes);
    if (p * (of.strain[LANES - 1] - strain)).abs() < SERIES_REACH {
        return (s, slope);
    }
    let far = far(isa, row, (isa.load(&of.sin), isa.load(&of.cos)), isa.load(&inverse.0));
    let m = isa.below(x, FAR);
    (isa.pick(m, s, far.0), isa.pick(m, slope, far.1))
}

/// Sums over the rows' nodes against a panel of columns' nodes; those over columns go to the working memory.
#[inline(always)]
fn over_rows<I: Isa, S: Shape, const K: usize, const KD: usize>(
    isa: I,
    functions: &Functions<K, KD>,
    p: f64,
    panel: usize,
    nodes: &mut Nodes,
) -> ByColumn<I, K, KD> {
    let Nodes { n, strain, turned, moments, columns, inverse, work, .. } = nodes;
    let (one, two) = (Order::<KD>::ONE, Order::<KD>::TWO);
    let zero = isa.zero();
    let n = (*n).min(MAX_ROW_NODES);
    let of = &columns[panel];
    let inverse = &inverse[panel * n..(panel + 1) * n];
    let (by_one, by_two) = (isa.load(&of.moments[one]), isa.load(&of.moments[two]));
    let column = (isa.load(&of.sin), isa.load(&of.cos));
    // |x| grows along the columns and away from the diagonal
    let is_far = |strain: &f64| (p * (of.strain[0] - strain)).abs() >= FAR;
    let far_rows = if S::SHEAR { strain[..n].partition_point(is_far) } else { 0 };
    let mut out =
        ByColumn::<I, K, KD> { g: zero, h: zero, gg: (zero, [zero; 3]), gh: (zero, [zero; KD]), hh: (zero, [zero; K]) };
    for i in 0..n {
        let (mut g, mut h) = (isa.splat(1.0), zero);
        if S::SHEAR {
            let root = if i < far_rows {
                far(isa, turned[i], column, isa.load(&inverse[i].0))
            } else {
                root_near(isa, p, (turned[i], strain[i]), of, &inverse[i])
            };
            (g, h) = powers::<I, S>(isa, root);
        }
        let gg = isa.mul(g, g);
        let sums = &mut work[i];
        let (own_one, own_two) = (isa.splat(moments[one][i]), isa.splat(moments[two][i]));
        out.g = isa.fma(g, own_one, out.g);
        out.gg.0 = isa.fma(gg, own_two, out.gg.0);
        accumulate_product(isa, &mut sums[ROW_G], g, by_one);
        accumulate_product(isa, &mut sums[ROW_GG], gg, by_two);
        for t in 0..3 {
            let f = isa.splat(moments[two + 1 + functions.diffusion[t]][i]);
            out.gg.1[t] = isa.fma(gg, f, out.gg.1[t]);
        }
        if !S::SHEAR {
            continue;
        }
        let (gh, hh) = (isa.mul(g, h), isa.mul(h, h));
        out.h = isa.fma(h, own_one, out.h);
        out.gh.0 = isa.fma(gh, own_two, out.gh.0);
        out.hh.0 = isa.fma(hh, own_two, out.hh.0);
        accumulate_product(isa, &mut sums[ROW_H], h, by_one);
        accumulate_product(isa, &mut sums[ROW_GH], gh, by_two);
        accumulate_product(isa, &mut sums[ROW_HH], hh, by_two);
        for t in 0..KD {
            let f = isa.splat(moments[two + 1 + functions.both[t]][i]);
            out.gh.1[t] = isa.fma(gh, f, out.gh.1[t]);
        }
        for t in 0..K {
            let f = isa.splat(moments[two + 1 + functions.shear[t]][i]);
            out.hh.1[t] = isa.fma(hh, f, out.hh.1[t]);
        }
    }
    out
}

/// The columns' part of the second-order sum of functions a and b of weight w, whose sums times each are `dots`.
#[inline(always)]
fn second<I: Isa, const F: usize>(
    isa: I,
    w: I::V,
    moments: &[V; MOMENTS],
    (a, dot_a): (usize, I::V),
    (b, dot_b): (usize, I::V),
    into: &mut V,
) {
    let sum = isa.fma(w, isa.load(&moments[Order::<F>::both(a, b)]), isa.load(into));
    let sum = isa.fnma(dot_a, isa.load(&moments[Order::<F>::TWO_F + b]), sum);
    isa.store(isa.fnma(dot_b, isa.load(&moments[Order::<F>::TWO_F + a]), sum), into);
}

/// The columns' part of a panel.
#[inline(always)]
fn panel_parts<I: Isa, S: Shape, const K: usize, const KD: usize>(
    isa: I,
    functions: &Functions<K, KD>,
    p: f64,
    panel: usize,
    nodes: &mut Nodes,
    sums: &mut Sums,
) {
    let by_column = over_rows::<I, S, K, KD>(isa, functions, p, panel, nodes);
    let (one, two) = (Order::<KD>::ONE, Order::<KD>::TWO);
    let sums = &mut sums.0;
    let moments = &nodes.columns[panel].moments;
    let ByColumn { g, h, gg, gh, hh } = by_column;
    accumulate_product(isa, &mut sums[G], g, isa.load(&moments[one]));
    accumulate_product(isa, &mut sums[GG], gg.0, isa.load(&moments[two]));
    let (d, s) = (functions.diffusion, functions.shear);
    let mut pair = 0;
    for a in 0..3 {
        accumulate_product(isa, &mut sums[G1 + a], g, isa.load(&moments[one + 1 + d[a]]));
        accumulate_product(isa, &mut sums[GG1 + a], gg.0, isa.load(&moments[two + 1 + d[a]]));
        for b in a..3 {
            second::<I, KD>(isa, gg.0, moments, (d[a], gg.1[a]), (d[b], gg.1[b]), &mut sums[GG2 + pair]);
            pair += 1;
        }
    }
    if !S::SHEAR {
        return;
    }
    let mut pair = 0;
    for t in 0..K {
        accumulate_product(isa, &mut sums[H1 + t], h, isa.load(&moments[one + 1 + s[t]]));
        accumulate_product(isa, &mut sums[GH1 + t], gh.0, isa.load(&moments[two + 1 + s[t]]));
        let own = (s[t], gh.1[functions.shear_in_both[t]]);
        for a in 0..3 {
            second::<I, KD>(isa, gh.0, moments, (d[a], gh.1[a]), own, &mut sums[GH2 + 4 * a + t]);
        }
        for other in t..K {
            let pairs = ((s[t], hh.1[t]), (s[other], hh.1[other]));
            second::<I, KD>(isa, hh.0, moments, pairs.0, pairs.1, &mut sums[HH2 + pair]);
            pair += 1;
        }
    }
}

/// What the rows contribute, once all panels are summed.
#[inline(always)]
fn row_parts<I: Isa, const SHEAR: bool, const K: usize, const KD: usize>(
    isa: I,
    functions: &Functions<K, KD>,
    nodes: &Nodes,
    sums: &mut Sums,
) {
    let sums = &mut sums.0;
    for first in (0..nodes.n).step_by(LANES) {
        let mut of = [isa.zero(); KINDS];
        for kind in 0..KINDS {
            let mut rows = [ZERO; LANES];
            for (row, work) in rows.iter_mut().zip(&nodes.work[first..first + LANES]) {
                *row = work[kind];
            }
            of[kind] = isa.sums(&rows);
        }
        let (g, h, gg, gh, hh) = (of[ROW_G], of[ROW_H], of[ROW_GG], of[ROW_GH], of[ROW_HH]);
        for a in 0..3 {
            let f = functions.diffusion[a];
            take_product(isa, &mut sums[G1 + a], g, moment(isa, nodes, Order::<KD>::ONE_F + f, first));
            take_product(isa, &mut sums[GG1 + a], gg, moment(isa, nodes, Order::<KD>::TWO_F + f, first));
        }
        let mut pair = 0;
        for a in 0..3 {
            for b in a..3 {
                let both = Order::<KD>::both(functions.diffusion[a], functions.diffusion[b]);
                accumulate_product(isa, &mut sums[GG2 + pair], gg, moment(isa, nodes, both, first));
                pair += 1;
            }
        }
        if !SHEAR {
            continue;
        }
        let mut pair = 0;
        for s in 0..K {
            let f = functions.shear[s];
            take_product(isa, &mut sums[H1 + s], h, moment(isa, nodes, Order::<KD>::ONE_F + f, first));
            take_product(isa, &mut sums[GH1 + s], gh, moment(isa, nodes, Order::<KD>::TWO_F + f, first));
            for a in 0..3 {
                let both = Order::<KD>::both(functions.diffusion[a], f);
                accumulate_product(isa, &mut sums[GH2 + 4 * a + s], gh, moment(isa, nodes, both, first));
            }
            for other in s..K {
                let both = Order::<KD>::both(f, functions.shear[other]);
                accumulate_product(isa, &mut sums[HH2 + pair], hh, moment(isa, nodes, both, first));
                pair += 1;
            }
        }
    }
}

/// Eight nodes of a moment of the rows.
#[inline(always)]
fn moment<I: Isa>(isa: I, nodes: &Nodes, at: usize, first: usize) -> I::V {
    isa.load(lanes(&nodes.moments[at], first))
}

/// All sums without data of one angle in a rectangle whose nodes are prepared, as if no pair were missing.
#[inline(always)]
pub(super) fn sums<I: Isa, S: Shape, const K: usize, const KD: usize>(
    isa: I,
    functions: &Functions<K, KD>,
    angle: &AngleTables,
    nodes: &mut Nodes,
    sums: &mut Sums,
) {
    let used = nodes.n.next_multiple_of(LANES);
    nodes.work[..used].fill([ZERO; KINDS]);
    if S::SHEAR {
        let (sines, cosines) = &angle.at_nodes;
        let inverse = angle.inverse();
        for i in 0..nodes.n {
            let (sin, cos) = (sines[nodes.at + i], cosines[nodes.at + i]);
            nodes.turned[i] = Turned { sin, cos, sin_p: sin * inverse, cos_p: cos * inverse };
        }
        for column in &mut nodes.columns[..nodes.panels] {
            (column.sin, column.cos) = (*lanes(sines, column.at), *lanes(cosines, column.at));
        }
    }
    for panel in 0..nodes.panels {
        panel_parts::<I, S, K, KD>(isa, functions, angle.p, panel, nodes, sums);
    }
    if S::SHEAR {
        row_parts::<I, true, K, KD>(isa, functions, nodes, sums);
    } else {
        row_parts::<I, false, K, KD>(isa, functions, nodes, sums);
    }
}
