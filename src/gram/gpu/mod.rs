//! The Gram pass on a GPU: the kernels of `kernels/` behind a small device, and the engine's own logic on it, which is the same
//! whatever the device.

mod arguments;
mod device;
mod emulated;
mod engine;
#[cfg(test)]
mod tests;

pub use device::{Address, Device, Fault, Launch, Outcome, STREAMS};
pub use emulated::{Emulated, Faults};
pub use engine::GpuEngine;
