//! Resident memory over time, for `--memory-profile`.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::memory::resident;
use crate::{Error, Result, files, trace};

/// Time between samples.
const EVERY: Duration = Duration::from_millis(50);
/// First line of the file.
const HEAD: &str = "seconds,rank,resident_bytes";

/// A sample: seconds on the clock of all ranks, bytes.
pub type Sample = (f64, u64);

/// Samples this process's memory in a thread until it is dropped.
pub struct MemoryProfile {
    samples: Arc<Mutex<Vec<Sample>>>,
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl MemoryProfile {
    /// Starts; on rank 0 every sample goes to a file at once, so that it is there when the run is killed for its memory.
    ///
    /// # Errors
    /// [`Error::Io`] where the file can't be made or the system gives no thread.
    pub fn start(file: Option<&Path>) -> Result<Self> {
        let head = format!("{HEAD}\n");
        let mut out = file.map(|path| files::begin(path, head.as_bytes()).map(BufWriter::new)).transpose()?;
        let samples = Arc::new(Mutex::new(Vec::new()));
        let (shared, (end, ended)) = (Arc::clone(&samples), channel());
        let work = move || {
            while ended.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                let (seconds, bytes) = (trace::shared_now() / 1e6, resident());
                trace::counter("resident memory, MB", bytes as f64 / (1u64 << 20) as f64);
                shared.lock().unwrap_or_else(PoisonError::into_inner).push((seconds, bytes));
                if let Some(out) = &mut out {
                    // a full disk is told of when the whole is written
                    let _ = writeln!(out, "{seconds:.3},0,{bytes}").and_then(|()| out.flush());
                }
            }
        };
        let thread = std::thread::Builder::new().name("memory profile".into()).spawn(work);
        let thread = thread.map_err(|e| Error::io("start a thread for", file.unwrap_or(Path::new("samples")), e))?;
        Ok(Self { samples, end: Some(end), thread: Some(thread) })
    }

    /// What was sampled so far.
    pub fn samples(&self) -> Vec<Sample> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for MemoryProfile {
    fn drop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            // it has nothing to tell
            let _ = thread.join();
        }
    }
}

/// The file made of what all ranks have sampled, in the order of time.
pub fn memory_profile_text(ranks: &[Vec<Sample>]) -> String {
    let mut all: Vec<(f64, usize, u64)> = Vec::new();
    for (rank, samples) in ranks.iter().enumerate() {
        all.extend(samples.iter().map(|&(seconds, bytes)| (seconds, rank, bytes)));
    }
    all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let lines = all.iter().map(|(seconds, rank, bytes)| format!("{seconds:.3},{rank},{bytes}\n"));
    std::iter::once(format!("{HEAD}\n")).chain(lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_sampled_until_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("memory.csv");
        let profile = MemoryProfile::start(Some(&file)).unwrap();
        std::thread::sleep(4 * EVERY);
        let samples = profile.samples();
        drop(profile);
        assert!(samples.len() >= 2 && samples.iter().all(|(_, bytes)| *bytes > 1_000_000));
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.lines().count() > samples.len() && text.starts_with(HEAD), "{text}");
        let text = memory_profile_text(&[vec![(0.2, 5), (0.1, 4)], vec![(0.15, 7)]]);
        assert_eq!(text, format!("{HEAD}\n0.100,0,4\n0.150,1,7\n0.200,0,5\n"));
        assert!(MemoryProfile::start(Some(&folder.path().join("no/file"))).is_err());
    }
}
