//! Looking at the data of all ranks: each makes its part of the overview, and rank 0 puts them together angle by angle.

use std::collections::BTreeMap;

use super::World;
use crate::gram::overview::{Overview, View};
use crate::gram::{CpuEngine, Level};
use crate::{Error, Result};

/// A rank's part, with what kept it from being made.
type Part = Result<Vec<(usize, Overview)>>;

/// Takes part in a look at the data; on rank 0 the whole, one overview an angle. A collective call.
///
/// # Errors
/// [`Error::Rank`] on rank 0 where a rank couldn't read its part.
pub(super) fn gather(world: &World, engine: &CpuEngine, level: &Level, view: &View) -> Result<Vec<Overview>> {
    let own: Part = engine.overview(view);
    let trouble = world.gather_texts(&own.as_ref().err().map(Error::to_string).unwrap_or_default());
    let mut own: BTreeMap<usize, Overview> = own.unwrap_or_default().into_iter().collect();
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
    match trouble.into_iter().enumerate().find(|(_, message)| !message.is_empty()) {
        Some((rank, message)) => Err(Error::Rank { rank, message }),
        None => Ok(whole),
    }
}
