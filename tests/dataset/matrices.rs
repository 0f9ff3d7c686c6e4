//! Reading matrices as they come: halves, compression, types, dead frames.

use homodyne_mpi::dataset::{DataFilter, Dataset, Selection, TwoTime};
use ndarray::Array2;

use super::support::{ApsU, assert_data_error, assert_values, open, scratch, value};

#[test]
fn halves_and_full_matrices_give_the_same_pairs() {
    let (_folder, file) = scratch("x.hdf");
    let cases =
        [("upper", (|i, j| i <= j) as fn(usize, usize) -> bool), ("lower", |i, j| i >= j), ("full", |_, _| true)];
    for (name, keep) in cases {
        ApsU::default().write_with(&file, |s, i, j| if keep(i, j) { value(s, i, j) } else { 0.0 });
        for selection in
            [Selection::default(), Selection { start_frame: 3, end_frame: Some(15), ..Selection::default() }]
        {
            let dataset = Dataset::open(&file, &selection).unwrap();
            let mut m = TwoTime::default();
            let report = dataset.read(1, &mut m).unwrap();
            assert_eq!((report.triangle, report.n_missing), (name, 0));
            (0..3).for_each(|k| assert_values(&dataset, k, k));
        }
    }
}

#[test]
fn an_asymmetric_matrix_is_refused_by_entry() {
    let (_folder, file) = scratch("x.hdf");
    ApsU::default().write_with(&file, |s, i, j| value(s, i, j) + if (i, j) == (9, 4) { 1e-4 } else { 0.0 });
    let dataset = Dataset::open(&file, &Selection { start_frame: 2, ..Selection::default() }).unwrap();
    let result = dataset.read(0, &mut TwoTime::default());
    assert_data_error(result, &file, &["correlation_map/c2_00001", "c2[4, 9]", "c2[9, 4]"]);
}

#[test]
fn dead_frames_of_the_selection_are_missing() {
    let (_folder, file) = scratch("x.hdf");
    let dead = |f: usize| f == 6 || f == 7;
    ApsU::default().write_with(&file, |s, i, j| if i > j || dead(i) || dead(j) { 0.0 } else { value(s, i, j) });
    let dataset = Dataset::open(&file, &Selection { start_frame: 5, ..Selection::default() }).unwrap();
    let mut m = TwoTime::default();
    let report = dataset.read(0, &mut m).unwrap();
    assert_eq!(report.dead_frames, [2, 3]);
    // 15 fitted frames (frame 0 left out), 13 of them alive
    assert_eq!(report.n_missing, 15 * 14 / 2 - 13 * 12 / 2);
    assert!(m.at(1, 2).is_nan() && m.at(3, 9).is_nan() && m.at(1, 4).is_finite());
    // one that the configuration leaves out anyway isn't named
    let filter = DataFilter { frames: vec![(7, 7)], ..DataFilter::default() };
    let dataset = Dataset::open(&file, &Selection { start_frame: 5, filter, ..Selection::default() }).unwrap();
    assert_eq!(dataset.read(0, &mut m).unwrap().dead_frames, [3]);
}

#[test]
fn a_matrix_without_a_finite_value_is_refused() {
    let (_folder, file) = scratch("x.hdf");
    for nothing in [f32::NAN, 0.0, f32::INFINITY] {
        ApsU::default().write_with(&file, |s, i, j| if s == 1 { nothing } else { value(s, i, j) });
        let dataset = open(&file).unwrap();
        dataset.read(0, &mut TwoTime::default()).unwrap();
        let result = dataset.read(1, &mut TwoTime::default());
        assert_data_error(result, &file, &["correlation_map/c2_00002", "no finite value"]);
    }
}

#[test]
fn one_buffer_serves_matrices_of_any_kind() {
    let (_folder, file) = scratch("x.hdf");
    ApsU::default().write(&file);
    let all = open(&file).unwrap();
    let some = Dataset::open(&file, &Selection { start_frame: 11, ..Selection::default() }).unwrap();
    let mut m = TwoTime::default();
    for _ in 0..2 {
        for (dataset, first) in [(&all, 0), (&some, 10)] {
            dataset.read(2, &mut m).unwrap();
            assert_eq!(m.n_frames(), 20 - first);
            assert_eq!(m.at(1, 5), value(2, first + 1, first + 5));
            assert_eq!(m.row_after(2).len(), 20 - first - 3);
        }
    }
}

/// Replaces the first matrix by one built by the test.
fn rebuild<T: hdf5::H5Type>(
    h5: &hdf5::File,
    matrix: &Array2<T>,
    with: impl Fn(hdf5::DatasetBuilder) -> hdf5::DatasetBuilder,
) -> hdf5::Dataset {
    let path = "xpcs/twotime/correlation_map/c2_00001";
    h5.unlink(path).unwrap();
    with(h5.new_dataset_builder()).with_data(matrix).create(path).unwrap()
}

#[test]
fn types_and_filters_vary() {
    let (_folder, file) = scratch("x.hdf");
    let upper = |i: usize, j: usize| if i <= j { value(0, i, j) } else { 0.0 };
    let f32s = Array2::from_shape_fn((20, 20), |(i, j)| upper(i, j));
    let f64s = f32s.mapv(f64::from);
    let check = |change: &dyn Fn(&hdf5::File)| {
        let h5 = ApsU::default().write(&file);
        change(&h5);
        drop(h5);
        assert_values(&open(&file).unwrap(), 0, 0);
        let part = Selection { start_frame: 4, end_frame: Some(17), ..Selection::default() };
        assert_values(&Dataset::open(&file, &part).unwrap(), 0, 0);
    };
    check(&|h5| drop(rebuild(h5, &f64s, |b| b)));
    check(&|h5| drop(rebuild(h5, &f32s, |b| b.chunk((20, 20)).lzf())));
    check(&|h5| drop(rebuild(h5, &f64s, |b| b.chunk((7, 9)).shuffle().deflate(4))));
    check(&|h5| drop(rebuild(h5, &f32s, |b| b.chunk((20, 20)).shuffle().lzf())));
    check(&|h5| drop(rebuild(h5, &f32s, |b| b.chunk((5, 20)).blosc_lz4(5, true))));
}

#[test]
fn a_chunk_that_did_not_compress_is_stored_raw_and_read_all_the_same() {
    let (_folder, file) = scratch("x.hdf");
    let n = 100;
    let shape = ApsU { n, ..ApsU::default() };
    let h5 = shape.write(&file);
    // noise in all bits, and NaN with noise in the unused half, where a mirror image would repeat: nothing to save
    let noise = |i: usize, j: usize| {
        let mixed =
            (i * n + j + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let bits = (mixed >> 32) as u32;
        f32::from_bits(if i <= j { bits & 0x3fff_ffff } else { bits | 0x7fc0_0000 })
    };
    let matrix = Array2::from_shape_fn((n, n), |(i, j)| noise(i, j));
    let dataset = rebuild(&h5, &matrix, |b| b.chunk((n, n)).lzf());
    h5.flush().unwrap();
    assert_eq!(dataset.chunk_info(0).unwrap().filter_mask & 1, 1, "the chunk did compress");
    drop((dataset, h5));
    let dataset = open(&file).unwrap();
    let mut m = TwoTime::default();
    assert_eq!(dataset.read(0, &mut m).unwrap().triangle, "upper");
    assert!((0..n).all(|i| (i + 1..n).all(|j| m.at(i, j) == noise(i, j))));
}
