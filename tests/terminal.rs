//! What a terminal shows: progress and closing report fit its width and leave nothing behind; elsewhere there are plain lines.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::files::Sample;
use crate::common::{PROGRAM, alone, scratch, with_ranks};

/// Characters of the spinner.
const SPINNER: &str = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏⠁⠂⠄⠈⠐⠠⠒⠚⠓⠛⠲⠳⠖⠞⠆";

/// A terminal of so many columns in which a command runs.
struct Terminal {
    socket: String,
}

impl Terminal {
    /// `None`, said aloud, where there is no tmux.
    fn start(folder: &Path, columns: usize, command: &str) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "no tmux: scripts/setup.sh --tests");
            eprintln!("WARNING: there is no tmux, so tests in a terminal are left out");
            return None;
        }
        let terminal = Self { socket: format!("homodyne-{}-{columns}", std::process::id()) };
        let size = columns.to_string();
        let line = format!("{command}; touch done; sleep 60");
        let mut tmux = terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", &size, "-y", "150", &line]);
        assert!(tmux.current_dir(folder).env("LC_ALL", "C.UTF-8").status().unwrap().success());
        Some(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.args(["-u", "-L", &self.socket]).args(arguments);
        command
    }

    /// The lines on the screen; with those that were broken put together again.
    fn lines(&self, joined: bool) -> Vec<String> {
        let mut arguments = vec!["capture-pane", "-p", "-N"];
        if joined {
            arguments.push("-J");
        }
        let out = self.tmux(&arguments).output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        text.lines().map(|line| line.trim_end().to_string()).filter(|line| !line.is_empty()).collect()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]).output();
    }
}

#[test]
fn progress_and_report_fit_the_terminal() {
    let folder = scratch();
    Sample::FLOW.make(folder.path());
    // passes that are cut into batches, so that there is something to watch
    let command = format!(
        "HOMODYNE_ISA=portable {PROGRAM} --config config.yaml --strategy chunked --threads 1 --set simulation=null \
         --set optimization.nlsq.loss=soft_l1"
    );
    for columns in [80, 200] {
        let done = folder.path().join("done");
        let _ = std::fs::remove_file(&done);
        let Some(terminal) = Terminal::start(folder.path(), columns, &command) else { return };
        let begin = Instant::now();
        let mut blocks = 0;
        while !done.exists() {
            assert!(begin.elapsed() < Duration::from_secs(120), "{:?}", terminal.lines(false));
            let lines = terminal.lines(false);
            let spinning: Vec<usize> =
                (0..lines.len()).filter(|&k| lines[k].chars().next().is_some_and(|c| SPINNER.contains(c))).collect();
            // one block, at the end, of few lines
            assert!(spinning.len() <= 1, "{lines:#?}");
            if let Some(at) = spinning.first() {
                blocks += 1;
                assert!(lines.len() - at <= 4, "{lines:#?}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(Duration::from_millis(300));
        let lines = terminal.lines(false);
        println!("{columns} columns, {blocks} looks at a block\n{}", lines.join("\n"));
        assert!(blocks > 0, "nothing lived");
        assert_eq!(lines, terminal.lines(true), "a line is broken by the terminal");
        assert!(!lines.iter().any(|line| line.chars().any(|c| SPINNER.contains(c))), "{lines:#?}");
        assert!(lines.iter().any(|line| line.starts_with("Result: converged")));
    }
}

#[test]
fn redirected_output_has_no_control_characters() {
    let folder = scratch();
    Sample::FLOW.make(folder.path());
    let arguments = ["--config", "config.yaml", "-v"];
    for outcome in [alone(folder.path(), &arguments).success(), with_ranks(2, folder.path(), &arguments).success()] {
        for text in [&outcome.stdout, &outcome.stderr] {
            let control = text.chars().find(|c| c.is_control() && *c != '\n');
            assert_eq!(control, None, "{text}");
        }
        assert!(outcome.stdout.contains("Result: converged") && outcome.stderr.contains("info: "));
        let longest = outcome.stdout.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(100), "{}", outcome.stdout);
    }
    let quiet = alone(folder.path(), &["--config", "config.yaml", "-q"]).success();
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
}

#[test]
fn a_trace_has_all_ranks_on_one_clock() {
    let folder = scratch();
    let path = folder.path();
    Sample::FLOW.make(path);
    let arguments = ["--config", "config.yaml", "--trace", "trace.json", "--memory-profile", "memory.csv"];
    let outcome = with_ranks(2, path, &arguments).env("HOMODYNE_SAVE_MS", "0").success();
    assert!(outcome.stdout.contains("trace.json") && outcome.stdout.contains("memory.csv"));
    let trace = crate::common::json(&path.join("trace.json"));
    let events = trace["traceEvents"].as_array().unwrap();
    for rank in 0..2 {
        for name in ["pass", "tables", "tiles", "reduction", "looking"] {
            assert!(events.iter().any(|e| e["pid"] == rank && e["name"] == name), "rank {rank}: no {name}");
        }
    }
    for name in ["opening", "reading", "dealing", "fitting", "solver", "checkpoint", "writing", "drawing"] {
        assert!(events.iter().any(|e| e["pid"] == 0 && e["name"] == name), "no {name}");
    }
    // every pass begins on rank 1 after rank 0 has spoken, and rank 0 has its sums after rank 1 has made them
    let of = |rank: u64, name: &str| -> Vec<(f64, f64)> {
        let own = events.iter().filter(|e| e["pid"] == rank && e["name"] == name);
        own.map(|e| (e["ts"].as_f64().unwrap(), e["dur"].as_f64().unwrap())).collect()
    };
    let (passes, others, sums) = (of(0, "pass"), of(1, "pass"), of(0, "reduction"));
    assert!(!passes.is_empty() && passes.len() == others.len() && sums.len() == passes.len());
    // messages between two busy processes take a while, clocks differ by as much
    let slack = 2000.0;
    for ((pass, other), sum) in passes.iter().zip(&others).zip(&sums) {
        assert!(other.0 > pass.0 - slack, "{pass:?} {other:?}");
        assert!(sum.0 + sum.1 > other.0 + other.1 - slack, "{other:?} {sum:?}");
    }
    let memory = std::fs::read_to_string(path.join("memory.csv")).unwrap();
    assert!(memory.starts_with("seconds,rank,resident_bytes\n") && memory.lines().count() >= 3, "{memory}");
    let refused = alone(path, &["--config", "config.yaml", "--trace", "no/such/trace.json"]).outcome();
    refused.assert_error(5, &["no/such/trace.json"]);
}

#[test]
fn shells_get_their_completions() {
    let folder = scratch();
    for shell in ["bash", "zsh", "fish"] {
        let outcome = alone(folder.path(), &["completions", shell]).success();
        for word in ["memory-profile", "checkpoint", "reference"] {
            assert!(outcome.stdout.contains(word), "{shell}: no {word}");
        }
        if shell == "bash" {
            // what a user would do with it
            let script = folder.path().join("homodyne-mpi.bash");
            std::fs::write(&script, &outcome.stdout).unwrap();
            let ask = format!(
                "source {}; COMP_WORDS=(homodyne-mpi con); COMP_CWORD=1; _homodyne__mpi homodyne-mpi con homodyne-mpi; \
                 echo \"${{COMPREPLY[@]}}\"",
                script.display()
            );
            let answer = Command::new("bash").args(["-c", &ask]).output().unwrap();
            let words = String::from_utf8_lossy(&answer.stdout).into_owned();
            assert!(words.contains("convert") && words.contains("config"), "{words}");
        }
    }
    alone(folder.path(), &["completions", "tcsh"]).outcome().assert_error(2, &[]);
}
