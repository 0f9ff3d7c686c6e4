//! What one rank has of the data, and what it does with matrices that pass by.
//!
//! In memory: the tiles of all levels. Where the pairs of the finest level aren't kept: the nodes that stand for them, and the tiles of
//! the other levels; whenever single pairs are needed, the matrices are read again and pass by, one after another.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ingest::{self, Ended, Passing, Rank, Reading, Shelves};
use super::memory::Samples;
use super::setup::{Dealing, Setup, thread_pool};
use super::{ThreadPlan, World, engine};
use crate::arithmetic::InstructionSet;
use crate::dataset::Dataset;
use crate::gram::gpu::Accelerated;
use crate::gram::overview::{Overview, View};
use crate::gram::{Partial, Pass, Point, TileStore};
use crate::nodes::compressor::Compressor;
use crate::{Error, Result};

/// Sums of a pass on their way.
struct Sums {
    points: Vec<Point>,
    pass: Pass,
    partial: Partial,
}

/// What an answer looks like.
struct Seen {
    view: View,
    angles: Vec<(usize, Overview)>,
}

/// What matrices pass by for.
enum Look {
    /// To become nodes.
    First(Box<Compressor>),
    /// For the sums of a pass, to be looked at, or both.
    Later { sums: bool, view: bool },
}

/// The data of one rank.
pub(super) struct RankData {
    pub setup: Setup,
    pub dealing: Dealing,
    pub threads: ThreadPlan,
    rank: usize,
    /// The threads for all that is done to matrices before they are dealt.
    pub pool: Arc<rayon::ThreadPool>,
    /// By level, until they go to the engine.
    stores: Vec<TileStore>,
    /// σ of every pair, where they have their own.
    sigma: Vec<TileStore>,
    engine: Option<Accelerated>,
    look: Look,
    sums: Option<Sums>,
    /// What is being looked at, or was.
    seen: Option<Seen>,
    /// What will be looked at where an answer is verified.
    expected: Option<View>,
    /// The file, on other ranks than 0, where they read.
    dataset: Option<Dataset>,
    /// Reads that had to be tried again.
    retried: AtomicU64,
    /// Memory between matrices.
    pub samples: Arc<Samples>,
}

impl RankData {
    /// Without any data yet.
    ///
    /// # Errors
    /// When there is too little memory, or threads can't be started.
    pub fn new(world: &World, setup: Setup, threads: ThreadPlan) -> Result<Self> {
        let rank = world.rank();
        let dealing = Dealing::new(&setup.experiment, world.size());
        let pool = Arc::new(thread_pool(rank, threads.threads)?);
        let stores = dealing.stores(rank, setup.keeps)?;
        let sigma = if setup.weighted { dealing.stores(rank, true)? } else { Vec::new() };
        let look = if setup.keeps {
            Look::Later { sums: false, view: false }
        } else {
            let range = dealing.ranges[0][rank].clone();
            Look::First(Box::new(Compressor::new(InstructionSet::select()?, &dealing.levels[0].plan, range, true)))
        };
        Ok(Self {
            setup,
            dealing,
            threads,
            rank,
            pool,
            stores,
            sigma,
            engine: None,
            look,
            sums: None,
            seen: None,
            expected: None,
            dataset: None,
            retried: AtomicU64::new(0),
            samples: Arc::default(),
        })
    }

    /// Has the pages of the memory lie near the cores that will use them, before tiles come.
    pub fn touch(&mut self) {
        let Self { pool, stores, .. } = self;
        pool.install(|| stores.iter_mut().for_each(TileStore::touch));
    }

    /// The engine, once all data are there.
    pub fn engine(&self) -> Option<&Accelerated> {
        self.engine.as_ref()
    }

    /// The engine.
    ///
    /// # Errors
    /// [`Error::Rank`] before all data are there.
    pub fn engine_mut(&mut self) -> Result<&mut Accelerated> {
        let rank = self.rank;
        let message = "a pass was asked for before all data were dealt";
        self.engine.as_mut().ok_or_else(|| Error::Rank { rank, message: message.into() })
    }

    /// Reads that had to be tried again.
    pub fn retried(&self) -> u64 {
        self.retried.load(Ordering::Relaxed)
    }

    /// Calls `look` with what takes matrices in for what is looked for now.
    pub fn take_in<T>(
        &mut self,
        world: &World,
        look: impl FnOnce(Rank, Shelves, &mut Option<Dataset>) -> T,
    ) -> Result<T> {
        let Some(reading) = self.setup.reading.clone() else {
            return Err(Error::Rank { rank: self.rank, message: "there is no file to be read".into() });
        };
        let reading: &Reading = &reading;
        let mut dataset = self.dataset.take();
        let retried = std::mem::take(&mut self.retried);
        let (mut stores, mut sigma) = (std::mem::take(&mut self.stores), std::mem::take(&mut self.sigma));
        let (pool, samples) = (Arc::clone(&self.pool), Arc::clone(&self.samples));
        let Self { dealing, engine, look: what, sums, seen, setup, .. } = self;
        let rank = self.rank;
        let mut pass_by = |angle: usize, tiles: TileStore, others: &[TileStore]| {
            match (&mut *what, engine.as_mut(), sums.as_mut(), seen.as_mut()) {
                (Look::First(compressor), ..) => pool.install(|| {
                    tiles.compress(compressor);
                    if let Some(files) = &setup.nodes {
                        files.save(rank, angle, compressor, others, dealing);
                    }
                }),
                // of many a matrix a rank holds nothing
                (Look::Later { .. }, ..) if tiles.range.is_empty() => {}
                (Look::Later { sums: of_sums, view: of_view }, Some(engine), sums, seen) => {
                    engine.with_pairs(tiles, |engine| {
                        if let Some(Sums { points, pass, partial }) = sums.filter(|_| *of_sums) {
                            engine.complete(partial, points, *pass, angle);
                        }
                        if let Some(Seen { view, angles }) = seen.filter(|_| *of_view) {
                            angles.extend(engine.overview(view, angle..angle + 1));
                        }
                    });
                    // nodes come to be in the first look; from now on memory stays as it is
                    samples.take();
                }
                // nothing is looked for
                _ => {}
            }
        };
        let passing: Option<Passing> = if setup.keeps { None } else { Some(&mut pass_by) };
        let shelves = Shelves { stores: &mut stores, sigma: &mut sigma, passing };
        let own = Rank { world, dealing, pool: &pool, reading, retried: &retried };
        let out = look(own, shelves, &mut dataset);
        (self.stores, self.sigma, self.dataset, self.retried) = (stores, sigma, dataset, retried);
        Ok(out)
    }

    /// Takes what this rank holds of these angles from files of an earlier run; gives those of which not all is there.
    pub fn restore(&mut self, angles: &[usize]) -> Vec<usize> {
        let Self { setup, dealing, rank, pool, stores, look, .. } = self;
        let (Some(files), Look::First(compressor)) = (&setup.nodes, look) else { return angles.to_vec() };
        let is_missing = |angle: &usize| !files.restore(*rank, *angle, compressor, stores, dealing);
        pool.install(|| angles.iter().copied().filter(is_missing).collect())
    }

    /// All data have come: they go to an engine, and to the GPU where there is one.
    ///
    /// # Errors
    /// When threads can't be started; [`Error::Device`] where a GPU must be used and can't be.
    pub fn begin_passes(&mut self, world: &World) -> Result<()> {
        let (stores, sigma) = (std::mem::take(&mut self.stores), std::mem::take(&mut self.sigma));
        let nodes = match std::mem::replace(&mut self.look, Look::Later { sums: false, view: false }) {
            Look::First(compressor) => Some(compressor.finish()),
            _ => None,
        };
        let pool = thread_pool(self.rank, self.threads.threads)?;
        let room = self.setup.room;
        let mut own = engine::build(&self.setup, (&self.dealing, self.rank), (stores, sigma, nodes), pool)?;
        own.set_room(room);
        engine::accelerate(&mut own, world, &self.setup)?;
        self.engine = Some(own);
        Ok(())
    }

    /// Begins a pass: as far as it goes with what is at hand. Gives the angles that wait for their pairs.
    ///
    /// # Errors
    /// What the engine fails with.
    pub fn begin_sums(&mut self, level: usize, points: Vec<Point>, pass: Pass) -> Result<Vec<usize>> {
        let partial = self.engine_mut()?.partial(level, &points, pass)?;
        let waiting = partial.waiting.clone();
        // an answer is verified
        let view = match (&self.expected, pass, &points[..]) {
            (Some(view), Pass::Exact, [point]) => Some(View { point: point.clone(), ..view.clone() }),
            _ => None,
        };
        self.look = Look::Later { sums: true, view: view.is_some() };
        self.seen = view.map(|view| Seen { view, angles: Vec::new() }).or(self.seen.take());
        self.sums = Some(Sums { points, pass, partial });
        Ok(waiting)
    }

    /// The sums of the pass, when all is there.
    pub fn take_sums(&mut self) -> Partial {
        self.sums.take().map(|sums| sums.partial).unwrap_or_default()
    }

    /// From now on the data are looked at, too, when an answer is verified by reading them again.
    pub fn expect(&mut self, view: View) {
        self.expected = Some(view);
    }

    /// Begins to look at the data: at all that are at hand. Whether the others must pass by.
    ///
    /// # Errors
    /// As [`Self::engine_mut`].
    pub fn begin_view(&mut self, view: View) -> Result<bool> {
        if self.seen.as_ref().is_some_and(|seen| seen.view == view) {
            return Ok(false);
        }
        let keeps = self.setup.keeps;
        let engine = self.engine_mut()?;
        let angles = if keeps { engine.overview(&view, engine.angles()) } else { Vec::new() };
        self.look = Look::Later { sums: false, view: true };
        self.seen = Some(Seen { view, angles });
        Ok(!keeps)
    }

    /// What was seen, when all has passed by.
    pub fn take_seen(&mut self) -> Vec<(usize, Overview)> {
        self.seen.take().map(|seen| seen.angles).unwrap_or_default()
    }

    /// Takes part in a look on another rank than 0; `what` are the operands of the command.
    ///
    /// # Errors
    /// [`Error::Rank`] where there is nothing to be read.
    pub fn follow(&mut self, world: &World, what: (usize, bool, bool), signal: &dyn Fn() -> u8) -> Result<Ended> {
        let experiment = self.setup.experiment.clone();
        self.take_in(world, |rank, shelves, dataset| {
            ingest::follow(rank, shelves, (dataset, &experiment), what, signal)
        })
    }
}
