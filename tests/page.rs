//! The report in a browser: `page/drive.py` picks every angle, hovers, prints, and hears every complaint and request.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::common::python;
use crate::common::{alone, other, scratch};

/// A configuration for so many angles and frames.
fn configuration(angles: usize, frames: usize) -> String {
    let phi: Vec<String> = (0..angles).map(|k| format!("{:.1}", -80.0 + 160.0 * k as f64 / angles as f64)).collect();
    format!(
        "analysis_mode: laminar_flow
analyzer_parameters:
  dt: {}
  scattering: {{wavevector_q: 0.0054}}
  geometry: {{stator_rotor_gap: 2000000.0}}
experimental_data: {{file_path: data.h5}}
optimization: {{streaming: {{enable_checkpoints: false}}}}
simulation:
  frames: {frames}
  angles: [{}]
  noise: 0.01
  parameters: {{D0: 6000, alpha: -0.4, D_offset: 500, gamma_dot_t0: 0.0005, beta: -0.3, gamma_dot_t_offset: 0.0001, phi0: 2}}
",
        60.0 / frames as f64,
        phi.join(", ")
    )
}

/// Simulates and fits; the folder of results.
fn fitted(folder: &Path, angles: usize, frames: usize) {
    std::fs::write(folder.join("c.yaml"), configuration(angles, frames)).unwrap();
    alone(folder, &["simulate", "-c", "c.yaml", "-o", "data.h5", "--layout", "native"]).success();
    alone(folder, &["-c", "c.yaml"]).success();
}

fn drive(folder: &Path) {
    let Some(python) = python::with("selenium") else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page/drive.py");
    let mut command = Command::new(python);
    command.arg(script).args(["homodyne_results/nlsq/report.html", "shots"]);
    let outcome = other(folder, command).outcome();
    assert_eq!(outcome.code, Some(0), "{}\n{}", outcome.stdout, outcome.stderr);
    assert!(outcome.stdout.contains("ok: "), "{}", outcome.stdout);
}

#[test]
fn the_page_works_in_a_browser() {
    let folder = scratch();
    fitted(folder.path(), 4, 240);
    drive(folder.path());
}

#[test]
fn a_page_of_one_small_angle_works() {
    let folder = scratch();
    let path = folder.path();
    let text = configuration(1, 30)
        .replace("laminar_flow", "static")
        .replace(", gamma_dot_t0: 0.0005, beta: -0.3, gamma_dot_t_offset: 0.0001, phi0: 2", "");
    std::fs::write(path.join("c.yaml"), text).unwrap();
    alone(path, &["simulate", "-c", "c.yaml", "-o", "data.h5", "--layout", "native"]).success();
    let outcome = alone(path, &["-c", "c.yaml"]).outcome();
    assert!(matches!(outcome.code, Some(0 | 4)), "{}", outcome.stderr);
    drive(path);
}

#[test]
fn the_page_is_complete_without_scripts_and_asks_for_nothing() {
    let folder = scratch();
    fitted(folder.path(), 3, 120);
    let page = std::fs::read_to_string(folder.path().join("homodyne_results/nlsq/report.html")).unwrap();
    // its text, without scripts, styles and data
    let body = page.split("<script").next().unwrap();
    for said in
        ["quality good", "converged", "gamma_dot_t0", "Å²/s", "shear convention homodyne", "data hash", "native layout"]
    {
        assert!(body.contains(said), "{said}");
    }
    // the name space of SVG is no address to load from, and a part of the page no other file
    let page = page.replace("http://www.w3.org/", "").replace("url(#", "");
    for outside in ["http:", "https:", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
}

/// 36 angles of 3000 frames: size and time of the page.
#[test]
#[ignore = "its figures are in docs/validation.md"]
fn the_page_of_a_large_set_is_small_and_quick() {
    let folder = scratch();
    let begin = Instant::now();
    fitted(folder.path(), 36, 3000);
    let results = folder.path().join("homodyne_results/nlsq");
    let bytes = std::fs::metadata(results.join("report.html")).unwrap().len();
    let phases = crate::common::json(&results.join("convergence_metrics.json"))["phases"].clone();
    println!("{bytes} bytes; all in {:.1} s; phases {phases}", begin.elapsed().as_secs_f64());
    let report = std::fs::read_to_string(results.join("report.txt")).unwrap();
    let seconds = |name: &str| -> f64 {
        let line = report.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
        line.split_whitespace().nth(2).unwrap().parse().unwrap()
    };
    let took = seconds("looking") + seconds("drawing");
    println!("looking {:.2} s, drawing {:.2} s", seconds("looking"), seconds("drawing"));
    assert!(bytes <= 6_000_000, "{bytes}");
    assert!(took <= 3.0, "{took} s");
    drive(folder.path());
}
