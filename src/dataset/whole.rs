//! Matrices with both halves and a diagonal, for files and for looking at: a fit needs neither.

use super::TwoTime;

/// Side of the blocks in which a triangle is mirrored: two blocks of float32 fit in the first-level cache.
const BLOCK: usize = 32;

impl TwoTime {
    /// Fills the lower triangle from the upper one and replaces the diagonal, on which shot noise sits, by the mean of its
    /// neighbours c2\[i−1, i\] and c2\[i, i+1\]; NaN where both are missing.
    pub(crate) fn complete(&mut self) {
        let n = self.n;
        mirror(&mut self.values, n);
        for i in 0..n {
            let before = i.checked_sub(1).map(|above| self.values[above * n + i]);
            let after = (i + 1 < n).then(|| self.values[i * n + i + 1]);
            let known: Vec<f64> =
                [before, after].into_iter().flatten().filter(|v| v.is_finite()).map(f64::from).collect();
            self.values[i * n + i] = (known.iter().sum::<f64>() / known.len() as f64) as f32;
        }
    }

    /// Row i, whole; below the diagonal it holds data only after [`TwoTime::complete`].
    pub(crate) fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.n..(i + 1) * self.n]
    }

    /// Sets the row and the column of a frame, as far as they lie in the upper triangle, diagonal included.
    pub(crate) fn set_frame(&mut self, frame: usize, value: f32) {
        let n = self.n;
        self.values[frame * n + frame..(frame + 1) * n].fill(value);
        (0..frame).for_each(|i| self.values[i * n + frame] = value);
    }
}

/// Copies the upper triangle of an n × n matrix into the lower one.
pub(super) fn mirror(v: &mut [f32], n: usize) {
    for i0 in (0..n).step_by(BLOCK) {
        for j0 in (0..=i0).step_by(BLOCK) {
            for i in i0..(i0 + BLOCK).min(n) {
                for j in j0..(j0 + BLOCK).min(i) {
                    v[i * n + j] = v[j * n + i];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_diagonal_is_the_mean_of_what_is_known_beside_it() {
        const GAP: f32 = f32::NAN;
        let mut m = TwoTime::from_matrix(
            5,
            vec![
                9.0, 1.0, 2.0, 3.0, 4.0, //
                0.0, 9.0, 5.0, 6.0, 7.0, //
                0.0, 0.0, 9.0, GAP, 8.0, //
                0.0, 0.0, 0.0, 9.0, GAP, //
                0.0, 0.0, 0.0, 0.0, 9.0,
            ],
        );
        m.complete();
        let diagonal: Vec<f32> = (0..5).map(|i| m.row(i)[i]).collect();
        assert_eq!(diagonal[..3], [1.0, 3.0, 5.0]);
        assert!(diagonal[3].is_nan() && diagonal[4].is_nan());
        assert_eq!(m.row(4)[..3], [4.0, 7.0, 8.0]);
        m.set_frame(1, 0.5);
        assert_eq!((m.row(0)[1], &m.row(1)[1..]), (0.5, &[0.5; 4][..]));
    }
}
