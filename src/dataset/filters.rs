//! Undoing the filters of one HDF5 chunk without the HDF5 library, which lets one thread in at a time.
//!
//! In comes a chunk as stored with its filter mask, out go its values' bytes. Filters known here: deflate, LZF and blosc
//! (at most one of them), byte shuffling and Fletcher's checksum. [`Pipeline::new`] is `None` for anything else, which is
//! left to the library. Memory: one copy of the chunk for every filter beyond the first.

use std::ffi::c_void;

use flate2::{Decompress, FlushDecompress, Status};
use hdf5::filters::Filter;

use super::lzf;

/// Bytes of Fletcher's checksum behind the data.
const CHECKSUM: usize = 4;
/// 16-bit words that can be summed before a 32-bit sum of sums overflows.
const WORDS_BEFORE_FOLD: usize = 360;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Shuffle,
    Fletcher32,
    Deflate,
    Lzf,
    Blosc,
}

impl Step {
    fn compresses(self) -> bool {
        matches!(self, Self::Deflate | Self::Lzf | Self::Blosc)
    }
}

/// The filters of a dataset, in the order in which they were applied.
#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    steps: Vec<Step>,
    /// Bytes of one value.
    value: usize,
}

/// Memory that one thread uses for chunk after chunk.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    held: Vec<u8>,
    spare: Vec<u8>,
}

impl Pipeline {
    /// The pipeline of a dataset with values of `value` bytes; `None` where it can't be undone here.
    pub fn new(filters: &[Filter], value: usize) -> Option<Self> {
        let step = |filter: &Filter| match filter {
            Filter::Shuffle => Some(Step::Shuffle),
            Filter::Fletcher32 => Some(Step::Fletcher32),
            Filter::Deflate(_) => Some(Step::Deflate),
            Filter::LZF => Some(Step::Lzf),
            Filter::Blosc(..) => Some(Step::Blosc),
            _ => None,
        };
        let steps = filters.iter().map(step).collect::<Option<Vec<_>>>()?;
        // of what one compressor hands to the next nobody knows the length
        (steps.iter().filter(|s| s.compresses()).count() <= 1).then_some(Self { steps, value })
    }

    /// Whether there is no filter: chunks are stored as they are in memory.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Undoes the filters of a chunk but for those left out (bit k of `mask`: filter k); `out` gets all its bytes.
    ///
    /// The error says which filter failed and how; nothing panics, whatever the bytes.
    pub fn undo(&self, stored: &[u8], mask: u32, out: &mut [u8], scratch: &mut Scratch) -> Result<(), String> {
        let steps: Vec<Step> =
            self.steps.iter().enumerate().filter(|(k, _)| !left_out(mask, *k)).map(|(_, &step)| step).collect();
        let Scratch { held, spare } = scratch;
        let (mut is_stored, mut length) = (true, stored.len());
        for (k, &step) in steps.iter().enumerate().rev() {
            let now = if is_stored { &stored[..length] } else { &held[..length] };
            if step == Step::Fletcher32 {
                length = checked(now)?;
                continue;
            }
            if k == 0 {
                return self.undo_one(step, now, out);
            }
            let before = match step {
                Step::Shuffle => length,
                _ => out.len() + CHECKSUM * steps[..k].iter().filter(|&&s| s == Step::Fletcher32).count(),
            };
            spare.resize(before, 0);
            self.undo_one(step, now, spare)?;
            std::mem::swap(held, spare);
            (is_stored, length) = (false, before);
        }
        let now = if is_stored { &stored[..length] } else { &held[..length] };
        if now.len() != out.len() {
            return Err(format!("it holds {} bytes; expected {}", now.len(), out.len()));
        }
        out.copy_from_slice(now);
        Ok(())
    }

    fn undo_one(&self, step: Step, from: &[u8], to: &mut [u8]) -> Result<(), String> {
        match step {
            Step::Shuffle => unshuffle(from, to, self.value),
            Step::Deflate => inflate(from, to),
            Step::Lzf => lzf::unpack(from, to),
            Step::Blosc => unpack_blosc(from, to),
            // only takes bytes away
            Step::Fletcher32 => Ok(()),
        }
    }
}

fn left_out(mask: u32, filter: usize) -> bool {
    // the mask has 32 bits, as many as a pipeline has filters at most
    mask.checked_shr(filter as u32).unwrap_or(0) & 1 == 1
}

/// Puts the bytes of every value together again: stored are all first bytes, then all second ones, …
fn unshuffle(from: &[u8], to: &mut [u8], value: usize) -> Result<(), String> {
    if from.len() != to.len() {
        return Err(format!("the shuffled data are {} bytes; expected {}", from.len(), to.len()));
    }
    let n = from.len() / value.max(1);
    let (planes, rest) = from.split_at(n * value);
    let (values, end) = to.split_at_mut(n * value);
    end.copy_from_slice(rest);
    if let Ok([a, b, c, d]) = <[&[u8]; 4]>::try_from(planes.chunks_exact(n.max(1)).collect::<Vec<_>>()) {
        // float32: a loop that the compiler turns into whole registers
        for ((((v, a), b), c), d) in values.chunks_exact_mut(4).zip(a).zip(b).zip(c).zip(d) {
            v.copy_from_slice(&[*a, *b, *c, *d]);
        }
        return Ok(());
    }
    for (k, plane) in planes.chunks_exact(n.max(1)).enumerate() {
        for (v, byte) in values.chunks_exact_mut(value).zip(plane) {
            v[k] = *byte;
        }
    }
    Ok(())
}

fn inflate(from: &[u8], to: &mut [u8]) -> Result<(), String> {
    let mut inflater = Decompress::new(true);
    let status = inflater
        .decompress(from, to, FlushDecompress::Finish)
        .map_err(|e| format!("the deflated data are damaged ({e})"))?;
    let n = inflater.total_out();
    match status {
        Status::StreamEnd if n == to.len() as u64 => Ok(()),
        Status::StreamEnd => Err(format!("the deflated data unpack to {n} bytes; expected {}", to.len())),
        _ if n == to.len() as u64 => Err("the deflated data unpack to more than there is room for".to_owned()),
        _ => Err(format!("the deflated data end after {n} bytes; expected {}", to.len())),
    }
}

fn unpack_blosc(from: &[u8], to: &mut [u8]) -> Result<(), String> {
    let mut size = 0;
    // SAFETY: the pointer and length are those of a slice; the function reads these bytes and writes `size`.
    let valid = unsafe { blosc_src::blosc_cbuffer_validate(from.as_ptr().cast::<c_void>(), from.len(), &mut size) };
    if valid != 0 {
        return Err("the blosc data are damaged: their header makes no sense".to_owned());
    }
    if size != to.len() {
        return Err(format!("the blosc data unpack to {size} bytes; expected {}", to.len()));
    }
    let (source, target) = (from.as_ptr().cast::<c_void>(), to.as_mut_ptr().cast::<c_void>());
    // SAFETY: the header was validated for exactly this slice, after which blosc promises to read inside it and to write no
    // more than the length of `to`. The slices don't overlap; the context function shares nothing between threads.
    let written = unsafe { blosc_src::blosc_decompress_ctx(source, target, to.len(), 1) };
    if usize::try_from(written) == Ok(to.len()) {
        Ok(())
    } else {
        Err(format!("the blosc data are damaged (blosc says {written})"))
    }
}

/// Length of the data before their checksum, once that has been found right.
fn checked(bytes: &[u8]) -> Result<usize, String> {
    let Some((data, sum)) = bytes.split_last_chunk::<CHECKSUM>() else {
        return Err(format!("it holds {} bytes, fewer than its checksum", bytes.len()));
    };
    let (stored, computed) = (u32::from_le_bytes(*sum), fletcher32(data));
    // HDF5 before 1.6.3 swapped the bytes of each half on little-endian machines
    let swapped = (computed & 0x00ff_00ff) << 8 | (computed >> 8) & 0x00ff_00ff;
    if stored == computed || stored == swapped {
        Ok(data.len())
    } else {
        Err(format!("its checksum is {computed:#010x}, but {stored:#010x} was stored with it"))
    }
}

/// Fletcher's checksum over big-endian 16-bit words, an odd byte at the end being the upper half of one.
fn fletcher32(data: &[u8]) -> u32 {
    let fold = |sum: u32| (sum & 0xffff) + (sum >> 16);
    let (mut sum, mut sum_of_sums) = (0u32, 0u32);
    for part in data.chunks(2 * WORDS_BEFORE_FOLD) {
        for word in part.chunks(2) {
            sum += u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0));
            sum_of_sums += sum;
        }
        (sum, sum_of_sums) = (fold(sum), fold(sum_of_sums));
    }
    fold(sum_of_sums) << 16 | fold(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn undo(filters: &[Filter], stored: &[u8], mask: u32, size: usize) -> Result<Vec<u8>, String> {
        let mut out = vec![0; size];
        let pipeline = Pipeline::new(filters, 4).unwrap();
        pipeline.undo(stored, mask, &mut out, &mut Scratch::default()).map(|()| out)
    }

    #[test]
    fn unknown_filters_and_several_compressors_are_left_to_the_library() {
        assert!(Pipeline::new(&[Filter::NBit], 4).is_none());
        assert!(Pipeline::new(&[Filter::Shuffle, Filter::User(32015, vec![])], 4).is_none());
        assert!(Pipeline::new(&[Filter::LZF, Filter::Deflate(3)], 4).is_none());
        assert!(Pipeline::new(&[], 4).unwrap().is_empty());
    }

    #[test]
    fn a_mask_leaves_filters_out() {
        let pipeline = Pipeline::new(&[Filter::Shuffle, Filter::LZF], 4).unwrap();
        assert!(!pipeline.is_empty());
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(undo(&[Filter::LZF], &bytes, 1, 8).unwrap(), bytes);
        assert_eq!(undo(&[Filter::Shuffle, Filter::LZF], &bytes, 0b10, 8).unwrap(), [1, 3, 5, 7, 2, 4, 6, 8]);
        assert!(undo(&[Filter::LZF], &bytes, 1, 9).unwrap_err().contains("8 bytes; expected 9"));
    }

    #[test]
    fn values_of_any_width_come_together_again() {
        for value in [1, 3, 4, 8] {
            // the last bytes are no whole value and stay where they are
            let plain: Vec<u8> = (0..value as u8 * 5 + 2).collect();
            let n = plain.len() / value;
            let mut shuffled: Vec<u8> = (0..value).flat_map(|k| (0..n).map(move |i| (i * value + k) as u8)).collect();
            shuffled.extend(&plain[n * value..]);
            let mut out = vec![0; plain.len()];
            unshuffle(&shuffled, &mut out, value).unwrap();
            assert_eq!(out, plain, "{value}");
        }
    }

    #[test]
    fn a_wrong_checksum_is_noticed() {
        let mut bytes = vec![1, 2, 3, 4, 5, 6, 7];
        bytes.extend(fletcher32(&bytes).to_le_bytes());
        assert_eq!(undo(&[Filter::Fletcher32], &bytes, 0, 7).unwrap(), bytes[..7]);
        bytes[2] ^= 1;
        assert!(undo(&[Filter::Fletcher32], &bytes, 0, 7).unwrap_err().contains("checksum"));
        assert!(undo(&[Filter::Fletcher32], &bytes[..3], 0, 7).unwrap_err().contains("checksum"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            stored in prop::collection::vec(any::<u8>(), 0..300),
            size in 0usize..600,
            mask in 0u32..16,
            which in 0usize..3,
        ) {
            let compressor = [Filter::Deflate(1), Filter::LZF, Filter::blosc_lz4(1, true)][which].clone();
            for filters in [
                vec![compressor.clone()],
                vec![Filter::Shuffle, compressor.clone(), Filter::Fletcher32],
                vec![Filter::Fletcher32, compressor, Filter::Shuffle],
            ] {
                let _ = undo(&filters, &stored, mask, size);
            }
        }
    }
}
