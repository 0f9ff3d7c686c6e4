//! Files that aren't what they should be as a whole.

use homodyne_mpi::dataset::{Dataset, Layout, Selection};

use super::support::{ApsU, assert_data_error, data, open, scratch};

#[test]
fn a_missing_file() {
    let (_folder, file) = scratch("no.hdf");
    assert_data_error(open(&file), &file, &["no such file"]);
}

#[test]
fn a_folder() {
    let (folder, _) = scratch("");
    assert_data_error(open(folder.path()), folder.path(), &["is a folder"]);
}

#[test]
fn an_empty_file_and_one_that_is_not_hdf5() {
    let (_folder, file) = scratch("x.hdf");
    std::fs::write(&file, b"").unwrap();
    assert_data_error(open(&file), &file, &["is empty"]);
    std::fs::write(&file, b"something else, but long enough to be one").unwrap();
    assert_data_error(open(&file), &file, &["not an HDF5 or NPZ file"]);
    std::fs::write(&file, b"PK\x03\x04 something else, but long enough to be one").unwrap();
    assert_data_error(open(&file), &file, &["begins as a zip file", "truncated or damaged"]);
}

#[test]
fn a_truncated_file() {
    let (_folder, file) = scratch("x.hdf");
    let bytes = std::fs::read(data("aps_u_boost_corr.hdf")).unwrap();
    for kept in [bytes.len() / 2, bytes.len() - 1, 3000] {
        std::fs::write(&file, &bytes[..kept]).unwrap();
        assert_data_error(open(&file), &file, &["is truncated"]);
    }
}

#[test]
fn a_damaged_superblock() {
    let (_folder, file) = scratch("x.hdf");
    let bytes = std::fs::read(data("aps_u_boost_corr.hdf")).unwrap();
    // the version, the size of addresses, the size of lengths; then only the signature left
    for at in [8, 13, 14] {
        let mut bad = bytes.clone();
        bad[at] = 0xff;
        std::fs::write(&file, &bad).unwrap();
        assert_data_error(open(&file), &file, &["is damaged", "superblock"]);
    }
    std::fs::write(&file, &bytes[..8]).unwrap();
    assert!(open(&file).is_err());
    let mut bad = bytes.clone();
    bad[8..96].fill(0xff);
    std::fs::write(&file, &bad).unwrap();
    assert_data_error(open(&file), &file, &["is damaged"]);
}

#[test]
fn damage_inside_is_an_error_and_never_a_crash() {
    let (_folder, file) = scratch("x.hdf");
    let bytes = std::fs::read(data("lam_3x100_apsu.hdf")).unwrap();
    let selection = Selection { q: Some(0.0054), dt: Some(0.1), ..Selection::default() };
    for start in (96..8000).step_by(400) {
        let mut bad = bytes.clone();
        bad[start..start + 200].fill(0xa5);
        std::fs::write(&file, &bad).unwrap();
        if let Err(error) = Dataset::open(&file, &selection) {
            assert_eq!(error.exit_code(), 3, "{error}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
    }
}

#[test]
fn damage_in_a_compressed_matrix_names_it() {
    let (_folder, file) = scratch("x.hdf");
    let original = data("aps_u_boost_corr.hdf");
    let mut bytes = std::fs::read(&original).unwrap();
    let c2 = hdf5::File::open(&original).unwrap().dataset("xpcs/twotime/correlation_map/c2_00002").unwrap();
    let chunk = c2.chunk_info(0).unwrap();
    bytes[chunk.addr as usize..][..chunk.size as usize].fill(0xff);
    let selection = Selection { q: Some(0.0026), ..Selection::default() };
    std::fs::write(&file, &bytes).unwrap();
    let dataset = Dataset::open(&file, &selection).unwrap();
    let mut m = homodyne_mpi::dataset::TwoTime::default();
    let result = dataset.read(1, &mut m);
    assert_data_error(result, &file, &["/xpcs/twotime/correlation_map/c2_00002", "cannot be read"]);
}

#[test]
fn an_unknown_layout_lists_what_is_there() {
    let (_folder, file) = scratch("x.hdf");
    let h5 = hdf5::File::create(&file).unwrap();
    h5.create_group("measurement").unwrap();
    h5.create_group("exchange").unwrap();
    drop(h5);
    let parts = ["APS-U (/xpcs/twotime/correlation_map)", "native (/c2)", "exchange, measurement"];
    assert_data_error(open(&file), &file, &parts);
}

#[test]
fn a_layout_asked_for_must_be_there_and_settles_ambiguity() {
    let (_folder, file) = scratch("x.hdf");
    let h5 = ApsU::default().write(&file);
    drop(h5);
    let native = Selection { layout: Some(Layout::Native), ..Selection::default() };
    assert_data_error(Dataset::open(&file, &native), &file, &["native layout", "/c2", "entry, xpcs"]);

    let h5 = hdf5::File::open_rw(&file).unwrap();
    h5.new_dataset::<f32>().shape((1, 4, 4)).create("c2").unwrap();
    drop(h5);
    assert_data_error(open(&file), &file, &["APS-U", "native", "experimental_data.file_format"]);
    let aps_u = Selection { layout: Some(Layout::ApsU), ..Selection::default() };
    assert!(Dataset::open(&file, &aps_u).is_ok());
}
