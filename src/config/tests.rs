//! What users are promised of a configuration file, from YAML text to [`Config`].

mod examine;
mod parameters;
mod sampling;
mod scaling;
mod templates;

use super::load::from_source;
use super::schema::{Known, keys};
use super::source::Source;
use super::*;
use crate::Error;
use crate::dataset::{Baseline, DataFilter, Train, Unsaid};

/// The shortest file for a fit under shear.
const FLOW: &str = "\
analysis_mode: laminar_flow
analyzer_parameters:
  dt: 0.1
  scattering: {wavevector_q: 0.0054}
  geometry: {stator_rotor_gap: 2000000}
";

fn load_text(text: &str) -> crate::Result<Config> {
    from_source(Source::new("c.yaml".into(), text), &Overrides::default())
}

fn load_static(more: &str) -> crate::Result<Config> {
    load_text(&format!("analysis_mode: static\n{more}"))
}

fn load_with(text: &str, set: &[&str]) -> crate::Result<Config> {
    let set = set.iter().map(|s| s.to_string()).collect();
    from_source(Source::new("c.yaml".into(), text), &Overrides { set, ..Default::default() })
}

/// The message of the error, which must be the configuration's.
fn message(result: crate::Result<Config>, what: &str) -> String {
    match result {
        Ok(_) => panic!("accepted: {what}"),
        Err(error @ Error::Config(_)) => error.to_string(),
        Err(error) => panic!("{what}: not a configuration error: {error}"),
    }
}

#[test]
fn a_short_file_gets_the_defaults() {
    let config = load_text(FLOW).unwrap();
    assert_eq!((config.mode, config.convention), (AnalysisMode::LaminarFlow, ShearConvention::Homodyne));
    assert_eq!((config.gap, config.time_origin), (Some(2e6), TimeOrigin::Selection));
    assert_eq!(config.selection, Selection { q: Some(0.0054), dt: Some(0.1), ..Default::default() });
    assert_eq!(config.parameters, ParameterSpace::for_mode(AnalysisMode::LaminarFlow));
    let fit = FitConfig {
        max_iterations: 100,
        ftol: 1e-8,
        xtol: 1e-8,
        gtol: 1e-8,
        scaling: None,
        loss: None,
        global_search: true,
        n_starts: None,
        seed: 42,
    };
    assert_eq!(config.fit, fit);
    assert_eq!(config.performance, PerformanceConfig { progress: true, ..Default::default() });
    let output = OutputConfig {
        html: true,
        directory: "./homodyne_results".into(),
        hdf5: true,
        json: true,
        csv: false,
        compression: 4,
        max_npz_entries: 2_000_000,
        keep_previous: 10,
    };
    assert_eq!(config.output, output);
    assert!(config.data_file.is_none() && config.simulation.is_none() && config.log_level.is_none());
    assert!(config.warnings.is_empty() && config.ignored_keys.is_empty());
}

#[test]
fn every_setting_arrives() {
    let config = load_text(
        "analysis_mode: Laminar_Flow\n\
         analyzer_parameters: {dt: 1e-3, start_frame: 10, end_frame: 20, time_origin: acquisition, \
         scattering: {wavevector_q: 1e-2}, geometry: {stator_rotor_gap: 1e6}}\n\
         model: {shear_convention: theory}\n\
         experimental_data: {file_format: APS-U, exchange_key: /exchange_1, phi_angles: [0, -45.5], train: Mean, \
         baseline_reference: 0}\n\
         q_tolerance_fraction: 0.05\n\
         phi_filtering: {enabled: yes, fallback_to_all_angles: on, target_ranges: \
         [{min_angle: -10, max_angle: 10, description: x}, {min_angle: 170, max_angle: -170}]}\n\
         optimization: {method: NLSQ, nlsq: {max_iterations: 5000.0, tolerance: 1e-6, xtol: 1e-7, gtol: 1e-9, \
         loss: linear, anti_degeneracy: {per_angle_mode: individual}, multi_start: {n_starts: 7, seed: 3}}}\n\
         performance: {strategy_override: CHUNKED, memory_limit_gb: 1.5, enable_progress: false, \
         computation: {cpu_threads: 6}}\n\
         output: {directory: out, base_directory: elsewhere, compression_level: 9, max_npz_entries: 5000, keep_previous: 3, formats: {hdf5: off, csv: on}}\n\
         distributed: {io: Parallel}\nlogging: {level: WARNING}\n",
    )
    .unwrap();
    let selection = Selection {
        layout: Some(crate::dataset::Layout::ApsU),
        q: Some(1e-2),
        q_tolerance: 0.05,
        exchange_key: Some("/exchange_1".into()),
        unsaid: Unsaid { phi: Some(vec![0.0, -45.5]), baseline: Some(Baseline::Zero), train: Some(Train::Mean) },
        start_frame: 10,
        end_frame: Some(20),
        dt: Some(1e-3),
        phi_ranges: Some(vec![(-10.0, 10.0), (170.0, -170.0)]),
        fallback_to_all_angles: true,
        ..Selection::default()
    };
    assert_eq!(config.selection, selection);
    assert_eq!((config.convention, config.time_origin), (ShearConvention::Theory, TimeOrigin::Acquisition));
    assert_eq!((config.fit.max_iterations, config.fit.n_starts, config.fit.seed), (5000, Some(7), 3));
    assert_eq!((config.fit.ftol, config.fit.xtol, config.fit.gtol), (1e-6, 1e-7, 1e-9));
    assert_eq!(config.fit.scaling, Some(ScalingMode::Individual));
    let performance = PerformanceConfig {
        parallel_reading: Some(true),
        strategy: Some(Strategy::Chunked),
        memory_limit_gb: Some(1.5),
        threads: Some(6),
        precision: Precision::F64,
        device: DeviceChoice::Auto,
        memory_fraction: 0.9,
        silence_limit: 60.0,
        progress: false,
    };
    assert_eq!(config.performance, performance);
    let output = OutputConfig {
        html: true,
        directory: "out".into(),
        hdf5: false,
        json: true,
        csv: true,
        compression: 9,
        max_npz_entries: 5000,
        keep_previous: 3,
    };
    assert_eq!(config.output, output);
    assert_eq!(config.log_level, Some(log::LevelFilter::Warn));
    let base = load_static("output: {base_directory: base, compress_hdf5: false}").unwrap();
    assert_eq!((base.output.directory, base.output.compression), ("base".into(), 0));
    let nulls = load_static("analyzer_parameters: {dt: null, scattering: {wavevector_q: ~}}\noutput:\n").unwrap();
    assert_eq!((nulls.selection.dt, nulls.selection.q), (None, None));
}

#[test]
fn wrong_values_name_key_place_and_expectation() {
    for (more, expected) in [
        ("analyzer_parameters: {dt: abc}", "c.yaml:2:27: `analyzer_parameters.dt` must be a number, found the text"),
        ("analyzer_parameters: {dt: 0}", "`analyzer_parameters.dt` must be greater than 0"),
        ("analyzer_parameters: {dt: .nan}", "`analyzer_parameters.dt` must be a finite number"),
        ("analyzer_parameters: {dt: {a: 1}}", "must be a number, found a section"),
        ("analyzer_parameters: {scattering: {wavevector_q: -1}}", "wavevector_q` must be greater than 0"),
        ("analyzer_parameters: {scattering: {wavevector_q: .inf}}", "must be a finite number"),
        ("analyzer_parameters: {start_frame: 0}", "start_frame` must be at least 1, found 0"),
        ("analyzer_parameters: {start_frame: 1.5}", "must be a whole number"),
        ("analyzer_parameters: {end_frame: 0}", "must be a frame from 1, or -1"),
        ("analyzer_parameters: {end_frame: -2}", "must be at least -1"),
        ("analyzer_parameters: {start_frame: 5, end_frame: 5}", "(5) must be less than `end_frame` (5)"),
        ("experimental_data: {phi_angles: [0, x]}", "`experimental_data.phi_angles[1]` must be a number"),
        ("experimental_data: {phi_angles: x}", "`experimental_data.phi_angles` must be a number"),
        ("experimental_data: {train: 0}", "must be the number of a train, from 1, or `mean`, found `0`"),
        ("experimental_data: {baseline_reference: 2}", "baseline_reference` must be from 0 to 1"),
        ("analyzer_parameters: 7", "`analyzer_parameters` must be a section of keys"),
        ("analyzer_parameters: {time_origin: select}", "did you mean `selection`?"),
        ("phi_filtering: {enabled: maybe}", "must be `true` or `false`"),
        ("phi_filtering: {enabled: true}", "names no range"),
        ("phi_filtering: {enabled: true, target_ranges: [{min_angle: 1}]}", "`phi_filtering.target_ranges[0]` has no"),
        ("phi_filtering: {enabled: true, target_ranges: [5]}", "a section with `min_angle`"),
        ("optimization: {nlsq: {tolerance: 0}}", "`optimization.nlsq.tolerance` must be greater than 0"),
        ("optimization: {nlsq: {xtol: -1e-8}}", "`optimization.nlsq.xtol` must be greater than 0, found -1e-8"),
        ("optimization: {nlsq: {gtol: abc}}", "`optimization.nlsq.gtol` must be a number"),
        ("optimization: {nlsq: {max_iterations: 0}}", "must be at least 1"),
        ("optimization: {nlsq: {multi_start: {n_starts: 0}}}", "must be from 1 to 10000"),
        ("optimization: {nlsq: {multi_start: {n_starts: 10001}}}", "must be from 1 to 10000, found 10001"),
        ("optimization: {nlsq: {multi_start: {seed: -1}}}", "must be at least 0"),
        ("optimization: {nlsq: {loss: lienar}}", "did you mean `linear`?"),
        ("performance: {computation: {cpu_threads: 0}}", "a whole number from 1, or `auto`"),
        ("performance: {memory_limit_gb: 0}", "must be greater than 0"),
        ("performance: {strategy_override: huge}", "can be `auto`, `standard`, `large`, `chunked`, `streaming`, found"),
        ("optimization: {streaming: {checkpoint_frequency: 0}}", "must be at least 1"),
        ("optimization: {streaming: {max_retries_per_batch: -1}}", "must be from 0 to 1000"),
        ("optimization: {streaming: {min_success_rate: 95}}", "must be from 0 to 1"),
        ("distributed: {io: mpiio}", "`distributed.io` can be `auto`, `root`, `parallel`, found `mpiio`"),
        ("device: {memory_fraction: 90}", "must be above 0 and at most 1"),
        ("distributed: {silence_limit: 0.5}", "must be 0 (for ever) or from 1"),
        ("output: {compression_level: 10}", "must be from 0 to 9"),
        ("output: {directory: [a]}", "must be text, found a list of 1"),
        ("logging: {level: LOUD}", "`logging.level` can be"),
        ("validation: {strict_mode: 3}", "must be `true` or `false`"),
    ] {
        let text = message(load_static(more), more);
        assert!(text.contains(expected), "{more}: {text}");
        assert!(text.starts_with("c.yaml:2:") && text.contains("\n  2 | ") && text.contains('^'), "{more}: {text}");
    }
}

#[test]
fn the_mode_is_required_and_suggested() {
    let text = message(load_text("analyzer_parameters: {dt: 1}"), "no mode");
    assert!(text.contains("`analysis_mode` is missing; it is one of static, static_isotropic"), "{text}");
    let text = message(load_text("analysis_mode: laminar_flo"), "typo");
    assert!(text.contains("`static_anisotropic`, `laminar_flow`") && text.contains("did you mean `laminar_flow`?"));
    let text = message(load_text("analysis_mod: static"), "misspelt key");
    assert!(text.starts_with("c.yaml:1:1: ") && text.contains("does `analysis_mod` mean `analysis_mode`?"), "{text}");
}

#[test]
fn a_gap_is_positive_or_left_to_the_data_file() {
    let flow = "analysis_mode: laminar_flow\nanalyzer_parameters: {geometry: {stator_rotor_gap: GAP}}";
    assert_eq!(load_text(&flow.replace("GAP", "null")).unwrap().gap, None);
    let text = message(load_text(&flow.replace("GAP", "-5")), "negative");
    assert!(text.contains("must be greater than 0 (in Å), found -5"), "{text}");
    assert_eq!(load_text(&flow.replace("GAP", "0").replace("laminar_flow", "static")).unwrap().gap, None);
}

#[test]
fn what_would_be_ignored_to_the_result_is_refused() {
    let more = "initial_parameters: {fixed_parameters: {contrast: 0.3}}";
    let text = message(load_static(more), more);
    assert!(text.starts_with("c.yaml:2:") && text.contains("fixing `contrast` isn't available yet"), "{text}");
    let harmless = "optimization: {method: nlsq, nlsq: {anti_degeneracy: \
                    {per_angle_mode: averaged, constant_scaling_threshold: 5}, x_scale_map: {D0: 1}}}\n\
                    data_filtering: {exclude_frames: [], min_lag_frames: 1, max_lag_frames: null}\n\
                    noise_estimation: {enabled: true}\ndevice: {kind: cpu, precision: mixed, memory_fraction: 0.5}\n\
                    performance: {strategy_override: null, fast_mode: true}\ndistributed: {io: root, silence_limit: 5}\n\
                    experimental_data: {file_format: HDF5}\n";
    assert_eq!(load_static(harmless).unwrap().warnings, Vec::<String>::new());
}

#[test]
fn frames_and_lags_to_leave_out() {
    let filter = |more: &str| load_static(more).map(|config| (config.selection.filter.clone(), config));
    let (found, config) = filter(
        "data_filtering:\n  exclude_frames: [57, 120-140, \"3 - 5\"]\n  min_lag_frames: 2\n  max_lag_frames: 900\n",
    )
    .unwrap();
    let frames = vec![(57, 57), (120, 140), (3, 5)];
    assert_eq!(found, DataFilter { frames, min_lag: 2, max_lag: Some(900) });
    // what the results keep says the same again
    let again = filter(&format!("data_filtering: {}", config.effective["data_filtering"])).unwrap().0;
    assert_eq!(again, found);
    assert_eq!(filter("data_filtering: {enabled: false, max_lag_frames: 9}").unwrap().0, DataFilter::default());
    assert_eq!(filter("data_filtering: {min_lag_frames: 0}").unwrap().0, DataFilter::default());
    for (keys, expected) in [
        ("exclude_frames: [0]", "`data_filtering.exclude_frames[0]` must be a frame from 1, such as `57`"),
        ("exclude_frames: [4, 9-7]", "`data_filtering.exclude_frames[1]` runs backwards: write `7-9`"),
        ("exclude_frames: [[120, 140]]", "such as `120-140`, found a list of 2"),
        ("exclude_frames: [1-]", "a range of frames"),
        ("exclude_frames: 120-140", "must be a list"),
        ("min_lag_frames: 9, max_lag_frames: 3", "`data_filtering.min_lag_frames` (9) must not be greater than"),
        ("max_lag_frames: 0", "must be at least 1"),
    ] {
        let text = message(load_static(&format!("data_filtering: {{{keys}}}")), keys);
        assert!(text.starts_with("c.yaml:2:") && text.contains(expected), "{keys}: {text}");
    }
}

#[test]
fn a_file_with_every_known_key_has_no_unknown_one() {
    let mut root = super::parse::parse(&Source::new("c.yaml".into(), "analysis_mode: static")).unwrap();
    let set = keys().filter(|(path, _)| *path != "analysis_mode").map(|(path, _)| format!("{path}=null")).collect();
    Overrides { set, ..Default::default() }.apply(&mut root).unwrap();
    let mut document =
        document::Document { source: Source::new("c.yaml".into(), ""), root, unknown: Vec::new(), paths: Vec::new() };
    let idle = check::check(&mut document).unwrap().idle;
    assert!(document.unknown.is_empty(), "{:?}", document.unknown);
    let known = keys().filter(|(_, known)| matches!(known, Known::Idle(_))).count();
    // the mode is given, so that its other name has no effect
    assert_eq!(idle.len(), known + 1);
    assert!(idle.len() > 250);
    assert!(idle.iter().any(|line| line.to_string().starts_with("optimization.cmc.backend: the whole posterior")));
}

#[test]
fn keys_without_meaning_pass_with_any_value() {
    let config = load_static(
        "metadata: {complexity: [1, 2]}\nplotting: {datashader: false}\nlogging: {modules: {jax._src: WARNING, homodyne.x: INFO}}\n\
         parameter_space: {priors: {contrast: {mu: .5}}}\n",
    )
    .unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let paths: Vec<_> = config.ignored_keys.iter().map(|k| k.path.as_str()).collect();
    assert_eq!(paths, ["metadata.complexity", "plotting.datashader", "logging.modules", "parameter_space.priors"]);
}

#[test]
fn unknown_keys_are_warned_about_or_refused() {
    let text = "optimization:\n  nlsq:\n    max_iteration: 5\nanalyser_parameters: {dt: 1}\n\
                parameter_space: {bounds: [{name: D0, mn: 1}]}\nanalyzer_parameters.dt: 1\n";
    let config = load_static(text).unwrap();
    let expected = [
        "c.yaml:4:5: unknown key `optimization.nlsq.max_iteration`; did you mean `optimization.nlsq.max_iterations`?",
        "c.yaml:5:1: unknown key `analyser_parameters`; did you mean `analyzer_parameters`?",
        "c.yaml:6:39: unknown key `parameter_space.bounds[0].mn`; did you mean `min`?",
        "c.yaml:7:1: unknown key `analyzer_parameters.dt`; write it as nested sections, one name per line",
    ];
    assert_eq!(config.warnings, expected);
    let strict = message(load_static(&format!("{text}validation: {{strict_mode: true}}")), "strict");
    assert!(strict.starts_with("c.yaml:4:5: unknown key") && strict.contains("(3 more unknown)"), "{strict}");
    // nobody types a key of another program: there it is an error
    let typed = message(load_with("analysis_mode: static", &["analyzer_parameters.tiem_origin=selection"]), "typed");
    assert!(typed.starts_with("--set: unknown key"), "{typed}");
}

#[test]
fn the_command_line_wins() {
    let overrides = Overrides {
        set: vec!["analyzer_parameters.dt=0.5".into(), "optimization.method=cmc".into()],
        data_file: Some("x.h5".into()),
        output_dir: Some("o".into()),
        threads: Some(3),
        strategy: Some("large".into()),
        device: Some("cuda".into()),
        method: Some("nlsq".into()),
    };
    let file = format!("{FLOW}optimization: {{method: mcmc}}\nexperimental_data: {{file_path: y.h5}}\n");
    let config = from_source(Source::new("elsewhere/c.yaml".into(), &file), &overrides).unwrap();
    assert_eq!(config.selection.dt, Some(0.5));
    assert_eq!(config.data_file, Some("x.h5".into()));
    assert_eq!(config.output.directory, PathBuf::from("o"));
    assert_eq!((config.performance.threads, config.performance.strategy), (Some(3), Some(Strategy::Large)));
    assert_eq!(config.performance.device, DeviceChoice::Cuda);
    let text = message(load_with(FLOW, &["analyzer_parameters.dt=abc"]), "--set");
    assert_eq!(text, "--set: `analyzer_parameters.dt` must be a number, found the text \"abc\"");
    let threads = Overrides { threads: Some(0), ..Default::default() };
    let text = message(from_source(Source::new("c.yaml".into(), FLOW), &threads), "no threads");
    assert_eq!(text, "--threads: at least 1 thread is needed");
}

#[test]
fn the_data_file_is_looked_up_beside_the_configuration_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.yaml");
    let load_data = |data: &str| {
        std::fs::write(&path, format!("analysis_mode: static\nexperimental_data: {data}\n")).unwrap();
        load(&path, &Overrides::default()).unwrap().data_file
    };
    std::fs::create_dir(folder.path().join("d")).unwrap();
    std::fs::write(folder.path().join("d/x.h5"), "").unwrap();
    assert_eq!(load_data("{file_path: d/x.h5}"), Some(folder.path().join("d/x.h5")));
    assert_eq!(load_data("{data_folder_path: ./d/, data_file_name: x.h5}"), Some(folder.path().join("./d/x.h5")));
    // Tests run in the package's folder.
    assert_eq!(load_data("{file_path: Cargo.toml}"), Some("Cargo.toml".into()));
    assert_eq!(load_data("{file_path: none.h5}"), Some(folder.path().join("none.h5")));
    assert_eq!(load_data("{file_path: /abs/none.h5}"), Some("/abs/none.h5".into()));
    assert_eq!(load_data("{file_path: null}"), None);
}

#[test]
fn the_effective_configuration_gives_the_same_again() {
    let text = format!(
        "{FLOW}initial_parameters: {{values: [1000, 0, 10, 0.01, 0, 0, 0], fixed_parameters: {{beta: 0.5}}}}\n\
         parameter_space: {{bounds: [{{name: alpha, min: -1.5, max: 1}}, {{name: offset, min: 0.9, max: 1.1}}]}}\n\
         phi_filtering: {{enabled: true, target_ranges: [{{min_angle: -5, max_angle: 5}}]}}\n\
         performance: {{strategy_override: large, memory_limit_gb: 2}}\noutput: {{compression_level: 7}}\n\
         simulation: {{frames: 50, angles: [0, 90], contrast: [0.1, 0.2]}}\nlogging: {{level: debug}}\n"
    );
    let first = load_text(&text).unwrap();
    assert!(!first.fit.global_search);
    let second = load_text(&serde_json::to_string_pretty(&first.effective).unwrap()).unwrap();
    assert_eq!(second.effective, first.effective);
    assert_eq!((&second.parameters, &second.selection), (&first.parameters, &first.selection));
    assert_eq!((&second.fit, &second.performance), (&first.fit, &first.performance));
    assert_eq!((&second.output, &second.simulation), (&first.output, &first.simulation));
    assert!(second.warnings.is_empty(), "{:?}", second.warnings);
    assert_eq!(first.effective["initial_parameters"]["fixed_parameters"]["beta"], 0.5);
}

#[test]
fn faults_are_borne_only_where_that_is_allowed() {
    let streaming = |text: &str| load_static(&format!("optimization: {{streaming: {{{text}}}}}")).unwrap().streaming;
    assert_eq!(streaming(""), StreamingConfig::default());
    let all = streaming("max_retries_per_batch: 5, checkpoint_dir: elsewhere");
    assert_eq!((all.retries, all.directory), (5, "elsewhere".into()));
    let of = |text: &str| load_static(text).unwrap().streaming.directory;
    assert_eq!(of("output: {directory: out/a}"), PathBuf::from("out/a/checkpoints"));
    assert_eq!(
        of("optimization: {streaming: {checkpoint_dir: null}}"),
        PathBuf::from("./homodyne_results/checkpoints")
    );
    assert_eq!(streaming("min_success_rate: 0.9").min_success_rate, 0.9);
    let none = streaming("enable_fault_tolerance: false, max_retries_per_batch: 5, min_success_rate: 0.5");
    assert_eq!((none.retries, none.min_success_rate), (0, 1.0));
}
