//! Against ArviZ, NumPy, SciPy and mpmath.

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
fn normal_quantiles_have_their_digits() {
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
        let found = inv_beta_reg(a, b, p);
        // the gamma functions of large numbers cancel
        assert!(close(found, x, 1e-10), "{p}, {a}, {b}: {:e}", found / x - 1.0);
    }
}
