//! What a run would be like, found by all ranks together before any data are read: the dealing, the speed of every rank,
//! the cost of the collective calls.

use std::ops::Range;
use std::time::Instant;

use super::probe::{self, Rate};
use super::reduce::{Head, Reduction, message};
use super::setup::{Dealing, Setup};
use super::threads::refuse_absurd;
use super::worker::{encode, operation};
use super::{ThreadPlan, World, thread_plan};
use crate::arithmetic::selected_instruction_set;
use crate::gram::{Gram, Lane, Level, Pass, Point};
use crate::{Error, Result};

/// Times the collective calls of a pass are made.
const EXCHANGES: usize = 30;
/// Numbers that a rank reports.
const WORDS: usize = ThreadPlan::WORDS + 4;

/// What one rank holds of one level.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// Tiles.
    pub tiles: usize,
    /// Pairs, missing ones included.
    pub pairs: usize,
    /// Bytes of packed data.
    pub bytes: usize,
    /// Tree nodes that it sends for one point.
    pub nodes: usize,
}

/// One rank.
#[derive(Debug, Clone, PartialEq)]
pub struct SurveyedRank {
    /// Its threads and why.
    pub plan: ThreadPlan,
    /// Its instruction set.
    pub instruction_set: &'static str,
    /// Its speed while all ranks work; `None` where it wasn't measured.
    pub rate: Option<Rate>,
}

/// What a run would be like.
#[derive(Debug, Clone)]
pub struct Survey {
    /// Resolutions, the finest first.
    pub levels: Vec<Level>,
    /// By level, then rank.
    pub shares: Vec<Vec<Share>>,
    /// All ranks.
    pub ranks: Vec<SurveyedRank>,
    /// Time of broadcast, gather and completing the trees of one full-resolution Gram pass at one point, s; one number for
    /// every repetition.
    pub exchange: Vec<f64>,
}

impl Survey {
    /// Time of a pass at one point, s: tables and pairs of the slowest rank, and the collective calls. NaN where the speed
    /// wasn't measured.
    pub fn pass_seconds(&self, level: usize, pass: Pass) -> f64 {
        let slowest =
            (0..self.ranks.len()).map(|rank| self.tables_seconds(level, rank) + self.pairs_seconds(level, rank, pass));
        slowest.fold(f64::NAN, f64::max) + self.exchange_seconds()
    }

    /// Time of a rank for its pairs of a pass at one point, s.
    pub fn pairs_seconds(&self, level: usize, rank: usize, pass: Pass) -> f64 {
        let rate = self.ranks[rank].rate.map_or(f64::NAN, |r| if pass == Pass::Gram { r.gram } else { r.chi2 });
        self.shares[level][rank].pairs as f64 / rate
    }

    /// Time of a rank for the tables of one point, s: in proportion to the level's frames.
    pub fn tables_seconds(&self, level: usize, rank: usize) -> f64 {
        let share = self.levels[level].frames.len() as f64 / self.levels[0].frames.len().max(1) as f64;
        share * self.ranks[rank].rate.map_or(f64::NAN, |r| r.tables)
    }

    /// The best time of the collective calls, s.
    pub fn exchange_seconds(&self) -> f64 {
        self.exchange.iter().copied().fold(f64::INFINITY, f64::min)
    }
}

/// Instruction sets of all processors, so that a rank can send its own as a number.
const KNOWN_SETS: [&str; 3] = ["avx512", "avx2", "portable"];

fn report(plan: ThreadPlan, rate: Option<Rate>) -> [f64; WORDS] {
    // a wrong choice was refused when the program started
    let own = selected_instruction_set().unwrap_or_default();
    let set = KNOWN_SETS.iter().position(|k| *k == own).unwrap_or(KNOWN_SETS.len() - 1);
    let rate = rate.unwrap_or(Rate { gram: f64::NAN, chi2: f64::NAN, tables: f64::NAN });
    let mut words = plan.encode().into_iter().chain([set as f64, rate.gram, rate.chi2, rate.tables]);
    std::array::from_fn(|_| words.next().unwrap_or(f64::NAN))
}

fn read_report(words: &[f64]) -> SurveyedRank {
    let (plan, words) = words.split_at(ThreadPlan::WORDS);
    SurveyedRank {
        plan: ThreadPlan::decode(plan),
        instruction_set: KNOWN_SETS[(words[0] as usize).min(KNOWN_SETS.len() - 1)],
        rate: words[1].is_finite().then_some(Rate { gram: words[1], chi2: words[2], tables: words[3] }),
    }
}

/// What every rank does in a survey; the same code on all, so that the collective calls agree.
struct Part<'w> {
    world: &'w World,
    setup: Setup,
    dealing: Dealing,
    measure: bool,
}

impl Part<'_> {
    /// Threads and speed, with all ranks at work at the same time; on rank 0 those of all ranks.
    fn ranks(&self) -> Result<Vec<f64>> {
        let plan = thread_plan(self.world, self.setup.threads);
        // nobody's threads begin before everybody knows his
        self.world.all_gather_on_node(&[0]);
        let rank = self.world.rank();
        let rate = self.measure.then(|| probe::rate(&self.setup.experiment, rank, plan.threads)).transpose()?;
        Ok(self.world.gather(&report(plan, rate), &vec![WORDS; self.world.size()]))
    }

    /// The collective calls of a pass, with nothing computed; on rank 0 the time.
    fn exchange(&self, reduction: &Reduction) -> f64 {
        let e = &self.setup.experiment;
        let begin = Instant::now();
        self.world.broadcast_words(&mut [operation::EVALUATE, 0, 0, 1]);
        let point = Point { physical: vec![1.0; e.mode.n_physical()], scaling: vec![(0.3, 1.0); e.n_angles()] };
        self.world.broadcast_floats(&mut encode(&[point]));
        let sums = reduction.nodes_of(self.world.rank()) * Pass::Gram.filled().len();
        let own = message(Head { signal: 0, worked: 0.0 }, std::iter::repeat_n(1.0, sums));
        let all = self.world.gather(&own, &reduction.counts(1, Pass::Gram));
        if self.world.rank() == 0 {
            let done: Vec<Vec<Gram>> = reduction.complete(1, Pass::Gram, &all);
            std::hint::black_box(done);
        }
        begin.elapsed().as_secs_f64()
    }

    fn exchanges(&self) -> Vec<f64> {
        let reduction = Reduction::new(&self.dealing, 0);
        (0..EXCHANGES).map(|_| self.exchange(&reduction)).collect()
    }
}

/// Surveys all ranks from rank 0; the others must be waiting for a command. With `measure` the speed of every rank is
/// measured too.
///
/// # Errors
/// When threads can't be started, or so many are asked for that it must be a mistake.
pub fn survey(world: &World, setup: Setup, measure: bool) -> Result<Survey> {
    refuse_absurd(setup.threads)?;
    // numbers and lists of numbers always have a JSON form
    let mut bytes = serde_json::to_vec(&setup).unwrap_or_default();
    world.broadcast_words(&mut [operation::SURVEY, bytes.len() as u64, measure.into(), 0]);
    world.broadcast_bytes(&mut bytes);
    let dealing = Dealing::new(&setup.experiment, world.size());
    let part = Part { world, setup, dealing, measure };
    let ranks = part.ranks().map_err(|error| match error {
        named @ Error::Rank { .. } => named,
        // the others are past the point where they could be told to stop
        other => Error::Rank { rank: 0, message: other.to_string() },
    })?;
    let exchange = part.exchanges();
    let shares = (0..part.dealing.levels.len()).map(|level| shares(&part.dealing, level)).collect();
    let ranks = ranks.chunks_exact(WORDS).map(read_report).collect();
    Ok(Survey { levels: part.dealing.levels, shares, ranks, exchange })
}

/// What every rank holds of a level.
fn shares(dealing: &Dealing, level: usize) -> Vec<Share> {
    let (plan, reduction) = (&dealing.levels[level].plan, Reduction::new(dealing, level));
    let share = |(rank, range): (usize, &Range<usize>)| {
        let tiles = range.clone().map(|t| &plan.tiles[t % plan.per_angle()]);
        let (pairs, bytes) = tiles.fold((0, 0), |(p, b), t| (p + t.n_pairs, b + t.n_lanes * size_of::<Lane>()));
        Share { tiles: range.len(), pairs, bytes, nodes: reduction.nodes_of(rank) }
    };
    dealing.ranges[level].iter().enumerate().map(share).collect()
}

/// The other ranks' side: the command has come, the set-up follows.
pub(super) fn take_part(world: &World, bytes: u64, measure: bool) -> Result<()> {
    let mut text = vec![0; bytes as usize];
    world.broadcast_bytes(&mut text);
    let setup: Setup = serde_json::from_slice(&text)
        .map_err(|e| Error::Rank { rank: world.rank(), message: format!("cannot read the set-up from rank 0: {e}") })?;
    let dealing = Dealing::new(&setup.experiment, world.size());
    let part = Part { world, setup, dealing, measure };
    part.ranks()?;
    part.exchanges();
    Ok(())
}

/// Does `work` on rank 0 while the other ranks, which must be waiting for a command, leave their cores alone.
///
/// # Errors
/// Those of `work`.
pub fn while_others_rest<T>(world: &World, work: impl FnOnce() -> Result<T>) -> Result<T> {
    world.broadcast_words(&mut [operation::REST, 0, 0, 0]);
    let out = work();
    world.wake();
    out
}
