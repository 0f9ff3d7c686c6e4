//! The loop of every rank but 0: wait for a command, do it.

use std::sync::Arc;

use super::engine;
use super::fault::Fault;
use super::interrupt::Interrupts;
use super::memory::Samples;
use super::parallel::{self, Reading, Shelves};
use super::pulse::Pulse;
use super::reduce::{Head, message};
use super::rounds::LongPass;
use super::setup::{Dealing, Setup, thread_pool};
use super::{MemoryProfile, Place, ThreadPlan, World, memory, overview, record, survey, thread_plan};
use crate::gram::gpu::{Accelerated, Usage};
use crate::gram::overview::View;
use crate::gram::rounds::Known;
use crate::gram::{Engine, Gram, Pass, Point, TileStore};
use crate::{Error, Result, trace};

/// Words of a command: the operation and three operands.
pub(super) const COMMAND_WORDS: usize = 4;

/// Operations, as sent.
pub(super) mod operation {
    /// Operand: bytes of the [`super::Setup`] that follows as JSON.
    pub const SETUP: u64 = 1;
    /// Operand: angle whose tiles follow, level by level.
    pub const LOAD: u64 = 2;
    /// Operand: angle whose σ of every pair follow like tiles, before these.
    pub const LOAD_SIGMA: u64 = 10;
    /// Operand: bytes of the [`super::Reading`] that follows: every rank reads its part of the file, round after round.
    pub const READ: u64 = 14;
    /// Operand: number of the round that begins; only while reading.
    pub const ROUND: u64 = 15;
    /// Operands: level, number of the pass's kind, number of points; the points follow.
    pub const EVALUATE: u64 = 3;
    /// Operands: number of the pass's kind, count of numbers; what is known of the next pass follows.
    pub const KNOWN: u64 = 11;
    /// No operands: every rank's [`super::RankStatus`] is gathered.
    pub const STATUS: u64 = 4;
    /// Operands: bytes of the [`super::Setup`] that follows as JSON, whether to measure (see [`super::survey`]).
    pub const SURVEY: u64 = 6;
    /// No operands: leave the cores alone until woken.
    pub const REST: u64 = 7;
    /// No operands: σ of every angle follows.
    pub const SIGMA: u64 = 8;
    /// Operand: whether another run has written the files of the levels, which are complete.
    pub const OPEN: u64 = 9;
    /// No operands: where every rank is and what it has to work with is gathered as JSON.
    pub const PLACE: u64 = 13;
    /// No operands: level and number of every tile that a rank has to leave out are gathered.
    pub const LOST: u64 = 12;
    /// Operand: bytes of the [`crate::gram::overview::View`] that follows.
    pub const VIEW: u64 = 16;
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

/// Tiles, each by its level and global number, as numbers.
pub(super) fn encode_tiles(tiles: &[(usize, usize)]) -> Vec<f64> {
    tiles.iter().flat_map(|&(level, tile)| [level as f64, tile as f64]).collect()
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
    /// Mean resident memory over the batches of full-resolution passes, bytes, and its standard deviation over that; zeros
    /// where there are no batches.
    pub steady_memory: (f64, f64),
    /// Reads of streamed data that had to be tried again.
    pub retries: u64,
    /// What its GPU was used for, where it has one; the bytes in use now aren't told.
    pub gpu: Option<Usage>,
}

impl RankStatus {
    /// Numbers that are gathered.
    pub(super) const WORDS: usize = ThreadPlan::WORDS + 9;

    /// That of this process.
    pub(super) fn own(plan: ThreadPlan, worked: f64, samples: &Samples, engine: Option<&Accelerated>) -> Self {
        let retries = engine.map_or(0, |engine| engine.retried());
        let gpu = engine.and_then(Accelerated::usage);
        Self { peak_memory: memory::peak(), plan, worked, steady_memory: samples.steady(), retries, gpu }
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
pub(super) fn place(world: &World, plan: ThreadPlan, engine: Option<&Accelerated>) -> String {
    let set = engine.map_or("none", |engine| engine.instruction_set());
    let place = Place::own(world, (plan.cores, plan.threads), set, engine.and_then(Accelerated::gpu));
    // texts and numbers always have a form
    serde_json::to_string(&place).unwrap_or_default()
}

struct Ready {
    setup: Setup,
    dealing: Dealing,
    threads: ThreadPlan,
    /// Until the last angle has come.
    stores: Vec<TileStore>,
    /// σ of every pair, where they have their own.
    sigma: Vec<TileStore>,
    /// Threads of the engine to be.
    pool: Option<rayon::ThreadPool>,
    engine: Option<Accelerated>,
    /// What is known of the next pass.
    known: Known,
    interrupts: Interrupts,
    samples: Arc<Samples>,
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
                let pulse = Pulse::start(world, setup.silence());
                setup.recorded.agree_on_time(world);
                let profile = setup.recorded.begin()?;
                let plan = thread_plan(world, setup.threads);
                let dealing = Dealing::new(&setup.experiment, world.size());
                let pool = thread_pool(world.rank(), plan.threads)?;
                let mut stores = dealing.stores(world.rank(), setup.streaming.is_some())?;
                // rank 0 is busy with the first matrix
                pool.install(|| stores.iter_mut().for_each(TileStore::touch));
                let sigma = if setup.weighted { dealing.stores(world.rank(), false)? } else { Vec::new() };
                state = Some(Ready {
                    setup,
                    dealing,
                    threads: plan,
                    stores,
                    sigma,
                    pool: Some(pool),
                    engine: None,
                    known: Known::default(),
                    interrupts: Interrupts::install(world.rank())?,
                    samples: Arc::default(),
                    worked: 0.0,
                    profile,
                    _pulse: pulse,
                });
            }
            (operation::LOAD, Some(ready)) => load(world, ready, first as usize)?,
            (operation::LOAD_SIGMA, Some(ready)) => {
                for (level, store) in ready.sigma.iter_mut().enumerate() {
                    let tiles = ready.dealing.tiles(level, world.rank(), first as usize);
                    if !tiles.is_empty() {
                        store.receive(&tiles, |floats| world.receive(floats));
                    }
                }
            }
            (operation::READ, Some(ready)) => {
                let mut bytes = vec![0; first as usize];
                world.broadcast_bytes(&mut bytes);
                if let Some(code) = read(world, ready, &bytes)? {
                    return Ok(code);
                }
            }
            (operation::KNOWN, Some(ready)) => {
                let mut floats = vec![0.0; second as usize];
                world.broadcast_floats(&mut floats);
                ready.known = Known::decode(&floats, Pass::from_code(first)).unwrap_or_default();
            }
            (operation::EVALUATE, Some(ready)) => {
                fault.check()?;
                evaluate(world, ready, [first, second, third])?;
            }
            (operation::OPEN, Some(ready)) => {
                complete(world, ready)?;
                if let (Some(streaming), Some(own)) = (&ready.setup.streaming, &mut ready.engine) {
                    let files = streaming.open(&ready.dealing, world.rank(), first == 1)?;
                    streaming.attach(files, own)?;
                    engine::accelerate(own, world, &ready.setup)?;
                }
            }
            (operation::SIGMA, Some(Ready { setup, engine: Some(engine), .. })) => {
                let mut sigma = vec![0.0; setup.experiment.n_angles()];
                world.broadcast_floats(&mut sigma);
                engine.set_sigma(&sigma);
            }
            (operation::STATUS, Some(ready)) => {
                let own = RankStatus::own(ready.threads, ready.worked, &ready.samples, ready.engine.as_ref());
                world.gather(&own.encode(), &[]);
            }
            (operation::PLACE, Some(ready)) => {
                world.gather_texts(&place(world, ready.threads, ready.engine.as_ref()));
            }
            (operation::LOST, Some(Ready { engine: Some(engine), .. })) => {
                world.gather_any(&encode_tiles(&engine.lost()));
            }
            (operation::VIEW, Some(Ready { dealing, engine: Some(engine), .. })) => {
                let mut bytes = vec![0; first as usize];
                world.broadcast_bytes(&mut bytes);
                let view: View = postcard::from_bytes(&bytes)
                    .map_err(|e| failed(world, format!("cannot read from rank 0 what to look at: {e}")))?;
                let _span = trace::span("looking");
                overview::gather(world, engine, &dealing.levels[0], &view)?;
            }
            (operation::RECORDS, Some(ready)) => drop(record::gather(world, ready.profile.as_ref())),
            (operation::SURVEY, _) => survey::take_part(world, first, second == 1)?,
            (operation::REST, _) => world.rest(),
            (operation::STOP, _) => return Ok(first as u8),
            _ => return Err(failed(world, format!("unexpected command {command:?} from rank 0"))),
        }
    }
}

/// Takes part in a pass: level, number of its kind, number of points.
fn evaluate(world: &World, ready: &mut Ready, [level, code, n_points]: [u64; 3]) -> Result<()> {
    let known = std::mem::take(&mut ready.known);
    let Ready { setup, dealing, engine: Some(engine), interrupts, worked, .. } = ready else {
        return Err(failed(world, "a pass was asked for before all data had come".into()));
    };
    let (n, k) = (setup.experiment.mode.n_physical(), setup.experiment.n_angles());
    let mut floats = vec![0.0; n_points as usize * (n + 2 * k)];
    world.broadcast_floats(&mut floats);
    let (level, points, pass) = (level as usize, decode(&floats, n, k), Pass::from_code(code));
    let span = trace::span("pass").with(|| format!("level {level}, {} points, {pass:?}", points.len()));
    let sums = if setup.in_rounds(&dealing.levels[level], points.len()) || !known.is_empty() {
        let length = setup.rounds.length;
        let long = LongPass { world, dealing, length, level, points: &points, pass, known: &known, lost: 0 };
        match long.follow(engine, || interrupts.pending())? {
            Some(sums) => sums,
            None => return Ok(()),
        }
    } else {
        engine.evaluate(level, &points, pass)?
    };
    drop(span);
    if level == 0 {
        *worked += engine.worked();
    }
    let _span = trace::span("reduction");
    let head = Head { signal: interrupts.pending(), lost: engine.losses()(), worked: engine.worked() };
    world.gather(&message(head, flatten(&sums, pass)), &[]);
    Ok(())
}

fn failed(world: &World, message: String) -> Error {
    Error::Rank { rank: world.rank(), message }
}

fn load(world: &World, ready: &mut Ready, angle: usize) -> Result<()> {
    let _span = trace::span("receiving").with(|| format!("angle {angle}"));
    for (level, store) in ready.stores.iter_mut().enumerate() {
        let tiles = ready.dealing.tiles(level, world.rank(), angle);
        if !tiles.is_empty() {
            store.receive(&tiles, |floats| world.receive(floats));
            let plan = &ready.dealing.levels[level].plan;
            match &ready.pool {
                Some(pool) => pool.install(|| store.mark(plan, &tiles)),
                None => store.mark(plan, &tiles),
            }
        }
    }
    if angle + 1 == ready.setup.experiment.n_angles() {
        begin_passes(world, ready)?;
    }
    Ok(())
}

/// Reads this rank's part of the file; the exit code where rank 0 ends that.
fn read(world: &World, ready: &mut Ready, bytes: &[u8]) -> Result<Option<u8>> {
    let reading: Reading =
        postcard::from_bytes(bytes).map_err(|e| failed(world, format!("cannot read from rank 0 what to read: {e}")))?;
    let pool = match ready.pool.take() {
        Some(pool) => pool,
        None => thread_pool(world.rank(), ready.threads.threads)?,
    };
    let shelves = Shelves { stores: &mut ready.stores, sigma: &mut ready.sigma };
    let ended = parallel::follow((world, &ready.dealing, &pool), shelves, (&reading, &ready.setup.experiment));
    ready.pool = Some(pool);
    if ended.is_none() {
        begin_passes(world, ready)?;
    }
    Ok(ended)
}

/// All data that are dealt are there: they go to an engine, and to the GPU where there is one.
fn begin_passes(world: &World, ready: &mut Ready) -> Result<()> {
    complete(world, ready)?;
    match &mut ready.engine {
        Some(own) => engine::accelerate(own, world, &ready.setup),
        None => Ok(()),
    }
}

/// All data that are dealt are there: they go to an engine.
fn complete(world: &World, ready: &mut Ready) -> Result<()> {
    let stores = std::mem::take(&mut ready.stores);
    let pool = match ready.pool.take() {
        Some(pool) => pool,
        None => thread_pool(world.rank(), ready.threads.threads)?,
    };
    let sigma = std::mem::take(&mut ready.sigma);
    let mut own = engine::build(&ready.setup, &ready.dealing, (stores, sigma), pool)?;
    if let Some(pairs) = ready.setup.batch_pairs {
        let samples = Arc::clone(&ready.samples);
        own.set_batches(pairs, Some(Box::new(move |_, _| samples.take())));
    }
    ready.engine = Some(own);
    Ok(())
}
