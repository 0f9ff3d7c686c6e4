//! `simulate`: a measurement made from known parameters, and the truth beside it.

use std::io::Write;
use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;
use serde_json::{Map, Value, json};

use super::plots::{Plots, Plotted};
use crate::cluster::MemoryLimit;
use crate::config::{Config, SimulationConfig, TimeOrigin};
use crate::dataset::{Layout, WriteSpec, write_file};
use crate::model::{Experiment, PHYSICAL, ShapeRows, TimeAxis, reference};
use crate::output::pictures::Shown;
use crate::telemetry::Progress;
use crate::{Error, Result, files};

/// Height of the spike that shot noise puts on the diagonal, about that of measured files.
const SHOT_NOISE: f32 = 0.5;
/// Fewest frames a fit can use.
const MIN_FRAMES: usize = 3;

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulationSummary {
    /// The data file.
    pub file: PathBuf,
    /// The truth beside it.
    pub truth_file: PathBuf,
    /// Its layout.
    pub layout: Layout,
    /// Number of matrices K.
    pub n_angles: usize,
    /// Frames N of each.
    pub n_frames: usize,
    /// Size of the data file, bytes.
    pub bytes: u64,
}

impl std::fmt::Display for SimulationSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (angles, frames) = (self.n_angles, self.n_frames);
        let size = super::byte_text(self.bytes);
        writeln!(
            f,
            "wrote {}: {angles} angles × {frames} frames, {} layout, {size}",
            self.file.display(),
            self.layout.name()
        )?;
        write!(f, "wrote {}: the parameters it was made with", self.truth_file.display())
    }
}

/// Where the truth goes that belongs to a data file.
pub fn truth_beside(file: &Path) -> PathBuf {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    file.with_file_name(format!("{stem}_truth.json"))
}

/// Makes c2 = offset + contrast·g for every angle of `config.simulation`, with noise, writes it to `file` and the
/// parameters to `<stem>_truth.json` beside it, draws pictures where `plots` asks for them, and says so on `out`.
///
/// Frame 1 of the file is t = 0. The noise depends on seed, angle and frames only, not on the number of threads.
/// Errors: [`Error::Usage`] where the configuration lacks what a simulation needs, [`Error::Memory`] where its
/// matrices are too large, [`Error::Io`] where writing fails.
pub fn simulate(
    config: &Config,
    file: &Path,
    layout: Layout,
    plots: Option<&Plots>,
    out: &mut impl Write,
) -> Result<SimulationSummary> {
    let (simulation, experiment) = prepare(config)?;
    plots.map_or(Ok(()), |plots| plots.prepare(&simulation.phi))?;
    let spec = WriteSpec {
        layout,
        q: experiment.q,
        dt: experiment.dt,
        gap: config.gap,
        sigma: None,
        phi: &simulation.phi,
        n_frames: simulation.n_frames,
        first_frame: 1,
        gzip: 0,
    };
    MemoryLimit::find(config.performance.memory_limit_gb, 1)?.check_for(
        spec.memory(),
        &format!("simulating {} frames needs", simulation.n_frames),
        "set fewer `simulation.frames`",
    )?;
    let axis = TimeAxis::without_derivatives(&experiment, &simulation.parameters[..config.mode.n_physical()]);
    let mut plotted = Vec::new();
    let mut progress = Progress::new(true);
    let tell = progress.teller("simulating", simulation.n_frames);
    tell(0, simulation.phi.len());
    write_file(file, &spec, |angle, matrix| {
        fill(simulation, &experiment, &axis, angle, matrix);
        if plots.is_some() {
            plotted.push(plot(simulation, &experiment, &axis, angle, matrix));
        }
        tell(angle + 1, simulation.phi.len());
    })?;
    progress.finish();

    let truth_file = truth_beside(file);
    let truth = truth(config, simulation, &experiment, file);
    // a map of strings and numbers always has a JSON form
    let text = serde_json::to_string_pretty(&truth).expect("JSON of plain values") + "\n";
    files::write(&truth_file, text)?;

    let bytes = std::fs::metadata(file).map_err(|e| Error::io("read", file, e))?.len();
    let summary = SimulationSummary {
        file: file.to_path_buf(),
        truth_file,
        layout,
        n_angles: simulation.phi.len(),
        n_frames: simulation.n_frames,
        bytes,
    };
    super::heard(writeln!(out, "{summary}"))?;
    if let Some(plots) = plots {
        let shown = [Shown::Data, Shown::Fit("model"), Shown::Residual("noise")];
        let drawn = super::plots::draw(&plotted, &shown, experiment.dt, experiment.n_frames, plots)?;
        super::heard(writeln!(out, "{}", super::plots::summary(&drawn)))?;
    }
    Ok(summary)
}

/// Averages of one angle beside the model.
fn plot(s: &SimulationConfig, e: &Experiment, axis: &TimeAxis, angle: usize, matrix: &[f32]) -> Plotted {
    let (n, rows) = (e.n_frames, ShapeRows::new(e, axis, angle));
    let cells = super::plots::cells(
        n,
        |i| &matrix[i * n + i + 1..(i + 1) * n],
        |i, columns, values| {
            rows.fill(i, columns, values);
            values.iter_mut().for_each(|g| *g = s.offset[angle] + s.contrast[angle] * *g);
        },
    );
    let title = format!("simulated, φ = {}°, q = {} 1/Å", e.phi[angle], e.q);
    Plotted { phi: e.phi[angle], title, cells }
}

/// Checks that the configuration has all that a simulation needs.
fn prepare(config: &Config) -> Result<(&SimulationConfig, Experiment)> {
    let needs = |what: &str| Error::Usage(format!("{}: simulate needs {what}", config.path.display()));
    let simulation = config.simulation.as_ref().ok_or_else(|| needs("a section simulation"))?;
    let q = config.selection.q.ok_or_else(|| needs("analyzer_parameters.scattering.wavevector_q"))?;
    let dt = config.selection.dt.ok_or_else(|| needs("analyzer_parameters.dt"))?;
    let gap = match config.gap {
        None if config.mode.has_shear() => return Err(needs("analyzer_parameters.geometry.stator_rotor_gap")),
        gap => gap.unwrap_or(0.0),
    };
    let n_angles = simulation.phi.len();
    if n_angles == 0 {
        return Err(needs("at least one angle"));
    }
    if simulation.n_frames < MIN_FRAMES {
        return Err(needs(&format!("at least {MIN_FRAMES} frames, found {}", simulation.n_frames)));
    }
    if simulation.parameters.len() < config.mode.n_physical() {
        let (n, mode) = (config.mode.n_physical(), config.mode.name());
        return Err(needs(&format!("{n} parameters in mode {mode}, found {}", simulation.parameters.len())));
    }
    for (name, list) in [("contrast", &simulation.contrast), ("offset", &simulation.offset)] {
        if list.len() != n_angles {
            return Err(needs(&format!("one {name} per angle: expected {n_angles}, found {}", list.len())));
        }
    }
    let experiment = Experiment {
        mode: config.mode,
        convention: config.convention,
        q,
        gap,
        dt,
        phi: simulation.phi.clone(),
        n_frames: simulation.n_frames,
        time_offset: 0,
    };
    Ok((simulation, experiment))
}

/// Fills the upper triangle of one angle.
fn fill(s: &SimulationConfig, experiment: &Experiment, axis: &TimeAxis, angle: usize, matrix: &mut [f32]) {
    let n = s.n_frames;
    let (contrast, offset) = (s.contrast[angle], s.offset[angle]);
    let generator = ChaCha8Rng::seed_from_u64(s.seed);
    matrix.par_chunks_mut(n).enumerate().for_each(|(i, row)| {
        // a stream of its own for every row of every angle: threads may take rows in any order
        let mut generator = generator.clone();
        generator.set_stream((angle as u64) << 32 | i as u64);
        for (j, value) in row.iter_mut().enumerate().skip(i + 1) {
            let noise: f64 = StandardNormal.sample(&mut generator);
            let g = reference::shape(experiment, axis, angle, i, j);
            *value = (offset + contrast * g + s.noise * noise) as f32;
        }
    });
    for i in 0..n {
        let before = (i > 0).then(|| matrix[(i - 1) * n + i]);
        let after = (i + 1 < n).then(|| matrix[i * n + i + 1]);
        let neighbours = match (before, after) {
            (Some(a), Some(b)) => 0.5 * (a + b),
            (one, other) => one.or(other).unwrap_or(1.0),
        };
        matrix[i * n + i] = neighbours + SHOT_NOISE;
    }
}

fn truth(config: &Config, s: &SimulationConfig, experiment: &Experiment, file: &Path) -> Value {
    let params: Map<String, Value> = PHYSICAL[..config.mode.n_physical()]
        .iter()
        .zip(&s.parameters)
        .map(|(info, value)| (info.name.to_owned(), json!(value)))
        .collect();
    json!({
        "mode": config.mode.name(),
        "shear_convention": config.convention.name(),
        "params": params,
        "contrast": s.contrast,
        "offset": s.offset,
        "phi": s.phi,
        "q": experiment.q,
        "gap": config.gap,
        "dt": experiment.dt,
        // of the file as a whole: t = 0 is at frame 1
        "time_origin": TimeOrigin::Selection.name(),
        "t0_frame": 1,
        "frames": s.n_frames,
        "noise": s.noise,
        "seed": s.seed,
        "file": file.file_name().unwrap_or_default().to_string_lossy(),
    })
}
