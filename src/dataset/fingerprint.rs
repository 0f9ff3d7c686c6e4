//! A hash of what is fitted, by which a checkpoint or a reader of results knows the data again.
//!
//! BLAKE3 over q, dt and the angles, then over the fitted pairs of every matrix, row by row, as little-endian float32; all
//! missing values count alike. It doesn't depend on how the file stores them.

use super::TwoTime;

/// Bytes hashed at a time: a whole subtree of BLAKE3, small enough for the cache.
const BLOCK: usize = 1 << 20;

/// Takes in the data piece by piece; inside a rayon pool all its threads hash.
#[derive(Debug)]
pub struct Fingerprint {
    hasher: blake3::Hasher,
    /// What hasn't been hashed yet, less than a block.
    waiting: Vec<u8>,
}

impl Fingerprint {
    /// Of a measurement: q in Å⁻¹, dt in s, angles in degree.
    pub fn new(q: f64, dt: f64, phi: &[f64]) -> Self {
        let waiting = [q, dt].iter().chain(phi).flat_map(|value| value.to_le_bytes()).collect();
        Self { hasher: blake3::Hasher::new(), waiting }
    }

    /// Adds the pairs of a matrix, all but those of the selection's first frame.
    pub fn add(&mut self, matrix: &TwoTime) {
        self.waiting.reserve(BLOCK.saturating_sub(self.waiting.len()));
        for i in 1..matrix.n_frames() {
            let mut rest = matrix.row_after(i);
            while !rest.is_empty() {
                let room = BLOCK.saturating_sub(self.waiting.len()) / size_of::<f32>();
                if room == 0 {
                    self.hash();
                    continue;
                }
                let (now, later) = rest.split_at(room.min(rest.len()));
                let start = self.waiting.len();
                self.waiting.resize(start + size_of_val(now), 0);
                for (bytes, value) in self.waiting[start..].as_chunks_mut().0.iter_mut().zip(now) {
                    // every missing value counts alike, whatever its bits
                    *bytes = if value.is_nan() { f32::NAN } else { *value }.to_le_bytes();
                }
                rest = later;
            }
        }
    }

    /// The hash in hexadecimal.
    pub fn finish(mut self) -> String {
        self.hash();
        self.hasher.finalize().to_hex().to_string()
    }

    fn hash(&mut self) {
        if rayon::current_thread_index().is_some() {
            self.hasher.update_rayon(&self.waiting);
        } else {
            self.hasher.update(&self.waiting);
        }
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_hash_of_all_bytes_in_order() {
        let n = 900;
        let matrices = [1.0f32, 2.0].map(|first| {
            let value =
                |k: usize| if k.is_multiple_of(97) { f32::from_bits(0x7fc0_0001 + k as u32) } else { first + k as f32 };
            TwoTime::from_matrix(n, (0..n * n).map(value).collect())
        });
        let (q, dt, phi) = (0.0054, 0.1, [1.0, -30.0, 0.5]);
        let mut bytes: Vec<u8> = [q, dt].iter().chain(&phi).flat_map(|v: &f64| v.to_le_bytes()).collect();
        let mut ours = Fingerprint::new(q, dt, &phi);
        for m in &matrices {
            let values = (1..n).flat_map(|i| m.row_after(i)).map(|v| if v.is_nan() { f32::NAN } else { *v });
            bytes.extend(values.flat_map(f32::to_le_bytes));
            ours.add(m);
        }
        assert!(bytes.len() > 3 * BLOCK);
        assert_eq!(ours.finish(), blake3::hash(&bytes).to_hex().to_string());
        // fewer angles than a block, and more
        let many = vec![0.5; BLOCK / 4];
        let bytes: Vec<u8> = [q, dt].iter().chain(&many).flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(Fingerprint::new(q, dt, &many).finish(), blake3::hash(&bytes).to_hex().to_string());
    }
}
