//! Results appear whole: whatever ends a run, an earlier or the new result is in its place, complete, and what is older under
//! `previous/`. What there is to look at never costs a number.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::disk::on_small_disk;
use crate::common::files::{Sample, change};
use crate::common::kept::assert_resumed;
use crate::common::{Outcome, PROGRAM, alone, json, other, parameters, scratch, tree};
use rand::{RngExt, SeedableRng};

const FIT: [&str; 6] = ["--config", "config.yaml", "--threads", "1", "--output-dir", "out"];

/// Everything in a folder by its path within.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let inside = |path: PathBuf| path.strip_prefix(folder).unwrap().to_path_buf();
    tree(folder).into_iter().map(|(path, bytes)| (inside(path), bytes)).collect()
}

/// Folders of earlier results, oldest first.
fn previous(out: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(out.join("previous")).into_iter().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// What nobody should find after a run that came to its end.
#[track_caller]
fn assert_no_litter(out: &Path) {
    let hidden = |path: &&PathBuf| path.file_name().unwrap().to_string_lossy().starts_with('.');
    let tree = tree(out);
    assert_eq!(tree.keys().filter(hidden).collect::<Vec<_>>(), Vec::<&PathBuf>::new());
}

#[track_caller]
fn assert_warned(outcome: &Outcome, parts: &[&str]) {
    let is_it = |line: &str| line.starts_with("warn: ") && parts.iter().all(|part| line.contains(part));
    assert!(outcome.stderr.lines().any(is_it), "no warning of {parts:?}: {outcome}");
}

#[test]
fn earlier_results_are_kept_by_their_time_up_to_a_number() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    let out = folder.join("out");
    let keep = [&FIT[..], &["--set", "output.keep_previous=2"]].concat();
    alone(folder, &keep).success();
    fs::write(out.join("nlsq/notes.txt"), "mine").unwrap();
    fs::create_dir_all(out.join("previous/of mine")).unwrap();
    let mut earlier = Vec::new();
    for run in 1..=3 {
        earlier.push(contents(&out.join("nlsq")));
        alone(folder, &keep).success();
        let kept = previous(&out).into_iter().filter(|path| !path.ends_with("of mine"));
        let kept: Vec<_> = kept.map(|path| contents(&path.join("nlsq"))).collect();
        assert_eq!(kept, earlier[run.max(2) - 2..], "after run {run}");
    }
    assert!(out.join("previous/of mine").exists());
    assert_no_litter(&out);
}

#[test]
fn results_that_can_not_be_moved_are_an_error_before_anything_is_done() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    // /proc is a file system of its own everywhere
    fs::create_dir_all(folder.join("out/nlsq")).unwrap();
    std::os::unix::fs::symlink("/proc", folder.join("out/previous")).unwrap();
    let before = contents(&folder.join("out/nlsq"));
    let refused = alone(folder, &FIT).outcome();
    refused.assert_error(5, &["out/previous", "another file system", "--output-dir"]);
    assert!(!refused.stderr.contains("search"), "it has computed: {refused}");
    assert_eq!(contents(&folder.join("out/nlsq")), before);
    fs::remove_file(folder.join("out/previous")).unwrap();

    // somebody else's
    let nobody = "65534";
    let mut probe = Command::new("setpriv");
    probe.args(["--reuid", nobody, "--regid", nobody, "--clear-groups", "true"]);
    if !crate::common::alone_with_files(|| probe.status()).is_ok_and(|status| status.success()) {
        println!("left out: this user can't run as another");
        return;
    }
    let open = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    open(folder, 0o777);
    open(&folder.join("out"), 0o777);
    let program = folder.join("program");
    fs::copy(PROGRAM, &program).unwrap();
    for (of_out, of_results) in [(0o777, 0o755), (0o1777, 0o777)] {
        open(&folder.join("out"), of_out);
        open(&folder.join("out/nlsq"), of_results);
        let mut command = Command::new("setpriv");
        command.args(["--reuid", nobody, "--regid", nobody, "--clear-groups"]).arg(&program).args(FIT);
        other(folder, command).outcome().assert_error(5, &["out/nlsq", "belongs to another user (number 0)"]);
        assert_eq!(fs::read_dir(folder.join("out")).unwrap().count(), 1);
    }
}

#[test]
fn a_disk_that_pictures_fill_costs_a_warning() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    alone(folder, &FIT).success();
    let expected = parameters(&folder.join("out"));
    let is_picture = |path: &Path| [Some(OsStr::new("png")), Some(OsStr::new("html"))].contains(&path.extension());
    let size = |pictures: bool| -> usize {
        let files = tree(&folder.join("out")).into_iter().filter(|(path, _)| is_picture(path) == pictures);
        files.filter_map(|(_, bytes)| Some(bytes?.len().div_ceil(4096) * 4 + 4)).sum()
    };
    let (numbers, pictures) = (size(false), size(true));
    // earlier results of which room is taken as well
    fs::create_dir_all(folder.join("seed/results/nlsq")).unwrap();
    fs::write(folder.join("seed/results/nlsq/parameters.json"), "{}").unwrap();
    let arguments = ["--config", "config.yaml", "--output-dir", "disk/results"];
    let Some(outcome) = on_small_disk(folder, numbers + 40, &arguments) else { return };
    assert!(pictures > 60, "{pictures} kB of pictures are no test");
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_warned(&outcome, &["disk/results/nlsq/", "No space left"]);
    let after = folder.join("after/results");
    assert_eq!(parameters(&after), expected);
    assert!(after.join("nlsq/report.txt").exists() && previous(&after).len() == 1);
}

#[test]
fn a_picture_whose_name_is_too_long_costs_a_warning() {
    let folder = scratch();
    let folder = folder.path();
    Sample { angles: &[0.0, 1e260], ..Sample::STILL }.make_as(folder, "native");
    let outcome = alone(folder, &FIT).success();
    assert_warned(&outcome, &["out/nlsq/c2_heatmaps_phi_1", "too long"]);
    let results = folder.join("out/nlsq");
    for name in ["parameters.json", "report.html", "report.txt", "c2_heatmaps_phi_0.0deg.png"] {
        assert!(results.join(name).exists(), "{name}: {outcome}");
    }
}

const DRAWS: &str = "optimization.nuts={num_warmup: 60, num_samples: 100, num_chains: 3}";

#[test]
fn results_of_the_fit_are_there_while_draws_are_made_and_a_stop_doesn_t_double_them() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    let both = [&FIT[..], &["--method", "both", "--set", DRAWS]].concat();
    let out = folder.join("out");
    let stopped = alone(folder, &both).env("HOMODYNE_FAULT", "0:60:signal").outcome();
    assert_eq!(stopped.code, Some(75), "{stopped}");
    let names: Vec<PathBuf> = contents(&out.join("nlsq")).into_keys().collect();
    for name in ["parameters.json", "result.h5", "report.html", "report.txt", "c2_heatmaps_phi_0.0deg.png"] {
        assert!(names.contains(&name.into()), "{name} {names:?}");
    }
    let fit = parameters(&out);
    fs::write(out.join("nlsq/notes.txt"), "mine").unwrap();
    let again = alone(folder, &both).outcome();
    assert!(matches!(again.code, Some(0 | 4)), "{again}");
    assert_resumed(&again);
    assert_eq!(parameters(&out), fit);
    assert!(out.join("nuts/samples.h5").exists() && out.join("nlsq/notes.txt").exists());
    for report in ["report.txt", "report.html"] {
        assert!(fs::read_to_string(out.join("nlsq").join(report)).unwrap().contains("Posterior"), "{report}");
    }
    assert_eq!(previous(&out), Vec::<PathBuf>::new(), "it was one run");
    assert_no_litter(&out);
}

#[test]
fn sampling_that_can_not_begin_leaves_the_fit_and_says_where_it_is() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make_as(folder, "native");
    // data without any noise, which the model describes with χ² = 0
    change(&folder.join("data.hdf"), |h5| {
        let c2 = h5.dataset("c2").unwrap();
        c2.write_raw(&vec![1.25f32; c2.size()]).unwrap();
    });
    let checkpoints = ["--set", "optimization.streaming.checkpoint_frequency=1"];
    let both = [&FIT[..], &["--method", "both"], &checkpoints].concat();
    let refused = alone(folder, &both).env("HOMODYNE_SAVE_MS", "0").outcome();
    refused.assert_error(2, &["sampling can't begin", "the results of the fit are in out/nlsq"]);
    assert!(refused.stdout.contains("Result:") && refused.stdout.contains("Warnings"), "{refused}");
    let fit = parameters(&folder.join("out"));
    assert!(folder.join("out/nlsq/report.html").exists() && !folder.join("out/nuts").exists());
    // nothing that it has left bars the way
    let alone = alone(folder, &[&FIT[..], &["--method", "nlsq"], &checkpoints].concat()).outcome();
    assert!(matches!(alone.code, Some(0 | 4)), "{alone}");
    assert_eq!(parameters(&folder.join("out")), fit);
}

/// A fit over an earlier result, which is killed when it is about to make a system call.
struct Killed<'f> {
    folder: &'f Path,
    /// The earlier result with one that is older.
    seed: BTreeMap<PathBuf, Option<Vec<u8>>>,
    /// What a run leaves that is not disturbed.
    names: Vec<PathBuf>,
    expected: serde_json::Value,
    /// System calls from the first that has to do with the new result: which, and the how maniest of its kind in its thread.
    calls: Vec<(String, usize)>,
    /// Which of these are the first of all, the first that keeps the earlier result, and that puts the new one in its place.
    firsts: [usize; 3],
}

/// System calls by which files and folders are changed, or looked at.
const CALLS: &str = "?open,openat,?creat,write,pwrite64,close,fsync,ftruncate,?rename,renameat,renameat2,?mkdir,mkdirat,?link,linkat,\
                     ?unlink,unlinkat,?rmdir,?chmod,fchmodat,?getdents64";

impl<'f> Killed<'f> {
    /// `None` where there is no strace, or it may not trace.
    fn new(folder: &'f Path) -> Option<Self> {
        let mut probe = Command::new("strace");
        probe.args(["-qq", "-o", "/dev/null", "true"]);
        if !crate::common::alone_with_files(|| probe.status()).is_ok_and(|status| status.success()) {
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "strace is missing");
            println!("left out: no strace here, or it may not trace");
            return None;
        }
        Sample::STILL.make(folder);
        let out = folder.join("out");
        alone(folder, &FIT).success();
        alone(folder, &FIT).success();
        let names = contents(&out.join("nlsq")).into_keys().collect();
        let expected = parameters(&out);
        fs::write(out.join("nlsq/notes.txt"), "mine").unwrap();
        let seed = contents(&out);
        let mut killed = Self { folder, seed, names, expected, calls: Vec::new(), firsts: [0; 3] };
        let outcome = killed.traced(&["-o", "trace", "-e", &format!("trace={CALLS}")]);
        assert_eq!(outcome.code, Some(0), "{outcome}");
        let trace = fs::read_to_string(folder.join("trace")).unwrap();
        let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
        let (mut begun, mut kept, mut put) = (false, None, None);
        for line in trace.lines() {
            let Some((thread, rest)) = line.split_once(' ') else { continue };
            let Some((call, arguments)) = rest.trim_start().split_once('(') else { continue };
            if !call.bytes().all(|b| b.is_ascii_alphanumeric()) {
                continue;
            }
            let count = counts.entry((thread.into(), call.into())).or_default();
            *count += 1;
            begun |= arguments.contains("/.homodyne-new-");
            if begun {
                let number = killed.calls.len();
                kept = kept.or_else(|| arguments.contains("/older").then_some(number));
                put = put.or_else(|| arguments.contains("RENAME_EXCHANGE").then_some(number));
                killed.calls.push((call.into(), *count));
            }
        }
        let kept = kept.unwrap();
        killed.firsts = [0, kept, put.unwrap_or(kept)];
        Some(killed)
    }

    /// The fit under strace, over the earlier result.
    fn traced(&self, options: &[&str]) -> Outcome {
        let out = self.folder.join("out");
        fs::remove_dir_all(&out).unwrap();
        fs::create_dir(&out).unwrap();
        for (path, bytes) in &self.seed {
            match bytes {
                None => fs::create_dir(out.join(path)).unwrap(),
                Some(bytes) => fs::write(out.join(path), bytes).unwrap(),
            }
        }
        let mut command = Command::new("strace");
        command.args(["-f", "-qq"]).args(options).arg(PROGRAM).args(FIT);
        other(self.folder, command).outcome()
    }

    /// What of the seed is in one of its folders.
    fn of_seed(&self, folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let inside = |(path, bytes): (&PathBuf, &Option<Vec<u8>>)| {
            path.strip_prefix(folder)
                .ok()
                .filter(|rest| *rest != Path::new(""))
                .map(|rest| (rest.to_path_buf(), bytes.clone()))
        };
        self.seed.iter().filter_map(inside).collect()
    }

    /// Kills one run at a random system call, and looks at what it leaves. Says whether that was the new result.
    #[track_caller]
    fn kill(&self, rng: &mut impl RngExt, first: usize) -> Option<bool> {
        let (call, count) = &self.calls[rng.random_range(first..self.calls.len())];
        let inject = format!("inject={call}:signal=KILL:when={count}");
        let outcome = self.traced(&["-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]);
        if outcome.code == Some(0) {
            return None;
        }
        let out = self.folder.join("out");
        let own = contents(&out.join("nlsq"));
        let earlier = self.of_seed(Path::new("nlsq"));
        let previous = previous(&out);
        let kept: Vec<_> = previous.iter().map(|path| contents(&path.join("nlsq"))).collect();
        let oldest = self.seed.keys().find(|path| path.parent() == Some(Path::new("previous"))).unwrap();
        assert!(kept.contains(&self.of_seed(&oldest.join("nlsq"))), "{inject}: the older result is gone: {previous:?}");
        let is_new = own != earlier;
        if is_new {
            assert_eq!(own.into_keys().collect::<Vec<_>>(), self.names, "{inject}: half a result: {outcome}");
            assert_eq!(parameters(&out), self.expected);
            for name in ["analysis_results_nlsq.json", "convergence_metrics.json"] {
                json(&out.join("nlsq").join(name));
            }
            assert!(kept.contains(&earlier), "{inject}: the earlier result is gone: {previous:?}");
        }
        Some(is_new)
    }

    /// So many kills, each of which comes before the end: anywhere, from where the earlier result is kept, from where the new one is
    /// put in its place, in turn.
    fn kills(&self, wanted: usize) {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        let (mut kills, mut new, mut late) = (0, 0, 0);
        while kills < wanted {
            match self.kill(&mut rng, self.firsts[kills % 3]) {
                Some(is_new) => (kills, new) = (kills + 1, new + usize::from(is_new)),
                None => late += 1,
            }
            assert!(late < 20 + wanted, "kills come too late");
        }
        println!(
            "{kills} kills at {} system calls: {new} left the new result, the others the earlier one",
            self.calls.len()
        );
        // and the next run isn't in the way of what they left
        alone(self.folder, &FIT).success();
        let out = self.folder.join("out");
        assert_eq!(parameters(&out), self.expected);
        assert_no_litter(&out);
    }
}

#[test]
fn a_kill_at_any_system_call_leaves_one_whole_result_and_the_older_in_previous() {
    let folder = scratch();
    let Some(killed) = Killed::new(folder.path()) else { return };
    killed.kills(8);
}

/// For docs/validation.md.
#[test]
#[ignore = "a few minutes; cargo test --release --test program -- --ignored --nocapture killed_two_hundred"]
fn killed_two_hundred_times_while_results_are_written() {
    let folder = scratch();
    let Some(killed) = Killed::new(folder.path()) else { return };
    killed.kills(200);
}
