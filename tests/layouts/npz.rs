//! The traps of the Python package's caches.

use std::path::Path;

use homodyne_mpi::dataset::{Dataset, Layout, Selection, TwoTime};

use super::support::{assert_data_error, assert_values, chosen, copy, shown};
use crate::python::layouts;

fn open(folder: &Path, name: &str) -> homodyne_mpi::Result<Dataset> {
    Dataset::open(&folder.join(name), &chosen())
}

#[test]
fn stored_and_packed_arrays_of_any_number_type_are_read() {
    let Some(folder) = layouts() else { return };
    for (name, triangle) in [
        ("cache.npz", "full"),
        ("cache_packed.npz", "full"),
        ("cache_f32.npz", "full"),
        ("cache_big_endian.npz", "full"),
        ("cache_big_endian_f32.npz", "full"),
        ("cache_lower.npz", "lower"),
    ] {
        let dataset = open(folder, name).unwrap();
        assert_eq!((dataset.layout, dataset.n_frames, dataset.q), (Layout::Npz, 12, 0.0054));
        assert_eq!(dataset.phi(), [0.0, 45.0, 90.0]);
        assert_eq!(dataset.read(0, &mut TwoTime::default()).unwrap().triangle, triangle, "{name}");
        // in any order: forward over one, back, and the same again
        [0, 2, 1, 1, 0].into_iter().for_each(|k| assert_values(&dataset, k, k));
        assert_eq!(dataset.notes.iter().any(|n| n.contains("rounded once")), !name.ends_with("f32.npz"), "{name}");
    }
    let dataset = open(folder, "cache_dead.npz").unwrap();
    assert_eq!(dataset.read(2, &mut TwoTime::default()).unwrap().dead_frames, [4]);
}

#[test]
fn threads_share_a_packed_cache() {
    let Some(folder) = layouts() else { return };
    let dataset = open(folder, "cache_packed.npz").unwrap();
    std::thread::scope(|scope| {
        for k in [2, 0, 1, 2, 1, 0] {
            let dataset = &dataset;
            scope.spawn(move || assert_values(dataset, k, k));
        }
    });
}

#[test]
fn inspection_says_what_was_cut_and_whence_the_time_step_is() {
    let Some(folder) = layouts() else { return };
    let text = shown(&folder.join("cache.npz"));
    for part in [
        "layout    NPZ cache",
        "12 in the file, 1 to 12 selected",
        "s (file: steps of t1)",
        "already cut to frames 10 to 21 of the measurement",
        "made for q = 0.0054 Å⁻¹",
        "c2_exp[2]",
        "rounded once, to float32",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn frames_are_not_cut_again_and_must_be_those_asked_for() {
    let Some(folder) = layouts() else { return };
    let with = |name: &str, start_frame, end_frame| {
        Dataset::open(&folder.join(name), &Selection { start_frame, end_frame, ..chosen() })
    };
    for (name, start, end) in [
        ("cache.npz", 10, Some(21)),
        ("cache.npz", 10, None),
        ("cache.npz", 1, None),
        ("cache_bytes.npz", 10, Some(21)),
        ("cache_open_end.npz", 10, Some(21)),
        ("cache_bare.npz", 1, None),
        ("cache_bare.npz", 5, Some(16)),
    ] {
        let dataset = with(name, start, end).unwrap();
        assert_eq!((dataset.first_frame, dataset.n_frames), (0, 12), "{name} {start} {end:?}");
        assert_eq!(dataset.frames_before, if name == "cache_bare.npz" { 0 } else { 9 });
        assert_values(&dataset, 1, 1);
    }
    let says =
        |start| with("cache.npz", start, None).unwrap().notes.iter().any(|n| n.contains("takes a cache as it is"));
    assert!(says(10) && !says(1));
    let cache = folder.join("cache.npz");
    for (start, end) in [(2, None), (10, Some(20)), (1, Some(12)), (11, Some(21)), (10, Some(8000))] {
        assert_data_error(with("cache.npz", start, end), &cache, &["already cut to frames 10 to 21", "start_frame"]);
    }
    let bare = folder.join("cache_bare.npz");
    for (start, end) in [(2, None), (1, Some(11)), (5, Some(17))] {
        assert_data_error(
            with("cache_bare.npz", start, end),
            &bare,
            &["already cut to 12 frames", "doesn't say which"],
        );
    }
    assert!(with("cache_bare.npz", 1, None).unwrap().warnings.iter().any(|w| w.contains("cache_metadata_json")));
}

#[test]
fn q_must_be_that_of_the_cache() {
    let Some(folder) = layouts() else { return };
    let file = folder.join("cache.npz");
    let with = |q, q_tolerance| Dataset::open(&file, &Selection { q: Some(q), q_tolerance, ..chosen() });
    assert_data_error(with(0.0055, 0.1), &file, &["cut for q = 0.0054", "wavevector_q is 0.0055"]);
    let narrow = with(0.0054, 0.001).unwrap();
    assert_eq!(narrow.phi(), [45.0]);
    // what the Python package would add was cut away before
    assert!(!narrow.notes.iter().any(|n| n.contains("10 nearest")), "{:?}", narrow.notes);
    let bare = folder.join("cache_bare.npz");
    let far = Selection { q: Some(0.003), ..chosen() };
    assert_data_error(Dataset::open(&bare, &far), &bare, &["none of 3 bins"]);
}

#[test]
fn a_configured_time_step_wins_and_is_compared() {
    let Some(folder) = layouts() else { return };
    let with = |dt| Dataset::open(&folder.join("cache.npz"), &Selection { dt, ..chosen() }).unwrap();
    assert!((with(None).dt - 0.1).abs() < 1e-12);
    assert_eq!(with(Some(0.2)).dt, 0.2);
    assert!(with(Some(0.2)).warnings.iter().any(|w| w.contains("0.2 s is used, but the file says")));
    assert!(!with(Some(0.1)).warnings.iter().any(|w| w.contains("is used, but")));
}

#[test]
fn bad_contents_are_named() {
    let Some(folder) = layouts() else { return };
    for (name, parts) in [
        ("fortran", &["c2_exp", "Fortran order", "ascontiguousarray"][..]),
        ("rank", &["phi_angles_list", "expected 1 angles, one per matrix", "found 3"]),
        ("square", &["c2_exp", "(K, N, N)", "(3, 12, 11)"]),
        ("nothing", &["c2_exp", "(K, N, N)", "(3, 0, 0)"]),
        ("integers", &["c2_exp", "expected float32 or float64", "<i8"]),
        ("text", &["c2_exp", "expected float32 or float64", "found text"]),
        ("objects", &["c2_exp", "pickled"]),
        ("pickled_metadata", &["cache_metadata", "pickled"]),
        ("without_c2_exp", &["no array c2_exp", "cache_metadata_json, phi_angles_list, t1, t2, wavevector_q_list"]),
        ("without_phi_angles_list", &["phi_angles_list", "is missing"]),
        ("without_wavevector_q_list", &["wavevector_q_list", "is missing"]),
        ("without_t1", &["t1", "is missing"]),
        ("without_t2", &["t2", "is missing"]),
        ("phi_nan", &["phi_angles_list", "NaN at index 1"]),
        ("phi_few", &["phi_angles_list", "expected 3 angles", "found 2"]),
        ("phi_rank", &["phi_angles_list", "expected a list", "(1, 3)"]),
        ("q_inf", &["wavevector_q_list", "inf at index 2"]),
        ("q_zero", &["wavevector_q_list", "positive", "index 1"]),
        ("t1_steps", &["t1", "equal steps"]),
        ("t1_still", &["t1", "times that rise"]),
        ("t1_short", &["t1", "expected 12 times", "found 11"]),
        ("promise", &["t2", "is truncated or damaged", "(12,)"]),
        ("t2_other", &["t2", "same times as t1", "index 1"]),
        ("frames", &["cache_metadata_json", "frames 10 to 8000", "c2_exp has 12 frames"]),
        ("frame_zero", &["cache_metadata_json", "`start_frame`", "found 0"]),
        ("q_count", &["cache_metadata_json", "`q_count` says 4", "wavevector_q_list holds 3"]),
        ("phi_count", &["cache_metadata_json", "`phi_count` says 2", "phi_angles_list holds 3"]),
        ("q_actual", &["cache_metadata_json", "`actual_wavevector_q` says 0.0027", "0.0054"]),
        ("json", &["cache_metadata_json", "isn't JSON"]),
        ("bomb", &["c2_exp", "4 times as much memory", "numpy.savez"]),
        ("other", &["no array c2_exp", "g2, tau"]),
    ] {
        let name = format!("bad_{name}.npz");
        assert_data_error(open(folder, &name), &folder.join(&name), parts);
    }
    for (name, part) in [("bad_asymmetric.npz", "symmetric"), ("bad_zeros.npz", "no finite value")] {
        let result = open(folder, name).unwrap().read(1, &mut TwoTime::default());
        assert_data_error(result, &folder.join(name), &["c2_exp[1]", part]);
    }
}

#[test]
fn truncated_and_damaged_files_are_refused() {
    let Some(folder) = layouts() else { return };
    for name in ["cache.npz", "cache_packed.npz"] {
        let (_folder, file) = copy(&folder.join(name));
        let bytes = std::fs::read(&file).unwrap();
        for kept in [4, 100, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&file, &bytes[..kept]).unwrap();
            assert_data_error(Dataset::open(&file, &chosen()), &file, &["truncated or damaged"]);
        }
        // every byte lost in turn is an error of one line, or one that nothing here depends on
        for start in (0..bytes.len()).step_by(61) {
            let mut bad = bytes.clone();
            let end = (start + 24).min(bytes.len());
            bad[start..end].iter_mut().for_each(|b| *b ^= 0x5a);
            std::fs::write(&file, &bad).unwrap();
            let read = |dataset: Dataset| (0..3).try_for_each(|k| dataset.read(k, &mut TwoTime::default()).map(|_| ()));
            if let Err(error) = Dataset::open(&file, &chosen()).and_then(read) {
                assert_eq!(error.exit_code(), 3, "{error}");
                assert!(!error.to_string().contains('\n'), "{error}");
            }
        }
    }
}

#[test]
fn one_wrong_bit_is_found_by_the_checksum() {
    let Some(folder) = layouts() else { return };
    let (_folder, file) = copy(&folder.join("cache.npz"));
    let mut bytes = std::fs::read(&file).unwrap();
    // a value of the last matrix, stored as it is
    let value = 1.2_f64.to_le_bytes();
    let at = bytes.windows(8).rposition(|window| window == value).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let dataset = Dataset::open(&file, &chosen()).unwrap();
    assert!(dataset.read(0, &mut TwoTime::default()).is_ok());
    let result = dataset.read(2, &mut TwoTime::default());
    assert_data_error(result, &file, &["c2_exp[2]", "checksum"]);
}
