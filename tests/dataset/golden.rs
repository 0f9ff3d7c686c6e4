//! Files from outside: a real one of the facility's correlator, and synthetic ones with their truth.

use homodyne_mpi::dataset::{Dataset, Layout, Selection};
use serde_json::Value;

use super::support::{assert_data_error, data, read};

fn json(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(data(name)).unwrap()).unwrap()
}

#[test]
fn the_correlators_file_gives_its_bins_angles_and_values() {
    let expected = json("aps_u_boost_corr_expected.json");
    let file = data("aps_u_boost_corr.hdf");
    let slots = expected["slots"].as_array().unwrap();
    for (s, want) in slots.iter().enumerate() {
        let number = |key: &str| want[key].as_f64().unwrap();
        let selection = Selection { q: Some(number("q_value")), ..Selection::default() };
        let dataset = Dataset::open(&file, &selection).unwrap();
        assert_eq!(dataset.layout, Layout::ApsU);
        assert_eq!((dataset.slots.len(), dataset.n_file_frames, dataset.dt), (5, 240, 0.0125));
        let slot = &dataset.slots[s];
        assert_eq!(slot.path, want["dataset"].as_str().unwrap());
        assert_eq!(slot.bin, want["bin"].as_i64());
        assert_eq!((slot.q, slot.phi, slot.selected), (number("q_value"), number("phi_value"), true));

        let k = dataset.selected.iter().position(|&i| i == s).unwrap();
        let mut m = homodyne_mpi::dataset::TwoTime::default();
        let report = dataset.read(k, &mut m).unwrap();
        assert_eq!((report.triangle, report.n_missing, report.dead_frames.len()), ("upper", 0, 0));
        assert_eq!(f64::from(m.at(10, 20)), number("c2[10,20]"));
        assert_eq!(f64::from(m.at(5, 100)), number("c2[5,100]"));
        let sum: f64 = (0..240).flat_map(|i| m.row_after(i)).map(|&v| f64::from(v)).sum();
        let mean = sum / (240.0 * 239.0 / 2.0);
        assert!((mean - number("mean_offdiagonal")).abs() < 1e-12, "{mean}");
    }
}

#[test]
fn several_rings_without_a_choice_are_refused() {
    let file = data("aps_u_boost_corr.hdf");
    let parts = ["0.00258929, 0.00362501, 0.00466073", "analyzer_parameters.scattering.wavevector_q"];
    assert_data_error(Dataset::open(&file, &Selection::default()), &file, &parts);
}

#[test]
fn the_synthetic_files_hold_what_their_truth_says() {
    for (file, truth) in
        [("lam_3x100_apsu.hdf", "lam_3x100_truth.json"), ("sta_3x100_apsu.hdf", "sta_3x100_truth.json")]
    {
        let truth = json(truth);
        let q = truth["q"].as_f64().unwrap();
        let dt = truth["dt"].as_f64().unwrap();
        let selection = Selection { q: Some(q), dt: Some(dt), ..Selection::default() };
        let dataset = Dataset::open(&data(file), &selection).unwrap();
        let phi: Vec<f64> = truth["phi"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        assert_eq!((dataset.phi(), dataset.q, dataset.n_frames), (phi, q, 100));
        // the spike of the diagonal is out of reach, and c2 lies between offset and offset + contrast, plus noise
        let m = read(&dataset, 0);
        assert!((0..100).flat_map(|i| m.row_after(i)).all(|v| (0.94..1.36).contains(v)));
    }
}

#[test]
fn a_file_without_a_time_step_needs_one_from_the_configuration() {
    let file = data("lam_3x100_apsu.hdf");
    let selection = Selection { q: Some(0.0054), ..Selection::default() };
    assert_data_error(Dataset::open(&file, &selection), &file, &["analyzer_parameters.dt"]);
}
