//! The loop of every rank but 0: wait for a command, do it.

use super::fault::Fault;
use super::ingest::Ended;
use super::interrupt::Interrupts;
use super::pulse::Pulse;
use super::rank_data::RankData;
use super::reduce::{Head, message};
use super::setup::Setup;
use super::{MemoryProfile, Place, ThreadPlan, World, memory, overview, record, survey, thread_plan};
use crate::gram::gpu::{Accelerated, Usage};
use crate::gram::overview::View;
use crate::gram::{Gram, Pass, Point};
use crate::{Error, Result, trace};

/// Words of a command: the operation and three operands.
pub(super) const COMMAND_WORDS: usize = 4;

/// Operations, as sent.
pub(super) mod operation {
    /// Operand: bytes of the [`super::Setup`] that follows as JSON.
    pub const SETUP: u64 = 1;
    /// Operands: number of matrices to be read, whether what is known of them is wanted, whether every rank reads a part; their angles
    /// follow, and round after round.
    pub const READ: u64 = 14;
    /// Operand: number of the round that begins; only while reading.
    pub const ROUND: u64 = 15;
    /// No operands: how a look ends, see [`super::Ended`]; after a pass [`LEAVE`] says that nothing is to be read.
    pub const DONE: u64 = 10;
    pub const AGAIN: u64 = 11;
    pub const LEAVE: u64 = 18;
    /// Operand: number of matrices whose nodes an earlier run has left; their angles follow, and what is missing is gathered.
    pub const RESTORE: u64 = 2;
    /// No operands: all data have come, and passes begin.
    pub const COMPLETE: u64 = 9;
    /// Operands: level, number of the pass's kind, number of points; the points follow.
    pub const EVALUATE: u64 = 3;
    /// No operands: every rank's [`super::RankStatus`] is gathered.
    pub const STATUS: u64 = 4;
    /// Operands: bytes of the [`super::Setup`] that follows as JSON, whether to measure (see [`super::survey`]).
    pub const SURVEY: u64 = 6;
    /// No operands: leave the cores alone until woken.
    pub const REST: u64 = 7;
    /// No operands: σ of every angle follows.
    pub const SIGMA: u64 = 8;
    /// No operands: where every rank is and what it has to work with is gathered as JSON.
    pub const PLACE: u64 = 13;
    /// Operand: bytes of the [`crate::gram::overview::View`] that follows.
    pub const VIEW: u64 = 16;
    /// The same, of one that will come, at the point of an exact pass: it is made with that.
    pub const EXPECT: u64 = 12;
    /// No operands: what every rank has recorded is gathered.
    pub const RECORDS: u64 = 17;
    /// Operand: exit code.
    pub const STOP: u64 = 5;
}

/// A point as numbers, to be broadcast.
pub(super) fn encode(points: &[Point]) -> Vec<f64> {
    points.iter().flat_map(|p| p.physical.iter().copied().chain(p.scaling.iter().flat_map(|&(c, o)| [c, o]))).collect()
}

fn decode(floats: &[f64], n_physical: usize, n_angles: usize) -> Vec<Point> {
    floats
        .chunks_exact(n_physical + 2 * n_angles)
        .map(|p| Point {
            physical: p[..n_physical].to_vec(),
            scaling: p[n_physical..].chunks_exact(2).map(|s| (s[0], s[1])).collect(),
        })
        .collect()
}

/// The filled part of every Gram, to be gathered.
pub(super) fn flatten(sums: &[Gram], pass: Pass) -> impl Iterator<Item = f64> {
    sums.iter().flat_map(move |g| g.0[pass.filled()].iter().copied())
}

/// What a rank tells about itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankStatus {
    /// Peak resident memory so far, bytes.
    pub peak_memory: u64,
    /// Its threads and why.
    pub plan: ThreadPlan,
    /// Time its threads worked in full-resolution passes, s, averaged over them.
    pub worked: f64,
    /// Mean resident memory between matrices that pass by, bytes, and its standard deviation over that; zeros where none do.
    pub steady_memory: (f64, f64),
    /// Reads that had to be tried again.
    pub retries: u64,
    /// What its GPU was used for, where it has one; the bytes in use now aren't told.
    pub gpu: Option<Usage>,
}

impl RankStatus {
    /// Numbers that are gathered.
    pub(super) const WORDS: usize = ThreadPlan::WORDS + 9;

    /// That of this process.
    pub(super) fn own(data: &RankData, worked: f64) -> Self {
        Self {
            peak_memory: memory::peak(),
            plan: data.threads,
            worked,
            steady_memory: data.samples.steady(),
            retries: data.retried(),
            gpu: data.engine().and_then(Accelerated::usage),
        }
    }

    pub(super) fn encode(self) -> [f64; Self::WORDS] {
        let (steady, variation) = self.steady_memory;
        let Usage { most_bytes, sent, kernels, .. } = self.gpu.unwrap_or_default();
        let has_gpu = f64::from(u8::from(self.gpu.is_some()));
        let own = [self.peak_memory as f64, self.worked, steady, variation, self.retries as f64];
        let gpu = [has_gpu, most_bytes as f64, sent as f64, kernels];
        let mut words = self.plan.encode().into_iter().chain(own).chain(gpu);
        std::array::from_fn(|_| words.next().unwrap_or(0.0))
    }

    pub(super) fn decode(words: &[f64]) -> Self {
        let (plan, words) = words.split_at(ThreadPlan::WORDS);
        Self {
            peak_memory: words[0] as u64,
            plan: ThreadPlan::decode(plan),
            worked: words[1],
            steady_memory: (words[2], words[3]),
            retries: words[4] as u64,
            gpu: (words[5] > 0.0).then_some(Usage {
                bytes: 0,
                most_bytes: words[6] as usize,
                sent: words[7] as u64,
                kernels: words[8],
            }),
        }
    }
}

/// Where this rank is and what it has to work with, as JSON.
pub(super) fn place(world: &World, data: &RankData) -> String {
    let (plan, engine) = (data.threads, data.engine());
    let set = engine.map_or("none", |engine| engine.instruction_set());
    let place = Place::own(world, (plan.cores, plan.threads), set, engine.and_then(Accelerated::gpu));
    // texts and numbers always have a form
    serde_json::to_string(&place).unwrap_or_default()
}

struct Ready {
    data: RankData,
    interrupts: Interrupts,
    /// As in [`RankStatus`].
    worked: f64,
    /// Samples its memory, where that is wanted.
    profile: Option<MemoryProfile>,
    /// Watches rank 0.
    _pulse: Option<Pulse>,
}

/// Serves rank 0 until it says stop; returns the exit code it named.
///
/// # Errors
/// What went wrong on this rank, as [`Error::Rank`]; the caller must end the whole job then.
pub fn serve(world: &World) -> Result<u8> {
    obey(world).map_err(|error| match error {
        named @ Error::Rank { .. } => named,
        other => failed(world, other.to_string()),
    })
}

fn obey(world: &World) -> Result<u8> {
    let mut state: Option<Ready> = None;
    let mut fault = Fault::from_environment(world.rank());
    loop {
        let mut command = [0u64; COMMAND_WORDS];
        {
            let _span = trace::span("waiting");
            world.broadcast_words(&mut command);
        }
        let [op, first, second, third] = command;
        match (op, &mut state) {
            (operation::SETUP, _) => {
                let mut bytes = vec![0; first as usize];
                world.broadcast_bytes(&mut bytes);
                let setup: Setup = serde_json::from_slice(&bytes)
                    .map_err(|e| failed(world, format!("cannot read the set-up from rank 0: {e}")))?;
                // what is recorded goes on where this isn't the first set-up
                let before = state.take().map(|before| (before.profile, before.interrupts));
                let pulse = Pulse::start(world, setup.silence());
                setup.recorded.agree_on_time(world);
                let (profile, interrupts) = match before {
                    Some(before) => before,
                    None => (setup.recorded.begin()?, Interrupts::install(world.rank())?),
                };
                let plan = thread_plan(world, setup.threads);
                let mut data = RankData::new(world, setup, plan)?;
                // rank 0 is busy with the first matrix
                data.touch();
                state = Some(Ready { data, interrupts, worked: 0.0, profile, _pulse: pulse });
            }
            (operation::READ, Some(ready)) => {
                ready.follow(world, [first, second, third])?;
            }
            (operation::RESTORE, Some(ready)) => {
                let mut words = vec![0; first as usize];
                world.broadcast_words(&mut words);
                let angles: Vec<usize> = words.into_iter().map(|angle| angle as usize).collect();
                let missing = ready.data.restore(&angles);
                world.gather_any(&missing.iter().map(|&angle| angle as f64).collect::<Vec<_>>());
            }
            (operation::COMPLETE, Some(ready)) => ready.data.begin_passes(world)?,
            (operation::EVALUATE, Some(ready)) => {
                fault.check()?;
                evaluate(world, ready, [first, second, third])?;
            }
            (operation::SIGMA, Some(ready)) => {
                let mut sigma = vec![0.0; ready.data.setup.experiment.n_angles()];
                world.broadcast_floats(&mut sigma);
                ready.data.engine_mut()?.set_sigma(&sigma);
            }
            (operation::STATUS, Some(ready)) => {
                world.gather(&RankStatus::own(&ready.data, ready.worked).encode(), &[]);
            }
            (operation::PLACE, Some(ready)) => {
                world.gather_texts(&place(world, &ready.data));
            }
            (operation::VIEW, Some(ready)) => {
                let view = receive_view(world, first)?;
                let _span = trace::span("looking");
                if !ready.data.begin_view(view.clone())? || ready.read_again(world)? {
                    let own = ready.data.take_seen();
                    overview::gather(world, own, &ready.data.dealing.levels[0], &view)?;
                }
            }
            (operation::EXPECT, Some(ready)) => ready.data.expect(receive_view(world, first)?),
            (operation::RECORDS, Some(ready)) => drop(record::gather(world, ready.profile.as_ref())),
            (operation::SURVEY, _) => survey::take_part(world, first, second == 1)?,
            (operation::REST, _) => world.rest(),
            (operation::STOP, _) => return Ok(first as u8),
            _ => return Err(failed(world, format!("unexpected command {command:?} from rank 0"))),
        }
    }
}

impl Ready {
    /// Takes part in a look; `false` where rank 0 ends it.
    fn follow(&mut self, world: &World, [n_angles, judges, parallel]: [u64; 3]) -> Result<bool> {
        let interrupts = &self.interrupts;
        let what = (n_angles as usize, judges == 1, parallel == 1);
        match self.data.follow(world, what, &|| interrupts.pending())? {
            Ended::Again => self.read_again(world),
            ended => Ok(ended == Ended::Done),
        }
    }

    /// Takes part in what follows a pass or a look where pairs aren't kept: reading, if rank 0 wants it. `false` where rank 0 ends that.
    fn read_again(&mut self, world: &World) -> Result<bool> {
        let mut command = [0u64; COMMAND_WORDS];
        world.broadcast_words(&mut command);
        match command {
            [operation::READ, what @ ..] => self.follow(world, what),
            _ => Ok(true),
        }
    }
}

/// What rank 0 wants to be looked at, of so many bytes.
fn receive_view(world: &World, bytes: u64) -> Result<View> {
    let mut bytes = vec![0; bytes as usize];
    world.broadcast_bytes(&mut bytes);
    postcard::from_bytes(&bytes).map_err(|e| failed(world, format!("cannot read from rank 0 what to look at: {e}")))
}

/// Takes part in a pass: level, number of its kind, number of points.
fn evaluate(world: &World, ready: &mut Ready, [level, code, n_points]: [u64; 3]) -> Result<()> {
    let experiment = &ready.data.setup.experiment;
    let (n, k) = (experiment.mode.n_physical(), experiment.n_angles());
    let mut floats = vec![0.0; n_points as usize * (n + 2 * k)];
    world.broadcast_floats(&mut floats);
    let (level, points, pass) = (level as usize, decode(&floats, n, k), Pass::from_code(code));
    let span = trace::span("pass").with(|| format!("level {level}, {} points, {pass:?}", points.len()));
    let waiting = ready.data.begin_sums(level, points, pass)?;
    if level == 0 && !ready.data.setup.keeps {
        world.gather_any(&waiting.iter().map(|&angle| angle as f64).collect::<Vec<_>>());
        if !ready.read_again(world)? {
            return Ok(());
        }
    }
    let sums = ready.data.take_sums().sums;
    drop(span);
    let worked = ready.data.engine().map_or(0.0, Accelerated::worked);
    if level == 0 {
        ready.worked += worked;
    }
    let _span = trace::span("reduction");
    let head = Head { signal: ready.interrupts.pending(), worked };
    world.gather(&message(head, flatten(&sums, pass)), &[]);
    Ok(())
}

fn failed(world: &World, message: String) -> Error {
    Error::Rank { rank: world.rank(), message }
}
