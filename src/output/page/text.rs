//! The text and tables of the page, with a place for every figure.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::posterior;
use crate::model::{CONTRAST, OFFSET, PHYSICAL};
use crate::output::console::{plain, with_error};
use crate::output::{Report, quality};
use crate::text::{counted, grouped};
use crate::version::{NAME_AND_VERSION, commit};

const STYLE: &str = include_str!("report.css");
const SCRIPTS: [&str; 2] = [include_str!("charts.js"), include_str!("report.js")];

/// The whole page; `data` is the JSON behind its figures, `checks` what draws predict of the data.
pub(super) fn page(report: &Report, data: &str, checks: Markup) -> Markup {
    let name = report.data.file.file_name().unwrap_or_default().to_string_lossy();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (name) ": " (report.convergence_status()) ", quality " (report.quality_flag()) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (verdict(report, &name))
                noscript { p { "Figures are drawn by scripts, which this viewer doesn't run; text and tables are complete." } }
                main {
                    (parameters(report))
                    (posterior::section(report, checks))
                    (angles())
                    (figures("over-phi", "Over φ", &["contrast", "offset", "chi-squared"]))
                    (per_angle(report))
                    (figures("rates", "Rates", &["rate-0", "rate-1"]))
                    (figures("correlation", "Correlation of the errors", &["correlation-matrix"]))
                    (figures("convergence", "Convergence", &["cost"]))
                    (figures("time", "Time", &["phases", "ranks"]))
                    (configuration(report))
                    (provenance(report))
                }
                script type="application/json" id="report-data" { (PreEscaped(data)) }
                @for script in SCRIPTS {
                    script { (PreEscaped(script)) }
                }
            }
        }
    }
}

fn verdict(report: &Report, name: &str) -> Markup {
    let (e, flag) = (report.experiment, report.quality_flag());
    let (pairs, seconds) = (report.fit.projected.n_pairs() as u64, report.seconds);
    let warnings: Vec<String> = report.quality_warnings().into_iter().chain(report.warnings.iter().cloned()).collect();
    let against = if report.sigma.is_default() {
        format!("{} against the noise in the data", plain(report.reduced_against_noise()))
    } else {
        format!("{} with σ {}", plain(report.reduced_chi_squared()), report.sigma.source.words())
    };
    let facts = [
        ("χ²/DOF", against),
        ("smooth part", report.smooth.map_or("not judged".into(), |smooth| smooth.text())),
        ("stopped", report.reason()),
        ("data", format!("{} angles × {} frames, {} pairs", e.n_angles(), e.n_frames, grouped(pairs))),
        ("model", model(report)),
        ("contrast, offset", format!("{}: {}", report.scaling.name(), report.scaling_reason)),
        ("took", format!("{seconds:.2} s on {}", machines(report))),
    ];
    html! {
        header #verdict {
            h1 { (name) }
            p class={ "flag " (flag) } { strong { (report.convergence_status()) ", quality " (flag) } ": " (quality::words(flag)) }
            dl {
                @for (fact, value) in &facts {
                    div { dt { (fact) } dd { (value) } }
                }
            }
            @if !warnings.is_empty() {
                ul.warnings {
                    @for warning in &warnings { li { (warning) } }
                }
            }
        }
    }
}

fn model(report: &Report) -> String {
    let e = report.experiment;
    let mode = e.mode.name();
    if e.mode.has_shear() {
        format!("{mode}, shear convention {} (sinc^{})", e.convention.name(), e.convention.power())
    } else {
        mode.into()
    }
}

fn machines(report: &Report) -> String {
    let threads: usize = report.ranks.iter().map(|rank| rank.plan.threads).sum();
    let ranks = report.ranks.len();
    format!("{}, {}, {}", counted(ranks, "rank"), counted(threads, "thread"), report.engine())
}

fn parameters(report: &Report) -> Markup {
    let (fit, space) = (report.fit, report.space);
    let at_bounds = report.at_bounds();
    let physical = PHYSICAL.iter().enumerate().take(space.len()).map(|(i, info)| {
        let held = if space.fixed[i].is_some() { "fixed" } else { "" };
        let note = if fit.at_bound[i] { "at a bound" } else { held };
        (info, fit.physical[i], fit.covariance.physical[i], space.bounds[i], note)
    });
    let means = report.mean_scaling().into_iter().zip([(CONTRAST, space.contrast), (OFFSET, space.offset)]);
    html! {
        section #parameters {
            h2 { "Parameters" }
            table {
                thead { tr { th { "parameter" } th.number { "value ± standard error" } th { "unit" } th { "within its bounds" } th {} } }
                tbody {
                    @for (info, value, error, bounds, note) in physical {
                        (row(info.name, with_error(value, error), info.unit, bar(value, error, bounds), note))
                    }
                    @for ((info, value, error), (_, bounds)) in means {
                        @let note = if at_bounds.iter().any(|b| b.starts_with(info.name)) { "at a bound" } else { "mean" };
                        (row(info.name, with_error(value, error), info.unit, bar(value, error, bounds), note))
                    }
                    @for at in &fit.covariance.at_reference {
                        @let name = format!("{}({:.4} s)", at.name, at.t_ref);
                        (row(&name, with_error(at.value, at.value_error), at.unit, html! {}, "derived"))
                        (row("its slope in ln t", with_error(at.slope, at.slope_error), at.unit, html! {}, "derived"))
                    }
                    @for (derived, error) in report.derived_elsewhere() {
                        (row(derived.name, with_error(derived.value, error), derived.unit, html! {}, "derived"))
                    }
                }
            }
        }
    }
}

fn row(name: &str, value: String, unit: &str, bounds: Markup, note: &str) -> Markup {
    html! {
        tr { td { (name) } td.number { (value) } td { (unit) } td { (bounds) } td.note { (note) } }
    }
}

/// Where a value and its error lie between two bounds.
fn bar(value: f64, error: f64, (min, max): (f64, f64)) -> Markup {
    let share = |x: f64| 100.0 * ((x - min) / (max - min)).clamp(0.0, 1.0);
    let extent = error.is_finite().then(|| (share(value - error), share(value + error)));
    html! {
        div.bounds title={ (min) " to " (max) } {
            @if let Some((from, to)) = extent {
                span.error style={ "left:" (format!("{from:.2}")) "%;width:" (format!("{:.2}", to - from)) "%" } {}
            }
            span.range style={ "left:" (format!("{:.2}", share(value))) "%" } {}
        }
    }
}

fn angles() -> Markup {
    html! {
        section #angles {
            h2 { "Data and fit" }
            div.picker {
                button #previous-angle type="button" aria-label="previous angle" { "‹" }
                select #angle aria-label="angle" {}
                button #next-angle type="button" aria-label="next angle" { "›" }
                label { input #own-scale type="checkbox"; " colours of this angle alone" }
            }
            div.maps {
                @for id in ["map-data", "map-fit", "map-residual"] { div.figure id=(id) {} }
            }
            p.readout role="status" {}
            div.curves {
                @for id in ["lags", "histogram", "autocorrelation"] { div.figure id=(id) {} }
            }
        }
    }
}

fn figures(id: &str, title: &str, ids: &[&str]) -> Markup {
    html! {
        section id=(id) {
            h2 { (title) }
            div.figures {
                @for id in ids { div.figure id=(id) {} }
            }
        }
    }
}

fn per_angle(report: &Report) -> Markup {
    let (fit, e) = (report.fit, report.experiment);
    html! {
        section #per-angle {
            details {
                summary { "All " (e.n_angles()) " angles as a table" }
                table {
                    thead { tr { th.number { "φ (degree)" } th.number { "contrast" } th.number { "offset" } th.number { "χ²/DOF" } th.number { "pairs" } } }
                    tbody {
                        @for a in 0..e.n_angles() {
                            @let ((contrast, offset), (dc, d_o)) = (fit.projected.scaling[a], fit.covariance.scaling[a]);
                            tr {
                                td.number { (format!("{:.3}", e.phi[a])) }
                                td.number { (with_error(contrast, dc)) }
                                td.number { (with_error(offset, d_o)) }
                                td.number { (format!("{:.4}", report.reduced_of_angle(a))) }
                                td.number { (grouped(fit.projected.pairs_per_angle[a] as u64)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn configuration(report: &Report) -> Markup {
    html! {
        section #configuration {
            details {
                summary { "Configuration in force" }
                pre { (format!("{:#}", report.config.effective)) }
            }
        }
    }
}

fn provenance(report: &Report) -> Markup {
    let d = report.data;
    let facts = [
        ("program", format!("{NAME_AND_VERSION} ({})", commit())),
        ("written", report.timestamp.clone()),
        ("configuration", report.config.path.display().to_string()),
        ("data file", format!("{} ({} layout)", d.file.display(), d.layout)),
        ("data hash", d.hash.clone()),
        (
            "frames",
            format!("{} to {} of {}", d.first_frame, d.first_frame + report.experiment.n_frames - 1, d.n_file_frames),
        ),
        (
            "q, dt",
            format!("{} 1/Å ({}), {} s ({})", report.experiment.q, d.q_source, report.experiment.dt, d.dt_source),
        ),
        ("strategy", report.strategy.name().to_string()),
        (
            "passes",
            report
                .passes
                .iter()
                .zip(&report.level_pairs)
                .map(|(n, pairs)| format!("{n} × {}", grouped(*pairs as u64)))
                .collect::<Vec<_>>()
                .join(", "),
        ),
    ];
    html! {
        section #provenance {
            details {
                summary { "Where this comes from" }
                dl {
                    @for (fact, value) in &facts { div { dt { (fact) } dd { (value) } } }
                }
            }
        }
    }
}
