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
use std::f64::consts::SQRT_2;

use rustfft::FftPlannerScalar;
use rustfft::num_complex::Complex64;
use statrs::function::beta::inv_beta_reg;
use statrs::function::erf::erfc_inv;

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
        let share = inv_beta_reg(ess * probability + 1.0, ess * (1.0 - probability) + 1.0, p);
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
    // the scalar one: the same bits on every processor
    let mut planner = FftPlannerScalar::new();
    let fourier = planner.plan_fft_forward(size);
    let mut power = vec![Complex64::ZERO; size];
    for two in chains.chunks(2) {
        // two chains are one of complex numbers; the real part of its autocovariance is the sum of theirs
        let centred = |chain: &Vec<f64>| {
            let mean = average(chain);
            chain.iter().map(|x| x - mean).collect::<Vec<f64>>()
        };
        let (re, im) = (centred(&two[0]), two.get(1).map_or(vec![0.0; n], centred));
        let mut values = vec![Complex64::ZERO; size];
        for (value, (re, im)) in values.iter_mut().zip(re.into_iter().zip(im)) {
            *value = Complex64::new(re, im);
        }
        fourier.process(&mut values);
        for (sum, value) in power.iter_mut().zip(values) {
            sum.re += value.norm_sqr();
        }
    }
    // of real numbers, there and back differ in the imaginary part's sign only
    fourier.process(&mut power);
    let scale = 1.0 / (size as f64 * n as f64 * chains.len() as f64);
    power[..n].iter().map(|value| value.re * scale).collect()
}

/// Quantile of the standard normal distribution at 0 < p < 1.
fn normal_quantile(p: f64) -> f64 {
    -SQRT_2 * erfc_inv(2.0 * p)
}

#[cfg(test)]
mod tests;
