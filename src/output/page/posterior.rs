//! Draws from the posterior on the page: a table and pictures.

use maud::{Markup, html};

use super::drawing::{COLOURS, HEIGHT, WIDTH, area, colour, dots, line, picture, range, share};
use super::frames_over_ln;
use crate::model::{Block, PHYSICAL, RATE_FLOOR};
use crate::output::Report;
use crate::output::console::{rounded, with_error};
use crate::sampler::Draw;
use crate::sampler::diagnostics::{quantile, rank_histogram};
use crate::sampler::summary::{Kind, Marginal, QUANTILES, Series, Summary};
use crate::text::{counted, grouped};

/// Points of a trace, of a cloud, and bins.
const TRACE: usize = 250;
const CLOUD: usize = 300;
const BINS: usize = 20;
/// Times of a band.
const TIMES: usize = 60;
/// Side of a cloud.
const SIDE: f64 = 120.0;

fn all(series: &Series) -> impl Iterator<Item = f64> + '_ {
    series.chains.iter().flatten().copied()
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
    let points = all(across).zip(all(up)).step_by(n.div_ceil(CLOUD).max(1));
    let points = points.map(|(x, y)| (share(x, limits.0), share(y, limits.1)));
    picture(&format!("{} over {}", up.name, across.name), (SIDE, SIDE), &dots(points, (COLOURS[0], 0.4), (SIDE, SIDE)))
}

/// What the draws predict of a rate: its middle and the intervals of 68 % and 95 % over the logarithm of the time.
fn band(report: &Report, summary: &Summary, block: usize) -> Option<Markup> {
    let e = report.experiment;
    if summary.shown.is_empty() || (3 * block..3 * block + 3).all(|k| report.space.fixed[k].is_some()) {
        return None;
    }
    let frames = frames_over_ln(e.n_frames, TIMES);
    let last = *frames.last()?;
    let bands: Vec<[f64; 5]> = frames
        .iter()
        .map(|&frame| {
            let rate = |draw: &Draw| Block::from_slice(&draw.physical[3 * block..]).rate(e.tau(frame)).max(RATE_FLOOR);
            let mut rates: Vec<f64> = summary.shown.iter().map(rate).collect();
            rates.sort_by(f64::total_cmp);
            QUANTILES.map(|p| quantile(&rates, p))
        })
        .collect();
    let limits = range(bands.iter().flatten().copied());
    let times = (e.tau(frames[0]).ln(), e.tau(last).ln());
    let places: Vec<f64> = frames.iter().map(|&frame| share(e.tau(frame).ln(), times)).collect();
    let side = |k: usize| bands.iter().map(|band| share(band[k], limits)).collect::<Vec<f64>>();
    let between = |low: usize, high: usize, opacity: f64| area(&places, &side(low), &side(high), (COLOURS[0], opacity));
    let middle = line(places.iter().copied().zip(side(2)), COLOURS[0], (WIDTH, HEIGHT));
    let label = ["D(t)", "γ̇(t)"][block];
    let title = format!(
        "{label}: {:.3e} to {:.3e} {}, t = {:.3} to {:.3} s, 68 % and 95 % of the draws",
        limits.0,
        limits.1,
        PHYSICAL[3 * block].unit,
        e.tau(frames[0]),
        e.tau(last)
    );
    Some(picture(&title, (WIDTH, HEIGHT), &format!("{}{}{middle}", between(0, 4, 0.15), between(1, 3, 0.3))))
}

fn row(summary: &Summary, marginal: &Marginal) -> Markup {
    let (series, d) = (&marginal.series, &marginal.diagnosis);
    let agreement = summary.beside_the_fit(marginal).unwrap_or_default();
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

/// The section, with pictures that compare with the data; nothing where nothing was sampled.
pub(super) fn section(report: &Report, checks: Markup) -> Markup {
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
            @for remark in summary.remarks() { p.note { (remark) } }
            p {
                (counted(config.n_chains, "chain")) " of " (config.n_draws) " draws after a warm-up of " (config.n_warmup) ", "
                (summary.diverged) " diverged; " (grouped(summary.n_points)) " evaluations"
            }
            p { "Verified " (summary.verified()) "." }
            table {
                thead { tr { th { "quantity" } th.number { "mean ± deviation" } th { "unit" } th.number { "68 % interval" } th.number { "R̂" } th.number { "ESS" } th { "against the fit" } } }
                tbody { @for marginal in of_all() { (row(summary, marginal)) } }
            }
            div.drawings {
                @for block in 0..report.space.len() / 3 {
                    @if let Some(band) = band(report, summary, block) { (band) }
                }
            }
            (checks)
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
