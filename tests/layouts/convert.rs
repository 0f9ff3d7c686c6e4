//! `convert`: what is in the new file, and what is refused.

use std::path::Path;

use homodyne_mpi::commands::convert;
use homodyne_mpi::commands::convert::Conversion;
use homodyne_mpi::dataset::{Dataset, Layout, Selection, TwoTime, WriteSpec, write_file};
use homodyne_mpi::{Error, Result};

use super::support::{assert_data_error, assert_values, chosen, shown, value};
use crate::python::layouts;

/// A conversion to the native layout.
fn native<'a>(input: &'a Path, output: &'a Path, selection: &'a Selection) -> Conversion<'a> {
    Conversion {
        input,
        output,
        config: None,
        layout: Layout::Native,
        selection,
        gap: None,
        gzip: None,
        force: false,
        memory_limit_gb: None,
    }
}

/// What converting says.
fn said(conversion: &Conversion) -> Result<String> {
    let mut out = Vec::new();
    convert(conversion, &mut out).map(|()| String::from_utf8(out).unwrap())
}

#[test]
fn a_cut_cache_stays_the_part_of_the_measurement_that_it_was() {
    let Some(folder) = layouts() else { return };
    let there = tempfile::tempdir().unwrap();
    let (input, output) = (folder.join("cache.npz"), there.path().join("x.h5"));
    let said = said(&native(&input, &output, &chosen())).unwrap();
    for part in ["wrote ", "3 angles × 12 frames, native layout", "rounded once, to float32", "one ring at 0.0054"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // frames are those of the measurement, as with the cache
    let selection = Selection { start_frame: 10, end_frame: Some(21), ..chosen() };
    let (cache, ours) = (Dataset::open(&input, &selection).unwrap(), Dataset::open(&output, &selection).unwrap());
    assert_eq!((ours.q, ours.dt, ours.phi()), (cache.q, cache.dt, cache.phi()));
    assert_eq!((ours.frames_before, ours.first_frame, ours.n_frames), (9, 0, 12));
    assert_eq!((cache.frames_before, cache.first_frame, cache.n_frames), (9, 0, 12));
    (0..3).for_each(|k| assert_values(&ours, k, k));
    let other = Selection { start_frame: 1, end_frame: Some(12), ..chosen() };
    assert_data_error(Dataset::open(&output, &other), &output, &["already cut to frames 10 to 21"]);
    // and again so after another conversion
    let again = there.path().join("y.h5");
    convert(&native(&output, &again, &chosen()), &mut std::io::sink()).unwrap();
    assert_eq!(Dataset::open(&again, &selection).unwrap().frames_before, 9);
}

#[test]
fn the_selection_is_what_a_fit_would_take() {
    let Some(folder) = layouts() else { return };
    let there = tempfile::tempdir().unwrap();
    let output = there.path().join("x.h5");
    let input = folder.join("old_lower_f32.hdf");
    let selection = Selection {
        q_tolerance: 0.001,
        start_frame: 5,
        end_frame: Some(16),
        phi_ranges: Some(vec![(-10.0, 60.0)]),
        ..chosen()
    };
    for (layout, gzip, triangle) in [(Layout::Native, Some(6), "full"), (Layout::ApsU, None, "upper")] {
        let conversion =
            Conversion { layout, gzip, gap: Some(1e6), force: true, ..native(&input, &output, &selection) };
        let said = said(&conversion).unwrap();
        let is_cut = layout == Layout::ApsU;
        assert_eq!(said.contains("frame 1 of the new file is frame 5 of the measurement"), is_cut, "{said}");
        assert_eq!(said.contains("the gap of the shear cell isn't in the new file"), is_cut, "{said}");
        let found = Dataset::open(&output, &Selection { q: Some(0.0054), ..Selection::default() }).unwrap();
        assert_eq!((found.layout, found.n_frames, found.phi()), (layout, 12, vec![45.0]));
        assert_eq!((found.dt, found.gap), (0.1, (!is_cut).then_some(1e6)));
        let mut m = TwoTime::default();
        assert_eq!(found.read(0, &mut m).unwrap().triangle, triangle);
        for i in 0..12 {
            for j in i + 1..12 {
                assert_eq!(m.at(i, j), value(4, i + 4, j + 4));
            }
        }
    }
}

#[test]
fn compression_is_of_whole_row_blocks() {
    let Some(folder) = layouts() else { return };
    let there = tempfile::tempdir().unwrap();
    let (plain, packed) = (there.path().join("plain.h5"), there.path().join("packed.h5"));
    let input = folder.join("lam_cache.npz");
    let selection = chosen();
    convert(&native(&input, &plain, &selection), &mut std::io::sink()).unwrap();
    convert(&Conversion { gzip: Some(4), ..native(&input, &packed, &selection) }, &mut std::io::sink()).unwrap();
    let c2 = |file: &Path| hdf5::File::open(file).unwrap().dataset("c2").unwrap();
    assert!(c2(&plain).filters().is_empty() && c2(&packed).filters().len() == 2);
    assert_eq!(c2(&plain).chunk(), Some(vec![1, 100, 100]));
    assert!(c2(&packed).storage_size() < c2(&plain).storage_size());
    assert_eq!(c2(&plain).read_raw::<f32>().unwrap(), c2(&packed).read_raw::<f32>().unwrap());
}

#[test]
fn dead_frames_stay_dead() {
    let Some(folder) = layouts() else { return };
    let there = tempfile::tempdir().unwrap();
    let (input, selection) = (folder.join("old_dead.hdf"), Selection { q_tolerance: 0.001, ..chosen() });
    for layout in [Layout::Native, Layout::ApsU] {
        let output = there.path().join(layout.name());
        let said = said(&Conversion { layout, ..native(&input, &output, &selection) }).unwrap();
        assert!(said.contains("18 pairs have no value"), "{said}");
        let dataset = Dataset::open(&output, &chosen()).unwrap();
        let report = dataset.read(0, &mut TwoTime::default()).unwrap();
        assert_eq!((report.dead_frames, report.n_missing), (vec![7], 18));
    }
}

#[test]
fn sigma_goes_along_with_its_matrices() {
    let there = tempfile::tempdir().unwrap();
    let [input, output, cut] = ["a.h5", "b.h5", "c.h5"].map(|name| there.path().join(name));
    let spec = WriteSpec {
        layout: Layout::Native,
        q: 0.0054,
        dt: f64::NAN,
        gap: None,
        sigma: Some(&[0.01, 0.02, 0.03]),
        phi: &[0.0, 45.0, 90.0],
        n_frames: 9,
        first_frame: 1,
        gzip: 0,
    };
    write_file(&input, &spec, |slot, m| (0..81).for_each(|at| m[at] = value(slot, at / 9, at % 9))).unwrap();
    let some = Selection { phi_ranges: Some(vec![(40.0, 100.0)]), ..Selection::default() };
    let said_native = said(&native(&input, &output, &some)).unwrap();
    assert!(said_native.contains("doesn't say the time between frames"), "{said_native}");
    let sigma = hdf5::File::open(&output).unwrap().dataset("sigma").unwrap().read_raw::<f64>().unwrap();
    assert_eq!(sigma, [0.02, 0.03]);
    assert!(shown(&output).contains("not in the file; a fit needs analyzer_parameters.dt"));
    let aps_u = Conversion { layout: Layout::ApsU, ..native(&input, &cut, &some) };
    let said_aps_u = said(&aps_u).unwrap();
    assert!(said_aps_u.contains("! σ isn't in the new file"), "{said_aps_u}");
}

/// Asserts an error of the command line that says all of `parts`.
#[track_caller]
fn assert_refused(conversion: &Conversion, parts: &[&str]) {
    let error = said(conversion).unwrap_err();
    assert!(matches!(error, Error::Usage(_)), "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
}

#[test]
fn nothing_is_lost_by_mistake() {
    let Some(folder) = layouts() else { return };
    let there = tempfile::tempdir().unwrap();
    let input = there.path().join("in.hdf");
    std::fs::copy(folder.join("old.hdf"), &input).unwrap();
    let before = std::fs::read(&input).unwrap();
    let (output, link) = (there.path().join("out.h5"), there.path().join("link.hdf"));
    std::os::unix::fs::symlink(&input, &link).unwrap();
    let (all, one) = (Selection::default(), chosen());
    for same in [&input, &link] {
        assert_refused(&Conversion { force: true, ..native(&input, same, &one) }, &["is the input itself"]);
    }
    assert_refused(&native(&input, &output, &all), &["several q: 0.0027, 0.0053, 0.0054", "--q"]);
    let packed = Conversion { layout: Layout::ApsU, gzip: Some(4), ..native(&input, &output, &one) };
    assert_refused(&packed, &["--compress is for the native layout"]);
    std::fs::write(&output, "mine").unwrap();
    assert_refused(&native(&input, &output, &one), &["is there already; --force replaces it"]);
    // what can't be read leaves what was there
    for name in ["bad_asymmetric.npz", "bad_zeros.npz"] {
        let bad = folder.join(name);
        let failed = said(&Conversion { force: true, ..native(&bad, &output, &one) });
        assert_data_error(failed, &bad, &["c2_exp["]);
    }
    assert_eq!(std::fs::read(&output).unwrap(), b"mine");
    assert_eq!(std::fs::read(&input).unwrap(), before);
    assert_eq!(std::fs::read_dir(there.path()).unwrap().count(), 3);
    said(&Conversion { force: true, ..native(&input, &output, &one) }).unwrap();
    assert_eq!(Dataset::open(&output, &one).unwrap().layout, Layout::Native);
}
