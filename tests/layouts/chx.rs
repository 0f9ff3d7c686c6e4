//! The traps of CHX files.

use std::path::Path;

use homodyne_mpi::dataset::{Dataset, Layout, Selection, TwoTime, Unsaid};

use super::support::{assert_data_error, assert_values, chosen, copy, shown};
use crate::python::layouts;

fn open(folder: &Path, name: &str) -> homodyne_mpi::Result<Dataset> {
    Dataset::open(&folder.join(name), &chosen())
}

#[test]
fn q_is_the_last_dimension() {
    let Some(folder) = layouts() else { return };
    for (name, triangle) in
        [("chx.h5", "full"), ("chx_md.h5", "full"), ("chx_f32.h5", "full"), ("chx_half.h5", "lower")]
    {
        let dataset = open(folder, name).unwrap();
        assert_eq!((dataset.layout, dataset.phi()), (Layout::Chx, vec![0.0, 45.0, 90.0]), "{name}");
        assert_eq!((dataset.n_file_frames, dataset.slots.len(), dataset.q), (20, 4, 0.0054));
        assert_eq!(dataset.read(0, &mut TwoTime::default()).unwrap().triangle, triangle);
        (0..3).for_each(|k| assert_values(&dataset, k, 1 + k));
        let part = Selection { start_frame: 4, end_frame: Some(15), ..chosen() };
        let dataset = Dataset::open(&folder.join(name), &part).unwrap();
        (0..3).for_each(|k| assert_values(&dataset, k, 1 + k));
    }
    let dataset = open(folder, "chx_dead.h5").unwrap();
    assert_eq!(dataset.read(0, &mut TwoTime::default()).unwrap().dead_frames, [7]);
    let text = shown(&folder.join("chx.h5"));
    for part in ["CHX", "/g12b[:, :, 3]", "0.1 s (file: /md attribute acquire period)", "φ in degree: /iq_saxs"] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn a_ring_is_never_mixed_with_its_neighbours() {
    let Some(folder) = layouts() else { return };
    let file = folder.join("chx_rings.h5");
    let unsaid = Unsaid { phi: Some(vec![0.0]), ..Unsaid::default() };
    let dataset = Dataset::open(&file, &Selection { q_tolerance: 0.9, unsaid, ..chosen() }).unwrap();
    assert_eq!(dataset.selected, [1]);
    assert_values(&dataset, 0, 1);
    assert_data_error(open(folder, "chx_rings.h5"), &file, &["holds no φ", "experimental_data.phi_angles"]);
}

#[test]
fn a_second_number_is_an_angle_only_where_the_file_says_so() {
    let Some(folder) = layouts() else { return };
    let file = folder.join("chx_unclear.h5");
    assert_data_error(open(folder, "chx_unclear.h5"), &file, &["experimental_data.phi_angles"]);
    let text = shown(&file);
    assert!(text.contains("may be φ or a part of q"), "{text}");
    let unsaid = Unsaid { phi: Some(vec![0.0, 10.0, 20.0, 30.0]), ..Unsaid::default() };
    let dataset = Dataset::open(&file, &Selection { unsaid, ..chosen() }).unwrap();
    assert_eq!(dataset.phi(), [10.0, 20.0, 30.0]);
    for (name, place) in [("chx_grazing.h5", "/qr_1d_pds"), ("chx_grazing_md.h5", "/md attribute scat_geometry")] {
        assert_data_error(open(folder, name), &folder.join(name), &[place, "grazing incidence"]);
    }
}

#[test]
fn bad_contents_are_named() {
    let Some(folder) = layouts() else { return };
    let refused = |change: &dyn Fn(&hdf5::File), parts: &[&str]| {
        let (_folder, file) = copy(&folder.join("chx.h5"));
        let h5 = hdf5::File::open_rw(&file).unwrap();
        change(&h5);
        drop(h5);
        assert_data_error(Dataset::open(&file, &chosen()), &file, parts);
    };
    let bin = |h5: &hdf5::File, name: &str, values: &[f64]| {
        let bins = h5.dataset("qval_dict").unwrap();
        bins.delete_attr(name).unwrap();
        bins.new_attr_builder().with_data(values).create(name).unwrap();
    };
    refused(&|h5| h5.unlink("qval_dict").unwrap(), &["/qval_dict", "is missing"]);
    refused(
        &|h5| h5.dataset("qval_dict").unwrap().delete_attr("2").unwrap(),
        &["/qval_dict attribute 2", "is missing"],
    );
    refused(&|h5| bin(h5, "1", &[0.0054, f64::NAN]), &["/qval_dict attribute 1", "finite numbers", "NaN"]);
    refused(&|h5| bin(h5, "1", &[-0.0054, 0.0]), &["/qval_dict attribute 1", "positive q"]);
    refused(&|h5| bin(h5, "1", &[0.0054]), &["/qval_dict attribute 1", "alike for all matrices", "found 1"]);
    refused(&|h5| bin(h5, "0", &[0.0054, 0.0, 1.0]), &["/qval_dict attribute 0", "found 3"]);
    let shape = |h5: &hdf5::File, shape: &[usize]| {
        h5.unlink("g12b").unwrap();
        h5.new_dataset::<f64>().shape(shape.to_vec()).create("g12b").unwrap();
    };
    refused(&|h5| shape(h5, &[4, 20, 20]), &["/g12b", "(N, N, K)", "(4, 20, 20)"]);
    refused(&|h5| shape(h5, &[20, 20]), &["/g12b", "(20, 20) is one matrix", "/qval_dict describes 4"]);
    let text = |h5: &hdf5::File| {
        let md = h5.dataset("md").unwrap();
        md.delete_attr("acquire period").unwrap();
        let text: hdf5::types::VarLenUnicode = "soon".parse().unwrap();
        md.new_attr::<hdf5::types::VarLenUnicode>().create("acquire period").unwrap().write_scalar(&text).unwrap();
    };
    // asked for only where the configuration doesn't give the time
    let (_folder, changed) = copy(&folder.join("chx.h5"));
    text(&hdf5::File::open_rw(&changed).unwrap());
    let found = Dataset::open(&changed, &Selection { dt: None, ..chosen() });
    assert_data_error(found, &changed, &["/md attribute acquire period", "expected a number", "\"soon\""]);
}
