//! The real program from outside: what is typed, what is printed, exit codes, files, ranks. One test program, since each takes
//! seconds to link; a subject is a module.

mod bad_input;
mod benchmark;
mod checkpoint;
mod common;
mod config;
mod damaged;
mod data_choices;
mod documents;
mod figures;
mod golden_fit;
mod gpu;
mod layouts_fit;
mod losses;
mod mixed_precision;
mod mpi;
mod page;
mod parallel_reading;
mod pathological;
mod posterior;
mod reading;
mod restart;
mod results;
mod scaling_modes;
mod side_by_side;
mod slurm;
mod stopping;
mod streaming;
mod terminal;
mod unreadable;
mod whole_results;
mod without_mpi;
