//! Covariance of all parameters: the physical ones, then contrast and offset of every angle.
//!
//! For K angles it has (n + 2K)² entries, gigabytes for thousands of angles. It isn't held: contrast and offset follow the physical
//! parameters through a few numbers an angle and have a variance of their own within their group, from which every entry
//! follows when it is asked for. Memory grows with K, an entry takes n² multiplications.

use nalgebra::{DMatrix, RowDVector};

use super::scaling::Projected;

/// The covariance, by the parts that it is made of.
#[derive(Debug, Clone)]
pub struct FullCovariance {
    /// Of the natural physical parameters.
    physical: DMatrix<f64>,
    /// Natural physical parameters by valley coordinates.
    across: DMatrix<f64>,
    /// Of the valley coordinates.
    valley: DMatrix<f64>,
    angles: Vec<Angle>,
    /// Covariance of the coefficients of every group for given physical parameters.
    groups: Vec<DMatrix<f64>>,
}

/// How contrast and offset of an angle come about.
#[derive(Debug, Clone)]
struct Angle {
    /// How they follow the valley coordinates, negatively; 2 × n.
    response: DMatrix<f64>,
    /// Its group, and how they follow the group's coefficients (2 × 2m); `None` where they are held.
    group: Option<(usize, DMatrix<f64>)>,
}

impl FullCovariance {
    /// From the covariances of natural parameters, of natural parameters by valley coordinates, and of valley coordinates, for
    /// residual variance `s2`.
    pub(super) fn new(
        physical: DMatrix<f64>,
        across: DMatrix<f64>,
        valley: DMatrix<f64>,
        projected: &Projected,
        s2: f64,
    ) -> Self {
        let n = physical.nrows();
        let held = Angle { response: DMatrix::zeros(2, n), group: None };
        let mut angles = vec![held; projected.scaling.len()];
        for (g, group) in projected.groups.iter().enumerate() {
            let response = group.response();
            for (member, &angle) in group.group.angles.iter().enumerate() {
                let of_member = group.of_member(member);
                angles[angle] = Angle { response: &of_member * &response, group: Some((g, of_member)) };
            }
        }
        let groups = projected.groups.iter().map(|group| &group.optimum.inverse * s2).collect();
        Self { physical, across, valley, angles, groups }
    }

    /// Nothing is known of any parameter.
    pub(super) fn unknown(n: usize, projected: &Projected) -> Self {
        let unknown = || DMatrix::from_element(n, n, f64::NAN);
        Self::new(unknown(), unknown(), unknown(), projected, f64::NAN)
    }

    /// Takes the entries of a physical parameter away.
    pub(super) fn forget(&mut self, k: usize) {
        self.physical.row_mut(k).fill(f64::NAN);
        self.physical.column_mut(k).fill(f64::NAN);
        self.across.row_mut(k).fill(f64::NAN);
    }

    /// Parameters, n + 2K.
    pub fn size(&self) -> usize {
        self.n_physical() + 2 * self.angles.len()
    }

    /// Physical parameters n, which come first.
    pub fn n_physical(&self) -> usize {
        self.physical.nrows()
    }

    /// Covariance of parameters i and j: physical ones from 0, then contrast and offset of the first angle, of the second …
    /// Zero for held parameters, NaN for what the data don't determine.
    pub fn at(&self, i: usize, j: usize) -> f64 {
        let n = self.n_physical();
        match (i.checked_sub(n), j.checked_sub(n)) {
            (None, None) => self.physical[(i, j)],
            (None, Some(own)) => self.crossed(i, own),
            (Some(own), None) => self.crossed(j, own),
            (Some(own), Some(other)) => self.of(own).with(other),
        }
    }

    /// A whole row.
    pub fn row(&self, i: usize) -> Vec<f64> {
        let n = self.n_physical();
        let Some(own) = i.checked_sub(n) else { return (0..self.size()).map(|j| self.at(i, j)).collect() };
        let of_own = self.of(own);
        (0..n).map(|j| self.at(i, j)).chain((0..2 * self.angles.len()).map(|other| of_own.with(other))).collect()
    }

    /// Variance of the mean over all angles of contrast (`which` = 0) or offset (1).
    pub(super) fn variance_of_mean(&self, which: usize) -> f64 {
        let mut response = RowDVector::zeros(self.n_physical());
        let mut of_groups: Vec<RowDVector<f64>> = self.groups.iter().map(|g| RowDVector::zeros(g.nrows())).collect();
        for angle in &self.angles {
            response += angle.response.row(which);
            if let Some((group, of_member)) = &angle.group {
                of_groups[*group] += of_member.row(which);
            }
        }
        let own = of_groups.iter().zip(&self.groups).map(|(of, inverse)| (of * inverse * of.transpose())[0]);
        let all = (&response * &self.valley * response.transpose())[0] + own.sum::<f64>();
        all / (self.angles.len() * self.angles.len()) as f64
    }

    /// Covariance of a physical parameter with contrast (even) or offset (odd) number `own`.
    fn crossed(&self, physical: usize, own: usize) -> f64 {
        // not negated: of what is held there shall be 0, not −0
        0.0 - self.across.row(physical).dot(&self.angles[own / 2].response.row(own % 2))
    }

    /// The covariances of one of them with all.
    fn of(&self, own: usize) -> Following<'_> {
        let angle = &self.angles[own / 2];
        let group = angle.group.as_ref().map(|(group, of)| (*group, of.row(own % 2) * &self.groups[*group]));
        Following { full: self, valley: angle.response.row(own % 2) * &self.valley, group }
    }
}

/// Covariances of one contrast or offset.
struct Following<'a> {
    full: &'a FullCovariance,
    /// With the valley coordinates, negatively.
    valley: RowDVector<f64>,
    /// Its group, and the covariance with its coefficients for given physical parameters.
    group: Option<(usize, RowDVector<f64>)>,
}

impl Following<'_> {
    /// With contrast or offset number `other`.
    fn with(&self, other: usize) -> f64 {
        let angle = &self.full.angles[other / 2];
        let own = match (&self.group, &angle.group) {
            (Some((group, own)), Some((of_other, of))) if group == of_other => own.dot(&of.row(other % 2)),
            _ => 0.0,
        };
        self.valley.dot(&angle.response.row(other % 2)) + own
    }
}
