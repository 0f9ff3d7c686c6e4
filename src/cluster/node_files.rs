//! Nodes in files beside the checkpoints: a run that is killed while it looks at the data for the first time loses the matrix that was
//! being read, and one that goes on doesn't read again what is there.
//!
//! Of every angle each rank writes what it holds (`ANGLE.RANK.nodes`: nodes of the finest level, pairs of the others), then rank 0 what
//! is known of the matrix (`ANGLE.found`). Any other number of ranks can go on with them. Each file begins with the digest of what
//! follows, in the form of `postcard`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::reading::Judged;
use super::setup::Dealing;
use crate::arithmetic::LANES;
use crate::files;
use crate::gram::{Lane, TileStore, as_floats, as_floats_mut};
use crate::nodes::compress::TileNodes;
use crate::nodes::compressor::Compressor;

/// Largest file that is read, bytes.
const MOST: u64 = 1 << 36;
/// Bytes of a digest.
const DIGEST: usize = 32;

/// What one rank held of an angle.
#[derive(Debug, Serialize, Deserialize)]
struct Held<T, L> {
    /// Global number of the first tile of the finest level, and the tiles.
    first: usize,
    tiles: T,
    /// Of the other levels: the first tile, and the packed pairs of all.
    others: Vec<(usize, L)>,
}

/// As it is read.
type HeldBefore = Held<Vec<Option<(TileNodes, u32)>>, Vec<f32>>;

/// The folder of the files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeFiles {
    /// Which one; all ranks see it.
    pub folder: PathBuf,
}

impl NodeFiles {
    fn found(&self, angle: usize) -> PathBuf {
        self.folder.join(format!("{angle:05}.found"))
    }

    /// Writes what is known of a matrix; its nodes must be written.
    pub(super) fn save_found(&self, angle: usize, judged: &Judged) {
        save(&self.found(angle), &(angle, judged));
    }

    /// What is known of the matrices of earlier runs, by angle.
    pub(super) fn load_found(&self, n_angles: usize) -> BTreeMap<usize, Judged> {
        // a file may have been given another's name
        let of = |angle: usize| load(&self.found(angle)).filter(|(own, _): &(usize, Judged)| *own == angle);
        (0..n_angles).filter_map(of).collect()
    }

    /// Writes what a rank holds of an angle.
    pub(super) fn save(
        &self,
        rank: usize,
        angle: usize,
        compressor: &Compressor,
        stores: &[TileStore],
        dealing: &Dealing,
    ) {
        let own = dealing.tiles(0, rank, angle);
        let other = |(level, store): (usize, &TileStore)| {
            let tiles = dealing.tiles(level, rank, angle);
            (tiles.start, tiles.flat_map(|tile| store.tile(tile).lanes).copied().collect::<Vec<Lane>>())
        };
        let others: Vec<(usize, Vec<Lane>)> = stores.iter().enumerate().skip(1).map(other).collect();
        if own.is_empty() && others.iter().all(|(_, lanes)| lanes.is_empty()) {
            return;
        }
        let others = others.iter().map(|(first, lanes)| (*first, as_floats(lanes))).collect();
        let held = Held { first: own.start, tiles: compressor.tiles(&own), others };
        save(&self.folder.join(format!("{angle:05}.{rank:05}.nodes")), &held);
    }

    /// Takes what a rank holds of an angle from the files; `false` where not all is there.
    pub(super) fn restore(
        &self,
        rank: usize,
        angle: usize,
        compressor: &mut Compressor,
        stores: &mut [TileStore],
        dealing: &Dealing,
    ) -> bool {
        let own = dealing.tiles(0, rank, angle);
        let others: Vec<_> = (1..stores.len()).map(|level| dealing.tiles(level, rank, angle)).collect();
        // what hasn't come yet
        let mut missing = own.len() + others.iter().map(|tiles| tiles.len()).sum::<usize>();
        let begin = format!("{angle:05}.");
        let mut names: Vec<PathBuf> =
            fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        names.retain(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&begin) && name.ends_with(".nodes")
        });
        names.sort();
        let mut seen = vec![false; own.len()];
        let mut seen_others: Vec<Vec<bool>> = others.iter().map(|tiles| vec![false; tiles.len()]).collect();
        for path in names {
            if missing == 0 {
                break;
            }
            let Some(held): Option<HeldBefore> = load(&path) else { continue };
            for (k, tile) in held.tiles.into_iter().enumerate() {
                let number = held.first + k;
                if own.contains(&number) && !seen[number - own.start] && compressor.restore(number, tile) {
                    seen[number - own.start] = true;
                    missing -= 1;
                }
            }
            for (k, (first, floats)) in held.others.iter().enumerate().take(others.len()) {
                let (plan, tiles, store) = (&dealing.levels[k + 1].plan, &others[k], &mut stores[k + 1]);
                let (mut number, mut rest) = (*first, &floats[..]);
                while !rest.is_empty() {
                    let n = plan.tiles[number % plan.per_angle()].n_lanes * LANES;
                    let Some((now, later)) = rest.split_at_checked(n) else { break };
                    if tiles.contains(&number) && !seen_others[k][number - tiles.start] {
                        as_floats_mut(store.lanes_mut(&(number..number + 1))).copy_from_slice(now);
                        seen_others[k][number - tiles.start] = true;
                        missing -= 1;
                    }
                    (number, rest) = (number + 1, later);
                }
            }
        }
        for (level, tiles) in others.iter().enumerate().map(|(k, tiles)| (k + 1, tiles)) {
            stores[level].mark(&dealing.levels[level].plan, tiles);
        }
        missing == 0
    }
}

/// Writes a file, or says why there is none: a run goes on without.
fn save(path: &Path, contents: &impl Serialize) {
    // numbers, texts and lists of them always have a form
    let contents = postcard::to_stdvec(contents).unwrap_or_default();
    let bytes = [&blake3::hash(&contents).as_bytes()[..], &contents].concat();
    if let Err(error) = files::write(path, bytes) {
        log::warn!("{error}; a run that goes on will read this matrix again");
    }
}

/// What a file holds, if it is as it was written.
fn load<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = files::read(path, MOST).ok()?;
    let (digest, contents) = bytes.split_at_checked(DIGEST)?;
    (blake3::hash(contents).as_bytes()[..] == *digest).then(|| postcard::from_bytes(contents).ok())?
}
