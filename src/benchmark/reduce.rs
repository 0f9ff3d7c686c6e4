//! The reduction: completing the trees on rank 0, and the collective calls where there are several ranks.

use serde_json::json;

use super::row::{Row, Timings, fields};
use crate::Result;
use crate::arithmetic::instruction_sets;
use crate::cluster::{Setup, World, completion_cost, survey};
use crate::gram::Precision;
use crate::gram::gpu::{DeviceChoice, MEMORY_FRACTION};
use crate::model::Experiment;

/// Bytes of a command that precedes every pass.
const COMMAND: usize = 32;

fn row(e: &Experiment, ranks: usize, nodes: usize, bytes: usize, seconds: Vec<f64>, collectives: bool) -> Row {
    let broadcast = COMMAND + 8 * (e.mode.n_physical() + 2 * e.n_angles());
    Row {
        name: "reduce",
        model: e.mode.name(),
        precision: Some("f64"),
        isa: Some(instruction_sets()[0]),
        threads: 1,
        pairs: e.n_pairs() as f64,
        seconds: Timings::new(seconds),
        more: fields([
            ("ranks", json!(ranks)),
            ("with_collective_calls", json!(collectives)),
            ("nodes", json!(nodes)),
            ("gathered_bytes", json!(bytes)),
            ("broadcast_bytes", json!(broadcast)),
        ]),
    }
}

/// Completing the trees of a Gram pass, as if from so many ranks.
pub fn alone(experiment: &Experiment, ranks: usize, repetitions: usize) -> Row {
    let cost = completion_cost(experiment, ranks, repetitions);
    row(experiment, ranks, cost.nodes, cost.bytes, cost.seconds, false)
}

/// Broadcast, gather and completion over the ranks of this job; the other ranks must be waiting for a command.
///
/// # Errors
/// As [`survey`].
pub fn over_ranks(world: &World, experiment: &Experiment) -> Result<Row> {
    let setup = Setup {
        experiment: experiment.clone(),
        threads: Some(1),
        precision: Precision::F64,
        keeps: true,
        room: 0,
        nodes: None,
        reading: None,
        recorded: crate::cluster::Recorded::default(),
        weighted: false,
        device: DeviceChoice::Cpu,
        memory_fraction: MEMORY_FRACTION,
        silence_limit: 0.0,
    };
    let survey = survey(world, setup, false)?;
    let nodes: usize = survey.shares[0].iter().map(|s| s.nodes).sum();
    let bytes = nodes * size_of::<crate::gram::Gram>();
    Ok(row(experiment, world.size(), nodes, bytes, survey.exchange, true))
}
