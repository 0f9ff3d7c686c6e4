//! A process that no launcher has started: the one rank of its job.

use super::world::Ranks;

/// This process, the only rank.
pub(super) struct Alone;

impl Ranks for Alone {
    fn warning(&self) -> Option<&str> {
        None
    }

    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn ranks_on_node(&self) -> usize {
        1
    }

    fn rank_on_node(&self) -> usize {
        0
    }

    fn all_gather_on_node(&self, values: &[u64]) -> Vec<u64> {
        values.to_vec()
    }

    fn broadcast_words(&self, _: &mut [u64]) {}

    fn broadcast_floats(&self, _: &mut [f64]) {}

    fn broadcast_bytes(&self, _: &mut [u8]) {}

    fn send(&self, to: usize, _: &[f32]) {
        unreachable!("rank {to} in a job of one");
    }

    fn receive(&self, _: &mut [f32]) {
        unreachable!("data from another rank in a job of one");
    }

    fn gather(&self, own: &[f64], _: &[usize]) -> Vec<f64> {
        own.to_vec()
    }

    fn exchange(&self, _: Vec<(usize, &mut [f32])>, work: &mut dyn FnMut(&mut dyn FnMut())) {
        work(&mut || {});
    }

    fn rest(&self) {}

    fn wake(&self) {}

    fn abort(&self, code: u8) -> ! {
        std::process::exit(code.into())
    }
}
