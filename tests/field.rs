//! Files and configurations as people have them: read, or refused in words that name the slip and the cure.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use crate::common::files::{MAP, Sample, change, flow_config, static_config};
use crate::common::{alone, parameters, python, scratch};

/// A folder with a small data file and a configuration that fits it.
fn sample() -> tempfile::TempDir {
    let folder = scratch();
    Sample::STILL.make(folder.path());
    folder
}

fn python_in(folder: &Path, code: &str) -> bool {
    let Some(python) = python::with("h5py, numpy") else { return false };
    let out = Command::new(python).args(["-c", code]).current_dir(folder).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    true
}

/// The fit with a configuration of this text must be refused with this code and all these words.
#[track_caller]
fn refused(folder: &Path, text: impl AsRef<[u8]>, code: i32, words: &[&str]) {
    fs::write(folder.join("odd.yaml"), text).unwrap();
    alone(folder, &["--config", "odd.yaml"]).outcome().assert_error(code, words);
}

#[test]
fn a_file_left_open_or_newer_or_packed_says_so() {
    let folder = sample();
    let folder = folder.path();
    let copy = "import h5py, os\nf = h5py.File('open.hdf', 'w', libver='latest')\np = h5py.File('data.hdf', 'r')\n\
                [p.copy(name, f) for name in p]\nf.flush()\nf.swmr_mode = True\nf.flush()\nos._exit(0)\n";
    if !python_in(folder, copy) {
        return;
    }
    let fit = |file: &str| alone(folder, &["--config", "config.yaml", "--data-file", file]).outcome();
    fit("open.hdf").assert_error(3, &["marked as open by a program that writes it", "h5clear -s"]);
    let plain = fs::read(folder.join("data.hdf")).unwrap();
    let latest = "import h5py\nf = h5py.File('new.hdf', 'w', libver='v110')\np = h5py.File('data.hdf', 'r')\n\
                  [p.copy(name, f) for name in p]\n";
    python_in(folder, latest);
    let mut newer = fs::read(folder.join("new.hdf")).unwrap();
    newer[8] = 4;
    fs::write(folder.join("new.hdf"), newer).unwrap();
    fit("new.hdf").assert_error(3, &["newer HDF5 format", "h5repack"]);
    fs::write(folder.join("data.hdf.gz"), [b"\x1f\x8b\x08\0", &plain[..]].concat()).unwrap();
    fit("data.hdf.gz").assert_error(3, &["compressed as a whole", "gunzip"]);
}

#[test]
fn a_filter_without_its_plugin_is_named_with_the_cure() {
    let folder = sample();
    let folder = folder.path();
    let code = format!(
        "import h5py\nf = h5py.File('data.hdf', 'a')\nd = f['{MAP}/c2_00001']\nv = d[...]\ndel f['{MAP}/c2_00001']\n\
         p = h5py.h5p.create(h5py.h5p.DATASET_CREATE)\np.set_chunk(v.shape)\n\
         p.set_filter(32008, h5py.h5z.FLAG_OPTIONAL)\n\
         s = h5py.h5s.create_simple(v.shape)\n\
         h5py.h5d.create(f['{MAP}'].id, b'c2_00001', h5py.h5t.NATIVE_FLOAT, s, p)\n"
    );
    if !python_in(folder, &code) {
        return;
    }
    let fit = alone(folder, &["--config", "config.yaml"]).outcome();
    fit.assert_error(3, &["c2_00001", "Bitshuffle", "32008", "HDF5_PLUGIN_PATH"]);
}

#[test]
fn an_entry_of_another_name_and_strides_between_trains_are_read() {
    let folder = sample();
    let folder = folder.path();
    alone(folder, &["--config", "config.yaml"]).success();
    let plain = parameters(&folder.join("homodyne_results"));
    let code = format!(
        "import h5py, numpy as np\np = h5py.File('data.hdf', 'r')\n\
         c2 = np.array([p['{MAP}/' + n][...] for n in sorted(p['{MAP}'])])\n\
         f = h5py.File('nexus.h5', 'w')\ne = f.create_group('scan_12')\ne.attrs['NX_class'] = 'NXentry'\n\
         d = e.create_dataset('twotime/two_time_corr_func', data=c2)\n\
         d.attrs['storage_mode'] = 'one_array_q_first'\nd.attrs['baseline_reference'] = 1\n\
         q = e.create_dataset('instrument/masks/dynamic_q_list', data=np.full(len(c2), 0.0054))\nq.attrs['units'] = '1/angstrom'\n\
         e['instrument/masks/dynamic_phi_list'] = [0.0, 90.0]\n\
         f = h5py.File('xfel.h5', 'w')\ng = f.create_group('train_resolved/correlation')\n\
         g['q'] = np.full(len(c2), 0.054)\ng['t'] = 0.1 * np.arange(c2.shape[1])\ng['stride'] = [0, 1, 10]\n\
         g['ttc'] = np.stack([np.stack([c2, np.ones_like(c2), np.ones_like(c2)])] * 2)\n"
    );
    if !python_in(folder, &code) {
        return;
    }
    alone(folder, &["--config", "config.yaml", "--data-file", "nexus.h5"]).success();
    assert_eq!(parameters(&folder.join("homodyne_results")), plain);
    let train = ["--set", "experimental_data.train=2", "--set", "experimental_data.phi_angles=[0.0, 90.0]"];
    let fit = [&["--config", "config.yaml", "--data-file", "xfel.h5"], &train[..]].concat();
    alone(folder, &fit).success();
    assert_eq!(parameters(&folder.join("homodyne_results")), plain);
    change(&folder.join("xfel.h5"), |h5| {
        let strides = h5.dataset("train_resolved/correlation/stride").unwrap();
        strides.write(&ndarray::arr1(&[1_i64, 2, 10])).unwrap();
    });
    alone(folder, &fit).outcome().assert_error(3, &["/train_resolved/correlation/stride", "[1, 2, 10]"]);
}

#[test]
fn frames_that_a_file_calls_bad_are_left_out() {
    let Some(layouts) = python::layouts() else { return };
    let folder = scratch();
    let folder = folder.path();
    fs::copy(layouts.join("chx.h5"), folder.join("data.hdf")).unwrap();
    change(&folder.join("data.hdf"), |h5| {
        h5.new_dataset_builder().with_data(&[3_i64, 4, 9]).create("bad_frame_list").unwrap();
    });
    let seen = alone(folder, &["inspect", "data.hdf", "--q", "0.0054"]).success();
    assert!(seen.stdout.contains("3 frames that the file calls bad are left out: frames 4–5, 10"), "{seen}");
}

#[test]
fn a_sector_without_pixels_is_named_with_its_angle() {
    let folder = sample();
    let folder = folder.path();
    change(&folder.join("data.hdf"), |h5| {
        let matrix = h5.dataset(&format!("{MAP}/c2_00002")).unwrap();
        let n = matrix.shape()[0];
        matrix.write(&ndarray::Array2::from_elem((n, n), f32::NAN)).unwrap();
    });
    let fit = alone(folder, &["--config", "config.yaml"]).outcome();
    fit.assert_error(3, &["c2_00002", "no finite value", "φ = 90°", "phi_filtering.target_ranges"]);
}

#[test]
fn too_few_descriptors_say_what_to_raise() {
    let folder = sample();
    let program = crate::common::PROGRAM;
    let mut words = std::collections::BTreeSet::new();
    for most in 4..14 {
        let command = format!("ulimit -n {most}; exec '{program}' inspect data.hdf");
        let out = Command::new("sh").args(["-c", &command]).current_dir(folder.path()).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!said.contains("damaged"), "{most}: {said}");
        if said.contains("Too many open files") {
            assert!(said.contains("ulimit -n"), "{most}: {said}");
            words.insert(out.status.code());
        }
    }
    assert!(words.contains(&Some(5)), "{words:?}");
}

#[test]
fn priors_that_cannot_be_meant_and_settings_of_other_files_are_named() {
    let folder = sample();
    let folder = folder.path();
    let with = |bounds: &str| {
        let text = format!(
            "{}parameter_space: {{bounds: [{{{bounds}}}]}}\noptimization: {{method: nuts}}\n",
            static_config("data.hdf")
        );
        fs::write(folder.join("odd.yaml"), text).unwrap();
        alone(folder, &["config", "check", "odd.yaml"]).outcome()
    };
    let of_one = with("name: contrast_0, min: 0.0, max: 1.0, type: TruncatedNormal, prior_mu: 0.5, prior_sigma: 0.1");
    of_one.assert_error(2, &["a prior for the contrast of one angle isn't available yet", "under `contrast`"]);
    let far =
        with("name: D0, min: 1.0, max: 1.0e5, type: TruncatedNormal, prior_mu: 1.0e9, prior_sigma: 5.0").to_string();
    assert!(far.contains("puts the centre of the prior at 1e9, outside the bounds 1 to 100000"), "{far}");
    let logarithm =
        with("name: D0, min: 1.0, max: 1.0e5, type: LogNormal, prior_mu: 20000.0, prior_sigma: 1.0").to_string();
    assert!(logarithm.contains("it is that of ln x"), "{logarithm}");
    let fine =
        with("name: D0, min: 1.0, max: 1.0e5, type: TruncatedNormal, prior_mu: 2.0e4, prior_sigma: 5.0e3").to_string();
    assert!(!fine.contains("prior_mu"), "{fine}");
    let text = static_config("data.hdf")
        .replace("experimental_data:\n", "experimental_data:\n  train: 2\n  baseline_reference: 0\n")
        + "data_filtering: {phi_range: {min: 0, max: 10}}\noptimization: {nlsq: {ftol: 1.0e-6}}\n";
    fs::write(folder.join("odd.yaml"), text).unwrap();
    let fit = alone(folder, &["--config", "odd.yaml"]).success();
    for words in ["baseline_reference isn't used", "train isn't used", "`data_filtering.phi_range` has no effect"] {
        assert!(fit.stderr.contains(words), "{words}: {fit}");
    }
    assert!(!fit.stderr.contains("ftol"), "{fit}");
}

#[test]
fn slips_of_yaml_are_pointed_at_where_they_are() {
    let folder = sample();
    let folder = folder.path();
    let plain = static_config("data.hdf");
    refused(
        folder,
        plain.replace("  dt", "\u{a0}\u{a0}dt"),
        2,
        &["odd.yaml:3:1", "a no-break space (U+00A0)", "type a blank"],
    );
    refused(folder, plain.replace("dt: 0.1", "dt:0.1"), 2, &["odd.yaml:3:6", "a blank is missing behind the colon"]);
    refused(folder, plain.replace("  start", "\tstart"), 2, &["odd.yaml:4:1", "a tab"]);
    let dash = plain.replace("start_frame: 1", "start_frame: \u{2013}1");
    refused(folder, dash, 2, &["odd.yaml:4:16", "an en dash (U+2013)", "type a hyphen instead"]);
    refused(
        folder,
        plain.replace("dt: 0.1", "dt: 0.1 s"),
        2,
        &["odd.yaml:3:7", "write the number alone, without a unit"],
    );
    let backslash = plain.replace("data.hdf", "\"D:\\data\\x.hdf\"");
    refused(folder, backslash, 2, &["a backslash between double quotes begins an escape", "single quotes"]);
    let mapping = format!("{plain}parameter_space: {{bounds: {{D0: {{min: 1.0, max: 2.0e6}}}}}}\n");
    refused(folder, mapping, 2, &["must be a list of sections, each of which begins with `- name:`"]);
    let latin = plain.replace("  dt", "  # in A\n  dt").into_bytes();
    let latin: Vec<u8> = latin.iter().map(|&b| if b == b'A' { 0xc5 } else { b }).collect();
    refused(folder, latin, 2, &["line 3 isn't UTF-8", "save the file in UTF-8"]);
    // what looks odd but is meant stays: in comments and in values
    let comment = plain.replace("  dt", "  # 1 – 2\u{a0}s\n  dt");
    fs::write(folder.join("odd.yaml"), comment).unwrap();
    alone(folder, &["--config", "odd.yaml"]).success();
}

#[test]
fn numbers_that_are_read_otherwise_or_cannot_be_meant_are_named() {
    let folder = sample();
    let folder = folder.path();
    let octal = static_config("data.hdf").replace("start_frame: 1", "start_frame: 010");
    fs::write(folder.join("odd.yaml"), octal).unwrap();
    for command in [&["--config", "odd.yaml"][..], &["config", "check", "odd.yaml"]] {
        let outcome = alone(folder, command).success();
        let text = format!("{}{}", outcome.stdout, outcome.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("start_frame: 010` is 10 here and 8 in the Python package"), "{outcome}");
    }
    for (gap, meant) in [("0.2", "2e6"), ("200", "2e6")] {
        fs::write(folder.join("odd.yaml"), flow_config("data.hdf").replace("2000000.0", gap)).unwrap();
        let outcome = alone(folder, &["config", "check", "odd.yaml"]).success();
        assert!(outcome.stdout.contains("less than 1 µm") && outcome.stdout.contains(meant), "{outcome}");
    }
}

#[test]
fn a_check_that_succeeds_has_looked_at_the_data() {
    let folder = sample();
    let folder = folder.path();
    let seen = alone(folder, &["config", "check", "config.yaml"]).success();
    assert!(
        seen.stdout.contains(
            "The data file fits it, and can be read: APS-U, 2 angles with 60 frames, q = 0.0054 1/Å, dt = 0.1 s"
        ),
        "{seen}"
    );
    let far = fs::read_to_string(folder.join("config.yaml")).unwrap().replace("0.0054", "0.5");
    fs::write(folder.join("far.yaml"), far).unwrap();
    alone(folder, &["config", "check", "far.yaml"]).outcome().assert_error(3, &["no matrix at", "0.5"]);
    assert!(seen.stdout.contains("config.yaml: a fit can run with it"), "{seen}");
    // too few pairs for the parameters, and a verdict that goes with the exit code
    let plain = fs::read_to_string(folder.join("config.yaml")).unwrap();
    fs::write(folder.join("short.yaml"), plain.replace("start_frame: 1", "start_frame: 57")).unwrap();
    let short = alone(folder, &["config", "check", "short.yaml"]).outcome();
    short.assert_error(3, &["pairs of frames have a value, which can't determine"]);
    assert!(short.stdout.contains("no fit can run with it and its data file"), "{short}");
    alone(folder, &["--config", "short.yaml"]).outcome().assert_error(3, &["which can't determine"]);
    // what doesn't go with the angles, and matrices that hold nothing
    let text = fs::read_to_string(folder.join("config.yaml")).unwrap();
    fs::write(
        folder.join("few.yaml"),
        format!("{text}parameter_space: {{bounds: [{{name: contrast_7, min: 0.1, max: 0.2}}]}}\n"),
    )
    .unwrap();
    alone(folder, &["config", "check", "few.yaml"])
        .outcome()
        .assert_error(2, &["contrast_7", "2 angle(s) are selected"]);
    change(&folder.join("data.hdf"), |h5| {
        let matrix = h5.dataset(&format!("{MAP}/c2_00001")).unwrap();
        let n = matrix.shape()[0];
        matrix.write(&ndarray::Array2::from_elem((n, n), f32::NAN)).unwrap();
    });
    let refused = alone(folder, &["config", "check", "config.yaml"]).outcome();
    refused.assert_error(3, &["c2_00001", "no finite value", "phi_filtering"]);
    fs::remove_file(folder.join("data.hdf")).unwrap();
    let seen = alone(folder, &["config", "check", "config.yaml"]).success();
    assert!(seen.stdout.contains("The data file isn't there"), "{seen}");
}

#[test]
fn paths_are_where_they_were_meant() {
    let folder = sample();
    let folder = folder.path();
    let home = folder.join("home");
    fs::create_dir_all(home.join("in")).unwrap();
    fs::rename(folder.join("data.hdf"), home.join("in/data.hdf")).unwrap();
    for (path, output) in [("~/in/data.hdf", "$PLACE/out"), ("${PLACE}/in/data.hdf", "~/out")] {
        let text = format!("{}output: {{directory: \"{output}\"}}\n", static_config(path));
        fs::write(folder.join("odd.yaml"), text).unwrap();
        let home = home.to_str().unwrap();
        alone(folder, &["--config", "odd.yaml"]).env("HOME", home).env("PLACE", home).success();
        assert!(Path::new(home).join("out/nlsq/parameters.json").exists());
        fs::remove_dir_all(Path::new(home).join("out")).unwrap();
    }
    refused(folder, static_config("$NO_SUCH_PLACE/data.hdf"), 2, &["$NO_SUCH_PLACE isn't set"]);
    refused(folder, static_config("~nobody/data.hdf"), 2, &["other users' folders"]);
    fs::copy(home.join("in/data.hdf"), folder.join("run #3.hdf")).unwrap();
    refused(folder, static_config("run #3.hdf"), 3, &["run: no such file", "a blank and # begin a comment", "quotes"]);
    std::os::unix::fs::symlink("moved/away.hdf", folder.join("link.hdf")).unwrap();
    refused(
        folder,
        static_config("link.hdf"),
        3,
        &["link.hdf: is a link to moved/away.hdf, where there is no such file"],
    );
    // bytes that are no text
    fs::write(folder.join("odd.yaml"), static_config("'run #3.hdf'")).unwrap();
    let odd = OsStr::from_bytes(b"aus_\xe4");
    let arguments = [OsStr::new("--config"), OsStr::new("odd.yaml"), OsStr::new("--output-dir"), odd];
    alone(folder, &arguments).success();
    assert!(folder.join(odd).join("nlsq/parameters.json").exists());
}
