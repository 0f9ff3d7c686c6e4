//! What there is to see of a fit, made from the overviews of its angles: for pictures and the report alike.

use crate::config::ColorScale;
use crate::gram::overview::{Cells, Overview, View};
use crate::gram::{Loss, Point};
use crate::model::{Experiment, ShapeRows, TimeAxis};
use crate::solver::{Fit, Sigma};

/// Most cells a side of a map: what a screen shows of three maps side by side.
const MOST_CELLS: usize = 200;
/// Cells of all angles together, which take 5.4 bytes each in the report.
const CELLS: f64 = 36.0 * 20_100.0;
/// Parts of the run at whose beginnings a row c2(t1 = const) is shown.
const ROWS: usize = 4;
/// Neighbouring lags are put together from where a point is nearer to the next than this factor.
const LAG_RATIO: f64 = 1.08;
/// Range of c2 in which colours stay by default, as the Python package has it.
const LEGACY: (f64, f64) = (1.0, 1.6);
/// Percentiles of the residuals between which their colours run, symmetric about zero.
const RESIDUAL_PERCENTILE: f64 = 99.5;

/// What every rank is to look at after a fit: where it was verified, if it was.
pub fn view(e: &Experiment, fit: &Fit, sigma: &Sigma, noise: &[f64]) -> View {
    let answer = || Point { physical: fit.physical.clone(), scaling: fit.projected.scaling.clone() };
    let unit = |angle: usize| {
        let p = &fit.projected;
        let own = (p.chi2_per_angle[angle] / p.pairs_per_angle[angle].max(1.0)).sqrt();
        known_unit(sigma, noise[angle], angle).or(is_unit(own)).unwrap_or(1.0)
    };
    let loss = fit.robust.as_ref().map(|robust| robust.loss);
    of(e, fit.verified_at.clone().unwrap_or_else(answer), (0..e.n_angles()).map(unit).collect(), loss)
}

/// The same before the fit, for whatever point; nothing where only the fit can say by what residuals are measured.
pub fn expected(e: &Experiment, sigma: &Sigma, noise: &[f64]) -> Option<View> {
    let units = (0..e.n_angles()).map(|angle| known_unit(sigma, noise[angle], angle)).collect::<Option<_>>()?;
    Some(of(e, Point { physical: Vec::new(), scaling: Vec::new() }, units, None))
}

fn of(e: &Experiment, point: Point, sigma: Vec<f64>, loss: Option<Loss>) -> View {
    let n = e.n_frames - 1;
    let side = ((2.0 * CELLS / e.n_angles() as f64).sqrt() as usize).clamp(8, MOST_CELLS);
    let mut rows: Vec<usize> = (0..ROWS).map(|part| part * n / ROWS).collect();
    rows.dedup();
    View { point, sigma, loss, side, rows }
}

/// What residuals of an angle are measured by: σ where it is known, else the noise in the data.
fn known_unit(sigma: &Sigma, noise: f64, angle: usize) -> Option<f64> {
    is_unit(if sigma.is_default() { noise } else { sigma.per_angle[angle] })
}

fn is_unit(unit: f64) -> Option<f64> {
    (unit.is_finite() && unit > 0.0).then_some(unit)
}

/// A curve over the lag.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Time of its row, s; `None` for the average over all ages.
    pub t1: Option<f64>,
    /// Points, by lag.
    pub points: Vec<CurvePoint>,
}

/// A point of a curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurvePoint {
    /// Mean lag of its pairs, s.
    pub lag: f64,
    /// Mean of the data.
    pub data: f64,
    /// Mean of the fit.
    pub fit: f64,
    /// Standard error of the data's mean.
    pub error: f64,
}

/// Sums of a point.
#[derive(Default)]
struct Bin {
    lag: f64,
    data: f64,
    fit: f64,
    pairs: f64,
}

/// Puts lags (in frames, from 1; sum of data, sum of fit, pairs) together to points that are evenly spread over the
/// logarithm of the lag.
fn binned(lags: impl Iterator<Item = (f64, f64, f64)>, dt: f64, sigma: f64) -> Vec<CurvePoint> {
    let mut points = Vec::new();
    let (mut bin, mut begin) = (Bin::default(), 1.0);
    let mut close = |bin: &mut Bin| {
        let done = std::mem::take(bin);
        if done.pairs > 0.0 {
            let mean = |sum: f64| sum / done.pairs;
            let error = sigma / done.pairs.sqrt();
            points.push(CurvePoint { lag: mean(done.lag) * dt, data: mean(done.data), fit: mean(done.fit), error });
        }
    };
    for (lag, (data, fit, pairs)) in lags.enumerate().map(|(k, sums)| ((k + 1) as f64, sums)) {
        if lag >= begin * LAG_RATIO {
            close(&mut bin);
            begin = lag;
        }
        bin.lag += lag * pairs;
        bin.data += data;
        bin.fit += fit;
        bin.pairs += pairs;
    }
    close(&mut bin);
    points
}

/// The curves of one angle: averaged over all ages, then the rows of the view.
pub fn curves(experiment: &Experiment, view: &View, angle: usize, seen: &Overview) -> Vec<Curve> {
    let (dt, sigma) = (experiment.dt, view.sigma[angle]);
    let sums =
        seen.lags.iter().map(|(data, residual, pairs)| (data.value(), data.value() - residual.value(), *pairs as f64));
    let mut out = vec![Curve { t1: None, points: binned(sums, dt, sigma) }];
    out.extend((0..view.rows.len()).map(|row| row_curve(experiment, view, angle, row, seen, &view.point)));
    out.retain(|curve| !curve.points.is_empty());
    out
}

/// The curve of one row of the view, with the model of any point.
pub(super) fn row_curve(
    experiment: &Experiment,
    view: &View,
    angle: usize,
    row: usize,
    seen: &Overview,
    point: &Point,
) -> Curve {
    let axis = TimeAxis::without_derivatives(experiment, &point.physical);
    let model = ShapeRows::new(experiment, &axis, angle);
    let (contrast, offset) = point.scaling[angle];
    // position 0 is frame 1
    let frame = view.rows[row] + 1;
    let mut g = vec![0.0; experiment.n_frames];
    model.fill(frame, frame + 1..experiment.n_frames, &mut g);
    let sums = seen.rows[row][frame..].iter().zip(&g).map(|(&data, g)| match data.is_finite() {
        true => (f64::from(data), offset + contrast * g, 1.0),
        false => (0.0, 0.0, 0.0),
    });
    Curve { t1: Some(experiment.time(frame)), points: binned(sums, experiment.dt, view.sigma[angle]) }
}

/// Between which values colours run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Colors {
    /// Least of data and fit.
    pub low: f64,
    /// Greatest.
    pub high: f64,
    /// Greatest size of the residual.
    pub residual: f64,
}

/// The colours for maps that are to be compared with one another; of data alone where there is `no_model`.
pub fn colors<'c>(maps: impl Iterator<Item = &'c Cells>, scale: ColorScale, no_model: bool) -> Colors {
    let (mut values, mut residuals) = (Vec::new(), Vec::new());
    for mean in maps.flat_map(|cells| cells.means().flatten()) {
        values.push(mean.data);
        if !no_model {
            values.push(mean.data - mean.residual);
        }
        residuals.push(mean.residual.abs());
    }
    let percentile = |values: &mut Vec<f64>, percent: f64| {
        let at = (percent / 100.0 * values.len().saturating_sub(1) as f64).round() as usize;
        if values.is_empty() { f64::NAN } else { *values.select_nth_unstable_by(at, f64::total_cmp).1 }
    };
    let (low, high) = match scale {
        ColorScale::Legacy => {
            let ends = (percentile(&mut values, 0.0), percentile(&mut values, 100.0));
            let inside = (ends.0.max(LEGACY.0), ends.1.min(LEGACY.1));
            // data that lie elsewhere are shown all the same
            if inside.0 < inside.1 { inside } else { ends }
        }
        ColorScale::Percentiles(low, high) => (percentile(&mut values, low), percentile(&mut values, high)),
        ColorScale::Fixed(low, high) => (low, high),
    };
    // flat or no data
    let (low, high) = if low < high { (low, high) } else { (low.min(1.0) - 0.01, high.max(1.0) + 0.01) };
    let residual = percentile(&mut residuals, RESIDUAL_PERCENTILE);
    Colors { low, high, residual: if residual > 0.0 { residual } else { (high - low) / 100.0 } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lags_are_put_together_where_they_lie_close() {
        // c2 = lag, fit = 2·lag, one pair a lag but the third, which has none
        let lags =
            (1..=1000).map(|lag| if lag == 3 { (0.0, 0.0, 0.0) } else { (f64::from(lag), 2.0 * f64::from(lag), 1.0) });
        let points = binned(lags, 0.5, 0.1);
        assert!(points.len() < 100 && points[0].lag == 0.5 && points[1].lag == 1.0 && points[2].lag == 2.0);
        for point in &points {
            assert!((point.data - 2.0 * point.lag).abs() < 1e-9 && (point.fit - 4.0 * point.lag).abs() < 1e-9);
        }
        let last = points[points.len() - 1];
        assert!(last.error < 0.03 && points[0].error == 0.1);
    }

    #[test]
    fn colours_fit_the_data() {
        let mut cells = Cells::new(4, 4);
        for (k, value) in [1.0f32, 1.1, 1.2, 0.5, 9.0, f32::NAN].into_iter().enumerate() {
            let (i, j) = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)][k];
            cells.add_row(i, j..j + 1, &[value], |_| f64::from(value) - 0.01);
        }
        let of = |scale, no_model| colors(std::iter::once(&cells), scale, no_model);
        assert_eq!(of(ColorScale::Legacy, false).low, 1.0);
        assert_eq!(of(ColorScale::Legacy, false).high, 1.6);
        assert!((of(ColorScale::Legacy, false).residual - 0.01).abs() < 1e-8);
        assert_eq!(of(ColorScale::Percentiles(0.0, 100.0), true).low, 0.5);
        assert_eq!(of(ColorScale::Fixed(1.0, 1.2), false).high, 1.2);
        let nothing = colors([].into_iter(), ColorScale::Legacy, false);
        assert!(nothing.low < nothing.high && nothing.residual > 0.0);
    }
}
