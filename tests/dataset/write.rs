//! Files written are read back, and nothing is left where writing failed.

use homodyne_mpi::dataset::{Layout, WriteSpec, write_file};

use super::support::{assert_values, open, read, scratch, value};

const PHI: [f64; 3] = [-148.6, 0.0, 90.1];

fn spec(layout: Layout, n_frames: usize) -> WriteSpec<'static> {
    let (gap, sigma, first_frame, gzip) = (Some(2e6), None, 1, 0);
    WriteSpec { layout, q: 0.0054, dt: 0.1, gap, sigma, phi: &PHI, n_frames, first_frame, gzip }
}

fn fill(n: usize) -> impl FnMut(usize, &mut [f32]) {
    move |angle, matrix| {
        assert!(matrix.len() == n * n && matrix.iter().all(|&v| v == 0.0));
        (0..n).for_each(|i| (i..n).for_each(|j| matrix[i * n + j] = value(angle, i, j)));
    }
}

#[test]
fn both_layouts_are_read_back() {
    let (_folder, file) = scratch("x.hdf");
    // below and above the size from which boost_corr compresses
    for n in [20, 100] {
        for (layout, triangle) in [(Layout::ApsU, "upper"), (Layout::Native, "full")] {
            write_file(&file, &spec(layout, n), fill(n)).unwrap();
            let dataset = open(&file).unwrap();
            assert_eq!((dataset.layout, dataset.q, dataset.dt, dataset.n_frames), (layout, 0.0054, 0.1, n));
            assert_eq!(dataset.phi(), PHI);
            assert!(dataset.warnings.is_empty());
            (0..3).for_each(|k| assert_values(&dataset, k, k));
            let mut m = read(&dataset, 0);
            assert_eq!(dataset.read(0, &mut m).unwrap().triangle, triangle);
        }
    }
}

#[test]
fn aps_u_is_laid_out_as_the_correlator_does() {
    let (_folder, file) = scratch("x.hdf");
    write_file(&file, &spec(Layout::ApsU, 100), fill(100)).unwrap();
    let ours = hdf5::File::open(&file).unwrap();
    let theirs = hdf5::File::open(super::support::data("aps_u_boost_corr.hdf")).unwrap();
    for path in [
        "entry/instrument/detector_1/frame_time",
        "xpcs/qmap/dynamic_num_pts",
        "xpcs/qmap/dynamic_v_list_dim0",
        "xpcs/qmap/dynamic_v_list_dim1",
        "xpcs/qmap/map_names",
        "xpcs/qmap/map_units",
        "xpcs/twotime/processed_bins",
        "xpcs/twotime/config/stride_frame",
        "xpcs/twotime/config/avg_frame",
        "xpcs/twotime/correlation_map/c2_00001",
    ] {
        let (a, b) = (ours.dataset(path).unwrap(), theirs.dataset(path).unwrap());
        assert_eq!(a.dtype().unwrap().to_descriptor().unwrap(), b.dtype().unwrap().to_descriptor().unwrap(), "{path}");
        assert_eq!(a.ndim(), b.ndim(), "{path}");
        assert_eq!(a.is_chunked(), b.is_chunked(), "{path}");
    }
    let c2 = ours.dataset("xpcs/twotime/correlation_map/c2_00003").unwrap();
    assert_eq!(c2.chunk(), Some(vec![100, 100]));
    assert!(c2.filters().iter().any(|f| f.id() == 32000));
    let stored: Vec<f32> = c2.read_raw().unwrap();
    assert_eq!((stored[3 * 100 + 7], stored[7 * 100 + 3]), (value(2, 3, 7), 0.0));
}

#[test]
fn other_users_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, file) = scratch("x.hdf");
    write_file(&file, &spec(Layout::Native, 8), fill(8)).unwrap();
    let plain = folder.path().join("plain");
    std::fs::write(&plain, b"").unwrap();
    let mode = |p: &std::path::Path| std::fs::metadata(p).unwrap().permissions().mode();
    assert_eq!(mode(&file), mode(&plain));
}

#[test]
fn a_folder_that_cannot_be_written_is_an_io_error() {
    let (folder, _) = scratch("");
    let file = folder.path().join("nowhere/x.hdf");
    let error = write_file(&file, &spec(Layout::ApsU, 8), fill(8)).unwrap_err();
    assert_eq!(error.exit_code(), 5);
    assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
    // a folder in the way of the final name: the temporary file goes too
    let taken = folder.path().join("taken");
    std::fs::create_dir(&taken).unwrap();
    assert_eq!(write_file(&taken, &spec(Layout::ApsU, 8), fill(8)).unwrap_err().exit_code(), 5);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn an_older_file_is_replaced_whole() {
    let (folder, file) = scratch("x.hdf");
    write_file(&file, &spec(Layout::Native, 30), fill(30)).unwrap();
    write_file(&file, &spec(Layout::ApsU, 8), fill(8)).unwrap();
    assert_eq!(open(&file).unwrap().n_frames, 8);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
