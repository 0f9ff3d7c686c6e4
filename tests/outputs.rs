//! What the command line names to be written: never over an input, and over nothing at all without `--force`.

use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::Path;

use crate::common::files::Sample;
use crate::common::{Outcome, alone, scratch, tree};

fn run(folder: &Path, arguments: &[&str]) -> Outcome {
    alone(folder, arguments).outcome()
}

/// Runs commands that must be refused with exit code 2, saying this, and leave everything below the folder as it was.
#[track_caller]
fn assert_refused(folder: &Path, commands: &[&[&str]], what: &str) {
    let before = tree(folder);
    for command in commands {
        run(folder, command).assert_error(2, &[what]);
        let after = tree(folder);
        assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>(), "{command:?}");
        assert!(before == after, "{command:?} has changed a file");
    }
}

#[test]
fn no_option_of_a_fit_writes_over_an_input() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    fs::hard_link(folder.join("data.hdf"), folder.join("hard.hdf")).unwrap();
    symlink("data.hdf", folder.join("link.hdf")).unwrap();
    for force in [&["--config", "config.yaml"][..], &["--config", "config.yaml", "--force"]] {
        let with = |more: [&'static str; 2]| [force, &more].concat();
        for option in ["--trace", "--memory-profile"] {
            let files = ["data.hdf", "./data.hdf", "hard.hdf", "link.hdf", "/proc/self/cwd/data.hdf"];
            // spellings are judged in one place for both
            for file in if option == "--trace" { &files[..] } else { &files[..1] } {
                assert_refused(folder, &[&with([option, file])], "is the data file itself; name another file");
            }
            assert_refused(folder, &[&with([option, "config.yaml"])], "is the configuration file itself");
            let truth = [&with([option, "data_truth.json"])[..], &["--truth", "data_truth.json"]].concat();
            assert_refused(folder, &[&truth], "is the file of --truth itself");
            let dry = [&with([option, "data.hdf"])[..], &["--dry-run"]].concat();
            assert_refused(folder, &[&dry], "is the data file itself");
        }
        let twice = [&with(["--trace", "new"])[..], &["--memory-profile", "./new"]].concat();
        assert_refused(folder, &[&twice], "--memory-profile: ./new is the file of --trace already");
    }
}

#[test]
fn records_that_are_there_are_replaced_with_force_only() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    let fit = ["--config", "config.yaml", "--trace", "trace.json", "--memory-profile", "memory.csv"];
    alone(folder, &fit).success();
    let first = fs::read(folder.join("trace.json")).unwrap();
    assert_refused(folder, &[&fit], "--trace: trace.json is there already; --force replaces it");
    alone(folder, &[&fit[..], &["--force"]].concat()).success();
    assert!(fs::read(folder.join("trace.json")).unwrap() != first);
}

#[test]
fn simulated_data_replace_neither_their_configuration_nor_measured_ones() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    // the truth beside x.hdf
    fs::copy(folder.join("config.yaml"), folder.join("x_truth.json")).unwrap();
    let config = ["simulate", "--config", "config.yaml"];
    assert_refused(folder, &[&[&config[..], &["--out", "data.hdf"]].concat()], "data.hdf is there already; --force");
    assert_refused(folder, &[&[&config[..], &["--out", "x.hdf"]].concat()], "x_truth.json is there already; --force");
    let itself = [&config[..], &["--out", "config.yaml", "--force"]].concat();
    let by_truth = ["simulate", "--config", "x_truth.json", "--out", "x.hdf", "--force"];
    assert_refused(folder, &[&itself, &by_truth], "is the configuration file itself");
    alone(folder, &[&config[..], &["--out", "data.hdf", "--force"]].concat()).success();
}

#[test]
fn tables_and_pictures_are_replaced_with_force_only() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    alone(folder, &["--config", "config.yaml"]).success();
    fs::create_dir(folder.join("checkpoints")).unwrap();
    for command in [
        &["compare", "homodyne_results", "homodyne_results", "--json", "out.json"][..],
        &["checkpoint", "list", "checkpoints", "--json", "out.json"],
        &["device", "status", "--json", "out.json"],
        &["inspect", "data.hdf", "--plot-dir", "pictures"],
        &["simulate", "--config", "config.yaml", "--out", "new.hdf", "--plot-dir", "pictures"],
    ] {
        let _ = fs::remove_file(folder.join("out.json"));
        let _ = fs::remove_dir_all(folder.join("pictures"));
        alone(folder, command).success();
        assert_refused(folder, &[command], "is there already; --force replaces it");
        alone(folder, &[command, &["--force"]].concat()).success();
    }
    for command in [["benchmark", "--quick"], ["device", "bench"]] {
        assert_refused(folder, &[&[&command[..], &["--json", "config.yaml"]].concat()], "config.yaml is there already");
    }
    // of an input there is no replacing
    let parameters = "homodyne_results/nlsq/parameters.json";
    let compare = ["compare", "homodyne_results", "homodyne_results", "--force", "--json"];
    assert_refused(folder, &[&[&compare[..], &[parameters]].concat()], "is an input itself");
    assert_refused(folder, &[&["convert", "data.hdf", "data.hdf", "--force"]], "is the input itself");
    let from_config = ["convert", "data.hdf", "config.yaml", "--config", "config.yaml", "--force"];
    assert_refused(folder, &[&from_config], "is the configuration file itself");
    let init = ["config", "init", "--mode", "static", "--from-data", "data.hdf", "--force", "-o", "data.hdf"];
    assert_refused(folder, &[&init], "is the data file itself");
}

#[test]
fn devices_fifos_links_and_folders_are_no_outputs() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    nix::unistd::mkfifo(&folder.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    symlink("nowhere", folder.join("link")).unwrap();
    symlink("old", folder.join("to old")).unwrap();
    fs::write(folder.join("old"), "old").unwrap();
    fs::create_dir(folder.join("sub")).unwrap();
    for (path, what) in [
        ("fifo", "is a FIFO"),
        ("/dev/null", "is a device"),
        ("/dev/stdout", "is a "),
        ("link", "is a link"),
        ("to old", "is a link"),
        ("sub", "is a folder"),
    ] {
        for command in [
            &["--config", "config.yaml", "--force", "--trace"][..],
            &["--config", "config.yaml", "--force", "--memory-profile"],
            &["simulate", "--config", "config.yaml", "--force", "--out"],
            &["device", "status", "--force", "--json"],
            &["convert", "data.hdf", "--force"],
            &["config", "init", "--mode", "static", "--force", "-o"],
        ] {
            run(folder, &[command, &[path]].concat()).assert_error(2, &[path, what]);
        }
    }
    assert!(folder.join("fifo").symlink_metadata().unwrap().file_type().is_fifo());
    assert_eq!(fs::read_to_string(folder.join("old")).unwrap(), "old");
    assert!(!folder.join("nowhere").exists() && !folder.join("homodyne_results").exists());
}

#[test]
fn an_input_below_earlier_results_is_refused_before_anything_moves() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    let fit = ["--config", "config.yaml", "--output-dir", "out"];
    // results to make room, twice
    alone(folder, &fit).success();
    alone(folder, &fit).success();
    let places = ["out/nlsq", "out/previous"];
    for place in places {
        for name in ["data.hdf", "config.yaml", "data_truth.json"] {
            fs::copy(folder.join(name), folder.join(place).join(name)).unwrap();
        }
    }
    for place in places {
        let below = |name: &str| format!("{place}/{name}");
        let what = format!("lies below {place}");
        let (data, config, truth) = (below("data.hdf"), below("config.yaml"), below("data_truth.json"));
        assert_refused(folder, &[&[&fit[..], &["--data-file", &data]].concat()], &what);
        assert_refused(folder, &[&["--config", &config, "--output-dir", "out"]], &what);
        assert_refused(folder, &[&[&fit[..], &["--truth", &truth]].concat()], &what);
        assert_refused(folder, &[&[&fit[..], &["--resume", &below("checkpoint-000001.h5")]].concat()], &what);
    }
    // the data of an earlier configuration, named in another way
    symlink("out", folder.join("other")).unwrap();
    let other = ["--config", "config.yaml", "--output-dir", "other", "--data-file", "out/nlsq/data.hdf"];
    run(folder, &other).assert_error(2, &["is the data file and lies below other/nlsq"]);
    assert!(folder.join("out/nlsq/data.hdf").exists());
    alone(folder, &["--config", "config.yaml", "--output-dir", "elsewhere", "--data-file", "out/nlsq/data.hdf"])
        .success();
}
