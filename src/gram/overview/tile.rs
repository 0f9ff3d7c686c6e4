//! One strip's part of an overview.

use super::{Angle, BINS, Loss, Overview, Product, SHIFTS, SPAN, View};
use crate::arithmetic::{Isa, Kernel, Lane};
use crate::gram::tile::AngleData;
use crate::nodes::plan::{BrickKind, LANES, LEAF, STRIP_COLUMNS, Strip};

/// Numbers in a row that are summed side by side.
const ABREAST: usize = 16;
/// Columns of a row with room for a shift.
const WIDTH: usize = STRIP_COLUMNS + ABREAST;

/// A tile laid out row by row, as numbers that sums are made of; kept by a thread from tile to tile.
pub(super) struct Sheet {
    /// Positions of the tile's first row and column among the fitted frames, rows and columns in use.
    row: usize,
    column: usize,
    n_rows: usize,
    n_columns: usize,
    /// Data, NaN where missing.
    data: Vec<f32>,
    /// Data less model, 0 where missing.
    residual: Vec<f64>,
    /// Residual over σ, 0 where missing, and 1 where there is one.
    scaled: Vec<f32>,
    present: Vec<f32>,
    /// With a robust loss: how much each pulls, 0 where missing.
    pull: Vec<f32>,
    /// Whether the autocorrelation is wanted of this tile.
    shifts: bool,
    /// The loss that was minimised.
    loss: Option<Loss>,
    model: Vec<f64>,
    /// 1/σ of a row's pairs.
    weights: Vec<f32>,
}

/// Laying out a strip of one angle, whose lanes begin at this one of its tile's; compiled for every instruction set.
pub(super) struct Look<'a> {
    pub sheet: &'a mut Sheet,
    pub strip: &'a Strip,
    pub own: (&'a AngleData<'a>, usize),
    pub angle: &'a Angle<'a>,
    pub shifts: bool,
}

impl Kernel for Look<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        self.sheet.look(self.strip, self.own, self.angle, self.shifts);
    }
}

/// Adding what was laid out to an angle's overview.
pub(super) struct Add<'a> {
    pub sheet: &'a Sheet,
    pub seen: &'a mut Overview,
    pub view: &'a View,
}

impl Kernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        self.sheet.add_to(self.seen, self.view);
    }
}

impl Sheet {
    pub fn new() -> Self {
        Self {
            row: 0,
            column: 0,
            n_rows: 0,
            n_columns: 0,
            data: vec![f32::NAN; LEAF * WIDTH],
            residual: vec![0.0; LEAF * WIDTH],
            scaled: vec![0.0; LEAF * WIDTH],
            present: vec![0.0; LEAF * WIDTH],
            pull: Vec::new(),
            shifts: false,
            loss: None,
            model: vec![0.0; STRIP_COLUMNS],
            weights: vec![0.0; STRIP_COLUMNS],
        }
    }

    /// Lays out one angle's data of a strip of the finest level; its lanes begin at this one of its tile's.
    #[inline(always)]
    fn look(&mut self, strip: &Strip, (own, first): (&AngleData, usize), angle: &Angle, shifts: bool) {
        let (rows, columns) = (strip.rows(), strip.columns());
        (self.row, self.column) = (rows.start, columns.start);
        (self.n_rows, self.n_columns) = (rows.len(), columns.len());
        (self.shifts, self.loss) = (shifts, angle.loss);
        if strip.is_diagonal() {
            // half of a diagonal tile holds no pairs
            self.data.fill(f32::NAN);
            self.residual.fill(0.0);
            self.scaled.fill(0.0);
            self.present.fill(0.0);
        }
        let mut lane = first;
        for brick in &strip.bricks {
            for (r, row) in brick.rows.clone().enumerate() {
                let start = if brick.kind == BrickKind::Triangle { row + 1 } else { brick.columns.start };
                let columns = start..brick.columns.end;
                // in the row of the sheet
                let at = (row - self.row) * WIDTH + start - self.column;
                let to = at..at + columns.len();
                let unpack = |lanes: &[Lane], out: &mut [f32]| {
                    let mut k = start - brick.columns.start;
                    let mut out = out;
                    while !out.is_empty() {
                        let part = &lanes[lane + k / LANES * brick.rows.len() + r].0[k % LANES..];
                        let n = part.len().min(out.len());
                        out[..n].copy_from_slice(&part[..n]);
                        (k, out) = (k + n, &mut out[n..]);
                    }
                };
                unpack(own.data, &mut self.data[to.clone()]);
                let weights = &mut self.weights[..columns.len()];
                match own.sigma {
                    Some(sigma) => {
                        unpack(sigma, weights);
                        weights.iter_mut().for_each(|sigma| *sigma = 1.0 / *sigma);
                    }
                    None => weights.fill(1.0 / angle.sigma as f32),
                }
                // position 0 is frame 1: frame 0 takes no part
                angle.rows.fill(row + 1, columns.start + 1..columns.end + 1, &mut self.model);
                let values = self.data[to.clone()].iter().zip(&self.model).zip(&self.weights);
                let out = self.residual[to.clone()].iter_mut().zip(&mut self.scaled[to.clone()]);
                // no branches: all lanes of the processor work
                for (((&data, g), weight), ((residual, scaled), present)) in
                    values.zip(out.zip(&mut self.present[to.clone()]))
                {
                    let there = data.is_finite();
                    let r = f64::from(data) - angle.offset - angle.contrast * g;
                    let z = r as f32 * weight;
                    *residual = if there { r } else { 0.0 };
                    *scaled = if there { z } else { 0.0 };
                    *present = if there { 1.0 } else { 0.0 };
                }
            }
            lane += brick.n_lanes();
        }
        if let Some(loss) = angle.loss {
            self.pull.clear();
            self.pull.extend(self.scaled.iter().map(|&z| loss.influence(f64::from(z)) as f32));
        }
    }

    /// What sums over residuals are made of: r/σ, or what a robust loss makes of it, so that outliers don't speak for their frames.
    #[inline(always)]
    fn pulls(&self) -> &[f32] {
        if self.loss.is_some() { &self.pull } else { &self.scaled }
    }

    /// A row of something.
    #[inline(always)]
    fn of<'s, T>(&self, all: &'s [T], row: usize) -> &'s [T] {
        &all[row * WIDTH..row * WIDTH + self.n_columns]
    }

    /// Adds what was laid out to an angle's overview.
    #[inline(always)]
    fn add_to(&self, seen: &mut Overview, view: &View) {
        self.cells(seen);
        self.blocks(seen);
        self.lags(seen);
        self.frames(seen);
        for (k, _) in view.rows.iter().enumerate().filter(|(_, row)| (self.row..self.row + self.n_rows).contains(row)) {
            let data = self.of(&self.data, view.rows[k] - self.row);
            for (out, &value) in seen.rows[k][self.column..].iter_mut().zip(data).filter(|(_, v)| v.is_finite()) {
                *out = value;
            }
        }
        // what is missing counts at 0 and is taken off again
        let (mut counts, mut present) = ([0u32; BINS + 2], 0.0);
        for row in 0..self.n_rows {
            self.of(&self.scaled, row).iter().for_each(|&z| counts[bin(z)] += 1);
            present += self.of(&self.present, row).iter().sum::<f32>();
        }
        counts[bin(0.0)] -= (self.n_rows * self.n_columns) as u32 - present as u32;
        seen.histogram.iter_mut().zip(counts).for_each(|(sum, n)| *sum += u64::from(n));
        if self.shifts {
            self.products(seen);
        }
    }

    #[inline(always)]
    fn cells(&self, seen: &mut Overview) {
        for (i, rows) in seen.cells.grid.runs(self.row..self.row + self.n_rows) {
            // rows of a cell first, which all lanes of the processor do
            let (mut data, mut residual, mut pairs) =
                ([0.0f64; STRIP_COLUMNS], [0.0f64; STRIP_COLUMNS], [0.0f32; STRIP_COLUMNS]);
            for row in rows {
                let present = self.of(&self.present, row - self.row);
                for ((sum, &value), &there) in data.iter_mut().zip(self.of(&self.data, row - self.row)).zip(present) {
                    *sum += if there > 0.0 { f64::from(value) } else { 0.0 };
                }
                add(&mut residual, self.of(&self.residual, row - self.row));
                add(&mut pairs, present);
            }
            for (j, columns) in seen.cells.grid.runs(self.column..self.column + self.n_columns) {
                let part = columns.start - self.column..columns.end - self.column;
                let n: f32 = pairs[part.clone()].iter().sum();
                if n > 0.0 {
                    let (data, residual) = (data[part.clone()].iter().sum(), residual[part].iter().sum());
                    seen.cells.add((i, j), data, residual, n as u32);
                }
            }
        }
    }

    #[inline(always)]
    fn blocks(&self, seen: &mut Overview) {
        let grid = seen.blocks.grid;
        for (i, rows) in grid.runs(self.row..self.row + self.n_rows) {
            let (mut pulls, mut pairs) = ([0.0f64; STRIP_COLUMNS], [0.0f32; STRIP_COLUMNS]);
            for row in rows {
                for (sum, &pull) in pulls.iter_mut().zip(self.of(self.pulls(), row - self.row)) {
                    *sum += f64::from(pull);
                }
                add(&mut pairs, self.of(&self.present, row - self.row));
            }
            for (j, columns) in grid.runs(self.column..self.column + self.n_columns) {
                let part = columns.start - self.column..columns.end - self.column;
                let n: f32 = pairs[part.clone()].iter().sum();
                if n > 0.0 {
                    seen.blocks.add((i, j), pulls[part].iter().sum(), n as u32);
                }
            }
        }
    }

    #[inline(always)]
    fn lags(&self, seen: &mut Overview) {
        // least lag of the tile's last row; of earlier rows lags begin later
        let base = (self.column + 1).saturating_sub(self.row + self.n_rows);
        let span = self.n_columns + self.n_rows;
        let (mut data, mut residual, mut pairs) = (vec![0.0; span], vec![0.0; span], vec![0.0f32; span]);
        for row in 0..self.n_rows {
            // a diagonal tile has no pairs before its diagonal
            let skip = (self.row + row + 1).saturating_sub(self.column).min(self.n_columns);
            if skip == self.n_columns {
                continue;
            }
            let at = self.column + skip - self.row - row - base;
            let present = &self.of(&self.present, row)[skip..];
            add(&mut pairs[at..], present);
            add(&mut residual[at..], &self.of(&self.residual, row)[skip..]);
            for ((out, &value), there) in data[at..].iter_mut().zip(&self.of(&self.data, row)[skip..]).zip(present) {
                *out += if *there > 0.0 { f64::from(value) } else { 0.0 };
            }
        }
        for (k, &n) in pairs.iter().enumerate().filter(|(_, n)| **n > 0.0) {
            let (sum, sum_r, count) = &mut seen.lags[base + k - 1];
            sum.add(data[k]);
            sum_r.add(residual[k]);
            *count += n as u64;
        }
    }

    /// Every pair counts for both of its frames.
    #[inline(always)]
    fn frames(&self, seen: &mut Overview) {
        let (mut squares, mut counts) = (vec![0.0f64; self.n_columns], vec![0.0f32; self.n_columns]);
        for row in 0..self.n_rows {
            let (z, there) = (self.of(self.pulls(), row), self.of(&self.present, row));
            seen.frames[self.row + row].merge(product((z, z), (there, there)));
            for ((square, count), (z, there)) in squares.iter_mut().zip(&mut counts).zip(z.iter().zip(there)) {
                *square += f64::from(z * z);
                *count += there;
            }
        }
        for ((frame, square), count) in seen.frames[self.column..].iter_mut().zip(squares).zip(counts) {
            frame.sum.add(square);
            frame.count += count as u64;
        }
    }

    #[inline(always)]
    fn products(&self, seen: &mut Overview) {
        for row in 0..self.n_rows {
            let (z, there) = (self.of(self.pulls(), row), self.of(&self.present, row));
            seen.square.merge(product((z, z), (there, there)));
            for (k, &shift) in SHIFTS.iter().enumerate().filter(|(_, shift)| **shift < self.n_columns) {
                let rest = self.n_columns - shift;
                seen.along_lag[k].merge(product((&z[..rest], &z[shift..]), (&there[..rest], &there[shift..])));
                if row + shift < self.n_rows {
                    let (later, too) = (self.of(self.pulls(), row + shift), self.of(&self.present, row + shift));
                    seen.along_age[k].merge(product((&z[..rest], &later[shift..]), (&there[..rest], &too[shift..])));
                }
            }
        }
    }
}

/// Adds numbers to others, one to one.
#[inline(always)]
fn add<T: Copy + std::ops::AddAssign>(sums: &mut [T], terms: &[T]) {
    for (sum, &term) in sums.iter_mut().zip(terms) {
        *sum += term;
    }
}

/// Σ a·b and the number of its terms, from numbers and from what is 1 where there is one.
#[inline(always)]
fn product((a, b): (&[f32], &[f32]), (there, here): (&[f32], &[f32])) -> Product {
    let mut out = Product { count: dot(there, here) as u64, ..Product::default() };
    out.sum.add(dot(a, b));
    out
}

/// Where z belongs in the histogram.
#[inline(always)]
pub(super) fn bin(z: f32) -> usize {
    let at = (z + SPAN as f32) * (BINS as f32 / (2.0 * SPAN as f32));
    if at < 0.0 { 0 } else { 1 + (at as usize).min(BINS) }
}

/// Σ a·b, in a fixed order.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0f32; ABREAST];
    let (a, b) = (a.chunks_exact(ABREAST), b.chunks_exact(ABREAST));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for k in 0..ABREAST {
            sums[k] += a[k] * b[k];
        }
    }
    sums.iter().map(|&sum| f64::from(sum)).sum::<f64>() + f64::from(rest)
}
