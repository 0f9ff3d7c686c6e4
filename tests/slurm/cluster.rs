//! A private Slurm of two nodes on this machine (`cluster.sh`), and jobs in it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::common::{PROGRAM, Run, alone_with_files, other, srun_plugin};

/// Time after which a job counts as hung.
const PATIENCE: Duration = Duration::from_secs(300);

/// One cluster at a time: two cores are few enough for one.
static ONE: Mutex<()> = Mutex::new(());

/// Daemons of a controller and two nodes of four processors each, which end with this.
pub struct Cluster {
    folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// How a job stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// As `scontrol` names it.
    pub state: String,
    /// Exit code of the script and the signal that ended it.
    pub exit: String,
    pub restarts: u32,
    pub why: String,
}

impl Job {
    /// Whether nothing more will become of it.
    fn has_ended(&self) -> bool {
        !["PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SIGNALING", "REQUEUED", "SUSPENDED"]
            .contains(&self.state.as_str())
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slurm/cluster.sh")
}

impl Cluster {
    /// Starts one; nothing, and says so, where Slurm isn't installed.
    #[track_caller]
    pub fn start() -> Option<Self> {
        let is_there = |name: &str| {
            let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
            std::env::split_paths(&path).any(|folder| folder.join(name).exists())
        };
        let wanted = ["slurmctld", "slurmd", "munged", "srun", "sbatch"];
        if let Some(missing) = wanted.into_iter().find(|name| !is_there(name)) {
            println!("left out: there is no {missing} here, which scripts/setup.sh --tests installs where it may");
            return None;
        }
        let turn = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        // short: the paths of sockets have little room
        let folder = tempfile::Builder::new().prefix("sl-").tempdir().unwrap();
        let cluster = Self { folder, _turn: turn };
        let started = cluster.control(&["start"]);
        assert!(started.status.success(), "{}", String::from_utf8_lossy(&started.stderr));
        Some(cluster)
    }

    /// Has the script do something; daemons must not inherit what it writes to.
    fn control(&self, what: &[&str]) -> Output {
        let log = self.folder.path().join("control.log");
        let file = std::fs::File::create(&log).unwrap();
        let mut command = Command::new(script());
        command.arg(what[0]).arg(self.folder.path()).args(&what[1..]).stdout(file.try_clone().unwrap()).stderr(file);
        let status = alone_with_files(|| command.status()).unwrap();
        Output { status, stdout: Vec::new(), stderr: std::fs::read(&log).unwrap() }
    }

    /// Starts the daemon of a node (1 or 2) again.
    pub fn restart_node(&self, node: usize) {
        assert!(self.control(&["node", &node.to_string()]).status.success());
    }

    /// Kills the daemon of a node (1 or 2), as when the node fails; its jobs' processes stay.
    pub fn kill_node(&self, node: usize) {
        let pid = std::fs::read_to_string(self.folder.path().join(format!("slurmd.n{node}.pid"))).unwrap();
        assert!(Command::new("kill").args(["-9", pid.trim()]).status().unwrap().success());
    }

    /// A command of Slurm's in a folder, which runs this program by its full name.
    pub fn command<A: AsRef<OsStr>>(&self, folder: &Path, program: &str, arguments: &[A]) -> Run {
        let mut command = Command::new(program);
        command.args(arguments);
        let conf = self.folder.path().join("slurm.conf");
        let run = other(folder, command).env("SLURM_CONF", conf.to_str().unwrap()).env("HOMODYNE_MPI", PROGRAM);
        let run = run.env("HOMODYNE_MPI_PLUGIN", srun_plugin());
        // both nodes are this machine, which Open MPI would take for one with shared memory
        let run = run.env("OMPI_MCA_btl", "tcp,self").env("OMPI_MCA_btl_tcp_if_include", "lo");
        run.env("TMPDIR", "/tmp")
    }

    /// What a command of Slurm's prints.
    #[track_caller]
    pub fn ask<A: AsRef<OsStr>>(&self, program: &str, arguments: &[A]) -> String {
        self.command(self.folder.path(), program, arguments).success().stdout
    }

    /// Submits one of the templates of `slurm/` in a folder, with what must be edited edited: options of sbatch, variables for the
    /// job, arguments of the template. Gives the job's number.
    #[track_caller]
    pub fn submit(
        &self,
        folder: &Path,
        template: &str,
        (options, variables, arguments): (&[&str], &[(&str, &str)], &[&str]),
    ) -> u32 {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("slurm").join(template);
        let text = std::fs::read_to_string(source).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with("#SBATCH --account=ACCOUNT"));
        let edited: Vec<String> = lines.map(|line| line.replace("=PARTITION", "=main")).collect();
        std::fs::write(folder.join(template), edited.join("\n") + "\n").unwrap();
        let all = [&["--parsable"], options, &[template], arguments].concat();
        let mut run = self.command(folder, "sbatch", &all);
        for (name, value) in variables {
            run = run.env(name, value);
        }
        let outcome = run.success();
        outcome.stdout.trim().parse().unwrap_or_else(|_| panic!("{outcome}"))
    }

    /// How a job stands.
    #[track_caller]
    pub fn job(&self, job: &str) -> Job {
        let text = self.ask("scontrol", &["--oneliner", "show", "job", job]);
        let field = |name: &str| {
            let found = text.split_whitespace().find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
            found.unwrap_or_default().to_owned()
        };
        Job {
            state: field("JobState"),
            exit: field("ExitCode"),
            restarts: field("Restarts").parse().unwrap_or(0),
            why: field("Reason"),
        }
    }

    /// Waits until a job stands so.
    #[track_caller]
    pub fn wait_until(&self, job: u32, what: &str, is_so: impl Fn(&Job) -> bool) -> Job {
        let begin = Instant::now();
        loop {
            let now = self.job(&job.to_string());
            if is_so(&now) {
                return now;
            }
            assert!(begin.elapsed() < PATIENCE, "waited for {what}: {now:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits for a job's end.
    #[track_caller]
    pub fn wait(&self, job: u32) -> Job {
        self.wait_until(job, "its end", Job::has_ended)
    }
}

/// Process numbers of the ranks at work in a folder, in their order.
pub fn ranks_in(folder: &Path) -> Vec<u32> {
    let folder = folder.canonicalize().unwrap();
    let rank = |entry: std::fs::DirEntry| {
        let process: u32 = entry.file_name().to_str()?.parse().ok()?;
        let link = |name: &str| std::fs::read_link(entry.path().join(name)).ok();
        if link("exe")? != Path::new(PROGRAM) || link("cwd")? != folder {
            return None;
        }
        let variables = std::fs::read(entry.path().join("environ")).ok()?;
        let rank = variables.split(|&byte| byte == 0).find_map(|text| text.strip_prefix(b"SLURM_PROCID="))?;
        Some((String::from_utf8_lossy(rank).parse::<usize>().ok()?, process))
    };
    let mut found: Vec<(usize, u32)> = std::fs::read_dir("/proc").unwrap().flatten().filter_map(rank).collect();
    found.sort_unstable();
    found.into_iter().map(|(_, process)| process).collect()
}

/// The process that has started another one.
pub fn parent(process: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok()).unwrap()
}

/// Sends a signal to a process.
pub fn signal(name: &str, process: u32) {
    assert!(Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status().unwrap().success());
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.control(&["stop"]);
    }
}
