//! What other writers' libraries make of shapes and lists: dimensions of one left out or left over, pairs of q and φ.

use std::path::Path;

use homodyne_mpi::dataset::{Dataset, Selection, TwoTime, Unsaid};
use ndarray::s;

use super::support::{assert_data_error, assert_values, chosen, copy};
use crate::python::layouts;

const NX: &str = "/entry/twotime/two_time_corr_func";
const MASKS: &str = "/entry/instrument/masks";

/// A copy of a file, changed.
fn changed(original: &Path, change: impl Fn(&hdf5::File)) -> (tempfile::TempDir, std::path::PathBuf) {
    let (folder, file) = copy(original);
    let h5 = hdf5::File::open_rw(&file).unwrap();
    change(&h5);
    drop(h5);
    (folder, file)
}

fn put<T: hdf5::H5Type>(h5: &hdf5::File, path: &str, values: &ndarray::ArrayD<T>) {
    h5.unlink(path).unwrap();
    h5.new_dataset_builder().with_data(values).create(path).unwrap();
}

#[test]
fn a_stack_of_one_matrix_may_have_lost_its_dimension() {
    let Some(folder) = layouts() else { return };
    let read = |h5: &hdf5::File, path: &str| h5.dataset(path).unwrap().read_dyn::<f64>().unwrap();
    // CHX, ID02 over times and over ages, European XFEL: the second matrix alone
    for (name, path, lists) in [
        ("chx.h5", "/g12b", &[][..]),
        ("id02.h5", "/entry_0000/correlations/full/twotime/ttcf", &["/entry_0000/correlations/full/parameters/q"]),
        ("id02_aged.h5", "/entry_0000/correlations/full/twotime/ttcf", &["/entry_0000/correlations/full/parameters/q"]),
        ("xfel.h5", "/train_resolved/correlation/ttc", &["/train_resolved/correlation/q"]),
    ] {
        let (_folder, file) = changed(&folder.join(name), |h5| {
            let all = read(h5, path);
            let one = match name {
                "chx.h5" => all.slice(s![.., .., 1]).into_dyn().to_owned(),
                "xfel.h5" => all.slice(s![0, 1, .., ..]).into_dyn().to_owned(),
                _ => all.slice(s![1, .., ..]).into_dyn().to_owned(),
            };
            put(h5, path, &one);
            for list in lists {
                let q = read(h5, list);
                put(h5, list, &q.slice(s![1..2]).into_dyn().to_owned());
            }
            if name == "chx.h5" {
                let bins = h5.dataset("/qval_dict").unwrap();
                ["0", "1", "2", "3"].iter().for_each(|name| bins.delete_attr(name).unwrap());
                bins.new_attr_builder().with_data(&[0.0054, 45.0]).create("0").unwrap();
            }
        });
        let unsaid = if name == "chx.h5" { None } else { Some(vec![45.0]) };
        let selection = Selection { unsaid: Unsaid { phi: unsaid, ..Unsaid::default() }, ..chosen() };
        let dataset = Dataset::open(&file, &selection).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!((dataset.slots.len(), dataset.phi()), (1, vec![45.0]), "{name}");
        assert_values(&dataset, 0, 1);
        assert_values(&Dataset::open(&file, &Selection { start_frame: 4, ..selection }).unwrap(), 0, 1);
    }
}

#[test]
fn a_matrix_of_its_own_may_have_kept_a_dimension_of_one() {
    let Some(folder) = layouts() else { return };
    for last in [false, true] {
        let (_folder, file) = changed(&folder.join("old.hdf"), |h5| {
            for bin in [3, 4, 5] {
                let path = format!("/exchange/C2T_all/g2_{bin:05}");
                let values = h5.dataset(&path).unwrap().read_dyn::<f64>().unwrap();
                put(h5, &path, &values.insert_axis(ndarray::Axis(if last { 2 } else { 0 })));
            }
        });
        let dataset = Dataset::open(&file, &chosen()).unwrap();
        (0..3).for_each(|k| assert_values(&dataset, k, 3 + k));
        let part = Dataset::open(&file, &Selection { start_frame: 4, end_frame: Some(15), ..chosen() }).unwrap();
        (0..3).for_each(|k| assert_values(&part, k, 3 + k));
    }
    let (_folder, file) = changed(&folder.join("old.hdf"), |h5| {
        put(h5, "/exchange/C2T_all/g2_00003", &ndarray::ArrayD::<f64>::ones(vec![2, 20, 20]));
    });
    assert_data_error(Dataset::open(&file, &chosen()), &file, &["g2_00003", "(N, N)", "(2, 20, 20)"]);
}

#[test]
fn a_list_may_be_of_pairs_of_q_and_angle() {
    let Some(folder) = layouts() else { return };
    for name in ["nx-one_array_q_first-1-upper_left-all.h5", "nx-data_exchange_keys-1-upper_left-all.h5"] {
        let (_folder, file) = changed(&folder.join(name), |h5| {
            let list = |key: &str| h5.dataset(&format!("{MASKS}/{key}")).unwrap().read_1d::<f64>().unwrap();
            let (q, phi) = (list("dynamic_q_list"), list("dynamic_phi_list"));
            h5.unlink(&format!("{MASKS}/dynamic_phi_list")).unwrap();
            let pairs: Vec<f64> = q.iter().zip(&phi).flat_map(|(&q, &phi)| [q, phi]).collect();
            put(
                h5,
                &format!("{MASKS}/dynamic_q_list"),
                &ndarray::ArrayD::from_shape_vec(vec![q.len(), 2], pairs).unwrap(),
            );
        });
        let dataset = Dataset::open(&file, &chosen()).unwrap();
        assert_eq!(dataset.phi(), [0.0, 45.0, 90.0], "{name}");
        assert!(dataset.notes.iter().any(|note| note.contains("holds pairs")), "{:?}", dataset.notes);
        (0..3).for_each(|k| assert_values(&dataset, k, 1 + k));
    }
}

#[test]
fn one_matrix_of_the_standard_needs_no_word_of_its_dimensions() {
    let Some(folder) = layouts() else { return };
    let (_folder, file) = changed(&folder.join("nx-one_array_q_first-1-upper_left-all.h5"), |h5| {
        let all = h5.dataset(NX).unwrap().read_dyn::<f64>().unwrap();
        put(h5, NX, &all.slice(s![1, .., ..]).into_dyn().to_owned());
        h5.dataset(NX).unwrap().new_attr::<i64>().create("baseline_reference").unwrap().write_scalar(&1_i64).unwrap();
        for (key, value) in [("dynamic_q_list", 0.0054), ("dynamic_phi_list", 45.0)] {
            put(h5, &format!("{MASKS}/{key}"), &ndarray::ArrayD::from_elem(vec![1], value));
        }
    });
    let dataset = Dataset::open(&file, &chosen()).unwrap();
    assert_eq!(dataset.phi(), [45.0]);
    assert_values(&dataset, 0, 1);
    assert_eq!(dataset.read(0, &mut TwoTime::default()).unwrap().triangle, "full");
}

#[test]
fn frames_that_the_correlator_passed_over_are_counted_as_time() {
    let Some(folder) = layouts() else { return };
    for (begin, stride, skipped) in [(1_u64, 1_i64, 0), (201, 1, 200), (201, 4, 50)] {
        let (_folder, file) = changed(&folder.join("old.hdf"), |h5| {
            let put = |path: &str, value: i64| {
                h5.new_dataset::<i64>().create(path).unwrap().write_scalar(&value).unwrap();
            };
            put("xpcs/data_begin_todo", begin as i64);
            put("xpcs/stride_frames", stride);
        });
        let dataset = Dataset::open(&file, &chosen()).unwrap();
        assert_eq!(dataset.skipped, skipped);
        let is_said = dataset.notes.iter().any(|note| note.contains("/xpcs/data_begin_todo 201"));
        assert_eq!(is_said, skipped > 0, "{:?}", dataset.notes);
    }
}

#[test]
fn a_q_in_another_unit_is_named() {
    let Some(folder) = layouts() else { return };
    for name in ["old.hdf", "chx.h5"] {
        let file = folder.join(name);
        let with = |q| Dataset::open(&file, &Selection { q: Some(q), ..chosen() });
        assert_data_error(with(0.054), &file, &["in 1/nm, 0.054 would be the ring 0.0054"]);
        assert_data_error(with(5.4e7), &file, &["in 1/m,"]);
        assert_data_error(with(0.00054), &file, &["are the q of the file in 1/nm"]);
        let error = with(0.02).unwrap_err().to_string();
        assert!(!error.contains("1/nm"), "{error}");
    }
}
