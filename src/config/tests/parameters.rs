//! Bounds, start values, fixed values, and the parameters of a simulation.

use super::*;

const FLOW_NAMES: &str = "[D0, alpha, D_offset, gamma_dot_0, beta, gamma_dot_offset, phi_0]";

fn space(more: &str) -> ParameterSpace {
    load_static(more).unwrap_or_else(|e| panic!("{more}: {e}")).parameters
}

fn flow(more: &str) -> crate::Result<Config> {
    load_text(&format!("{FLOW}{more}"))
}

#[test]
fn start_values_go_by_name_in_any_order_and_old_spellings() {
    let config =
        flow(&format!("initial_parameters: {{parameter_names: {FLOW_NAMES}, values: [1e3, 0, 1, 0.1, 0, 0, 5]}}"));
    let config = config.unwrap();
    assert_eq!(config.parameters.start, Some(vec![1e3, 0.0, 1.0, 0.1, 0.0, 0.0, 5.0]));
    assert!(!config.fit.global_search && config.warnings.is_empty());
    let swapped = "initial_parameters: {parameter_names: [alpha, contrast, D0, offset, D_offset], \
                   values: [0.5, 9, 1000, x, 10]}";
    assert_eq!(space(swapped).start, Some(vec![1000.0, 0.5, 10.0]));
    let map = "initial_parameters: {values: {D_offset: 10, D0: 1000, alpha: 0.5, contrast_0: 0.3}}";
    assert_eq!(space(map).start, Some(vec![1000.0, 0.5, 10.0]));
    assert_eq!(space("initial_parameters: {values: [1000, 0.5, 10]}").start, Some(vec![1000.0, 0.5, 10.0]));
    assert_eq!(space("initial_parameters: {parameter_names: [D0], values: null}").start, None);
}

#[test]
fn parameters_of_the_other_mode_are_warned_about() {
    let config = load_static(&format!(
        "initial_parameters: {{parameter_names: {FLOW_NAMES}, values: [1e3, 0, 1, 0.1, 0, 0, 5]}}\n\
         parameter_space: {{bounds: [{{name: beta, min: 3, max: 1}}]}}"
    ))
    .unwrap();
    assert_eq!(config.parameters.start, Some(vec![1e3, 0.0, 1.0]));
    assert_eq!(config.warnings.len(), 4);
    assert!(config.warnings[0].contains("`gamma_dot_0` has no part in the mode `static`"), "{}", config.warnings[0]);
}

#[test]
fn the_global_search_is_on_without_a_start_or_when_asked_for() {
    let start = "initial_parameters: {values: [1000, 0, 10]}\n";
    for (more, on) in [
        ("", true),
        ("optimization: {nlsq: {multi_start: {enable: false}}}", true),
        ("initial_parameters: {values: [1000, 0, 10]}", false),
        (&format!("{start}optimization: {{nlsq: {{multi_start: {{enable: true}}}}}}"), true),
        (&format!("{start}optimization: {{nlsq: {{cmaes: {{enable: true}}}}}}"), true),
        (&format!("{start}optimization: {{nlsq: {{multi_start: {{enable: false}}}}}}"), false),
    ] {
        assert_eq!(load_static(more).unwrap().fit.global_search, on, "{more}");
    }
}

#[test]
fn bounds_replace_the_defaults() {
    let space = space(
        "parameter_space: {bounds: [{name: D0, min: 1.0, max: 1e6, type: TruncatedNormal, prior_mu: 1, \
         prior_sigma: 2, unit: x}, {name: alpha, max: 1}, {name: contrast, min: 0.01, max: 0.2}, \
         {name: offset, min: 0.9, max: 1.1}]}",
    );
    assert_eq!(space.bounds, [(1.0, 1e6), (-2.0, 1.0), (-1e5, 1e5)]);
    assert_eq!((space.contrast, space.offset), ((0.01, 0.2), (0.9, 1.1)));
}

#[test]
fn parameters_can_be_held() {
    let start = "values: [1000, 0.5, 10]";
    let active = space(&format!("initial_parameters: {{{start}, active_parameters: [D0, contrast]}}"));
    assert_eq!(active.fixed, [None, Some(0.5), Some(10.0)]);
    let fixed = space(&format!("initial_parameters: {{{start}, fixed_parameters: {{D_offset: 0, alpha: null}}}}"));
    assert_eq!(fixed.fixed, [None, Some(0.5), Some(0.0)]);
    assert_eq!(fixed.start, Some(vec![1000.0, 0.5, 0.0]), "a fixed value is the start, too");
    let listed = space(&format!("initial_parameters: {{{start}, fixed_parameters: [alpha]}}"));
    assert_eq!(listed.fixed, [None, Some(0.5), None]);
    let unstarted = space("initial_parameters: {fixed_parameters: {D_offset: 0}}");
    assert_eq!((unstarted.start, unstarted.fixed), (None, vec![None, None, Some(0.0)]));
    let partial = space("initial_parameters: {values: {D0: 1000, alpha: 0.1}, fixed_parameters: {D_offset: 7}}");
    assert_eq!(partial.start, Some(vec![1000.0, 0.1, 7.0]));
}

#[test]
fn mistakes_are_named_with_their_place() {
    let initial = |inner: &str| format!("initial_parameters: {{{inner}}}");
    let bounds = |inner: &str| format!("parameter_space: {{bounds: [{inner}]}}");
    for (more, expected) in [
        (initial("values: [1, 2]"), "has 2 items, the mode `static` has 3 parameters"),
        (initial("parameter_names: [D0], values: [1, 2]"), "has 2 items, `initial_parameters.parameter_names` has 1"),
        (initial("parameter_names: [D0], values: [1000]"), "gives no start for alpha, D_offset"),
        (initial("values: {D0: 1000}"), "gives no start for alpha, D_offset"),
        (initial("values: [1000, abc, 0]"), "`initial_parameters.values[1]` must be a number"),
        (initial("values: [1000, .nan, 0]"), "must be a finite number"),
        (initial("values: [50, 0, 0]"), "the start value 50 of `D0` lies outside its bounds 100 to 100000"),
        (initial("values: {D0: 1000, alpah: 0, D_offset: 1}"), "no parameter `alpah`; did you mean `alpha`?"),
        (initial("parameter_names: [D0, zzzzz]"), "no parameter `zzzzz`; the parameters are D0, alpha"),
        (initial("parameter_names: [D0, 5]"), "the name of a parameter, found `5`"),
        (initial("parameter_names: [D0, D0, alpha], values: [1e3, 1e3, 0]"), "`D0` already has a start value"),
        (initial("values: 5"), "a list, a section of `name: value` lines, or null"),
        (initial("active_parameters: [D0]"), "holds `alpha` at its start value, but"),
        (initial("values: [1e3, 0, 0], active_parameters: []"), "every parameter is fixed"),
        (initial("values: [1e3, 0, 0], fixed_parameters: [D0, alpha, D_offset]"), "every parameter is fixed"),
        (initial("fixed_parameters: [D0]"), "holds `D0` at its start value, but"),
        (initial("fixed_parameters: {D0: abc}"), "`initial_parameters.fixed_parameters.D0` must be a number"),
        (initial("fixed_parameters: 3"), "or a list of names"),
        (initial("active_parameters: [D0], fixed_parameters: {D0: 1000}"), "decide on one"),
        (initial("active_parameters: [D1]"), "no parameter `D1`; did you mean `D0`?"),
        (initial("fixed_parameters: {D0: 1}"), "the fixed value 1 of `D0` lies outside its bounds 100 to 100000"),
        (initial("values: [1e3, 3, 0], active_parameters: [D0]"), "the fixed value 3 of `alpha` lies outside"),
        (initial("fixed_parameters: {D0: 0}"), "`D0` can't be fixed at 0: an amplitude is positive; for a D without"),
        (bounds("{name: D0, min: 0}"), "bounds of `D0`: min must be greater than 0, found 0; an amplitude is positive"),
        (bounds("{name: D0, min: -5, max: 5}"), "found -5; an amplitude is positive: for a D without a power law fix"),
        (bounds("{name: contrast_x, min: 0.1}"), "no parameter `contrast_x`; `contrast` is that of all angles"),
        (bounds("{name: contrast_0, min: 1.1}"), "bounds of `contrast_0`: min must be less than max, found 1.1 and 1"),
        (bounds("{name: offset_1, max: x}"), "`parameter_space.bounds[0].max` must be a number"),
        (bounds("{name: offset_1}, {name: 'offset[1]'}"), "bounds of `offset_1` are given twice"),
        (bounds("{name: D0, min: 5, max: 5}"), "bounds of `D0`: min must be less than max, found 5 and 5"),
        (bounds("{name: alpha, min: 3}"), "min must be less than max, found 3 and 2"),
        (bounds("{name: contrast, min: 1, max: 0}"), "bounds of `contrast`: min must be less"),
        (bounds("{name: D0, min: abc}"), "`parameter_space.bounds[0].min` must be a number"),
        (bounds("{name: D0, max: .inf}"), "must be a finite number"),
        (bounds("{min: 1}"), "`parameter_space.bounds[0]` has no `name`"),
        (bounds("{name: D0}, {name: D0}"), "bounds of `D0` are given twice"),
        (bounds("{name: ofset}"), "did you mean `offset`?"),
        (bounds("7"), "a section with `name`, `min` and `max`"),
    ] {
        let text = message(load_static(&more), &more);
        assert!(text.starts_with("c.yaml:2:") && text.contains(expected), "{more}: {text}");
    }
}

#[test]
fn the_amplitude_of_shear_is_positive() {
    for (more, expected) in [
        ("initial_parameters: {fixed_parameters: {gamma_dot_t0: 0}}", "without shear use `analysis_mode: static`"),
        ("parameter_space: {bounds: [{name: gamma_dot_t0, min: 0}]}", "bounds of `gamma_dot_t0`: min must be greater"),
    ] {
        let text = message(flow(more), more);
        assert!(text.starts_with("c.yaml:6:") && text.contains(expected), "{more}: {text}");
    }
}

#[test]
fn a_simulation_is_complete_or_refused() {
    let config = load_static(
        "simulation: {frames: 100, angles: [0, 45.5], noise: 0, seed: 7, contrast: [0.1, 0.2], \
         parameters: {D0: 1000, alpha: 0, D_offset: 10, gamma_dot_0: 1}}",
    );
    let expected = SimulationConfig {
        parameters: vec![1000.0, 0.0, 10.0],
        phi: vec![0.0, 45.5],
        n_frames: 100,
        noise: 0.0,
        seed: 7,
        contrast: vec![0.1, 0.2],
        offset: vec![1.0, 1.0],
    };
    assert_eq!(config.unwrap().simulation, Some(expected));
    let from_start = load_static("initial_parameters: {values: [1e3, 0, 1]}\nsimulation: {frames: 5, angles: [0]}");
    assert_eq!(from_start.unwrap().simulation.unwrap().parameters, [1e3, 0.0, 1.0]);
    for (inner, expected) in [
        ("angles: [0]", "`simulation.frames` is missing"),
        ("frames: 100", "`simulation.angles` is missing"),
        ("frames: 2, angles: [0]", "must be at least 3"),
        ("frames: 9, angles: []", "name one angle at least"),
        ("frames: 9, angles: [a]", "`simulation.angles[0]` must be a number"),
        ("frames: 9, angles: [0], noise: -1", "can't be negative"),
        ("frames: 9, angles: [0], noise: .inf", "must be a finite number"),
        ("frames: 9, angles: [0], seed: -1", "must be at least 0"),
        ("frames: 9, angles: [0], parameters: {D0: 1}", "gives no value for alpha, D_offset"),
        ("frames: 9, angles: [0], parameters: {D: 1}", "found `D`"),
        ("frames: 9, angles: [0], parameters: [1]", "a section of `name: value` lines"),
        (
            "frames: 9, angles: [0], parameters: {D0: 1, alpha: 0, D_offset: 0}, contrast: [1, 2]",
            "has 2 values, but the angles number 1",
        ),
        ("frames: 9, angles: [0], parameters: {D0: 1, alpha: 0, D_offset: 0}, offset: x", "a number, or a list"),
    ] {
        let text = message(load_static(&format!("simulation: {{{inner}}}")), inner);
        assert!(text.contains(expected), "{inner}: {text}");
    }
}
