//! Sums of g², g·h and h² with the differences of the integrals: the normal matrix, from row and column sums.
//!
//! With every function f taken relative to the rectangle's first column and W one of g², g·h, h²,
//!
//! ```text
//! Σ W·(f_j − f_i)          = Σ_j ŵ_f,j                                  ŵ_f,j = colW_j·f_j − Σ_i W_ij·f_i
//! Σ W·(f_j − f_i)(k_j − k_i) = Σ_j (f_j·ŵ_k,j − k_j·Σ_i W_ij·f_i) + Σ_i rowW_i·f_i·k_i
//! ```
//!
//! Away from the diagonal f_j and f_i have opposite signs, so nothing cancels.

use super::lanes::{Isa, V};
use super::panel::{accumulate, accumulate_product};
use super::plan::{LANES, TILE_ROWS};
use super::scratch::{
    AT_G, AT_H, G1, GG, GG1, GG2, GH1, GH2, GR1, H1, HH2, HR1, ROW_G, ROW_GG, ROW_GH, ROW_GR, ROW_H, ROW_HH, ROW_HR,
    ROW_SUMS, Scratch, Sums, ZERO,
};

/// Which product of shapes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    Gg,
    Gh,
    Hh,
}

/// Sums over the rows of a group of panels: W, and W times each function.
#[inline(always)]
fn over_rows<I: Isa, const P: usize, const K: usize>(
    isa: I,
    weight: Weight,
    functions: [usize; K],
    n: usize,
    scratch: &mut Scratch,
) -> ([I::V; P], [[I::V; K]; P]) {
    let Scratch { rows, work, .. } = scratch;
    let at = match weight {
        Weight::Gg => ROW_GG,
        Weight::Gh => ROW_GH,
        Weight::Hh => ROW_HH,
    };
    let zero = isa.zero();
    let (mut w, mut dots) = ([zero; P], [[zero; K]; P]);
    for i in 0..n.min(TILE_ROWS) {
        let row = &mut work[i];
        let mut sum = isa.load(&row[at]);
        let mut now = [zero; P];
        for k in 0..P {
            now[k] = match weight {
                Weight::Gg => {
                    let g = isa.load(&row[AT_G + k]);
                    isa.mul(g, g)
                }
                Weight::Gh => isa.mul(isa.load(&row[AT_G + k]), isa.load(&row[AT_H + k])),
                Weight::Hh => {
                    let h = isa.load(&row[AT_H + k]);
                    isa.mul(h, h)
                }
            };
            w[k] = isa.add(w[k], now[k]);
            sum = isa.add(sum, now[k]);
        }
        for t in 0..K {
            let f = isa.splat(rows.f[functions[t]][i]);
            for k in 0..P {
                dots[k][t] = isa.fma(now[k], f, dots[k][t]);
            }
        }
        isa.store(sum, &mut row[at]);
    }
    (w, dots)
}

/// What a group's columns are contracted with: a function f, and ŵ_f, for every panel.
#[derive(Clone, Copy)]
struct Column<I: Isa, const P: usize> {
    f: [I::V; P],
    hat: [I::V; P],
    dot: [I::V; P],
}

impl<I: Isa, const P: usize> Column<I, P> {
    /// Of function `at` with weights `w` and the sums over rows numbered `t`.
    #[inline(always)]
    fn new<const K: usize>(
        isa: I,
        (scratch, panel): (&Scratch, usize),
        at: usize,
        w: &[I::V; P],
        (dots, t): (&[[I::V; K]; P], usize),
    ) -> Self {
        let zero = [isa.zero(); P];
        let mut out = Self { f: zero, hat: zero, dot: zero };
        for k in 0..P {
            out.f[k] = isa.load(&scratch.columns[panel + k].f[at]);
            out.dot[k] = dots[k][t];
            out.hat[k] = isa.sub(isa.mul(w[k], out.f[k]), out.dot[k]);
        }
        out
    }

    /// ŵ_f over the panels, added to a first-order sum.
    #[inline(always)]
    fn first(&self, isa: I, into: &mut V) {
        let mut sum = isa.load(into);
        for k in 0..P {
            sum = isa.add(sum, self.hat[k]);
        }
        isa.store(sum, into);
    }

    /// f_j·ŵ_k − k_j·(Σ_i W f_i) over the panels, added to a second-order sum.
    #[inline(always)]
    fn second(&self, isa: I, other: &Self, into: &mut V) {
        let mut sum = isa.load(into);
        for k in 0..P {
            sum = isa.fnma(other.f[k], self.dot[k], isa.fma(self.f[k], other.hat[k], sum));
        }
        isa.store(sum, into);
    }
}

/// The sums of g² with the functions of diffusion, or of h² with those of shear.
#[inline(always)]
fn square<I: Isa, const P: usize, const K: usize>(
    isa: I,
    weight: Weight,
    functions: [usize; K],
    (n, panel): (usize, usize),
    scratch: &mut Scratch,
    sums: &mut Sums,
) {
    let (w, dots) = over_rows::<I, P, K>(isa, weight, functions, n, scratch);
    let mut columns = [Column::<I, P> { f: w, hat: w, dot: w }; K];
    for t in 0..K {
        columns[t] = Column::new(isa, (scratch, panel), functions[t], &w, (&dots, t));
    }
    let seconds = if weight == Weight::Gg { GG2 } else { HH2 };
    let mut pair = 0;
    for a in 0..K {
        for b in a..K {
            columns[a].second(isa, &columns[b], &mut sums.0[seconds + pair]);
            pair += 1;
        }
    }
    if weight == Weight::Gg {
        for k in 0..P {
            accumulate(isa, &mut sums.0[GG], w[k]);
        }
        for t in 0..K {
            columns[t].first(isa, &mut sums.0[GG1 + t]);
        }
    }
}

/// Which functions belong to diffusion (3), to shear (K) and to both together (KD), the latter with the positions of the
/// diffusion and shear functions in it.
pub(super) struct Functions<const K: usize, const KD: usize> {
    pub diffusion: [usize; 3],
    pub shear: [usize; K],
    pub both: [usize; KD],
    pub shear_in_both: [usize; K],
}

/// Numbers of frames serve both blocks.
pub(super) const SMOOTH: Functions<3, 5> =
    Functions { diffusion: [0, 1, 2], shear: [0, 3, 4], both: [0, 1, 2, 3, 4], shear_in_both: [0, 3, 4] };
/// Every column has its own function.
pub(super) const FLOORED: Functions<4, 7> =
    Functions { diffusion: [0, 1, 2], shear: [3, 4, 5, 6], both: [0, 1, 2, 3, 4, 5, 6], shear_in_both: [3, 4, 5, 6] };

/// The normal matrix's sums of a group of panels.
#[inline(always)]
pub(super) fn products<I: Isa, const SHEAR: bool, const P: usize, const K: usize, const KD: usize>(
    isa: I,
    functions: &Functions<K, KD>,
    (n, panel): (usize, usize),
    scratch: &mut Scratch,
    sums: &mut Sums,
) {
    let at = (n, panel);
    square::<I, P, 3>(isa, Weight::Gg, functions.diffusion, at, scratch, sums);
    if !SHEAR {
        return;
    }
    let (w, dots) = over_rows::<I, P, KD>(isa, Weight::Gh, functions.both, n, scratch);
    let mut diffusion = [Column::<I, P> { f: w, hat: w, dot: w }; 3];
    for d in 0..3 {
        diffusion[d] = Column::new(isa, (scratch, panel), functions.diffusion[d], &w, (&dots, d));
    }
    for s in 0..K {
        let at = functions.shear_in_both[s];
        let shear = Column::new(isa, (scratch, panel), functions.shear[s], &w, (&dots, at));
        shear.first(isa, &mut sums.0[GH1 + s]);
        for d in 0..3 {
            diffusion[d].second(isa, &shear, &mut sums.0[GH2 + 4 * d + s]);
        }
    }
    square::<I, P, K>(isa, Weight::Hh, functions.shear, at, scratch, sums);
}

/// What the rows contribute, once all panels are summed.
#[inline(always)]
pub(super) fn row_parts<I: Isa, const SHEAR: bool, const BARE: bool, const K: usize, const KD: usize>(
    isa: I,
    functions: &Functions<K, KD>,
    n: usize,
    scratch: &Scratch,
    sums: &mut Sums,
) {
    let Scratch { rows, work, .. } = scratch;
    let kinds = if SHEAR { ROW_SUMS } else { ROW_GG + 1 };
    for first in (0..n.min(TILE_ROWS)).step_by(LANES) {
        // lane k: row first + k (rows behind the last have zero sums)
        let mut of = [isa.zero(); ROW_SUMS];
        for kind in 0..kinds {
            let mut lanes = [ZERO; LANES];
            for k in 0..LANES {
                lanes[k] = work[first + k][kind];
            }
            of[kind] = isa.sums(&lanes);
        }
        let mut f = [isa.zero(); KD];
        for t in 0..KD {
            f[t] = isa.load(super::tables::lanes(&rows.f[functions.both[t]], first));
        }
        let mut pair = 0;
        for a in 0..3 {
            isa.store(isa.fnma(of[ROW_GR], f[a], isa.load(&sums.0[GR1 + a])), &mut sums.0[GR1 + a]);
            if BARE {
                continue;
            }
            let weighted = isa.mul(of[ROW_GG], f[a]);
            for b in a..3 {
                accumulate_product(isa, &mut sums.0[GG2 + pair], weighted, f[b]);
                pair += 1;
            }
            isa.store(isa.fnma(of[ROW_G], f[a], isa.load(&sums.0[G1 + a])), &mut sums.0[G1 + a]);
        }
        if !SHEAR {
            continue;
        }
        let mut pair = 0;
        for s in 0..K {
            let b = f[functions.shear_in_both[s]];
            isa.store(isa.fnma(of[ROW_HR], b, isa.load(&sums.0[HR1 + s])), &mut sums.0[HR1 + s]);
            if BARE {
                continue;
            }
            let weighted = isa.mul(of[ROW_GH], b);
            for d in 0..3 {
                accumulate_product(isa, &mut sums.0[GH2 + 4 * d + s], weighted, f[d]);
            }
            let weighted = isa.mul(of[ROW_HH], b);
            for other in s..K {
                accumulate_product(isa, &mut sums.0[HH2 + pair], weighted, f[functions.shear_in_both[other]]);
                pair += 1;
            }
            isa.store(isa.fnma(of[ROW_H], b, isa.load(&sums.0[H1 + s])), &mut sums.0[H1 + s]);
        }
    }
}
