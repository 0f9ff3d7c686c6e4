//! The noise of a matrix, estimated from the data alone.
//!
//! Along a row (fixed t1) the correlation is smooth in the lag, so second differences c(j) − 2c(j+1) + c(j+2) hold mostly
//! noise, with variance 6σ². Their median absolute value, over 0.6745·√6, is σ for Gaussian noise, and hardly moves where a
//! few rows near the diagonal still curve.

use super::TwoTime;

/// Second differences looked at, at most: enough for σ to 0.3 %.
const SAMPLE: usize = 200_000;
/// Fewest to be content with while there are rows that weren't looked at: enough for σ to 1 %. Few come together where most
/// lags are left out.
const FEWEST: usize = 20_000;
/// Median of |x| for a standard normal x.
const NORMAL_MEDIAN: f64 = 0.674_489_750_196_081_7;

/// Estimated standard deviation of the noise; NaN where there are too few finite values. Rows and columns of the
/// selection's first frame take no part.
pub fn estimate(matrix: &TwoTime) -> f64 {
    let n = matrix.n_frames();
    let total = n.saturating_sub(2) * n.saturating_sub(3) / 2;
    let mut every = total.div_ceil(SAMPLE).max(1);
    let (mut differences, mut size) = sample(matrix, every);
    while differences.len() < FEWEST && every > 1 {
        every = (every * differences.len() / SAMPLE).clamp(1, every / 2);
        (differences, size) = sample(matrix, every);
    }
    if differences.is_empty() {
        return f64::NAN;
    }
    let middle = differences.len() / 2;
    let (_, median, _) = differences.select_nth_unstable_by(middle, f64::total_cmp);
    // values are f32: below their own rounding there is no noise to see
    let rounding = f64::from(f32::EPSILON) * size / 12f64.sqrt();
    (*median / (NORMAL_MEDIAN * 6f64.sqrt())).max(rounding)
}

/// Absolute second differences along every so many rows, and the largest |c2| in them.
fn sample(matrix: &TwoTime, every: usize) -> (Vec<f64>, f64) {
    let (mut differences, mut size) = (Vec::new(), 0.0f64);
    for i in (1..matrix.n_frames().saturating_sub(3)).step_by(every) {
        for w in matrix.row_after(i).windows(3) {
            let d = f64::from(w[0]) - 2.0 * f64::from(w[1]) + f64::from(w[2]);
            if d.is_finite() {
                differences.push(d.abs());
                size = size.max(f64::from(w[1]).abs());
            }
        }
    }
    (differences, size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_distr::{Distribution, StandardNormal};

    fn matrix(n: usize, noise: f64) -> TwoTime {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
        let values = (0..n * n)
            .map(|k| {
                let lag = (k % n).abs_diff(k / n) as f64;
                let e: f64 = StandardNormal.sample(&mut rng);
                (1.0 + 0.3 * (-lag / 40.0).exp() + noise * e) as f32
            })
            .collect();
        TwoTime::from_matrix(n, values)
    }

    #[test]
    fn finds_the_noise_under_a_decay() {
        for n in [100, 400] {
            for noise in [0.003, 0.01, 0.03] {
                let found = estimate(&matrix(n, noise));
                assert!((found / noise - 1.0).abs() < 0.05, "{n} {noise} {found}");
            }
        }
    }

    #[test]
    fn few_lags_are_looked_at_in_more_rows() {
        let n = 1500;
        let mut narrow = matrix(n, 0.01);
        // lags 1 to 4 remain: of the rows that a whole matrix needs, two differences each
        (0..n).for_each(|i| narrow.values[i * n + (i + 5).min(n)..(i + 1) * n].fill(f32::NAN));
        let (few, _) = sample(&narrow, 6);
        assert!(few.len() < FEWEST);
        let found = estimate(&narrow);
        // 2992 differences: 1.7 % of σ and what the decay's curvature adds
        assert!((found / 0.01 - 1.0).abs() < 0.06, "{found}");
    }

    #[test]
    fn clean_data_keep_their_rounding() {
        let found = estimate(&matrix(300, 0.0));
        assert!(found > 1e-8 && found < 1e-4, "{found}");
    }

    #[test]
    fn too_little_data_say_so() {
        assert!(estimate(&TwoTime::from_matrix(3, vec![1.0; 9])).is_nan());
    }
}
