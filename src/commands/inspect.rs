//! `inspect`: what a file holds, what a selection takes from it, and where every number came from.

use std::io::Write;
use std::path::Path;

use super::plots::{Plots, Plotted};
use crate::cluster::MemoryLimit;
use crate::dataset::{Dataset, MatrixReport, Selection, TwoTime, is_empty, rings, short};
use crate::output::Table;
use crate::output::pictures::Shown;
use crate::telemetry::Progress;
use crate::{Error, Result};

/// Prints what was found in `file` on `out`, and draws it where `plots` asks for that.
///
/// Without a q in the selection all rings are shown. Matrices that can't be used are reported in their line, and the
/// first such error is returned at the end; that some hold nothing, as those of sectors without pixels, is no error. Where one is too
/// large for the memory (`limit_gb`, else the environment's or the machine's), all is said that is known without reading them. Errors:
/// those of [`Dataset::open`], except for several rings and a missing time step, which are shown; [`Error::Memory`].
pub fn inspect(
    file: &Path,
    selection: &Selection,
    plots: Option<&Plots>,
    limit_gb: Option<f64>,
    out: &mut impl Write,
) -> Result<()> {
    let dataset = Dataset::open_for_inspection(file, selection)?;
    let limit = MemoryLimit::find(limit_gb, 1)?;
    let what = format!("looking at matrices of {} frames needs", dataset.n_frames);
    let too_large =
        limit.check_for(dataset.memory(), &what, "select fewer frames in a configuration (`--config`)").err();
    plots.map_or(Ok(()), |plots| plots.prepare(&dataset.phi()))?;
    let mut seen = Seen { wants_cells: plots.is_some(), trouble: too_large, ..Seen::default() };
    super::heard(print(&dataset, file, &mut seen, out))?;
    if let Some(plots) = plots.filter(|_| !matches!(seen.trouble, Some(Error::Memory(_)))) {
        let drawn = super::plots::draw(&seen.plotted, &[Shown::Data], dataset.dt, dataset.n_frames, plots)?;
        super::heard(writeln!(out, "\n{}", super::plots::summary(&drawn)))?;
    }
    seen.trouble.map_or(Ok(()), Err)
}

/// What matrices showed while they were read.
#[derive(Default)]
struct Seen {
    /// Why the first that can't be used can't.
    trouble: Option<Error>,
    wants_cells: bool,
    plotted: Vec<Plotted>,
}

fn print(d: &Dataset, file: &Path, seen: &mut Seen, out: &mut impl Write) -> std::io::Result<()> {
    let last = d.first_frame + d.n_frames;
    writeln!(out, "file      {}", file.display())?;
    writeln!(out, "size      {}", super::byte_text(std::fs::metadata(file)?.len()))?;
    writeln!(out, "layout    {}", d.layout.name())?;
    writeln!(
        out,
        "frames    {} in the file, {} to {last} selected ({})",
        d.n_file_frames,
        d.first_frame + 1,
        d.n_frames
    )?;
    if d.dt.is_nan() {
        writeln!(out, "dt        {}", d.dt_source)?;
    } else {
        writeln!(out, "dt        {} s ({})", d.dt, d.dt_source)?;
    }
    if let Some(gap) = d.gap {
        writeln!(out, "gap       {gap} Å")?;
    }
    if !d.left_out.is_nothing() {
        writeln!(out, "left out  {} (data_filtering)", d.left_out.text())?;
    }
    if d.has_sigma_by_pair() {
        writeln!(out, "sigma     for every entry of c2")?;
    }
    if let Some(sigma) = d.sigma() {
        let texts: Vec<String> = sigma.into_iter().map(short).collect();
        writeln!(out, "sigma     {} (of the selected matrices)", texts.join(", "))?;
    }
    let ring = |q: f64| {
        let count = d.slots.iter().filter(|s| short(s.q) == short(q)).count();
        format!("{} Å⁻¹ ({count} {})", short(q), if count == 1 { "matrix" } else { "matrices" })
    };
    let found: Vec<String> = rings(d.slots.iter().map(|s| s.q)).into_iter().map(ring).collect();
    writeln!(out, "q rings   {}", found.join(", "))?;

    let mut table = Table::new(&["slot", "path", "bin", "q (Å⁻¹)", "phi (deg)", "selected"], &[1]);
    for (k, s) in d.slots.iter().enumerate() {
        let bin = s.bin.map_or_else(|| "-".to_owned(), |b| b.to_string());
        let selected = if s.selected { "yes" } else { "no" };
        let phi = if s.phi.is_nan() { "-".to_owned() } else { short(s.phi) };
        table.row([(k + 1).to_string(), s.path.clone(), bin, short(s.q), phi, selected.to_owned()]);
    }
    writeln!(out, "\nmatrices")?;
    table.print(out)?;

    let remarks =
        if matches!(seen.trouble, Some(Error::Memory(_))) { Vec::new() } else { matrices(d, file, seen, out)? };
    for remark in remarks {
        writeln!(out, "  {remark}")?;
    }
    for (title, lines) in [("notes", &d.notes), ("warnings", &d.warnings)] {
        if !lines.is_empty() {
            writeln!(out, "\n{title}")?;
            lines.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
        }
    }
    Ok(())
}

/// What reading the selected matrices shows; returns what else there is to say of them.
fn matrices(d: &Dataset, file: &Path, seen: &mut Seen, out: &mut impl Write) -> std::io::Result<Vec<String>> {
    let columns = ["slot", "triangle", "dead", "missing", "min", "mean", "max"];
    let mut table = Table::new(&columns, &[1]);
    let (mut remarks, mut empty, mut buffer) = (Vec::new(), Vec::new(), TwoTime::default());
    let mut progress = Progress::new(true);
    let tell = progress.teller("looking at the data", d.n_frames);
    for (k, &slot) in d.selected.iter().enumerate() {
        tell(k, d.selected.len());
        let name = (slot + 1).to_string();
        match d.read(k, &mut buffer) {
            Ok(report) => {
                let [min, mean, max] = spread(&buffer).map(|v| format!("{v:.4}"));
                let dead = report.dead_frames.len().to_string();
                table.row([
                    name.clone(),
                    report.triangle.to_owned(),
                    dead,
                    report.n_missing.to_string(),
                    min,
                    mean,
                    max,
                ]);
                if seen.wants_cells {
                    let s = &d.slots[slot];
                    let cells = super::plots::cells(d.n_frames, |i| buffer.row_after(i), |_, _, _| ());
                    let title =
                        format!("{}: slot {name}, φ = {}°, q = {} 1/Å", file_name(file), short(s.phi), short(s.q));
                    seen.plotted.push(Plotted { phi: s.phi, title, cells });
                }
                let blanks = report.blanks.iter().map(|blank| blank.text(d.first_frame + 1));
                remarks.extend(blanks.map(|text| format!("slot {}: {text}", slot + 1)));
                if !report.dead_frames.is_empty() {
                    remarks.push(format!("slot {}: dead frames {}", slot + 1, dead_text(&report, d.first_frame)));
                }
            }
            Err(error) => {
                let word = if is_empty(&error) { "empty" } else { "unusable" };
                table.row([name, word.to_owned(), "-".into(), "-".into(), "-".into(), "-".into(), "-".into()]);
                remarks.push(format!("slot {}: {error}", slot + 1));
                if is_empty(&error) {
                    empty.push(error);
                } else {
                    seen.trouble.get_or_insert(error);
                }
            }
        }
    }
    if empty.len() == d.selected.len() {
        seen.trouble = empty.into_iter().next();
    }
    progress.finish();
    writeln!(out, "\nselected matrices, off the diagonal")?;
    table.print(out)?;
    Ok(remarks)
}

fn file_name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Smallest, mean and largest finite value of the strict upper triangle.
fn spread(m: &TwoTime) -> [f64; 3] {
    let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
    for i in 0..m.n_frames() {
        for v in m.row_after(i).iter().filter(|v| v.is_finite()).map(|&v| f64::from(v)) {
            min = min.min(v);
            max = max.max(v);
        }
    }
    [min, m.mean(), max]
}

/// Dead frames as the user counts them, from 1 in the file, runs joined: "3, 17–19".
fn dead_text(report: &MatrixReport, first_frame: usize) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for frame in report.dead_frames.iter().map(|f| f + first_frame + 1) {
        match runs.last_mut() {
            Some((_, end)) if *end + 1 == frame => *end = frame,
            _ => runs.push((frame, frame)),
        }
    }
    let runs: Vec<String> = runs.iter().map(|(a, b)| if a == b { a.to_string() } else { format!("{a}–{b}") }).collect();
    runs.join(", ")
}
