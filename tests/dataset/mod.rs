//! Reading and writing two-time files: real ones, and every bad input a user can meet.

mod aps_u;
mod damaged;
mod golden;
mod inspect;
mod matrices;
mod native;
mod selection;
mod simulate;
mod support;
mod traps;
mod write;
