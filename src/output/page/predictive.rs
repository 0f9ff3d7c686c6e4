//! What the draws predict of the data, beside the data: c2 over the lag from a few frames on, angle by angle.

use maud::{Markup, html};

use super::drawing::{HEIGHT, WIDTH, area, colour, dots, picture, range, share};
use crate::gram::Point;
use crate::gram::overview::{Overview, View};
use crate::output::Report;
use crate::output::views::row_curve;
use crate::sampler::Draw;

/// Most angles that are shown.
const ANGLES: usize = 8;
/// Draws that are enough for a mean and a deviation.
const DRAWS: usize = 100;
/// Deviations on either side that 95.45 % of what is predicted lie within.
const WITHIN: f64 = 2.0;

/// What is predicted of a row, point by point.
struct Row {
    t1: f64,
    lag: Vec<f64>,
    data: Vec<f64>,
    mean: Vec<f64>,
    /// Of the model along the draws and of the data's noise.
    deviation: Vec<f64>,
}

impl Row {
    fn is_within(&self, k: usize) -> bool {
        (self.data[k] - self.mean[k]).abs() <= WITHIN * self.deviation[k]
    }
}

fn row(report: &Report, view: &View, draws: &[&Draw], seen: &Overview, angle: usize, row: usize) -> Option<Row> {
    let curve = |point: &Point| row_curve(report.experiment, view, angle, row, seen, point);
    let own = curve(&view.point);
    let n = own.points.len();
    let (mut sum, mut square) = (vec![0.0; n], vec![0.0; n]);
    for draw in draws {
        let point = Point { physical: draw.physical.clone(), scaling: draw.scaling.clone() };
        for (k, (drawn, own)) in curve(&point).points.iter().zip(&own.points).enumerate() {
            // against the fit, so that the square keeps its digits
            let difference = drawn.fit - own.fit;
            sum[k] += difference;
            square[k] += difference * difference;
        }
    }
    let count = draws.len() as f64;
    let moments = |k: usize| {
        let mean = sum[k] / count;
        (own.points[k].fit + mean, (square[k] / count - mean * mean).max(0.0).sqrt().hypot(own.points[k].error))
    };
    (n > 0).then(|| Row {
        t1: own.t1.unwrap_or_default(),
        lag: own.points.iter().map(|point| point.lag).collect(),
        data: own.points.iter().map(|point| point.data).collect(),
        mean: (0..n).map(|k| moments(k).0).collect(),
        deviation: (0..n).map(|k| moments(k).1).collect(),
    })
}

/// One angle: what is predicted as bands, the data as points.
fn check(phi: f64, rows: &[Row]) -> Markup {
    let ends = |row: &Row, sign: f64| {
        row.mean
            .iter()
            .zip(&row.deviation)
            .map(|(mean, deviation)| mean + sign * WITHIN * deviation)
            .collect::<Vec<f64>>()
    };
    let all = rows.iter().flat_map(|row| row.data.iter().copied().chain(ends(row, -1.0)).chain(ends(row, 1.0)));
    let limits = range(all);
    let lags = range(rows.iter().flat_map(|row| row.lag.iter().map(|lag| lag.ln())));
    let inside: String = rows
        .iter()
        .enumerate()
        .map(|(k, row)| {
            let places: Vec<f64> = row.lag.iter().map(|lag| share(lag.ln(), lags)).collect();
            let heights = |values: &[f64]| values.iter().map(|&v| share(v, limits)).collect::<Vec<f64>>();
            let band = area(&places, &heights(&ends(row, -1.0)), &heights(&ends(row, 1.0)), (colour(k), 0.25));
            let points = places.iter().copied().zip(heights(&row.data));
            format!("{band}{}", dots(points, (colour(k), 0.9), (WIDTH, HEIGHT)))
        })
        .collect();
    let title = format!(
        "c2 at φ = {phi}°: {:.4} to {:.4}, lags {:.3} to {:.3} s",
        limits.0,
        limits.1,
        lags.0.exp(),
        lags.1.exp()
    );
    picture(&title, (WIDTH, HEIGHT), &inside)
}

/// The pictures, with the share of the data that lies where it should; nothing where nothing was sampled or seen.
pub(super) fn checks(report: &Report, view: &View, seen: &[Overview]) -> Markup {
    let Some(summary) = report.posterior.as_ref().filter(|summary| !summary.shown.is_empty() && !seen.is_empty())
    else {
        return html! {};
    };
    let step = summary.shown.len().div_ceil(DRAWS);
    let draws: Vec<&Draw> = summary.shown.iter().step_by(step).collect();
    let angles: Vec<(f64, Vec<Row>)> = seen
        .iter()
        .enumerate()
        .take(ANGLES)
        .map(|(angle, seen)| {
            let rows = (0..view.rows.len()).filter_map(|k| row(report, view, &draws, seen, angle, k)).collect();
            (report.experiment.phi[angle], rows)
        })
        .collect();
    let rows = || angles.iter().flat_map(|(_, rows)| rows);
    let points: usize = rows().map(|row| row.lag.len()).sum();
    let within: usize = rows().map(|row| (0..row.lag.len()).filter(|&k| row.is_within(k)).count()).sum();
    let first: Vec<String> =
        angles.first().map_or(Vec::new(), |(_, rows)| rows.iter().map(|row| format!("{:.3} s", row.t1)).collect());
    html! {
        h3 { "What the draws predict of c2" }
        p.note {
            "Bands hold 95 % of what the draws and the noise predict, over the logarithm of the lag from t₁ = " (first.join(", "))
            " on; points are the data. " (format!("{:.1} %", 100.0 * within as f64 / points.max(1) as f64)) " of " (points)
            " points lie within their band."
            @if seen.len() > ANGLES { " The first " (ANGLES) " of " (seen.len()) " angles are shown." }
        }
        div.drawings { @for (phi, rows) in &angles { (check(*phi, rows)) } }
    }
}
