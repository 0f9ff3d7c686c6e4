//! Whether a GPU computes what the CPU does, on data made up anew, and how near its kernels come to what it could do.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Sample, pool};
use crate::Result;
use crate::gram::gpu::{Device, DeviceInfo, GpuEngine, MIXED_ROUNDING, distance};
use crate::gram::{CpuEngine, Engine, Lane, Level, Loss, Pass, Point, Precision, Shard, TileStore, pack_angle};
use crate::model::{AnalysisMode, Experiment, ShearConvention, TimeAxis, reference};

/// Opens the GPU; gives how many bytes of it may be used, too.
pub type Open<'o> = &'o dyn Fn() -> Result<(Box<dyn Device>, usize)>;

/// What was compared, and the largest difference.
#[derive(Debug, Clone)]
pub struct Compared {
    /// What.
    pub what: &'static str,
    /// Comparisons.
    pub n: usize,
    /// The largest difference, in units of √(G_aa·G_bb); of c2 itself where it is the model's.
    pub worst: f64,
    /// What may be.
    pub allowed: f64,
}

impl Compared {
    /// Whether all differences are allowed.
    pub fn holds(&self) -> bool {
        self.n > 0 && self.worst <= self.allowed
    }

    fn new(what: &'static str, allowed: f64) -> Self {
        Self { what, n: 0, worst: 0.0, allowed }
    }

    fn add(&mut self, difference: f64) {
        self.n += 1;
        self.worst = if difference.is_nan() { f64::INFINITY } else { self.worst.max(difference) };
    }
}

/// Passes that are compared.
const PASSES: [Pass; 5] = [
    Pass::Gram,
    Pass::Chi2,
    Pass::Robust { loss: Loss::SoftL1, doublings: 0 },
    Pass::Robust { loss: Loss::Huber, doublings: 2 },
    Pass::Robust { loss: Loss::Cauchy, doublings: 0 },
];
/// Noise by which losses measure.
const SIGMA: f64 = 0.05;

/// Random experiments, data with holes, and points: the sums of all kinds of passes against the CPU's, their bits in a
/// second pass, and the model of single pairs against the pointwise reference.
///
/// # Errors
/// Where the GPU fails.
pub fn check(open: Open<'_>, seed: u64, cases: usize) -> Result<Vec<Compared>> {
    let mut exact = Compared::new("sums in f64", 1e-11);
    let mut weighted = Compared::new("the same with σ of every pair", 1e-11);
    let mut mixed = Compared::new("sums with pairs in f32", MIXED_ROUNDING);
    // weights are rounded, too
    let mut mixed_losses = Compared::new("the same with losses", 2.0 * MIXED_ROUNDING);
    let mut bits = Compared::new("bits again", 0.0);
    // c2 is below 2: both may round to neighbours
    let mut model = Compared::new("c2 of the model", f64::from(f32::EPSILON));
    for case in 0..cases {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(case as u64);
        let e = experiment(&mut rng);
        let has_sigma = case % 3 == 2;
        let mut cpu = engine(&e, has_sigma, &mut rng)?;
        cpu.set_sigma(&vec![SIGMA; e.n_angles()]);
        let any = [point(&e, WIDE, &mut rng), point(&e, WIDE, &mut rng)];
        let moderate = [point(&e, MODERATE, &mut rng)];
        let (device, budget) = open()?;
        let mut gpu = GpuEngine::new(device, &cpu, budget)?;
        for level in 0..cpu.shards().len() {
            for (precision, points) in [(Precision::F64, &any[..]), (Precision::Mixed, &moderate[..])] {
                cpu.set_precision(Precision::F64);
                let scale = cpu.evaluate(level, points, Pass::Gram)?;
                for pass in PASSES {
                    cpu.set_precision(Precision::F64);
                    let expected = cpu.evaluate(level, points, pass)?;
                    cpu.set_precision(precision);
                    let sums = |gpu: &mut GpuEngine<_>| gpu.evaluate(&cpu, level, points, pass);
                    let (found, again) = (sums(&mut gpu)?, sums(&mut gpu)?);
                    bits.add(if found == again { 0.0 } else { f64::INFINITY });
                    let worst = found.iter().zip(&expected).zip(&scale).map(|((a, b), s)| distance(a, b, s));
                    let worst = if found.len() == expected.len() { worst.fold(0.0, f64::max) } else { f64::NAN };
                    match (precision, pass) {
                        (Precision::F64, _) if has_sigma => weighted.add(worst),
                        (Precision::F64, _) => exact.add(worst),
                        // a pair may come to lie on the other side of where its weight jumps
                        (_, Pass::Robust { loss: Loss::Huber, .. }) => {}
                        (_, Pass::Robust { .. }) => mixed_losses.add(worst),
                        _ => mixed.add(worst),
                    }
                }
            }
        }
        cpu.set_precision(Precision::F64);
        model.add(off_reference(&mut gpu, &cpu, &e, &any[0])?);
    }
    Ok(vec![exact, weighted, mixed, mixed_losses, bits, model])
}

fn experiment(rng: &mut impl Rng) -> Experiment {
    let n_frames = 2f64.powf(rng.random_range(1.0..9.5)) as usize;
    let n_angles = rng.random_range(1..4);
    Experiment {
        mode: [AnalysisMode::LaminarFlow, AnalysisMode::Static][usize::from(rng.random_bool(0.3))],
        convention: [ShearConvention::Homodyne, ShearConvention::Theory][usize::from(rng.random_bool(0.5))],
        q: 0.0054,
        gap: 2e6,
        dt: 0.1,
        phi: (0..n_angles).map(|_| rng.random_range(-180.0..180.0)).collect(),
        n_frames: n_frames.max(2),
        time_offset: 0,
    }
}

/// Powers of ten of the shear rate, and the largest size of its exponent.
type Shear = (std::ops::Range<f64>, f64);
const WIDE: Shear = (-6.0..-2.0, 1.0);
/// The phase turns by less than 1 from frame to frame, as rounding in f32 supposes.
const MODERATE: Shear = (-6.0..-4.0, 0.5);

fn point(e: &Experiment, (rate, beta): Shear, rng: &mut impl Rng) -> Point {
    let mut power = |range: std::ops::Range<f64>| 10f64.powf(rng.random_range(range));
    let (d0, gamma) = (power(2.0..4.0), power(rate));
    let all = [
        d0,
        rng.random_range(-1.0..0.5),
        rng.random_range(0.0..1e3),
        gamma,
        rng.random_range(-beta..beta),
        rng.random_range(0.0..1e-4),
        rng.random_range(-10.0..10.0),
    ];
    let scaling = e.phi.iter().map(|_| (rng.random_range(0.1..0.5), rng.random_range(0.9..1.1))).collect();
    Point { physical: all[..e.mode.n_physical()].to_vec(), scaling }
}

/// An engine over data around 1.15, some of them missing.
fn engine(e: &Experiment, has_sigma: bool, rng: &mut impl Rng) -> Result<CpuEngine> {
    let n = e.n_frames;
    let missing = if rng.random_bool(0.5) { rng.random_range(0.0..0.2) } else { 0.0 };
    let mut values = |range: std::ops::Range<f32>, missing: f64| -> Vec<f32> {
        let mut one = || if rng.random_bool(missing) { f32::NAN } else { rng.random_range(range.clone()) };
        (0..e.n_angles() * n * n).map(|_| one()).collect()
    };
    let data = values(1.0..1.3, missing);
    let sigma = has_sigma.then(|| values(0.02..0.1, 0.0));
    let pool = pool(super::cores())?;
    let store = |level: &Level, values: &[f32]| {
        let per_angle = level.plan.per_angle();
        let mut store = TileStore::new(&level.plan, 0..level.plan.n_tiles());
        for angle in 0..e.n_angles() {
            let tiles = angle * per_angle..(angle + 1) * per_angle;
            let row_after = |i: usize| &values[(angle * n + i) * n + i + 1..(angle * n + i + 1) * n];
            pool.install(|| {
                pack_angle(level, 0..per_angle, &row_after, store.lanes_mut(&tiles));
                store.mark(&level.plan, &tiles);
            });
        }
        store
    };
    let shard = |level: Level| {
        let (store, sigma) = (store(&level, &data), sigma.as_ref().map(|sigma| store(&level, sigma)));
        Shard { sigma, ..Shard::held(level, store) }
    };
    let shards = Level::all(n, e.n_angles()).into_iter().map(shard).collect();
    CpuEngine::new(e.clone(), shards, pool)
}

/// Largest difference of the model's c2 from the pointwise reference; NaN where its pairs aren't those of the data.
fn off_reference(gpu: &mut GpuEngine<Box<dyn Device>>, cpu: &CpuEngine, e: &Experiment, point: &Point) -> Result<f64> {
    let values = gpu.model(cpu, 0, point, true)?;
    let axis = TimeAxis::without_derivatives(e, &point.physical);
    let level = &cpu.shards()[0].level;
    let n = e.n_frames;
    let mut worst = 0.0f64;
    let mut rest: &[Lane] = &values;
    for angle in 0..e.n_angles() {
        // packed as data are
        let (contrast, offset) = point.scaling[angle];
        let c2 = |i: usize, j: usize| (offset + contrast * reference::shape(e, &axis, angle, i, j)) as f32;
        let rows: Vec<Vec<f32>> = (0..n).map(|i| (i + 1..n).map(|j| c2(i, j)).collect()).collect();
        let per_angle = level.plan.per_angle();
        let lanes = level.plan.tiles.iter().map(|tile| tile.n_lanes).sum();
        let mut expected = vec![Lane([f32::NAN; 8]); lanes];
        pack_angle(level, 0..per_angle, &|i| &rows[i], &mut expected);
        let (own, later) = rest.split_at(lanes);
        rest = later;
        for (a, b) in own.iter().zip(&expected).flat_map(|(a, b)| a.0.iter().zip(b.0)) {
            let difference = f64::from((a - b).abs());
            match (a.is_nan(), b.is_nan()) {
                (true, true) => {}
                (false, false) => worst = worst.max(difference),
                _ => return Ok(f64::NAN),
            }
        }
    }
    Ok(worst)
}

/// Speed of a kernel by the clock of the device.
#[derive(Debug, Clone)]
pub struct Speed {
    /// Its name.
    pub kernel: &'static str,
    /// Pairs per second, the best of several passes.
    pub rate: f64,
    /// The limit of its arithmetic on this device, pairs per second.
    pub limit: Option<f64>,
}

/// Kernels that are timed.
const KERNELS: [(&str, AnalysisMode, Pass, Precision); 5] = [
    ("gram_quartic", AnalysisMode::LaminarFlow, Pass::Gram, Precision::F64),
    ("mixed_gram_quartic", AnalysisMode::LaminarFlow, Pass::Gram, Precision::Mixed),
    ("chi2_quartic", AnalysisMode::LaminarFlow, Pass::Chi2, Precision::F64),
    ("gram_still", AnalysisMode::Static, Pass::Gram, Precision::F64),
    ("mixed_gram_still", AnalysisMode::Static, Pass::Gram, Precision::Mixed),
];

/// Times kernels on samples of (frames, angles) that lie on the device.
///
/// # Errors
/// Where the GPU fails.
pub fn speeds(open: Open<'_>, info: Option<&DeviceInfo>, shape: (usize, usize), passes: usize) -> Result<Vec<Speed>> {
    let mut out = Vec::new();
    for mode in [AnalysisMode::LaminarFlow, AnalysisMode::Static] {
        let sample = Sample::new(mode, shape);
        let mut objective = sample.objective(pool(super::cores())?)?;
        let point = sample.point();
        let (device, budget) = open()?;
        let mut gpu = GpuEngine::new(device, objective.engine(), budget)?;
        for (kernel, _, pass, precision) in KERNELS.into_iter().filter(|(_, of, ..)| *of == mode) {
            objective.engine().set_precision(precision);
            let mut best = f64::INFINITY;
            for turn in 0..=passes {
                let before = gpu.usage().kernels;
                gpu.evaluate(objective.engine(), 0, std::slice::from_ref(&point), pass)?;
                // the first one warms up
                best = if turn > 0 { best.min(gpu.usage().kernels - before) } else { best };
            }
            let limit = info.and_then(|info| info.limit(kernel));
            out.push(Speed { kernel, rate: sample.experiment.n_pairs() as f64 / best, limit });
        }
    }
    Ok(out)
}
