//! What a selection takes: q, φ, frames, time step.

use std::path::Path;

use homodyne_mpi::dataset::{Dataset, QFrom, Selection};

use super::support::{ApsU, assert_data_error, assert_values, open, scratch};

fn rings(file: &Path) {
    ApsU { bins: vec![1, 2, 3, 4, 5, 6], ..ApsU::default() }.write(file);
}

fn at(q: f64) -> Selection {
    Selection { q: Some(q), ..Selection::default() }
}

#[test]
fn the_nearest_ring_is_taken_and_its_distance_told() {
    let (_folder, file) = scratch("x.hdf");
    rings(&file);
    let dataset = Dataset::open(&file, &at(0.00275)).unwrap();
    // the matrices of the ring, and its q
    assert_eq!((dataset.q, &dataset.selected[..]), (0.0027, &[0, 1, 2][..]));
    let told = |dataset: &Dataset, what: &str| {
        let is_told = |n: &String| n.contains("0.00275") && n.contains("1.8 %") && n.contains(what);
        assert!(dataset.warnings.iter().any(is_told), "{:?}", dataset.warnings);
    };
    told(&dataset, "D would be 3.6 % smaller");
    assert_values(&dataset, 2, 2);
    // or the q that the user says
    let as_said = Dataset::open(&file, &Selection { q_from: QFrom::Config, ..at(0.00275) }).unwrap();
    assert_eq!((as_said.q, &as_said.selected), (0.00275, &dataset.selected));
    told(&as_said, "D would be 3.7 % larger");
    // up to 1 % it is a note
    let dataset = Dataset::open(&file, &at(0.00545)).unwrap();
    assert!(dataset.warnings.is_empty());
    assert!(dataset.notes.iter().any(|n| n.contains("0.92 %")), "{:?}", dataset.notes);
}

#[test]
fn a_q_beyond_half_the_spacing_matches_nothing() {
    let (_folder, file) = scratch("x.hdf");
    rings(&file);
    for q in [0.0013, 0.0068, 0.5, -0.0054, f64::NAN] {
        let parts = ["wavevector_q", "0.0027, 0.0054 Å⁻¹"];
        assert_data_error(Dataset::open(&file, &at(q)), &file, &parts);
    }
    // a ring of the map that holds no matrices isn't replaced by its neighbour
    ApsU::default().write(&file);
    assert_data_error(Dataset::open(&file, &at(0.0027)), &file, &["rings in the file: 0.0054"]);
    ApsU { q: vec![0.005, 0.0054], ..ApsU::default() }.write(&file);
    assert_data_error(Dataset::open(&file, &at(0.005)), &file, &["rings in the file: 0.0054"]);
}

#[test]
fn a_single_ring_may_be_a_tenth_away() {
    let (_folder, file) = scratch("x.hdf");
    ApsU { q: vec![0.005], bins: vec![1, 2], ..ApsU::default() }.write(&file);
    assert_eq!(Dataset::open(&file, &at(0.0055)).unwrap().q, 0.005);
    assert_data_error(Dataset::open(&file, &at(0.0056)), &file, &["0.005"]);
    assert_eq!(open(&file).unwrap().q, 0.005);
}

#[test]
fn angles_are_filtered_modulo_360() {
    let (_folder, file) = scratch("x.hdf");
    let phi = vec![359.0, 5.0, 30.0, -175.0, 180.0, -9.0];
    ApsU { q: vec![0.0054], phi: phi.clone(), bins: (1..=6).collect(), ..ApsU::default() }.write(&file);
    let with = |ranges: &[(f64, f64)]| Selection { phi_ranges: Some(ranges.to_vec()), ..Selection::default() };
    let kept = |ranges: &[(f64, f64)]| Dataset::open(&file, &with(ranges)).unwrap().phi();
    assert_eq!(kept(&[(-10.0, 10.0)]), [359.0, 5.0, -9.0]);
    assert_eq!(kept(&[(170.0, -170.0)]), [-175.0, 180.0]);
    assert_eq!(kept(&[(25.0, 35.0), (175.0, 190.0)]), [30.0, -175.0, 180.0]);
    assert_eq!(kept(&[(-180.0, 180.0)]), phi[..]);

    let filtered = Dataset::open(&file, &with(&[(-10.0, 10.0)])).unwrap();
    assert!(filtered.notes.iter().any(|n| n.contains("φ filter (-10 to 10 degree) keeps 3 of 6 angles")));
    drop(filtered);

    let none = with(&[(60.0, 80.0)]);
    assert_data_error(Dataset::open(&file, &none), &file, &["phi_filtering.target_ranges", "60 to 80", "359, 5, 30"]);
    let dataset = Dataset::open(&file, &Selection { fallback_to_all_angles: true, ..none }).unwrap();
    assert_eq!(dataset.phi(), phi[..]);
    assert!(dataset.warnings.iter().any(|w| w.contains("fallback_to_all_angles")));
}

#[test]
fn angles_of_other_rings_stay_out() {
    let (_folder, file) = scratch("x.hdf");
    rings(&file);
    let dataset = Dataset::open(&file, &Selection { phi_ranges: Some(vec![(40.0, 50.0)]), ..at(0.0054) }).unwrap();
    assert_eq!(dataset.selected, [4]);
}

#[test]
fn frames_are_counted_from_one_inclusive() {
    let (_folder, file) = scratch("x.hdf");
    ApsU::default().write(&file);
    let frames = |start_frame, end_frame| Selection { start_frame, end_frame, ..Selection::default() };
    let dataset = Dataset::open(&file, &frames(5, Some(12))).unwrap();
    assert_eq!((dataset.first_frame, dataset.n_frames, dataset.n_file_frames), (4, 8, 20));
    (0..3).for_each(|k| assert_values(&dataset, k, k));
    let dataset = Dataset::open(&file, &frames(18, None)).unwrap();
    assert_eq!((dataset.first_frame, dataset.n_frames), (17, 3));
    assert!(dataset.warnings.is_empty());
}

#[test]
fn frames_beyond_the_file_are_clamped_with_a_warning() {
    let (_folder, file) = scratch("x.hdf");
    ApsU::default().write(&file);
    let selection = Selection { start_frame: 2, end_frame: Some(1000), ..Selection::default() };
    let dataset = Dataset::open(&file, &selection).unwrap();
    assert_eq!((dataset.first_frame, dataset.n_frames), (1, 19));
    assert!(dataset.warnings.iter().any(|w| w.contains("end_frame 1000") && w.contains("20 frames")));
}

#[test]
fn frame_ranges_that_leave_too_little_are_configuration_errors() {
    let (_folder, file) = scratch("x.hdf");
    ApsU::default().write(&file);
    for (start_frame, end_frame) in
        [(10, Some(10)), (10, Some(9)), (10, Some(11)), (0, None), (19, None), (21, Some(40))]
    {
        let selection = Selection { start_frame, end_frame, ..Selection::default() };
        let error = Dataset::open(&file, &selection).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        assert!(error.to_string().contains("start_frame"), "{error}");
    }
    ApsU { n: 2, ..ApsU::default() }.write(&file);
    assert_data_error(open(&file), &file, &["2 frames"]);
}

#[test]
fn the_configured_time_step_wins_and_disagreement_is_told() {
    let (_folder, file) = scratch("x.hdf");
    ApsU::default().write(&file);
    let with = |dt| Selection { dt: Some(dt), ..Selection::default() };
    let dataset = Dataset::open(&file, &with(0.1 * (1.0 + 1e-7))).unwrap();
    assert!(dataset.warnings.is_empty(), "{:?}", dataset.warnings);
    let dataset = Dataset::open(&file, &with(0.1 * (1.0 + 1e-5))).unwrap();
    assert!(dataset.warnings.iter().any(|w| w.contains("is used, but the file says 0.1 s")), "{:?}", dataset.warnings);
    for dt in [0.0, -0.1, f64::NAN, f64::INFINITY] {
        let error = Dataset::open(&file, &with(dt)).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{error}");
        assert!(error.to_string().contains("analyzer_parameters.dt: expected a positive time"), "{error}");
    }
    let dataset = Dataset::open(&file, &with(0.2)).unwrap();
    assert_eq!(dataset.dt, 0.2);
    assert!(dataset.dt_source.contains("analyzer_parameters.dt"));
    assert!(dataset.warnings.iter().any(|w| w.contains("0.2 s") && w.contains("0.1 s")), "{:?}", dataset.warnings);
}

#[test]
fn a_time_step_that_makes_no_sense_is_not_used() {
    let (_folder, file) = scratch("x.hdf");
    for frame_time in [0.0, -1.0, f64::NAN] {
        ApsU { frame_time: Some(frame_time), ..ApsU::default() }.write(&file);
        assert_data_error(open(&file), &file, &["analyzer_parameters.dt"]);
        let dataset = Dataset::open(&file, &Selection { dt: Some(0.1), ..Selection::default() }).unwrap();
        assert!(dataset.warnings.iter().any(|w| w.contains("frame_time")));
    }
    for (stride, average) in [(0, 1), (1, 0), (-1, 1), (1, -1)] {
        ApsU { stride_and_average: Some((stride, average)), ..ApsU::default() }.write(&file);
        assert_data_error(open(&file), &file, &["analyzer_parameters.dt"]);
    }
    ApsU { frame_time: None, ..ApsU::default() }.write(&file);
    assert_data_error(open(&file), &file, &["analyzer_parameters.dt"]);
}
