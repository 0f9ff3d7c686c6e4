//! `config check`: all that is wrong with a configuration, what has no effect and why, and what a fit would use.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use crate::commands::opening;
use crate::commands::scaling::Choice;
use crate::config::{Config, Findings, IgnoredKey, TimeOrigin, examine, figure};
use crate::dataset::{QFrom, TwoTime};
use crate::model::{CONTRAST, OFFSET, PHYSICAL, ScalingMode};
use crate::output::Table;
use crate::text::grouped;
use crate::{ConfigProblem, Error, Result};

/// Matrix entries up to which all of them are read: a second or two.
const MOST_ENTRIES: usize = 50_000_000;

/// Prints what there is to say about `file` on `out`; with `every_key` each key without effect, otherwise their number by
/// reason. Under `strict` warnings and keys without effect count as problems.
///
/// # Errors
/// [`Error::Config`] where the file can't be read or has a problem.
pub fn check(file: &Path, strict: bool, every_key: bool, out: &mut impl Write) -> Result<()> {
    let findings = examine(file)?;
    let verdict = verdict(file, &findings, strict);
    let data = match &findings.config {
        Some(config) if verdict.is_ok() => look_at_data(config),
        _ => Ok(String::new()),
    };
    crate::commands::heard(print(file, &findings, data.is_ok(), every_key, out))?;
    verdict?;
    crate::commands::heard(writeln!(out, "\n{}", data?))
}

/// Opens the data file, where it is there, as a fit does, and reads it where that is quick.
fn look_at_data(config: &Config) -> Result<String> {
    let Some(file) = &config.data_file else { return Ok("No data file is named: --data-file must.".into()) };
    if !file.exists() {
        let slip = config.data_file_slip.map_or_else(String::new, |slip| format!("; {slip}"));
        return Ok(format!("The data file isn't there, so nothing of it was looked at: {}{slip}", file.display()));
    }
    let dataset = opening::open(config)?;
    let experiment = opening::experiment(config, &dataset)?;
    let choice = Choice::new(config, &experiment)?;
    let is_small = experiment.n_angles() * experiment.n_frames.pow(2) <= MOST_ENTRIES;
    if is_small {
        let mut buffer = TwoTime::default();
        let mut lost = 0;
        for k in 0..experiment.n_angles() {
            let report = dataset.read(k, &mut buffer)?;
            lost += report.n_missing + report.n_excluded;
        }
        choice.check_size(file, experiment.n_pairs() - lost, experiment.n_angles())?;
    }
    let read = if is_small { "and can be read" } else { "not read here, as it is large (`inspect` does)" };
    Ok(format!(
        "The data file fits it, {read}: {}, {} with {} frames, q = {} 1/Å, dt = {} s",
        dataset.layout.name(),
        number(experiment.n_angles(), "angle"),
        experiment.n_frames,
        figure(experiment.q),
        figure(experiment.dt)
    ))
}

/// The one line that a failed check ends with.
fn verdict(file: &Path, findings: &Findings, strict: bool) -> Result<()> {
    let whole = |message: String| {
        let (file, snippet) = (file.to_path_buf(), String::new());
        Err(Error::Config(ConfigProblem { file, place: None, message, snippet, later: false }))
    };
    if let Some(first) = findings.problems.first() {
        let n = findings.problems.len();
        return match first.place {
            _ if n == 1 => Err(Error::Config(first.clone())),
            Some((line, _)) => whole(format!("{n} problems, the first in line {line}: {}", first.message)),
            None => whole(format!("{n} problems, the first: {}", first.message)),
        };
    }
    let Some(config) = findings.config.as_ref().filter(|_| strict) else { return Ok(()) };
    match (&config.warnings[..], &config.ignored_keys[..]) {
        ([], []) => Ok(()),
        ([], [key, ..]) => {
            let n = config.ignored_keys.len();
            whole(format!("{} without effect, among them `{}` (--strict)", number(n, "key"), key.path))
        }
        ([warning, ..], _) => whole(format!("{warning} (--strict)")),
    }
}

fn number(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

/// `can_run` is whether the data file doesn't stand against it.
fn print(
    file: &Path,
    findings: &Findings,
    can_run: bool,
    every_key: bool,
    out: &mut impl Write,
) -> std::io::Result<()> {
    let (later, wrong): (Vec<_>, Vec<_>) = findings.problems.iter().partition(|p| p.later);
    problems("Problems", &wrong, out)?;
    problems("Not available in this version", &later, out)?;
    let Some(config) = &findings.config else { return Ok(()) };
    if !config.warnings.is_empty() {
        writeln!(out, "Warnings ({})", config.warnings.len())?;
        config.warnings.iter().try_for_each(|warning| writeln!(out, "  {warning}"))?;
        writeln!(out)?;
    }
    ignored(&config.ignored_keys, every_key, out)?;
    if findings.problems.is_empty() {
        let said = if can_run { "a fit can run with it" } else { "no fit can run with it and its data file" };
        writeln!(out, "{}: {said}, {} read", file.display(), number(findings.n_used, "key"))?;
        writeln!(out)?;
    }
    in_force(config, findings, out)
}

fn problems(title: &str, problems: &[&ConfigProblem], out: &mut impl Write) -> std::io::Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    writeln!(out, "{title} ({})", problems.len())?;
    for problem in problems {
        problem.to_string().lines().try_for_each(|line| writeln!(out, "  {line}"))?;
    }
    writeln!(out)
}

/// Keys without effect: each, or their number by reason in the order of the file.
fn ignored(keys: &[IgnoredKey], every_key: bool, out: &mut impl Write) -> std::io::Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    let hint = if every_key { "" } else { "; -v names each" };
    writeln!(out, "Without effect here ({}{hint})", number(keys.len(), "key"))?;
    if every_key {
        keys.iter().try_for_each(|key| writeln!(out, "  {key}"))?;
        return writeln!(out);
    }
    let mut order: Vec<&str> = Vec::new();
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for IgnoredKey { path, reason } in keys {
        if !by_reason.contains_key(reason) {
            order.push(reason);
        }
        by_reason.entry(reason).or_default().push(path);
    }
    for reason in order {
        let paths = &by_reason[reason];
        match paths[..] {
            [only] => writeln!(out, "  {only}: {reason}")?,
            _ => writeln!(out, "  {} ({}): {reason}", shared(paths), number(paths.len(), "key"))?,
        }
    }
    writeln!(out)
}

/// The deepest section that holds all of the paths; where they share none, the first of their sections.
fn shared(paths: &[&str]) -> String {
    let parts: Vec<Vec<&str>> = paths.iter().map(|p| p.split('.').collect()).collect();
    let shortest = parts.iter().map(|p| p.len() - 1).min().unwrap_or(0);
    let same = |depth: &usize| parts.iter().all(|p| p[*depth] == parts[0][*depth]);
    let depth = (0..shortest).take_while(same).count();
    if depth > 0 { parts[0][..depth].join(".") } else { format!("{} …", parts[0][0]) }
}

/// The values that a fit would use.
fn in_force(config: &Config, findings: &Findings, out: &mut impl Write) -> std::io::Result<()> {
    let title = if findings.problems.is_empty() { "In force" } else { "In force once the problems are solved" };
    writeln!(out, "{title}")?;
    let mut line = |name: &str, value: String| writeln!(out, "  {name:<12}{value}");
    let (selection, fit) = (&config.selection, &config.fit);
    line("model", format!("{}, shear convention {}", config.mode.name(), config.convention.name()))?;
    line("data", data(config))?;
    let last = selection.end_frame.map_or("the last".to_string(), |end| end.to_string());
    let origin = match config.time_origin {
        TimeOrigin::Selection => "the first of them",
        TimeOrigin::Acquisition => "frame 1 of the file",
    };
    line("frames", format!("{} to {last}, t = 0 at {origin}", selection.start_frame))?;
    let given =
        |value: Option<f64>, unit: &str| value.map_or("the data file's".into(), |v| format!("{} {unit}", figure(v)));
    line("dt", given(selection.dt, "s"))?;
    let chosen = match (selection.q, selection.q_from) {
        (Some(q), QFrom::File) => format!("of the file's ring nearest to {} 1/Å", figure(q)),
        (q, _) => given(q, "1/Å"),
    };
    line("q", chosen)?;
    if config.mode.has_shear() {
        line("gap", given(config.gap, "Å"))?;
    }
    line("angles", angles(config))?;
    line("start", if fit.global_search { search(config) } else { "the values below".into() })?;
    line(
        "scaling",
        match fit.scaling {
            None => format!(
                "one contrast and offset for all angles from {} angles on, else one per angle",
                config.scaling.averaged_from
            ),
            Some(ScalingMode::Averaged) => "one contrast and offset for all angles".into(),
            Some(ScalingMode::Individual) => "one contrast and offset per angle".into(),
            Some(ScalingMode::Constant) => "contrast and offset held, not fitted".into(),
            Some(ScalingMode::Fourier { order }) => {
                format!("contrast and offset as Fourier series of order {order} in φ")
            }
        },
    )?;
    line(
        "stop",
        format!("{} iterations; ftol {:e}, xtol {:e}, gtol {:e}", fit.max_iterations, fit.ftol, fit.xtol, fit.gtol),
    )?;
    if config.method.samples() {
        let sampler = &config.sampler;
        let chains = format!("{} chains of {} draws", sampler.n_chains, sampler.n_draws);
        line("sampling", format!("{chains} after a warm-up of {}; seed {}", sampler.n_warmup, sampler.seed))?;
    }
    let performance = &config.performance;
    line("strategy", performance.strategy.map_or("by size", |s| s.name()).into())?;
    line("threads", performance.threads.map_or("by the cores of a rank".into(), |n| format!("{n} a rank")))?;
    line("results", results(config))?;
    writeln!(out)?;
    parameters(config, out)
}

fn data(config: &Config) -> String {
    match &config.data_file {
        None => "none named: --data-file must".into(),
        Some(file) if file.exists() => format!("{}, which is there", file.display()),
        Some(file) => format!("{}, which isn't there from here", file.display()),
    }
}

fn angles(config: &Config) -> String {
    let Some(ranges) = &config.selection.phi_ranges else { return "all of the file".into() };
    let ranges: Vec<String> = ranges.iter().map(|(min, max)| format!("{min} to {max}")).collect();
    let fallback = if config.selection.fallback_to_all_angles { "; all where none is inside" } else { "" };
    format!("{} degree{fallback}", ranges.join(", "))
}

fn search(config: &Config) -> String {
    let starts = config.fit.n_starts.map_or(String::new(), |n| format!(", {n} of them refined"));
    format!("searched for over the bounds{starts}, seed {}", config.fit.seed)
}

fn results(config: &Config) -> String {
    let output = &config.output;
    let forms = [(output.json, "JSON"), (output.hdf5, "HDF5"), (output.csv, "CSV")];
    let forms: Vec<&str> = forms.iter().filter(|f| f.0).map(|f| f.1).collect();
    let most = output.max_npz_entries;
    let arrays = if most > 0 { format!("; NPZ up to {} matrix entries", grouped(most)) } else { String::new() };
    let forms = if forms.is_empty() { "no other files".into() } else { forms.join(", ") };
    format!("{}: {forms}{arrays}", output.directory.display())
}

fn parameters(config: &Config, out: &mut impl Write) -> std::io::Result<()> {
    let space = &config.parameters;
    let mut table = Table::new(&["parameter", "start", "min", "max", "unit"], &[0, 4]);
    for (k, info) in PHYSICAL[..space.len()].iter().enumerate() {
        let start = match (space.fixed[k], space.start.as_ref().map(|s| s[k])) {
            (Some(value), _) => format!("fixed at {}", figure(value)),
            (None, Some(value)) => figure(value),
            (None, None) => "searched".into(),
        };
        let (min, max) = space.bounds[k];
        table.row([info.name.into(), start, figure(min), figure(max), info.unit.into()]);
    }
    for (info, (min, max)) in [(CONTRAST, space.contrast), (OFFSET, space.offset)] {
        table.row([info.name.into(), "solved".into(), figure(min), figure(max), info.unit.into()]);
    }
    table.print(out)
}
