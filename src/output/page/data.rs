//! The numbers behind the figures of the page, as JSON.
//!
//! Maps are stored as whole numbers of 16 bits in base64, their upper triangle row by row: 65535 is no value, 0 to 65534 run from
//! the least to the greatest. All other numbers have six digits: more than a screen shows.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::frames_over_ln;
use crate::config::ColorScale;
use crate::gram::overview::{Cells, Overview, SHIFTS, View};
use crate::model::{Block, CONTRAST, Experiment, OFFSET, PHYSICAL, ScalingMode};
use crate::output::Report;
use crate::output::pictures::Palette;
use crate::output::views::{Colors, Curve, colors, curves};

/// No value.
const MISSING: u16 = u16::MAX;
/// Points of a curve over time.
const TIMES: usize = 160;
/// Most parameters in the table of correlations.
const MOST_CORRELATED: usize = 40;

/// A number with six digits, or null.
fn number(x: f64) -> Value {
    if x.is_finite() { json!(format!("{x:.5e}").parse::<f64>().unwrap_or(x)) } else { Value::Null }
}

fn numbers(values: impl IntoIterator<Item = f64>) -> Value {
    values.into_iter().map(number).collect()
}

/// All of it. `seen` is empty where the data couldn't be looked at.
pub(super) fn data(report: &Report, view: &View, seen: &[Overview]) -> Value {
    let e = report.experiment;
    let scale = report.config.plotting.scale;
    json!({
        "maps": seen.first().map(|first| json!({ "side": first.cells.side(), "edges": edges(e, &first.cells) })),
        "colors": {
            "sequential": BASE64_STANDARD.encode(Palette::C2.table()),
            "diverging": BASE64_STANDARD.encode(Palette::Residual.table()),
        },
        "scale": of_colors(&colors(seen.iter().map(|seen| &seen.cells), scale, false)),
        "angles": (0..e.n_angles()).map(|a| angle(report, view, a, seen.get(a), scale)).collect::<Vec<_>>(),
        "shifts": SHIFTS,
        "dt": number(e.dt),
        "rates": rates(report),
        "correlation": correlation(report),
        "iterations": report.fit.iterations.iter().map(|i| json!({
            "level": i.level,
            "pass": i.pass,
            "n_pairs": report.level_pairs[i.level],
            "cost": number(report.in_sigma(i.residual_variance)),
            "decrement": number(i.decrement),
        })).collect::<Vec<_>>(),
        "phases": report.phases.iter()
            .map(|p| json!({ "name": p.name, "seconds": number(p.time.as_secs_f64()) })).collect::<Vec<_>>(),
        "ranks": report.ranks.iter().enumerate().map(|(rank, r)| json!({
            "rank": rank,
            "host": report.places.get(rank).map(|place| &place.host),
            "threads": r.plan.threads,
            "worked": number(report.worked_share(rank)),
            "memory_mb": number(r.peak_memory as f64 / (1u64 << 20) as f64),
        })).collect::<Vec<_>>(),
        "loss": report.config.fit.loss_name(),
    })
}

/// Times at which cells begin, and the last one ends, s.
fn edges(e: &Experiment, cells: &Cells) -> Value {
    // position 0 is frame 1
    numbers((0..=cells.side()).map(|cell| e.time(cells.edge(cell) + 1)))
}

fn of_colors(colors: &Colors) -> Value {
    json!({ "low": number(colors.low), "high": number(colors.high), "residual": number(colors.residual) })
}

fn angle(report: &Report, view: &View, a: usize, seen: Option<&Overview>, scale: ColorScale) -> Value {
    let fit = report.fit;
    let ((contrast, offset), (contrast_error, offset_error)) = (fit.projected.scaling[a], fit.covariance.scaling[a]);
    let mut value = json!({
        "phi": number(report.experiment.phi[a]),
        "contrast": number(contrast),
        "contrast_error": number(contrast_error),
        "offset": number(offset),
        "offset_error": number(offset_error),
        "chi2": number(report.reduced_of_angle(a)),
        "sigma": number(view.sigma[a]),
    });
    let Some(seen) = seen else { return value };
    let (data, data_range) = map(&seen.cells, |mean| mean.data);
    let (residual, residual_range) = map(&seen.cells, |mean| mean.residual);
    let [along_lag, along_age] = seen.autocorrelation();
    // 95 % of the autocorrelation of noise lie within
    let bound = 2.0 / (seen.square.count as f64).sqrt();
    for (key, of) in [
        ("scale", of_colors(&colors(std::iter::once(&seen.cells), scale, false))),
        ("data", json!(data)),
        ("data_range", data_range),
        ("residual", json!(residual)),
        ("residual_range", residual_range),
        ("curves", curves(report.experiment, view, a, seen).iter().map(curve).collect()),
        ("histogram", json!(seen.histogram)),
        ("autocorrelation", json!({ "lag": numbers(along_lag), "age": numbers(along_age), "bound": number(bound) })),
    ] {
        value[key] = of;
    }
    value
}

fn curve(curve: &Curve) -> Value {
    let label = match curve.t1 {
        None => "averaged over age".to_string(),
        Some(t1) => format!("t₁ = {} s", number(t1)),
    };
    let column = |of: fn(&crate::output::views::CurvePoint) -> f64| numbers(curve.points.iter().map(of));
    json!({
        "label": label,
        "t1": curve.t1.map(number),
        "lag": column(|p| p.lag),
        "data": column(|p| p.data),
        "fit": column(|p| p.fit),
        "error": column(|p| p.error),
    })
}

/// A map, and the range that it runs over.
fn map(cells: &Cells, of: impl Fn(crate::gram::overview::Mean) -> f64) -> (String, Value) {
    let values: Vec<Option<f64>> = cells.means().map(|mean| mean.map(&of)).collect();
    let known = || values.iter().flatten().copied();
    let (low, high) = (known().fold(f64::INFINITY, f64::min), known().fold(f64::NEG_INFINITY, f64::max));
    let step = if high > low { (high - low) / f64::from(MISSING - 1) } else { 1.0 };
    let whole = |value: &Option<f64>| value.map_or(MISSING, |value| ((value - low) / step).round() as u16);
    let bytes: Vec<u8> = values.iter().flat_map(|value| whole(value).to_le_bytes()).collect();
    // ends are kept in full: what is shown is reckoned from them
    let range = json!([low, if high > low { high } else { low + f64::from(MISSING - 1) }]);
    (BASE64_STANDARD.encode(bytes), if low.is_finite() { range } else { json!([0.0, 1.0]) })
}

/// D and γ̇ over time with their standard errors, at frames spread evenly over the logarithm of the time.
fn rates(report: &Report) -> Value {
    let (e, fit) = (report.experiment, report.fit);
    let frames = frames_over_ln(e.n_frames, TIMES);
    let of_block = |block: usize| {
        let own = Block::from_slice(&fit.physical[3 * block..]);
        let rate = |i: usize| own.rate(e.tau(i));
        let error = |i: usize| fit.covariance.rate_error(block, own.gradient(e.tau(i), e.t_ref()));
        let (name, label) = [("D", "D(t)"), ("gamma_dot", "γ̇(t)")][block];
        json!({
            "name": name,
            "label": label,
            "unit": PHYSICAL[3 * block].unit,
            "t": numbers(frames.iter().map(|&i| e.time(i))),
            "value": numbers(frames.iter().map(|&i| rate(i).max(crate::model::RATE_FLOOR))),
            "low": numbers(frames.iter().map(|&i| rate(i) - error(i))),
            "high": numbers(frames.iter().map(|&i| rate(i) + error(i))),
        })
    };
    (0..e.mode.n_physical() / 3).map(of_block).collect()
}

/// Correlations of what is free, of the physical parameters alone where angles are many.
fn correlation(report: &Report) -> Value {
    let (full, n, k) = (&report.fit.covariance.full, report.space.len(), report.experiment.n_angles());
    let shared = matches!(report.scaling, ScalingMode::Averaged) || k == 1;
    let mut names: Vec<(usize, String)> =
        PHYSICAL.iter().take(n).enumerate().map(|(i, info)| (i, info.name.to_string())).collect();
    if shared || n + 2 * k <= MOST_CORRELATED {
        for angle in 0..if shared { 1 } else { k } {
            let of = if shared { String::new() } else { format!(" {}°", report.experiment.phi[angle]) };
            names.push((n + 2 * angle, format!("{}{of}", CONTRAST.name)));
            names.push((n + 2 * angle + 1, format!("{}{of}", OFFSET.name)));
        }
    }
    // what is held or not determined has no variance
    names.retain(|(at, _)| full.at(*at, *at) > 0.0);
    let entry = |i: usize, j: usize| number(full.at(i, j) / (full.at(i, i) * full.at(j, j)).sqrt());
    json!({
        "names": names.iter().map(|(_, name)| name).collect::<Vec<_>>(),
        "matrix": names.iter()
            .map(|(i, _)| names.iter().map(|(j, _)| entry(*i, *j)).collect::<Vec<_>>()).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_keep_their_values() {
        let mut cells = Cells::new(3, 3);
        cells.add_row(0, 1..3, &[1.25, 1.0], |_| 1.0);
        cells.add_row(1, 2..3, &[f32::NAN], |_| 1.0);
        let (text, range) = map(&cells, |mean| mean.data);
        let bytes = BASE64_STANDARD.decode(text).unwrap();
        let values: Vec<u16> = bytes.chunks(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
        assert_eq!(values, [MISSING, MISSING - 1, 0, MISSING, MISSING, MISSING]);
        assert_eq!(range, json!([1.0, 1.25]));
        let (flat, range) = map(&cells, |_| 2.0);
        assert_eq!(BASE64_STANDARD.decode(flat).unwrap()[2..4], [0, 0]);
        assert_eq!(range[0], 2.0);
    }

    #[test]
    fn numbers_have_six_digits() {
        assert_eq!(number(0.123_456_789).to_string(), "0.123457");
        assert_eq!(number(f64::NAN), Value::Null);
        assert_eq!(number(1234.5).to_string(), "1234.5");
    }
}
