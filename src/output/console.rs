//! The closing report: what was asked for and what was used, the parameters, and where the time went.

use std::fmt::Write;
use std::path::PathBuf;

use super::{Report, Truth};
use crate::cluster::GB;
use crate::config::TimeOrigin;
use crate::model::PHYSICAL;
use crate::sampler::summary::Summary;
use crate::telemetry::Phase;
use crate::text::{counted, grouped, wrapped};
use crate::version::{NAME_AND_VERSION, commit};

const MB: f64 = (1u64 << 20) as f64;
/// Numbers from here …
const SMALLEST_FIXED: f64 = 1e-3;
/// … to here are written without an exponent,
const LARGEST_FIXED: f64 = 1e7;
/// unless that takes more decimals than this.
const MOST_DECIMALS: usize = 9;

/// A value with its error, so that the error shows two digits; with an exponent where fixed digits would be unreadable.
pub(super) fn with_error(value: f64, error: f64) -> String {
    let size = value.abs();
    let fixed = size == 0.0 || (SMALLEST_FIXED..LARGEST_FIXED).contains(&size);
    if !(error.is_finite() && error > 0.0) {
        return plain(value);
    }
    let decimals = (1 - error.log10().floor() as i32).max(0) as usize;
    if fixed && decimals <= MOST_DECIMALS {
        return format!("{value:.decimals$} ± {error:.decimals$}");
    }
    let digits = (size.max(error).log10().floor() - error.log10().floor()).max(0.0) as usize + 1;
    format!("{value:.digits$e} ± {error:.1e}")
}

/// A number without an error.
pub(super) fn plain(value: f64) -> String {
    if value == 0.0 || (SMALLEST_FIXED..LARGEST_FIXED).contains(&value.abs()) {
        format!("{value:.6}")
    } else {
        format!("{value:.6e}")
    }
}

/// The same in a narrow column.
fn short(value: f64) -> String {
    if value == 0.0 || (SMALLEST_FIXED..1e3).contains(&value.abs()) {
        format!("{value:.4}")
    } else {
        format!("{value:.1e}")
    }
}

/// Most numbers that fit into a line one by one.
const MOST_LISTED: usize = 8;

/// Few numbers one by one, many as the range that they span.
fn list_or_range(numbers: &[usize]) -> String {
    let (min, max) = (numbers.iter().min().unwrap_or(&0), numbers.iter().max().unwrap_or(&0));
    match numbers.len() {
        0..=MOST_LISTED => numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(" "),
        _ if min == max => min.to_string(),
        _ => format!("{min} to {max}"),
    }
}

/// Where values begin in a line.
const VALUES: usize = 24;
/// Where the second of two values begins.
const SECOND: usize = 40;

/// Text of at most so many columns.
struct Page {
    text: String,
    width: usize,
}

impl Page {
    fn line(&mut self, text: &str) {
        self.text.push_str(text.trim_end());
        self.text.push('\n');
    }

    /// Text behind `head`, which later lines leave room for.
    fn hang(&mut self, head: &str, at: usize, text: &str) {
        let room = self.width.saturating_sub(at).max(20);
        self.line(&format!("{head:<at$}{}", wrapped(text, room, &" ".repeat(at))));
    }

    fn entry(&mut self, name: &str, value: &str) {
        self.hang(&format!("  {name}"), VALUES, value);
    }

    fn heading(&mut self, text: &str) {
        self.line("");
        self.line(text);
    }
}

pub(super) fn closing_report(report: &Report, written: &[PathBuf], truth: Option<&Truth>, width: usize) -> String {
    let mut page = Page { text: String::new(), width };
    page.line(&format!("{NAME_AND_VERSION} ({})", commit()));
    data(&mut page, report);
    choices(&mut page, report);
    parameters(&mut page, report, truth);
    angles(&mut page, report, truth);
    statistics(&mut page, report);
    if let Some(summary) = &report.posterior {
        posterior(&mut page, summary, truth);
    }
    times(&mut page, report);
    let mut warnings: Vec<String> = report.warnings.iter().cloned().chain(report.quality_warnings()).collect();
    let convention = report.experiment.convention.name();
    if let Some(other) = truth.and_then(|t| t.shear_convention.as_deref()).filter(|c| *c != convention) {
        warnings.push(format!("the truth is meant in the shear convention `{other}`, the fit in `{convention}`"));
    }
    if !warnings.is_empty() {
        page.heading("Warnings");
        for warning in warnings {
            page.hang("  !", 4, &warning);
        }
    }
    if !written.is_empty() {
        page.heading("Files written");
        files(&mut page, written);
    }
    let result =
        format!("Result: {}, quality {}: {}", report.convergence_status(), report.quality_flag(), report.reason());
    page.heading(&wrapped(&result, width.saturating_sub(2), "  "));
    if let Some(summary) = &report.posterior {
        let text = match summary.doubts()[..] {
            [] => "the chains have mixed, and their draws can be believed".to_string(),
            [ref one] => one.clone(),
            [ref first, ref rest @ ..] => format!("{first}; {} more above", rest.len()),
        };
        let verdict = if summary.is_trusted() { "converged" } else { "not converged" };
        page.line(&wrapped(&format!("Posterior: {verdict}: {text}"), width.saturating_sub(2), "  "));
    }
    page.text
}

/// Most pictures that are listed one by one.
const MOST_PICTURES: usize = 8;

/// The files, many pictures in one line.
fn files(page: &mut Page, written: &[PathBuf]) {
    let is_picture = |path: &&PathBuf| path.extension().is_some_and(|end| end == "png" || end == "svg");
    let pictures: Vec<&PathBuf> = written.iter().filter(is_picture).collect();
    let in_one_line = pictures.len() > MOST_PICTURES;
    for path in written.iter().filter(|path| !(in_one_line && is_picture(path))) {
        page.line(&format!("  {}", path.display()));
    }
    if let (true, [first, .., last]) = (in_one_line, &pictures[..]) {
        let name = last.file_name().unwrap_or_default().to_string_lossy();
        page.line(&format!("  {}", first.display()));
        page.line(&format!("    to {name}: {} pictures", pictures.len()));
    }
}

fn data(page: &mut Page, report: &Report) {
    let (e, d) = (report.experiment, report.data);
    page.heading("Data");
    page.entry("file", &format!("{} ({} layout)", d.file.display(), d.layout));
    let last = d.first_frame + e.n_frames - 1;
    page.entry(
        "frames",
        &format!(
            "{} ({} to {last} of {}), dt = {} s ({})",
            e.n_frames, d.first_frame, d.n_file_frames, e.dt, d.dt_source
        ),
    );
    page.entry("angles", &format!("{} at q = {} 1/Å ({})", e.n_angles(), e.q, d.q_source));
    page.entry(
        "pairs fitted",
        &format!(
            "{} of {} ({} missing); {} matrix entries",
            grouped(report.fit.projected.n_pairs() as u64),
            grouped(e.n_pairs()),
            grouped(d.n_missing),
            grouped(e.n_points())
        ),
    );
    if !d.left_out.is_empty() {
        page.entry("left out", &left_out(&d.left_out, d.n_excluded));
    }
}

/// What the configuration leaves out, with the pairs that this costs.
pub fn left_out(what: &str, n_pairs: u64) -> String {
    format!("{what}: {} pairs (data_filtering)", grouped(n_pairs))
}

fn choices(page: &mut Page, report: &Report) {
    let config = report.config;
    page.heading("Fit");
    let mut row = |name: &str, asked: &str, used: &str| {
        page.hang(&format!("  {name:<22}{asked:<14} "), SECOND, used);
    };
    row("", "asked for", "used");
    row("analysis mode", config.mode.name(), report.experiment.mode.name());
    if report.experiment.mode.has_shear() {
        let convention = report.experiment.convention;
        let meaning = format!("{} (sinc^{} in c2)", convention.name(), convention.power());
        row("shear convention", config.convention.name(), &meaning);
    }
    let zero = match config.time_origin {
        TimeOrigin::Selection => report.data.first_frame,
        TimeOrigin::Acquisition => 1,
    };
    row("time origin", config.time_origin.name(), &format!("t = 0 at frame {zero}"));
    let scaling = format!("{} ({})", report.scaling.name(), report.scaling_reason);
    row("scaling mode", config.fit.scaling.map_or("auto", |s| s.name()), &scaling);
    let start = if config.fit.global_search { "global search" } else { "start values given" };
    row("start", if config.parameters.start.is_some() { "values" } else { "null" }, start);
    let loss = config.fit.loss_name();
    let meaning = match &report.fit.robust {
        Some(robust) => format!("{loss} of residuals in units of σ = {:.4e}, the estimated noise", robust.sigma),
        None => "linear (least squares)".into(),
    };
    row("loss", loss, &meaning);
    row("strategy", config.performance.strategy.map_or("by size", |s| s.name()), report.strategy.name());
    let threads = config.performance.threads.map_or("auto".to_string(), |t| t.to_string());
    row("threads a rank", &threads, &list_or_range(&report.ranks.iter().map(|r| r.plan.threads).collect::<Vec<_>>()));
    row("ranks", "", &report.ranks.len().to_string());
    let engine = format!("{}, {}", report.engine(), config.performance.precision.name());
    row("engine", config.performance.device.name(), &engine);
}

fn parameters(page: &mut Page, report: &Report, truth: Option<&Truth>) {
    let fit = report.fit;
    page.heading("Parameters");
    let title = if truth.is_some() { "truth" } else { "" };
    page.line(&format!("  {:<25} {:<26} {:<9} {title}", "", "value ± standard error", "unit"));
    let mut row = |name: &str, value: String, unit: &str, note: &str| {
        page.line(&format!("  {name:<25} {value:<26} {unit:<9} {note}"));
    };
    for (i, info) in PHYSICAL.iter().enumerate().take(report.space.len()) {
        let mut note = truth.and_then(|t| t.params.get(info.name)).map_or(String::new(), |v| v.to_string());
        let limits = fit.covariance.one_sided.iter().find(|limits| limits.parameter == i);
        let beside = limits.map_or(String::new(), |l| format!(", 95 % within {}", short(l.limit_95)));
        for (flag, text) in
            [(fit.at_bound[i], format!("at bound{beside}")), (report.space.fixed[i].is_some(), "fixed".into())]
        {
            if flag {
                let _ = write!(note, "{}{text}", if note.is_empty() { "" } else { "  " });
            }
        }
        row(info.name, with_error(fit.physical[i], fit.covariance.physical[i]), info.unit, &note);
    }
    for at in &fit.covariance.at_reference {
        row(&format!("{}({:.4} s)", at.name, at.t_ref), with_error(at.value, at.value_error), at.unit, "");
        row("  its slope in ln t", with_error(at.slope, at.slope_error), at.unit, "");
    }
    for (derived, error) in report.derived_elsewhere() {
        row(derived.name, with_error(derived.value, error), derived.unit, "");
    }
}

fn angles(page: &mut Page, report: &Report, truth: Option<&Truth>) {
    let (fit, e) = (report.fit, report.experiment);
    page.heading("Angles");
    let title = if truth.is_some() { "true c, o" } else { "" };
    page.line(&format!("  {:>10}  {:<21} {:<21} {:>8}  {title}", "φ (degree)", "contrast", "offset", "χ²/DOF"));
    for a in 0..e.n_angles() {
        let ((contrast, offset), (contrast_error, offset_error)) =
            (fit.projected.scaling[a], fit.covariance.scaling[a]);
        let note = truth.filter(|t| a < t.contrast.len().min(t.offset.len()));
        page.line(&format!(
            "  {:>10.3}  {:<21} {:<21} {:>8}  {}",
            e.phi[a],
            with_error(contrast, contrast_error),
            with_error(offset, offset_error),
            short(report.reduced_of_angle(a)),
            note.map_or(String::new(), |t| format!("{}, {}", t.contrast[a], t.offset[a])),
        ));
    }
}

/// What the draws from the posterior say.
fn posterior(page: &mut Page, summary: &Summary, truth: Option<&Truth>) {
    page.heading("Posterior");
    let config = &summary.config;
    page.entry(
        "draws",
        &format!(
            "{} of {} draws after a warm-up of {}, {} of them diverged",
            counted(config.n_chains, "chain"),
            config.n_draws,
            config.n_warmup,
            summary.diverged
        ),
    );
    let number = |values: &[f64]| values.iter().map(|v| format!("{v:.2}")).collect::<Vec<_>>().join(" ");
    page.entry("E-BFMI by chain", &number(&summary.e_bfmi));
    page.entry(
        "evaluations",
        &format!(
            "{}; {:.1} effective draws a second of the parameter that has fewest",
            grouped(summary.n_points),
            summary.ess_per_second()
        ),
    );
    page.entry("verified", &summary.verified());
    let compares = summary.marginals.iter().any(|m| summary.beside_the_fit(m).is_some());
    let last = if compares {
        "against the fit"
    } else if truth.is_some() {
        "truth"
    } else {
        ""
    };
    page.line(&format!(
        "  {:<26}{:<29} {:<27} {:>6} {:>6}  {last}",
        "", "mean ± deviation", "68 % interval", "R̂", "ESS"
    ));
    for marginal in summary.marginals.iter().filter(|m| m.series.angle.is_none()) {
        let (series, d) = (&marginal.series, &marginal.diagnosis);
        let interval = format!("{} … {}", rounded(marginal.quantiles[1], d.sd), rounded(marginal.quantiles[3], d.sd));
        let known = truth.and_then(|t| t.params.get(series.name.as_str())).map_or(String::new(), |v| v.to_string());
        let note = summary.beside_the_fit(marginal).unwrap_or(known);
        let rhat = if d.rhat.is_nan() { "–".into() } else { format!("{:.3}", d.rhat) };
        page.line(&format!(
            "  {:<26}{:<29} {:<27} {rhat:>6} {:>6.0}  {note}",
            series.name,
            with_error(d.mean, d.sd),
            interval,
            d.ess_bulk.min(d.ess_tail)
        ));
    }
    for word in summary.doubts().into_iter().chain(summary.remarks()) {
        page.hang("  !", 4, &word);
    }
}

/// A value to the digits that its error leaves.
pub(super) fn rounded(value: f64, error: f64) -> String {
    let text = with_error(value, error);
    text.split(" ± ").next().unwrap_or_default().to_string()
}

fn statistics(page: &mut Page, report: &Report) {
    page.heading("Statistics");
    page.entry(
        "χ²",
        &format!("{:.8e} with σ = {} ({})", report.chi_squared(), report.sigma.text(), report.sigma.source.words()),
    );
    page.entry(
        "χ²/DOF",
        &format!("{} for {} degrees of freedom", plain(report.reduced_chi_squared()), report.fit.degrees_of_freedom),
    );
    page.entry("noise in the data", &format!("{:.4e} (from second differences along the lag)", report.noise()));
    page.entry("χ²/DOF against it", &plain(report.reduced_against_noise()));
    if let Some(smooth) = report.smooth {
        page.entry("smooth part", &smooth.text());
    }
    if let (Some(robust), Some(reduced)) = (&report.fit.robust, report.reduced_without_outliers()) {
        page.entry("loss minimised", &format!("{:.8e} ({})", report.loss_value(), robust.loss.name()));
        page.entry("without outliers", &format!("χ²/DOF would be about {}, from the pairs' weights", plain(reduced)));
    }
    if report.sigma.is_default() || report.fit.robust.is_some() {
        let of = if report.fit.robust.is_some() { "what outliers leave of it" } else { "the residuals' own deviation" };
        page.entry("errors scaled by", &format!("{:.4e} ({of})", report.fit.covariance.s2.sqrt()));
    } else {
        page.entry("errors from", "σ as it is, whatever the residuals");
    }
}

fn times(page: &mut Page, report: &Report) {
    page.heading("Time");
    page.line(&format!("  {:<22}{:>7} {:>12} {:>8}", "", "calls", "time", "share"));
    for Phase { name, calls, time } in &report.phases {
        let (seconds, calls) = (time.as_secs_f64(), if *calls > 0 { calls.to_string() } else { String::new() });
        page.line(&format!("  {name:<22}{calls:>7} {seconds:>10.3} s {:>6.1} %", 100.0 * seconds / report.seconds));
    }
    page.line(&format!("  {:<22}{:>7} {:>10.3} s", "total", "", report.seconds));
    page.line("");
    let passes: Vec<String> = report
        .passes
        .iter()
        .zip(&report.level_pairs)
        .map(|(n, pairs)| format!("{n} × {}", grouped(*pairs as u64)))
        .collect();
    page.entry("passes × pairs", &passes.join(", "));
    page.entry("rate", &format!("{:.3} G pairs/s", report.pairs_evaluated / report.pass_seconds / 1e9));
    let shares = || (0..report.ranks.len()).map(|rank| 100.0 * report.worked_share(rank));
    let (least, most) = (shares().fold(f64::INFINITY, f64::min), shares().fold(0.0, f64::max));
    let of = format!("of the {:.3} s of full-resolution passes", report.finest_seconds);
    page.entry(
        "balance",
        &match report.ranks.len() {
            1 => format!("threads worked {most:.1} % {of}"),
            _ => format!("the ranks' threads worked {least:.1} % to {most:.1} % {of}"),
        },
    );
    if let Some(text) = imbalance(report) {
        page.entry("", &text);
    }
    if let Some(text) = on_gpus(report) {
        page.entry("GPU", &text);
    }
    page.entry(
        "memory",
        &format!(
            "{:.0} MB peak over all ranks, {}",
            report.peak_memory() as f64 / MB,
            match report.kept {
                None => format!("{:.0} MB of it packed data", report.data_bytes as f64 / MB),
                Some(kept) => format!(
                    "{:.0} MB of it nodes on rank 0, for {:.0} MB of pairs that are read when they are needed",
                    kept as f64 / MB,
                    report.data_bytes as f64 / MB
                ),
            }
        ),
    );
    let (steady, variation) = report
        .ranks
        .iter()
        .map(|rank| rank.steady_memory)
        .fold((0.0, 0.0f64), |(all, most), (own, varies)| (all + own, most.max(varies)));
    if steady > 0.0 {
        let text = format!("{:.0} MB while matrices passed by, varying by {:.1} %", steady / MB, 100.0 * variation);
        page.entry("", &text);
    }
    let largest = report.ranks.iter().map(|r| r.peak_memory).max().unwrap_or(0);
    let conventional = report.conventional_memory_gb() * GB;
    let instead = if conventional > report.peak_memory() as f64 {
        format!("; a conventional solver would take {:.0} MB", conventional / MB)
    } else {
        String::new()
    };
    page.entry("", &format!("{:.0} MB in the largest rank{instead}", largest as f64 / MB));
}

/// A rank that works so much longer than the mean of all is worth a note.
const UNEVEN: f64 = 1.1;

/// What to say of ranks that worked unevenly.
fn imbalance(report: &Report) -> Option<String> {
    let ranks = report.ranks.len();
    let mean = (0..ranks).map(|rank| report.worked_share(rank)).sum::<f64>() / ranks as f64;
    let slowest = (0..ranks).max_by(|&a, &b| report.worked_share(a).total_cmp(&report.worked_share(b)))?;
    let most = report.worked_share(slowest);
    let host = report.places.get(slowest).map_or("an unknown node", |place| &place.host);
    // of passes that take no time nothing can be said
    (ranks > 1 && report.finest_seconds > 0.1 && most > UNEVEN * mean).then(|| {
        format!(
            "note: rank {slowest} on {host} worked {:.0} % longer than the mean, and the others waited for it: other work on its \
             cores, fewer of them, or a slower node?",
            100.0 * (most / mean - 1.0)
        )
    })
}

/// What GPUs were used for.
fn on_gpus(report: &Report) -> Option<String> {
    let n = report.gpus().count();
    let most = report.gpus().map(|usage| usage.most_bytes).max()? as f64 / MB;
    let sent = report.gpus().map(|usage| usage.sent).sum::<u64>() as f64 / MB;
    let share = report.gpus().map(|usage| usage.kernels).sum::<f64>() / (n as f64 * report.pass_seconds);
    let of = if n == 1 { "".into() } else { format!(" on the fullest of {n}") };
    Some(format!("{most:.0} MB in use{of}, {sent:.0} MB sent, kernels worked {:.1} % of the passes", 100.0 * share))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_show_two_digits() {
        assert_eq!(with_error(9987.65432, 12.3456), "9988 ± 12");
        assert_eq!(with_error(-0.50123, 0.00234), "-0.5012 ± 0.0023");
        assert_eq!(with_error(0.0020123, 0.0000023), "0.0020123 ± 0.0000023");
        assert_eq!(with_error(5.0051e-4, 1.3e-6), "5.005e-4 ± 1.3e-6");
        assert_eq!(with_error(1.0, 3.5e-12), "1.0000000000000e0 ± 3.5e-12");
        assert_eq!(with_error(3.5, f64::NAN), "3.500000");
    }

    #[test]
    fn threads_of_many_ranks_fit_into_the_line() {
        assert_eq!(list_or_range(&[1, 1]), "1 1");
        assert_eq!(list_or_range(&[4; 9]), "4");
        assert_eq!(list_or_range(&[2, 1, 2, 2, 2, 2, 2, 2, 3]), "1 to 3");
    }
}
