//! Wall time by phase.

use std::time::{Duration, Instant};

use crate::trace;

/// One phase of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Phase {
    /// Name, as printed.
    pub name: &'static str,
    /// How often it was entered; 0 for what no phase covers.
    pub calls: u64,
    /// Wall time.
    pub time: Duration,
}

/// Phases in the order in which they first began.
#[derive(Debug, Clone)]
pub struct Phases {
    start: Instant,
    phases: Vec<Phase>,
}

impl Default for Phases {
    fn default() -> Self {
        Self { start: Instant::now(), phases: Vec::new() }
    }
}

impl Phases {
    /// Runs `work` as part of a phase.
    pub fn time<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let _span = trace::span(name);
        let out = work();
        self.add(name, start.elapsed());
        out
    }

    /// Adds time to a phase.
    pub fn add(&mut self, name: &'static str, time: Duration) {
        match self.phases.iter_mut().find(|p| p.name == name) {
            Some(phase) => {
                phase.calls += 1;
                phase.time += time;
            }
            None => self.phases.push(Phase { name, calls: 1, time }),
        }
    }

    /// All phases, and what no phase covers as "other".
    pub fn all(&self) -> Vec<Phase> {
        let mut out = self.phases.clone();
        let covered: Duration = out.iter().map(|p| p.time).sum();
        out.push(Phase { name: "other", calls: 0, time: self.total().saturating_sub(covered) });
        out
    }

    /// Wall time since the start.
    pub fn total(&self) -> Duration {
        self.start.elapsed()
    }
}
