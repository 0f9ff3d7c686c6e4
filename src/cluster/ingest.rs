//! From the file to the ranks. Every matrix is read by one rank, packed, and its tiles go to the ranks that hold them: with
//! `distributed.io: parallel` it is the rank that holds its middle, with `root` always rank 0.
//!
//! Rank 0 calls round after round, in each of which every rank that reads has one matrix; between two of them it hears of what
//! went wrong anywhere, and of signals, and may stop. While a round is dealt the threads of every rank read the matrices of the
//! next ones. The first look at the data and every later one go this way.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use serde::{Deserialize, Serialize};

use super::World;
use super::reading::{Ahead, Judged, Loaded, Source, read_ahead};
use super::setup::Dealing;
use super::worker::{COMMAND_WORDS, operation};
use crate::dataset::{Dataset, Digest, Selection};
use crate::file_identity::FileIdentity;
use crate::gram::{Lane, TileStore, as_floats, as_floats_mut, pack_angle};
use crate::model::Experiment;
use crate::{Error, Result, trace};

/// What every rank must know to read its part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The file.
    pub file: PathBuf,
    /// As rank 0 knows it.
    pub identity: FileIdentity,
    /// What is taken of it.
    pub selection: Selection,
    /// The matrices, by their number among all in the file.
    pub matrices: Vec<usize>,
    /// Whether c2 at long and short lags is to be looked for.
    pub plateaus: bool,
    /// Whether every rank reads a part, and not rank 0 all.
    pub parallel: bool,
    /// Whether rank 0 reads all where others don't see the file.
    pub falls_back: bool,
    /// Matrices that may be on their way at once on every rank that reads.
    pub on_their_way: usize,
    /// How often a failed read is tried again.
    pub retries: u32,
    /// How many matrices may be left out because they can't be read; 0 = the first failure is an error.
    pub may_lose: usize,
}

/// What a rank has to say after a round.
#[derive(Debug, Serialize, Deserialize)]
enum Outcome {
    /// It had nothing to read.
    Nothing,
    /// With the digests of the matrix, and what else is known of it, where that was wanted.
    Read(Vec<Digest>, Option<Judged>),
    /// The matrix can't be read, for this reason.
    Unreadable(String),
    Failed(Failure),
}

impl Outcome {
    fn of(error: Error) -> Self {
        match error {
            unreadable @ Error::Io { .. } => Self::Unreadable(unreadable.to_string()),
            other => Self::Failed(Failure::of(other)),
        }
    }
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

/// Which of these angles, in ascending order, each rank reads: those of which it holds the middle tile, or rank 0 all.
fn readers(dealing: &Dealing, angles: &[usize], parallel: bool) -> Vec<Vec<usize>> {
    let (plan, ranges) = (&dealing.levels[0].plan, &dealing.ranges[0]);
    let mut readers = vec![Vec::new(); ranges.len()];
    for &angle in angles {
        let middle = angle * plan.per_angle() + plan.per_angle() / 2;
        let holds = ranges.iter().position(|range| range.contains(&middle));
        readers[holds.filter(|_| parallel).unwrap_or(0)].push(angle);
    }
    readers
}

/// What is done with an angle's tiles of the finest level, given with those of all levels that are kept.
pub(super) type Passing<'a> = &'a mut dyn FnMut(usize, TileStore, &[TileStore]);

/// Where tiles go.
pub(super) struct Shelves<'a> {
    /// c2, by level; none where only the finest level passes by.
    pub stores: &'a mut [TileStore],
    /// σ of every pair, by level; none where pairs have none of their own.
    pub sigma: &'a mut [TileStore],
    /// What is done with the tiles of an angle of the finest level, where they aren't kept.
    pub passing: Option<Passing<'a>>,
}

impl Shelves<'_> {
    /// Levels whose tiles come.
    fn levels(&self) -> Range<usize> {
        0..self.stores.len().max(1)
    }
}

/// A rank and what it needs to take part.
#[derive(Clone, Copy)]
pub(super) struct Rank<'a> {
    pub world: &'a World,
    pub dealing: &'a Dealing,
    pub pool: &'a rayon::ThreadPool,
    pub reading: &'a Reading,
    /// Counts reads that had to be tried again.
    pub retried: &'a AtomicU64,
}

/// A rank's part in reading.
struct Part<'a, 's> {
    rank: Rank<'a>,
    shelves: Shelves<'s>,
    readers: &'a [Vec<usize>],
    /// What is packed for another rank.
    buffer: Vec<Lane>,
}

/// Tiles of an angle that a rank holds: of σ or c2, at a level.
struct Run<'s> {
    of_sigma: bool,
    level: usize,
    tiles: Range<usize>,
    lanes: &'s mut [Lane],
}

impl Part<'_, '_> {
    fn n_rounds(&self) -> usize {
        self.readers.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Reads and sends this rank's matrix of a round, if it has one, and takes in what others send.
    fn round(&mut self, round: usize, ahead: Option<&mut Ahead>) -> Outcome {
        let Rank { world, dealing, pool, .. } = self.rank;
        let me = world.rank();
        let of_round = |rank: usize| self.readers[rank].get(round).copied();
        let own = of_round(me);
        // readers follow one another as their angles do
        let angles: Vec<(usize, usize)> =
            (0..self.readers.len()).filter_map(|rank| Some((rank, of_round(rank)?))).collect();
        let levels = self.shelves.levels();
        let weighted = !self.shelves.sigma.is_empty();
        let mut passing: Vec<(usize, TileStore)> = Vec::new();
        if self.shelves.passing.is_some() {
            let tiles = angles.iter().map(|&(_, angle)| (angle, dealing.tiles(0, me, angle)));
            let window = |(angle, tiles)| (angle, TileStore::new(&dealing.levels[0].plan, tiles));
            passing.extend(tiles.map(window));
        }
        // as they are sent
        let mut runs = Vec::new();
        let Shelves { stores, sigma, passing: work } = &mut self.shelves;
        runs_of(true, sigma, 0, (dealing, me, &angles), &mut runs);
        for (angle, window) in passing.iter_mut().filter(|(_, window)| !window.range.is_empty()) {
            let tiles = window.range.clone();
            let reader = angles.iter().find(|(_, own)| own == angle).map_or(me, |(rank, _)| *rank);
            runs.push((reader, Run { of_sigma: false, level: 0, lanes: window.lanes_mut(&tiles), tiles }));
        }
        runs_of(false, stores, usize::from(work.is_some()), (dealing, me, &angles), &mut runs);
        let (kept, incoming): (Vec<_>, Vec<_>) = runs.into_iter().partition(|(rank, _)| *rank == me);
        let of_c2 = |(_, run): &&(usize, Run)| !run.of_sigma;
        let mut marked: Vec<(usize, Range<usize>)> =
            kept.iter().chain(&incoming).filter(of_c2).map(|(_, run)| (run.level, run.tiles.clone())).collect();
        if work.is_some() {
            marked.retain(|(level, _)| *level > 0);
        }
        let incoming = incoming.into_iter().map(|(rank, run)| (rank, as_floats_mut(run.lanes))).collect();
        let buffer = &mut self.buffer;
        let outcome = world.exchange(incoming, |meanwhile| {
            let (Some(angle), Some(ahead)) = (own, ahead) else { return Outcome::Nothing };
            let (loaded, found) = match ahead.next(Some(meanwhile)) {
                Ok(Loaded { matrix, sigma, digests, judged }) => {
                    (Some((matrix, sigma)), Outcome::Read(digests, judged))
                }
                Err(error) => (None, Outcome::of(error)),
            };
            let _span = trace::span("dealing").with(|| format!("angle {angle}"));
            // the others wait for it, whatever became of it
            let pack = |of_sigma: bool, level: usize, tiles: &Range<usize>, lanes: &mut [Lane]| {
                let Some((matrix, sigma)) = &loaded else { return lanes.fill(Lane([f32::NAN; 8])) };
                let from = if of_sigma { sigma } else { matrix };
                let level = &dealing.levels[level];
                let base = angle * level.plan.per_angle();
                let within = tiles.start - base..tiles.end - base;
                pool.install(|| pack_angle(level, within, &|i| from.row_after(i), lanes));
            };
            for rank in (0..world.size()).filter(|&rank| rank != me) {
                for of_sigma in [true, false].into_iter().filter(|&of_sigma| weighted || !of_sigma) {
                    for k in levels.clone() {
                        let tiles = dealing.tiles(k, rank, angle);
                        if tiles.is_empty() {
                            continue;
                        }
                        buffer.resize(dealing.levels[k].plan.lanes_of(&tiles), Lane([f32::NAN; 8]));
                        pack(of_sigma, k, &tiles, buffer);
                        world.send(rank, as_floats(buffer));
                        meanwhile();
                    }
                }
            }
            for (_, Run { of_sigma, level, tiles, lanes }) in kept {
                pack(of_sigma, level, &tiles, lanes);
            }
            let (matrix, sigma) = loaded.unwrap_or_default();
            ahead.begin(matrix, sigma);
            found
        });
        for (level, tiles) in marked {
            let (store, plan) = (&mut stores[level], &dealing.levels[level].plan);
            pool.install(|| store.mark(plan, &tiles));
        }
        if let Some(work) = work {
            for (angle, mut window) in passing {
                let tiles = window.range.clone();
                pool.install(|| window.mark(&dealing.levels[0].plan, &tiles));
                work(angle, window, stores);
            }
        }
        outcome
    }

    /// Tells rank 0 how a round went, and the signal that came; there, what everybody tells.
    fn tell(&self, signal: u8, outcome: &Outcome) -> Vec<(u8, Outcome)> {
        // numbers and texts always have a form
        let all = self.rank.world.gather_bytes(&postcard::to_stdvec(&(signal, outcome)).unwrap_or_default());
        let read = |(rank, bytes): (usize, &Vec<u8>)| {
            postcard::from_bytes(bytes).unwrap_or_else(|error| {
                let message = format!("rank {rank} can't be understood: {error}");
                (0, Outcome::Failed(Failure { data: None, message }))
            })
        };
        all.iter().enumerate().map(read).collect()
    }
}

/// Adds the runs of tiles that a rank holds of these readers' angles, from a level on.
fn runs_of<'s>(
    of_sigma: bool,
    stores: &'s mut [TileStore],
    from: usize,
    (dealing, me, angles): (&Dealing, usize, &[(usize, usize)]),
    out: &mut Vec<(usize, Run<'s>)>,
) {
    for (level, store) in stores.iter_mut().enumerate().skip(from) {
        let runs = angles.iter().map(|&(rank, angle)| (rank, dealing.tiles(level, me, angle)));
        let (ranks, runs): (Vec<usize>, Vec<_>) = runs.filter(|(_, run)| !run.is_empty()).unzip();
        let lanes = store.parts_mut(&runs);
        for ((rank, lanes), tiles) in ranks.into_iter().zip(lanes).zip(runs) {
            out.push((rank, Run { of_sigma, level, tiles, lanes }));
        }
    }
}

impl<'a> Rank<'a> {
    fn source(self, dataset: &'a Dataset, judges: bool) -> Source<'a> {
        let Reading { plateaus, retries, .. } = *self.reading;
        Source { dataset, judges, plateaus, retries, retried: self.retried }
    }
}

/// Told of every matrix that was read, with its digests and what else is known of it; may end the look.
pub(super) type Keep<'a> = &'a dyn Fn(usize, &[Digest], Option<&Judged>) -> Result<()>;

/// What a look at the data found: by angle what is known of its matrix, where that was wanted, and the angles that can't be read.
#[derive(Debug, Default)]
pub(super) struct Looked {
    pub judged: Vec<(usize, Judged)>,
    pub lost: Vec<usize>,
    /// Why nothing was read: a rank that was to read doesn't see the file, and rank 0 may do it.
    pub unseen: Option<Error>,
}

/// On rank 0: has the matrices of these angles, in ascending order, read and dealt. `note` is told of the signals of all ranks; `between`
/// is called after every round with how many matrices are done, and may end it. `judges`: whether more than their digests is wanted.
///
/// # Errors
/// The first in the order of ranks that [`Dataset::read`] gives, and what `between` ends with. The others wait for a command then.
pub(super) fn lead(
    rank: Rank,
    shelves: Shelves,
    (dataset, angles, judges): (&Dataset, &[usize], bool),
    parallel: bool,
    (note, keep): (&dyn Fn(usize, u8), Keep),
    between: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<Looked> {
    let Rank { world, dealing, pool, reading, .. } = rank;
    let mut words: Vec<u64> = angles.iter().map(|&angle| angle as u64).collect();
    world.broadcast_words(&mut [operation::READ, words.len() as u64, judges.into(), parallel.into()]);
    world.broadcast_words(&mut words);
    let readers = readers(dealing, angles, parallel);
    let mut part = Part { rank, shelves, readers: &readers, buffer: Vec::new() };
    let most_lost = reading.may_lose;
    let mut judged: Vec<(usize, Judged)> = Vec::new();
    let mut lost: Vec<usize> = Vec::new();
    let mut understand = |round: Option<usize>, told: Vec<(u8, Outcome)>| -> Result<()> {
        for (rank, (signal, outcome)) in told.into_iter().enumerate() {
            note(rank, signal);
            let angle = round.and_then(|round| readers[rank].get(round).copied());
            match (outcome, angle) {
                (Outcome::Failed(failure), _) => return Err(failure.into_error(rank, &dataset.file)),
                (Outcome::Unreadable(message), Some(angle)) if lost.len() < most_lost => {
                    log::warn!("{message}; the angle φ = {}° is left out", dataset.phi()[angle]);
                    lost.push(angle);
                }
                (Outcome::Unreadable(message), _) => {
                    let more = "; more can't be read than `min_success_rate` lets a fit do without";
                    let message = format!("{message}{}", if most_lost > 0 { more } else { "" });
                    return Err(Error::Rank { rank, message });
                }
                (Outcome::Read(digests, found), Some(angle)) => {
                    keep(angle, &digests, found.as_ref())?;
                    judged.extend(found.map(|found| (angle, found)));
                }
                (Outcome::Read(..) | Outcome::Nothing, _) => {}
            }
        }
        Ok(())
    };
    let mut unseen = None;
    let led = (|| {
        let opened = understand(None, part.tell(0, &Outcome::Nothing));
        if parallel && reading.falls_back {
            unseen = opened.err();
        } else {
            opened?;
        }
        if unseen.is_some() {
            return Ok(false);
        }
        if judges && parallel {
            let n_readers = readers.iter().filter(|own| !own.is_empty()).count();
            log::info!("{n_readers} of {} ranks read {} matrices", readers.len(), angles.len());
        }
        let source = rank.source(dataset, judges);
        read_ahead(pool, source, &readers[0], reading.on_their_way, |ahead| {
            for round in 0..part.n_rounds() {
                world.broadcast_words(&mut [operation::ROUND, round as u64, 0, 0]);
                let own = part.round(round, Some(&mut *ahead));
                understand(Some(round), part.tell(0, &own))?;
                between(readers.iter().map(|own| own.len().min(round + 1)).sum())?;
            }
            Ok(true)
        })
    })();
    let word = match led {
        Ok(true) if lost.is_empty() => operation::DONE,
        Ok(false) => operation::AGAIN,
        // nobody waits for what was to come of it
        _ => operation::LEAVE,
    };
    world.broadcast_words(&mut [word, 0, 0, 0]);
    led?;
    Ok(Looked { judged, lost, unseen })
}

/// On the other ranks: takes part, after the command. The file is opened at the first look at which this rank has something to read.
pub(super) fn follow(
    rank: Rank,
    shelves: Shelves,
    (dataset, experiment): (&mut Option<Dataset>, &Experiment),
    (n_angles, judges, parallel): (usize, bool, bool),
    signal: &dyn Fn() -> u8,
) -> Ended {
    let Rank { world, dealing, pool, reading, .. } = rank;
    let mut words = vec![0; n_angles];
    world.broadcast_words(&mut words);
    let angles: Vec<usize> = words.into_iter().map(|angle| angle as usize).collect();
    let readers = readers(dealing, &angles, parallel);
    let own = &readers[world.rank()];
    let mut part = Part { rank, shelves, readers: &readers, buffer: Vec::new() };
    let mut outcome = Outcome::Nothing;
    if !own.is_empty() && dataset.is_none() {
        match open_as(reading, experiment) {
            Ok(opened) => *dataset = Some(opened),
            Err(error) => outcome = Outcome::Failed(Failure::of(error)),
        }
    }
    part.tell(signal(), &outcome);
    let mut rounds = |mut ahead: Option<&mut Ahead>| {
        loop {
            let mut command = [0; COMMAND_WORDS];
            world.broadcast_words(&mut command);
            let [operation::ROUND, round, ..] = command else { break command[0] };
            let outcome = part.round(round as usize, ahead.as_deref_mut());
            part.tell(signal(), &outcome);
        }
    };
    let word = match dataset {
        Some(dataset) if !own.is_empty() => {
            read_ahead(pool, rank.source(dataset, judges), own, reading.on_their_way, |ahead| rounds(Some(ahead)))
        }
        _ => rounds(None),
    };
    match word {
        operation::DONE => Ended::Done,
        operation::AGAIN => Ended::Again,
        _ => Ended::Left,
    }
}

/// How a look ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// All is read.
    Done,
    /// Nothing is: it begins again, and rank 0 says how.
    Again,
    /// Rank 0 has left it.
    Left,
}

/// Opens the file and looks whether it is what rank 0 has found.
fn open_as(reading: &Reading, experiment: &Experiment) -> Result<Dataset> {
    let mut dataset = Dataset::open_again(&reading.file, &reading.selection)?;
    if reading.matrices.iter().all(|&slot| slot < dataset.slots.len()) {
        dataset.selected.clone_from(&reading.matrices);
    }
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
            let readers = readers(&dealing, &(0..n_angles).collect::<Vec<_>>(), true);
            assert_eq!(readers.concat(), (0..n_angles).collect::<Vec<_>>(), "{n_angles} on {ranks}");
            let most = readers.iter().map(Vec::len).max().unwrap();
            assert!(most <= n_angles.div_ceil(ranks) + 1, "{n_angles} on {ranks}: {readers:?}");
            if ranks > 2 * n_angles {
                assert_eq!(most, 1);
            }
        }
    }
}
