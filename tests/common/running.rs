//! A run at work: to be signalled, killed, waited for.

use std::fs::{self, File};
use std::io::{Read, Seek};
use std::process::{Child, Command, Stdio};
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use super::{Outcome, PROGRAM, Run};

/// Time after which a run counts as hung: long, for many tests share the cores with builds.
const PATIENCE: Duration = Duration::from_secs(300);
/// Time that mpirun has to end its ranks when told to.
const GRACE: Duration = Duration::from_secs(3);

/// A run that has been started.
pub struct Running {
    pub(super) run: Run,
    pub(super) child: Child,
    pub(super) out: File,
    pub(super) err: File,
    pub(super) start: Instant,
    // the next job of several ranks may begin
    pub(super) _turn: Option<MutexGuard<'static, ()>>,
}

impl Running {
    /// Runs to the end. A run that hangs is killed with all its processes, and the test fails.
    #[track_caller]
    pub fn outcome(mut self) -> Outcome {
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if self.start.elapsed() > PATIENCE {
                let id = self.child.id();
                // mpirun puts ranks into groups of their own and ends them when told to end itself
                kill("TERM", &format!("-{id}"));
                let told = Instant::now();
                while told.elapsed() < GRACE && self.child.try_wait().unwrap().is_none() {
                    std::thread::sleep(Duration::from_millis(20));
                }
                kill("KILL", &format!("-{id}"));
                let _ = self.child.wait();
                panic!(
                    "no end after {PATIENCE:?}: {:?}\nstdout:\n{}\nstderr:\n{}",
                    self.run.command,
                    text(&mut self.out),
                    text(&mut self.err)
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        let took = self.start.elapsed();
        Outcome { code: status.code(), stdout: text(&mut self.out), stderr: text(&mut self.err), took }
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until something is so; the run must not end before.
    #[track_caller]
    pub fn wait_for(&mut self, what: &str, is_so: impl Fn() -> bool) {
        while !is_so() {
            if self.has_ended() {
                panic!("it has ended before {what}:\n{}", text(&mut self.err));
            }
            assert!(self.start.elapsed() < PATIENCE, "waited for {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Process numbers of the ranks, in their order.
    pub fn ranks(&self) -> Vec<u32> {
        if self.run.ranks.is_none() {
            return vec![self.child.id()];
        }
        let own = format!("PPid:\t{}\n", self.child.id());
        let rank_of = |id: u32| {
            let of_ours = fs::read_to_string(format!("/proc/{id}/status")).ok()?.contains(&own);
            let is_program = fs::read_link(format!("/proc/{id}/exe")).ok()? == std::path::Path::new(PROGRAM);
            let environment = fs::read(format!("/proc/{id}/environ")).ok()?;
            let rank = environment.split(|&b| b == 0).find_map(|v| v.strip_prefix(b"OMPI_COMM_WORLD_RANK="))?;
            let rank: usize = std::str::from_utf8(rank).ok()?.parse().ok()?;
            (of_ours && is_program).then_some((rank, id))
        };
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut ranks: Vec<(usize, u32)> = ids.filter_map(rank_of).collect();
        ranks.sort_unstable();
        ranks.into_iter().map(|(_, id)| id).collect()
    }

    /// Signals a process.
    pub fn signal(&self, name: &str, process: u32) {
        kill(name, &process.to_string());
    }

    /// Process number of what was started: the launcher, where there is one.
    pub fn launcher(&self) -> u32 {
        self.child.id()
    }

    /// Lets it work for a while, then kills the processes without a word: all of them, or of a job one rank only. Gives the
    /// exit code where it was faster.
    #[track_caller]
    pub fn killed_after(mut self, time: Duration, one_rank: bool) -> Option<i32> {
        let begin = Instant::now();
        while begin.elapsed() < time {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let ranks = self.ranks();
        if let (true, Some(&rank)) = (one_rank, ranks.last()) {
            kill("KILL", &rank.to_string());
        } else {
            ranks.iter().chain(&[self.child.id()]).for_each(|id| kill("KILL", &id.to_string()));
        }
        self.child.wait().unwrap().code()
    }
}

fn kill(signal: &str, whom: &str) {
    let line = format!("kill -{signal} {whom}");
    let _ = Command::new("sh").arg("-c").arg(line).stderr(Stdio::null()).status();
}

fn text(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}
