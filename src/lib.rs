//! homodyne-mpi fits XPCS two-time correlation data c2(φ, t1, t2) to transport models, over many nodes.
//!
//! See `ARCHITECTURE.md` for the rooms and the way of the data through them.

pub mod arithmetic;
pub mod benchmark;
pub mod buffers;
pub mod checkpoint;
pub mod cli;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod dataset;
pub mod error;
pub mod file_identity;
pub mod files;
pub mod gram;
pub mod model;
pub mod nodes;
pub mod output;
pub mod sampler;
pub mod settings;
pub mod signals;
pub mod solver;
pub mod telemetry;
pub mod text;
pub mod trace;
pub mod version;

pub use error::{ConfigProblem, Error, Result};
