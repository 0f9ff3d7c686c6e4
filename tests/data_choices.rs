//! What a configuration leaves out of the data, and the σ that a fit counts with, through the real program.

use std::path::Path;

use crate::common::files::{MAP, Sample, change, static_config};
use crate::common::{alone, alone_with_files, data, json, scratch, with_ranks};
use ndarray::{Array2, Array3};
use serde_json::Value;

/// Changes every pair of a matrix of the file `data.hdf` in APS-U layout.
fn change_pairs(folder: &Path, slot: usize, pair: impl Fn(usize, usize, f32) -> f32) {
    change(&folder.join("data.hdf"), |h5| {
        let path = format!("{MAP}/c2_{:05}", slot + 1);
        let mut c2: Array2<f32> = h5.dataset(&path).unwrap().read_2d().unwrap();
        for ((i, j), value) in c2.indexed_iter_mut().filter(|((i, j), _)| i < j) {
            *value = pair(i, j, *value);
        }
        h5.unlink(&path).unwrap();
        h5.new_dataset_builder().with_data(&c2).create(path.as_str()).unwrap();
    });
}

/// parameters.json without its timestamp, and analysis_results_nlsq.json.
fn results(folder: &Path) -> (Value, Value) {
    let nlsq = folder.join("homodyne_results/nlsq");
    let mut parameters = json(&nlsq.join("parameters.json"));
    parameters["timestamp"].take();
    (parameters, json(&nlsq.join("analysis_results_nlsq.json")))
}

fn append(folder: &Path, more: &str) {
    let path = folder.join("config.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, text + more).unwrap();
}

const FILTER: &str = "data_filtering: {exclude_frames: [7, 20-24], min_lag_frames: 2, max_lag_frames: 40}\n";

/// Whether frame i (from 0) of 60 is left in by `FILTER`.
fn kept(i: usize, j: usize) -> bool {
    let out = |f: usize| f + 1 == 7 || (20..=24).contains(&(f + 1));
    !out(i) && !out(j) && (2..=40).contains(&(j - i))
}

#[test]
fn what_is_left_out_is_as_good_as_missing_and_counted_apart() {
    let (filtered, by_hand) = (scratch(), scratch());
    for folder in [filtered.path(), by_hand.path()] {
        Sample::STILL.make(folder);
        // a beam dump and a readout artefact between neighbours, far above the noise
        for slot in 0..2 {
            let is_bad = |f: usize| (19..=23).contains(&f) || f == 6;
            change_pairs(folder, slot, |i, j, v| if is_bad(i) || is_bad(j) || j == i + 1 { v + 0.5 } else { v });
        }
    }
    let spoilt = alone(by_hand.path(), &["--config", "config.yaml"]).outcome();
    assert!(spoilt.code == Some(0) || spoilt.code == Some(4), "{spoilt}");
    assert_eq!(results(by_hand.path()).1["fit_quality"]["quality_flag"], "poor");

    append(filtered.path(), FILTER);
    let outcome = alone(filtered.path(), &["--config", "config.yaml"]).success();
    (0..2).for_each(|slot| change_pairs(by_hand.path(), slot, |i, j, v| if kept(i, j) { v } else { f32::NAN }));
    alone(by_hand.path(), &["--config", "config.yaml"]).success();
    let ((found, analysis), (expected, other)) = (results(filtered.path()), results(by_hand.path()));
    assert_eq!(found, expected);
    assert_eq!(analysis["fit_quality"], other["fit_quality"]);

    let fitted: usize = (1..60).map(|i| (i + 1..60).filter(|&j| kept(i, j)).count()).sum();
    let info = &analysis["dataset_info"];
    assert_eq!(info["n_pairs"], 2 * fitted);
    assert_eq!(info["n_missing"], 0);
    assert_eq!(info["n_excluded"], 2 * (59 * 58 / 2 - fitted));
    assert_eq!(other["dataset_info"]["n_missing"], info["n_excluded"]);
    assert_eq!(info["excluded"], "frames 7, 20–24, lags below 2 frames, lags above 40 frames");
    // scaling of two angles: individual, so 3 + 4 parameters
    assert_eq!(analysis["fit_quality"]["degrees_of_freedom"], 2 * fitted - 7);
    assert!(outcome.stdout.contains("left out") && outcome.stdout.contains("lags above 40 frames"), "{outcome}");

    // the same bits on two ranks, whose tiles are others
    with_ranks(2, filtered.path(), &["--config", "config.yaml"]).success();
    assert_eq!(results(filtered.path()).0, found);

    let inspected = alone(filtered.path(), &["inspect", "data.hdf", "--config", "config.yaml"]).success();
    assert!(inspected.stdout.contains("left out  frames 7, 20–24"), "{inspected}");
    let dry = alone(filtered.path(), &["--config", "config.yaml", "--dry-run"]).success();
    assert!(
        dry.stdout.contains("frames 7, 20–24")
            && dry.stdout.contains(&format!("{},{:03} pairs", 2 * fitted / 1000, 2 * fitted % 1000)),
        "{dry}"
    );
}

#[test]
fn the_diagonal_takes_no_part() {
    let fitted = |diagonal: f32| {
        let folder = scratch();
        Sample::STILL.make(folder.path());
        append(folder.path(), "noise_estimation: {enabled: true}\n");
        change(&folder.path().join("data.hdf"), |h5| {
            for slot in 0..2 {
                let path = format!("{MAP}/c2_{:05}", slot + 1);
                let mut c2: Array2<f32> = h5.dataset(&path).unwrap().read_2d().unwrap();
                c2.diag_mut().fill(diagonal);
                h5.unlink(&path).unwrap();
                h5.new_dataset_builder().with_data(&c2).create(path.as_str()).unwrap();
            }
        });
        alone(folder.path(), &["--config", "config.yaml"]).success();
        let (parameters, analysis) = results(folder.path());
        (parameters, analysis["fit_quality"].clone())
    };
    // shot noise as it is measured, a diagonal that the writer left out, one that is no number, one that would spoil any sum
    let measured = fitted(1.9);
    for diagonal in [0.0, f32::NAN, 1e30] {
        assert_eq!(fitted(diagonal), measured, "{diagonal}");
    }
}

#[test]
fn a_band_of_lags_leaves_the_search_its_way() {
    // shear under several levels; a single lag that no coarse level has
    let folder = scratch();
    Sample::FLOW.make(folder.path());
    append(folder.path(), "data_filtering: {max_lag_frames: 60}\n");
    alone(folder.path(), &["--config", "config.yaml"]).success();
    let (parameters, analysis) = results(folder.path());
    let fitted: usize = (1..220).map(|i| (220 - i - 1).min(60)).sum();
    assert_eq!(analysis["dataset_info"]["n_pairs"], 4 * fitted);
    for (name, at) in [("D0", 0), ("gamma_dot_t0", 3), ("phi0", 6)] {
        let number = |key: &str| parameters["parameters"][name][key].as_f64().unwrap();
        let off = (number("value") - Sample::FLOW.parameters[at]) / number("uncertainty");
        assert!(off.abs() < 5.0, "{name}: {off} standard errors off");
    }
    let text = std::fs::read_to_string(folder.path().join("config.yaml")).unwrap();
    std::fs::write(
        folder.path().join("config.yaml"),
        text.replace("max_lag_frames: 60", "min_lag_frames: 29, max_lag_frames: 29"),
    )
    .unwrap();
    let outcome = alone(folder.path(), &["--config", "config.yaml"]).outcome();
    assert!(outcome.code == Some(0) || outcome.code == Some(4), "{outcome}");
    assert_eq!(results(folder.path()).1["dataset_info"]["n_pairs"], 4 * (219 - 29));
}

#[test]
fn leaving_everything_out_is_refused() {
    let folder = scratch();
    Sample::STILL.make(folder.path());
    let run = |set: &str| alone(folder.path(), &["--config", "config.yaml", "--set", set]).outcome();
    for set in ["data_filtering.exclude_frames=[1-100]", "data_filtering.min_lag_frames=59"] {
        run(set).assert_error(2, &["data_filtering leaves no pair", "frames 1 to 60"]);
    }
    let outcome = run("data_filtering.exclude_frames=[50-70]");
    assert!(outcome.stderr.contains("50–70 reaches beyond the selected frames, 1 to 60"), "{outcome}");
    // frames are the measurement's: those before the selection are none of it
    let outcome = alone(
        folder.path(),
        &[
            "--config",
            "config.yaml",
            "--set",
            "analyzer_parameters.start_frame=11",
            "--set",
            "data_filtering.exclude_frames=[12]",
        ],
    )
    .success();
    assert!(outcome.stdout.contains("frame 12: 96 pairs"), "{outcome}");
}

/// A native file of 40 frames with noise by matrix; frames decay like exp(-lag/10).
fn native(file: &Path, noise: &[f64], sigma: Option<&[f64]>, scalar: bool) {
    alone_with_files(|| {
        let n = 40;
        let h5 = hdf5::File::create(file).unwrap();
        let c2 = Array3::from_shape_fn((noise.len(), n, n), |(k, i, j)| {
            let (a, b) = (i.min(j), i.max(j));
            // a fixed noise of unit variance: uniform numbers from the mixing of SplitMix64
            let mut state = ((k.min(1) << 40) | (a << 20) | b) as u64 ^ 0x9E37_79B9_7F4A_7C15;
            for (shift, factor) in
                [(30, 0xBF58_476D_1CE4_E5B9), (27, 0x94D0_49BB_1331_11EB), (31, 0xBF58_476D_1CE4_E5B9)]
            {
                state = (state ^ (state >> shift)).wrapping_mul(factor);
            }
            let uniform = (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5;
            (1.0 + 0.3 * (-((b - a) as f64) / 10.0).exp() + noise[k] * uniform * 12f64.sqrt()) as f32
        });
        h5.new_dataset_builder().with_data(&c2).create("c2").unwrap();
        let phi: Vec<f64> = (0..noise.len()).map(|k| 40.0 * k as f64).collect();
        h5.new_dataset_builder().with_data(&phi).create("phi").unwrap();
        for (name, value) in [("q", 0.0054), ("dt", 0.1)] {
            h5.new_attr::<f64>().create(name).unwrap().write_scalar(&value).unwrap();
        }
        match sigma {
            Some([one]) if scalar => h5.new_dataset::<f64>().create("sigma").unwrap().write_scalar(one).unwrap(),
            Some(all) => drop(h5.new_dataset_builder().with_data(all).create("sigma").unwrap()),
            None => {}
        }
        h5.close().unwrap();
    });
}

fn fit_native(noise: &[f64], sigma: Option<&[f64]>, scalar: bool, more: &str) -> (Value, Value) {
    let folder = scratch();
    native(&folder.path().join("data.h5"), noise, sigma, scalar);
    let individual = "optimization: {nlsq: {anti_degeneracy: {per_angle_mode: individual}}}\n";
    let fixed = "initial_parameters: {parameter_names: [D0, alpha, D_offset], values: [3.0e+4, 0.0, 0.0], active_parameters: [D0, alpha]}\n";
    std::fs::write(folder.path().join("config.yaml"), static_config("data.h5") + individual + fixed + more).unwrap();
    alone(folder.path(), &["--config", "config.yaml"]).success();
    results(folder.path())
}

fn value(parameters: &Value, name: &str, key: &str) -> f64 {
    parameters["parameters"][name][key].as_f64().unwrap()
}

/// An angle with σ/√2 weighs as much as the same angle twice.
#[test]
fn sigma_of_the_file_weighs_angles_against_each_other() {
    let twice = fit_native(&[0.01, 0.03, 0.03], None, false, "");
    let weighted = fit_native(&[0.01, 0.03], Some(&[0.01, 0.01 / 2f64.sqrt()]), false, "");
    let plain = fit_native(&[0.01, 0.03], None, false, "");
    for name in ["D0", "alpha"] {
        let [twice, weighted, plain] = [&twice, &weighted, &plain].map(|r| value(&r.0, name, "value"));
        let scale = (twice - plain).abs();
        assert!(scale > 0.0 && (weighted - twice).abs() < 1e-3 * scale, "{name}: {weighted} {twice} {plain}");
    }
    // χ² counts the second angle twice, too
    let chi2 = |r: &(Value, Value)| r.0["chi_squared"].as_f64().unwrap();
    assert!((chi2(&weighted) / chi2(&twice) - 1.0).abs() < 1e-6, "{} {}", chi2(&weighted), chi2(&twice));
    let (quality, info) = (&weighted.1["fit_quality"], &weighted.1["dataset_info"]);
    assert_eq!((quality["sigma_is_default"].as_bool(), quality["sigma_source"].as_str()), (Some(false), Some("file")));
    // pairs are whole numbers, whatever their weight: 2 × 39 · 38 / 2, less 2 + 4 parameters
    assert_eq!((info["n_pairs"].as_u64(), quality["degrees_of_freedom"].as_u64()), (Some(1482), Some(1476)));
    assert_eq!(plain.1["fit_quality"]["sigma_source"], "default");
}

#[test]
fn one_sigma_sets_chi_squared_and_errors_and_moves_nothing() {
    let plain = fit_native(&[0.01, 0.01], None, false, "");
    for scalar in [true, false] {
        let known = fit_native(&[0.01, 0.01], Some(&[0.02]), scalar, "");
        assert_eq!(value(&known.0, "D0", "value"), value(&plain.0, "D0", "value"));
        let reduced = |r: &(Value, Value)| r.0["reduced_chi_squared"].as_f64().unwrap();
        // the default is half as large
        assert!((reduced(&plain) / reduced(&known) - 4.0).abs() < 1e-9);
        // errors come from σ as it is, not from the residuals
        let errors = value(&known.0, "D0", "uncertainty") / value(&plain.0, "D0", "uncertainty");
        assert!((errors * reduced(&known).sqrt() - 1.0).abs() < 1e-9, "{errors}");
    }
}

#[test]
fn the_estimate_is_the_sigma_where_it_is_asked_for() {
    let estimated = fit_native(&[0.004, 0.03], None, false, "noise_estimation: {enabled: true}\n");
    let quality = &estimated.1["fit_quality"];
    assert_eq!(quality["sigma_source"], "estimated");
    assert_eq!(quality["sigma_is_default"], false);
    assert_eq!(quality["sigma_per_angle"], quality["noise_estimate_per_angle"]);
    let sigma: Vec<f64> = quality["sigma_per_angle"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap()).collect();
    // 700 differences of a uniform noise, whose median isn't a normal one's
    assert!((sigma[0] / 0.004 - 1.0).abs() < 0.3 && (sigma[1] / 0.03 - 1.0).abs() < 0.3, "{sigma:?}");
    // the same numbers from the file give the same fit; the file wins over the estimate
    let stored = fit_native(&[0.004, 0.03], Some(&sigma), false, "noise_estimation: {enabled: true}\n");
    assert_eq!(stored.1["fit_quality"]["sigma_source"], "file");
    assert_eq!(stored.0["parameters"], estimated.0["parameters"]);
    assert_eq!(stored.0["per_angle"], estimated.0["per_angle"]);
}

#[test]
fn what_differs_from_the_python_package_is_said_once() {
    let folder = scratch();
    Sample { frames: 600, angles: &[0.0, 45.0, 90.0], ..Sample::STILL }.make(folder.path());
    let outcome = alone(folder.path(), &["--config", "config.yaml"]).success();
    let count = |text: &str| outcome.stderr.matches(text).count();
    assert_eq!(count("fitted once; the Python package fits it from both triangles"), 1, "{outcome}");
    assert_eq!(count("from 1000000 matrix entries on"), 1, "{outcome}");
    assert_eq!(count("both halves of the matrices are filled"), 0, "{outcome}");

    let folder = scratch();
    Sample::STILL.make(folder.path());
    for slot in 0..2 {
        change(&folder.path().join("data.hdf"), |h5| {
            let path = format!("{MAP}/c2_{:05}", slot + 1);
            let half: Array2<f32> = h5.dataset(&path).unwrap().read_2d().unwrap();
            let full = Array2::from_shape_fn(half.dim(), |(i, j)| half[(i.min(j), i.max(j))]);
            h5.unlink(&path).unwrap();
            h5.new_dataset_builder().with_data(&full).create(path.as_str()).unwrap();
        });
    }
    let outcome = alone(folder.path(), &["--config", "config.yaml"]).success();
    let count = |text: &str| outcome.stderr.matches(text).count();
    assert_eq!((count("both halves of the matrices are filled"), count("matrix entries on")), (1, 0), "{outcome}");

    // `fast_mode` doesn't compare the halves
    change(&folder.path().join("data.hdf"), |h5| {
        let path = format!("{MAP}/c2_00001");
        let mut c2: Array2<f32> = h5.dataset(&path).unwrap().read_2d().unwrap();
        c2[(30, 10)] += 0.1;
        h5.unlink(&path).unwrap();
        h5.new_dataset_builder().with_data(&c2).create(path.as_str()).unwrap();
    });
    alone(folder.path(), &["--config", "config.yaml"]).outcome().assert_error(3, &["symmetric"]);
    alone(folder.path(), &["--config", "config.yaml", "--set", "performance.fast_mode=true"]).success();
}

#[test]
fn golden_data_have_no_file_sigma() {
    let folder = scratch();
    std::fs::write(folder.path().join("config.yaml"), static_config("none")).unwrap();
    let file = data("sta_3x100_apsu.hdf");
    alone(folder.path(), &["--config", "config.yaml", "--data-file", file.to_str().unwrap()]).success();
    let quality = &results(folder.path()).1["fit_quality"];
    assert_eq!((quality["sigma"].as_f64(), quality["sigma_is_default"].as_bool()), (Some(0.01), Some(true)));
}

/// Two angles whose noise is `noise` at a pair of frames, with /sigma of every entry where `sigma` says so, fitted by so many ranks.
fn fit_pairs(
    noise: impl Fn(usize, usize, usize) -> f64,
    sigma: impl Fn(usize, usize, usize) -> f64,
    ranks: usize,
    more: &str,
) -> (Value, Value) {
    let folder = scratch();
    let file = folder.path().join("data.h5");
    native(&file, &[1.0, 1.0], None, false);
    alone_with_files(|| {
        let h5 = hdf5::File::open_rw(&file).unwrap();
        let clean = |i: usize, j: usize| 1.0 + 0.3 * (-(i.abs_diff(j) as f64) / 10.0).exp();
        let unit: Array3<f32> = h5.dataset("c2").unwrap().read().unwrap();
        let c2 = Array3::from_shape_fn((2, 40, 40), |(k, i, j)| {
            (clean(i, j) + (f64::from(unit[(k, i, j)]) - clean(i, j)) * noise(k, i.min(j), i.max(j))) as f32
        });
        h5.dataset("c2").unwrap().write(&c2).unwrap();
        let all = Array3::from_shape_fn((2, 40, 40), |(k, i, j)| sigma(k, i.min(j), i.max(j)));
        h5.new_dataset_builder().with_data(&all).create("sigma").unwrap();
        h5.close().unwrap();
    });
    let individual = "optimization: {nlsq: {anti_degeneracy: {per_angle_mode: individual}}}\n";
    let fixed = "initial_parameters: {parameter_names: [D0, alpha, D_offset], values: [3.0e+4, 0.0, 0.0], active_parameters: [D0, alpha]}\n";
    let more = if more.is_empty() { individual } else { more };
    std::fs::write(folder.path().join("config.yaml"), static_config("data.h5") + more + fixed).unwrap();
    match ranks {
        0 => alone(folder.path(), &["--config", "config.yaml"]).success(),
        _ => with_ranks(ranks, folder.path(), &["--config", "config.yaml", "--threads", "1"]).success(),
    };
    let (mut parameters, mut all) = results(folder.path());
    parameters["timestamp"].take();
    let metrics = folder.path().join("homodyne_results/nlsq/convergence_metrics.json");
    all["warnings"] = crate::common::json(&metrics)["warnings"].take();
    (parameters, all)
}

/// With the noise of `fit_pairs`: differs from pair to pair, tenfold.
fn uneven(_: usize, i: usize, j: usize) -> f64 {
    if (i * 7 + j * 3) % 5 < 2 { 0.05 } else { 0.005 }
}

#[test]
fn a_sigma_of_every_pair_that_is_the_angles_is_the_same_as_one_by_angle() {
    // without rounding in f32
    let sigma = [1.0 / 128.0, 1.0 / 32.0];
    for sigma in [[sigma[0]; 2], sigma] {
        let pairs = fit_pairs(|k, _, _| [0.01, 0.03][k], |k, _, _| sigma[k], 0, "");
        let angles = fit_native(&[0.01, 0.03], Some(&sigma), false, "");
        let apart = |a: f64, b: f64, what: &str| assert!((a / b - 1.0).abs() < 1e-4, "{what}: {a} {b}");
        for name in ["D0"] {
            for key in ["value", "uncertainty"] {
                apart(value(&pairs.0, name, key), value(&angles.0, name, key), name);
            }
        }
        apart(value(&pairs.0, "alpha", "uncertainty"), value(&angles.0, "alpha", "uncertainty"), "alpha");
        let chi2 = |r: &(Value, Value)| r.0["chi_squared"].as_f64().unwrap();
        apart(chi2(&pairs), chi2(&angles), "chi2");
        for key in ["sigma", "sigma_source", "degrees_of_freedom"] {
            assert_eq!(pairs.1["fit_quality"][key], angles.1["fit_quality"][key], "{key}");
        }
    }
}

#[test]
fn a_sigma_of_every_pair_finds_the_truth_that_noise_hides() {
    let weighted = fit_pairs(uneven, uneven, 0, "");
    let plain = fit_pairs(uneven, |_, _, _| 0.03, 0, "");
    let (own, error) = (value(&weighted.0, "alpha", "value"), value(&weighted.0, "alpha", "uncertainty"));
    assert!(own.abs() < 3.0 * error, "alpha = {own} ± {error}");
    assert!(error < 0.5 * value(&plain.0, "alpha", "uncertainty"), "{error}");
    let reduced = weighted.0["chi_squared"].as_f64().unwrap() / (2.0 * 741.0 - 6.0);
    assert!((0.85..1.15).contains(&reduced), "{reduced}");
}

#[test]
fn ranks_and_losses_agree_where_pairs_have_their_sigma() {
    let loss = "optimization: {nlsq: {loss: soft_l1, anti_degeneracy: {per_angle_mode: averaged}}}\n";
    let filter = "data_filtering: {enabled: true, exclude_frames: [12]}\n";
    for more in ["", loss, filter] {
        let one = fit_pairs(uneven, uneven, 1, more);
        let two = fit_pairs(uneven, uneven, 2, more);
        assert_eq!(one.0, two.0, "{more}");
        let (own, error) = (value(&one.0, "alpha", "value"), value(&one.0, "alpha", "uncertainty"));
        assert!(own.abs() < 3.5 * error, "{more}: alpha = {own} ± {error}");
    }
}

#[test]
fn pairs_without_a_sigma_are_left_out_and_told() {
    let gap = |_: usize, i: usize, j: usize| match (i, j) {
        (3, 7) => 0.0,
        (4, 20) => f64::NAN,
        (5, 9) => -1.0,
        (6, 30) => f64::INFINITY,
        _ => 0.01,
    };
    let (without, about) = fit_pairs(|_, _, _| 0.01, gap, 0, "");
    let (missing, _) = fit_pairs(|k, i, j| if gap(k, i, j) == 0.01 { 0.01 } else { f64::NAN }, |_, _, _| 0.01, 0, "");
    for key in ["chi_squared", "parameters"] {
        assert_eq!(without[key], missing[key], "{key}");
    }
    let told = about.to_string();
    assert!(told.contains("8 pair(s) left out") && told.contains("/sigma"), "{told}");
}

/// The warnings of a fit of the data in a folder.
fn warnings(folder: &Path) -> Vec<String> {
    let outcome = alone(folder, &["--config", "config.yaml", "--set", "plotting.save_plots=false"]).outcome();
    assert!(outcome.code == Some(0) || outcome.code == Some(4), "{outcome}");
    let metrics = json(&folder.join("homodyne_results/nlsq/convergence_metrics.json"));
    metrics["quality_warnings"].as_array().unwrap().iter().map(|w| w.as_str().unwrap().to_string()).collect()
}

#[test]
fn frames_that_stand_out_are_named() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    let says = |words: &str| warnings(folder).iter().any(|w| w.contains(words));
    assert!(!says("in some frames"), "{:?}", warnings(folder));
    // as much noise again and more, of no effect on the mean
    let is_bad = |f: usize| (19..=23).contains(&f) || f == 6;
    let more = |i: usize, j: usize| if (i + j).is_multiple_of(2) { 0.06 } else { -0.06 };
    change_pairs(folder, 1, |i, j, v| if is_bad(i) || is_bad(j) { v + more(i, j) } else { v });
    let phi = "at φ = 90°";
    for words in [format!("frame 7 {phi}"), format!("frames 20–24 {phi}")] {
        assert!(says(&words), "{words}: {:?}", warnings(folder));
    }
}

#[test]
fn an_angle_that_stands_out_is_named() {
    let folder = scratch();
    let folder = folder.path();
    Sample { angles: &[0.0, 45.0, 90.0], ..Sample::STILL }.make(folder);
    let says = |words: &str| warnings(folder).iter().any(|w| w.contains(words));
    assert!(!says("at some angles only"), "{:?}", warnings(folder));
    // nothing that the model knows, and too smooth to be noise
    change_pairs(folder, 1, |_, j, v| v + 0.03 * (0.4 * j as f32).cos());
    assert!(says("in units of it: φ = 45°"), "{:?}", warnings(folder));
}
