//! The ranks of a job as one of them sees them: those of MPI where a launcher has started the process, this process alone
//! where none has, or where the program is built without MPI (`alone`).
//!
//! A process without a launcher doesn't start MPI: it has nobody to talk to, and several that start MPI at the same time on
//! one machine get in each other's way.

use std::io::Write;

use super::NodeShare;
use super::alone::Alone;
use super::launch::{self, Library};
use crate::{Error, Result};

/// Bytes that travel in one number: so many fit into a whole one.
const BYTES_A_NUMBER: usize = 6;

/// An MPI that a program is built with: it is handed in, so that this library needs none.
pub struct Mpi {
    /// What it says of its name and version.
    pub version: fn() -> String,
    /// Starts it; nothing if it runs already.
    pub start: fn() -> Option<Box<dyn Ranks>>,
}

impl Mpi {
    /// What it is called.
    pub fn library(&self) -> Library {
        Library::of(&(self.version)())
    }
}

/// What the ranks of a job can do together. [`World`] says what each call means.
#[expect(missing_docs, reason = "of `World`, but for what only this has")]
pub trait Ranks {
    /// What is to be said about this MPI.
    fn warning(&self) -> Option<&str>;
    fn rank(&self) -> usize;
    fn size(&self) -> usize;
    fn ranks_on_node(&self) -> usize;
    fn rank_on_node(&self) -> usize;
    fn all_gather_on_node(&self, values: &[u64]) -> Vec<u64>;
    fn broadcast_words(&self, words: &mut [u64]);
    fn broadcast_floats(&self, floats: &mut [f64]);
    fn broadcast_bytes(&self, bytes: &mut [u8]);
    fn send(&self, to: usize, values: &[f32]);
    fn receive(&self, values: &mut [f32]);
    fn gather(&self, own: &[f64], counts: &[usize]) -> Vec<f64>;
    /// Calls `work` once.
    fn exchange(&self, expected: Vec<(usize, &mut [f32])>, work: &mut dyn FnMut(&mut dyn FnMut()));
    fn rest(&self);
    fn wake(&self);
    fn abort(&self, code: u8) -> !;
}

/// All ranks of the job as seen from this one.
pub struct World {
    ranks: Box<dyn Ranks>,
    nodes: Vec<NodeShare>,
}

impl World {
    /// Starts MPI where there is one and mpirun, srun or another launcher has started this process. To be called before any
    /// other thread is started.
    ///
    /// # Errors
    /// [`Error::Usage`] when the launcher started several copies that don't know of each other.
    pub fn start(mpi: Option<&Mpi>) -> Result<Self> {
        let mut world = Self { ranks: Self::ranks(mpi)?, nodes: Vec::new() };
        let own = NodeShare::own(world.ranks_on_node());
        let nodes = world.gather(&[own.ranks as f64, own.limit], &vec![2; world.size()]);
        world.nodes = nodes.chunks_exact(2).map(|of| NodeShare { ranks: of[0] as usize, limit: of[1] }).collect();
        Ok(world)
    }

    fn ranks(mpi: Option<&Mpi>) -> Result<Box<dyn Ranks>> {
        let Some(mpi) = mpi else {
            return launch::refuse_companions(None).map(|()| Box::new(Alone) as _);
        };
        if !launch::has_launched() {
            return Ok(Box::new(Alone));
        }
        let library = mpi.library();
        launch::look_for_companions(&library)?;
        let ranks = (mpi.start)().ok_or_else(|| Error::Usage("MPI was already started in this process".into()))?;
        if ranks.size() == 1 {
            launch::refuse_companions(Some(&library))?;
        }
        Ok(ranks)
    }

    /// What to tell the user about this MPI, once there is a log.
    pub fn warning(&self) -> Option<&str> {
        self.ranks.warning()
    }

    /// This rank, from 0.
    pub fn rank(&self) -> usize {
        self.ranks.rank()
    }

    /// Number of ranks.
    pub fn size(&self) -> usize {
        self.ranks.size()
    }

    /// On rank 0 what every rank knows of its node, in the order of ranks; elsewhere empty.
    pub fn nodes(&self) -> &[NodeShare] {
        &self.nodes
    }

    /// Number of ranks on this node.
    pub fn ranks_on_node(&self) -> usize {
        self.ranks.ranks_on_node()
    }

    /// This rank among those of its node, from 0.
    pub fn rank_on_node(&self) -> usize {
        self.ranks.rank_on_node()
    }

    /// Every rank's value, in the order of ranks, among the ranks of this node; a collective call.
    pub fn all_gather_on_node(&self, values: &[u64]) -> Vec<u64> {
        self.ranks.all_gather_on_node(values)
    }

    /// Copies rank 0's numbers to all; a collective call.
    pub fn broadcast_words(&self, words: &mut [u64]) {
        self.ranks.broadcast_words(words);
    }

    /// Copies rank 0's numbers to all; a collective call.
    pub fn broadcast_floats(&self, floats: &mut [f64]) {
        self.ranks.broadcast_floats(floats);
    }

    /// Copies rank 0's bytes to all; a collective call.
    pub fn broadcast_bytes(&self, bytes: &mut [u8]) {
        self.ranks.broadcast_bytes(bytes);
    }

    /// Sends values to another rank.
    pub fn send(&self, to: usize, values: &[f32]) {
        self.ranks.send(to, values);
    }

    /// Receives as many values as fit from rank 0.
    pub fn receive(&self, values: &mut [f32]) {
        self.ranks.receive(values);
    }

    /// On rank 0 everybody's numbers, `counts[r]` of them from rank r, one rank after another; a collective call.
    /// Elsewhere empty (and `counts` isn't looked at).
    pub fn gather(&self, own: &[f64], counts: &[usize]) -> Vec<f64> {
        self.ranks.gather(own, counts)
    }

    /// The same where rank 0 doesn't know how many numbers the others send.
    pub fn gather_any(&self, own: &[f64]) -> Vec<f64> {
        let counts = self.gather(&[own.len() as f64], &vec![1; self.size()]);
        let counts: Vec<usize> = counts.into_iter().map(|count| count as usize).collect();
        self.gather(own, &counts)
    }

    /// On rank 0 everybody's bytes, in the order of ranks; a collective call. Elsewhere empty. Bytes travel as whole numbers, a
    /// few in each.
    pub fn gather_bytes(&self, own: &[u8]) -> Vec<Vec<u8>> {
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |all, &byte| all << 8 | u64::from(byte)) as f64;
        let numbers: Vec<f64> = [own.len() as f64].into_iter().chain(own.chunks(BYTES_A_NUMBER).map(number)).collect();
        let all = self.gather_any(&numbers);
        let mut rest = &all[..];
        let mut texts = Vec::new();
        while let Some((length, later)) = rest.split_first() {
            let length = *length as usize;
            let (now, later) = later.split_at(length.div_ceil(BYTES_A_NUMBER));
            let mut bytes: Vec<u8> =
                now.iter().flat_map(|&n| (n as u64).to_le_bytes().into_iter().take(BYTES_A_NUMBER)).collect();
            bytes.truncate(length);
            texts.push(bytes);
            rest = later;
        }
        texts
    }

    /// The same for texts.
    pub fn gather_texts(&self, own: &str) -> Vec<String> {
        let all = self.gather_bytes(own.as_bytes());
        all.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect()
    }

    /// Does `work`, which may [`Self::send`], while what other ranks send comes in: from whom, and into what, in the order in which
    /// each of them sends. `work` is given what it must call now and then while it waits for anything else, so that others don't
    /// wait for this rank. Returns when all has come.
    pub fn exchange<T>(&self, expected: Vec<(usize, &mut [f32])>, work: impl FnOnce(&mut dyn FnMut()) -> T) -> T {
        let mut work = Some(work);
        let mut out = None;
        self.ranks.exchange(expected, &mut |look| out = work.take().map(|work| work(look)));
        out.expect("work is called once")
    }

    /// Waits for [`Self::wake`] with a core to spare: MPI's own waiting spins.
    pub fn rest(&self) {
        self.ranks.rest();
    }

    /// Ends the rest of all other ranks; for rank 0.
    pub fn wake(&self) {
        self.ranks.wake();
    }

    /// Ends all ranks at once with an exit code.
    pub fn abort(&self, code: u8) -> ! {
        let _ = std::io::stdout().flush();
        let _ = std::io::stderr().flush();
        self.ranks.abort(code)
    }
}
