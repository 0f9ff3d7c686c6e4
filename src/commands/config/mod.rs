//! `config`: checking a configuration file, and writing one to begin with.

mod check;
mod init;

pub use check::check;
pub use init::{Wanted, init};
