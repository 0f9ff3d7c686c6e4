//! Everything that is wrong with a file is said at once, and nothing that only follows from it.

use super::super::examine::examine_source;
use super::*;

fn findings(text: &str) -> Findings {
    examine_source(Source::new("c.yaml".into(), text)).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// Line and message of every problem.
fn problems(text: &str) -> Vec<String> {
    let line = |p: &crate::ConfigProblem| format!("{}: {}", p.place.map_or(0, |(line, _)| line), p.message);
    findings(text).problems.iter().map(line).collect()
}

/// Asserts that the problems of a text are those, each told by its line and a part of its message.
#[track_caller]
fn assert_problems(text: &str, expected: &[&str]) {
    let found = problems(text);
    assert_eq!(found.len(), expected.len(), "{text}\n{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        let (line, part) = expected.split_once(' ').unwrap();
        assert!(found.starts_with(line) && found.contains(part), "{found} instead of {expected}");
    }
}

#[test]
fn all_problems_come_at_once_in_the_order_of_the_file() {
    let text = "\
analysis_mode: laminar_flow
analyzer_parameters:
  dt: abc
  start_frame: 9
  end_frame: 5
  scattering: {wavevector_q: -1}
  geometry: {stator_rotor_gap: 2000000}
optimization:
  nlsq:
    max_iteration: 50
    tolerance: 0
performance: {strategy_override: huge}
parameter_space:
  bounds:
    - {name: D0, min: 5, max: 1}
    - {name: D1}
    - {name: alpha, min: x}
initial_parameters: {fixed_parameters: {contrast: 0.3}}
";
    let expected = [
        "3: `analyzer_parameters.dt` must be a number",
        "4: (9) must be less than `end_frame` (5)",
        "6: must be greater than 0",
        "10: did you mean `optimization.nlsq.max_iterations`?",
        "11: must be greater than 0",
        "12: found `huge`",
        "15: min must be less than max",
        "16: there is no parameter `D1`; did you mean `D0`?",
        "17: must be a number",
        "18: fixing `contrast` isn't available yet",
    ];
    assert_problems(text, &expected);
    let findings = findings(text);
    let later: Vec<_> = findings.problems.iter().filter(|p| p.later).map(|p| p.place.unwrap().0).collect();
    assert_eq!(later, [18], "only that is of a later version");
    assert!(findings.problems.iter().all(|p| p.snippet.contains('^')));
    let config = findings.config.unwrap();
    assert_eq!((config.selection.dt, config.gap), (None, Some(2e6)), "the rest is in force");
}

#[test]
fn what_follows_from_a_problem_is_not_one() {
    let start = |more: &str| format!("analysis_mode: static\ninitial_parameters:\n{more}");
    // a wrong name takes its value along, a wrong value leaves its parameter with one
    let text = start("  parameter_names: [D0, alfa, D_offset]\n  values: [1000, 0, x]\n");
    assert_problems(&text, &["3: did you mean `alpha`?", "4: must be a number"]);
    let text = start("  values: {D0: 1000, alfa: 0, D_offset: 1}\n");
    assert_problems(&text, &["3: there is no parameter `alfa`"]);
    // lists that don't go together make values of what is held no less there
    let text = start("  values: [1000, 0]\n  fixed_parameters: [alpha]\n");
    assert_problems(&text, &["3: has 2 items"]);
    let text = start("  values: [1000, 0, 1]\n  active_parameters: [D0, alfa]\n");
    assert_problems(&text, &["4: there is no parameter `alfa`"]);
    assert_problems(&start("  values: [7, 9, 1]\n"), &["3: the start value 7", "3: the start value 9"]);
    let still = |more: &str| format!("analysis_mode: static\n{more}");
    assert_problems(&still("phi_filtering: {enabled: true, target_ranges: []}"), &["2: names no range"]);
    let text = still("phi_filtering: {enabled: true, target_ranges: [{min_angle: a, max_angle: b}, 5]}");
    let expected = ["2: min_angle` must be a number", "2: max_angle` must be a number", "2: must be a section"];
    assert_problems(&text, &expected);
    assert_problems(&still("simulation: {frames: 10, angles: [a, b]}"), &["2: `simulation.angles[0]`"]);
    assert_problems(&still("parameter_space: {bounds: [{name: D0, min: 1e9, max: 2}]}"), &["2: min must be less"]);
}

#[test]
fn a_wrong_mode_is_guessed_to_judge_the_rest() {
    let flow = "analyzer_parameters:\n  geometry: {stator_rotor_gap: -1}\n";
    let negative = "3: `analyzer_parameters.geometry.stator_rotor_gap` must be greater than 0";
    assert_problems(
        &format!("{flow}analysis_mode: laminar\n"),
        &[negative, "4: did you mean `laminar_flow`?"]
            .map(|s| s.replace("3:", "2:").replace("4:", "3:").leak() as &str),
    );
    let text = format!("analysis_mod: laminar_flow\n{flow}");
    assert_problems(&text, &["1: does `analysis_mod` mean `analysis_mode`?", negative]);
    let text = "analyzer_parameters: {dt: 0.1}\n";
    assert_problems(text, &["0: `analysis_mode` is missing"]);
    assert_problems("analysis_mode: 5\n", &["1: `analysis_mode` must be text"]);
}

#[test]
fn a_sound_file_has_no_problem_and_the_same_configuration() {
    let found = findings(FLOW);
    assert!(found.problems.is_empty(), "{:?}", found.problems);
    assert_eq!(found.n_used, 4);
    assert_eq!(found.config.unwrap().effective, load_text(FLOW).unwrap().effective);
    let other =
        findings("analysis_mode: static\ninitial_parameters: {values: {D0: 1000, alpha: 0, D_offset: 1, beta: 0}}");
    assert!(other.problems.is_empty() && other.config.unwrap().warnings[0].contains("`beta` has no part"));
}

#[test]
fn a_file_that_is_no_yaml_is_refused_as_such() {
    for text in ["", "a: [1", "just text", "a: 1\na: 2\n"] {
        assert!(matches!(examine_source(Source::new("c.yaml".into(), text)), Err(Error::Config(_))), "{text}");
    }
}
