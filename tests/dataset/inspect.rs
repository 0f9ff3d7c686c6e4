//! What `inspect` shows.

use std::path::Path;

use homodyne_mpi::commands::inspect;
use homodyne_mpi::dataset::Selection;

use super::support::{ApsU, data, scratch, value};

fn shown(file: &Path, selection: &Selection) -> (String, homodyne_mpi::Result<()>) {
    let mut out = Vec::new();
    let result = inspect(file, selection, None, None, &mut out);
    (String::from_utf8(out).unwrap(), result)
}

#[test]
fn all_rings_are_shown_where_none_is_chosen() {
    let (text, result) = shown(&data("aps_u_boost_corr.hdf"), &Selection::default());
    result.unwrap();
    for part in [
        "layout    APS-U",
        "240 in the file",
        "0.0125 s (file: frame_time 0.0125 s × stride_frame 1 × avg_frame 1)",
        "0.00258929 Å⁻¹ (2 matrices), 0.00362501 Å⁻¹ (1 matrix), 0.00466073 Å⁻¹ (2 matrices)",
        "dynamic_index_mapping: 14 of 18 points",
        "upper",
        "1.2654", // the mean of the first matrix
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let bins: Vec<&str> =
        text.lines().filter(|l| l.contains("/c2_")).map(|l| l.split_whitespace().nth(2).unwrap()).collect();
    assert_eq!(bins, ["1", "3", "9", "10", "12"]);
}

/// A reader that has gone.
struct Gone;

impl std::io::Write for Gone {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_that_goes_early_is_no_failure() {
    inspect(&data("aps_u_boost_corr.hdf"), &Selection::default(), None, None, &mut Gone).unwrap();
}

#[test]
fn a_chosen_ring_marks_its_matrices() {
    let selection = Selection { q: Some(0.0047), ..Selection::default() };
    let (text, result) = shown(&data("aps_u_boost_corr.hdf"), &selection);
    result.unwrap();
    let selected: Vec<bool> = text.lines().filter(|l| l.contains("/c2_")).map(|l| l.ends_with("yes")).collect();
    assert_eq!(selected, [false, false, false, true, true]);
    assert!(text.contains("0.0047"));
}

#[test]
fn a_missing_time_step_is_shown_not_refused() {
    let (text, result) = shown(&data("lam_3x100_apsu.hdf"), &Selection::default());
    result.unwrap();
    assert!(text.contains("dt        not in the file; a fit needs analyzer_parameters.dt"), "{text}");
}

#[test]
fn dead_frames_are_counted_from_one_and_bad_matrices_kept_in_view() {
    let (_folder, file) = scratch("x.hdf");
    let dead = |f: usize| (4..7).contains(&f) || f == 9;
    let asymmetric = |i: usize, j: usize| if (i, j) == (9, 4) { 0.1 } else { 0.0 };
    ApsU::default().write_with(&file, |s, i, j| value(s, i, j) + if s == 1 { asymmetric(i, j) } else { 0.0 });
    let (text, result) = shown(&file, &Selection::default());
    assert!(text.contains("unusable") && text.contains("full"), "{text}");
    assert_eq!(result.unwrap_err().exit_code(), 3);

    ApsU::default().write_with(&file, |s, i, j| match s {
        0 if i <= j && !dead(i) && !dead(j) => value(s, i, j),
        2 => 1.5,
        _ => 0.0,
    });
    let (text, result) = shown(&file, &Selection::default());
    assert!(text.contains("slot 1: dead frames 5–7, 10"), "{text}");
    // a sector without pixels is no trouble of the file
    assert!(text.contains("empty") && text.contains("a sector without pixels?") && text.contains("full"), "{text}");
    result.unwrap();
    ApsU::default().write_with(&file, |_, _, _| f32::NAN);
    assert_eq!(shown(&file, &Selection::default()).1.unwrap_err().exit_code(), 3);
}
