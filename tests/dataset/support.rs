//! Files made for a test.

use std::path::{Path, PathBuf};

use hdf5::types::VarLenUnicode;
use homodyne_mpi::Error;
use homodyne_mpi::dataset::{Dataset, Selection, TwoTime};
use tempfile::TempDir;

/// A file of the repository's test data.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// A folder that goes away with the test, and a file name in it.
pub fn scratch(name: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    (folder, file)
}

/// c2 of pair (i, j), different for every slot and pair.
pub fn value(slot: usize, i: usize, j: usize) -> f32 {
    1.0 + 0.1 * slot as f32 + 0.001 * i.min(j) as f32 + 0.00001 * i.max(j) as f32
}

/// An APS-U file: two q rings, three angles, bins 4, 5, 6 (the second ring) of 20 frames, upper halves.
#[derive(Clone)]
pub struct ApsU {
    pub n: usize,
    pub bins: Vec<i64>,
    pub q: Vec<f64>,
    pub phi: Vec<f64>,
    pub mapping: Option<Vec<i64>>,
    pub names: Option<Vec<&'static str>>,
    pub frame_time: Option<f64>,
    pub stride_and_average: Option<(i64, i64)>,
}

impl Default for ApsU {
    fn default() -> Self {
        Self {
            n: 20,
            bins: vec![4, 5, 6],
            q: vec![0.0027, 0.0054],
            phi: vec![0.0, 45.0, 90.0],
            mapping: None,
            names: None,
            frame_time: Some(0.1),
            stride_and_average: None,
        }
    }
}

impl ApsU {
    /// Writes the file; it can be changed afterwards through the handle.
    pub fn write(&self, file: &Path) -> hdf5::File {
        self.write_with(file, |slot, i, j| if i <= j { value(slot, i, j) } else { 0.0 })
    }

    /// The same with values of the test's own.
    pub fn write_with(&self, file: &Path, c2: impl Fn(usize, usize, usize) -> f32) -> hdf5::File {
        let h5 = hdf5::File::create(file).unwrap();
        let put_f64 = |path: &str, v: &[f64]| drop(h5.new_dataset_builder().with_data(v).create(path).unwrap());
        let put_i64 = |path: &str, v: &[i64]| drop(h5.new_dataset_builder().with_data(v).create(path).unwrap());
        put_f64("xpcs/qmap/dynamic_v_list_dim0", &self.q);
        put_f64("xpcs/qmap/dynamic_v_list_dim1", &self.phi);
        put_i64("xpcs/twotime/processed_bins", &self.bins);
        if let Some(mapping) = &self.mapping {
            put_i64("xpcs/qmap/dynamic_index_mapping", mapping);
        }
        if let Some(names) = &self.names {
            let names: Vec<VarLenUnicode> = names.iter().map(|n| n.parse().unwrap()).collect();
            h5.new_dataset_builder().with_data(&names).create("xpcs/qmap/map_names").unwrap();
        }
        let scalar = |path: &str, v: f64| h5.new_dataset::<f64>().create(path).unwrap().write_scalar(&v).unwrap();
        if let Some(t) = self.frame_time {
            scalar("entry/instrument/detector_1/frame_time", t);
        }
        if let Some((stride, average)) = self.stride_and_average {
            scalar("xpcs/twotime/config/stride_frame", stride as f64);
            scalar("xpcs/twotime/config/avg_frame", average as f64);
        }
        for slot in 0..self.bins.len() {
            put_matrix(&h5, slot, self.n, |i, j| c2(slot, i, j));
        }
        h5
    }
}

/// Adds one float32 matrix to an APS-U file.
pub fn put_matrix(h5: &hdf5::File, slot: usize, n: usize, c2: impl Fn(usize, usize) -> f32) {
    let matrix = ndarray::Array2::from_shape_fn((n, n), |(i, j)| c2(i, j));
    let path = format!("xpcs/twotime/correlation_map/c2_{:05}", slot + 1);
    h5.new_dataset_builder().with_data(&matrix).create(path.as_str()).unwrap();
}

/// Opens with the default selection.
pub fn open(file: &Path) -> homodyne_mpi::Result<Dataset> {
    Dataset::open(file, &Selection::default())
}

/// Reads matrix k into a new buffer.
pub fn read(dataset: &Dataset, k: usize) -> TwoTime {
    let mut m = TwoTime::default();
    dataset.read(k, &mut m).unwrap();
    m
}

/// Asserts that every selected pair of matrix k is `value` of that slot.
pub fn assert_values(dataset: &Dataset, k: usize, slot: usize) {
    let m = read(dataset, k);
    assert_eq!(m.n_frames(), dataset.n_frames);
    let first = dataset.first_frame;
    for i in 0..m.n_frames() {
        for j in i + 1..m.n_frames() {
            assert_eq!(m.at(i, j), value(slot, first + i, first + j), "matrix {k}, pair ({i}, {j})");
        }
    }
}

/// Asserts that an input error (exit code 3) of one line says all of `parts`, the file's name among them.
#[track_caller]
pub fn assert_data_error<T: std::fmt::Debug>(result: homodyne_mpi::Result<T>, file: &Path, parts: &[&str]) {
    let error = result.unwrap_err();
    let text = error.to_string();
    assert_eq!(error.exit_code(), 3, "{text}");
    assert!(matches!(error, Error::Data { .. }));
    assert!(!text.contains('\n'), "more than one line: {text}");
    assert!(text.contains(file.to_str().unwrap()), "doesn't name the file: {text}");
    for part in parts {
        assert!(text.contains(part), "doesn't say {part:?}: {text}");
    }
}
