//! Simulated measurements are what their parameters say.

use std::path::PathBuf;

use homodyne_mpi::commands::simulate;
use homodyne_mpi::config::{
    AngleScaling, Config, FitConfig, Method, OutputConfig, PerformanceConfig, PlotConfig, SamplerConfig,
    SimulationConfig, TimeOrigin,
};
use homodyne_mpi::dataset::{Layout, Selection};
use homodyne_mpi::model::{AnalysisMode, Experiment, ParameterSpace, ShearConvention, TimeAxis, reference};

use super::support::{open, read, scratch};

const PARAMETERS: [f64; 7] = [1e4, -0.5, 100.0, 0.002, -0.3, 2e-4, -3.0];

fn config(mode: AnalysisMode, noise: f64) -> Config {
    Config {
        path: PathBuf::from("config.yaml"),
        mode,
        convention: ShearConvention::Homodyne,
        gap: Some(2e6),
        time_origin: TimeOrigin::Selection,
        time_origin_is_given: false,
        data_file: None,
        data_file_slip: None,
        estimate_noise: false,
        selection: Selection { q: Some(0.0054), dt: Some(0.1), ..Selection::default() },
        parameters: ParameterSpace::for_mode(mode),
        method: Method::Nlsq,
        sampler: SamplerConfig::default(),
        fit: FitConfig {
            max_iterations: 100,
            ftol: 1e-8,
            xtol: 1e-8,
            gtol: 1e-8,
            scaling: None,
            loss: None,
            global_search: false,
            n_starts: None,
            seed: 1,
        },
        scaling: AngleScaling::default(),
        performance: PerformanceConfig::default(),
        streaming: homodyne_mpi::config::StreamingConfig::default(),
        plotting: PlotConfig { save: false, ..PlotConfig::default() },
        output: OutputConfig {
            keep_previous: 10,
            html: true,
            directory: PathBuf::from("out"),
            hdf5: false,
            json: true,
            csv: false,
            compression: 0,
            max_npz_entries: 0,
        },
        log_level: None,
        simulation: Some(SimulationConfig {
            parameters: PARAMETERS[..mode.n_physical()].to_vec(),
            phi: vec![0.0, 45.0],
            n_frames: 120,
            noise,
            seed: 7,
            contrast: vec![0.3, 0.2],
            offset: vec![1.0, 1.1],
        }),
        effective: serde_json::Value::Null,
        warnings: vec![],
        ignored_keys: vec![],
    }
}

#[test]
fn without_noise_every_pair_is_the_reference() {
    let (_folder, file) = scratch("run.hdf");
    for (mode, layout) in [(AnalysisMode::LaminarFlow, Layout::ApsU), (AnalysisMode::Static, Layout::Native)] {
        let config = config(mode, 0.0);
        let mut said = Vec::new();
        let summary = simulate(&config, &file, layout, None, &mut said).unwrap();
        assert_eq!(String::from_utf8(said).unwrap().lines().count(), 2);
        assert_eq!((summary.n_angles, summary.n_frames), (2, 120));
        let dataset = open(&file).unwrap();
        let experiment = Experiment {
            mode,
            convention: config.convention,
            q: dataset.q,
            gap: 2e6,
            dt: dataset.dt,
            phi: dataset.phi(),
            n_frames: 120,
            time_offset: 0,
        };
        let axis = TimeAxis::without_derivatives(&experiment, &PARAMETERS[..mode.n_physical()]);
        for (angle, (contrast, offset)) in [(0.3, 1.0), (0.2, 1.1)].into_iter().enumerate() {
            let m = read(&dataset, angle);
            for i in 0..120 {
                for j in i + 1..120 {
                    let c2 = offset + contrast * reference::shape(&experiment, &axis, angle, i, j);
                    assert_eq!(m.at(i, j), c2 as f32);
                }
            }
        }
    }
}

#[test]
fn the_truth_is_written_beside_the_file() {
    let (folder, file) = scratch("run.hdf");
    simulate(&config(AnalysisMode::LaminarFlow, 0.01), &file, Layout::ApsU, None, &mut Vec::new()).unwrap();
    let text = std::fs::read_to_string(folder.path().join("run_truth.json")).unwrap();
    let truth: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(truth["mode"], "laminar_flow");
    assert_eq!(truth["shear_convention"], "homodyne");
    assert_eq!((&truth["time_origin"], &truth["t0_frame"]), (&"selection".into(), &1.into()));
    assert_eq!(truth["params"]["gamma_dot_t0"], 0.002);
    assert_eq!(truth["contrast"], serde_json::json!([0.3, 0.2]));
    for (key, value) in [("q", 0.0054), ("gap", 2e6), ("dt", 0.1), ("noise", 0.01)] {
        assert_eq!(truth[key], value, "{key}");
    }
    assert_eq!(
        (truth["frames"].as_u64(), truth["seed"].as_u64(), truth["file"].as_str()),
        (Some(120), Some(7), Some("run.hdf"))
    );
}

#[test]
fn the_noise_is_gaussian_independent_and_the_same_with_any_number_of_threads() {
    let (folder, file) = scratch("run.hdf");
    let noisy = config(AnalysisMode::Static, 0.01);
    let clean = folder.path().join("clean.hdf");
    simulate(&config(AnalysisMode::Static, 0.0), &clean, Layout::ApsU, None, &mut Vec::new()).unwrap();
    let with_threads = |n: usize, name: &str| {
        let file = folder.path().join(name);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
        pool.install(|| simulate(&noisy, &file, Layout::ApsU, None, &mut Vec::new())).unwrap();
        std::fs::read(file).unwrap()
    };
    assert_eq!(with_threads(1, "one.hdf"), with_threads(3, "three.hdf"));

    simulate(&noisy, &file, Layout::ApsU, None, &mut Vec::new()).unwrap();
    let (a, b) = (open(&file).unwrap(), open(&clean).unwrap());
    let residuals: Vec<Vec<f64>> = (0..2)
        .map(|k| {
            let (a, b) = (read(&a, k), read(&b, k));
            (0..120)
                .flat_map(|i| (i + 1..120).map(move |j| (i, j)))
                .map(|(i, j)| f64::from(a.at(i, j) - b.at(i, j)))
                .collect()
        })
        .collect();
    let n = residuals[0].len() as f64;
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(a, b)| a * b).sum::<f64>() / n;
    // five standard errors of a mean, a variance and a correlation of n values
    let five = 5.0 / n.sqrt();
    for r in &residuals {
        assert!((r.iter().sum::<f64>() / n / 0.01).abs() < five);
        assert!((dot(r, r) / 1e-4 - 1.0).abs() < five * 2_f64.sqrt());
    }
    assert!((dot(&residuals[0], &residuals[1]) / 1e-4).abs() < five);
    let shifted = &residuals[0][1..];
    assert!((dot(&residuals[0], shifted) / 1e-4).abs() < five);
}

#[test]
fn what_a_simulation_lacks_is_a_configuration_error() {
    let (folder, file) = scratch("run.hdf");
    type Change = fn(&mut Config);
    let changes: [(&str, Change); 6] = [
        ("analyzer_parameters.dt", |c| c.selection.dt = None),
        ("wavevector_q", |c| c.selection.q = None),
        ("stator_rotor_gap", |c| c.gap = None),
        ("simulation", |c| c.simulation = None),
        ("one contrast per angle", |c| c.simulation.as_mut().unwrap().contrast = vec![0.3]),
        ("7 parameters", |c| c.simulation.as_mut().unwrap().parameters.truncate(3)),
    ];
    for (part, change) in changes {
        let mut config = config(AnalysisMode::LaminarFlow, 0.01);
        change(&mut config);
        let error = simulate(&config, &file, Layout::ApsU, None, &mut Vec::new()).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
