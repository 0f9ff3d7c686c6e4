//! Whether the data are the same: on every rank, when they are read again, and from angle to angle.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use crate::common::files::{MAP, Sample, change};
use crate::common::{PROGRAM, alone, alone_with_files, json, mpirun, other, parameters, scratch};
use ndarray::Array2;

const PARALLEL: [&str; 4] = ["--config", "config.yaml", "--set", "distributed.io=parallel"];

#[test]
fn ranks_that_see_data_of_the_same_shape_but_other_values_are_refused() {
    let (first, second) = (scratch(), scratch());
    Sample::FLOW.make_as(first.path(), "native");
    Sample { parameters: &[7000.0, -0.4, 500.0, 0.0012, -0.3, 0.0002, 3.0], ..Sample::FLOW }
        .make_as(second.path(), "native");
    let size = |folder: &Path| folder.join("data.hdf").metadata().unwrap().len();
    assert_eq!(size(first.path()), size(second.path()));
    // a name that means another file in every working directory, as that of a node's own disk does on every node
    let program = [&[PROGRAM][..], &PARALLEL, &["--data-file", "/proc/self/cwd/data.hdf"]].concat();
    let mut command = Command::new(mpirun());
    command.arg("-wdir").arg(first.path()).args(["-n", "1"]).args(&program);
    command.args([":", "-wdir"]).arg(second.path()).args(["-n", "1"]).args(&program);
    let outcome = other(first.path(), command).outcome();
    let parts = ["data.hdf", "this rank sees another file", "bytes, but with other contents", "(read by rank 1)"];
    outcome.assert_error(3, &parts);
}

/// Adds 0.5 to all of c2 in a native file without filters, in place, as a program does that writes it anew.
fn raise(file: &Path) {
    let chunks: Vec<(u64, u64)> = alone_with_files(|| {
        let c2 = hdf5::File::open(file).unwrap().dataset("c2").unwrap();
        (0..c2.num_chunks().unwrap()).map(|k| c2.chunk_info(k).unwrap()).map(|chunk| (chunk.addr, chunk.size)).collect()
    });
    let raw = std::fs::File::options().read(true).write(true).open(file).unwrap();
    for (at, size) in chunks {
        let mut bytes = vec![0; size as usize];
        raw.read_exact_at(&mut bytes, at).unwrap();
        for value in bytes.as_chunks_mut::<4>().0 {
            *value = (f32::from_le_bytes(*value) + 0.5).to_le_bytes();
        }
        raw.write_all_at(&bytes, at).unwrap();
    }
}

#[test]
fn arrays_of_a_file_that_has_changed_since_it_was_fitted_are_left_out() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make_as(folder, "native");
    let fit = |output: &'static str, strategy: &'static str| {
        let often = "optimization.streaming.checkpoint_frequency=1";
        let arguments = ["--config", "config.yaml", "--set", often, "--strategy", strategy, "--output-dir", output];
        alone(folder, &arguments)
    };
    fit("before", "chunked").success();
    assert!(folder.join("before/nlsq/fitted_data.npz").exists());
    // read to the end, while each of eight passes waits
    let changed = |output: &'static str, strategy: &'static str, change: &dyn Fn(&Path)| {
        let mut run = fit(output, strategy).env("HOMODYNE_FAULT", "0:2:wait=250").start();
        run.wait_for("a checkpoint", || {
            let files = std::fs::read_dir(folder.join(output).join("checkpoints")).into_iter().flatten().flatten();
            files.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("checkpoint-"))
        });
        change(&folder.join("data.hdf"));
        run.outcome()
    };
    let outcome = changed("after", "chunked", &raise);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let said = "warn: fitted_data.npz is left out";
    let line = outcome.stderr.lines().find(|line| line.starts_with(said)).unwrap_or_default();
    assert!(line.contains("data.hdf") && line.contains("has changed since it was fitted"), "{outcome}");
    assert!(!folder.join("after/nlsq/fitted_data.npz").exists());
    assert_eq!(parameters(&folder.join("after")), parameters(&folder.join("before")), "the fit is of what was read");
    // what is read again must be what was read first
    changed("again", "streaming", &raise)
        .assert_error(3, &["data.hdf", "/c2[", "has changed since this run has read it first", "--resume never"]);
    let cut = |file: &Path| {
        let file = std::fs::File::options().write(true).open(file).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    };
    changed("cut", "streaming", &cut).assert_error(3, &["data.hdf", "has become shorter while it was read"]);
}

#[test]
fn sigma_of_the_file_belongs_to_the_hash_of_the_data() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make_as(folder, "native");
    let hash_with = |sigma: f64| {
        change(&folder.join("data.hdf"), |h5| match h5.dataset("sigma") {
            Ok(there) => there.write_scalar(&sigma).unwrap(),
            Err(_) => h5.new_dataset::<f64>().create("sigma").unwrap().write_scalar(&sigma).unwrap(),
        });
        alone(folder, &["--config", "config.yaml"]).success();
        parameters(&folder.join("homodyne_results"))["data_hash"].clone()
    };
    let first = hash_with(0.01);
    assert_ne!(hash_with(0.02), first);
    assert_eq!(hash_with(0.01), first);
}

#[test]
fn angles_with_the_same_matrix_are_named() {
    let folder = scratch();
    let folder = folder.path();
    Sample { angles: &[0.0, 45.0, 90.0], ..Sample::STILL }.make(folder);
    let warnings = |more: &[&str]| {
        let outcome = alone(folder, &[&["--config", "config.yaml"], more].concat()).success();
        let metrics = json(&folder.join("homodyne_results/nlsq/convergence_metrics.json"));
        let said = metrics["warnings"].to_string();
        let is_so = outcome.stderr.matches("are the same to the last bit").count();
        assert_eq!(said.matches("are the same to the last bit").count(), is_so, "{outcome}");
        (is_so, said)
    };
    assert_eq!(warnings(&[]).0, 0);
    change(&folder.join("data.hdf"), |h5| {
        let path = |k: usize| format!("{MAP}/c2_{k:05}");
        let first: Array2<f32> = h5.dataset(&path(1)).unwrap().read_2d().unwrap();
        h5.unlink(&path(3)).unwrap();
        h5.new_dataset_builder().with_data(&first).create(path(3).as_str()).unwrap();
    });
    let (count, said) = warnings(&[]);
    let named = "matrices at 2 angles are the same to the last bit";
    let both = format!("φ = 0° (/{MAP}/c2_00001), 90° (/{MAP}/c2_00003)");
    assert!(count == 1 && said.contains(named) && said.contains(&both), "{said}");
    // the remedy that it names
    let others = "phi_filtering={enabled: true, target_ranges: [{min_angle: 0, max_angle: 45}]}";
    assert_eq!(warnings(&["--set", others]).0, 0);
}
