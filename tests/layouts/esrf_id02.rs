//! The traps of ESRF ID02 files.

use std::path::Path;

use homodyne_mpi::dataset::{Dataset, Layout, Selection, TwoTime, Unsaid};

use super::support::{assert_data_error, assert_values, chosen, copy, shown};
use crate::python::layouts;

const TTCF: &str = "/entry_0000/correlations/full/twotime/ttcf";

/// q and dt as usual; the files hold whole rings, which have no φ.
fn rings() -> Selection {
    Selection { unsaid: Unsaid { phi: Some(vec![0.0]), ..Unsaid::default() }, ..chosen() }
}

fn open(folder: &Path, name: &str) -> homodyne_mpi::Result<Dataset> {
    Dataset::open(&folder.join(name), &rings())
}

#[test]
fn times_and_ages_give_the_same_matrices() {
    let Some(folder) = layouts() else { return };
    for (name, triangle) in [
        ("id02.h5", "full"),
        ("id02_upper.h5", "upper"),
        ("id02_bytes.h5", "full"),
        ("id02_aged.h5", "upper"),
        ("id02_aged_f32.h5", "upper"),
        ("id02_aged_zeros.h5", "upper"),
        ("id02_aged_padded.h5", "upper"),
    ] {
        for q in [0.0027, 0.0054, 0.0108] {
            let dataset = Dataset::open(&folder.join(name), &Selection { q: Some(q), ..rings() }).unwrap();
            assert_eq!((dataset.layout, dataset.n_file_frames), (Layout::EsrfId02, 20), "{name}");
            assert_eq!(dataset.read(0, &mut TwoTime::default()).unwrap().triangle, triangle, "{name}");
            assert_eq!(dataset.selected.len(), 1);
            assert_values(&dataset, 0, dataset.selected[0]);
        }
        let part = Selection { start_frame: 4, end_frame: Some(15), ..rings() };
        assert_values(&Dataset::open(&folder.join(name), &part).unwrap(), 0, 1);
    }
    for name in ["id02_dead.h5", "id02_aged_dead.h5"] {
        let dataset = open(folder, name).unwrap();
        assert_eq!(dataset.read(0, &mut TwoTime::default()).unwrap().dead_frames, [7], "{name}");
    }
    let text = shown(&folder.join("id02_aged.h5"));
    for part in [
        "ESRF ID02",
        "is over (age, lag)",
        "0.0054 Å⁻¹ (1 matrix)",
        "taken as nm⁻¹",
        "a fit needs experimental_data.phi_angles",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let timed = Dataset::open(&folder.join("id02_aged.h5"), &Selection { dt: None, ..rings() }).unwrap();
    assert!((timed.dt - 0.1).abs() < 1e-12 && timed.dt_source.contains("twotime/lag"), "{}", timed.dt);
}

#[test]
fn ages_and_lags_are_never_taken_for_times() {
    let Some(folder) = layouts() else { return };
    // a square over age and lag that doesn't say so
    let file = folder.join("id02_unnamed_axes.h5");
    let result = open(folder, "id02_unnamed_axes.h5").unwrap().read(0, &mut TwoTime::default());
    assert_data_error(result, &file, &[TTCF, "symmetric", "`age` and `lag`"]);
    // values between frames belong to no pair
    let file = folder.join("id02_between.h5");
    let result = open(folder, "id02_between.h5").unwrap().read(0, &mut TwoTime::default());
    assert_data_error(result, &file, &[TTCF, "frames -0.5 and 0.5", "over t1 and t2"]);
    for (name, parts) in [
        ("id02_odd_ages.h5", &["twotime/age", "multiples of 0.05 s", "0.03 s"][..]),
        ("id02_swapped.h5", &[TTCF, "(K, 39, 20)", "(4, 20, 39)"]),
        ("id02_no_lag.h5", &["twotime/lag", "is missing", "twotime/age"]),
        ("id02_far_age.h5", &["twotime/age", "39 ages", "frames of 0.1 s"]),
    ] {
        assert_data_error(open(folder, name), &folder.join(name), parts);
    }
}

#[test]
fn one_of_several_analyses_must_be_chosen() {
    let Some(folder) = layouts() else { return };
    let file = folder.join("id02_two.h5");
    let with = |key: &str| Dataset::open(&file, &Selection { exchange_key: Some(key.to_owned()), ..rings() });
    assert_data_error(open(folder, "id02_two.h5"), &file, &["full, sector", "experimental_data.exchange_key"]);
    assert_data_error(with("exchange"), &file, &["full, sector", "experimental_data.exchange_key"]);
    for key in ["sector", "/entry_0000/correlations/sector/"] {
        assert!(with(key).unwrap().slots[0].path.starts_with("/entry_0000/correlations/sector/"));
    }
    assert!(shown(&file).contains("full, sector"));
}

#[test]
fn bad_contents_are_named() {
    let Some(folder) = layouts() else { return };
    for (name, found) in [("id02_other.h5", "\"XPCSResultFile_v1.0\""), ("id02_none.h5", "found none")] {
        assert_data_error(open(folder, name), &folder.join(name), &["MagicString", "XPCSResultFile_v2.0", found]);
    }
    let refused = |change: &dyn Fn(&hdf5::File), parts: &[&str]| {
        let (_folder, file) = copy(&folder.join("id02.h5"));
        let h5 = hdf5::File::open_rw(&file).unwrap();
        change(&h5);
        drop(h5);
        assert_data_error(Dataset::open(&file, &rings()), &file, parts);
    };
    let q = "/entry_0000/correlations/full/parameters/q";
    let list = |h5: &hdf5::File, values: &[f64]| {
        h5.unlink(q).unwrap();
        h5.new_dataset_builder().with_data(values).create(q).unwrap();
    };
    refused(&|h5| h5.unlink(q).unwrap(), &[q, "is missing"]);
    refused(&|h5| list(h5, &[0.027, f64::INFINITY, 0.1, 0.2]), &[q, "inf at index 1"]);
    refused(&|h5| list(h5, &[0.027, 0.1]), &[q, "expected 4 values", "found 2"]);
    refused(&|h5| h5.unlink(TTCF).unwrap(), &["/entry_0000/correlations", "no two-time data"]);
    let shape = |h5: &hdf5::File, shape: &[usize]| {
        h5.unlink(TTCF).unwrap();
        h5.new_dataset::<f64>().shape(shape.to_vec()).create(TTCF).unwrap();
    };
    refused(&|h5| shape(h5, &[20, 20]), &[q, "expected 1 values", "found 4"]);
    refused(&|h5| shape(h5, &[20]), &[TTCF, "(K, N, N)", "(20,)"]);
    refused(&|h5| shape(h5, &[4, 20, 30]), &[TTCF, "(K, N, N)", "(4, 20, 30)"]);
}
