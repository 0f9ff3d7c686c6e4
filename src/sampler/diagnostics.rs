//! Whether chains have converged, and how well their draws know what is asked of them.
//!
//! After Vehtari, Gelman, Simpson, Carpenter and Bürkner, "Rank-normalization, folding, and localization: an improved
//! R̂ for assessing convergence of MCMC", Bayesian Analysis 16 (2021) 667, doi 10.1214/20-BA1221, in the details as
//! ArviZ 0.23 does it. Chains are halved, so that a drift within one counts as disagreement; of an odd number of draws
//! the middle one is in neither half. Draws with heavy tails need not have a variance, which is why R̂ and the ESS of
//! the bulk are those of their ranks, as normal quantiles.
//!
//! A number that cannot be had is NaN: where draws are not finite, or all the same, or chains of unequal length or with
//! fewer than 4 draws.

use std::cmp::Ordering;
use std::f64::consts::{PI, TAU};

/// R̂ up to which chains agree: what the paper advises.
pub const RHAT_LIMIT: f64 = 1.01;
/// Fewest effective draws of four chains, in the bulk and in the tails: what the paper advises for estimates of R̂, ESS
/// and errors to be reliable themselves. For other numbers of chains, 100 a chain (Stan's manual of `ess_bulk`,
/// `ess_tail`).
pub const ESS_LIMIT: f64 = 400.0;
/// E-BFMI below which a chain moves too slowly between energies: a rule of thumb of Stan's developers, and ArviZ's.
pub const E_BFMI_LIMIT: f64 = 0.3;

/// Fewest draws of a chain.
const FEWEST: usize = 4;
/// Probabilities of the quantiles that stand for the tails.
const TAILS: [f64; 2] = [0.05, 0.95];
/// Probabilities one standard deviation beside the middle of a normal distribution, with ArviZ's digits.
const ONE_SIGMA: [f64; 2] = [0.158_655_3, 0.841_344_7];

/// What the chains of one quantity say about themselves; mean, sd and their errors in its unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Diagnosis {
    /// R̂, the larger of the rank-normalised one and that of the distances to the median, which sees chains of
    /// different width; NaN for a single chain. 1 where chains agree.
    pub rhat: f64,
    /// Effective number of draws in the bulk, for mean and median: that of the normalised ranks.
    pub ess_bulk: f64,
    /// Effective number of draws in the tails: the smaller of those for the 5 % and the 95 % quantile.
    pub ess_tail: f64,
    /// Monte Carlo standard error of the mean.
    pub mcse_mean: f64,
    /// Monte Carlo standard error of the standard deviation.
    pub mcse_sd: f64,
    /// Mean of all draws; that of draws which are all the same, too.
    pub mean: f64,
    /// Standard deviation of all draws, with n - 1; 0 where they are all the same.
    pub sd: f64,
}

/// The diagnosis of chains of equal length, in O(n log n) for n draws.
pub fn diagnose(chains: &[Vec<f64>]) -> Diagnosis {
    let draws = chains.concat();
    let (mean, sd) = if draws.iter().all(|x| x.is_finite()) { mean_and_sd(&draws) } else { (f64::NAN, f64::NAN) };
    let unknown = Diagnosis {
        rhat: f64::NAN,
        ess_bulk: f64::NAN,
        ess_tail: f64::NAN,
        mcse_mean: f64::NAN,
        mcse_sd: f64::NAN,
        mean,
        sd,
    };
    if !is_usable(chains) {
        return unknown;
    }
    let halves = halves(chains);
    let normalised = rank_normalised(&halves);
    let rhat = if chains.len() > 1 {
        let middle = median(sorted(halves.concat()));
        let folded = map(&halves, |x| (x - middle).abs());
        rhat(&normalised).max(rhat(&rank_normalised(&folded)))
    } else {
        f64::NAN
    };
    let sorted = sorted(draws);
    let ess_tail = TAILS.map(|p| ess_of_quantile(&halves, &sorted, p));
    // in units of sd, so that no power of a draw leaves the range of the numbers
    let squares = map(&halves, |x| ((x - mean) / sd).powi(2));
    let all: Vec<f64> = sorted.iter().map(|x| ((x - mean) / sd).powi(2)).collect();
    let (variance, spread) = (average(&all), variance(&all, 0));
    Diagnosis {
        rhat,
        ess_bulk: ess(&normalised),
        ess_tail: ess_tail[0].min(ess_tail[1]),
        mcse_mean: sd / ess(&halves).sqrt(),
        // var(s²)/(4 s²), the delta method
        mcse_sd: sd * (spread / ess(&squares) / variance / 4.0).sqrt(),
        ..unknown
    }
}

/// Monte Carlo standard error of the quantile at a probability, in the unit of the draws: half the distance of the
/// draws at the ends of the central 68 % of the beta distribution of its rank (section 4.4 of the paper). It comes in
/// steps from draw to draw.
pub fn mcse_quantile(chains: &[Vec<f64>], probability: f64) -> f64 {
    if !is_usable(chains) || !(0.0..=1.0).contains(&probability) {
        return f64::NAN;
    }
    let sorted = sorted(chains.concat());
    let ess = ess_of_quantile(&halves(chains), &sorted, probability);
    let last = sorted.len() - 1;
    let [low, high] = ONE_SIGMA.map(|p| {
        let share = beta_quantile(p, ess * probability + 1.0, ess * (1.0 - probability) + 1.0);
        (share * sorted.len() as f64 - 1.0).clamp(0.0, last as f64)
    });
    (sorted[high.ceil() as usize] - sorted[low.floor() as usize]) / 2.0
}

/// Quantile of draws in ascending order, interpolated between neighbours as NumPy does by default (type 7 of Hyndman
/// and Fan, The American Statistician 50 (1996) 361); NaN for no draws, and outside 0 ≤ probability ≤ 1.
pub fn quantile(sorted: &[f64], probability: f64) -> f64 {
    let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else { return f64::NAN };
    // NaN is sorted to the ends
    if first.is_nan() || last.is_nan() || !(0.0..=1.0).contains(&probability) {
        return f64::NAN;
    }
    let at = probability * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    if low == high {
        return low;
    }
    // from the nearer one, whose rounding is the smaller
    let share = at.fract();
    if share < 0.5 { low + (high - low) * share } else { high - (high - low) * (1.0 - share) }
}

/// Bayesian fraction of missing information of a chain's energies: mean square of their steps over their variance
/// (Betancourt, arXiv:1604.00695). 2 for independent energies; small where a new momentum hardly changes the energy.
pub fn e_bfmi(energy: &[f64]) -> f64 {
    if energy.len() < FEWEST || is_constant(energy) || energy.iter().any(|e| !e.is_finite()) {
        return f64::NAN;
    }
    let steps: Vec<f64> = energy.windows(2).map(|pair| (pair[1] - pair[0]).powi(2)).collect();
    average(&steps) / variance(energy, 1)
}

/// Rank plots: by chain, how many of its draws have a rank among the draws of all chains in each of `bins` equal spans.
/// Flat but for noise where chains agree. Draws of the same value share their mean rank; those that are NaN are left
/// out.
pub fn rank_histogram(chains: &[Vec<f64>], bins: usize) -> Vec<Vec<u64>> {
    let known: Vec<Vec<f64>> =
        chains.iter().map(|chain| chain.iter().copied().filter(|x| !x.is_nan()).collect()).collect();
    let total: usize = known.iter().map(Vec::len).sum();
    let count = |ranks: Vec<f64>| {
        let mut counts = vec![0; bins];
        for rank in ranks.into_iter().filter(|_| bins > 0) {
            // the middle of a rank, so that every bin takes as many of them as the others where their number allows it
            counts[((rank - 0.5) * bins as f64 / total as f64) as usize] += 1;
        }
        counts
    };
    ranks(&known).into_iter().map(count).collect()
}

/// Whether anything can be told from chains.
fn is_usable(chains: &[Vec<f64>]) -> bool {
    let Some(first) = chains.first() else { return false };
    first.len() >= FEWEST
        && chains.iter().all(|chain| chain.len() == first.len() && chain.iter().all(|x| x.is_finite()))
        && !chains.iter().flatten().all(|x| x == &first[0])
}

fn is_constant(values: &[f64]) -> bool {
    values.iter().all(|x| x == &values[0])
}

/// First halves and last halves, without the middle of an odd number.
fn halves(chains: &[Vec<f64>]) -> Vec<Vec<f64>> {
    chains.iter().flat_map(|c| [c[..c.len() / 2].to_vec(), c[c.len().div_ceil(2)..].to_vec()]).collect()
}

fn map(chains: &[Vec<f64>], f: impl Fn(f64) -> f64) -> Vec<Vec<f64>> {
    chains.iter().map(|chain| chain.iter().map(|&x| f(x)).collect()).collect()
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values
}

fn median(sorted: Vec<f64>) -> f64 {
    let n = sorted.len();
    (sorted[(n - 1) / 2] + sorted[n / 2]) / 2.0
}

/// Mean; with what rounding left out of it, so that values which are all the same have no variance.
fn average(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let rough = values.iter().sum::<f64>() / n;
    rough + values.iter().map(|x| x - rough).sum::<f64>() / n
}

/// Variance with n less `ddof` in the denominator.
fn variance(values: &[f64], ddof: usize) -> f64 {
    let mean = average(values);
    values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (values.len() - ddof) as f64
}

/// Mean and standard deviation; NaN where there are too few values.
fn mean_and_sd(values: &[f64]) -> (f64, f64) {
    match values.len() {
        0 => (f64::NAN, f64::NAN),
        1 => (values[0], f64::NAN),
        _ => (average(values), variance(values, 1).sqrt()),
    }
}

/// Ranks among the values of all chains, from 1; equal values share the mean of theirs. No value is NaN.
fn ranks(chains: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut places: Vec<(f64, u32, u32)> = Vec::with_capacity(chains.iter().map(Vec::len).sum());
    for (c, chain) in chains.iter().enumerate() {
        places.extend(chain.iter().enumerate().map(|(i, &x)| (x, c as u32, i as u32)));
    }
    places.sort_unstable_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal));
    let mut out = map(chains, |_| 0.0);
    let mut before = 0;
    for equal in places.chunk_by(|a, b| a.0 == b.0) {
        let rank = before as f64 + (equal.len() + 1) as f64 / 2.0;
        for &(_, chain, draw) in equal {
            out[chain as usize][draw as usize] = rank;
        }
        before += equal.len();
    }
    out
}

/// Normal quantiles at (rank - 3/8)/(n + 1/4) (Blom, Statistical Estimates and Transformed Beta-Variables, 1958).
fn rank_normalised(chains: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let n: usize = chains.iter().map(Vec::len).sum();
    map(&ranks(chains), |rank| normal_quantile((rank - 0.375) / (n as f64 + 0.25)))
}

/// R̂ of chains as they are: root of the variance that chains and their means together suggest, over that within the
/// chains.
fn rhat(chains: &[Vec<f64>]) -> f64 {
    let n = chains[0].len() as f64;
    let means: Vec<f64> = chains.iter().map(|chain| average(chain)).collect();
    let within: Vec<f64> = chains.iter().map(|chain| variance(chain, 1)).collect();
    ((n * variance(&means, 1) / average(&within) + n - 1.0) / n).sqrt()
}

/// Effective number of draws for a quantile: that of the share of draws up to it.
fn ess_of_quantile(halves: &[Vec<f64>], sorted: &[f64], probability: f64) -> f64 {
    let limit = quantile(sorted, probability);
    ess(&map(halves, |x| f64::from(u8::from(x <= limit))))
}

/// Effective number of draws for the mean of chains (section 3.2): their number over the sum of all autocorrelations,
/// which goes on while pairs of them are positive and lets no pair exceed the one before (Geyer, Statistical Science 7
/// (1992) 473). At most n log₁₀ n, for chains that swing to and fro. Values that are all the same count in full.
fn ess(chains: &[Vec<f64>]) -> f64 {
    let n_half = chains[0].len();
    let total = (chains.len() * n_half) as f64;
    if chains.iter().all(|chain| is_constant(chain) && chain[0] == chains[0][0]) {
        return total;
    }
    let covariances = autocovariances(chains);
    let means: Vec<f64> = chains.iter().map(|chain| average(chain)).collect();
    let within = covariances[0] * n_half as f64 / (n_half as f64 - 1.0);
    let all = covariances[0] + variance(&means, 1);
    let correlation = |lag: usize| if lag == 0 { 1.0 } else { 1.0 - (within - covariances[lag]) / all };
    // sum of all pairs but the last that is looked at, of which the even lag takes part alone
    let (mut sum, mut least) = (0.0, f64::INFINITY);
    let mut lag = 0;
    let last = loop {
        let (even, odd) = (correlation(lag), correlation(lag + 1));
        let pair = even + odd;
        if pair.is_nan() {
            return f64::NAN;
        }
        if pair <= 0.0 || lag + 4 >= n_half {
            break if even > 0.0 || pair >= 0.0 { even } else { 0.0 };
        }
        least = pair.min(least);
        sum += least;
        lag += 2;
    };
    let time = -1.0 + 2.0 * sum + last;
    total / time.max(1.0 / total.log10())
}

/// Autocovariances of chains about their own means, averaged over the chains, with n in the denominator at every lag.
/// By way of the power spectrum: for chains that don't mix no early lag ends the sum of the autocorrelations, and
/// direct sums take O(n²).
fn autocovariances(chains: &[Vec<f64>]) -> Vec<f64> {
    let n = chains[0].len();
    // zeros behind a chain keep its ends apart
    let size = (2 * n).next_power_of_two();
    let mut power = vec![(0.0, 0.0); size];
    let turns = turns(size);
    for two in chains.chunks(2) {
        // two chains are one of complex numbers; the real part of its autocovariance is the sum of theirs
        let means = [average(&two[0]), two.get(1).map_or(0.0, |chain| average(chain))];
        let mut values = vec![(0.0, 0.0); size];
        for i in 0..n {
            values[i] = (two[0][i] - means[0], two.get(1).map_or(0.0, |chain| chain[i] - means[1]));
        }
        fourier(&mut values, &turns);
        for (sum, (re, im)) in power.iter_mut().zip(values) {
            sum.0 += re * re + im * im;
        }
    }
    // of real numbers, there and back differ in the imaginary part's sign only
    fourier(&mut power, &turns);
    let scale = 1.0 / (size as f64 * n as f64 * chains.len() as f64);
    power[..n].iter().map(|(re, _)| re * scale).collect()
}

/// exp(-2πi k/size) for k below size/2.
fn turns(size: usize) -> Vec<(f64, f64)> {
    (0..size / 2).map(|k| (-TAU * k as f64 / size as f64).sin_cos()).map(|(sin, cos)| (cos, sin)).collect()
}

/// Fourier transform in place of a power of two of complex numbers (Cooley and Tukey, Math. Comput. 19 (1965) 297).
fn fourier(values: &mut [(f64, f64)], turns: &[(f64, f64)]) {
    let size = values.len();
    let shift = usize::BITS - size.trailing_zeros();
    for i in 0..size {
        let j = i.reverse_bits() >> shift;
        if i < j {
            values.swap(i, j);
        }
    }
    let mut half = 1;
    while half < size {
        let stride = size / (2 * half);
        for block in values.chunks_exact_mut(2 * half) {
            let (low, high) = block.split_at_mut(half);
            for (k, (a, b)) in low.iter_mut().zip(high).enumerate() {
                let (cos, sin) = turns[k * stride];
                let turned = (b.0 * cos - b.1 * sin, b.0 * sin + b.1 * cos);
                *b = (a.0 - turned.0, a.1 - turned.1);
                *a = (a.0 + turned.0, a.1 + turned.1);
            }
        }
        half *= 2;
    }
}

/// Quantile of the standard normal distribution at 0 < p < 1, to 1e-15 of it (PPND16 of Wichura, AS 241, Applied
/// Statistics 37 (1988) 477).
fn normal_quantile(p: f64) -> f64 {
    const CENTRE: [[f64; 8]; 2] = [
        [
            3.387_132_872_796_366_5,
            133.141_667_891_784_38,
            1_971.590_950_306_551_3,
            13_731.693_765_509_46,
            45_921.953_931_549_87,
            67_265.770_927_008_7,
            33_430.575_583_588_13,
            2_509.080_928_730_122_7,
        ],
        [
            1.0,
            42.313_330_701_600_91,
            687.187_007_492_057_9,
            5_394.196_021_424_751,
            21_213.794_301_586_597,
            39_307.895_800_092_71,
            28_729.085_735_721_943,
            5_226.495_278_852_545,
        ],
    ];
    const MIDDLE: [[f64; 8]; 2] = [
        [
            1.423_437_110_749_683_5,
            4.630_337_846_156_546,
            5.769_497_221_460_691,
            3.647_848_324_763_204_5,
            1.270_458_252_452_368_4,
            0.241_780_725_177_450_6,
            0.022_723_844_989_269_184,
            7.745_450_142_783_414e-4,
        ],
        [
            1.0,
            2.053_191_626_637_759,
            1.676_384_830_183_803_8,
            0.689_767_334_985_1,
            0.148_103_976_427_480_08,
            0.015_198_666_563_616_457,
            5.475_938_084_995_345e-4,
            1.050_750_071_644_416_9e-9,
        ],
    ];
    const FAR: [[f64; 8]; 2] = [
        [
            6.657_904_643_501_103,
            5.463_784_911_164_114,
            1.784_826_539_917_291_3,
            0.296_560_571_828_504_87,
            0.026_532_189_526_576_124,
            0.001_242_660_947_388_078_4,
            2.711_555_568_743_487_6e-5,
            2.010_334_399_292_288_1e-7,
        ],
        [
            1.0,
            0.599_832_206_555_888,
            0.136_929_880_922_735_8,
            0.014_875_361_290_850_615,
            7.868_691_311_456_133e-4,
            1.846_318_317_510_054_8e-5,
            1.421_511_758_316_446e-7,
            2.044_263_103_389_939_8e-15,
        ],
    ];
    let ratio = |[above, below]: &[[f64; 8]; 2], x: f64| {
        let polynomial = |terms: &[f64; 8]| terms.iter().rev().fold(0.0, |sum, term| sum * x + term);
        polynomial(above) / polynomial(below)
    };
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        return q * ratio(&CENTRE, 0.180_625 - q * q);
    }
    let r = (-p.min(1.0 - p).ln()).sqrt();
    let distance = if r <= 5.0 { ratio(&MIDDLE, r - 1.6) } else { ratio(&FAR, r - 5.0) };
    distance.copysign(q)
}

/// Quantile of the beta distribution with a, b ≥ 1 at 0 < p < 1, by bisection to the last bit.
fn beta_quantile(p: f64, a: f64, b: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    loop {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high || high - low < f64::EPSILON * middle {
            return middle;
        }
        if beta_cdf(middle, a, b) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
}

/// Probability of the beta distribution below 0 < x < 1.
fn beta_cdf(x: f64, a: f64, b: f64) -> f64 {
    // on this side of the mean the fraction converges fast
    if x <= (a + 1.0) / (a + b + 2.0) { beta_fraction(x, a, b) } else { 1.0 - beta_fraction(1.0 - x, b, a) }
}

/// The same by a continued fraction (DLMF 8.17.22, by Lentz's method).
fn beta_fraction(x: f64, a: f64, b: f64) -> f64 {
    /// Terms after which the fraction is taken as it is; it needs some √max(a, b) of them.
    const MOST: usize = 100_000;
    let off_zero = |x: f64| if x.abs() < f64::MIN_POSITIVE { f64::MIN_POSITIVE } else { x };
    let mut below = 1.0 / off_zero(1.0 - (a + b) * x / (a + 1.0));
    let (mut above, mut fraction) = (1.0, below);
    for m in (1..MOST).map(|m| m as f64) {
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let before = fraction;
        for term in [even, odd] {
            below = 1.0 / off_zero(1.0 + term * below);
            above = off_zero(1.0 + term / above);
            fraction *= below * above;
        }
        if (fraction - before).abs() <= f64::EPSILON * fraction {
            break;
        }
    }
    let ln_front = a * x.ln() + b * (-x).ln_1p() + ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b);
    ln_front.exp() * fraction / a
}

/// ln Γ(x) for x ≥ 1 (Stirling's series, DLMF 5.11.1, from 15 on; by recurrence below).
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 6] = [1.0 / 12.0, -1.0 / 360.0, 1.0 / 1260.0, -1.0 / 1680.0, 1.0 / 1188.0, -691.0 / 360_360.0];
    let (mut x, mut product) = (x, 1.0);
    while x < 15.0 {
        product *= x;
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    let series = TERMS.iter().rev().fold(0.0, |sum, term| sum * square + term) / x;
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * PI).ln() + series - product.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uniform numbers within ±1/2, the same on every machine and in Python.
    struct Uniform(u64);

    impl Uniform {
        fn next(&mut self) -> f64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((self.0 >> 12) as f64 + 0.5) / (1u64 << 52) as f64 - 0.5
        }
    }

    /// Autoregressive chains x ← ρ·x + f(u) from x = 0.
    fn chains(seed: u64, m: usize, n: usize, rho: f64, f: impl Fn(f64) -> f64) -> Vec<Vec<f64>> {
        let mut uniform = Uniform(seed);
        let mut chain = || {
            let mut x = 0.0;
            (0..n)
                .map(|_| {
                    x = rho * x + f(uniform.next());
                    x
                })
                .collect()
        };
        (0..m).map(|_| chain()).collect()
    }

    fn mixed() -> Vec<Vec<f64>> {
        chains(1, 4, 250, 0.6, |u| u)
    }

    fn shifted() -> Vec<Vec<f64>> {
        let mut chains = chains(2, 4, 250, 0.6, |u| u);
        chains[2].iter_mut().for_each(|x| *x += 0.5);
        chains
    }

    /// All but mean and sd.
    fn unknowns(d: &Diagnosis) -> [f64; 5] {
        [d.rhat, d.ess_bulk, d.ess_tail, d.mcse_mean, d.mcse_sd]
    }

    fn close(a: f64, b: f64, limit: f64) -> bool {
        a == b || (a - b).abs() <= limit * b.abs()
    }

    /// R̂, ESS of bulk and tails, errors of mean and sd, mean, sd, error of the 10 % quantile, that quantile, E-BFMI of
    /// the first chain.
    #[test]
    fn everything_is_as_arviz_has_it() {
        let heavy = chains(4, 3, 251, 0.3, |u| u / (0.25 - u * u));
        let ties = map(&chains(5, 4, 150, 0.5, |u| u), |x| (4.0 * x).floor());
        // rhat, ess, mcse, bfmi of ArviZ 0.23.4; mean, std, quantile of NumPy
        let golden = [
            (
                "mixed",
                mixed(),
                [
                    1.004_733_457_265_172_7,
                    285.928_511_865_205_6,
                    558.200_171_048_271_5,
                    0.020_723_280_580_538_82,
                    0.008_540_940_162_091_037,
                    0.018_475_322_117_436_212,
                    0.351_573_576_210_540_2,
                    0.025_455_600_352_360_053,
                    -0.464_206_122_149_413_5,
                    0.957_889_152_397_253_1,
                ],
            ),
            (
                "one of four shifted",
                shifted(),
                [
                    1.205_089_971_008_501_5,
                    15.877_895_293_192_24,
                    38.476_886_110_294_84,
                    0.105_661_714_361_295_2,
                    0.017_123_505_122_223_742,
                    0.143_338_480_245_876_67,
                    0.417_910_924_541_970_93,
                    0.057_831_066_758_485_344,
                    -0.398_322_590_517_633_9,
                    0.617_467_630_089_09,
                ],
            ),
            (
                "antithetic",
                chains(3, 4, 200, -0.7, |u| u),
                [
                    1.020_591_477_023_998_3,
                    2_322.471_989_593_555,
                    645.630_266_549_078_3,
                    0.008_361_344_897_846_517,
                    0.016_708_002_642_811_214,
                    0.001_049_460_346_327_996,
                    0.402_950_204_463_235_93,
                    0.035_037_179_864_078_09,
                    -0.535_791_125_137_175_5,
                    3.421_300_155_753_619,
                ],
            ),
            (
                "heavy tails, odd number",
                heavy,
                [
                    1.022_005_437_207_944_8,
                    261.594_871_377_600_2,
                    337.208_134_628_207_4,
                    6.114_398_832_208_274,
                    53.395_123_814_805_45,
                    -7.787_930_805_625_928,
                    125.598_339_758_833_72,
                    1.558_418_423_036_532_6,
                    -7.492_830_184_099_197,
                    1.574_466_953_580_894,
                ],
            ),
            (
                "ties",
                ties,
                [
                    1.009_521_460_067_624_8,
                    261.576_165_511_777_73,
                    318.911_624_988_074_95,
                    0.079_465_959_316_119_24,
                    0.035_738_022_021_102_926,
                    -0.505,
                    1.297_219_963_121_598_8,
                    0.0,
                    -2.0,
                    1.113_046_111_910_350_7,
                ],
            ),
            (
                "slow, odd number",
                chains(6, 2, 97, 0.9, |u| u),
                [
                    1.536_763_362_354_473_2,
                    4.050_580_832_638_396,
                    20.539_481_951_277_335,
                    0.427_076_162_476_952_4,
                    0.207_681_899_439_460_25,
                    0.064_219_148_741_208_53,
                    0.828_494_073_691_872_6,
                    0.630_249_619_162_587_3,
                    -0.990_977_613_348_249_4,
                    0.365_566_455_215_566_2,
                ],
            ),
        ];
        for (name, chains, expected) in golden {
            let d = diagnose(&chains);
            let [rhat, bulk, tail, mean_error, sd_error] = unknowns(&d);
            let low = quantile(&sorted(chains.concat()), 0.1);
            let (error, e_bfmi) = (mcse_quantile(&chains, 0.1), e_bfmi(&chains[0]));
            let found = [rhat, bulk, tail, mean_error, sd_error, d.mean, d.sd, error, low, e_bfmi];
            for (k, (found, expected)) in found.into_iter().zip(expected).enumerate() {
                assert!(close(found, expected, 1e-11), "{name}, {k}: {found} instead of {expected}");
            }
        }
    }

    #[test]
    fn limits_tell_good_chains_from_bad_ones() {
        let good = diagnose(&chains(7, 4, 500, 0.3, |u| u));
        assert!(good.rhat < RHAT_LIMIT && good.ess_bulk.min(good.ess_tail) > ESS_LIMIT, "{good:?}");
        let bad = diagnose(&shifted());
        assert!(bad.rhat > 1.1 && bad.ess_bulk < 100.0, "{bad:?}");
        // the same mean, but another width: nothing but the distances from the median shows it
        let mut wide = chains(7, 4, 500, 0.3, |u| u);
        wide[0].iter_mut().for_each(|x| *x *= 4.0);
        assert!(diagnose(&wide).rhat > 1.1);
        assert!(rhat(&rank_normalised(&halves(&wide))) < RHAT_LIMIT);
        // swinging to and fro, the draws know the mean better than independent ones
        assert!(diagnose(&chains(3, 4, 200, -0.7, |u| u)).ess_bulk > 800.0);
    }

    #[test]
    fn neither_units_nor_order_matter() {
        let chains = mixed();
        let plain = diagnose(&chains);
        // a change of the unit by a power of two rounds nothing
        for unit in [2f64.powi(-300), 4.0, 2f64.powi(300)] {
            let scaled = diagnose(&map(&chains, |x| unit * x));
            assert_eq!((scaled.rhat, scaled.ess_bulk, scaled.ess_tail), (plain.rhat, plain.ess_bulk, plain.ess_tail));
            assert_eq!(scaled.mcse_mean, unit * plain.mcse_mean);
            assert!(close(scaled.mcse_sd, unit * plain.mcse_sd, 1e-14));
            assert_eq!(mcse_quantile(&map(&chains, |x| unit * x), 0.3), unit * mcse_quantile(&chains, 0.3));
        }
        // ranks outlast every monotone change, and mirrored ones are as good
        let bulk = |f: &dyn Fn(f64) -> f64| diagnose(&map(&chains, f)).ess_bulk;
        assert_eq!(bulk(&|x| x.exp()), plain.ess_bulk);
        assert!(close(bulk(&|x| -x), plain.ess_bulk, 1e-12));
        // an offset costs digits of the draws only
        let offset = diagnose(&map(&chains, |x| x + 1e6));
        for (a, b) in unknowns(&offset).into_iter().zip(unknowns(&plain)) {
            assert!(close(a, b, 1e-7), "{offset:?}");
        }
        let mut turned = chains.clone();
        turned.rotate_left(1);
        for (a, b) in unknowns(&diagnose(&turned)).into_iter().zip(unknowns(&plain)) {
            assert!(close(a, b, 1e-12));
        }
    }

    #[test]
    fn what_cannot_be_known_is_nan() {
        let none = |chains: &[Vec<f64>]| {
            let d = diagnose(chains);
            assert!(unknowns(&d).iter().all(|x| x.is_nan()), "{d:?}");
            assert!(mcse_quantile(chains, 0.5).is_nan());
            d
        };
        // a parameter that is held, at a value that sums round
        let held = none(&vec![vec![0.1; 1000]; 3]);
        assert_eq!((held.mean, held.sd), (0.1, 0.0));
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut chains = mixed();
            chains[1][7] = bad;
            assert!(none(&chains).mean.is_nan());
            assert!(e_bfmi(&chains[1]).is_nan());
        }
        assert_eq!(none(&[vec![1.0, 2.0, 3.0], vec![2.0, 3.0, 1.0]]).mean, 2.0);
        none(&[vec![1.0, 2.0, 3.0, 4.0], vec![2.0, 3.0, 1.0]]);
        none(&[vec![], vec![]]);
        none(&[]);
        assert!(mcse_quantile(&mixed(), 1.5).is_nan() && mcse_quantile(&mixed(), f64::NAN).is_nan());
        assert!(e_bfmi(&[3.0; 9]).is_nan() && e_bfmi(&[1.0, 2.0, 3.0]).is_nan() && e_bfmi(&[]).is_nan());
        // a single chain has an ESS, but nothing to agree with
        let single = diagnose(&mixed()[..1]);
        assert!(single.rhat.is_nan() && single.ess_bulk > 10.0);
        // chains stuck at places of their own
        let stuck: Vec<Vec<f64>> = (0..4).map(|c| vec![f64::from(c); 100]).collect();
        let d = diagnose(&stuck);
        assert!(d.rhat > 1e6 && d.ess_bulk < 10.0, "{d:?}");
    }

    #[test]
    fn short_chains_have_numbers() {
        // of ArviZ
        let d = diagnose(&[vec![0.5, -1.0, 2.0, 0.25], vec![1.5, 0.0, -0.5, 1.0]]);
        let expected = [
            0.882_454_366_947_275_3,
            7.224_719_895_935_548,
            7.224_719_895_935_548,
            0.373_490_331_095_77,
            0.172_581_761_010_406_6,
        ];
        assert!(unknowns(&d).into_iter().zip(expected).all(|(a, b)| close(a, b, 1e-12)), "{d:?}");
    }

    #[test]
    fn quantiles_are_those_of_numpy() {
        let sorted = [-3.5, 0.25, 1.0, 1.0, 7.0];
        let expected = [
            (0.0, -3.5),
            (0.1, -2.0),
            (0.3, 0.399_999_999_999_999_97),
            (0.5, 1.0),
            (0.6, 1.0),
            (0.9, 4.600_000_000_000_000_5),
            (1.0, 7.0),
        ];
        for (probability, value) in expected {
            assert_eq!(quantile(&sorted, probability), value, "{probability}");
        }
        assert_eq!(quantile(&[2.5], 0.7), 2.5);
        assert!(quantile(&[], 0.5).is_nan() && quantile(&[1.0, f64::NAN], 0.5).is_nan());
        assert!(quantile(&sorted, -0.1).is_nan() && quantile(&sorted, f64::NAN).is_nan());
        // between draws of the same value lies that value
        assert!((0..100).all(|k| quantile(&[0.3; 7], f64::from(k) / 99.0) == 0.3));
    }

    #[test]
    fn rank_plots_are_flat_where_chains_agree() {
        let chains = mixed();
        let counts = rank_histogram(&chains, 20);
        assert!(counts.iter().all(|row| row.len() == 20 && row.iter().sum::<u64>() == 250));
        // every bin has its share of the ranks
        assert!((0..20).all(|bin| counts.iter().map(|row| row[bin]).sum::<u64>() == 50));
        assert_eq!(rank_histogram(&map(&chains, |x| x.exp()), 20), counts);
        let apart = [vec![1.0, 2.0, 3.0, 4.0], vec![8.0, 7.0, 6.0, 5.0]];
        assert_eq!(rank_histogram(&apart, 2), [[4, 0], [0, 4]]);
        assert_eq!(rank_histogram(&[vec![5.0; 3], vec![5.0, f64::NAN]], 3), [[0, 3, 0], [0, 1, 0]]);
        assert_eq!(rank_histogram(&[vec![], vec![]], 3), [[0; 3]; 2]);
        assert_eq!(rank_histogram(&apart, 0), [[], []] as [[u64; 0]; 2]);
    }

    #[test]
    fn spectrum_gives_the_direct_autocovariances() {
        // an odd number of chains, and a length that is no power of two
        let chains = chains(8, 3, 77, 0.8, |u| u);
        let found = autocovariances(&chains);
        for lag in 0..77 {
            let direct = |chain: &Vec<f64>| {
                let mean = average(chain);
                chain[lag..].iter().zip(chain).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>() / 77.0
            };
            let expected = chains.iter().map(direct).sum::<f64>() / 3.0;
            assert!((found[lag] - expected).abs() < 1e-15, "{lag}");
        }
    }

    #[test]
    fn normal_quantiles_have_all_digits() {
        // mpmath, 40 digits
        let expected = [
            (1e-300, -37.047_096_299_361_2),
            (1e-20, -9.262_340_089_798_408),
            (1e-9, -5.997_807_015_007_687),
            (0.001, -3.090_232_306_167_813_5),
            (0.024_25, -1.972_961_051_311_885),
            (0.075, -1.439_531_470_938_456),
            (0.3, -0.524_400_512_708_040_8),
            (0.5, 0.0),
            (0.6, 0.253_347_103_135_799_7),
            (0.925, 1.439_531_470_938_456_2),
            (0.977_25, 2.000_002_443_899_603),
            (0.999_999, 4.753_424_308_817_088),
        ];
        for (p, z) in expected {
            assert!(close(normal_quantile(p), z, 1e-15), "{p}: {:e}", normal_quantile(p) / z - 1.0);
        }
        // pieces meet
        for edge in [0.075, (-25f64).exp()] {
            let (below, above) = (normal_quantile(edge * (1.0 - 1e-15)), normal_quantile(edge * (1.0 + 1e-15)));
            assert!(below <= above && above - below < 1e-13);
        }
    }

    #[test]
    fn beta_quantiles_are_those_of_scipy() {
        let expected = [
            (0.158_655_3, 1.0, 1.0, 0.158_655_3),
            (0.5, 1.5, 1.0, 0.5f64.powf(1.0 / 1.5)),
            (0.158_655_3, 41.5, 360.5, 0.088_102_654_121_527_2),
            (0.841_344_7, 2.0, 900.0, 0.003_657_401_128_984_254),
            (0.841_344_7, 50_001.0, 50_001.0, 0.501_581_122_717_886_6),
            (0.841_344_7, 1_000_000.0, 10.0, 0.999_993_108_748_725_7),
            (0.158_655_3, 1.0, 4_001.0, 4.317_673_188_689_748e-05),
        ];
        for (p, a, b, x) in expected {
            let found = beta_quantile(p, a, b);
            // the gamma functions of large numbers cancel
            assert!(close(found, x, 1e-10), "{p}, {a}, {b}: {:e}", found / x - 1.0);
        }
    }
}
