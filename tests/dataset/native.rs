//! The native layout and its bad inputs.

use std::path::Path;

use homodyne_mpi::dataset::{Dataset, Layout, Selection};
use ndarray::Array3;

use super::support::{assert_data_error, assert_values, open, scratch, value};

fn native(file: &Path) -> hdf5::File {
    let h5 = hdf5::File::create(file).unwrap();
    let c2 = Array3::from_shape_fn((2, 12, 12), |(k, i, j)| value(k, i, j));
    h5.new_dataset_builder().chunk((1, 5, 12)).with_data(&c2).create("c2").unwrap();
    h5.new_dataset_builder().with_data(&[-20.0, 70.0]).create("phi").unwrap();
    for (name, v) in [("q", 0.0054), ("dt", 0.1), ("gap", 2e6)] {
        attribute(&h5, name, v);
    }
    h5
}

fn attribute(h5: &hdf5::File, name: &str, value: f64) {
    let _ = h5.delete_attr(name);
    h5.new_attr::<f64>().create(name).unwrap().write_scalar(&value).unwrap();
}

#[test]
fn a_native_file_is_read() {
    let (_folder, file) = scratch("x.h5");
    native(&file);
    let dataset = open(&file).unwrap();
    assert_eq!((dataset.layout, dataset.q, dataset.dt, dataset.gap), (Layout::Native, 0.0054, 0.1, Some(2e6)));
    assert_eq!(dataset.phi(), [-20.0, 70.0]);
    (0..2).for_each(|k| assert_values(&dataset, k, k));
    let part = Selection { start_frame: 4, end_frame: Some(9), ..Selection::default() };
    let dataset = Dataset::open(&file, &part).unwrap();
    (0..2).for_each(|k| assert_values(&dataset, k, k));
}

#[test]
fn the_first_frame_and_double_precision_are_told() {
    let (_folder, file) = scratch("x.h5");
    let h5 = native(&file);
    h5.unlink("c2").unwrap();
    let c2 = Array3::from_shape_fn((2, 12, 12), |(k, i, j)| f64::from(value(k, i, j)));
    h5.new_dataset_builder().with_data(&c2).create("c2").unwrap();
    attribute(&h5, "first_frame", 10.0);
    drop(h5);
    let dataset = open(&file).unwrap();
    assert_eq!((dataset.frames_before, dataset.n_frames), (9, 12));
    assert!(dataset.notes.iter().any(|n| n.contains("rounded once, to float32")), "{:?}", dataset.notes);
    (0..2).for_each(|k| assert_values(&dataset, k, k));
    drop(dataset);
    for first in [0.0, 1.5, -3.0, f64::NAN, 1e300] {
        attribute(&native(&file), "first_frame", first);
        assert_data_error(open(&file), &file, &["attribute first_frame", "counted from 1"]);
    }
}

#[test]
fn sigma_is_one_number_or_one_per_matrix_or_entry() {
    let (_folder, file) = scratch("x.h5");
    let with = |sigma: &dyn Fn(&hdf5::File)| {
        sigma(&native(&file));
        open(&file)
    };
    let list = |values: &[f64]| {
        let values = values.to_vec();
        with(&move |h5| drop(h5.new_dataset_builder().with_data(&values).create("sigma").unwrap()))
    };
    let scalar =
        |value: f64| with(&move |h5| h5.new_dataset::<f64>().create("sigma").unwrap().write_scalar(&value).unwrap());
    assert_eq!(with(&|_| ()).unwrap().sigma(), None);
    assert_eq!(scalar(0.02).unwrap().sigma(), Some(vec![0.02, 0.02]));
    assert_eq!(list(&[0.02]).unwrap().sigma(), Some(vec![0.02, 0.02]));
    let dataset = list(&[0.02, 0.03]).unwrap();
    assert_eq!(dataset.sigma(), Some(vec![0.02, 0.03]));
    assert!(dataset.notes.iter().any(|n| n.contains("/sigma")));
    let second = Selection { phi_ranges: Some(vec![(60.0, 80.0)]), ..Selection::default() };
    assert_eq!(Dataset::open(&file, &second).unwrap().sigma(), Some(vec![0.03]));
    drop(dataset);
    assert_data_error(list(&[0.02, 0.0]), &file, &["/sigma", "positive", "index 1"]);
    assert_data_error(scalar(f64::NAN), &file, &["/sigma", "positive"]);
    assert_data_error(list(&[0.02; 3]), &file, &["/sigma", "one σ per matrix, 2 of them", "(3,)"]);
    let whole = with(&|h5| drop(h5.new_dataset::<f32>().shape((2, 12, 12)).create("sigma").unwrap()));
    let whole = whole.unwrap();
    assert!(whole.has_sigma_by_pair() && whole.sigma().is_none());
    assert!(whole.notes.iter().any(|n| n.contains("every entry")), "{:?}", whole.notes);
    drop(whole);
    let other = with(&|h5| drop(h5.new_dataset::<f32>().shape((2, 12, 11)).create("sigma").unwrap()));
    assert_data_error(other, &file, &["/sigma", "one for every entry", "(2, 12, 11)"]);
}

#[test]
fn bad_contents_are_named() {
    let (_folder, file) = scratch("x.h5");
    let check = |change: &dyn Fn(&hdf5::File), parts: &[&str]| {
        let h5 = native(&file);
        change(&h5);
        drop(h5);
        assert_data_error(open(&file), &file, parts);
    };
    let c2 = |h5: &hdf5::File, shape: &[usize]| {
        h5.unlink("c2").unwrap();
        h5.new_dataset::<f32>().shape(shape.to_vec()).create("c2").unwrap();
    };
    check(&|h5| c2(h5, &[12, 12]), &["/c2", "(K, N, N)", "(12, 12)"]);
    check(&|h5| c2(h5, &[2, 12, 11]), &["/c2", "(2, 12, 11)"]);
    check(&|h5| c2(h5, &[0, 12, 12]), &["/c2", "(0, 12, 12)"]);
    check(&|h5| c2(h5, &[3, 12, 12]), &["/phi", "expected 3 angles", "found 2"]);
    check(
        &|h5| {
            h5.unlink("c2").unwrap();
            h5.new_dataset::<u16>().shape((2, 12, 12)).create("c2").unwrap();
        },
        &["/c2", "uint16"],
    );
    check(&|h5| h5.unlink("phi").unwrap(), &["/phi", "is missing"]);
    check(
        &|h5| {
            h5.unlink("phi").unwrap();
            h5.new_dataset_builder().with_data(&[0.0, f64::NAN]).create("phi").unwrap();
        },
        &["/phi", "NaN"],
    );
    check(&|h5| h5.delete_attr("q").unwrap(), &["attribute q", "is missing"]);
    check(&|h5| h5.delete_attr("dt").unwrap(), &["analyzer_parameters.dt"]);
    for (name, v) in [("q", f64::NAN), ("q", -1.0), ("dt", 0.0), ("gap", f64::INFINITY)] {
        check(&|h5| attribute(h5, name, v), &[&format!("attribute {name}"), "positive"]);
    }
    let other = Selection { q: Some(0.006), ..Selection::default() };
    native(&file);
    assert_data_error(Dataset::open(&file, &other), &file, &["0.0054"]);
}
