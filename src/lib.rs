//! homodyne-mpi fits XPCS two-time correlation data c2(φ, t1, t2) to transport models, over many nodes.
//!
//! See `ARCHITECTURE.md` for the rooms and the way of the data through them.

pub mod cli;
pub mod config;
pub mod dataset;
pub mod error;
pub mod model;

pub use error::{ConfigProblem, Error, Result};
