//! The traps of NXxpcs files.

use std::path::Path;

use homodyne_mpi::dataset::{Baseline, Dataset, Layout, Selection, TwoTime, Unsaid};

use super::support::{assert_data_error, assert_values, chosen, copy, shown, value};
use crate::python::layouts;

fn open(folder: &Path, name: &str) -> homodyne_mpi::Result<Dataset> {
    Dataset::open(&folder.join(name), &chosen())
}

#[test]
fn every_way_to_store_gives_the_same_matrices() {
    let Some(folder) = layouts() else { return };
    for mode in ["one_array_q_first", "one_array_q_last", "data_exchange_keys"] {
        for baseline in [0, 1] {
            for origin in ["upper_left", "lower_left"] {
                for (populated, triangle) in [("all", "full"), ("upper_half", "upper"), ("lower_half", "lower")] {
                    let name = format!("nx-{mode}-{baseline}-{origin}-{populated}.h5");
                    let dataset = open(folder, &name).unwrap();
                    assert_eq!((dataset.layout, dataset.phi()), (Layout::Nxxpcs, vec![0.0, 45.0, 90.0]), "{name}");
                    assert_eq!((dataset.slots.len(), dataset.n_file_frames), (4, 20), "{name}");
                    let report = dataset.read(1, &mut TwoTime::default()).unwrap();
                    assert_eq!(report.triangle, triangle, "{name}");
                    (0..3).for_each(|k| assert_values(&dataset, k, 1 + k));
                    // frames are cut from where their rows are
                    let part = Selection { start_frame: 4, end_frame: Some(15), ..chosen() };
                    let dataset = Dataset::open(&folder.join(&name), &part).unwrap();
                    (0..3).for_each(|k| assert_values(&dataset, k, 1 + k));
                }
            }
        }
    }
}

#[test]
fn a_baseline_of_0_is_raised_before_values_are_rounded() {
    let Some(folder) = layouts() else { return };
    let dataset = open(folder, "nx_chunked_0.h5").unwrap();
    (0..3).for_each(|k| assert_values(&dataset, k, 1 + k));
    let dataset = open(folder, "nx_f32_0.h5").unwrap();
    (0..3).for_each(|k| assert_values(&dataset, k, 1 + k));
    assert!(dataset.notes.iter().any(|n| n.contains("the file holds c2 − 1")), "{:?}", dataset.notes);
}

#[test]
fn zeros_of_a_baseline_of_0_are_told_apart() {
    let Some(folder) = layouts() else { return };
    for (name, triangle) in [("nx_marked_0.h5", "upper"), ("nx_marked_f32_0.h5", "full")] {
        let dataset = open(folder, name).unwrap();
        let mut m = TwoTime::default();
        let report = dataset.read(0, &mut m).unwrap();
        assert_eq!((report.triangle, &report.dead_frames[..]), (triangle, &[7][..]), "{name}");
        // no correlation is 1, no coincidence 0, and other pairs are what they are
        assert_eq!((m.at(3, 9), m.at(3, 10)), (1.0, value(1, 3, 10)), "{name}");
        assert!(m.at(4, 11).abs() < 1e-30 && m.at(7, 9).is_nan() && m.at(2, 7).is_nan(), "{name}");
    }
}

#[test]
fn the_data_say_which_half_holds_them() {
    let Some(folder) = layouts() else { return };
    let dataset = open(folder, "nx_says_other_half.h5").unwrap();
    assert_eq!(dataset.read(0, &mut TwoTime::default()).unwrap().triangle, "upper");
    assert_values(&dataset, 0, 1);
}

#[test]
fn a_wrong_origin_of_time_is_found() {
    let Some(folder) = layouts() else { return };
    let file = folder.join("nx_says_upper_left.h5");
    let result = Dataset::open(&file, &chosen()).unwrap().read(0, &mut TwoTime::default());
    assert_data_error(result, &file, &["two_time_corr_func[1]", "symmetric", "time_origin_location"]);
}

#[test]
fn what_attributes_leave_open_is_settled_or_asked_for() {
    let Some(folder) = layouts() else { return };
    let with = |name: &str, baseline| {
        let unsaid = Unsaid { baseline, ..Unsaid::default() };
        Dataset::open(&folder.join(name), &Selection { unsaid, ..chosen() })
    };
    for name in ["nx_silent.h5", "nx_silent_last.h5"] {
        let parts = ["attribute baseline_reference", "is missing", "experimental_data.baseline_reference"];
        assert_data_error(with(name, None), &folder.join(name), &parts);
        let dataset = with(name, Some(Baseline::One)).unwrap();
        (0..3).for_each(|k| assert_values(&dataset, k, 1 + k));
    }
    let dataset = with("nx_no_baseline_0.h5", Some(Baseline::Zero)).unwrap();
    assert_values(&dataset, 0, 1);
    let said = with("nx_f32_0.h5", Some(Baseline::One)).unwrap();
    assert!(said.warnings.iter().any(|w| w.contains("baseline_reference isn't used")));
    assert_values(&said, 0, 1);
    assert!(shown(&folder.join("nx_silent.h5")).contains("a fit needs experimental_data.baseline_reference"));
    let parts = ["attribute storage_mode", "(4, 4, 4)", "one_array_q_first"];
    assert_data_error(open(folder, "nx_cube.h5"), &folder.join("nx_cube.h5"), &parts);
}

#[test]
fn units_are_read_and_a_missing_one_is_told() {
    let Some(folder) = layouts() else { return };
    let dataset = open(folder, "nx_per_nm.h5").unwrap();
    assert!((dataset.slots[1].q - 0.0054).abs() < 1e-12);
    let dataset = open(folder, "nx_no_unit.h5").unwrap();
    assert!(dataset.warnings.iter().any(|w| w.contains("dynamic_q_list names no units")));
    let timed = Dataset::open(&folder.join("nx_f32_0.h5"), &Selection { dt: None, ..chosen() }).unwrap();
    assert!((timed.dt - 0.1).abs() < 1e-12, "{}", timed.dt);
    assert!(timed.dt_source.contains("/entry/instrument/detector_1/frame_time"));
}

#[test]
fn rings_without_angles_take_theirs_from_the_configuration() {
    let Some(folder) = layouts() else { return };
    let file = folder.join("nx_no_phi.h5");
    let with = |phi| {
        let unsaid = Unsaid { phi, ..Unsaid::default() };
        Dataset::open(&file, &Selection { unsaid, ..chosen() })
    };
    assert_data_error(with(None), &file, &["holds no φ", "experimental_data.phi_angles"]);
    assert_eq!(with(Some(vec![30.0])).unwrap().phi(), [30.0; 3]);
    assert_eq!(with(Some(vec![0.0, 1.0, 2.0, 3.0])).unwrap().phi(), [1.0, 2.0, 3.0]);
    assert_data_error(with(Some(vec![1.0, 2.0])), &file, &["4 matrices", "has 2 angles"]);
    assert!(shown(&file).contains("a fit needs experimental_data.phi_angles"));
    let unsaid = Unsaid { phi: Some(vec![1.0]), ..Unsaid::default() };
    let held = Dataset::open(&folder.join("nx_no_unit.h5"), &Selection { unsaid, ..chosen() }).unwrap();
    assert_eq!(held.phi(), [0.0, 45.0, 90.0]);
    assert!(held.warnings.iter().any(|w| w.contains("phi_angles isn't used")));
}

/// A changed copy of a file must be refused with all of `parts`.
#[track_caller]
fn refused(folder: &Path, name: &str, change: impl Fn(&hdf5::File), parts: &[&str]) {
    let (_folder, file) = copy(&folder.join(name));
    let h5 = hdf5::File::open_rw(&file).unwrap();
    change(&h5);
    drop(h5);
    assert_data_error(Dataset::open(&file, &chosen()), &file, parts);
}

#[test]
fn bad_contents_are_named() {
    let Some(folder) = layouts() else { return };
    const PLAIN: &str = "nx-one_array_q_first-1-upper_left-all.h5";
    const KEYS: &str = "nx-data_exchange_keys-1-upper_left-all.h5";
    const C2: &str = "entry/twotime/two_time_corr_func";
    let (q, phi) = ("entry/instrument/masks/dynamic_q_list", "entry/instrument/masks/dynamic_phi_list");
    let list = |h5: &hdf5::File, path: &str, values: &[f64]| {
        h5.unlink(path).unwrap();
        h5.new_dataset_builder().with_data(values).create(path).unwrap();
    };
    let say = |h5: &hdf5::File, name: &str, text: &str| {
        let c2 = h5.dataset(C2).unwrap();
        c2.delete_attr(name).unwrap();
        let text: hdf5::types::VarLenUnicode = text.parse().unwrap();
        c2.new_attr::<hdf5::types::VarLenUnicode>().create(name).unwrap().write_scalar(&text).unwrap();
    };
    refused(folder, PLAIN, |h5| h5.unlink(q).unwrap(), &["dynamic_q_list", "is missing"]);
    refused(folder, PLAIN, |h5| list(h5, q, &[0.1, 0.1, f64::NAN, 0.1]), &["dynamic_q_list", "NaN at index 2"]);
    refused(folder, PLAIN, |h5| list(h5, q, &[0.1, 0.0, 0.1, 0.1]), &["dynamic_q_list", "positive", "index 1"]);
    refused(folder, PLAIN, |h5| list(h5, q, &[0.1; 3]), &["dynamic_q_list", "expected 4 values", "found 3"]);
    let unit = |h5: &hdf5::File| {
        let list = h5.dataset(q).unwrap();
        list.delete_attr("units").unwrap();
        let text: hdf5::types::VarLenUnicode = "pixel".parse().unwrap();
        list.new_attr::<hdf5::types::VarLenUnicode>().create("units").unwrap().write_scalar(&text).unwrap();
    };
    refused(folder, PLAIN, unit, &["dynamic_q_list attribute units", "1/angstrom or 1/nm", "\"pixel\""]);
    refused(folder, PLAIN, |h5| list(h5, phi, &[0.1; 3]), &["dynamic_phi_list", "expected 4 angles", "found 3"]);
    refused(folder, PLAIN, |h5| list(h5, phi, &[f64::INFINITY; 4]), &["dynamic_phi_list", "inf at index 0"]);
    refused(folder, PLAIN, |h5| say(h5, "storage_mode", "other"), &["storage_mode", "expected one of", "\"other\""]);
    refused(folder, PLAIN, |h5| say(h5, "storage_mode", "one_array_q_last"), &["(N, N, K)", "(4, 20, 20)"]);
    refused(folder, PLAIN, |h5| say(h5, "storage_mode", "data_exchange_keys"), &["is a dataset", "contradicts"]);
    refused(
        folder,
        PLAIN,
        |h5| say(h5, "baseline_reference", "2"),
        &["baseline_reference", "expected 0 or 1, found 2"],
    );
    refused(folder, PLAIN, |h5| say(h5, "time_origin_location", "left"), &["time_origin_location", "\"left\""]);
    refused(folder, PLAIN, |h5| say(h5, "populated_elements", "half"), &["populated_elements", "\"half\""]);
    let flat = |h5: &hdf5::File| {
        let c2 = h5.dataset(C2).unwrap();
        let data = c2.read_raw::<f64>().unwrap();
        h5.unlink(C2).unwrap();
        h5.new_dataset_builder().with_data(&data).create(C2).unwrap();
    };
    refused(folder, PLAIN, flat, &["storage_mode", "(1600,)"]);
    let at = |name: &str| format!("{C2}/{name}");
    refused(
        folder,
        KEYS,
        |h5| h5.relink(&at("g2_00002"), &at("g2_00009")).unwrap(),
        &["g2_00009", "no region", "1 to 4"],
    );
    let resize = |h5: &hdf5::File| {
        h5.unlink(&at("g2_00002")).unwrap();
        h5.new_dataset::<f64>().shape((19, 19)).create(at("g2_00002").as_str()).unwrap();
    };
    refused(folder, KEYS, resize, &["g2_00002", "expected 20 × 20", "found 19 × 19"]);
}

#[test]
fn a_region_without_a_matrix_keeps_its_number() {
    let Some(folder) = layouts() else { return };
    let (_folder, file) = copy(&folder.join("nx-data_exchange_keys-1-upper_left-all.h5"));
    let h5 = hdf5::File::open_rw(&file).unwrap();
    h5.unlink("entry/twotime/two_time_corr_func/g2_00002").unwrap();
    drop(h5);
    let dataset = Dataset::open(&file, &chosen()).unwrap();
    assert_eq!(dataset.phi(), [45.0, 90.0]);
    (0..2).for_each(|k| assert_values(&dataset, k, 2 + k));
}
