//! Limits that the shell or the machine sets, and terminals that are closed: an error line or a checkpoint, and nothing is left
//! half done.

use std::path::Path;
use std::process::Command;

use crate::common::files::Sample;
use crate::common::kept::{assert_resumed, run, undisturbed};
use crate::common::{PROGRAM, Run, alone, alone_with_files, other, parameters, scratch, tree};

/// Times that a signal is tried to come before the end.
const TRIES: usize = 10;

/// The program with arguments, in a shell that has done `first`.
fn after(first: &str, folder: &Path, arguments: &[&str]) -> Run {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{first}; exec \"$0\" \"$@\""), PROGRAM]).args(arguments);
    other(folder, command)
}

/// Names of files that aren't complete.
fn incomplete(folder: &Path) -> Vec<String> {
    let names = tree(folder).into_keys().map(|path| path.display().to_string());
    names.filter(|name| name.ends_with(".part") || name.contains("/.")).collect()
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_that_leaves_nothing() {
    let folder = scratch();
    let folder = folder.path();
    Sample::FLOW.make(folder);
    let before = tree(folder);
    // in blocks of 512 bytes
    let limited =
        |blocks: usize, arguments: &[&str]| after(&format!("ulimit -f {blocks}"), folder, arguments).outcome();
    for arguments in [
        &["simulate", "--config", "config.yaml", "--out", "new.hdf"][..],
        &["convert", "data.hdf", "new.h5", "--to", "native"],
    ] {
        limited(100, arguments).assert_error(5, &["new.h", "File too large", "ulimit -f"]);
        assert!(tree(folder) == before, "{:?}", tree(folder).into_keys());
    }
    // as far as result.h5, as far as fitted_data.npz
    for (blocks, file) in [(20, "result.h5"), (200, "fitted_data.npz")] {
        limited(blocks, &["--config", "config.yaml", "--output-dir", "fit"])
            .assert_error(5, &[&format!("fit/nlsq/{file}"), "File too large", "ulimit -f"]);
        assert!(!folder.join("fit").exists() && incomplete(folder).is_empty(), "{:?}", tree(folder).into_keys());
    }
}

#[test]
fn a_signal_that_ends_a_command_leaves_no_incomplete_file() {
    let folder = scratch();
    let folder = folder.path();
    Sample { frames: 3000, ..Sample::FLOW }.make_as(folder, "native");
    let before = tree(folder);
    for (signal, arguments) in [
        ("HUP", &["simulate", "--config", "config.yaml", "--out", "new.hdf"][..]),
        ("XCPU", &["simulate", "--config", "config.yaml", "--out", "new.hdf"]),
        ("TERM", &["convert", "data.hdf", "new.hdf", "--to", "aps-u"]),
        ("INT", &["convert", "data.hdf", "new.hdf", "--to", "aps-u"]),
    ] {
        let signalled = || {
            let mut running = alone(folder, arguments).start();
            running.wait_for("a file", || !incomplete(folder).is_empty());
            running.signal(signal, running.launcher());
            running.outcome()
        };
        // on a busy machine the signal may come too late
        let outcome = (0..TRIES).map(|_| signalled()).find(|outcome| {
            let is_late = outcome.code == Some(0);
            ["new.hdf", "new_truth.json"].iter().filter(|_| is_late).for_each(|name| {
                let _ = std::fs::remove_file(folder.join(name));
            });
            !is_late
        });
        let outcome = outcome.expect("a signal in time");
        assert_eq!(outcome.code, None, "{signal}: {outcome}");
        assert!(outcome.stderr.contains(&format!("stopped: by SIG{signal}")), "{outcome}");
        assert!(tree(folder) == before, "{signal}: {:?}", tree(folder).into_keys());
    }
}

#[test]
fn a_closed_terminal_and_a_limit_on_time_leave_a_checkpoint() {
    let folder = scratch();
    let folder = folder.path();
    Sample::FLOW.make(folder);
    let expected = undisturbed(folder);
    for signal in ["HUP", "XCPU"] {
        let mut running = run(folder, 0, &[]).env("HOMODYNE_FAULT", "0:16:wait=100").start();
        running.wait_for("a checkpoint", || folder.join("homodyne_results/checkpoints").exists());
        running.signal(signal, running.ranks()[0]);
        let outcome = running.outcome();
        assert_eq!(outcome.code, Some(75), "{outcome}");
        assert!(outcome.stderr.contains(&format!("stopped: by SIG{signal} on rank 0")), "{outcome}");
        assert_resumed(&run(folder, 0, &[]).success());
        assert_eq!(parameters(&folder.join("homodyne_results")), expected);
    }
}

#[test]
fn nohup_keeps_a_fit_going() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    let fit = after("trap '' HUP", folder, &["--config", "config.yaml"]).env("HOMODYNE_FAULT", "0:2:wait=100");
    let mut running = fit.start();
    running.wait_for("the lock of its results", || folder.join("homodyne_results").exists());
    // once more when it works: its start must not undo what nohup has done
    for _ in 0..4 {
        running.signal("HUP", running.launcher());
        std::thread::sleep(std::time::Duration::from_millis(40));
    }
    assert_eq!(running.outcome().code, Some(0));
}

/// A file in the native layout whose matrix of `n` frames has chunks of `side` × `side`, of which only those of the first `written`
/// frames were ever written.
fn promise(file: &Path, n: usize, side: usize, written: usize) {
    alone_with_files(|| {
        let h5 = hdf5::File::create(file).unwrap();
        h5.new_dataset_builder().with_data(&[0.0]).create("phi").unwrap();
        for (name, value) in [("q", 0.0054), ("dt", 0.1)] {
            h5.new_attr::<f64>().create(name).unwrap().write_scalar(&value).unwrap();
        }
        let c2 = h5.new_dataset::<f32>().chunk((1, side, side)).deflate(1).shape((1, n, n)).create("c2").unwrap();
        let values = ndarray::Array3::from_shape_fn((1, written, written), |(_, i, j)| crate::common::files::c2(i, j));
        c2.write_slice(&values, hdf5::Hyperslab::from((0..1, 0..written, 0..written))).unwrap();
        h5.close().unwrap();
    });
}

#[test]
fn a_small_file_that_promises_a_huge_matrix_is_inspected_within_the_memory() {
    let folder = scratch();
    let folder = folder.path();
    promise(&folder.join("huge.h5"), 100_000, 500, 60);
    let arguments = ["inspect", "huge.h5"];
    let limited = alone(folder, &arguments).env("HOMODYNE_MEMORY_LIMIT", "1").outcome();
    limited.assert_error(2, &["matrices of 100000 frames needs 37", "HOMODYNE_MEMORY_LIMIT allows 1.00 GB"]);
    // what is known without reading it is said
    for part in ["100000 in the file", "native", "0.0054", "/c2[0]"] {
        assert!(limited.stdout.contains(part), "{part}: {limited}");
    }
    after("ulimit -v 4000000", folder, &arguments).outcome().assert_error(2, &["needs 37", "ulimit -v"]);
    // whoever allows more than there is
    let allowed = after("ulimit -v 4000000", folder, &arguments).env("HOMODYNE_MEMORY_LIMIT", "100").outcome();
    allowed.assert_error(2, &["no room in memory for a matrix of 100000 × 100000 values", "ulimit -v"]);
    let configuration = "analysis_mode: static\nperformance: { memory_limit_gb: 1 }\n\
                         analyzer_parameters: { end_frame: 60, scattering: { wavevector_q: 0.0054 } }\n";
    std::fs::write(folder.join("part.yaml"), configuration).unwrap();
    let part = alone(folder, &["inspect", "huge.h5", "--config", "part.yaml"]).success();
    assert!(part.stdout.contains("upper"), "{part}");
}

#[test]
fn chunks_that_are_larger_than_what_is_selected_of_them_count() {
    let folder = scratch();
    let folder = folder.path();
    // a chunk is 64 MB, what is selected of it 14 KB
    promise(&folder.join("chunk.h5"), 4000, 4000, 60);
    let configuration = "analysis_mode: static\nexperimental_data: { file_path: chunk.h5 }\n\
                         analyzer_parameters: { end_frame: 60, scattering: { wavevector_q: 0.0054 } }\n";
    std::fs::write(folder.join("config.yaml"), configuration).unwrap();
    let limited = |gb: &str, arguments: &[&str]| alone(folder, arguments).env("HOMODYNE_MEMORY_LIMIT", gb).outcome();
    let convert = ["convert", "chunk.h5", "part.h5", "--to", "native", "--frames", "1:60"];
    for arguments in [
        &["--config", "config.yaml", "--dry-run"][..],
        &["--config", "config.yaml"],
        &["inspect", "chunk.h5", "--config", "config.yaml"],
        &convert,
    ] {
        limited("0.1", arguments).assert_error(2, &["HOMODYNE_MEMORY_LIMIT allows 0.10 GB"]);
        let allowed = limited("1", arguments);
        assert_eq!(allowed.code, Some(0), "{allowed}");
    }
    // the machine has less than the limit says
    let bare = after("ulimit -v 4000000", folder, &["inspect", "chunk.h5"]).env("HOMODYNE_MEMORY_LIMIT", "100");
    assert_eq!(bare.outcome().code, Some(0));
}
