//! The overview against sums over the pointwise reference.

use proptest::prelude::*;

use super::*;
use crate::dataset::TwoTime;
use crate::gram::tests::{data, engine};
use crate::model::reference;

const PHYSICAL: [f64; 7] = [6000.0, -0.4, 500.0, 0.0012, -0.3, 2e-4, 3.0];

fn view(k: usize, side: usize, rows: Vec<usize>) -> View {
    let scaling = (0..k).map(|a| (0.2 + 0.01 * a as f64, 1.0)).collect();
    View { point: Point { physical: PHYSICAL.to_vec(), scaling }, sigma: vec![0.1; k], loss: None, side, rows }
}

/// Looks at all tiles, dealt to so many ranks.
fn seen(e: &Experiment, matrices: &[TwoTime], view: &View, ranks: usize, threads: usize) -> Vec<Overview> {
    let level = Level::all(e.n_frames, e.n_angles()).swap_remove(0);
    let mut out: Vec<Overview> = matrices.iter().map(|_| Overview::new(e.n_frames - 1, view)).collect();
    for range in level.plan.deal(ranks).into_iter().filter(|range| !range.is_empty()) {
        let engine = engine(e, level.clone(), matrices, range, threads);
        for (angle, part) in engine.overview(view, engine.angles()) {
            out[angle].merge(&part);
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn an_overview_is_made_of_the_reference(n in 3usize..520, k in 1usize..4, side in 1usize..40, missing in 0.0f64..0.3) {
        let e = Experiment::sheared((0..k).map(|a| -20.0 + 31.0 * a as f64).collect(), n);
        let matrices: Vec<TwoTime> = (0..k).map(|a| data(n, a as u64, missing)).collect();
        let view = view(k, side, vec![0, (n - 1) / 2]);
        let found = seen(&e, &matrices, &view, 1, 2);
        let bytes = |all: &[Overview]| postcard::to_stdvec(all).unwrap();
        prop_assert!(bytes(&found) == bytes(&seen(&e, &matrices, &view, 3, 1)), "ranks and threads change nothing");
        let axis = TimeAxis::without_derivatives(&e, &PHYSICAL);
        for (angle, found) in found.iter().enumerate() {
            let (contrast, offset) = view.point.scaling[angle];
            let mut cells = Cells::new(n - 1, side);
            let mut lags = vec![(0.0, 0.0, 0); n - 2];
            let mut histogram = vec![0u64; BINS + 2];
            let mut frames = vec![(0.0, 0u64); n - 1];
            for i in 1..n {
                let row = matrices[angle].row_after(i);
                let model = |j: usize| offset + contrast * reference::shape(&e, &axis, angle, i, j);
                cells.add_row(i - 1, i..n - 1, row, |j| model(i + 1 + j));
                for (&value, j) in row.iter().zip(i + 1..).filter(|(v, _)| v.is_finite()) {
                    let r = f64::from(value) - model(j);
                    let (sum, sum_r, count) = &mut lags[j - i - 1];
                    (*sum, *sum_r, *count) = (*sum + f64::from(value), *sum_r + r, *count + 1);
                    histogram[tile::bin((r / 0.1) as f32)] += 1;
                    for frame in [i, j] {
                        let (sum, count) = &mut frames[frame - 1];
                        (*sum, *count) = (*sum + (r / 0.1).powi(2), *count + 1);
                    }
                }
            }
            for (found, expected) in found.cells.means().zip(cells.means()) {
                prop_assert_eq!(found.is_some(), expected.is_some());
                if let (Some(a), Some(b)) = (found, expected) {
                    prop_assert_eq!(a.pairs, b.pairs);
                    prop_assert!((a.data - b.data).abs() < 1e-8 && (a.residual - b.residual).abs() < 1e-8);
                }
            }
            for (found, expected) in found.lags.iter().zip(&lags) {
                prop_assert_eq!(found.2, expected.2);
                prop_assert!((found.0.value() - expected.0).abs() < 1e-7, "{} {}", found.0.value(), expected.0);
                prop_assert!((found.1.value() - expected.1).abs() < 1e-7);
            }
            for (found, expected) in found.frames.iter().zip(&frames) {
                prop_assert_eq!(found.count, expected.1);
                prop_assert!((found.sum.value() - expected.0).abs() < 1e-6 * (1.0 + expected.0));
            }
            // a value on the edge of two bins may fall into either
            let moved: u64 = found.histogram.iter().zip(&histogram).map(|(a, b)| a.abs_diff(*b)).sum();
            prop_assert!(moved <= 2 + lags.iter().map(|lag| lag.2).sum::<u64>() / 10_000, "{moved} moved");
            for (k, &position) in view.rows.iter().enumerate() {
                let row = matrices[angle].row_after(position + 1);
                for (a, b) in found.rows[k][position + 1..].iter().zip(row) {
                    prop_assert!(a == b || a.is_nan() && b.is_nan());
                }
                prop_assert!(found.rows[k][..=position].iter().all(|v| v.is_nan()));
            }
        }
    }
}

#[test]
fn the_autocorrelation_is_that_of_the_residuals() {
    // residuals that are the mean of three neighbours along the lag are correlated by 2/3 and 1/3; along the age they aren't
    let n = 700;
    let e = Experiment::sheared(vec![10.0], n);
    let noise = data(n, 3, 0.0);
    let axis = TimeAxis::without_derivatives(&e, &PHYSICAL);
    let mut values = vec![f32::NAN; n * n];
    for i in 1..n {
        let row = noise.row_after(i);
        for j in i + 1..n {
            let r = (0..3).map(|s| f64::from(row[(j - i - 1 + s) % row.len()]) - 1.15).sum::<f64>() / 3.0;
            values[i * n + j] = (1.0 + 0.2 * reference::shape(&e, &axis, 0, i, j) + r) as f32;
        }
    }
    let view = view(1, 10, vec![]);
    let found = &seen(&e, &[TwoTime::from_matrix(n, values)], &view, 1, 1)[0];
    let [lag, age] = found.autocorrelation();
    let bound = 5.0 / (found.square.count as f64).sqrt();
    for (k, expected) in [2.0 / 3.0, 1.0 / 3.0, 0.0, 0.0, 0.0].into_iter().enumerate() {
        assert!((lag[k] - expected).abs() < bound, "{lag:?}");
        assert!(age[k].abs() < bound, "{age:?}");
    }
    let deviation = 0.3 / 12f64.sqrt() / 3f64.sqrt() / 0.1;
    assert!((found.square.mean().sqrt() / deviation - 1.0).abs() < 0.02);
}
