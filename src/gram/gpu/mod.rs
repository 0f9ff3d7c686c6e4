//! The Gram pass on a GPU: the kernels of `kernels/` behind a small device, and the engine's own logic on it, which is the same
//! whatever the device.

mod accelerated;
mod arguments;
mod cache;
mod cuda;
mod device;
mod emulated;
mod engine;
mod launches;
mod limits;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use accelerated::{Accelerated, distance};
pub use cache::clear_cache;
pub use cuda::{Cuda, DeviceInfo, devices, nvrtc_version};
pub use device::{Address, Device, Fault, Launch, Outcome, Usage};
pub use emulated::{Emulated, Faults};
pub use engine::GpuEngine;
pub use limits::{COUNTS, Count};

use crate::{Error, Result};

/// Where passes are to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum DeviceChoice {
    /// On a GPU where there is one.
    #[default]
    Auto,
    /// On the CPU.
    Cpu,
    /// On a GPU.
    Cuda,
}

impl DeviceChoice {
    /// As in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        }
    }
}

/// Names the library of the emulated device, for tests (see `kernels/emulation`).
const EMULATED: &str = "HOMODYNE_EMULATED_GPU";
/// What the emulated device has, bytes.
const EMULATED_MEMORY: usize = 1 << 30;
/// Share of a GPU's free memory that is used, unless the configuration says otherwise.
pub const MEMORY_FRACTION: f64 = 0.9;

/// What rounding can add up to where pairs are taken in f32, in units of √(G_aa·G_bb), as long as the phase turns by less than 1
/// from one frame to the next: a thread adds 144 pairs one after another, a warp its threads in 5 steps, and a product of two
/// columns of z has some 80 roundings, most of them in the powers of sinc.
pub const MIXED_ROUNDING: f64 = 230.0 / (1 << 24) as f64;

fn emulated_library() -> Option<PathBuf> {
    std::env::var_os(EMULATED).map(PathBuf::from)
}

/// Whether there is a GPU.
///
/// # Errors
/// Why there is none.
pub fn available() -> std::result::Result<(), String> {
    if emulated_library().is_some() { Ok(()) } else { cuda::count().map(drop) }
}

/// Opens the GPU of a rank, which is this one of so many on its node: they go round the GPUs. Gives how many bytes of it the
/// rank may use, too.
///
/// # Errors
/// [`Error::Device`] where it can't be used.
pub fn open((rank, ranks): (usize, usize), fraction: f64) -> Result<(Box<dyn Device>, usize)> {
    if let Some(library) = emulated_library() {
        let budget = (EMULATED_MEMORY as f64 * fraction) as usize;
        return Ok((Box::new(Emulated::load(&library, false, Faults::default())?), budget));
    }
    let failed = |message: String| Error::Device { name: "GPU".into(), message };
    let count = cuda::count().map_err(failed)?;
    let device = Cuda::open(rank % count).map_err(failed)?;
    let free = device.free_memory().map_err(failed)?;
    // with GPUs dealt to tasks every rank sees its own
    let dealt = std::env::var_os("SLURM_GPUS_PER_TASK").is_some();
    let sharing = if dealt { 1 } else { ranks.div_ceil(count).max(1) };
    Ok((Box::new(device), (free as f64 * fraction) as usize / sharing))
}
