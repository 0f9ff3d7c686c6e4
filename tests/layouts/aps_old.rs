//! The traps of the APS 8-ID-I layout.

use std::path::Path;

use homodyne_mpi::dataset::{Dataset, Layout, QFrom, Selection, TwoTime};

use super::support::{assert_data_error, assert_values, chosen, copy, shown};
use crate::python::layouts;

fn bins(dataset: &Dataset) -> Vec<i64> {
    dataset.selected.iter().map(|&s| dataset.slots[s].bin.unwrap()).collect()
}

#[test]
fn the_number_in_a_name_is_the_bin() {
    let Some(folder) = layouts() else { return };
    // bin 2 has no matrix: from there on, positions and numbers differ
    let dataset = Dataset::open(&folder.join("old.hdf"), &chosen()).unwrap();
    assert_eq!((dataset.layout, bins(&dataset)), (Layout::ApsOld, vec![3, 4, 5]));
    assert_eq!(dataset.phi(), [0.0, 45.0, 90.0]);
    assert_eq!((dataset.q, dataset.slots.len(), dataset.n_file_frames), (0.0054, 5, 20));
    (0..3).for_each(|k| assert_values(&dataset, k, 3 + k));
    let text = shown(&folder.join("old.hdf"));
    for part in ["APS 8-ID-I (old)", "5 matrices in /exchange/C2T_all (named by /xpcs/output_data)", "float64"] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn halves_types_and_filters_vary() {
    let Some(folder) = layouts() else { return };
    for (name, triangle, is_wide) in
        [("old.hdf", "upper", true), ("old_lower_f32.hdf", "lower", false), ("old_full.hdf", "full", true)]
    {
        let selection = Selection { start_frame: 4, end_frame: Some(17), ..chosen() };
        let dataset = Dataset::open(&folder.join(name), &selection).unwrap();
        assert_eq!(dataset.read(1, &mut TwoTime::default()).unwrap().triangle, triangle);
        assert_eq!(dataset.notes.iter().any(|note| note.contains("rounded once")), is_wide, "{name}");
        (0..3).for_each(|k| assert_values(&dataset, k, 3 + k));
    }
    let dataset = Dataset::open(&folder.join("old_dead.hdf"), &chosen()).unwrap();
    assert_eq!(dataset.read(0, &mut TwoTime::default()).unwrap().dead_frames, [7]);
}

#[test]
fn the_tolerance_decides_which_bins_are_taken() {
    let Some(folder) = layouts() else { return };
    let file = folder.join("old.hdf");
    let with = |q, q_tolerance| Dataset::open(&file, &Selection { q: Some(q), q_tolerance, ..chosen() });
    for (q, tolerance, expected) in [
        (0.0054, 0.001, vec![4]),
        (0.0054, 0.1, vec![3, 4, 5]),
        (0.0054, 0.15, vec![3, 4, 5, 6]),
        (0.0027, 0.1, vec![1]),
        (0.0054, 0.6, vec![1, 3, 4, 5, 6]),
    ] {
        assert_eq!(bins(&with(q, tolerance).unwrap()), expected, "{q} ± {tolerance}");
    }
    // said in every case, and a warning where the bins spread
    let narrow = with(0.0054, 0.001).unwrap();
    assert!(narrow.notes.iter().any(|n| n.contains("1 of 5 bins lie within q_tolerance_fraction = 0.001")));
    assert!(narrow.warnings.is_empty());
    assert!(narrow.notes.iter().any(|n| n.contains("the Python package takes the 10 nearest of any q")));
    assert!(!with(0.0054, 0.6).unwrap().notes.iter().any(|n| n.contains("Python")));
    let wide = with(0.0054, 0.1).unwrap();
    assert!(wide.warnings.iter().any(|w| w.contains("3 of 5 bins") && w.contains("0.0053 to 0.0055")));
    // never the nearest ones of any q
    let parts = ["none of 5 bins", "q_tolerance_fraction = 0.1", "wavevector_q = 0.004", "0.0027, 0.0053"];
    assert_data_error(with(0.004, 0.1), &file, &parts);
    let all = Selection { q: None, ..chosen() };
    assert_data_error(Dataset::open(&file, &all), &file, &["several q", "analyzer_parameters.scattering.wavevector_q"]);
}

#[test]
fn the_model_takes_the_mean_q_of_the_bins() {
    let Some(folder) = layouts() else { return };
    let file = folder.join("old.hdf");
    let with = |q_from, q_tolerance| {
        Dataset::open(&file, &Selection { q_from, q_tolerance, q: Some(0.0053), ..chosen() }).unwrap()
    };
    for tolerance in [0.02, 0.15] {
        let dataset = with(QFrom::File, tolerance);
        let q: Vec<f64> = dataset.selected.iter().map(|&s| dataset.slots[s].q).collect();
        assert!(q.len() > 1 && q.iter().any(|own| *own != q[0]), "{q:?}");
        assert_eq!(dataset.q, q.iter().sum::<f64>() / q.len() as f64);
        assert_eq!(dataset.q_source, format!("the mean of {} bins", q.len()));
        assert_eq!(with(QFrom::Config, tolerance).q, 0.0053);
    }
}

#[test]
fn the_group_is_named_by_the_file_else_by_the_configuration() {
    let Some(folder) = layouts() else { return };
    let open = |name: &str, key: Option<&str>| {
        Dataset::open(&folder.join(name), &Selection { exchange_key: key.map(str::to_owned), ..chosen() })
    };
    assert_eq!(open("old_named.hdf", None).unwrap().slots[0].path, "/results/run_3/C2T_all/g2_00001");
    assert_eq!(open("old_key.hdf", Some("exchange_7/")).unwrap().slots[0].path, "/exchange_7/C2T_all/g2_00001");
    assert_eq!(open("old_unnamed.hdf", None).unwrap().slots[0].path, "/exchange/C2T_all/g2_00001");
    let overruled = open("old_named.hdf", Some("/exchange_7")).unwrap();
    assert!(overruled.warnings.iter().any(|w| w.contains("experimental_data.exchange_key = /exchange_7 isn't used")));
    let parts = ["/exchange/C2T_all", "missing", "experimental_data.exchange_key"];
    assert_data_error(open("old_key.hdf", None), &folder.join("old_key.hdf"), &parts);
    let parts = ["/exchange_2/C2T_all", "missing", "named by /xpcs/output_data"];
    assert_data_error(open("old_elsewhere.hdf", None), &folder.join("old_elsewhere.hdf"), &parts);
}

#[test]
fn the_layout_can_be_asked_for() {
    let Some(folder) = layouts() else { return };
    let file = folder.join("old.hdf");
    let with = |file: &Path, layout| Dataset::open(file, &Selection { layout: Some(layout), ..chosen() });
    assert!(with(&file, Layout::ApsOld).is_ok());
    assert_data_error(with(&file, Layout::ApsU), &file, &["APS-U layout asked for", "exchange, xpcs"]);
    assert_data_error(with(&file, Layout::Npz), &file, &["NPZ cache layout asked for", "an HDF5 file"]);
    let cache = folder.join("cache.npz");
    assert_data_error(with(&cache, Layout::ApsOld), &cache, &["APS 8-ID-I (old) layout asked for", "a zip file"]);
    let other = folder.join("lam_cache.npz");
    assert!(with(&other, Layout::Npz).is_ok());
}

#[test]
fn the_time_step_is_the_detectors_or_the_configurations() {
    let Some(folder) = layouts() else { return };
    let (_folder, file) = copy(&folder.join("old.hdf"));
    let open = |dt| Dataset::open(&file, &Selection { dt, ..chosen() });
    assert_data_error(open(None), &file, &["analyzer_parameters.dt"]);
    let h5 = hdf5::File::open_rw(&file).unwrap();
    for (path, v) in [("entry/instrument/detector_1/frame_time", 0.01), ("xpcs/twotime/config/stride_frame", 2.0)] {
        h5.new_dataset::<f64>().create(path).unwrap().write_scalar(&v).unwrap();
    }
    drop(h5);
    assert_eq!(open(None).unwrap().dt, 0.02);
    let both = open(Some(0.03)).unwrap();
    assert_eq!(both.dt, 0.03);
    assert!(
        both.warnings.iter().any(|w| w.contains("0.03 s is used, but the file says 0.02 s")),
        "{:?}",
        both.warnings
    );
}

/// A changed copy of the plain file must be refused with all of `parts`.
#[track_caller]
fn refused(folder: &Path, change: impl Fn(&hdf5::File), parts: &[&str]) {
    let (_folder, file) = copy(&folder.join("old.hdf"));
    let h5 = hdf5::File::open_rw(&file).unwrap();
    change(&h5);
    drop(h5);
    assert_data_error(Dataset::open(&file, &chosen()), &file, parts);
}

#[test]
fn bad_contents_are_named() {
    let Some(folder) = layouts() else { return };
    let list = |h5: &hdf5::File, path: &str, values: &[f64]| {
        h5.unlink(path).unwrap();
        h5.new_dataset_builder().with_data(values).create(path).unwrap();
    };
    let (q, phi, at) = ("xpcs/dqlist", "xpcs/dphilist", "exchange/C2T_all/g2_00004");
    refused(folder, |h5| h5.unlink(q).unwrap(), &["/xpcs/dqlist", "is missing"]);
    refused(folder, |h5| h5.unlink(phi).unwrap(), &["/xpcs/dphilist", "is missing"]);
    refused(folder, |h5| list(h5, phi, &[0.0; 5]), &["/xpcs/dphilist", "expected 6 angles", "found 5"]);
    refused(
        folder,
        |h5| list(h5, q, &[0.0054, 0.0054, f64::NAN, 0.0054, 0.0054, 0.0054]),
        &["/xpcs/dqlist", "bin 3 ", "NaN"],
    );
    refused(
        folder,
        |h5| list(h5, phi, &[0.0, 0.0, 0.0, 0.0, 0.0, f64::INFINITY]),
        &["/xpcs/dphilist", "bin 6 ", "inf"],
    );
    refused(folder, |h5| list(h5, q, &[0.1, 0.1, -0.1, 0.1, 0.1, 0.1]), &["/xpcs/dqlist", "bin 3 ", "positive"]);
    refused(
        folder,
        |h5| (list(h5, q, &[0.0054; 5]), list(h5, phi, &[0.0; 5])).1,
        &["/exchange/C2T_all/g2_00006", "no bin", "1 to 5"],
    );
    let rename = |h5: &hdf5::File, to: &str| h5.relink(at, &format!("exchange/C2T_all/{to}")).unwrap();
    refused(folder, |h5| rename(h5, "g2_00000"), &["g2_00000", "no bin"]);
    refused(folder, |h5| rename(h5, "g2_99999999999999999999"), &["g2_99999999999999999999", "no bin"]);
    refused(folder, |h5| rename(h5, "g2_3"), &["g2_3", "same number", "g2_00003"]);
    let replace = |h5: &hdf5::File, shape: &[usize]| {
        h5.unlink(at).unwrap();
        h5.new_dataset::<f32>().shape(shape.to_vec()).create(at).unwrap();
    };
    refused(folder, |h5| replace(h5, &[19, 19]), &["g2_00004", "expected 20 × 20", "g2_00001", "found 19 × 19"]);
    refused(folder, |h5| replace(h5, &[20, 19]), &["g2_00004", "(N, N)", "(20, 19)"]);
    refused(folder, |h5| replace(h5, &[2, 20, 20]), &["g2_00004", "(2, 20, 20)"]);
    refused(folder, |h5| replace(h5, &[0, 0]), &["g2_00004", "(0, 0)"]);
    let integers = |h5: &hdf5::File| {
        h5.unlink(at).unwrap();
        h5.new_dataset::<i32>().shape((20, 20)).create(at).unwrap();
    };
    refused(folder, integers, &["g2_00004", "expected floating-point values", "int32"]);
    let number = |h5: &hdf5::File| {
        h5.unlink("xpcs/output_data").unwrap();
        h5.new_dataset::<f64>().create("xpcs/output_data").unwrap();
    };
    refused(folder, number, &["/xpcs/output_data", "expected text"]);
    // as many entries as no number can count
    let huge = |h5: &hdf5::File| {
        h5.unlink("xpcs/output_data").unwrap();
        let names = h5.new_dataset::<hdf5::types::VarLenUnicode>().chunk((1, 1024));
        names.shape((1 << 33, 1 << 31)).create("xpcs/output_data").unwrap();
    };
    refused(folder, huge, &["/xpcs/output_data", "it is damaged"]);
    let other = |h5: &hdf5::File| {
        h5.unlink("exchange/C2T_all").unwrap();
        h5.new_dataset::<f32>().shape((20, 20)).create("exchange/C2T_all/c2_00001").unwrap();
    };
    refused(folder, other, &["/exchange/C2T_all", "g2_00001", "found c2_00001"]);
}

#[test]
fn a_truncated_file_is_refused() {
    let Some(folder) = layouts() else { return };
    let (_folder, file) = copy(&folder.join("old.hdf"));
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    assert_data_error(Dataset::open(&file, &chosen()), &file, &["is truncated"]);
}
