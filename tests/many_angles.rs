//! Thousands of angles: nothing of a fit grows with the square of their number.

use std::path::Path;

use hdf5::types::VarLenUnicode;

use crate::common::files::static_config;
use crate::common::{Run, alone, alone_with_files, json, scratch};

/// Frames of every angle: few, so that angles are what there is much of.
const FRAMES: usize = 8;
/// Bytes that a fit of 3,000 angles may take; when all that it asked of them was held at once, it took 3 GB.
const MEMORY: f64 = 1e9;

/// What a fit begins with where it isn't to search.
const START: &str = "initial_parameters: {parameter_names: [D0, alpha, D_offset], values: [90000.0, -0.4, 3000.0]}\n";

/// Makes so many angles, and fits each with a contrast and an offset of its own.
#[track_caller]
fn fit(folder: &Path, n_angles: usize, start: &str, pictures: &[&str]) -> Run {
    let angles: Vec<String> = (0..n_angles).map(|k| format!("{:.3}", k as f64 * 360.0 / n_angles as f64)).collect();
    let simulation = format!(
        "simulation: {{frames: {FRAMES}, angles: [{}], noise: 0.003, seed: 5, contrast: 0.3, offset: 1.0, \
         parameters: {{D0: 100000.0, alpha: -0.4, D_offset: 3000.0}}}}\n",
        angles.join(", ")
    );
    std::fs::write(folder.join("config.yaml"), static_config("data.hdf") + start + &simulation).unwrap();
    let make = ["simulate", "--config", "config.yaml", "--out", "data.hdf", "--layout", "native"];
    alone(folder, &make).success();
    let own = "optimization.nlsq.anti_degeneracy.per_angle_mode=individual";
    alone(folder, &[&["--config", "config.yaml", "--threads", "1", "--set", own, "--set"], pictures].concat())
}

#[test]
fn thousands_of_angles_have_all_their_results() {
    let folder = scratch();
    let folder = folder.path();
    // the names of so many parameters are more than 64 KB
    let n_angles = 2100;
    fit(folder, n_angles, START, &["plotting.save_plots=false"]).success();
    let n = 3 + 2 * n_angles;
    alone_with_files(|| {
        let file = hdf5::File::open(folder.join("homodyne_results/nlsq/result.h5")).unwrap();
        let covariance = file.dataset("covariance").unwrap();
        assert_eq!(covariance.shape(), [n, n]);
        let names: Vec<VarLenUnicode> = covariance.attr("names").unwrap().read_raw().unwrap();
        assert_eq!((names.len(), names[3].as_str(), names[n - 1].as_str()), (n, "contrast[0]", "offset[2099]"));
        let covariance: ndarray::Array2<f64> = covariance.read_2d().unwrap();
        let list = |path: &str| file.dataset(path).unwrap().read_raw::<f64>().unwrap();
        let errors = [list("angles/contrast_uncertainty"), list("angles/offset_uncertainty")];
        let mut known = 0;
        for k in 3..n {
            let (variance, error) = (covariance[(k, k)], errors[(k - 3) % 2][(k - 3) / 2]);
            // of what is on a bound there is none
            if error.is_finite() {
                assert!((variance.sqrt() / error - 1.0).abs() < 1e-12, "{k}: {variance} {error}");
                known += 1;
            }
            let (one, other) = (covariance[(k, 4)], covariance[(4, k)]);
            assert!((one - other).abs() <= 1e-9 * one.abs(), "{k}: {one} {other}");
        }
        assert!(known > n_angles, "{known}");
    });
    assert!(folder.join("homodyne_results/nlsq/report.html").exists());
}

#[test]
fn beyond_some_thousand_angles_the_covariance_is_that_of_the_physical_parameters() {
    let folder = scratch();
    let folder = folder.path();
    let outcome = fit(folder, 3000, "", &["plotting.save_plots=false"]).success();
    assert!(outcome.stderr.contains("/covariance of result.h5 is that of the 3 physical parameters"), "{outcome}");
    alone_with_files(|| {
        let file = hdf5::File::open(folder.join("homodyne_results/nlsq/result.h5")).unwrap();
        let covariance = file.dataset("covariance").unwrap();
        assert_eq!(covariance.shape(), [3, 3]);
        let names: Vec<VarLenUnicode> = covariance.attr("names").unwrap().read_raw().unwrap();
        assert_eq!(names.iter().map(|name| name.as_str()).collect::<Vec<_>>(), ["D0", "alpha", "D_offset"]);
    });
    let about = json(&folder.join("homodyne_results/nlsq/convergence_metrics.json"));
    let peak = about["device_info"]["ranks"][0]["peak_memory_bytes"].as_f64().unwrap();
    assert!(peak < MEMORY, "{peak}");
}

#[test]
fn maps_that_the_memory_has_no_room_for_are_left_out_with_words() {
    let folder = scratch();
    let folder = folder.path();
    let fit = fit(folder, 300, START, &["plotting.dpi=1200"]);
    let outcome = fit.env("HOMODYNE_MEMORY_LIMIT", "0.2").success();
    let said = "looking at the residuals of 300 angles";
    assert!(outcome.stderr.lines().any(|line| line.contains(said) && line.contains("no maps")), "{outcome}");
    assert!(folder.join("homodyne_results/nlsq/report.html").exists());
    let pictures = std::fs::read_dir(folder.join("homodyne_results/nlsq")).unwrap().flatten();
    let pictures = pictures.filter(|entry| entry.file_name().to_string_lossy().ends_with(".png"));
    assert_eq!(pictures.count(), 0);
}
