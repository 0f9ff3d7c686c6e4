//! The best contrasts and offsets of one group of angles within bounds, from its Gram matrices.
//!
//! With one coefficient each (`individual`, `averaged`) the answer is a closed form. With more (`fourier`) the bounds of
//! every angle's contrast and offset cut a polytope out of the coefficients' space; the normal matrix is whitened, so that
//! χ² becomes a distance, and [`nearest`] finds the corner, edge or face that is the exact optimum.

use nalgebra::{DMatrix, DVector, Matrix2, SymmetricEigen};

use super::design::{Group, Side, of_contrast, of_offset};
use super::halfspaces::{HalfSpace, free_directions, nearest};
use crate::gram::{G, Gram, ONE, R};
use crate::model::AngleBounds;

/// Relative determinant of the 2×2 block below which contrast can't be told from offset: g is constant to rounding.
const DEGENERATE: f64 = 1e-13;
/// Eigenvalue of the unit-diagonal normal matrix, relative to the largest, as which smaller ones count: along such a
/// direction χ² hardly changes, and the last optimum is kept as far as the bounds let it.
const FLAT: f64 = 1e-11;

/// Share of an undetermined direction from which an angle's contrast or offset takes part in it.
const OPEN: f64 = 1e-6;

/// Where χ² of a group is least.
#[derive(Debug, Clone)]
pub struct Optimum {
    /// Coefficients of contrast, then of offset.
    pub coefficients: DVector<f64>,
    /// (contrast, offset) of every member, inside the bounds.
    pub values: Vec<(f64, f64)>,
    /// The same less what residuals were taken against.
    pub shifts: Vec<(f64, f64)>,
    /// Whether every member's contrast is inside its bounds and determined.
    pub contrast_free: Vec<bool>,
    /// Whether every member's offset is.
    pub offset_free: Vec<bool>,
    /// Coefficients that the data determine: their number less those that bounds hold.
    pub n_free: usize,
    /// Inverse of the normal matrix of the coefficients within the directions that are free, zero across; 2m × 2m.
    pub inverse: DMatrix<f64>,
}

/// The quadratic q(δc, δo) = rr − 2(δc·gr + δo·r1) + δc²·gg + 2δc·δo·g1 + δo²·n of one group.
#[derive(Clone, Copy)]
pub struct Quadratic {
    gg: f64,
    g1: f64,
    n: f64,
    gr: f64,
    r1: f64,
    rr: f64,
}

impl Quadratic {
    /// Of the sums of all these angles.
    pub fn of(grams: &[&Gram]) -> Self {
        let total = |a, b| grams.iter().map(|g| g.at(a, b)).sum::<f64>();
        Self {
            gg: total(G, G),
            g1: total(G, ONE),
            n: total(ONE, ONE),
            gr: total(G, R),
            r1: total(ONE, R),
            rr: total(R, R),
        }
    }

    /// Whether all sums are.
    pub fn is_finite(&self) -> bool {
        [self.gg, self.g1, self.n, self.gr, self.r1, self.rr].iter().all(|v| v.is_finite())
    }

    /// Its value.
    pub fn at(&self, dc: f64, d_o: f64) -> f64 {
        self.rr - 2.0 * (dc * self.gr + d_o * self.r1)
            + dc * dc * self.gg
            + 2.0 * dc * d_o * self.g1
            + d_o * d_o * self.n
    }

    fn offset_for(&self, dc: f64) -> f64 {
        if self.n > 0.0 { (self.r1 - dc * self.g1) / self.n } else { 0.0 }
    }

    fn contrast_for(&self, d_o: f64) -> f64 {
        if self.gg > 0.0 { (self.gr - d_o * self.g1) / self.gg } else { 0.0 }
    }

    /// Optimal (δc, δo) in a box and which of the two are free.
    fn minimise(&self, c: (f64, f64), o: (f64, f64)) -> (f64, f64, bool, bool) {
        let det = self.gg * self.n - self.g1 * self.g1;
        if det <= DEGENERATE * self.gg * self.n {
            let dc = 0f64.clamp(c.0, c.1);
            let d_o = self.offset_for(dc);
            let clamped = d_o.clamp(o.0, o.1);
            return (dc, clamped, false, clamped == d_o && self.n > 0.0);
        }
        let dc = (self.gr * self.n - self.r1 * self.g1) / det;
        let d_o = (self.r1 * self.gg - self.gr * self.g1) / det;
        if (c.0..=c.1).contains(&dc) && (o.0..=o.1).contains(&d_o) {
            return (dc, d_o, true, true);
        }
        let mut best: Option<(f64, (f64, f64, bool, bool))> = None;
        let mut offer = |candidate: (f64, f64, bool, bool)| {
            let value = self.at(candidate.0, candidate.1);
            if best.is_none_or(|(b, _)| value < b) {
                best = Some((value, candidate));
            }
        };
        for dc in [c.0, c.1] {
            let free = self.offset_for(dc);
            let clamped = free.clamp(o.0, o.1);
            offer((dc, clamped, false, clamped == free));
        }
        for d_o in [o.0, o.1] {
            let free = self.contrast_for(d_o);
            let clamped = free.clamp(c.0, c.1);
            offer((clamped, d_o, clamped == free, false));
        }
        best.map_or((0.0, 0.0, false, false), |(_, candidate)| candidate)
    }
}

/// The optimum of a group whose residuals were taken against `reference` (all members). `None` where a sum isn't finite.
pub fn optimum(group: &Group, grams: &[&Gram], reference: &[(f64, f64)]) -> Option<Optimum> {
    let total = Quadratic::of(grams);
    if !total.is_finite() {
        return None;
    }
    if group.design.ncols() == 1 { Some(single(group, &total, reference)) } else { several(group, grams, reference) }
}

/// One contrast and one offset for all members, whose references are the same.
fn single(group: &Group, q: &Quadratic, reference: &[(f64, f64)]) -> Optimum {
    let AngleBounds { contrast, offset } = group.common_bounds();
    let (c0, o0) = reference[0];
    let box_of = |(min, max): (f64, f64), at: f64| (min - at, max - at);
    let (dc, d_o, contrast_free, offset_free) = q.minimise(box_of(contrast, c0), box_of(offset, o0));
    let inverse = match (contrast_free, offset_free) {
        (true, true) => {
            let det = q.gg * q.n - q.g1 * q.g1;
            Matrix2::new(q.n, -q.g1, -q.g1, q.gg) / det
        }
        (true, false) => Matrix2::new(1.0 / q.gg, 0.0, 0.0, 0.0),
        (false, true) => Matrix2::new(0.0, 0.0, 0.0, 1.0 / q.n),
        (false, false) => Matrix2::zeros(),
    };
    let n = reference.len();
    Optimum {
        coefficients: DVector::from_vec(vec![c0 + dc, o0 + d_o]),
        values: vec![(c0 + dc, o0 + d_o); n],
        shifts: vec![(dc, d_o); n],
        contrast_free: vec![contrast_free; n],
        offset_free: vec![offset_free; n],
        n_free: usize::from(contrast_free) + usize::from(offset_free),
        inverse: DMatrix::from_iterator(2, 2, inverse.iter().copied()),
    }
}

/// Any design.
fn several(group: &Group, grams: &[&Gram], reference: &[(f64, f64)]) -> Option<Optimum> {
    let b = &group.design;
    let (n, m) = b.shape();
    // the combination nearest to the reference; what is left of it is rounding once the reference was an optimum
    let column = |of: fn(&(f64, f64)) -> f64| DVector::from_iterator(n, reference.iter().map(of));
    let (c0, o0) = (column(|r| r.0), column(|r| r.1));
    let (base_c, base_o) = (b.tr_mul(&c0), b.tr_mul(&o0));
    let (at_c, at_o) = (b * &base_c, b * &base_o);
    let mut normal = DMatrix::zeros(2 * m, 2 * m);
    let mut gradient = DVector::zeros(2 * m);
    for (a, gram) in grams.iter().enumerate() {
        let q = Quadratic::of(&[gram]);
        let (shift_c, shift_o) = (at_c[a] - c0[a], at_o[a] - o0[a]);
        let along_c = q.gr - shift_c * q.gg - shift_o * q.g1;
        let along_o = q.r1 - shift_c * q.g1 - shift_o * q.n;
        for k in 0..m {
            gradient[k] += b[(a, k)] * along_c;
            gradient[m + k] += b[(a, k)] * along_o;
            for l in 0..m {
                let weight = b[(a, k)] * b[(a, l)];
                normal[(k, l)] += weight * q.gg;
                normal[(k, m + l)] += weight * q.g1;
                normal[(m + k, l)] += weight * q.g1;
                normal[(m + k, m + l)] += weight * q.n;
            }
        }
    }
    // a sum of finite terms may still overflow
    if normal.iter().chain(gradient.iter()).any(|v: &f64| !v.is_finite()) {
        return None;
    }
    let scale = normal.diagonal().map(|d: f64| if d > 0.0 { d.sqrt() } else { 1.0 });
    let unit = DMatrix::from_fn(2 * m, 2 * m, |i, j| normal[(i, j)] / (scale[i] * scale[j]));
    let eigen = SymmetricEigen::new(unit.clone());
    let largest = eigen.eigenvalues.max();
    let floor = if largest > 0.0 { FLAT * largest } else { 1.0 };
    let root = eigen.eigenvalues.map(|v| v.max(floor).sqrt());
    // from white coordinates, in which χ² is a squared distance, to steps of the coefficients
    let mut to_step = eigen.eigenvectors.clone();
    for (mut column, r) in to_step.column_iter_mut().zip(root.iter()) {
        column.component_div_assign(&scale);
        column /= *r;
    }
    let target = to_step.tr_mul(&gradient);
    let spaces: Vec<HalfSpace> = (0..n)
        .flat_map(|a| {
            let sides: [(Side, usize, f64); 2] = [(of_contrast, 0, at_c[a]), (of_offset, m, at_o[a])];
            sides.map(|(side, first, at)| {
                let row = to_step.rows(first, m).tr_mul(&b.row(a).transpose());
                let (min, max) = side(&group.bounds[a]);
                [HalfSpace { least: min - at, normal: row.clone() }, HalfSpace { least: at - max, normal: -row }]
            })
        })
        .flatten()
        .collect();
    let found = nearest(target, &spaces);
    let step = &to_step * &found.point;
    let (step_c, step_o) = (b * step.rows(0, m), b * step.rows(m, m));
    let held = |member: usize, which: usize| {
        let first = 4 * member + 2 * which;
        found.active.iter().find(|&&k| k == first || k == first + 1).map(|&k| k == first)
    };
    let value = |member: usize, which: usize, at: f64, step: f64, (min, max): (f64, f64)| match held(member, which) {
        Some(true) => min,
        Some(false) => max,
        None => (at + step).clamp(min, max),
    };
    let values: Vec<(f64, f64)> = (0..n)
        .map(|a| {
            let AngleBounds { contrast, offset } = group.bounds[a];
            (value(a, 0, at_c[a], step_c[a], contrast), value(a, 1, at_o[a], step_o[a], offset))
        })
        .collect();
    // not the difference of two values where no bound is in the way: near the minimum it would lose its digits
    let shift = |a: usize, which: usize, value: f64, at: f64, step: f64, zero: f64| match held(a, which) {
        None if value == at + step => (at - zero) + step,
        _ => value - zero,
    };
    let shifts = (0..n)
        .map(|a| {
            (shift(a, 0, values[a].0, at_c[a], step_c[a], c0[a]), shift(a, 1, values[a].1, at_o[a], step_o[a], o0[a]))
        })
        .collect();
    let free = free_directions(2 * m, &found.active, &spaces);
    let (inverse, open) = invert(&unit, &scale, &to_step, &free);
    let moves = |a: usize, first: usize| {
        open.iter().any(|v: &DVector<f64>| b.row(a).transpose().dot(&v.rows(first, m)).abs() > OPEN * v.amax())
    };
    let is_free = |which: usize| (0..n).map(|a| held(a, which).is_none() && !moves(a, which * m)).collect();
    Some(Optimum {
        coefficients: DVector::from_iterator(
            2 * m,
            base_c.iter().chain(base_o.iter()).zip(step.iter()).map(|(base, step)| base + step),
        ),
        values,
        shifts,
        contrast_free: is_free(0),
        offset_free: is_free(1),
        n_free: free.ncols() - open.len(),
        inverse,
    })
}

/// Inverse of a normal matrix (unit diagonal; `scale` is its root) within the directions that bounds leave, and those of
/// them that the data don't determine, as steps of the coefficients. `to_step · free` spans the directions.
fn invert(
    unit: &DMatrix<f64>,
    scale: &DVector<f64>,
    to_step: &DMatrix<f64>,
    free: &DMatrix<f64>,
) -> (DMatrix<f64>, Vec<DVector<f64>>) {
    let n = scale.len();
    if free.ncols() == 0 {
        return (DMatrix::zeros(n, n), Vec::new());
    }
    let scaled = DMatrix::from_diagonal(scale) * to_step * free;
    let q = scaled.qr().q();
    let eigen = SymmetricEigen::new(q.tr_mul(&(unit * &q)));
    let least = FLAT * eigen.eigenvalues.max();
    let mut directions = q * eigen.eigenvectors;
    for mut column in directions.column_iter_mut() {
        column.component_div_assign(scale);
    }
    let mut inverse = DMatrix::zeros(n, n);
    let mut open = Vec::new();
    for (direction, &value) in directions.column_iter().zip(eigen.eigenvalues.iter()) {
        if value > least && value > 0.0 {
            inverse.ger(1.0 / value, &direction, &direction, 1.0);
        } else {
            open.push(direction.into_owned());
        }
    }
    (inverse, open)
}
