//! Where c2 lies at long and at short lags: what offset and contrast are estimated from without a model.
//!
//! At long lags the correlation is gone and c2 is the offset; at short ones it is whole and c2 is offset + contrast. The 10th
//! percentile of the former and the 90th of the latter are what the Python package takes. They are exact, over all fitted
//! pairs with a value, and interpolated between neighbours as NumPy does. Two histograms of the values' upper and lower bits
//! find them, so that the memory doesn't grow with the matrix.

use super::TwoTime;

/// Shares of the pairs, ordered by lag, where the short lags end and the long ones begin.
const SHORT: f64 = 0.2;
const LONG: f64 = 0.8;
/// Percentile of c2 at long lags, and at short ones.
const FLOOR: f64 = 0.1;
const CEILING: f64 = 0.9;
/// Pairs below which nothing is estimated.
const FEWEST: u64 = 50;

/// c2 where the correlation is gone and where it is whole.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Plateaus {
    /// 10th percentile over the fifth of the pairs with the longest lags.
    pub floor: f64,
    /// 90th percentile over the fifth with the shortest ones.
    pub ceiling: f64,
}

/// Those of one matrix; `None` where fewer than 50 pairs have a value. The selection's first frame takes no part. Pairs of a
/// lag stay together, so that the fifths are those of the lags at the 20th and 80th percentile, inclusive.
pub fn plateaus(matrix: &TwoTime) -> Option<Plateaus> {
    let n = matrix.n_frames();
    // by lag, from 1
    let mut counts = vec![0u64; n];
    for i in 1..n {
        for (value, count) in matrix.row_after(i).iter().zip(&mut counts[1..]) {
            *count += u64::from(value.is_finite());
        }
    }
    let total: u64 = counts.iter().sum();
    if total < FEWEST {
        return None;
    }
    let last = (total - 1) as f64;
    let short = lag_of(&counts, (SHORT * last).floor() as u64);
    let long = lag_of(&counts, (LONG * last).ceil() as u64);
    Some(Plateaus {
        floor: percentile(matrix, long..n, counts[long..].iter().sum(), FLOOR),
        ceiling: percentile(matrix, 1..short + 1, counts[..=short].iter().sum(), CEILING),
    })
}

/// Lag of the pair at a place in the order by lag.
fn lag_of(counts: &[u64], place: u64) -> usize {
    let mut before = 0;
    counts
        .iter()
        .position(|count| {
            before += count;
            before > place
        })
        .unwrap_or(counts.len() - 1)
}

/// Percentile of the `count` finite values at some lags.
fn percentile(matrix: &TwoTime, lags: std::ops::Range<usize>, count: u64, share: f64) -> f64 {
    let at = share * (count - 1) as f64;
    let low = value_at(matrix, &lags, at.floor() as u64);
    let high = if at.fract() > 0.0 { value_at(matrix, &lags, at.floor() as u64 + 1) } else { low };
    low + (high - low) * at.fract()
}

/// The value at a place in the order by size.
fn value_at(matrix: &TwoTime, lags: &std::ops::Range<usize>, place: u64) -> f64 {
    let mut place = place;
    let mut upper = vec![0u64; 1 << 16];
    each(matrix, lags, |key| upper[(key >> 16) as usize] += 1);
    let half = bin(&upper, &mut place);
    let mut lower = vec![0u64; 1 << 16];
    each(matrix, lags, |key| lower[(key & 0xffff) as usize] += u64::from(key >> 16 == half));
    f64::from(from_key((half << 16) | bin(&lower, &mut place)))
}

/// The bin that holds a place, which becomes the place within it.
fn bin(histogram: &[u64], place: &mut u64) -> u32 {
    for (k, &count) in histogram.iter().enumerate() {
        if *place < count {
            return k as u32;
        }
        *place -= count;
    }
    histogram.len() as u32 - 1
}

/// Passes on the keys of all finite values at some lags.
fn each(matrix: &TwoTime, lags: &std::ops::Range<usize>, mut take: impl FnMut(u32)) {
    for i in 1..matrix.n_frames() {
        let row = matrix.row_after(i);
        let end = (lags.end - 1).min(row.len());
        for value in row.get(lags.start - 1..end).unwrap_or_default().iter().filter(|v| v.is_finite()) {
            take(key(*value));
        }
    }
}

const SIGN: u32 = 1 << 31;

/// A number that orders as the value does.
fn key(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

fn from_key(key: u32) -> f32 {
    f32::from_bits(if key & SIGN == 0 { !key } else { key & !SIGN })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};

    /// Percentile by sorting.
    fn sorted(mut values: Vec<f64>, share: f64) -> f64 {
        values.sort_by(f64::total_cmp);
        let at = share * (values.len() - 1) as f64;
        let (low, high) = (values[at.floor() as usize], values[at.ceil() as usize]);
        low + (high - low) * at.fract()
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_values() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
        for n in [13, 14, 40, 101] {
            let values: Vec<f32> =
                (0..n * n).map(|_| if rng.random_bool(0.1) { f32::NAN } else { rng.random::<f32>() - 0.3 }).collect();
            let matrix = TwoTime::from_matrix(n, values);
            let pairs: Vec<(f64, f64)> = (1..n)
                .flat_map(|i| (i + 1..n).map(move |j| (i, j)))
                .map(|(i, j)| ((j - i) as f64, f64::from(matrix.at(i, j))))
                .filter(|p| p.1.is_finite())
                .collect();
            let lags: Vec<f64> = pairs.iter().map(|p| p.0).collect();
            let (short, long) = (sorted(lags.clone(), SHORT), sorted(lags, LONG));
            let of = |keep: &dyn Fn(f64) -> bool| pairs.iter().filter(|p| keep(p.0)).map(|p| p.1).collect::<Vec<_>>();
            let found = plateaus(&matrix).unwrap();
            assert_eq!(found.floor, sorted(of(&|lag| lag >= long), FLOOR), "{n}");
            assert_eq!(found.ceiling, sorted(of(&|lag| lag <= short), CEILING), "{n}");
        }
    }

    #[test]
    fn too_few_pairs_give_none() {
        assert!(plateaus(&TwoTime::from_matrix(10, vec![1.0; 100])).is_none());
        assert!(plateaus(&TwoTime::from_matrix(30, vec![f32::NAN; 900])).is_none());
        assert_eq!(plateaus(&TwoTime::from_matrix(30, vec![1.5; 900])), Some(Plateaus { floor: 1.5, ceiling: 1.5 }));
    }
}
