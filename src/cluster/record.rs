//! What all ranks recorded, brought together: one clock, and the gathering at the end.

use serde::{Deserialize, Serialize};

use super::profile::{MemoryProfile, Sample};
use super::{World, nodes};
use crate::{Result, trace};

/// Exchanges by which a clock is set; the fastest counts.
const EXCHANGES: usize = 8;

/// What ranks are to record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// When they did what.
    pub trace: bool,
    /// Their memory over time.
    pub memory: bool,
}

impl Recorded {
    fn anything(self) -> bool {
        self.trace || self.memory
    }

    /// Sets the clock of every rank by rank 0's; a collective call.
    ///
    /// A rank that waits hears rank 0's time as late as a message takes, some µs, and sets its clock by the message that took least.
    pub(super) fn agree_on_time(self, world: &World) {
        if !self.anything() {
            return;
        }
        let mut ahead = f64::INFINITY;
        for _ in 0..EXCHANGES {
            // rank 0 speaks when all are waiting
            world.gather(&[0.0], &vec![1; world.size()]);
            let mut time = [trace::now()];
            world.broadcast_floats(&mut time);
            ahead = ahead.min(trace::now() - time[0]);
        }
        if world.rank() != 0 {
            trace::set_ahead(ahead);
        }
    }

    /// Starts recording on another rank than 0.
    ///
    /// # Errors
    /// When threads can't be started.
    pub(super) fn begin(self) -> Result<Option<MemoryProfile>> {
        if self.trace {
            trace::start();
        }
        self.memory.then(|| MemoryProfile::start(None)).transpose()
    }
}

/// On rank 0 what all ranks recorded, in their order: events, samples of memory. A collective call.
pub(super) fn gather(world: &World, memory: Option<&MemoryProfile>) -> (Vec<String>, Vec<Vec<Sample>>) {
    let host = nodes::host();
    let own = if trace::is_on() { trace::take(world.rank(), &host) } else { String::new() };
    let events = world.gather_texts(&own);
    let own: Vec<f64> =
        memory.map(MemoryProfile::samples).unwrap_or_default().iter().flat_map(|&(s, b)| [s, b as f64]).collect();
    let bytes: Vec<u8> = own.iter().flat_map(|x| x.to_le_bytes()).collect();
    let samples = world.gather_bytes(&bytes).into_iter().map(|bytes| {
        let number = |k: usize| f64::from_le_bytes(std::array::from_fn(|b| bytes[8 * k + b]));
        (0..bytes.len() / 16).map(|k| (number(2 * k), number(2 * k + 1) as u64)).collect()
    });
    (events, samples.collect())
}
