//! Draws from the posterior on the page: a table and pictures, drawn here, so that they need no scripts.

use std::fmt::Write;

use maud::{Markup, PreEscaped, html};

use super::frames_over_ln;
use crate::model::{Block, PHYSICAL, RATE_FLOOR};
use crate::output::Report;
use crate::output::console::{rounded, with_error};
use crate::sampler::diagnostics::{quantile, rank_histogram};
use crate::sampler::summary::{Agreement, Kind, Marginal, QUANTILES, Series, Summary};
use crate::text::grouped;

/// Colours of chains, told apart by people who see fewer of them (Okabe and Ito).
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5b6773"];
/// Points of a trace, of a cloud, and bins.
const TRACE: usize = 250;
const CLOUD: usize = 300;
const BINS: usize = 20;
/// Times of a band.
const TIMES: usize = 60;
/// Size of a picture, in its own units.
const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 120.0;
/// Side of a cloud.
const SIDE: f64 = 120.0;

/// Positions from 0 to 1 of values between two others.
fn share(value: f64, (low, high): (f64, f64)) -> f64 {
    if high > low { ((value - low) / (high - low)).clamp(0.0, 1.0) } else { 0.5 }
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.filter(|v| v.is_finite()).fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)))
}

fn all(series: &Series) -> impl Iterator<Item = f64> + '_ {
    series.chains.iter().flatten().copied()
}

/// A line through points from 0 to 1, the second upwards.
fn line(points: impl Iterator<Item = (f64, f64)>, colour: &str, (width, height): (f64, f64)) -> String {
    let mut path = String::new();
    for (k, (x, y)) in points.enumerate() {
        let _ = write!(path, "{}{:.1} {:.1}", if k == 0 { "M" } else { "L" }, width * x, height * (1.0 - y));
    }
    format!("<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1\" stroke-opacity=\"0.75\"/>")
}

fn picture(title: &str, (width, height): (f64, f64), inside: &str) -> Markup {
    html! {
        div.drawn {
            h3 { (title) }
            (PreEscaped(format!(
                "<svg viewBox=\"-1 -1 {} {}\" role=\"img\"><rect width=\"{width}\" height=\"{height}\" fill=\"none\" stroke=\"#d9dee3\"/>{inside}</svg>",
                width + 2.0,
                height + 2.0
            )))
        }
    }
}

fn colour(chain: usize) -> &'static str {
    COLOURS[chain % COLOURS.len()]
}

/// All chains over their draws, thinned.
fn trace(series: &Series) -> Markup {
    let limits = range(all(series));
    let lines: String = series
        .chains
        .iter()
        .enumerate()
        .map(|(k, chain)| {
            let step = chain.len().div_ceil(TRACE).max(1);
            let points = chain.iter().step_by(step).enumerate();
            let points = points.map(|(i, &v)| ((i * step) as f64 / chain.len() as f64, share(v, limits)));
            line(points, colour(k), (WIDTH, HEIGHT))
        })
        .collect();
    picture(&format!("{}: {:.4e} to {:.4e}", series.name, limits.0, limits.1), (WIDTH, HEIGHT), &lines)
}

/// How the ranks of every chain's draws among all are spread: flat where chains agree.
fn ranks(series: &Series) -> Markup {
    let counts = rank_histogram(&series.chains, BINS);
    let most = counts.iter().flatten().copied().max().unwrap_or(1).max(1) as f64;
    let lines: String = counts
        .iter()
        .enumerate()
        .map(|(k, counts)| {
            let steps = counts.iter().enumerate().flat_map(|(bin, &n)| {
                let y = n as f64 / most;
                [(bin as f64 / BINS as f64, y), ((bin + 1) as f64 / BINS as f64, y)]
            });
            line(steps, colour(k), (WIDTH, HEIGHT))
        })
        .collect();
    picture(&format!("{}: ranks by chain", series.name), (WIDTH, HEIGHT), &lines)
}

/// Draws of two quantities against each other.
fn cloud(across: &Series, up: &Series) -> Markup {
    let limits = (range(all(across)), range(all(up)));
    let n = all(across).count();
    let mut dots = String::new();
    for (x, y) in all(across).zip(all(up)).step_by(n.div_ceil(CLOUD).max(1)) {
        let (x, y) = (SIDE * share(x, limits.0), SIDE * (1.0 - share(y, limits.1)));
        let _ = write!(dots, "M{x:.1} {y:.1}h.01");
    }
    let dots = format!(
        "<path d=\"{dots}\" stroke=\"{}\" stroke-width=\"2\" stroke-linecap=\"round\" stroke-opacity=\"0.4\"/>",
        COLOURS[0]
    );
    picture(&format!("{} over {}", up.name, across.name), (SIDE, SIDE), &dots)
}

/// What the draws predict of a rate: its middle and the intervals of 68 % and 95 % over the logarithm of the time.
fn band(report: &Report, summary: &Summary, block: usize) -> Option<Markup> {
    let e = report.experiment;
    let of = |k: usize| {
        let name = PHYSICAL[3 * block + k].name;
        let found = summary.marginals.iter().find(|m| m.series.name == name);
        let fixed = report.space.fixed[3 * block + k];
        (found.map(|m| all(&m.series).collect::<Vec<f64>>()), fixed)
    };
    let parts: [_; 3] = std::array::from_fn(of);
    let n = parts.iter().find_map(|(draws, _)| draws.as_ref().map(Vec::len))?;
    let value = |k: usize, draw: usize| match &parts[k] {
        (Some(draws), _) => draws[draw],
        (None, fixed) => fixed.unwrap_or_default(),
    };
    let frames = frames_over_ln(e.n_frames, TIMES);
    let last = *frames.last()?;
    let bands: Vec<[f64; 5]> = frames
        .iter()
        .map(|&frame| {
            let tau = e.tau(frame);
            let mut rates: Vec<f64> = (0..n)
                .map(|d| {
                    let own = Block { amplitude: value(0, d), exponent: value(1, d), offset: value(2, d) };
                    (own.amplitude * tau.powf(own.exponent) + own.offset).max(RATE_FLOOR)
                })
                .collect();
            rates.sort_by(f64::total_cmp);
            QUANTILES.map(|p| quantile(&rates, p))
        })
        .collect();
    let limits = range(bands.iter().flatten().copied());
    let times = (e.tau(frames[0]).ln(), e.tau(last).ln());
    let x = |k: usize| share(e.tau(frames[k]).ln(), times);
    let area = |low: usize, high: usize, opacity: f64| {
        let mut path = String::new();
        let there = (0..frames.len()).map(|k| (k, high));
        let back = (0..frames.len()).rev().map(|k| (k, low));
        for (i, (k, side)) in there.chain(back).enumerate() {
            let (x, y) = (WIDTH * x(k), HEIGHT * (1.0 - share(bands[k][side], limits)));
            let _ = write!(path, "{}{x:.1} {y:.1}", if i == 0 { "M" } else { "L" });
        }
        format!("<path d=\"{path}Z\" fill=\"{}\" fill-opacity=\"{opacity}\"/>", COLOURS[0])
    };
    let middle = line((0..frames.len()).map(|k| (x(k), share(bands[k][2], limits))), COLOURS[0], (WIDTH, HEIGHT));
    let label = ["D(t)", "γ̇(t)"][block];
    let title = format!(
        "{label}: {:.3e} to {:.3e} {}, t = {:.3} to {:.3} s, 68 % and 95 % of the draws",
        limits.0,
        limits.1,
        PHYSICAL[3 * block].unit,
        e.tau(frames[0]),
        e.tau(last)
    );
    Some(picture(&title, (WIDTH, HEIGHT), &format!("{}{}{middle}", area(0, 4, 0.15), area(1, 3, 0.3))))
}

fn row(marginal: &Marginal) -> Markup {
    let (series, d) = (&marginal.series, &marginal.diagnosis);
    let agreement = marginal.agreement.as_ref().map_or(String::new(), Agreement::words);
    html! {
        tr {
            td { (series.name) }
            td.number { (with_error(d.mean, d.sd)) }
            td { (series.unit) }
            td.number { (rounded(marginal.quantiles[1], d.sd)) " … " (rounded(marginal.quantiles[3], d.sd)) }
            td.number { (format!("{:.3}", d.rhat)) }
            td.number { (format!("{:.0}", d.ess_bulk.min(d.ess_tail))) }
            td.note { (agreement) }
        }
    }
}

/// The section; nothing where nothing was sampled.
pub(super) fn section(report: &Report) -> Markup {
    let Some(summary) = &report.posterior else { return html! {} };
    let doubts = summary.doubts();
    let (flag, verdict) = if doubts.is_empty() {
        ("good", "the chains have mixed, and their draws can be believed")
    } else {
        ("poor", "the draws aren't to be believed yet")
    };
    let config = &summary.config;
    let of_all = || summary.marginals.iter().filter(|m| m.series.angle.is_none());
    let parameters: Vec<&Series> =
        of_all().map(|m| &m.series).filter(|series| series.kind == Kind::Parameter).collect();
    html! {
        section #posterior {
            h2 { "Posterior" }
            p class={ "flag " (flag) } { (verdict) }
            @if !doubts.is_empty() { ul.warnings { @for doubt in &doubts { li { (doubt) } } } }
            p {
                (config.n_chains) " chains of " (config.n_draws) " draws after a warm-up of " (config.n_warmup) ", "
                (summary.diverged) " diverged; " (grouped(summary.n_points)) " evaluations"
            }
            table {
                thead { tr { th { "quantity" } th.number { "mean ± deviation" } th { "unit" } th.number { "68 % interval" } th.number { "R̂" } th.number { "ESS" } th { "against the fit" } } }
                tbody { @for marginal in of_all() { (row(marginal)) } }
            }
            div.drawings {
                @for block in 0..report.space.len() / 3 {
                    @if let Some(band) = band(report, summary, block) { (band) }
                }
            }
            details {
                summary { "Traces and ranks" }
                div.drawings { @for series in &parameters { (trace(series)) (ranks(series)) } }
            }
            details {
                summary { "Pairs" }
                div.drawings.small {
                    @for (k, up) in parameters.iter().enumerate() {
                        @for across in &parameters[..k] { (cloud(across, up)) }
                    }
                }
            }
        }
    }
}
