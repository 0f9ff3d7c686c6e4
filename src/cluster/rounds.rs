//! Long passes, made in rounds by all ranks together: between two of them rank 0 hears of signals, may gather what is finished,
//! and says how to go on.

use std::cell::Cell;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::World;
use super::setup::Dealing;
use crate::gram::gpu::Accelerated;
use crate::gram::rounds::{Finished, Known, Part, Rounds, encode, left};
use crate::gram::{Engine, Gram, Pass, Point, Watch};
use crate::{Error, Result};

/// Which passes are made in rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundPlan {
    /// Those with so many pairs, counted at every point: below them, they take a moment.
    pub from_pairs: u64,
    /// Length of a round.
    pub length: Duration,
}

impl RoundPlan {
    /// The usual one; for tests `HOMODYNE_ROUND_MS` makes all passes in rounds of so many ms.
    pub fn from_environment() -> Self {
        let asked = std::env::var("HOMODYNE_ROUND_MS").ok().and_then(|text| text.parse().ok());
        match asked {
            Some(ms) => Self { from_pairs: 0, length: Duration::from_millis(ms) },
            // launchers wait 2 s between a signal and the kill
            None => Self { from_pairs: 100_000_000, length: Duration::from_millis(500) },
        }
    }
}

/// What rank 0 says after a round.
mod verdict {
    /// Work on.
    pub const GO: u64 = 1;
    /// All are done: the sums are gathered.
    pub const SUM: u64 = 2;
    /// Send what is finished; another verdict follows.
    pub const TELL: u64 = 3;
    /// Leave the pass.
    pub const LEAVE: u64 = 4;
}

/// A pass of all ranks.
#[derive(Clone, Copy)]
pub(super) struct LongPass<'a> {
    pub world: &'a World,
    pub dealing: &'a Dealing,
    pub length: Duration,
    pub level: usize,
    pub points: &'a [Point],
    pub pass: Pass,
    pub known: &'a Known,
    /// Tiles that all ranks together had to leave out before; where they become more, the pass is void.
    pub lost: usize,
}

impl LongPass<'_> {
    /// Takes part on another rank than 0; `None` where rank 0 leaves the pass. `signal` gives the signal that came.
    ///
    /// # Errors
    /// What the engine fails with.
    pub fn follow(&self, engine: &mut Accelerated, signal: impl Fn() -> u8) -> Result<Option<Vec<Gram>>> {
        let is_left = Cell::new(false);
        let lost = engine.losses();
        // until the verdict is another one than to tell
        let heard = |done: bool, finished: Finished| {
            self.world.gather(&[f64::from(signal()), f64::from(u8::from(done)), lost() as f64], &[]);
            loop {
                let mut words = [0];
                self.world.broadcast_words(&mut words);
                match words[0] {
                    verdict::TELL => drop(self.tell(&finished())),
                    verdict::LEAVE => {
                        is_left.set(true);
                        return Err(left());
                    }
                    other => return Ok(other),
                }
            }
        };
        let mut between = |finished: Finished<'_>| heard(false, finished).map(drop);
        let mut rounds = Rounds::of(self.length, &mut between);
        let sums = engine.evaluate_in_rounds(self.level, self.points, self.pass, self.known, &mut rounds);
        let sums = match sums {
            Err(_) if is_left.get() => return Ok(None),
            other => other?,
        };
        loop {
            match heard(true, &|| self.parts(&sums)) {
                Ok(verdict::SUM) => return Ok(Some(sums)),
                Ok(_) => {}
                Err(_) => return Ok(None),
            }
        }
    }

    /// Leads the pass on rank 0; `note` is told the signals of all ranks.
    ///
    /// # Errors
    /// What watching ends with, or [`Error::Lost`], after all ranks have left the pass; [`Error::Rank`] where the engine fails, while others are
    /// in the middle of it.
    pub fn lead(&self, engine: &mut Accelerated, note: impl Fn(usize, u8), watch: Watch<'_>) -> Result<Vec<Gram>> {
        let is_left = Cell::new(false);
        let own_lost = engine.losses();
        // whether all are done
        let mut hear = |done: bool, finished: Finished| {
            let own = [0.0, f64::from(u8::from(done)), own_lost() as f64];
            let all = self.world.gather(&own, &vec![own.len(); self.world.size()]);
            let (mut all_done, mut lost) = (true, 0);
            for (rank, words) in all.chunks_exact(own.len()).enumerate() {
                note(rank, words[0] as u8);
                all_done &= words[1] == 1.0;
                lost += words[2] as usize;
            }
            if lost > self.lost {
                self.say(verdict::LEAVE);
                is_left.set(true);
                return Err(Error::Lost(String::new()));
            }
            if all_done {
                self.say(verdict::SUM);
                return Ok(true);
            }
            let mut learn = || {
                self.say(verdict::TELL);
                let others = self.tell(&finished());
                Known::new(self.known.parts().chain(others))
            };
            if let Err(error) = watch(&mut learn) {
                self.say(verdict::LEAVE);
                is_left.set(true);
                return Err(error);
            }
            self.say(verdict::GO);
            Ok(false)
        };
        let mut between = |finished: Finished<'_>| hear(false, finished).map(drop);
        let mut rounds = Rounds::of(self.length, &mut between);
        let sums = engine.evaluate_in_rounds(self.level, self.points, self.pass, self.known, &mut rounds);
        let sums = sums.map_err(|error| match error {
            named if is_left.get() => named,
            other => Error::Rank { rank: 0, message: other.to_string() },
        })?;
        while !hear(true, &|| self.parts(&sums))? {}
        Ok(sums)
    }

    fn say(&self, verdict: u64) {
        self.world.broadcast_words(&mut [verdict]);
    }

    /// Gathers what is finished on all ranks; on rank 0 that comes back.
    fn tell(&self, own: &[Part]) -> Vec<Part> {
        let all = self.world.gather_any(&encode(own, self.pass));
        Known::decode(&all, self.pass).map(|known| known.parts().collect()).unwrap_or_default()
    }

    /// The sums of this rank, when it is done.
    fn parts(&self, sums: &[Gram]) -> Vec<Part> {
        let plan = &self.dealing.levels[self.level].plan;
        let rank = self.world.rank();
        let nodes = |point| {
            (0..plan.n_angles).flat_map(move |angle| {
                let nodes = self.dealing.nodes(self.level, rank, angle).into_iter();
                nodes.map(move |node| (point, angle, node))
            })
        };
        let all = (0..self.points.len()).flat_map(nodes).zip(sums);
        let own = all.filter(|((point, angle, node), _)| self.known.covering(*point, *angle, *node).is_none());
        own.map(|((point, angle, node), &sum)| Part { point, angle, node, sum }).collect()
    }
}
