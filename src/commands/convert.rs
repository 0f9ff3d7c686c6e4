//! `convert`: a data file, or a part of it, in another layout.

use std::io::Write;
use std::path::Path;

use super::outputs;
use crate::cluster::MemoryLimit;
use crate::dataset::{Dataset, Layout, Selection, TwoTime, WriteSpec, rings, short, write_from};
use crate::telemetry::Progress;
use crate::text::grouped;
use crate::{Error, Result};

/// What is to be written where.
#[derive(Debug, Clone, Copy)]
pub struct Conversion<'a> {
    /// File in any layout that can be read.
    pub input: &'a Path,
    /// File to write.
    pub output: &'a Path,
    /// Configuration that says what to take, where there is one.
    pub config: Option<&'a Path>,
    /// Its layout.
    pub layout: Layout,
    /// What to take.
    pub selection: &'a Selection,
    /// Gap of the shear cell, Å; `None` = the input's.
    pub gap: Option<f64>,
    /// gzip level of the native layout; `None` = not compressed.
    pub gzip: Option<u8>,
    /// Replace a file that is there.
    pub force: bool,
    /// Memory limit, GB; `None` = environment or machine.
    pub memory_limit_gb: Option<f64>,
}

/// Writes the file, one matrix at a time, and says on `out` what it holds and what should be known about it.
///
/// # Errors
/// [`Error::Usage`] where output and input are the same, the output is there already, or several q are left to choose
/// from; those of opening and reading the input; [`Error::Memory`] where a matrix is too large; [`Error::Io`] where
/// writing fails.
pub fn convert(c: &Conversion, out: &mut impl Write) -> Result<()> {
    check_output(c)?;
    let dataset = Dataset::open_for_inspection(c.input, c.selection)?;
    let mut remarks = Remarks { notes: dataset.notes.clone(), warnings: dataset.warnings.clone() };
    let q = common_q(&dataset, &mut remarks)?;
    let phi = dataset.phi();
    let sigma = dataset.sigma();
    let spec = WriteSpec {
        layout: c.layout,
        q,
        dt: dataset.dt,
        gap: c.gap.or(dataset.gap),
        sigma: sigma.as_deref(),
        phi: &phi,
        n_frames: dataset.n_frames,
        first_frame: dataset.frames_before + dataset.first_frame + 1,
        gzip: c.gzip.unwrap_or(0),
    };
    remarks.about(&spec);
    if dataset.has_sigma_by_pair() {
        remarks.warnings.push("σ of every entry of c2 isn't in the new file: it isn't converted".into());
    }
    let limit = MemoryLimit::find(c.memory_limit_gb, 1)?;
    limit.check_for(
        spec.memory() + dataset.memory_beside(),
        &format!("converting {} frames needs", spec.n_frames),
        "select fewer frames",
    )?;

    let mut progress = Progress::new(true);
    let tell = progress.teller("converting", spec.n_frames);
    let mut n_missing = 0;
    let written = write_from(c.output, &spec, TwoTime::default(), |k, matrix| {
        let report = dataset.read(k, matrix)?;
        // missing as a whole, in the file as before: a reader finds and names them again
        report.dead_frames.iter().for_each(|&frame| matrix.set_frame(frame, 0.0));
        n_missing += report.n_missing;
        tell(k + 1, phi.len());
        Ok(())
    });
    progress.finish();
    written?;
    let bytes = std::fs::metadata(c.output).map_err(|e| Error::io("read", c.output, e))?.len();
    super::heard(remarks.print(c.output, &spec, n_missing, bytes, out))
}

/// Refuses to write over the input, or over anything else that the user hasn't given up.
fn check_output(c: &Conversion) -> Result<()> {
    if c.gzip.is_some() && c.layout != Layout::Native {
        let message = "--compress is for the native layout; APS-U files are always compressed as boost_corr does it";
        return Err(Error::Usage(message.into()));
    }
    let inputs = [("the input", c.input)].into_iter().chain(c.config.map(|file| ("the configuration file", file)));
    outputs::check(&[("OUT", c.output)], &inputs.collect::<Vec<_>>(), c.force)
}

/// The one q that the file will have: that of the matrices where they share one, else the one that they were picked by.
fn common_q(dataset: &Dataset, remarks: &mut Remarks) -> Result<f64> {
    let found = rings(dataset.selected.iter().map(|&s| dataset.slots[s].q));
    if let [q] = found[..] {
        return Ok(q);
    }
    let list = found.iter().map(|&q| short(q)).collect::<Vec<_>>().join(", ");
    if dataset.q.is_nan() {
        let message = format!("{} holds matrices at several q: {list} 1/Å; pick one with --q", dataset.file.display());
        return Err(Error::Usage(message));
    }
    remarks.warnings.push(format!("matrices at q = {list} Å⁻¹ are written as one ring at {} Å⁻¹", short(dataset.q)));
    Ok(dataset.q)
}

/// What a user should know about the new file.
struct Remarks {
    notes: Vec<String>,
    warnings: Vec<String>,
}

impl Remarks {
    /// Adds what gets lost, and what the file doesn't say.
    fn about(&mut self, spec: &WriteSpec) {
        if spec.dt.is_nan() {
            self.notes.push("the file doesn't say the time between frames; --dt puts it in".into());
        }
        if spec.layout == Layout::Native {
            return;
        }
        let lost = [(spec.gap.is_some(), "the gap of the shear cell"), (spec.sigma.is_some(), "σ")];
        for (_, what) in lost.iter().filter(|(is_there, _)| *is_there) {
            self.warnings.push(format!("{what} isn't in the new file: its layout has no place for it"));
        }
        if spec.first_frame > 1 {
            self.warnings.push(format!(
                "frame 1 of the new file is frame {} of the measurement, which its layout can't say: a configuration \
                 has to count from there",
                spec.first_frame
            ));
        }
    }

    fn print(
        &self,
        file: &Path,
        spec: &WriteSpec,
        n_missing: u64,
        bytes: u64,
        out: &mut impl Write,
    ) -> std::io::Result<()> {
        let (angles, frames, layout) = (spec.phi.len(), spec.n_frames, spec.layout.name());
        let (size, plural) = (super::byte_text(bytes), if angles == 1 { "" } else { "s" });
        writeln!(out, "wrote {}: {angles} angle{plural} × {frames} frames, {layout} layout, {size}", file.display())?;
        if n_missing > 0 {
            writeln!(out, "  {} pairs have no value, as before", grouped(n_missing))?;
        }
        self.notes.iter().try_for_each(|note| writeln!(out, "  {note}"))?;
        self.warnings.iter().try_for_each(|warning| writeln!(out, "  ! {warning}"))
    }
}
