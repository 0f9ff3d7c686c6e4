//! Measuring this machine and what the program gets out of it.
//!
//! What comes in: instruction sets, numbers of threads, a size. What goes out: a [`Machine`] and [`Row`]s, for people and
//! as JSON. Machines are shared and noisy, so every figure is the best of several repetitions with the median beside it,
//! and where a ratio is taken both sides are measured in turns. Data are made from the model, with noise and holes.

mod check;
mod device;
mod draws;
mod fit;
mod machine;
mod passes;
mod read;
mod reduce;
mod row;
mod sample;

pub use check::{Compared, Open, Speed, check, speeds};
pub use device::{Comparison, Extent, compare};
pub use draws::draws;
pub use fit::fit;
pub use machine::{Machine, cores, processor};
pub use passes::passes;
pub use read::read;
pub use reduce::{alone as reduce_alone, over_ranks as reduce_over_ranks};
pub use row::{Row, Timings};
pub use sample::{PHYSICAL, Sample};

use crate::Result;
use crate::gram::CpuEngine;

/// How much is measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Numbers of threads, ascending.
    pub threads: Vec<usize>,
    /// Frames and angles of the data of passes and fits.
    pub shape: (usize, usize),
    /// The same for the portable instruction set, a hundred times slower.
    pub portable_shape: (usize, usize),
    /// The same for files.
    pub file_shape: (usize, usize),
    /// Frames and angles of the data that are drawn from.
    pub drawn_shape: (usize, usize),
    /// Draws of every chain.
    pub n_draws: usize,
    /// Repetitions of a pass.
    pub passes: usize,
    /// Repetitions of reading a file and of a fit.
    pub long: usize,
    /// Bytes of the array whose reading shows the memory's bandwidth.
    pub memory: usize,
}

impl Plan {
    /// The usual one: the data of passes and fits are 11 angles of 3000 frames, 200 MB.
    pub fn whole(threads: Vec<usize>) -> Self {
        Self {
            threads,
            shape: (3000, 11),
            portable_shape: (500, 2),
            file_shape: (1500, 6),
            drawn_shape: (300, 3),
            n_draws: 1000,
            passes: 5,
            long: 2,
            memory: 1 << 30,
        }
    }

    /// A few seconds, for trying: data and array lie in caches.
    pub fn quick(threads: Vec<usize>) -> Self {
        Self {
            threads,
            shape: (600, 3),
            portable_shape: (200, 1),
            file_shape: (300, 2),
            drawn_shape: (60, 3),
            n_draws: 200,
            passes: 3,
            long: 1,
            memory: 64 << 20,
        }
    }
}

/// A way to compute passes: what engines differ in beside threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Engine {
    /// Instruction set.
    pub isa: &'static str,
}

impl Engine {
    /// All that this processor has, the fastest instruction set first.
    pub fn all() -> Vec<Self> {
        crate::arithmetic::instruction_sets().into_iter().map(|isa| Self { isa }).collect()
    }

    /// Whether it is too slow for the data of the others.
    pub fn is_slow(self) -> bool {
        self.isa == "portable"
    }

    /// Makes an engine work this way.
    fn choose(self, engine: &mut CpuEngine) -> Result<()> {
        engine.set_instruction_set(self.isa)
    }
}

/// A pool of so many threads.
///
/// # Errors
/// When they can't be started.
pub fn pool(threads: usize) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|e| {
        crate::Error::Usage(format!("cannot start {threads} threads: {e}; ask for fewer with `--threads`"))
    })
}
