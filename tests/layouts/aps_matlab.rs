//! The traps of APS 8-ID-I results that MATLAB wrote.

use homodyne_mpi::dataset::{Dataset, Layout, Selection, TwoTime};

use super::support::{assert_data_error, assert_values, chosen, copy, shown};
use crate::python::layouts;

#[test]
fn columns_become_rows_and_numbers_are_bins() {
    let Some(folder) = layouts() else { return };
    for (name, triangle) in [
        ("matlab.hdf", "lower"),
        ("matlab_f32.hdf", "lower"),
        ("matlab_other_half.hdf", "upper"),
        ("matlab_group.hdf", "lower"),
    ] {
        let dataset = Dataset::open(&folder.join(name), &chosen()).unwrap();
        let bins: Vec<i64> = dataset.selected.iter().map(|&s| dataset.slots[s].bin.unwrap()).collect();
        assert_eq!((dataset.layout, bins, dataset.phi()), (Layout::ApsMatlab, vec![3, 4, 5], vec![0.0, 45.0, 90.0]));
        assert_eq!(dataset.read(0, &mut TwoTime::default()).unwrap().triangle, triangle, "{name}");
        (0..3).for_each(|k| assert_values(&dataset, k, 3 + k));
    }
    let dataset = Dataset::open(&folder.join("matlab_dead.hdf"), &chosen()).unwrap();
    assert_eq!(dataset.read(0, &mut TwoTime::default()).unwrap().dead_frames, [7]);
    let text = shown(&folder.join("matlab.hdf"));
    for part in ["APS 8-ID-I (MATLAB)", "/exchange/C2T_all/C2T_00001", "lower", "rounded once"] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn both_eras_in_one_file_are_ambiguous() {
    let Some(folder) = layouts() else { return };
    let file = folder.join("matlab_both.hdf");
    let with = |layout| Dataset::open(&file, &Selection { layout, ..chosen() });
    assert_data_error(with(None), &file, &["APS 8-ID-I (old)", "APS 8-ID-I (MATLAB)", "experimental_data.file_format"]);
    assert_eq!(with(Some(Layout::ApsOld)).unwrap().slots.len(), 1);
    assert_eq!(with(Some(Layout::ApsMatlab)).unwrap().slots.len(), 5);
}

#[test]
fn bad_contents_are_named() {
    let Some(folder) = layouts() else { return };
    let refused = |change: &dyn Fn(&hdf5::File), parts: &[&str]| {
        let (_folder, file) = copy(&folder.join("matlab.hdf"));
        let h5 = hdf5::File::open_rw(&file).unwrap();
        change(&h5);
        drop(h5);
        assert_data_error(Dataset::open(&file, &chosen()), &file, parts);
    };
    refused(&|h5| h5.unlink("xpcs/dqlist").unwrap(), &["/xpcs/dqlist", "is missing"]);
    refused(&|h5| h5.unlink("xpcs/dphilist").unwrap(), &["/xpcs/dphilist", "is missing"]);
    let at = "exchange/C2T_all/C2T_00004";
    refused(&|h5| h5.relink(at, "exchange/C2T_all/C2T_00007").unwrap(), &["C2T_00007", "no bin", "1 to 6"]);
    let small = |h5: &hdf5::File| {
        h5.unlink(at).unwrap();
        h5.new_dataset::<f32>().shape((20, 19)).create(at).unwrap();
    };
    refused(&small, &["C2T_00004", "(N, N)", "(20, 19)"]);
    let old = Selection { layout: Some(Layout::ApsOld), ..chosen() };
    let file = folder.join("matlab.hdf");
    assert_data_error(Dataset::open(&file, &old), &file, &["g2_00001", "found C2T_00001"]);
}
