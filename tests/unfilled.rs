//! Parts of a file that were never filled, in the real program: missing, said with their frames, and no fit to zeros.

use std::path::Path;

use crate::common::files::{MAP, Sample, change};
use crate::common::{Outcome, alone, json, parameters, scratch, with_ranks};
use hdf5::Hyperslab;
use ndarray::Array2;

const NOISY: Sample = Sample { frames: 120, angles: &[0.0, 45.0, 90.0], noise: 0.05, ..Sample::STILL };

/// The matrix of an angle, counted from 1.
fn matrix(h5: &hdf5::File, angle: usize) -> Array2<f32> {
    h5.dataset(&format!("{MAP}/c2_{angle:05}")).unwrap().read().unwrap()
}

/// Replaces the matrices by what `put` makes of each.
fn replace(folder: &Path, put: impl Fn(&hdf5::File, &str, &Array2<f32>)) {
    change(&folder.join("data.hdf"), |h5| {
        for angle in 1..=3 {
            let (values, path) = (matrix(h5, angle), format!("{MAP}/c2_{angle:05}"));
            h5.unlink(&path).unwrap();
            put(h5, &path, &values);
        }
    });
}

/// That the fit said what is missing, counted it, isn't called good, and is near the fit of the whole file.
#[track_caller]
fn assert_said(folder: &Path, outcome: &Outcome, whole: &serde_json::Value, (pairs, frames): (u64, &str)) {
    let text = format!("{pairs} pairs of {frames} were never filled");
    let results = folder.join("homodyne_results");
    let report = std::fs::read_to_string(results.join("nlsq/report.txt")).unwrap();
    for said in [&outcome.stderr, &report] {
        assert!(said.split_whitespace().collect::<Vec<_>>().join(" ").contains(&text), "{text}: {outcome}");
    }
    let all = json(&results.join("nlsq/analysis_results_nlsq.json"));
    assert!(all.to_string().contains(&format!("\"n_missing\":{}", 3 * pairs)), "{all}");
    assert!(!outcome.stdout.contains("quality good"), "{outcome}");
    let number = |of: &serde_json::Value, key: &str| of["parameters"]["D_offset"][key].as_f64().unwrap();
    let found = parameters(&results);
    let apart = number(&found, "value") - number(whole, "value");
    assert!(apart.abs() < 3.0 * number(whole, "uncertainty"), "{found} {whole}");
}

#[test]
fn what_was_never_written_is_missing_and_named() {
    let folder = scratch();
    let folder = folder.path();
    NOISY.make(folder);
    alone(folder, &["--config", "config.yaml"]).success();
    let whole = parameters(&folder.join("homodyne_results"));
    // the last rows of a writer that ended early: chunks that the file holds no storage for, or zeros
    for (last, frames) in
        [(80, "frames 81 to 119 with frames 82 to 120"), (110, "frames 111 to 119 with frames 112 to 120")]
    {
        let left = (120 - last) as u64;
        let pairs = left * (left - 1) / 2;
        for stored in [false, true] {
            NOISY.make(folder);
            replace(folder, |h5, path, values| {
                let builder = h5.new_dataset::<f32>().chunk((10, 120)).deflate(1).shape((120, 120));
                let dataset = builder.create(path).unwrap();
                let rows = values.slice(ndarray::s![..last, ..]);
                dataset.write_slice(&rows, Hyperslab::from((0..last, 0..120))).unwrap();
                if stored {
                    let zeros = Array2::<f32>::zeros((120 - last, 120));
                    dataset.write_slice(&zeros, Hyperslab::from((last..120, 0..120))).unwrap();
                }
            });
            for ranks in [0, 2] {
                let run = if ranks == 0 {
                    alone(folder, &["--config", "config.yaml"])
                } else {
                    with_ranks(ranks, folder, &["--config", "config.yaml"])
                };
                assert_said(folder, &run.success(), &whole, (pairs, frames));
            }
            let seen = alone(folder, &["inspect", "data.hdf"]).success();
            assert!(seen.stdout.contains("were never filled"), "{seen}");
        }
    }
}

#[test]
fn a_link_into_a_file_that_was_not_copied_names_it() {
    let folder = scratch();
    let folder = folder.path();
    NOISY.make(folder);
    replace(folder, |h5, path, values| {
        let name = format!("{}.part", path.rsplit('/').next().unwrap());
        let part = hdf5::File::create(folder.join(&name)).unwrap();
        part.new_dataset_builder().with_data(values).create("c2").unwrap();
        part.close().unwrap();
        h5.link_external(&name, "/c2", path).unwrap();
    });
    alone(folder, &["--config", "config.yaml"]).success();
    std::fs::remove_file(folder.join("c2_00003.part")).unwrap();
    let refused = alone(folder, &["--config", "config.yaml"]).outcome();
    refused.assert_error(3, &["c2_00003", "a link into another file, c2_00003.part", "copy it, too"]);
}

#[test]
fn a_file_that_holds_a_part_of_the_values_is_named_when_it_is_lost() {
    let folder = scratch();
    let folder = folder.path();
    NOISY.make(folder);
    alone(folder, &["--config", "config.yaml"]).success();
    let whole = parameters(&folder.join("homodyne_results"));
    replace(folder, |h5, path, values| {
        let name = format!("{}.part", path.rsplit('/').next().unwrap());
        let part = hdf5::File::create(folder.join(&name)).unwrap();
        part.new_dataset_builder().with_data(values).create("c2").unwrap();
        part.close().unwrap();
        let all = || Hyperslab::from((0..120, 0..120));
        let builder = h5.new_dataset::<f32>().virtual_map(name.as_str(), "c2", (120, 120), all(), (120, 120), all());
        builder.shape((120, 120)).create(path).unwrap();
    });
    alone(folder, &["--config", "config.yaml"]).success();
    assert_eq!(parameters(&folder.join("homodyne_results")), whole);
    // a file of that name without the dataset
    hdf5::File::create(folder.join("c2_00003.part")).unwrap().close().unwrap();
    let refused = alone(folder, &["--config", "config.yaml"]).outcome();
    refused.assert_error(3, &["c2_00003", "c2 of another file", "c2_00003.part", "no such dataset"]);
    std::fs::remove_file(folder.join("c2_00002.part")).unwrap();
    let refused = alone(folder, &["--config", "config.yaml"]).outcome();
    refused.assert_error(3, &["c2_00002", "another file", "c2_00002.part", "isn't there"]);
}
