//! A world of one rank, where the program is built without MPI (`--no-default-features`): what [`super::World`] does then.
//! Its interface is that of `world.rs`, whose docs say what each call means among many ranks.

use std::io::Write;

use super::NodeShare;
use super::launch::{self, Library};
use crate::Result;

/// The MPI that the program was built with: none.
pub fn library() -> Option<Library> {
    None
}

/// This process, the only rank.
pub struct World {
    node: [NodeShare; 1],
}

// as in `world.rs`, whose ranks are more than one
#[allow(clippy::unused_self)]
impl World {
    /// The world of this process.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] when a launcher started several, which can't know of each other.
    pub fn start() -> Result<Self> {
        launch::refuse_companions(None).map(|()| Self { node: [NodeShare::own(1)] })
    }

    /// Nothing to warn of.
    pub fn warning(&self) -> Option<&str> {
        None
    }

    /// 0.
    pub fn rank(&self) -> usize {
        0
    }

    /// 1.
    pub fn size(&self) -> usize {
        1
    }

    /// That of this process.
    pub fn nodes(&self) -> &[NodeShare] {
        &self.node
    }

    /// 1.
    pub fn ranks_on_node(&self) -> usize {
        1
    }

    /// 0.
    pub fn rank_on_node(&self) -> usize {
        0
    }

    /// This rank's values.
    pub fn all_gather_on_node(&self, values: &[u64]) -> Vec<u64> {
        values.to_vec()
    }

    /// Nobody else needs them.
    pub fn broadcast_words(&self, _: &mut [u64]) {}

    /// Nobody else needs them.
    pub fn broadcast_floats(&self, _: &mut [f64]) {}

    /// Nobody else needs them.
    pub fn broadcast_bytes(&self, _: &mut [u8]) {}

    /// There is nobody.
    pub fn send(&self, to: usize, _: &[f32]) {
        unreachable!("rank {to} in a program without MPI");
    }

    /// There is nobody.
    pub fn receive(&self, _: &mut [f32]) {
        unreachable!("data from another rank in a program without MPI");
    }

    /// This rank's numbers.
    pub fn gather(&self, own: &[f64], _: &[usize]) -> Vec<f64> {
        own.to_vec()
    }

    /// This rank's numbers.
    pub fn gather_any(&self, own: &[f64]) -> Vec<f64> {
        own.to_vec()
    }

    /// This rank's bytes.
    pub fn gather_bytes(&self, own: &[u8]) -> Vec<Vec<u8>> {
        vec![own.to_vec()]
    }

    /// Nothing comes in.
    pub fn exchange<T>(&self, _: Vec<(usize, &mut [f32])>, work: impl FnOnce(&mut dyn FnMut()) -> T) -> T {
        work(&mut || {})
    }

    /// This rank's text.
    pub fn gather_texts(&self, own: &str) -> Vec<String> {
        vec![own.to_owned()]
    }

    /// Nobody would wake it.
    pub fn rest(&self) {}

    /// There is nobody to wake.
    pub fn wake(&self) {}

    /// Ends the process with an exit code.
    pub fn abort(&self, code: u8) -> ! {
        let _ = std::io::stdout().flush();
        let _ = std::io::stderr().flush();
        std::process::exit(code.into());
    }
}
