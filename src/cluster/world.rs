//! The MPI world: the only file that calls MPI. `alone.rs` stands in for it where the program is built without.

use std::io::Write;
use std::time::Duration;

use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use mpi::{Count, Tag, Threading};

use super::NodeShare;
use super::launch::{self, Library};
use crate::{Error, Result};

/// Most elements in one message: MPI counts are 32-bit.
const MESSAGE: usize = 1 << 28;

/// Bytes that travel in one number: so many fit into a whole one.
const BYTES_A_NUMBER: usize = 6;

/// Tag of the message that ends a rest.
const WAKE: Tag = 1;
/// Time between looks whether it has come.
const NAP: Duration = Duration::from_millis(5);

/// Time for the launcher to pass on what a rank has said before it ends the job.
const HEARD: Duration = Duration::from_millis(100);

/// Settings of Open MPI for a process without companions: no daemon beside it, no search of the networks. They take 0.3 s.
const ALONE: [(&str, &str); 3] =
    [("OMPI_MCA_ess_singleton_isolated", "1"), ("OMPI_MCA_pml", "ob1"), ("OMPI_MCA_btl", "self")];

/// Makes the start of a process without a launcher fast. Settings that the user has made stay, and so do all where any
/// launcher has left a trace.
fn prepare_to_be_alone() {
    if launch::any_trace() {
        return;
    }
    for (name, value) in ALONE {
        if std::env::var_os(name).is_none() {
            // SAFETY: there is no other thread yet that could look at the environment: MPI, which is about to start, is the
            // first thing that `World::start`'s callers start.
            unsafe { std::env::set_var(name, value) };
        }
    }
}

/// The MPI that the program was built with.
pub fn library() -> Option<Library> {
    Some(Library::of(&mpi::environment::library_version().unwrap_or_default()))
}

/// All ranks of the job as seen from this one.
pub struct World {
    // dropped last: MPI ends with it
    comm: SimpleCommunicator,
    local: SimpleCommunicator,
    _universe: Universe,
    rank: usize,
    size: usize,
    warning: Option<String>,
    nodes: Vec<NodeShare>,
}

impl World {
    /// Starts MPI, or a world of one where the program wasn't launched by mpirun or srun. To be called before any other
    /// thread is started.
    ///
    /// # Errors
    /// [`Error::Usage`] when the launcher started several copies that don't know of each other.
    pub fn start() -> Result<Self> {
        prepare_to_be_alone();
        let library = library();
        launch::look_for_companions(library.as_ref())?;
        let (universe, granted) = mpi::initialize_with_threading(Threading::Funneled)
            .ok_or_else(|| Error::Usage("MPI was already started in this process".into()))?;
        let comm = universe.world();
        let (rank, size) = (comm.rank() as usize, comm.size() as usize);
        if size == 1 {
            launch::refuse_companions(library.as_ref())?;
        }
        let warning = (granted < Threading::Funneled).then(|| {
            format!("MPI grants no threads beside it ({granted:?}): results may be at risk with more than one thread")
        });
        let local = comm.split_shared(rank as i32);
        let mut world = Self { local, comm, _universe: universe, rank, size, warning, nodes: Vec::new() };
        let own = NodeShare::own(world.ranks_on_node());
        let nodes = world.gather(&[own.ranks as f64, own.limit], &vec![2; size]);
        world.nodes = nodes.chunks_exact(2).map(|of| NodeShare { ranks: of[0] as usize, limit: of[1] }).collect();
        Ok(world)
    }

    /// What to tell the user about this MPI, once there is a log.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// This rank, from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Number of ranks.
    pub fn size(&self) -> usize {
        self.size
    }

    /// On rank 0 what every rank knows of its node, in the order of ranks; elsewhere empty.
    pub fn nodes(&self) -> &[NodeShare] {
        &self.nodes
    }

    /// Number of ranks on this node.
    pub fn ranks_on_node(&self) -> usize {
        self.local.size() as usize
    }

    /// This rank among those of its node, from 0.
    pub fn rank_on_node(&self) -> usize {
        self.local.rank() as usize
    }

    /// Every rank's value, in the order of ranks, among the ranks of this node; a collective call.
    pub fn all_gather_on_node(&self, values: &[u64]) -> Vec<u64> {
        let mut all = vec![0; values.len() * self.ranks_on_node()];
        self.local.all_gather_into(values, &mut all[..]);
        all
    }

    /// Copies rank 0's numbers to all; a collective call.
    pub fn broadcast_words(&self, words: &mut [u64]) {
        self.comm.process_at_rank(0).broadcast_into(words);
    }

    /// Copies rank 0's numbers to all; a collective call.
    pub fn broadcast_floats(&self, floats: &mut [f64]) {
        for part in floats.chunks_mut(MESSAGE) {
            self.comm.process_at_rank(0).broadcast_into(part);
        }
    }

    /// Copies rank 0's bytes to all; a collective call.
    pub fn broadcast_bytes(&self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(MESSAGE) {
            self.comm.process_at_rank(0).broadcast_into(part);
        }
    }

    /// Sends values to another rank.
    pub fn send(&self, to: usize, values: &[f32]) {
        for part in values.chunks(MESSAGE) {
            self.comm.process_at_rank(to as i32).send(part);
        }
    }

    /// Receives as many values as fit from rank 0.
    pub fn receive(&self, values: &mut [f32]) {
        for part in values.chunks_mut(MESSAGE) {
            self.comm.process_at_rank(0).receive_into(part);
        }
    }

    /// On rank 0 everybody's numbers, `counts[r]` of them from rank r, one rank after another; a collective call.
    /// Elsewhere empty (and `counts` isn't looked at).
    pub fn gather(&self, own: &[f64], counts: &[usize]) -> Vec<f64> {
        let root = self.comm.process_at_rank(0);
        if self.rank != 0 {
            root.gather_varcount_into(own);
            return Vec::new();
        }
        if self.size == 1 {
            return own.to_vec();
        }
        let sizes: Vec<Count> = counts.iter().map(|&c| c as Count).collect();
        let starts: Vec<Count> = sizes
            .iter()
            .scan(0, |next, &c| {
                let start = *next;
                *next += c;
                Some(start)
            })
            .collect();
        let mut all = vec![0.0; counts.iter().sum()];
        let mut parts = PartitionMut::new(&mut all[..], sizes, &starts[..]);
        root.gather_varcount_into_root(own, &mut parts);
        all
    }

    /// The same where rank 0 doesn't know how many numbers the others send.
    pub fn gather_any(&self, own: &[f64]) -> Vec<f64> {
        let counts = self.gather(&[own.len() as f64], &vec![1; self.size]);
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
        mpi::request::scope(|scope| {
            let mut waiting = Vec::new();
            for (from, values) in expected {
                let from = self.comm.process_at_rank(from as i32);
                waiting.extend(values.chunks_mut(MESSAGE).map(|part| Some(from.immediate_receive_into(scope, part))));
            }
            let out = work(&mut || {
                for request in &mut waiting {
                    *request = request.take().and_then(|request| request.test().err());
                }
            });
            waiting.into_iter().flatten().for_each(|request| request.wait_without_status());
            out
        })
    }

    /// Waits for [`Self::wake`] with a core to spare: MPI's own waiting spins.
    pub fn rest(&self) {
        let root = self.comm.process_at_rank(0);
        while root.immediate_probe_with_tag(WAKE).is_none() {
            std::thread::sleep(NAP);
        }
        let _ = root.receive_with_tag::<u64>(WAKE);
    }

    /// Ends the rest of all other ranks; for rank 0.
    pub fn wake(&self) {
        for rank in 1..self.size {
            self.comm.process_at_rank(rank as i32).send_with_tag(&0u64, WAKE);
        }
    }

    /// Ends all ranks at once with an exit code.
    pub fn abort(&self, code: u8) -> ! {
        let _ = std::io::stdout().flush();
        let _ = std::io::stderr().flush();
        if self.size == 1 {
            std::process::exit(code.into());
        }
        // MPICH's launcher drops what it hasn't read of a rank's last words by then
        std::thread::sleep(HEARD);
        self.comm.abort(code.into())
    }
}
