//! What a run records beside its results: the trace of all ranks, and their memory over time.

use std::path::PathBuf;

use crate::cluster::{Driver, MemoryProfile, Recorded, memory_profile_text};
use crate::{Result, files, trace};

/// Where records go, as the command line has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The trace.
    pub trace: Option<PathBuf>,
    /// Memory over time.
    pub memory: Option<PathBuf>,
}

/// Records while it lives.
pub struct Recording {
    wanted: Wanted,
    memory: Option<MemoryProfile>,
}

impl Recording {
    /// Begins on rank 0.
    ///
    /// # Errors
    /// [`crate::Error::Io`] where a file can't be written.
    pub fn begin(wanted: &Wanted) -> Result<Self> {
        if let Some(path) = &wanted.trace {
            // better known now than after the run
            files::write(path, trace::file(&[]))?;
            trace::start();
        }
        let memory = wanted.memory.as_deref().map(|path| MemoryProfile::start(Some(path))).transpose()?;
        Ok(Self { wanted: wanted.clone(), memory })
    }

    /// What the other ranks are to record.
    pub fn of_ranks(&self) -> Recorded {
        Recorded { trace: self.wanted.trace.is_some(), memory: self.memory.is_some() }
    }

    /// The files that it will have written.
    pub fn files(&self) -> Vec<PathBuf> {
        self.wanted.trace.iter().chain(&self.wanted.memory).cloned().collect()
    }

    /// Writes what all ranks recorded, or where there is no `driver` to ask them rank 0 alone.
    ///
    /// # Errors
    /// [`crate::Error::Io`] where a file can't be written.
    pub fn finish(self, driver: Option<&Driver>) -> Result<()> {
        if self.wanted == Wanted::default() {
            return Ok(());
        }
        let (events, samples) = match driver {
            Some(driver) => driver.records(self.memory.as_ref()),
            None => (vec![trace::take(0, "this machine")], Vec::new()),
        };
        if let Some(path) = &self.wanted.trace {
            files::write(path, trace::file(&events))?;
        }
        // without the others' samples the file is as it was written on the way
        if let Some(path) = self.wanted.memory.as_ref().filter(|_| driver.is_some()) {
            files::write(path, memory_profile_text(&samples))?;
        }
        Ok(())
    }
}
