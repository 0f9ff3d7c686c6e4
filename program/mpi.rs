//! The ranks of a job that a launcher has started: the only file that calls MPI.

use std::time::{Duration, Instant};

use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;
use mpi::{Count, Tag, Threading};

use homodyne_mpi::cluster::{Mpi, Ranks};

/// Most elements in one message: MPI counts are 32-bit.
const MESSAGE: usize = 1 << 28;

/// Tag of the message that ends a rest.
const WAKE: Tag = 1;
/// Most time between looks whether it has come.
const NAP: Duration = Duration::from_millis(5);
/// Time to wait with no nap between looks: passes of small data follow each other as fast.
const SPIN: Duration = Duration::from_millis(1);
/// Later a nap takes this part of what has been waited, so that waiting becomes longer by no more.
const SHARE: u32 = 20;

/// Time for the launcher to pass on what a rank has said before it ends the job.
const HEARD: Duration = Duration::from_millis(100);

/// The MPI that the program is built with.
pub const MPI: Mpi = Mpi { version, start };

fn version() -> String {
    mpi::environment::library_version().unwrap_or_default()
}

fn start() -> Option<Box<dyn Ranks>> {
    let (universe, granted) = mpi::initialize_with_threading(Threading::Funneled)?;
    let comm = universe.world();
    let warning = (granted < Threading::Funneled).then(|| {
        format!("MPI grants no threads beside it ({granted:?}): results may be at risk with more than one thread")
    });
    let local = comm.split_shared(comm.rank());
    Some(Box::new(Job { local, comm, _universe: universe, warning }))
}

/// The ranks of the job.
struct Job {
    // dropped last: MPI ends with it
    comm: SimpleCommunicator,
    local: SimpleCommunicator,
    _universe: Universe,
    warning: Option<String>,
}

impl Ranks for Job {
    fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    fn rank(&self) -> usize {
        self.comm.rank() as usize
    }

    fn size(&self) -> usize {
        self.comm.size() as usize
    }

    fn ranks_on_node(&self) -> usize {
        self.local.size() as usize
    }

    fn rank_on_node(&self) -> usize {
        self.local.rank() as usize
    }

    fn all_gather_on_node(&self, values: &[u64]) -> Vec<u64> {
        let mut all = vec![0; values.len() * self.ranks_on_node()];
        self.local.all_gather_into(values, &mut all[..]);
        all
    }

    /// In this call ranks wait for what rank 0 does alone, seconds long; MPI's own waiting spins.
    fn broadcast_words(&self, words: &mut [u64]) {
        mpi::request::scope(|scope| {
            let mut request = self.comm.process_at_rank(0).immediate_broadcast_into(scope, words);
            let begin = Instant::now();
            while let Err(again) = request.test() {
                request = again;
                let waited = begin.elapsed();
                if waited < SPIN {
                    std::thread::yield_now();
                } else {
                    std::thread::sleep((waited / SHARE).min(NAP));
                }
            }
        });
    }

    fn broadcast_floats(&self, floats: &mut [f64]) {
        for part in floats.chunks_mut(MESSAGE) {
            self.comm.process_at_rank(0).broadcast_into(part);
        }
    }

    fn broadcast_bytes(&self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(MESSAGE) {
            self.comm.process_at_rank(0).broadcast_into(part);
        }
    }

    fn send(&self, to: usize, values: &[f32]) {
        for part in values.chunks(MESSAGE) {
            self.comm.process_at_rank(to as i32).send(part);
        }
    }

    fn receive(&self, values: &mut [f32]) {
        for part in values.chunks_mut(MESSAGE) {
            self.comm.process_at_rank(0).receive_into(part);
        }
    }

    fn gather(&self, own: &[f64], counts: &[usize]) -> Vec<f64> {
        let root = self.comm.process_at_rank(0);
        if self.rank() != 0 {
            root.gather_varcount_into(own);
            return Vec::new();
        }
        if self.size() == 1 {
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

    fn exchange(&self, expected: Vec<(usize, &mut [f32])>, work: &mut dyn FnMut(&mut dyn FnMut())) {
        mpi::request::scope(|scope| {
            let mut waiting = Vec::new();
            for (from, values) in expected {
                let from = self.comm.process_at_rank(from as i32);
                waiting.extend(values.chunks_mut(MESSAGE).map(|part| Some(from.immediate_receive_into(scope, part))));
            }
            work(&mut || {
                for request in &mut waiting {
                    *request = request.take().and_then(|request| request.test().err());
                }
            });
            waiting.into_iter().flatten().for_each(|request| request.wait_without_status());
        });
    }

    fn rest(&self) {
        let root = self.comm.process_at_rank(0);
        while root.immediate_probe_with_tag(WAKE).is_none() {
            std::thread::sleep(NAP);
        }
        let _ = root.receive_with_tag::<u64>(WAKE);
    }

    fn wake(&self) {
        for rank in 1..self.size() {
            self.comm.process_at_rank(rank as i32).send_with_tag(&0u64, WAKE);
        }
    }

    fn abort(&self, code: u8) -> ! {
        if self.size() == 1 {
            std::process::exit(code.into());
        }
        // MPICH's launcher drops what it hasn't read of a rank's last words by then
        std::thread::sleep(HEARD);
        self.comm.abort(code.into())
    }
}
