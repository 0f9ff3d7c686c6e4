//! Fits of the same measurement in several layouts give the same answer.

use crate::common::files::{flow_config, static_config};
use crate::common::python;
use crate::common::{alone, data, json, scratch};
use serde_json::Value;

/// parameters.json and the fingerprint of the data, by the real program.
fn fit(config: &str, file: &str) -> Value {
    let folder = scratch();
    std::fs::write(folder.path().join("config.yaml"), config).unwrap();
    alone(folder.path(), &["--config", "config.yaml", "--data-file", file]).success();
    let mut parameters = json(&folder.path().join("homodyne_results/nlsq/parameters.json"));
    parameters["timestamp"].take();
    parameters
}

#[test]
fn the_layout_of_a_file_does_not_change_its_fit() {
    let Some(folder) = python::layouts() else { return };
    for (stem, config) in [("lam", flow_config("none")), ("sta", static_config("none"))] {
        let original = data(&format!("{stem}_3x100_apsu.hdf"));
        let expected = fit(&config, original.to_str().unwrap());
        assert!(expected["parameters"]["D0"]["value"].is_f64());
        let angles = "\n  phi_angles: [0, 45, 90]";
        for (name, format, more) in [
            ("old.hdf", "aps_old", ""),
            ("cache.npz", "npz", ""),
            ("cache.npz", "auto", ""),
            ("matlab.hdf", "auto", ""),
            ("nxxpcs.h5", "auto", ""),
            ("chx.h5", "auto", ""),
            ("id02.h5", "id02", angles),
            ("id02_aged.h5", "auto", angles),
            ("xfel.h5", "auto", angles),
        ] {
            let config = config.replace("file_path: none", &format!("file_path: none\n  file_format: {format}{more}"));
            let found = fit(&config, folder.join(format!("{stem}_{name}")).to_str().unwrap());
            assert_eq!(found, expected, "{stem}_{name}");
        }
    }
}

#[test]
fn converting_a_file_does_not_change_its_fit() {
    let Some(folder) = python::layouts() else { return };
    let scratch = scratch();
    for (stem, config) in [("lam", flow_config("none")), ("sta", static_config("none"))] {
        let original = data(&format!("{stem}_3x100_apsu.hdf"));
        let expected = fit(&config, original.to_str().unwrap());
        let others = ["old.hdf", "cache.npz"].map(|name| folder.join(format!("{stem}_{name}")));
        for input in [&original, &others[0], &others[1]] {
            for options in [&["--to", "native"][..], &["--compress=9"], &["--to", "aps-u"]] {
                let converted = scratch.path().join("converted.h5");
                let files = [input.to_str().unwrap(), converted.to_str().unwrap()];
                let command = [&["convert", "--force", "--q", "0.0054"], options, &files].concat();
                alone(scratch.path(), &command).success();
                let found = fit(&config, converted.to_str().unwrap());
                assert_eq!(found, expected, "{} {options:?}", input.display());
            }
        }
    }
}
