//! Contrast and offset of single angles, from the file to the angles of the data.

use super::*;
use crate::model::AngleBounds;

const MODE: &str = "optimization: {nlsq: {anti_degeneracy: {per_angle_mode: MODE, fourier_order: 3}}}";

#[test]
fn every_mode_arrives() {
    for (word, mode) in [
        ("auto", None),
        ("individual", Some(ScalingMode::Individual)),
        ("averaged", Some(ScalingMode::Averaged)),
        ("Constant", Some(ScalingMode::Constant)),
        ("fourier", Some(ScalingMode::Fourier { order: 3 })),
    ] {
        assert_eq!(load_static(&MODE.replace("MODE", word)).unwrap().fit.scaling, mode);
    }
    let default = load_static("optimization: {nlsq: {anti_degeneracy: {per_angle_mode: fourier}}}").unwrap();
    assert_eq!(default.fit.scaling, Some(ScalingMode::Fourier { order: 2 }));
    assert_eq!(default.scaling.averaged_from, 3);
    let other = load_static("optimization: {nlsq: {anti_degeneracy: {constant_scaling_threshold: 5}}}").unwrap();
    assert_eq!((other.fit.scaling, other.scaling.averaged_from), (None, 5));
    let text = message(load_static(&MODE.replace("MODE", "auto").replace("order: 3", "order: 0")), "no harmonic");
    assert!(
        text.contains("`optimization.nlsq.anti_degeneracy.fourier_order` must be from 1 to 1000, found 0"),
        "{text}"
    );
}

#[test]
fn angles_are_numbered_by_ascending_phi() {
    let config = load_static(
        "initial_parameters: {per_angle_scaling: {contrast: [0.1, 0.2, 0.3], offset: null}}\n\
         parameter_space: {bounds: [{name: contrast_2, max: 0.5}, {name: 'offset[0]', min: 0.9, max: 1.1}, \
         {name: contrast, min: 0.05, max: 0.9}]}\n",
    )
    .unwrap();
    assert_eq!(config.parameters.contrast, (0.05, 0.9));
    let (space, given) = config.scaling.resolve(&[90.0, -30.0, 10.0], &config.parameters).unwrap();
    assert_eq!(given, Given { contrast: Some(vec![0.3, 0.1, 0.2]), offset: None });
    let all = AngleBounds { contrast: (0.05, 0.9), offset: (0.5, 1.5) };
    let own = [AngleBounds { contrast: (0.05, 0.5), ..all }, AngleBounds { offset: (0.9, 1.1), ..all }, all];
    assert_eq!(space.angles, own);
    assert_eq!(space.scaling_bounds(1), own[1]);
    // read back, the effective configuration says the same
    let again = load_text(&config.effective.to_string()).unwrap();
    assert_eq!(again.effective, config.effective);
    assert_eq!(again.scaling.resolve(&[90.0, -30.0, 10.0], &again.parameters).unwrap(), (space, given));
}

#[test]
fn what_does_not_go_with_the_angles_is_refused_with_its_line() {
    let resolve = |text: &str| {
        let config = load_static(text).unwrap();
        config.scaling.resolve(&[0.0, 90.0], &config.parameters).unwrap_err().to_string()
    };
    let text = resolve("initial_parameters:\n  per_angle_scaling:\n    contrast: [0.1, 0.2, 0.3]\n");
    let expected =
        "c.yaml:4:15: `initial_parameters.per_angle_scaling.contrast` has 3 value(s), but 2 angle(s) are selected";
    assert!(text.starts_with(expected), "{text}");
    let text = resolve("parameter_space:\n  bounds:\n  - {name: offset_2, min: 0.9}\n");
    assert!(text.starts_with("c.yaml:4:12: bounds of `offset_2`: 2 angle(s) are selected"), "{text}");
    for (values, expected) in [
        ("contrast: 0.3", "must be a list"),
        ("contrast: [0.3, x]", "`initial_parameters.per_angle_scaling.contrast[1]` must be a number"),
        (
            "offset: [1.0, 2.0]",
            "`initial_parameters.per_angle_scaling.offset[1]` = 2 lies outside its bounds 0.5 to 1.5",
        ),
    ] {
        let more = format!("initial_parameters: {{per_angle_scaling: {{{values}}}}}");
        let text = message(load_static(&more), &more);
        assert!(text.contains(expected), "{text}");
    }
}
