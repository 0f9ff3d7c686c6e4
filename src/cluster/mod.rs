//! Many ranks as one: starting MPI, dealing tiles, the loop in which ranks wait for commands, and the reduction.
//!
//! Rank 0 drives; the others sit in [`worker::serve`] and do what they are told: set up, receive tiles, evaluate a point,
//! stop. Every collective call is made in this room, and the solver above sees only a [`crate::gram::Objective`].
//! A program started alone is a world of one rank that never starts MPI, and runs through the same code.

mod alone;
mod driver;
mod engine;
mod fault;
mod ingest;
mod interrupt;
mod launch;
mod memory;
mod node_files;
mod nodes;
mod overview;
mod probe;
mod profile;
mod pulse;
mod rank_data;
pub mod reading;
mod record;
mod reduce;
mod setup;
mod strategy;
mod survey;
mod threads;
pub mod worker;
mod world;

pub use driver::{Driver, stop};
pub use ingest::Reading;
pub use interrupt::Signals;
pub use launch::Library;
pub use memory::{peak as peak_memory, physical as physical_memory, resident as resident_memory};
pub use node_files::NodeFiles;
pub use nodes::{Place, lines as node_lines};
pub use probe::Rate;
pub use profile::{MemoryProfile, Sample, memory_profile_text};
pub use pulse::SILENCE_LIMIT;
pub use record::Recorded;
pub use reduce::{CompletionCost, Pace, completion_cost};
pub use setup::Setup;
pub use strategy::{GB, MemoryLimit, NodeShare, Strategy};
pub use survey::{Share, Survey, SurveyedRank, survey, while_others_rest};
pub use threads::{ThreadPlan, thread_plan};
pub use worker::RankStatus;
pub use world::{Mpi, Ranks, World};
