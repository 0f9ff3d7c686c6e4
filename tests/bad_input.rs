//! What is wrong is refused: with its exit code, with one line of error that names the culprit, and without a trace in
//! the file system, so that an earlier run's results stay what they were.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::common::disk::on_small_disk;
use crate::common::files::{ApsU, MAP, Sample, c2, change, flow_config, put_matrix, static_config};
use crate::common::{Outcome, alone, alone_with_files, data, scratch, tree, with_ranks};

/// Longest time that a job of two ranks may need to refuse its input, starting and ending MPI included.
const REFUSED_WITHIN: Duration = Duration::from_secs(15);

/// A fit that must be refused.
struct Refused {
    folder: tempfile::TempDir,
    arguments: Vec<String>,
}

impl Refused {
    /// A valid fit of a valid file, for a test to spoil.
    fn new() -> Self {
        let folder = scratch();
        ApsU::default().write(&folder.path().join("data.hdf"));
        let refused = Self { folder, arguments: vec!["--config".into(), "config.yaml".into()] };
        refused.config(&static_config("data.hdf"));
        refused
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self, text: &str) {
        fs::write(self.path("config.yaml"), text).unwrap();
    }

    /// Adds lines to the configuration.
    fn config_more(&self, text: &str) {
        self.config(&format!("{}{text}", static_config("data.hdf")));
    }

    fn data(&self, spoil: impl FnOnce(&hdf5::File)) {
        change(&self.path("data.hdf"), spoil);
    }

    /// Runs it with a new output folder, then with one that holds an earlier run's results: refused both times, and
    /// nothing has changed.
    #[track_caller]
    fn assert(&self, code: i32, parts: &[&str]) -> Outcome {
        self.assert_run(code, parts, |folder, arguments| alone(folder, arguments).outcome())
    }

    /// The same for a job of two ranks, which must end soon.
    #[track_caller]
    fn assert_with_two_ranks(&self, code: i32, parts: &[&str]) {
        let outcome = self.assert_run(code, parts, |folder, arguments| with_ranks(2, folder, arguments).outcome());
        assert!(outcome.took < REFUSED_WITHIN, "{outcome}");
    }

    #[track_caller]
    fn assert_run(&self, code: i32, parts: &[&str], run: impl Fn(&Path, &[String]) -> Outcome) -> Outcome {
        fs::create_dir_all(self.path("earlier/nlsq")).unwrap();
        fs::write(self.path("earlier/nlsq/parameters.json"), "{\"earlier\": 1}\n").unwrap();
        let before = tree(self.folder.path());
        let mut last = None;
        for output in ["new/deeper", "earlier"] {
            let arguments: Vec<String> =
                self.arguments.iter().cloned().chain(["--output-dir".into(), output.into()]).collect();
            let outcome = run(self.folder.path(), &arguments);
            outcome.assert_error(code, parts);
            assert!(tree(self.folder.path()) == before, "something changed or was left behind: {outcome}");
            last = Some(outcome);
        }
        last.unwrap()
    }
}

/// Asserts that the message points into the configuration and shows the line with a marker.
#[track_caller]
fn assert_points_at(outcome: &Outcome, line: usize, text: &str) {
    assert!(outcome.error_line().contains(&format!("config.yaml:{line}:")), "no line {line}: {outcome}");
    let shown = outcome.stderr.lines().any(|l| l.contains(&format!("{line} |")) && l.contains(text));
    assert!(shown && outcome.stderr.contains('^'), "no snippet with {text:?}: {outcome}");
}

#[test]
fn what_is_spoilt_below_was_fine() {
    let fine = Refused::new();
    let outcome = alone(fine.folder.path(), &fine.arguments).outcome();
    assert!(matches!(outcome.code, Some(0 | 4)), "{outcome}");
    assert!(fine.path("homodyne_results/nlsq/parameters.json").exists(), "{outcome}");
    assert!(!outcome.stderr.contains("error:"), "{outcome}");
}

#[test]
fn files_that_are_no_data() {
    let original = fs::read(data("aps_u_boost_corr.hdf")).unwrap();
    let refused = Refused::new();
    let with_bytes = |bytes: &[u8]| fs::write(refused.path("data.hdf"), bytes).unwrap();

    with_bytes(b"");
    refused.assert(3, &["data.hdf", "empty"]);
    with_bytes(b"something else, but long enough to be one");
    refused.assert(3, &["data.hdf", "not an HDF5 or NPZ file"]);
    with_bytes(b"PK\x03\x04 something else, but long enough to be one");
    refused.assert(3, &["data.hdf", "begins as a zip file", "truncated or damaged"]);
    with_bytes(&original[..original.len() / 2]);
    refused.assert(3, &["data.hdf", "truncated"]);
    let mut damaged = original.clone();
    damaged[8..96].fill(0xff);
    with_bytes(&damaged);
    refused.assert(3, &["data.hdf", "damaged"]);

    fs::remove_file(refused.path("data.hdf")).unwrap();
    refused.assert(3, &["data.hdf", "no such file"]);
    fs::create_dir(refused.path("data.hdf")).unwrap();
    refused.assert(3, &["data.hdf", "folder"]);
}

#[test]
fn datasets_that_are_missing_or_of_the_wrong_kind() {
    let missing = |path: &str| {
        let refused = Refused::new();
        refused.data(|h5| h5.unlink(path).unwrap());
        refused.assert(3, &["data.hdf", path]);
    };
    missing("xpcs/qmap/dynamic_v_list_dim1");
    missing("xpcs/twotime/processed_bins");
    missing(&format!("{MAP}/c2_00002"));

    let matrix = format!("{MAP}/c2_00002");
    let replaced = |parts: &[&str], replace: &dyn Fn(&hdf5::File, &str)| {
        let refused = Refused::new();
        refused.data(|h5| {
            h5.unlink(&matrix).unwrap();
            replace(h5, &matrix);
        });
        let parts: Vec<&str> = ["data.hdf", matrix.as_str()].into_iter().chain(parts.iter().copied()).collect();
        refused.assert(3, &parts);
    };
    replaced(&["float", "int32"], &|h5, p| drop(h5.new_dataset::<i32>().shape((24, 24)).create(p).unwrap()));
    replaced(&["(24, 23)"], &|h5, p| drop(h5.new_dataset::<f32>().shape((24, 23)).create(p).unwrap()));
    replaced(&["24 × 24", "23 × 23"], &|h5, _| put_matrix(h5, 1, 23, c2));

    let refused = Refused::new();
    refused.data(|h5| {
        h5.unlink("xpcs/twotime/processed_bins").unwrap();
        h5.new_dataset_builder().with_data(&[4.0, 5.5, 6.0]).create("xpcs/twotime/processed_bins").unwrap();
    });
    refused.assert(3, &["data.hdf", "processed_bins", "integers"]);
}

#[test]
fn bins_q_and_angles_that_do_not_fit() {
    let refused = Refused::new();
    refused.data(|h5| h5.dataset("xpcs/twotime/processed_bins").unwrap().write(&[4_i64, 5, 7]).unwrap());
    refused.assert(3, &["data.hdf", "processed_bins", "7"]);

    let refused = Refused::new();
    refused.config(&static_config("data.hdf").replace("0.0054", "0.02"));
    refused.assert(3, &["data.hdf", "wavevector_q", "0.02"]);

    let refused = Refused::new();
    refused.config_more("phi_filtering: {enabled: true, target_ranges: [{min_angle: 120, max_angle: 130}]}\n");
    refused.assert(3, &["data.hdf", "phi_filtering.target_ranges", "120 to 130"]);

    let lists = ["dynamic_v_list_dim0", "dynamic_v_list_dim1"];
    for (list, value) in lists.iter().flat_map(|list| [(list, f64::NAN), (list, f64::INFINITY)]) {
        let refused = Refused::new();
        refused.data(|h5| {
            let dataset = h5.dataset(&format!("xpcs/qmap/{list}")).unwrap();
            let mut values = dataset.read_raw::<f64>().unwrap();
            values[1] = value;
            dataset.write(&values).unwrap();
        });
        refused.assert(3, &["data.hdf", list]);
    }
}

#[test]
fn matrices_without_a_usable_value() {
    for value in [f32::NAN, f32::INFINITY] {
        let refused = Refused::new();
        refused.data(|h5| put_matrix(h5, 1, 24, |_, _| value));
        refused.assert(3, &["data.hdf", &format!("{MAP}/c2_00002")]);
    }
    // nothing but dead frames
    let refused = Refused::new();
    refused.data(|h5| put_matrix(h5, 2, 24, |_, _| 0.0));
    refused.assert(3, &["data.hdf", &format!("{MAP}/c2_00003")]);
}

#[test]
fn a_file_without_a_time_step() {
    let refused = Refused::new();
    refused.data(|h5| h5.unlink("entry/instrument/detector_1/frame_time").unwrap());
    refused.config(&static_config("data.hdf").replace("dt: 0.1", "dt: null"));
    refused.assert(3, &["data.hdf", "analyzer_parameters.dt"]);
}

#[test]
fn wrong_values_in_the_configuration_are_shown_in_place() {
    // what is replaced, by what, in which line, and what the message says
    for (old, new, line, parts) in [
        ("start_frame: 1\n  end_frame: -1", "start_frame: 9\n  end_frame: 9", 4, &["start_frame", "end_frame"][..]),
        ("start_frame: 1\n  end_frame: -1", "start_frame: 9\n  end_frame: 4", 4, &["start_frame", "end_frame"]),
        ("start_frame: 1", "start_frame: 0", 4, &["start_frame", "at least 1"]),
        ("start_frame: 1", "start_frame: 1.5", 4, &["start_frame", "whole number"]),
        ("dt: 0.1", "dt: 0", 3, &["analyzer_parameters.dt", "greater than 0"]),
        ("dt: 0.1", "dt: -0.1", 3, &["analyzer_parameters.dt", "-0.1"]),
        ("dt: 0.1", "dt: .nan", 3, &["analyzer_parameters.dt", "finite"]),
        ("dt: 0.1", "dt: soon", 3, &["analyzer_parameters.dt", "a number", "soon"]),
        ("wavevector_q: 0.0054", "wavevector_q: .inf", 7, &["wavevector_q", "finite"]),
        ("wavevector_q: 0.0054", "wavevector_q: .nan", 7, &["wavevector_q", "finite"]),
        ("wavevector_q: 0.0054", "wavevector_q: -0.0054", 7, &["wavevector_q", "greater than 0"]),
        ("mode: static", "mode: turbulent_flow", 1, &["analysis_mode", "turbulent_flow", "laminar_flow"]),
        ("mode: static", "mode: [static]", 1, &["analysis_mode", "text"]),
        ("scattering:\n    wavevector_q: 0.0054", "scattering: 5", 6, &["scattering", "section"]),
    ] {
        let refused = Refused::new();
        let config = static_config("data.hdf");
        assert!(config.contains(old));
        refused.config(&config.replacen(old, new, 1));
        let outcome = refused.assert(2, parts);
        assert_points_at(&outcome, line, new.lines().next().unwrap());
    }

    // beyond the file: only the data can tell, and there is no single place to blame
    let refused = Refused::new();
    refused.config(&static_config("data.hdf").replace("start_frame: 1", "start_frame: 25"));
    refused.assert(2, &["start_frame", "25", "frames 1 to 24"]);
}

#[test]
fn wrong_parameters_in_the_configuration_are_shown_in_place() {
    let names = "parameter_names: [D0, alpha, D_offset]";
    for (more, place, parts) in [
        (
            "parameter_space:\n  bounds:\n    - { name: alpha, min: 1.0, max: -1.0 }\n",
            (12, "max: -1.0"),
            &["alpha", "min must be less than max"][..],
        ),
        (
            &format!("initial_parameters:\n  {names}\n  values: [1e4, 3.5, 0.0]\n"),
            (12, "3.5"),
            &["3.5", "alpha", "outside its bounds"],
        ),
        ("parameter_space:\n  bounds:\n    - { name: aplha, min: 0 }\n", (12, "aplha"), &["aplha", "`alpha`"]),
        (
            &format!("initial_parameters:\n  {names}\n  values: [1e4, -0.5]\n"),
            (12, "[1e4, -0.5]"),
            &["initial_parameters.values", "2 items"],
        ),
        ("optimization:\n  method: nutz\n", (11, "nutz"), &["optimization.method", "nutz", "`nuts`"]),
        (
            "optimization:\n  method: nuts\n  nuts: { num_chains: 0 }\n",
            (12, "num_chains: 0"),
            &["optimization.nuts.num_chains", "1"],
        ),
        (
            "optimization:\n  method: nuts\nparameter_space:\n  bounds:\n    - { name: alpha, type: Normal }\n",
            (14, "type: Normal"),
            &["needs `prior_mu` and `prior_sigma`"],
        ),
        (
            "data_filtering:\n  exclude_frames: [0]\n",
            (11, "exclude_frames: [0]"),
            &["data_filtering.exclude_frames[0]", "a frame from 1"],
        ),
    ] {
        let refused = Refused::new();
        refused.config_more(more);
        let outcome = refused.assert(2, parts);
        assert_points_at(&outcome, place.0, place.1);
    }
}

#[test]
fn configurations_that_cannot_be_read() {
    let refused = Refused::new();
    refused.config(&static_config("data.hdf").replace("  scattering:", " scattering: [\n"));
    let outcome = refused.assert(2, &["config.yaml:"]);
    assert!(outcome.stderr.contains(" | ") && outcome.stderr.contains('^'), "no snippet: {outcome}");

    refused.config("analysis_mode: static\nanalysis_mode: laminar_flow\n");
    let outcome = refused.assert(2, &["config.yaml:2:", "analysis_mode"]);
    assert!(outcome.stderr.contains('^'), "{outcome}");

    refused.config("");
    refused.assert(2, &["config.yaml"]);
    fs::write(refused.path("config.yaml"), [0xff, 0xfe, 0x00, 0x80]).unwrap();
    refused.assert(2, &["config.yaml"]);
    refused.config(&static_config("data.hdf").replace("analysis_mode: static\n", ""));
    refused.assert(2, &["analysis_mode", "missing"]);
    refused.config(&flow_config("data.hdf").replace("    stator_rotor_gap: 2000000.0\n", ""));
    refused.assert(2, &["stator_rotor_gap", "missing"]);
    refused.config("analysis_mode: static\n");
    refused.assert(2, &["experimental_data.file_path", "--data-file"]);

    let mut refused = Refused::new();
    fs::remove_file(refused.path("config.yaml")).unwrap();
    refused.assert(2, &["config.yaml"]);
    fs::create_dir(refused.path("config.yaml")).unwrap();
    refused.assert(2, &["config.yaml"]);
    refused.arguments = vec![];
    let outcome = refused.assert(2, &[]);
    assert_eq!(outcome.stderr, "error: no configuration file: give --config FILE (see --help)\n");
}

#[test]
fn a_wrong_command_line() {
    for (more, parts) in [
        (&["--resolution", "7"][..], &["--resolution"][..]),
        (&["--threads", "0"], &["--threads", "0"]),
        (&["--threads", "many"], &["--threads", "many"]),
        (&["--threads", "100000"], &["--threads", "100000 threads", "cores"]),
        (&["--strategy", "huge"], &["--strategy", "huge"]),
        (&["--set", "analyzer_parameters.dt"], &["--set", "key.path=value"]),
        (&["--set", "analyzer_parameters.dt=-1"], &["--set", "analyzer_parameters.dt", "greater than 0"]),
        (&["--data-file", "elsewhere.hdf"], &["elsewhere.hdf", "no such file"]),
    ] {
        let mut refused = Refused::new();
        refused.arguments.extend(more.iter().map(|s| s.to_string()));
        refused.assert(if more[0] == "--data-file" { 3 } else { 2 }, parts);
    }
}

#[test]
fn a_method_that_there_is_not_is_refused() {
    let mut refused = Refused::new();
    refused.arguments.extend(["--method", "mcmcmc"].map(String::from));
    refused.assert(2, &["--method", "mcmcmc"]);
}

#[test]
fn other_commands_refuse_alike() {
    let refused = Refused::new();
    let folder = refused.folder.path();
    let before = tree(folder);
    alone(folder, &["inspect", "nowhere.hdf"]).outcome().assert_error(3, &["nowhere.hdf", "no such file"]);
    alone(folder, &["inspect", "config.yaml"]).outcome().assert_error(3, &["config.yaml", "not an HDF5 or NPZ file"]);
    let simulate = |more: &[&str]| alone(folder, &[&["simulate", "--config", "config.yaml"], more].concat()).outcome();
    simulate(&["--out", "new.hdf"]).assert_error(2, &["config.yaml", "simulation"]);
    let section = "simulation={frames: 20, angles: [0], parameters: {D0: 1e4, alpha: 0, D_offset: 0}}";
    for layout in ["aps-u", "native"] {
        let huge = ["--out", "new.hdf", "--layout", layout, "--set", section, "--set", "simulation.frames=8000000"];
        simulate(&huge).assert_error(2, &["8000000 frames", "GB", "simulation.frames"]);
        // even where a limit allows it
        let limit = ["--set", "performance.memory_limit_gb=1e12"];
        simulate(&[&huge[..], &limit].concat()).assert_error(2, &["no room", "8000000"]);
    }
    simulate(&["--out", "nowhere/new.hdf", "--set", section]).assert_error(5, &["nowhere/new.hdf"]);
    simulate(&["--out", "config.yaml/new.hdf", "--set", section]).assert_error(5, &["config.yaml/new.hdf"]);
    assert!(tree(folder) == before);
}

#[test]
fn a_job_of_two_ranks_refuses_once_and_soon() {
    let refused = Refused::new();
    fs::remove_file(refused.path("data.hdf")).unwrap();
    refused.assert_with_two_ranks(3, &["data.hdf", "no such file"]);

    let refused = Refused::new();
    refused.data(|h5| put_matrix(h5, 2, 24, |_, _| f32::NAN));
    refused.assert_with_two_ranks(3, &["data.hdf", "c2_00003"]);

    let refused = Refused::new();
    refused.config(&static_config("data.hdf").replace("dt: 0.1", "dt: 0"));
    refused.assert_with_two_ranks(2, &["config.yaml:3:", "analyzer_parameters.dt"]);
    refused.config(&static_config("data.hdf").replace("start_frame: 1", "start_frame: 24"));
    refused.assert_with_two_ranks(2, &["start_frame"]);

    for more in [["--resolution", "7"], ["--method", "none"], ["--threads", "100000"]] {
        let mut refused = Refused::new();
        refused.arguments.extend(more.map(String::from));
        refused.assert_with_two_ranks(2, &[more[0]]);
    }
}

#[test]
fn what_many_ranks_refuse_is_said_whole_and_once() {
    let folder = scratch();
    let launched = |arguments: &[&str]| with_ranks(4, folder.path(), arguments).outcome();
    // what the launcher adds begins with a line of its own
    let ours = |outcome: &Outcome| outcome.stderr.split("\n---").next().unwrap().trim_end().to_string();
    let outcome = launched(&["--resolution", "7"]);
    let expected = alone(folder.path(), &["--resolution", "7"]).outcome();
    assert_eq!((outcome.code, ours(&outcome)), (Some(2), ours(&expected)), "{outcome}");
    let outcome = launched(&["--output-dir", "out"]);
    assert_eq!(ours(&outcome), "error: no configuration file: give --config FILE (see --help)", "{outcome}");
    assert_eq!(outcome.code, Some(2), "{outcome}");
    let help = launched(&["--help"]);
    assert_eq!((help.code, help.stdout.matches("Usage:").count()), (Some(0), 1), "{help}");
}

#[test]
fn a_launcher_that_does_not_fit_is_named_by_the_first_process_only() {
    let folder = scratch();
    let run = |rank: &str| {
        let run = alone(folder.path(), &["--config", "none.yaml"]);
        run.env("SLURM_STEP_NUM_TASKS", "3").env("SLURM_PROCID", rank).outcome()
    };
    run("0").assert_error(2, &["srun started 3 tasks", "--mpi=pmix"]);
    let other = run("2");
    assert_eq!((other.code, other.stderr.as_str()), (Some(2), ""), "{other}");
}

#[test]
fn an_output_folder_that_cannot_be_written() {
    let fine = Refused::new();
    let folder = fine.folder.path();
    fs::write(fine.path("occupied"), "a file").unwrap();
    let before = tree(folder);
    for output in ["occupied", "occupied/results", "/proc/homodyne/results"] {
        let arguments = ["--config", "config.yaml", "--output-dir", output];
        alone(folder, &arguments).outcome().assert_error(5, &[output]);
        let outcome = with_ranks(2, folder, &arguments).outcome();
        outcome.assert_error(5, &[output]);
        assert!(outcome.took < REFUSED_WITHIN, "{outcome}");
    }
    assert!(tree(folder) == before);
}

#[test]
fn an_output_folder_without_permission() {
    let fine = Refused::new();
    let locked = fine.path("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(locked.join("probe"), "").is_ok() {
        println!("skipped: this user may write anywhere");
        return;
    }
    for output in ["locked", "locked/results"] {
        let arguments = ["--config", "config.yaml", "--output-dir", output];
        alone(fine.folder.path(), &arguments).outcome().assert_error(5, &[output]);
    }
    assert_eq!(fs::read_dir(&locked).unwrap().count(), 0);
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_disk_that_is_full() {
    // the first holds no result file at all, the others some of them
    for kilobytes in [4, 12, 20] {
        let fine = Refused::new();
        let folder = fine.folder.path();
        let arguments = ["--config", "config.yaml", "--output-dir", "disk/results"];
        let Some(outcome) = on_small_disk(folder, kilobytes, &arguments) else { return };
        outcome.assert_error(5, &["disk/results"]);
        assert!(tree(&fine.path("after")).is_empty(), "{kilobytes} kB: results left behind: {outcome}");
    }
}

#[test]
fn a_full_disk_keeps_the_results_that_are_on_it() {
    let fine = Refused::new();
    let earlier = "earlier ".repeat(2000);
    fs::create_dir_all(fine.path("seed/results/nlsq")).unwrap();
    fs::write(fine.path("seed/results/nlsq/parameters.json"), &earlier).unwrap();
    let arguments = ["--config", "config.yaml", "--output-dir", "disk/results"];
    let Some(outcome) = on_small_disk(fine.folder.path(), 28, &arguments) else { return };
    outcome.assert_error(5, &["disk/results"]);
    // where they were, or moved aside; but not mixed with new ones
    let left: Vec<_> = tree(&fine.path("after")).into_iter().filter_map(|(path, bytes)| Some((path, bytes?))).collect();
    assert_eq!(left.len(), 1, "{left:?}: {outcome}");
    assert!(left[0].1 == earlier.as_bytes() && left[0].0.ends_with("nlsq/parameters.json"), "{:?}", left[0].0);
}

#[test]
fn a_simulation_on_a_full_disk_leaves_nothing() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    let arguments = ["simulate", "--config", "config.yaml", "--out", "disk/new.hdf"];
    let Some(outcome) = on_small_disk(folder, 16, &arguments) else { return };
    outcome.assert_error(5, &["disk/new.hdf"]);
    assert!(tree(&folder.join("after")).is_empty(), "{outcome}");
}

#[test]
fn a_file_that_is_being_written_is_no_data_error() {
    let refused = Refused::new();
    // started while no test has a file open, or it would hold their locks, too
    let writer = alone_with_files(|| {
        Command::new("flock")
            .args([
                "--exclusive",
                "--nonblock",
                refused.path("data.hdf").to_str().unwrap(),
                "sh",
                "-c",
                "echo locked; read _",
            ])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
    });
    // without the tool there is nobody to hold the lock
    let Ok(mut writer) = writer else { return };
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(writer.stdout.take().unwrap()), &mut line).unwrap();
    refused.assert(5, &["data.hdf", "HDF5_USE_FILE_LOCKING"]);
    drop(writer.stdin.take());
    writer.wait().unwrap();
}
