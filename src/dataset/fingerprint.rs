//! A hash of what is fitted, by which a checkpoint or a reader of results knows the data again.
//!
//! BLAKE3 over q, dt, the angles and σ of every matrix where the file has it, then over the BLAKE3 digest of every matrix: that of its fitted pairs, row by row, as
//! little-endian float32; all missing values count alike. It doesn't depend on how the file stores them, nor on who reads
//! which matrix.

use super::TwoTime;

/// Bytes hashed at a time: a whole subtree of BLAKE3, small enough for the cache.
const BLOCK: usize = 1 << 20;

/// That of one matrix.
pub type Digest = [u8; blake3::OUT_LEN];

/// Digest of the pairs of a matrix, all but those of the selection's first frame; inside a rayon pool all its threads hash.
pub fn digest(matrix: &TwoTime) -> Digest {
    let mut hasher = blake3::Hasher::new();
    let mut hash = |waiting: &mut Vec<u8>| {
        if rayon::current_thread_index().is_some() {
            hasher.update_rayon(waiting);
        } else {
            hasher.update(waiting);
        }
        waiting.clear();
    };
    let mut waiting = Vec::with_capacity(BLOCK);
    for i in 1..matrix.n_frames() {
        let mut rest = matrix.row_after(i);
        while !rest.is_empty() {
            let room = (BLOCK - waiting.len()) / size_of::<f32>();
            if room == 0 {
                hash(&mut waiting);
                continue;
            }
            let (now, later) = rest.split_at(room.min(rest.len()));
            let start = waiting.len();
            waiting.resize(start + size_of_val(now), 0);
            for (bytes, value) in waiting[start..].as_chunks_mut().0.iter_mut().zip(now) {
                // every missing value counts alike, whatever its bits
                *bytes = if value.is_nan() { f32::NAN } else { *value }.to_le_bytes();
            }
            rest = later;
        }
    }
    hash(&mut waiting);
    hasher.finalize().into()
}

/// The hash of a measurement in hexadecimal: q in Å⁻¹, dt in s, angles in degree, σ of the file by angle (or none), the
/// digests of its matrices in the order of the angles.
pub fn fingerprint<'d>(
    (q, dt): (f64, f64),
    phi: &[f64],
    sigma: &[f64],
    digests: impl IntoIterator<Item = &'d Digest>,
) -> String {
    let mut hasher = blake3::Hasher::new();
    for value in [q, dt].iter().chain(phi).chain(sigma) {
        hasher.update(&value.to_le_bytes());
    }
    for digest in digests {
        hasher.update(digest);
    }
    hasher.finalize().to_hex().to_string()
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
        let (q, dt, phi, sigma) = (0.0054, 0.1, [1.0, -30.0], [0.01, 0.02]);
        let mut bytes: Vec<u8> = [q, dt].iter().chain(&phi).chain(&sigma).flat_map(|v: &f64| v.to_le_bytes()).collect();
        let mut digests = Vec::new();
        for m in &matrices {
            let values = (1..n).flat_map(|i| m.row_after(i)).map(|v| if v.is_nan() { f32::NAN } else { *v });
            let of_matrix: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
            assert!(of_matrix.len() > BLOCK);
            digests.push(digest(m));
            assert_eq!(digests[digests.len() - 1], *blake3::hash(&of_matrix).as_bytes());
            bytes.extend(digests[digests.len() - 1]);
        }
        assert_ne!(digests[0], digests[1]);
        assert_eq!(fingerprint((q, dt), &phi, &sigma, &digests), blake3::hash(&bytes).to_hex().to_string());
        assert_ne!(fingerprint((q, dt), &phi, &[0.01, 0.03], &digests), fingerprint((q, dt), &phi, &sigma, &digests));
    }
}
