//! The traps of the APS-U layout.

use super::support::{ApsU, assert_data_error, assert_values, open, put_matrix, scratch};
use homodyne_mpi::dataset::{Dataset, Selection};

const MAP: &str = "/xpcs/twotime/correlation_map";

#[test]
fn bins_without_a_mapping_are_map_points() {
    let (_folder, file) = scratch("x.hdf");
    ApsU::default().write(&file);
    let dataset = open(&file).unwrap();
    assert_eq!((dataset.q, dataset.phi()), (0.0054, vec![0.0, 45.0, 90.0]));
    (0..3).for_each(|k| assert_values(&dataset, k, k));
}

#[test]
fn shuffled_bins_go_by_position_not_by_number() {
    let (_folder, file) = scratch("x.hdf");
    ApsU { bins: vec![6, 4, 5], ..ApsU::default() }.write(&file);
    let dataset = open(&file).unwrap();
    assert_eq!(dataset.phi(), [90.0, 0.0, 45.0]);
    assert_eq!(dataset.slots.iter().map(|s| s.bin).collect::<Vec<_>>(), [Some(6), Some(4), Some(5)]);
    (0..3).for_each(|k| assert_values(&dataset, k, k));
    assert!(dataset.notes.iter().any(|n| n.contains("not sorted")));
}

#[test]
fn the_mapping_skips_masked_bins() {
    let (_folder, file) = scratch("x.hdf");
    // points 1 and 3 of the 2 × 3 map are masked away: bin 3 is point 4
    ApsU { bins: vec![3, 4], mapping: Some(vec![0, 2, 4, 5]), ..ApsU::default() }.write(&file);
    let dataset = open(&file).unwrap();
    assert_eq!((dataset.q, dataset.phi()), (0.0054, vec![45.0, 90.0]));
    assert!(dataset.notes.iter().any(|n| n.contains("gives 2 of these 2 matrices another q or φ")));
    drop(dataset);
    // a mapping that masks nothing is no difference
    ApsU { mapping: Some((0..6).collect()), ..ApsU::default() }.write(&file);
    assert!(!open(&file).unwrap().notes.iter().any(|n| n.contains("Python")));
}

#[test]
fn integer_types_vary() {
    fn check<T: hdf5::H5Type>(convert: fn(u8) -> T) {
        let (_folder, file) = scratch("x.hdf");
        let h5 = ApsU { mapping: Some(vec![0; 6]), ..ApsU::default() }.write(&file);
        for (path, values) in
            [("xpcs/twotime/processed_bins", vec![6_u8, 4, 5]), ("xpcs/qmap/dynamic_index_mapping", (0..6).collect())]
        {
            h5.unlink(path).unwrap();
            let values: Vec<T> = values.into_iter().map(convert).collect();
            h5.new_dataset_builder().with_data(&values).create(path).unwrap();
        }
        drop(h5);
        assert_eq!(open(&file).unwrap().phi(), [90.0, 0.0, 45.0]);
    }
    check::<u8>(u8::from);
    check::<i16>(i16::from);
    check::<i32>(i32::from);
    check::<u64>(u64::from);
    check::<i64>(i64::from);
}

#[test]
fn bins_outside_the_map_are_named() {
    let (_folder, file) = scratch("x.hdf");
    for bin in [0, -1, 7, i64::MIN] {
        ApsU { bins: vec![4, bin], ..ApsU::default() }.write(&file);
        assert_data_error(open(&file), &file, &["/xpcs/twotime/processed_bins", &format!("bin {bin} "), "1 to 6"]);
    }
    ApsU { bins: vec![3], mapping: Some(vec![0, 2]), ..ApsU::default() }.write(&file);
    assert_data_error(open(&file), &file, &["bin 3 ", "1 to 2"]);
    ApsU { bins: vec![2], mapping: Some(vec![0, 6]), ..ApsU::default() }.write(&file);
    assert_data_error(open(&file), &file, &["dynamic_index_mapping", "bin 2 ", "point 6"]);
}

#[test]
fn names_of_the_map_must_be_q_and_phi() {
    let (_folder, file) = scratch("x.hdf");
    ApsU { names: Some(vec!["Q", "Phi"]), ..ApsU::default() }.write(&file);
    open(&file).unwrap();
    for names in [vec!["x", "y"], vec!["phi", "q"], vec!["q"], vec!["q", "phi", "t"]] {
        ApsU { names: Some(names.clone()), ..ApsU::default() }.write(&file);
        assert_data_error(open(&file), &file, &["/xpcs/qmap/map_names", &names.join(", ")]);
    }
}

#[test]
fn names_may_be_fixed_size_strings() {
    let (_folder, file) = scratch("x.hdf");
    let h5 = ApsU::default().write(&file);
    let names = ["q", "phi"].map(|n| hdf5::types::FixedAscii::<5>::from_ascii(n).unwrap());
    h5.new_dataset_builder().with_data(&names).create("xpcs/qmap/map_names").unwrap();
    drop(h5);
    open(&file).unwrap();
    let h5 = ApsU::default().write(&file);
    let names = ["q", "phi"].map(|n| n.parse::<hdf5::types::FixedUnicode<5>>().unwrap());
    h5.new_dataset_builder().with_data(&names).create("xpcs/qmap/map_names").unwrap();
    drop(h5);
    open(&file).unwrap();
    // or of free length without being Unicode
    let h5 = ApsU::default().write(&file);
    let names = ["q", "phi"].map(|n| hdf5::types::VarLenAscii::from_ascii(n).unwrap());
    h5.new_dataset_builder().with_data(&names).create("xpcs/qmap/map_names").unwrap();
    drop(h5);
    open(&file).unwrap();
}

fn name_unit(h5: &hdf5::File, path: &str, attribute: &str, unit: &str) {
    let text: hdf5::types::VarLenUnicode = unit.parse().unwrap();
    let place = h5.dataset(path).unwrap();
    place.new_attr::<hdf5::types::VarLenUnicode>().create(attribute).unwrap().write_scalar(&text).unwrap();
}

#[test]
fn units_are_read_wherever_they_are_named_and_changes_are_said() {
    let (_folder, file) = scratch("x.hdf");
    let per_nm = ApsU { q: vec![0.027, 0.054], phi: vec![0.0, 0.25, 0.5], ..ApsU::default() };
    for attribute in ["unit", "units", ""] {
        let h5 = per_nm.write(&file);
        if attribute.is_empty() {
            let units = ["nm⁻¹", "rad"].map(|unit| unit.parse::<hdf5::types::VarLenUnicode>().unwrap());
            h5.new_dataset_builder().with_data(&units).create("xpcs/qmap/map_units").unwrap();
        } else {
            name_unit(&h5, "xpcs/qmap/dynamic_v_list_dim0", attribute, "1/nm");
            name_unit(&h5, "xpcs/qmap/dynamic_v_list_dim1", attribute, "radians");
        }
        name_unit(&h5, "entry/instrument/detector_1/frame_time", "units", "ms");
        drop(h5);
        let dataset = Dataset::open(&file, &Selection { q: Some(0.0054), ..Selection::default() }).unwrap();
        assert!((dataset.q - 0.0054).abs() < 1e-15, "{}", dataset.q);
        assert!((dataset.phi()[1] - 0.25_f64.to_degrees()).abs() < 1e-12);
        assert!((dataset.dt - 1e-4).abs() < 1e-15, "{}", dataset.dt);
        for said in ["brought to Å⁻¹", "brought to degree", "is in ms"] {
            assert!(dataset.notes.iter().any(|note| note.contains(said)), "{said}: {:?}", dataset.notes);
        }
    }
    for (path, unit, expected) in [
        ("xpcs/qmap/dynamic_v_list_dim0", "pixel", "a unit of q"),
        ("xpcs/qmap/dynamic_v_list_dim1", "1/nm", "a unit of angle"),
    ] {
        let h5 = per_nm.write(&file);
        name_unit(&h5, path, "unit", unit);
        drop(h5);
        assert_data_error(open(&file), &file, &[path, expected, unit]);
    }
    // one of the time is asked for only where the configuration doesn't give the time
    let h5 = ApsU::default().write(&file);
    name_unit(&h5, "entry/instrument/detector_1/frame_time", "units", "fortnight");
    drop(h5);
    assert_data_error(
        Dataset::open(&file, &Selection { q: Some(0.0054), ..Selection::default() }),
        &file,
        &["frame_time", "a unit of time", "fortnight"],
    );
    let dataset = Dataset::open(&file, &Selection { q: Some(0.0054), dt: Some(0.1), ..Selection::default() }).unwrap();
    assert!(dataset.warnings.iter().any(|warning| warning.contains("fortnight")), "{:?}", dataset.warnings);
}

#[test]
fn numbers_may_be_of_any_type_and_lists_of_one_scalars() {
    let (_folder, file) = scratch("x.hdf");
    let plain = |change: &dyn Fn(&hdf5::File)| {
        let h5 = ApsU::default().write(&file);
        change(&h5);
        drop(h5);
        let dataset = open(&file).unwrap();
        assert_eq!((dataset.q, dataset.phi()), (0.0054, vec![0.0, 45.0, 90.0]));
        (0..3).for_each(|k| assert_values(&dataset, k, k));
    };
    const BINS: &str = "xpcs/twotime/processed_bins";
    const PHI: &str = "xpcs/qmap/dynamic_v_list_dim1";
    plain(&|h5| {
        h5.unlink(BINS).unwrap();
        h5.new_dataset_builder().with_data(&[4.0_f32, 5.0, 6.0]).create(BINS).unwrap();
    });
    plain(&|h5| {
        h5.unlink(PHI).unwrap();
        h5.new_dataset_builder().with_data(&[0_u16, 45, 90]).create(PHI).unwrap();
    });
    plain(&|h5| {
        h5.unlink(PHI).unwrap();
        let words = ["0", " 45.0", "9e1"].map(|word| word.parse::<hdf5::types::VarLenUnicode>().unwrap());
        h5.new_dataset_builder().with_data(&words).create(PHI).unwrap();
    });
    let one = ApsU { q: vec![0.0054], phi: vec![45.0], bins: vec![1], ..ApsU::default() };
    let h5 = one.write(&file);
    for (path, value) in [("xpcs/qmap/dynamic_v_list_dim0", 0.0054), (PHI, 45.0), (BINS, 1.0)] {
        h5.unlink(path).unwrap();
        h5.new_dataset::<f64>().create(path).unwrap().write_scalar(&value).unwrap();
    }
    drop(h5);
    assert_eq!(open(&file).unwrap().phi(), [45.0]);
}

#[test]
fn what_is_no_matrix_is_left_alone_and_named() {
    let (_folder, file) = scratch("x.hdf");
    let h5 = ApsU::default().write(&file);
    h5.new_dataset::<f32>().shape((7, 7)).create("xpcs/twotime/correlation_map/c2_mask").unwrap();
    drop(h5);
    let dataset = open(&file).unwrap();
    (0..3).for_each(|k| assert_values(&dataset, k, k));
    assert!(dataset.notes.iter().any(|n| n.contains("not matrices, left alone: c2_mask")), "{:?}", dataset.notes);
}

#[test]
fn a_map_shape_that_contradicts_the_lists_is_refused() {
    let (_folder, file) = scratch("x.hdf");
    let h5 = ApsU::default().write(&file);
    h5.new_dataset_builder().with_data(&[3_i64, 2]).create("xpcs/qmap/dynamic_num_pts").unwrap();
    drop(h5);
    assert_data_error(open(&file), &file, &["dynamic_num_pts", "3 × 2"]);
}

#[test]
fn q_and_phi_of_matrices_must_be_finite() {
    let (_folder, file) = scratch("x.hdf");
    ApsU { q: vec![0.0027, f64::NAN], ..ApsU::default() }.write(&file);
    assert_data_error(open(&file), &file, &["/xpcs/qmap/dynamic_v_list_dim0", "NaN", "bin 4"]);
    ApsU { phi: vec![0.0, 45.0, f64::INFINITY], ..ApsU::default() }.write(&file);
    assert_data_error(open(&file), &file, &["/xpcs/qmap/dynamic_v_list_dim1", "inf", "bin 6"]);
    // of bins without a matrix nobody asks
    ApsU { q: vec![f64::NAN, 0.0054], ..ApsU::default() }.write(&file);
    open(&file).unwrap();
    ApsU { q: vec![0.0027, 0.0], ..ApsU::default() }.write(&file);
    assert_data_error(open(&file), &file, &["/xpcs/qmap/dynamic_v_list_dim0", "bin 4", "positive"]);
}

#[test]
fn matrices_and_bins_must_be_as_many() {
    let (_folder, file) = scratch("x.hdf");
    let h5 = ApsU::default().write(&file);
    put_matrix(&h5, 3, 20, |_, _| 1.0);
    drop(h5);
    assert_data_error(open(&file), &file, &[&format!("{MAP}/c2_00004"), "3 bins", "4 matrices"]);

    let h5 = ApsU::default().write(&file);
    h5.unlink("xpcs/twotime/correlation_map/c2_00002").unwrap();
    drop(h5);
    assert_data_error(open(&file), &file, &[&format!("{MAP}/c2_00002"), "is missing", "3 bins", "2 matrices"]);

    let h5 = ApsU::default().write(&file);
    h5.link_hard("xpcs/twotime/correlation_map/c2_00002", "xpcs/twotime/correlation_map/c2_2").unwrap();
    drop(h5);
    assert_data_error(open(&file), &file, &["same number"]);
}

#[test]
fn matrices_must_be_square_float_and_of_one_size() {
    let (_folder, file) = scratch("x.hdf");
    let replace = |what: &dyn Fn(&hdf5::File, &str)| {
        let h5 = ApsU::default().write(&file);
        let path = "xpcs/twotime/correlation_map/c2_00002";
        h5.unlink(path).unwrap();
        what(&h5, path);
    };
    let at = format!("{MAP}/c2_00002");
    replace(&|h5, path| drop(h5.new_dataset::<f32>().shape((19, 19)).create(path).unwrap()));
    assert_data_error(open(&file), &file, &[&at, "expected 20 × 20", "c2_00001", "found 19 × 19"]);
    replace(&|h5, path| drop(h5.new_dataset::<f32>().shape((20, 19)).create(path).unwrap()));
    assert_data_error(open(&file), &file, &[&at, "expected the shape (N, N)", "(20, 19)"]);
    replace(&|h5, path| drop(h5.new_dataset::<f32>().shape((2, 20, 20)).create(path).unwrap()));
    assert_data_error(open(&file), &file, &[&at, "(2, 20, 20)"]);
    replace(&|h5, path| drop(h5.new_dataset::<f32>().shape(400).create(path).unwrap()));
    assert_data_error(open(&file), &file, &[&at, "(400,)"]);
    replace(&|h5, path| drop(h5.new_dataset::<f32>().create(path).unwrap()));
    assert_data_error(open(&file), &file, &[&at, "a scalar"]);
    replace(&|h5, path| drop(h5.new_dataset::<f32>().shape((0, 0)).create(path).unwrap()));
    assert_data_error(open(&file), &file, &[&at, "(0, 0)"]);
    replace(&|h5, path| drop(h5.new_dataset::<i32>().shape((20, 20)).create(path).unwrap()));
    assert_data_error(open(&file), &file, &[&at, "expected floating-point values", "int32"]);
    replace(&|h5, path| drop(h5.create_group(path).unwrap()));
    assert_data_error(open(&file), &file, &[&at, "cannot be opened as a dataset"]);
}

#[test]
fn missing_and_mistyped_metadata() {
    let (_folder, file) = scratch("x.hdf");
    for path in ["xpcs/twotime/processed_bins", "xpcs/qmap/dynamic_v_list_dim0", "xpcs/qmap/dynamic_v_list_dim1"] {
        let h5 = ApsU::default().write(&file);
        h5.unlink(path).unwrap();
        drop(h5);
        assert_data_error(open(&file), &file, &[&format!("/{path}"), "is missing"]);
    }
    for (values, found) in [(vec![4.0, 5.5, 6.0], "5.5 at index 1"), (vec![4.0, f64::NAN, 6.0], "NaN at index 1")] {
        let h5 = ApsU::default().write(&file);
        h5.unlink("xpcs/twotime/processed_bins").unwrap();
        h5.new_dataset_builder().with_data(&values).create("xpcs/twotime/processed_bins").unwrap();
        drop(h5);
        assert_data_error(open(&file), &file, &["processed_bins", "expected integers", found]);
    }

    let h5 = ApsU::default().write(&file);
    h5.unlink("xpcs/qmap/dynamic_v_list_dim0").unwrap();
    h5.new_dataset::<f64>().shape((2, 3)).create("xpcs/qmap/dynamic_v_list_dim0").unwrap();
    drop(h5);
    let never = "expected numbers, found none: it was never written";
    assert_data_error(open(&file), &file, &["dynamic_v_list_dim0", never]);
    let h5 = hdf5::File::open_rw(&file).unwrap();
    h5.dataset("xpcs/qmap/dynamic_v_list_dim0").unwrap().write(&ndarray::Array2::<f64>::ones((2, 3))).unwrap();
    drop(h5);
    assert_data_error(open(&file), &file, &["dynamic_v_list_dim0", "expected a list", "(2, 3)"]);

    let h5 = ApsU::default().write(&file);
    h5.unlink("xpcs/twotime/processed_bins").unwrap();
    h5.new_dataset::<i64>().shape(0).create("xpcs/twotime/processed_bins").unwrap();
    drop(h5);
    assert_data_error(open(&file), &file, &["processed_bins", "expected a list", "empty"]);
}

#[test]
fn two_matrices_of_one_angle_are_fine() {
    let (_folder, file) = scratch("x.hdf");
    ApsU { bins: vec![4, 4, 6], ..ApsU::default() }.write(&file);
    let dataset = open(&file).unwrap();
    assert_eq!(dataset.phi(), [0.0, 0.0, 90.0]);
    // but it is said, as a list may hold a bin twice by mistake
    let warning = "c2_00001 and /xpcs/twotime/correlation_map/c2_00002 are both of q = 0.0054 Å⁻¹ and φ = 0°";
    assert!(dataset.warnings.iter().any(|said| said.contains(warning)), "{:?}", dataset.warnings);
}

#[test]
fn the_time_step_counts_stride_and_averaging() {
    let (_folder, file) = scratch("x.hdf");
    ApsU { stride_and_average: Some((2, 5)), ..ApsU::default() }.write(&file);
    let dataset = open(&file).unwrap();
    assert_eq!(dataset.dt, 0.1 * 2.0 * 5.0);
    assert!(dataset.dt_source.contains("frame_time 0.1 s × stride_frame 2 × avg_frame 5"));
}
