//! Files of the Python package's users, and files that `config init` writes.

use super::super::examine::examine_source;
use super::super::node::{Node, Value};
use super::super::schema::{Kind, find};
use super::*;

/// All keys of the Python package's templates, `section: key=kind …`.
const HOMODYNE_KEYS: &str = include_str!("../../../tests/data/config/homodyne_keys.txt");
/// Keys of the other packages' templates.
const OTHER_KEYS: &str = include_str!("../../../tests/data/config/other_keys.txt");
/// The keys of `homodyne` in one file, with values.
const MASTER: &str = include_str!("../../../tests/data/config/master.yaml");

/// Path and kind of every key of a list.
fn listed(list: &str) -> Vec<(String, char)> {
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    let keys = lines.flat_map(|line| {
        let (section, keys) = line.split_once(": ").unwrap();
        keys.split_whitespace().map(move |key| {
            let (key, kind) = key.split_once('=').unwrap();
            let path = if section == "(top)" { key.to_string() } else { format!("{section}.{key}") };
            (path, kind.chars().next().unwrap())
        })
    });
    keys.collect()
}

/// What the schema says about a path, or about the nearest section above it that it takes as one.
fn known(path: &str) -> Option<Known> {
    let above = path.match_indices('.').map(|(dot, _)| &path[..dot]);
    find(path).or_else(|| above.rev().find_map(|p| find(p).filter(|known| matches!(known, Known::Idle(_)))))
}

#[test]
fn every_key_of_the_python_packages_is_read_or_has_a_reason() {
    let (keys, others) = (listed(HOMODYNE_KEYS), listed(OTHER_KEYS));
    assert_eq!((keys.len(), others.len()), (350, 178));
    let mut read = 0;
    for (path, kind) in keys.into_iter().chain(others) {
        match known(&path).unwrap_or_else(|| panic!("{path} isn't known")) {
            Known::Idle(reason) => assert!(reason.len() > 10, "{path}: {reason}"),
            Known::Section { .. } => assert_eq!(kind, '0', "{path} is a value there and a section here"),
            Known::Other(key) => assert!(matches!(find(key), Some(Known::Used(_))), "{path}: {key}"),
            Known::Used(expected) => {
                read += 1;
                let fits = match expected {
                    Kind::Flag => kind == 'f',
                    Kind::Whole => kind == 'w',
                    Kind::Number => "nw".contains(kind),
                    Kind::Text => kind == 't',
                    Kind::List => kind == 'l',
                    Kind::Any => true,
                };
                assert!(fits || kind == '0', "{path} is `{kind}` there, {expected:?} here");
            }
        }
    }
    assert!(read >= 40, "{read}");
}

#[test]
fn every_key_may_be_null_or_empty() {
    for (path, kind) in listed(HOMODYNE_KEYS).into_iter().chain(listed(OTHER_KEYS)) {
        let read = match known(&path) {
            Some(Known::Other(key)) => find(key),
            read => read,
        };
        let is_scalar = matches!(read, Some(Known::Used(Kind::Number | Kind::Whole | Kind::Text)));
        for value in if "0l".contains(kind) && !is_scalar { &["null", "{}"][..] } else { &["null"] } {
            if path == "analysis_mode" || path.starts_with("parameters.") {
                continue;
            }
            let (sections, key) = path.rsplit_once('.').unwrap_or(("", &path));
            // the loggers' names have dots of their own
            let sections = if path.starts_with("logging.modules") { "logging.modules" } else { sections };
            let mut text = "analysis_mode: static\n".to_string();
            let names: Vec<&str> = sections.split('.').filter(|name| !name.is_empty()).collect();
            for (depth, name) in names.iter().enumerate() {
                text += &format!("{}{name}:\n", "  ".repeat(depth));
            }
            text += &format!("{}{key}: {value}\n", "  ".repeat(names.len()));
            let found = examine_source(Source::new("c.yaml".into(), &text)).unwrap();
            assert!(found.problems.is_empty(), "{text}\n{:?}", found.problems);
            assert!(found.config.unwrap().warnings.is_empty(), "{text}");
        }
    }
}

#[test]
fn other_names_are_read_and_what_asks_in_vain_is_said() {
    let text = "analysis_mode: static\nanalyzer_parameters: {frame_step: 2, time_unit: ms}\n\
                optimization:\n  nlsq: {per_angle_mode: individual, multistart: true, multistart_n: 7, method: trf}\n  \
                angle_filtering: {enabled: true}\noutput: {output_dir: here, formats: {npz: false}}\n\
                parameters: {fraction: {f0: {value: 1.0}}}\n";
    let config = load_text(text).unwrap();
    assert_eq!((config.fit.scaling, config.fit.n_starts), (Some(ScalingMode::Individual), Some(7)));
    assert!(config.fit.global_search);
    assert_eq!((config.output.directory, config.output.max_npz_entries), ("here".into(), 0));
    assert_eq!(config.warnings.len(), 4, "{:?}", config.warnings);
    assert!(config.warnings[0].starts_with("c.yaml:2:35: `analyzer_parameters.frame_step` has no effect: every frame"));
    assert_eq!(config.ignored_keys.len(), 5);
    let quiet = text.replace("frame_step: 2, time_unit: ms", "frame_step: 1, time_unit: Seconds");
    assert_eq!(load_text(&quiet).unwrap().warnings.len(), 2);
    // ours counts where both are there
    let both = text.replace("nlsq: {", "nlsq: {anti_degeneracy: {per_angle_mode: averaged}, ");
    let config = load_text(&both).unwrap();
    assert_eq!(config.fit.scaling, Some(ScalingMode::Averaged));
    assert_eq!(config.ignored_keys.len(), 6);
}

#[test]
fn what_only_a_later_version_can_is_refused_by_name() {
    for (text, words) in [
        ("optimization: {nlsq: {analysis_mode: two_component}}", "the two-component model isn't available yet"),
        ("analysis_mode: heterodyne", "the two-component model isn't available yet"),
        (
            "analysis_mode: static\ninitial_parameters: {tied_parameters: {D0: D_offset}}",
            "`initial_parameters.tied_parameters` isn't available yet",
        ),
    ] {
        let error = load_text(text).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert!(load_text("analysis_mode: static\ninitial_parameters: {tied_parameters: {}}").is_ok());
    // and nothing else is said of its file
    let text = "analysis_mode: two_component\ninitial_parameters: {parameter_names: [D0_ref, v0]}\n";
    let found = examine_source(Source::new("c.yaml".into(), text)).unwrap();
    assert_eq!(found.problems.len(), 1, "{:?}", found.problems);
}

fn leaves(node: &Node, path: &str, into: &mut Vec<String>) {
    match &node.value {
        Value::Section(entries) => entries.iter().for_each(|e| {
            let path = if path.is_empty() { e.key.clone() } else { format!("{path}.{}", e.key) };
            leaves(&e.node, &path, into);
        }),
        _ => into.push(path.to_string()),
    }
}

#[test]
fn a_file_with_every_key_of_the_python_package_passes() {
    let source = Source::new("master.yaml".into(), MASTER);
    let (mut there, mut wanted) = (Vec::new(), Vec::new());
    leaves(&super::super::parse::parse(&source).unwrap(), "", &mut there);
    wanted.extend(
        listed(HOMODYNE_KEYS).into_iter().map(|(path, _)| path).filter(|path| path != "parameter_space.priors"),
    );
    there.sort();
    wanted.sort();
    assert_eq!(there, wanted, "the file holds every key");
    let config = from_source(source.clone(), &Overrides::default()).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let found = examine_source(source).unwrap();
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    // the loggers' names count as one key
    assert_eq!(found.n_used + config.ignored_keys.len(), wanted.len() - 3 - PRIORS + 1);
    let null = MASTER.replace("logging:", "initial_parameterz:\nlogging:");
    assert_eq!(examine_source(Source::new("c.yaml".into(), &null)).unwrap().problems.len(), 1);
}

/// Keys below `parameter_space.priors`, which is one key to the schema.
const PRIORS: usize = 10;

fn data_facts() -> DataFacts {
    DataFacts {
        file: "odd \"name\": #1.hdf".into(),
        layout: "APS-U",
        q: 0.0054,
        dt: Some((1e-6, "of the detector".into())),
        gap: None,
        phi: (0..30).map(|k| 12.0 * f64::from(k) - 179.5).collect(),
        n_frames: 100,
    }
}

#[test]
fn what_init_writes_is_without_a_flaw() {
    let facts = data_facts();
    for mode in [AnalysisMode::Static, AnalysisMode::LaminarFlow] {
        for full in [false, true] {
            for data in [None, Some(&facts)] {
                let text = template(mode, full, data);
                let found = examine_source(Source::new("c.yaml".into(), &text)).unwrap();
                assert!(found.problems.is_empty(), "{text}\n{:?}", found.problems);
                let config = found.config.unwrap();
                assert_eq!((&config.warnings[..], &config.ignored_keys[..]), (&[][..], &[][..]), "{text}");
                assert_eq!((config.mode, config.parameters), (mode, ParameterSpace::for_mode(mode)));
                let defaults = load_text(&format!("analysis_mode: {}", mode.name())).unwrap();
                assert_eq!((config.fit, config.output), (defaults.fit, defaults.output));
                assert_eq!(config.performance, defaults.performance);
                assert_eq!((config.convention, config.time_origin), (defaults.convention, defaults.time_origin));
                assert_eq!(config.gap.is_some(), mode.has_shear());
                assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
                if data.is_some() {
                    let selection = &config.selection;
                    assert_eq!((selection.q, selection.dt), (Some(0.0054), Some(1e-6)));
                    assert_eq!((selection.start_frame, selection.end_frame), (1, None));
                    assert_eq!(config.data_file, Some("odd \"name\": #1.hdf".into()));
                    assert!(text.contains("-179.5, -167.5"));
                }
            }
        }
    }
}

#[test]
fn what_init_writes_asks_for_angles_that_no_file_holds() {
    let facts = DataFacts { phi: Vec::new(), ..data_facts() };
    for full in [false, true] {
        let text = template(AnalysisMode::LaminarFlow, full, Some(&facts));
        assert_eq!(load_text(&text).unwrap().selection.unsaid.phi, Some(vec![0.0]), "{text}");
        assert!(!text.contains("inf") && text.lines().all(|line| line.chars().count() <= 120), "{text}");
        assert_eq!(text.matches("phi_angles").count(), 1);
    }
}

#[test]
fn the_full_file_explains_every_key_that_is_read() {
    let text = template(AnalysisMode::LaminarFlow, true, None);
    for (path, _) in keys().filter(|(_, known)| matches!(known, Known::Used(_))) {
        let key = path.rsplit('.').next().unwrap();
        assert!(text.lines().any(|line| line.trim_start_matches(['#', ' ']).starts_with(&format!("{key}:"))), "{path}");
    }
    let simulating: String = text
        .lines()
        .map(|line| {
            line.strip_prefix("# ").filter(|l| l.starts_with("simulation:") || l.starts_with("  ")).unwrap_or(line)
        })
        .fold(String::new(), |all, line| all + line + "\n");
    assert!(load_text(&simulating).unwrap().simulation.is_some(), "the commented part is sound, too");
}
