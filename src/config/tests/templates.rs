//! Files of the Python package's users, and files that `config init` writes.

use super::super::examine::examine_source;
use super::super::node::{Node, Value};
use super::super::schema::{Kind, find};
use super::*;

/// All keys of the Python package's templates, `section: key=kind …`.
const HOMODYNE_KEYS: &str = include_str!("../../../tests/data/config/homodyne_keys.txt");
/// The same keys in one file, with values.
const MASTER: &str = include_str!("../../../tests/data/config/master.yaml");

/// Path and kind of every key of the Python package.
fn homodyne_keys() -> Vec<(String, char)> {
    let lines = HOMODYNE_KEYS.lines().filter(|line| !line.starts_with('#'));
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
fn every_key_of_the_python_package_is_read_or_has_a_reason() {
    let keys = homodyne_keys();
    assert_eq!(keys.len(), 350);
    let mut read = 0;
    for (path, kind) in keys {
        match known(&path).unwrap_or_else(|| panic!("{path} isn't known")) {
            Known::Idle(reason) => assert!(reason.len() > 10, "{path}: {reason}"),
            Known::Section { .. } => assert_eq!(kind, '0', "{path} is a value there and a section here"),
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
    wanted.extend(homodyne_keys().into_iter().map(|(path, _)| path).filter(|path| path != "parameter_space.priors"));
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
