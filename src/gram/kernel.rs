//! The pass over the pairs of a tile, for several angles at once.
//!
//! Everything that depends on the frames alone (exponentials, functions of the integrals, 1/strain) is formed once for all
//! angles; then each angle's rectangles are worked through panel by panel (`residuals`, and `nodes` for what holds no data;
//! `panel` and `products` where nodes don't serve). Triangles on the diagonal take each pair directly. Everything is written once against [`Isa`] and compiled for each instruction set; the bits
//! are the same on all, and don't depend on which angles are worked on together.

#![allow(clippy::manual_map, reason = "closures would not inherit the instruction set")]

use std::marker::PhantomData;

use super::isa::{InstructionSet, Kernel};
use super::lanes::Isa;
use super::pack::{Lane, Marks};
use super::panel::Shape;
use super::plan::{BrickKind, LANES, Tile};
use super::products::{FLOORED, Functions, SMOOTH};
use super::rectangle::{Share, decayed, prepare, rectangle};
use super::scratch::{self, N_SUMS, Scratch, Sums, ZERO};
use super::tables::Tables;
use super::triangle::{TriangleSums, triangle};
use super::{G, Gram, ONE, PHI0, Pass, R, SPREAD};

/// One angle's data of a tile.
#[derive(Clone, Copy)]
pub(crate) struct AngleData<'a> {
    pub angle: usize,
    pub data: &'a [Lane],
    pub marks: &'a Marks,
    /// σ of every pair, stored like the data, where they have their own.
    pub sigma: Option<&'a [Lane]>,
}

/// One tile at one point, of several angles.
pub(crate) struct Job<'a> {
    pub tile: &'a Tile,
    pub angles: &'a [AngleData<'a>],
    pub tables: &'a Tables<'a>,
    pub pass: Pass,
    pub scratch: &'a mut Scratch,
}

struct Static;
struct Square;
struct Quartic;

impl Shape for Static {
    const SHEAR: bool = false;
    const QUARTIC: bool = false;
}

impl Shape for Square {
    const SHEAR: bool = true;
    const QUARTIC: bool = false;
}

impl Shape for Quartic {
    const SHEAR: bool = true;
    const QUARTIC: bool = true;
}

/// Diffusion alone.
const DIFFUSION: Functions<0, 3> = Functions { diffusion: [0, 1, 2], shear: [], both: [0, 1, 2], shear_in_both: [] };

impl Job<'_> {
    /// One Gram matrix per angle, in order. Every shape and kind of pass is a kernel of its own: as one function that holds them all
    /// they would take the compiler twice as long.
    pub fn run(self, set: InstructionSet) -> Vec<Gram> {
        let gram = self.pass != Pass::Chi2;
        match (self.tables.power, gram, self.tables.smooth) {
            (1, true, _) => set.run(Bricks::<Static, true, 0, 3>::new(&DIFFUSION, self)),
            (1, false, _) => set.run(Bricks::<Static, false, 0, 3>::new(&DIFFUSION, self)),
            (2, true, true) => set.run(Bricks::<Square, true, 3, 5>::new(&SMOOTH, self)),
            (2, true, false) => set.run(Bricks::<Square, true, 4, 7>::new(&FLOORED, self)),
            (2, false, _) => set.run(Bricks::<Square, false, 3, 5>::new(&SMOOTH, self)),
            (_, true, true) => set.run(Bricks::<Quartic, true, 3, 5>::new(&SMOOTH, self)),
            (_, true, false) => set.run(Bricks::<Quartic, true, 4, 7>::new(&FLOORED, self)),
            (_, false, _) => set.run(Bricks::<Quartic, false, 3, 5>::new(&SMOOTH, self)),
        }
    }
}

/// All bricks of a tile, by one shape and kind of pass.
struct Bricks<'a, S, const GRAM: bool, const K: usize, const KD: usize> {
    functions: &'a Functions<K, KD>,
    job: Job<'a>,
    shape: PhantomData<S>,
}

impl<'a, S, const GRAM: bool, const K: usize, const KD: usize> Bricks<'a, S, GRAM, K, KD> {
    fn new(functions: &'a Functions<K, KD>, job: Job<'a>) -> Self {
        Self { functions, job, shape: PhantomData }
    }
}

impl<S: Shape, const GRAM: bool, const K: usize, const KD: usize> Kernel for Bricks<'_, S, GRAM, K, KD> {
    type Output = Vec<Gram>;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> Vec<Gram> {
        bricks::<I, S, GRAM, K, KD>(isa, self.functions, self.job)
    }
}

/// All bricks of a tile, one after another, each for all angles.
#[inline(always)]
fn bricks<I: Isa, S: Shape, const GRAM: bool, const K: usize, const KD: usize>(
    isa: I,
    functions: &Functions<K, KD>,
    job: Job,
) -> Vec<Gram> {
    let Job { tile, angles, tables, scratch, pass } = job;
    let mut sums = std::mem::take(&mut scratch.sums);
    sums.clear();
    sums.resize(angles.len(), Sums::NONE);
    let mut triangles: Vec<TriangleSums> = Vec::new();
    let mut lane = 0;
    // holes are noted of tiles that are one rectangle
    let nodes = pass == Pass::Gram && !tables.weighted && angles.iter().any(|own| own.marks.holes.is_some());
    for brick in &tile.bricks {
        let lanes = lane..lane + brick.n_lanes();
        lane = lanes.end;
        let visible = brick.kind == BrickKind::Rectangle
            && if S::SHEAR {
                prepare::<I, true, GRAM, KD>(isa, brick, tables, nodes, scratch)
            } else {
                prepare::<I, false, GRAM, KD>(isa, brick, tables, nodes, scratch)
            };
        if brick.kind == BrickKind::Triangle && triangles.is_empty() {
            triangles.extend(angles.iter().map(|_| TriangleSums::new()));
        }
        for (k, own) in angles.iter().enumerate() {
            let data = &own.data[lanes.clone()];
            let sigma = match own.sigma {
                Some(sigma) => Some(&sigma[lanes.clone()]),
                None => None,
            };
            if brick.kind == BrickKind::Triangle {
                triangle::<I, S, GRAM>(isa, brick, (data, sigma), tables, own.angle, &mut triangles[k]);
                continue;
            }
            let next = angles.get(k + 1).unwrap_or(own).data[lanes.clone()].as_ptr();
            let share = Share { angle: own.angle, data, marks: own.marks, sigma, next };
            if visible {
                rectangle::<I, S, GRAM, K, KD>(isa, functions, brick, tables, &share, scratch, &mut sums[k]);
            } else {
                decayed(isa, tables, &share, &mut sums[k]);
            }
        }
    }
    let mut out = Vec::with_capacity(angles.len());
    for (k, own) in angles.iter().enumerate() {
        let mut gram = Gram::default();
        if let Some(triangles) = triangles.get(k) {
            triangles.add_to(&mut gram);
        }
        let mut totals = [0.0; N_SUMS];
        for (of, totals) in sums[k].0.chunks_exact(LANES).zip(totals.chunks_exact_mut(LANES)) {
            let mut lanes = ZERO;
            if let Ok(of) = of.try_into() {
                isa.store(isa.sums(of), &mut lanes);
            }
            totals.copy_from_slice(&lanes);
        }
        finish::<S, GRAM, K>(tables, own.angle, &totals, &mut gram);
        if tables.weighted || matches!(pass, Pass::Robust { .. }) {
            gram.0[SPREAD] += totals[scratch::SPREAD];
            gram.set(ONE, ONE, gram.at(ONE, ONE) + totals[scratch::W]);
        } else {
            gram.set(ONE, ONE, f64::from(own.marks.n_finite));
        }
        out.push(gram);
    }
    scratch.sums = sums;
    out
}

/// Where the second-order sum of shear functions a and b of K lies.
const fn pair(a: usize, b: usize, k: usize) -> usize {
    let (a, b) = if a <= b { (a, b) } else { (b, a) };
    a * k - a * (a + 1) / 2 + b
}

/// Adds the rectangles' sums to the tile's Gram matrix with the angle's factors.
fn finish<S: Shape, const GRAM: bool, const K: usize>(
    tables: &Tables,
    angle: usize,
    sums: &[f64; N_SUMS],
    out: &mut Gram,
) {
    let mut put = |a: usize, b: usize, value: f64| out.0[Gram::index(a, b)] += value;
    put(G, G, sums[scratch::GG]);
    put(G, ONE, sums[scratch::G]);
    put(G, R, sums[scratch::GR]);
    put(ONE, R, sums[scratch::R]);
    put(R, R, sums[scratch::RR]);
    if !GRAM {
        return;
    }
    let by_rate = -tables.k;
    for a in 0..3 {
        for b in a..3 {
            put(a, b, by_rate * by_rate * sums[scratch::GG2 + pair(a, b, 3)]);
        }
        put(a, G, by_rate * sums[scratch::GG1 + a]);
        put(a, ONE, by_rate * sums[scratch::G1 + a]);
        put(a, R, by_rate * sums[scratch::GR1 + a]);
    }
    if !S::SHEAR {
        return;
    }
    // h carries the factor p
    let angle = &tables.angles[angle];
    let m = f64::from(tables.power);
    let turn = m * angle.dp * angle.inverse();
    let gh2 = |d: usize, s: usize| sums[scratch::GH2 + 4 * d + s];
    let hh2 = |a: usize, b: usize| sums[scratch::HH2 + pair(a, b, K)];
    let first = |s: usize| [(G, sums[scratch::GH1 + s]), (ONE, sums[scratch::H1 + s]), (R, sums[scratch::HR1 + s])];
    for s in 0..3 {
        for d in 0..3 {
            put(d, 3 + s, by_rate * m * gh2(d, s));
        }
        for other in s..3 {
            put(3 + s, 3 + other, m * m * hh2(s, other));
        }
        for (column, value) in first(s) {
            put(3 + s, column, m * value);
        }
    }
    // strain itself, which phi0 turns: its own function, or made of the others
    let own = [(3, 1.0)];
    let [a, b, c] = tables.strain_weights;
    let made = [(0, a), (1, b), (2, c)];
    let parts: &[(usize, f64)] = if K == 4 { &own } else { &made };
    for &(s, weight) in parts {
        let w = turn * weight;
        for d in 0..3 {
            put(d, PHI0, by_rate * w * gh2(d, s));
        }
        for other in 0..3 {
            put(3 + other, PHI0, m * w * hh2(s, other));
        }
        for &(other, second) in parts {
            put(PHI0, PHI0, w * turn * second * hh2(s, other));
        }
        for (column, value) in first(s) {
            put(PHI0, column, w * value);
        }
    }
}
