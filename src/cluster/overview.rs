//! Looking at the data of all ranks: each makes its part of the overview, and rank 0 puts them together angle by angle.

use std::collections::BTreeMap;

use super::World;
use crate::gram::Level;
use crate::gram::overview::{Overview, View};
use crate::{Error, Result};

/// Brings what every rank has seen together on rank 0: the whole, one overview an angle. A collective call.
///
/// # Errors
/// [`Error::Rank`] on rank 0 where it can't read what a rank has sent.
pub(super) fn gather(world: &World, own: Vec<(usize, Overview)>, level: &Level, view: &View) -> Result<Vec<Overview>> {
    let mut own: BTreeMap<usize, Overview> = own.into_iter().collect();
    let mut whole = Vec::new();
    for angle in 0..level.plan.n_angles {
        let part = own.remove(&angle);
        if world.rank() != 0 {
            // sums and numbers always have a form
            world.gather_bytes(&part.map(|part| postcard::to_stdvec(&part).unwrap_or_default()).unwrap_or_default());
            continue;
        }
        let mut sum = part.unwrap_or_else(|| Overview::new(level.frames.len(), view));
        for bytes in world.gather_bytes(&[]).iter().filter(|bytes| !bytes.is_empty()) {
            let part: Overview = postcard::from_bytes(bytes)
                .map_err(|e| Error::Rank { rank: 0, message: format!("cannot read what a rank has seen: {e}") })?;
            sum.merge(&part);
        }
        whole.push(sum);
    }
    Ok(whole)
}
