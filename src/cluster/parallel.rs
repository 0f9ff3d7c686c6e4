//! Reading in parallel (`distributed.io: parallel`): every matrix is read by the rank that holds its middle, which sends the others
//! theirs.
//!
//! A file is read once, whoever reads it, and most of what a rank reads it keeps. Rank 0 calls round after round, in each of
//! which every rank reads at most one matrix; between two of them it hears of what went wrong anywhere, and may stop. While a
//! round is dealt the threads of every rank read the matrices of the next ones.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::World;
use super::reading::{Ahead, Judged, Loaded, Source, read_ahead};
use super::setup::Dealing;
use super::worker::{COMMAND_WORDS, operation};
use crate::dataset::{Dataset, Selection};
use crate::file_identity::FileIdentity;
use crate::gram::{Lane, TileStore, as_floats, as_floats_mut, pack_angle};
use crate::model::Experiment;
use crate::{Error, Result};

/// What every rank must know to read its part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The file.
    pub file: PathBuf,
    /// As rank 0 knows it.
    pub identity: FileIdentity,
    /// What is taken of it.
    pub selection: Selection,
    /// Whether c2 at long and short lags is to be looked for.
    pub plateaus: bool,
    /// Matrices that may be on their way at once on every rank.
    pub on_their_way: usize,
}

/// What a rank has to say after a round.
#[derive(Debug, Serialize, Deserialize)]
enum Outcome {
    /// It had nothing to read.
    Nothing,
    Read(Judged),
    Failed(Failure),
}

/// An error on its way to rank 0.
#[derive(Debug, Serialize, Deserialize)]
struct Failure {
    /// In the data: the path in the file, where one is to blame.
    data: Option<Option<String>>,
    message: String,
}

impl Failure {
    fn of(error: Error) -> Self {
        match error {
            Error::Data { path, message, .. } => Self { data: Some(path), message },
            other => Self { data: None, message: other.to_string() },
        }
    }

    /// As rank 0 says it.
    fn into_error(self, rank: usize, file: &Path) -> Error {
        match self.data {
            Some(path) if rank == 0 => Error::Data { file: file.into(), path, message: self.message },
            Some(path) => {
                Error::Data { file: file.into(), path, message: format!("{} (read by rank {rank})", self.message) }
            }
            None => Error::Rank { rank, message: self.message },
        }
    }
}

/// Angles that each rank reads, in their order: those of which it holds the middle tile.
fn readers(dealing: &Dealing) -> Vec<Vec<usize>> {
    let (plan, ranges) = (&dealing.levels[0].plan, &dealing.ranges[0]);
    let mut readers = vec![Vec::new(); ranges.len()];
    for angle in 0..plan.n_angles {
        let middle = angle * plan.per_angle() + plan.per_angle() / 2;
        if let Some(rank) = ranges.iter().position(|range| range.contains(&middle)) {
            readers[rank].push(angle);
        }
    }
    readers
}

/// Runs of tiles that matrices go to.
pub(super) struct Shelves<'a> {
    /// c2, by level.
    pub stores: &'a mut [TileStore],
    /// σ of every pair, by level; empty where pairs have none of their own.
    pub sigma: &'a mut [TileStore],
}

/// A rank's part in reading.
struct Part<'a> {
    world: &'a World,
    dealing: &'a Dealing,
    pool: &'a rayon::ThreadPool,
    shelves: Shelves<'a>,
    readers: &'a [Vec<usize>],
    /// What is packed for another rank.
    buffer: Vec<Lane>,
}

/// Tiles of an angle that a rank holds: of σ or c2, at a level.
struct Run<'s> {
    of_sigma: bool,
    level: usize,
    tiles: std::ops::Range<usize>,
    lanes: &'s mut [Lane],
}

impl Part<'_> {
    fn n_rounds(&self) -> usize {
        self.readers.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Reads and sends this rank's matrix of a round, if it has one, and takes in what others send.
    fn round(&mut self, round: usize, ahead: Option<&mut Ahead>) -> Outcome {
        let (world, dealing, pool) = (self.world, self.dealing, self.pool);
        let me = world.rank();
        let of_round = |rank: usize| self.readers[rank].get(round).copied();
        let own = of_round(me);
        // readers follow one another as their angles do
        let angles: Vec<(usize, usize)> =
            (0..self.readers.len()).filter_map(|rank| Some((rank, of_round(rank)?))).collect();
        let (mut incoming, mut kept, mut marked) = (Vec::new(), Vec::new(), Vec::new());
        // as they are sent
        let shelves = [(true, &mut *self.shelves.sigma), (false, &mut *self.shelves.stores)];
        let weighted = !shelves[0].1.is_empty();
        for (of_sigma, stores) in shelves {
            for (level, store) in stores.iter_mut().enumerate() {
                let runs = angles.iter().map(|&(rank, angle)| (rank, dealing.tiles(level, me, angle)));
                let (ranks, runs): (Vec<usize>, Vec<_>) = runs.filter(|(_, run)| !run.is_empty()).unzip();
                for ((rank, tiles), lanes) in ranks.into_iter().zip(&runs).zip(store.parts_mut(&runs)) {
                    if rank == me {
                        kept.push(Run { of_sigma, level, tiles: tiles.clone(), lanes });
                    } else {
                        incoming.push((rank, as_floats_mut(lanes)));
                    }
                }
                if !of_sigma {
                    marked.extend(runs.into_iter().map(|run| (level, run)));
                }
            }
        }
        let buffer = &mut self.buffer;
        let outcome = world.exchange(incoming, |meanwhile| {
            let (Some(angle), Some(ahead)) = (own, ahead) else { return Outcome::Nothing };
            let (loaded, found) = match ahead.next(Some(meanwhile)) {
                Ok(Loaded { matrix, sigma, judged }) => (Some((matrix, sigma)), Outcome::Read(judged)),
                Err(error) => (None, Outcome::Failed(Failure::of(error))),
            };
            // the others wait for it, whatever became of it
            let pack = |of_sigma: bool, level: usize, tiles: &std::ops::Range<usize>, lanes: &mut [Lane]| {
                let Some((matrix, sigma)) = &loaded else { return lanes.fill(Lane([f32::NAN; 8])) };
                let from = if of_sigma { sigma } else { matrix };
                let level = &dealing.levels[level];
                let base = angle * level.plan.per_angle();
                let within = tiles.start - base..tiles.end - base;
                pool.install(|| pack_angle(level, within, &|i| from.row_after(i), lanes));
            };
            for rank in (0..world.size()).filter(|&rank| rank != me) {
                for of_sigma in [true, false].into_iter().filter(|&of_sigma| weighted || !of_sigma) {
                    for (k, level) in dealing.levels.iter().enumerate() {
                        let tiles = dealing.tiles(k, rank, angle);
                        if tiles.is_empty() {
                            continue;
                        }
                        buffer.resize(level.plan.lanes_of(&tiles), Lane([f32::NAN; 8]));
                        pack(of_sigma, k, &tiles, buffer);
                        world.send(rank, as_floats(buffer));
                        meanwhile();
                    }
                }
            }
            for Run { of_sigma, level, tiles, lanes } in kept {
                pack(of_sigma, level, &tiles, lanes);
            }
            if let Some((matrix, sigma)) = loaded {
                ahead.begin(matrix, sigma);
            }
            found
        });
        for (level, tiles) in marked {
            let (store, plan) = (&mut self.shelves.stores[level], &dealing.levels[level].plan);
            pool.install(|| store.mark(plan, &tiles));
        }
        outcome
    }

    /// Tells rank 0 how a round went; there, what everybody tells.
    fn tell(&self, outcome: &Outcome) -> Vec<Outcome> {
        // numbers and texts always have a form
        let all = self.world.gather_bytes(&postcard::to_stdvec(outcome).unwrap_or_default());
        let read = |(rank, bytes): (usize, &Vec<u8>)| {
            postcard::from_bytes(bytes).unwrap_or_else(|error| {
                let message = format!("rank {rank} can't be understood: {error}");
                Outcome::Failed(Failure { data: None, message })
            })
        };
        all.iter().enumerate().map(read).collect()
    }
}

/// On rank 0: has all matrices read and dealt, and gives what is known of each. `between` is called after every round with how many
/// are done, and may end it.
pub(super) fn lead(
    (world, dealing, pool): (&World, &Dealing, &rayon::ThreadPool),
    shelves: Shelves,
    (reading, dataset): (&Reading, &Dataset),
    between: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Vec<Judged>> {
    let mut bytes = postcard::to_stdvec(reading).unwrap_or_default();
    world.broadcast_words(&mut [operation::READ, bytes.len() as u64, 0, 0]);
    world.broadcast_bytes(&mut bytes);
    let readers = readers(dealing);
    let mut part = Part { world, dealing, pool, shelves, readers: &readers, buffer: Vec::new() };
    // by rank what it has read, or the first failure
    let understood = |outcomes: Vec<Outcome>| -> Result<Vec<Option<Judged>>> {
        let one = |(rank, outcome)| match outcome {
            Outcome::Nothing => Ok(None),
            Outcome::Read(judged) => Ok(Some(judged)),
            Outcome::Failed(failure) => Err(failure.into_error(rank, &dataset.file)),
        };
        outcomes.into_iter().enumerate().map(one).collect()
    };
    understood(part.tell(&Outcome::Nothing))?;
    let n_readers = readers.iter().filter(|own| !own.is_empty()).count();
    log::info!("{n_readers} of {} ranks read {} matrices", readers.len(), readers.concat().len());
    let source = Source { dataset, plateaus: reading.plateaus };
    let mut judged: Vec<Option<Judged>> = readers.iter().flatten().map(|_| None).collect();
    read_ahead(pool, source, &readers[0], reading.on_their_way, |ahead| {
        for round in 0..part.n_rounds() {
            world.broadcast_words(&mut [operation::ROUND, round as u64, 0, 0]);
            let own = part.round(round, Some(ahead));
            for (own, found) in readers.iter().zip(understood(part.tell(&own))?) {
                if let Some(&angle) = own.get(round) {
                    judged[angle] = found;
                }
            }
            between(judged.iter().flatten().count())?;
        }
        Ok(())
    })?;
    let n = judged.len();
    let judged: Vec<Judged> = judged.into_iter().flatten().collect();
    if judged.len() < n {
        return Err(Error::Rank { rank: 0, message: format!("{} of {n} matrices were read", judged.len()) });
    }
    Ok(judged)
}

/// On the other ranks: takes part. Gives rank 0's exit code where it ends the reading.
pub(super) fn follow(
    (world, dealing, pool): (&World, &Dealing, &rayon::ThreadPool),
    shelves: Shelves,
    (reading, experiment): (&Reading, &Experiment),
) -> Option<u8> {
    let readers = readers(dealing);
    let own = &readers[world.rank()];
    let mut part = Part { world, dealing, pool, shelves, readers: &readers, buffer: Vec::new() };
    let opened = (!own.is_empty()).then(|| open_as(reading, experiment));
    let (dataset, outcome) = match opened {
        Some(Ok(dataset)) => (Some(dataset), Outcome::Nothing),
        Some(Err(error)) => (None, Outcome::Failed(Failure::of(error))),
        None => (None, Outcome::Nothing),
    };
    part.tell(&outcome);
    let mut rounds = |mut ahead: Option<&mut Ahead>| {
        for round in 0..part.n_rounds() {
            let mut command = [0; COMMAND_WORDS];
            world.broadcast_words(&mut command);
            if command[0] == operation::STOP {
                return Some(command[1] as u8);
            }
            let outcome = part.round(round, ahead.as_deref_mut());
            part.tell(&outcome);
        }
        None
    };
    match &dataset {
        Some(dataset) => {
            let source = Source { dataset, plateaus: reading.plateaus };
            read_ahead(pool, source, own, reading.on_their_way, |ahead| rounds(Some(ahead)))
        }
        None => rounds(None),
    }
}

/// Opens the file and looks whether it is what rank 0 has found.
fn open_as(reading: &Reading, experiment: &Experiment) -> Result<Dataset> {
    let dataset = Dataset::open_again(&reading.file, &reading.selection)?;
    let found = (dataset.q, dataset.dt, dataset.n_frames, dataset.phi());
    let (own, known) = (&dataset.identity, &reading.identity);
    if own == known && found == (experiment.q, experiment.dt, experiment.n_frames, experiment.phi.clone()) {
        return Ok(dataset);
    }
    let how = if own.size == known.size {
        format!("of the same {} bytes, but with other contents", own.size)
    } else {
        format!("of {} bytes instead of {}", own.size, known.size)
    };
    let message = format!(
        "this rank sees another file under this name than rank 0, {how}: it must be on a file system that all nodes see, or set \
         `distributed.io: root`"
    );
    Err(Error::data(&reading.file, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_matrix_is_read_once_and_the_work_is_shared() {
        for (n_angles, ranks) in [(1, 1), (1, 5), (3, 2), (23, 4), (36, 8), (5, 64)] {
            let experiment = Experiment::sheared(vec![0.0; n_angles], 700);
            let dealing = Dealing::new(&experiment, ranks);
            let readers = readers(&dealing);
            assert_eq!(readers.concat(), (0..n_angles).collect::<Vec<_>>(), "{n_angles} on {ranks}");
            let most = readers.iter().map(Vec::len).max().unwrap();
            assert!(most <= n_angles.div_ceil(ranks) + 1, "{n_angles} on {ranks}: {readers:?}");
            if ranks > 2 * n_angles {
                assert_eq!(most, 1);
            }
        }
    }
}
