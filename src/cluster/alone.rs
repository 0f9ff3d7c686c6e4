//! A process that no launcher has started: the one rank of its job. [`super::World`] says what each call means.

/// This process, the only rank.
pub(super) struct Alone;

// as in `mpi.rs`, whose ranks are more than one
#[allow(clippy::unused_self)]
impl Alone {
    pub fn ranks_on_node(&self) -> usize {
        1
    }

    pub fn rank_on_node(&self) -> usize {
        0
    }

    pub fn all_gather_on_node(&self, values: &[u64]) -> Vec<u64> {
        values.to_vec()
    }

    pub fn broadcast_words(&self, _: &mut [u64]) {}

    pub fn broadcast_floats(&self, _: &mut [f64]) {}

    pub fn broadcast_bytes(&self, _: &mut [u8]) {}

    pub fn send(&self, to: usize, _: &[f32]) {
        unreachable!("rank {to} in a job of one");
    }

    pub fn receive(&self, _: &mut [f32]) {
        unreachable!("data from another rank in a job of one");
    }

    pub fn gather(&self, own: &[f64], _: &[usize]) -> Vec<f64> {
        own.to_vec()
    }

    pub fn exchange<T>(&self, _: Vec<(usize, &mut [f32])>, work: impl FnOnce(&mut dyn FnMut()) -> T) -> T {
        work(&mut || {})
    }

    pub fn rest(&self) {}

    pub fn wake(&self) {}
}
