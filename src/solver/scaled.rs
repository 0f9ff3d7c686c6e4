//! Symmetric normal matrices scaled to unit diagonal, in their eigenbasis.

use nalgebra::{DMatrix, DVector, SymmetricEigen};

/// Smallest eigenvalue, relative to the largest, that a step divides by.
const SMALLEST: f64 = 1e-15;
/// Eigenvalue, relative to the largest, below which the data don't determine a direction at all.
const SINGULAR: f64 = 1e-12;

/// A normal matrix H = D·V·Λ·Vᵀ·D with unit diagonal between the D.
pub struct Scaled {
    scale: DVector<f64>,
    eigen: SymmetricEigen<f64, nalgebra::Dyn>,
}

impl Scaled {
    /// Of a symmetric matrix of at least one row.
    pub fn new(normal: &DMatrix<f64>) -> Self {
        // reduced diagonals may come out slightly negative by rounding
        let scale = normal.diagonal().map(|d| if d > 0.0 { d.sqrt() } else { 1.0 });
        let scaled = DMatrix::from_fn(normal.nrows(), normal.ncols(), |i, j| normal[(i, j)] / (scale[i] * scale[j]));
        Self { scale, eigen: SymmetricEigen::new(scaled) }
    }

    /// (H + μ·diag H)⁻¹·g.
    pub fn solve(&self, gradient: &DVector<f64>, mu: f64) -> DVector<f64> {
        let g = gradient.component_div(&self.scale);
        let floor = SMALLEST * self.eigen.eigenvalues.max().max(SMALLEST);
        let mut along = self.eigen.eigenvectors.transpose() * g;
        for (a, &value) in along.iter_mut().zip(self.eigen.eigenvalues.iter()) {
            *a = if value > floor || mu > 0.0 { *a / (value.max(floor) + mu) } else { 0.0 };
        }
        (&self.eigen.eigenvectors * along).component_div(&self.scale)
    }

    /// Largest component of the gradient in units of its own scale.
    pub fn scaled_gradient(&self, gradient: &DVector<f64>) -> f64 {
        gradient.component_div(&self.scale).amax()
    }

    /// The inverse within the determined directions, and the directions that are not.
    pub fn invert(&self) -> (DMatrix<f64>, Vec<DVector<f64>>) {
        let values = &self.eigen.eigenvalues;
        let least = SINGULAR * values.max();
        let determined = |v: f64| v > least && v > 0.0;
        let inverse = values.map(|v| if determined(v) { 1.0 / v } else { 0.0 });
        let vectors = &self.eigen.eigenvectors;
        let scaled = vectors * DMatrix::from_diagonal(&inverse) * vectors.transpose();
        let n = self.scale.len();
        let matrix = DMatrix::from_fn(n, n, |i, j| scaled[(i, j)] / (self.scale[i] * self.scale[j]));
        let open =
            (0..n).filter(|&k| !determined(values[k])).map(|k| vectors.column(k).component_div(&self.scale)).collect();
        (matrix, open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solves_and_inverts_badly_scaled_systems() {
        let h = DMatrix::from_row_slice(2, 2, &[4e12, 1.0, 1.0, 9e-12]);
        let g = DVector::from_vec(vec![2e6, -1e-6]);
        let scaled = Scaled::new(&h);
        let x = scaled.solve(&g, 0.0);
        assert!(((&h * &x - &g)[0] / g[0]).abs() < 1e-9 && ((&h * &x - &g)[1] / g[1]).abs() < 1e-9);
        let (inverse, open) = scaled.invert();
        assert!(open.is_empty());
        assert!((&h * inverse - DMatrix::identity(2, 2)).iter().all(|v| v.abs() < 1e-3));
    }

    #[test]
    fn an_open_direction_is_found_and_the_other_one_kept() {
        let h = DMatrix::from_row_slice(3, 3, &[1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 4.0]);
        let (inverse, open) = Scaled::new(&h).invert();
        assert_eq!(open.len(), 1);
        assert!((open[0][0] + open[0][1]).abs() < 1e-12 && open[0][2].abs() < 1e-12);
        assert!((inverse[(2, 2)] - 0.25).abs() < 1e-12);
    }
}
