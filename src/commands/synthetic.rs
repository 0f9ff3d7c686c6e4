//! `benchmark --points`: a whole fit of made-up data of any size, from a file to the results, timed.

use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use super::benchmark::{rate, time};
use super::recording::Wanted;
use super::{Asked, Going};
use crate::benchmark::PHYSICAL as TRUTH;
use crate::cluster::World;
use crate::config::{self, Overrides};
use crate::dataset::Layout;
use crate::model::{AnalysisMode, PHYSICAL};
use crate::text::grouped;
use crate::version::{NAME_AND_VERSION, commit};
use crate::{Error, Result, files};

/// Angles of the data, where there are points enough for as many.
const ANGLES: usize = 8;
/// Fewest frames: with fewer there is nothing to see.
const FEWEST_FRAMES: usize = 50;
/// Time that the frames span, s.
const WINDOW: f64 = 300.0;

/// What is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Points, as results count them: K·(N−1)².
    pub points: u64,
    /// Physical parameters: 3 (diffusion) or 7 (with shear).
    pub parameters: usize,
}

impl Size {
    fn mode(self) -> AnalysisMode {
        if self.parameters == AnalysisMode::Static.n_physical() {
            AnalysisMode::Static
        } else {
            AnalysisMode::LaminarFlow
        }
    }

    /// Angles and frames that have about so many points.
    fn shape(self) -> (usize, usize) {
        let frames = |angles: usize| (self.points as f64 / angles as f64).sqrt().round() as usize + 1;
        let angles = (1..=ANGLES).rev().find(|&angles| frames(angles) >= FEWEST_FRAMES).unwrap_or(1);
        (angles, frames(angles).max(FEWEST_FRAMES))
    }

    /// The configuration that makes the data and fits them.
    fn configuration(self) -> String {
        let (angles, frames) = self.shape();
        let phi: Vec<String> =
            (0..angles).map(|k| format!("{:.1}", -80.0 + 160.0 * k as f64 / angles as f64)).collect();
        let mut text = format!(
            "analysis_mode: {}\nanalyzer_parameters:\n  dt: {}\n  scattering: {{wavevector_q: 0.0054}}\n  geometry: \
             {{stator_rotor_gap: 2000000.0}}\nsimulation:\n  frames: {frames}\n  angles: [{}]\n  noise: 0.01\n  seed: 1\n  parameters:\n",
            self.mode().name(),
            WINDOW / frames as f64,
            phi.join(", "),
        );
        for (info, value) in PHYSICAL.iter().zip(TRUTH).take(self.parameters) {
            // writing into a string can't fail
            let _ = writeln!(text, "    {}: {value}", info.name);
        }
        text
    }
}

/// Makes data of a size in a temporary folder, fits them over all ranks, without a start, and prints how long that took;
/// returns the fit's exit code.
///
/// # Errors
/// What simulating and fitting fail with, a file that can't be written.
pub fn synthetic(world: &World, size: Size, json: Option<&Path>, out: &mut impl Write) -> Result<u8> {
    let folder = tempfile::tempdir().map_err(|e| Error::io("create a folder in", &std::env::temp_dir(), e))?;
    let path = |name: &str| folder.path().join(name);
    let (file, results) = (path("synthetic.h5"), path("results"));
    let configuration = path("synthetic.yaml");
    std::fs::write(&configuration, size.configuration()).map_err(|e| Error::io("write", &configuration, e))?;
    let overrides =
        Overrides { data_file: Some(file.clone()), output_dir: Some(results.clone()), ..Overrides::default() };
    let config = config::load(&configuration, &overrides)?;
    let made = super::simulate(&config, &file, Layout::Native, None, &mut std::io::sink())?;
    let going = Going { resume: Some("never".into()), max_time: None };
    let asked = Asked { going: &going, record: &Wanted::default(), truth: None };
    let begin = Instant::now();
    let code = super::fit(world, &config, &asked, &mut std::io::sink())?;
    let seconds = begin.elapsed().as_secs_f64();
    let read = |name: &str| -> Value {
        let text = std::fs::read_to_string(results.join("nlsq").join(name)).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    };
    let (analysis, convergence) = (read("analysis_results_nlsq.json"), read("convergence_metrics.json"));
    let points = analysis["dataset_info"]["n_points"].as_u64().unwrap_or(0);
    let mut phases = convergence["phases"].as_array().cloned().unwrap_or_default();
    let until_results: f64 = phases.iter().filter_map(|phase| phase["seconds"].as_f64()).sum();
    phases.push(json!({ "name": "results", "seconds": seconds - until_results }));
    let figures = json!({
        "program": NAME_AND_VERSION,
        "git_commit": commit(),
        "angles": made.n_angles,
        "frames": made.n_frames,
        "points": points,
        "file_bytes": made.bytes,
        "physical_parameters": size.parameters,
        "ranks": world.size(),
        "seconds": seconds,
        "points_per_second": points as f64 / seconds,
        "phases": phases,
        "summary": analysis["optimization_summary"],
        "quality": analysis["fit_quality"],
    });
    if let Some(path) = json {
        // maps of strings and numbers always have a form
        let text = serde_json::to_string_pretty(&figures).unwrap_or_default() + "\n";
        files::write(path, text)?;
    }
    super::heard(print(&figures, out))?;
    Ok(code)
}

fn print(figures: &Value, out: &mut impl Write) -> std::io::Result<()> {
    let (of, summary) = (|name: &str| figures[name].as_u64().unwrap_or(0), &figures["summary"]);
    let seconds = figures["seconds"].as_f64().unwrap_or(f64::NAN);
    let size = super::byte_text(of("file_bytes"));
    writeln!(
        out,
        "data      {} angles × {} frames, {} points, native file of {size}",
        of("angles"),
        of("frames"),
        grouped(of("points"))
    )?;
    writeln!(
        out,
        "fit       {} physical and {} scaling parameters on {} rank{}: {}, quality {}",
        of("physical_parameters"),
        summary["n_scaling_parameters"],
        of("ranks"),
        if of("ranks") == 1 { "" } else { "s" },
        summary["convergence_status"].as_str().unwrap_or("failed"),
        figures["quality"]["quality_flag"].as_str().unwrap_or("poor"),
    )?;
    writeln!(out, "time      {} from the file to the results", time(seconds))?;
    for phase in figures["phases"].as_array().into_iter().flatten() {
        let name = phase["name"].as_str().unwrap_or_default();
        writeln!(out, "  {name:<12}{}", time(phase["seconds"].as_f64().unwrap_or(0.0)))?;
    }
    writeln!(out, "rate      {}", rate(figures["points_per_second"].as_f64().unwrap_or(0.0), " points"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_met() {
        for (points, expected) in [(1_000_000, 8), (100_000_000, 8), (10_000, 4), (10, 1)] {
            let size = Size { points, parameters: 7 };
            let (angles, frames) = size.shape();
            let found = (angles * (frames - 1) * (frames - 1)) as f64;
            assert_eq!(angles, expected);
            assert!(points < 1000 || (found / points as f64 - 1.0).abs() < 0.02, "{points}: {found}");
        }
        assert_eq!(Size { points: 1, parameters: 3 }.mode(), AnalysisMode::Static);
        assert!(Size { points: 1000, parameters: 3 }.configuration().contains("alpha"));
    }
}
