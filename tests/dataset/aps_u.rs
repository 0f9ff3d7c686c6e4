//! The traps of the APS-U layout.

use super::support::{ApsU, assert_data_error, assert_values, open, put_matrix, scratch};

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

#[test]
fn foreign_units_are_refused() {
    let (_folder, file) = scratch("x.hdf");
    for (name, unit, expected) in [("dynamic_v_list_dim0", "nm⁻¹", "Å⁻¹"), ("dynamic_v_list_dim1", "rad", "degree")]
    {
        let h5 = ApsU::default().write(&file);
        let text: hdf5::types::VarLenUnicode = unit.parse().unwrap();
        let list = h5.dataset(&format!("xpcs/qmap/{name}")).unwrap();
        list.new_attr::<hdf5::types::VarLenUnicode>().create("unit").unwrap().write_scalar(&text).unwrap();
        drop((list, h5));
        assert_data_error(open(&file), &file, &[name, &format!("expected values in {expected}"), unit]);
    }
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
fn q_and_phi_must_be_finite() {
    let (_folder, file) = scratch("x.hdf");
    ApsU { q: vec![f64::NAN, 0.0054], ..ApsU::default() }.write(&file);
    assert_data_error(open(&file), &file, &["/xpcs/qmap/dynamic_v_list_dim0", "NaN", "index 0"]);
    ApsU { phi: vec![0.0, 45.0, f64::INFINITY], ..ApsU::default() }.write(&file);
    assert_data_error(open(&file), &file, &["/xpcs/qmap/dynamic_v_list_dim1", "inf", "index 2"]);
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
    replace(&|h5, path| drop(h5.new_dataset::<f32>().shape((1, 20, 20)).create(path).unwrap()));
    assert_data_error(open(&file), &file, &[&at, "(1, 20, 20)"]);
    replace(&|h5, path| drop(h5.new_dataset::<f32>().shape(400).create(path).unwrap()));
    assert_data_error(open(&file), &file, &[&at, "(400,)"]);
    replace(&|h5, path| drop(h5.new_dataset::<f32>().create(path).unwrap()));
    assert_data_error(open(&file), &file, &[&at, "a scalar"]);
    replace(&|h5, path| drop(h5.new_dataset::<f32>().shape((0, 0)).create(path).unwrap()));
    assert_data_error(open(&file), &file, &[&at, "(0, 0)"]);
    replace(&|h5, path| drop(h5.new_dataset::<i32>().shape((20, 20)).create(path).unwrap()));
    assert_data_error(open(&file), &file, &[&at, "expected float32 or float64", "int32"]);
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
    let h5 = ApsU::default().write(&file);
    h5.unlink("xpcs/twotime/processed_bins").unwrap();
    h5.new_dataset_builder().with_data(&[4.0, 5.0, 6.0]).create("xpcs/twotime/processed_bins").unwrap();
    drop(h5);
    assert_data_error(open(&file), &file, &["processed_bins", "expected integers", "float64"]);

    for (list, values) in [("dynamic_v_list_dim0", vec![1_i64, 2]), ("dynamic_v_list_dim1", vec![0, 45, 90])] {
        let h5 = ApsU::default().write(&file);
        let path = format!("xpcs/qmap/{list}");
        h5.unlink(&path).unwrap();
        h5.new_dataset_builder().with_data(&values).create(path.as_str()).unwrap();
        drop(h5);
        assert_data_error(open(&file), &file, &[list, "expected floating-point numbers", "int64"]);
    }

    let h5 = ApsU::default().write(&file);
    h5.unlink("xpcs/qmap/dynamic_v_list_dim0").unwrap();
    h5.new_dataset::<f64>().shape((2, 3)).create("xpcs/qmap/dynamic_v_list_dim0").unwrap();
    drop(h5);
    assert_data_error(open(&file), &file, &["dynamic_v_list_dim0", "expected a list", "(2, 3)"]);

    let h5 = ApsU::default().write(&file);
    h5.unlink("xpcs/twotime/processed_bins").unwrap();
    h5.new_dataset::<i64>().shape(0).create("xpcs/twotime/processed_bins").unwrap();
    drop(h5);
    assert_data_error(open(&file), &file, &["processed_bins", "expected a list", "(0,)"]);
}

#[test]
fn two_matrices_of_one_angle_are_fine() {
    let (_folder, file) = scratch("x.hdf");
    ApsU { bins: vec![4, 4, 6], ..ApsU::default() }.write(&file);
    assert_eq!(open(&file).unwrap().phi(), [0.0, 0.0, 90.0]);
}

#[test]
fn the_time_step_counts_stride_and_averaging() {
    let (_folder, file) = scratch("x.hdf");
    ApsU { stride_and_average: Some((2, 5)), ..ApsU::default() }.write(&file);
    let dataset = open(&file).unwrap();
    assert_eq!(dataset.dt, 0.1 * 2.0 * 5.0);
    assert!(dataset.dt_source.contains("frame_time 0.1 s × stride_frame 2 × avg_frame 5"));
}
