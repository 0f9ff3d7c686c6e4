//! Reading on the real program: what isn't asked for isn't touched, and what is damaged is named.

use std::fs;
use std::path::Path;

use crate::common::files::destroy;
use crate::common::{alone, json, scratch, with_ranks};

const FIT: [&str; 4] = ["--config", "config.yaml", "--threads", "2"];

/// A simulated APS-U file of three angles, of which the middle one is left out by the φ filter.
fn simulated(folder: &Path) {
    let config = "analysis_mode: static_anisotropic
analyzer_parameters:
  dt: 0.1
  scattering: { wavevector_q: 0.0054 }
experimental_data: { file_path: data.hdf }
phi_filtering: { enabled: true, target_ranges: [{ min_angle: -50, max_angle: -30 }, { min_angle: 30, max_angle: 50 }] }
simulation:
  frames: 120
  angles: [-40, 0, 40]
  noise: 0.01
  seed: 3
  parameters: { D0: 4000, alpha: -0.4, D_offset: 300 }
";
    fs::write(folder.join("config.yaml"), config).unwrap();
    alone(folder, &["simulate", "--config", "config.yaml", "--out", "data.hdf"]).success();
}

#[test]
fn matrices_that_are_not_selected_are_never_touched() {
    let folder = scratch();
    simulated(folder.path());
    let fitted = || {
        alone(folder.path(), &FIT).success();
        let mut parameters = json(&folder.path().join("homodyne_results/nlsq/parameters.json"));
        parameters["timestamp"].take();
        parameters
    };
    let intact = fitted();
    assert_eq!(intact["per_angle"].as_array().unwrap().len(), 2);
    destroy(&folder.path().join("data.hdf"), 2);
    assert_eq!(fitted(), intact);
}

#[test]
fn a_damaged_chunk_ends_the_job_with_its_name() {
    let folder = scratch();
    simulated(folder.path());
    destroy(&folder.path().join("data.hdf"), 3);
    for outcome in [alone(folder.path(), &FIT).outcome(), with_ranks(2, folder.path(), &FIT).outcome()] {
        outcome.assert_error(
            3,
            &[
                "data.hdf, /xpcs/twotime/correlation_map/c2_00003: the matrix cannot be read",
                "the chunk that begins at (0, 0) cannot be unpacked: the LZF data",
                "copy the file again",
            ],
        );
        assert!(!folder.path().join("homodyne_results").exists());
    }
}
