//! `config init`: a configuration to begin with, filled in from a data file where there is one.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::commands::outputs;
use crate::config::{DataFacts, template};
use crate::dataset::{Dataset, Selection, rings, short};
use crate::model::AnalysisMode;
use crate::{Error, Result, files};

/// What is to be written where.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Transport model.
    pub mode: AnalysisMode,
    /// Every key, not only those that most fits need.
    pub full: bool,
    /// Data file to take values from.
    pub from_data: Option<&'a Path>,
    /// Which q of it, Å⁻¹.
    pub q: Option<f64>,
    /// File to write; `None` = print.
    pub output: Option<&'a Path>,
    /// Replace a file that is there.
    pub force: bool,
}

/// Writes the configuration to a file or prints it on `out`, and warns about values that only the user knows.
///
/// # Errors
/// [`Error::Usage`] where the file is there already or the data leave several q to choose from, those of opening the
/// data file, [`Error::Io`] where writing fails.
pub fn init<'w>(wanted: &Wanted<'w>, out: &mut impl Write) -> Result<()> {
    let named = |what, path: Option<&'w Path>| path.map(|path| (what, path)).into_iter().collect::<Vec<_>>();
    let (output, input) = (named("--output", wanted.output), named("the data file", wanted.from_data));
    outputs::check(&output, &input, wanted.force)?;
    let data = wanted.from_data.map(|file| facts(file, wanted)).transpose()?;
    let text = template(wanted.mode, wanted.full, data.as_ref());
    warn(wanted, data.as_ref());
    match wanted.output {
        Some(file) => {
            files::write(file, &text)?;
            log::info!("wrote {}", file.display());
            Ok(())
        }
        None => crate::commands::heard(out.write_all(text.as_bytes())),
    }
}

/// What the data file says.
fn facts(file: &Path, wanted: &Wanted) -> Result<DataFacts> {
    let selection = Selection { q: wanted.q, ..Selection::default() };
    let dataset = Dataset::open_for_inspection(file, &selection)?;
    if dataset.q.is_nan() {
        let found: Vec<String> = rings(dataset.slots.iter().map(|s| s.q)).into_iter().map(short).collect();
        return Err(Error::Usage(format!(
            "{} holds matrices at several q: {} 1/Å; pick one with --q",
            file.display(),
            found.join(", ")
        )));
    }
    Ok(DataFacts {
        file: named_from(file, wanted.output)?,
        layout: dataset.layout.name(),
        q: dataset.q,
        dt: (!dataset.dt.is_nan()).then(|| (dataset.dt, dataset.dt_source.clone())),
        gap: dataset.gap,
        phi: dataset.phi().into_iter().filter(|phi| phi.is_finite()).collect(),
        n_frames: dataset.n_file_frames,
    })
}

/// The data file as a configuration at `output` must name it. Relative paths are looked up from the configuration's
/// folder and the working directory, so only a configuration elsewhere needs the whole path.
fn named_from(file: &Path, output: Option<&Path>) -> Result<PathBuf> {
    let here = output.and_then(Path::parent).is_none_or(|folder| folder.as_os_str().is_empty());
    if here || file.is_absolute() {
        return Ok(file.to_path_buf());
    }
    std::path::absolute(file).map_err(|e| Error::io("find", file, e))
}

/// Names what must be put in by hand.
fn warn(wanted: &Wanted, data: Option<&DataFacts>) {
    let mut yours = Vec::new();
    match data {
        None => yours.extend(["dt", "wavevector_q", "file_path"]),
        Some(d) if d.dt.is_none() => yours.push("dt"),
        Some(_) => {}
    }
    if data.is_some_and(|d| d.phi.is_empty()) {
        yours.push("phi_angles");
    }
    if wanted.mode.has_shear() && data.and_then(|d| d.gap).is_none() {
        yours.push("stator_rotor_gap");
    }
    if !yours.is_empty() {
        log::warn!("put in your own {} before you fit: what stands there is an example or null", yours.join(", "));
    }
}
