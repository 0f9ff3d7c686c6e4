//! The traps of European XFEL files.

use std::path::Path;

use homodyne_mpi::dataset::{Dataset, Layout, Selection, Train, TwoTime, Unsaid};

use super::support::{assert_data_error, assert_values, chosen, copy, shown, value};
use crate::python::layouts;

const TTC: &str = "/train_resolved/correlation/ttc";

fn with(folder: &Path, name: &str, train: Option<Train>) -> homodyne_mpi::Result<Dataset> {
    let unsaid = Unsaid { phi: Some(vec![0.0]), train, ..Unsaid::default() };
    Dataset::open(&folder.join(name), &Selection { unsaid, ..chosen() })
}

#[test]
fn q_is_per_nanometre() {
    let Some(folder) = layouts() else { return };
    for name in ["xfel.h5", "xfel_3d.h5"] {
        let dataset = with(folder, name, None).unwrap();
        assert_eq!((dataset.layout, &dataset.selected[..], dataset.n_file_frames), (Layout::Euxfel, &[1][..], 20));
        assert!((dataset.slots[1].q - 0.0054).abs() < 1e-9);
        assert_values(&dataset, 0, 1);
    }
    let unsaid = Unsaid { phi: Some(vec![0.0]), ..Unsaid::default() };
    let own = Selection { dt: None, start_frame: 4, end_frame: Some(15), unsaid, ..chosen() };
    let dataset = Dataset::open(&folder.join("xfel.h5"), &own).unwrap();
    assert!((dataset.dt - 0.1).abs() < 1e-12 && dataset.dt_source.contains("/correlation/t"));
    assert_values(&dataset, 0, 1);
    let text = shown(&folder.join("xfel.h5"));
    for part in ["European XFEL", "0.0027 Å⁻¹ (1 matrix), 0.0054 Å⁻¹", "taken as nm⁻¹", "ttc[0, 3]"] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let file = folder.join("xfel.h5");
    assert_data_error(Dataset::open(&file, &chosen()), &file, &["holds no φ", "experimental_data.phi_angles"]);
}

#[test]
fn one_of_several_trains_or_their_mean_must_be_chosen() {
    let Some(folder) = layouts() else { return };
    let (name, file) = ("xfel_trains.h5", folder.join("xfel_trains.h5"));
    assert_data_error(with(folder, name, None), &file, &[TTC, "4 trains", "experimental_data.train"]);
    assert_data_error(with(folder, name, Some(Train::One(5))), &file, &["4 trains", "train is 5"]);
    let mut m = TwoTime::default();
    with(folder, name, Some(Train::One(3))).unwrap().read(0, &mut m).unwrap();
    assert!((m.at(2, 9) - value(1, 2, 9) - 0.25).abs() < 1e-6);
    let report = with(folder, name, Some(Train::One(4))).unwrap().read(0, &mut m).unwrap();
    assert_eq!(report.dead_frames, [5]);
    // a train that midtools marked as unusable, alone
    let result = with(folder, name, Some(Train::One(2))).unwrap().read(0, &mut m);
    assert_data_error(result, &file, &["ttc[1, 1]", "no finite value", "−100"]);
    // in the mean neither it nor the dead frame of another train takes part
    let mean = with(folder, name, Some(Train::Mean)).unwrap();
    let report = mean.read(0, &mut m).unwrap();
    assert_eq!((report.n_missing, report.dead_frames.len()), (0, 0));
    for i in 0..20 {
        for j in i + 1..20 {
            assert!((m.at(i, j) - value(1, i, j)).abs() < 1e-6, "({i}, {j})");
        }
    }
    let text = shown(&file);
    assert!(text.contains("the mean of 4 trains is shown; a fit needs experimental_data.train"), "{text}");
}

#[test]
fn bad_contents_are_named() {
    let Some(folder) = layouts() else { return };
    let uneven = Dataset::open_for_inspection(&folder.join("xfel_uneven.h5"), &Selection::default()).unwrap();
    assert!(uneven.dt.is_nan() && uneven.warnings.iter().any(|w| w.contains("equal steps")));
    let refused = |change: &dyn Fn(&hdf5::File), parts: &[&str]| {
        let (_folder, file) = copy(&folder.join("xfel.h5"));
        let h5 = hdf5::File::open_rw(&file).unwrap();
        change(&h5);
        drop(h5);
        assert_data_error(Dataset::open(&file, &chosen()), &file, parts);
    };
    let q = "/train_resolved/correlation/q";
    let list = |h5: &hdf5::File, values: &[f64]| {
        h5.unlink(q).unwrap();
        h5.new_dataset_builder().with_data(values).create(q).unwrap();
    };
    refused(&|h5| h5.unlink(q).unwrap(), &[q, "is missing"]);
    refused(&|h5| list(h5, &[0.027, f64::NAN, 0.1, 0.2]), &[q, "NaN at index 1"]);
    refused(&|h5| list(h5, &[0.027, 0.1]), &[q, "expected 4 values", "found 2"]);
    let shape = |h5: &hdf5::File, shape: &[usize]| {
        h5.unlink(TTC).unwrap();
        h5.new_dataset::<f32>().shape(shape.to_vec()).create(TTC).unwrap();
    };
    refused(&|h5| shape(h5, &[20, 20]), &[q, "expected 1 values", "found 4"]);
    refused(&|h5| shape(h5, &[20]), &[TTC, "(T, K, N, N)", "(20,)"]);
    refused(&|h5| shape(h5, &[1, 4, 20, 19]), &[TTC, "(T, K, N, N)", "(1, 4, 20, 19)"]);
}
