#!/usr/bin/env python3
"""The same posterior by another sampler: emcee on the pointwise model, nothing integrated out, against the program's draws.

    PYTHONPATH=~/.cache/homodyne-mpi/python python3 scripts/compare_emcee.py [--program FILE] [--steps N]

Static, 2 angles × 40 frames, own contrast and offset for each angle, σ a parameter with the prior 1/σ: eight parameters with
uniform priors within bounds. Prints means and deviations side by side, with differences in Monte Carlo errors; ends with 1 where
one is above 4. Needs NumPy, emcee and h5py (scripts/setup.sh --tests).
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import emcee
import numpy

Q, DT, FRAMES, ANGLES = 0.0054, 0.1, 40, [0.0, 90.0]
BOUNDS = {"D0": (100.0, 1e5), "alpha": (-2.0, 2.0), "D_offset": (-1e5, 1e5)}
NAMES = ["D0", "alpha", "D_offset", "sigma", "contrast_0", "contrast_1", "offset_0", "offset_1"]


def shape(values):
    """g of every pair i < j, both from the second frame on; (walkers, pairs)."""
    d0, alpha, offset = (values[:, k][:, None] for k in range(3))
    tau = numpy.maximum(numpy.arange(FRAMES) * DT, DT / 2)
    rate = numpy.maximum(d0 * tau**alpha + offset, 1e-10)
    integral = numpy.concatenate(
        [numpy.zeros((len(values), 1)), numpy.cumsum((rate[:, 1:] + rate[:, :-1]) / 2, axis=1)], axis=1
    )
    i, j = numpy.triu_indices(FRAMES - 1, 1)
    return numpy.exp(-(Q**2) * DT * (integral[:, j + 1] - integral[:, i + 1]))


def ln_density(values, pairs):
    """ln of likelihood times prior of every walker."""
    inside = numpy.ones(len(values), bool)
    for k, (low, high) in enumerate(BOUNDS.values()):
        inside &= (values[:, k] >= low) & (values[:, k] <= high)
    sigma, contrast, offset = values[:, 3], values[:, 4:6], values[:, 6:8]
    inside &= (sigma > 0) & (contrast >= 0).all(1) & (contrast <= 1).all(1)
    inside &= (offset >= 0.5).all(1) & (offset <= 1.5).all(1)
    g = shape(numpy.where(inside[:, None], values, [[1e4, 0, 0, 1, 0, 0, 1, 1]]))
    chi2 = sum(((pairs[a] - offset[:, a : a + 1] - contrast[:, a : a + 1] * g) ** 2).sum(1) for a in range(2))
    s = numpy.where(inside, sigma, 1.0)
    return numpy.where(inside, -(pairs.size + 1) * numpy.log(s) - chi2 / (2 * s * s), -numpy.inf)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default="target/release/homodyne-mpi")
    parser.add_argument("--steps", type=int, default=8000)
    asked = parser.parse_args()
    program = str(pathlib.Path(asked.program).resolve())
    config = {
        "analysis_mode": "static",
        "analyzer_parameters": {"dt": DT, "scattering": {"wavevector_q": Q}},
        "experimental_data": {"file_path": "data.h5"},
        "optimization": {
            "method": "nuts",
            "nuts": {"num_samples": 4000},
            "nlsq": {"anti_degeneracy": {"per_angle_mode": "individual"}},
        },
        "performance": {"enable_progress": False},
        "plotting": {"save_plots": False},
        "simulation": {
            "frames": FRAMES,
            "angles": ANGLES,
            "noise": 0.01,
            "seed": 5,
            "parameters": {"D0": 20000.0, "alpha": -0.6, "D_offset": 3000.0},
            "contrast": 0.3,
            "offset": 1.0,
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "c.yaml").write_text(json.dumps(config))
        subprocess.run([program, "simulate", "--config", "c.yaml", "--out", "data.h5", "-q"], cwd=folder, check=True)
        done = subprocess.run([program, "--config", "c.yaml", "-q"], cwd=folder)
        if done.returncode not in (0, 4):
            sys.exit(f"exit {done.returncode}")
        c2 = numpy.load(folder / "homodyne_results/nlsq/fitted_data.npz")["c2_exp"]
        summary = json.loads((folder / "homodyne_results/nuts/posterior_summary.json").read_text())["quantities"]
    i, j = numpy.triu_indices(FRAMES - 1, 1)
    pairs = c2[:, i, j].astype(float)
    rng = numpy.random.default_rng(1)
    centre = numpy.array([summary[name]["mean"] for name in NAMES])
    spread = numpy.array([summary[name]["sd"] for name in NAMES])
    walkers = centre + 0.5 * spread * rng.standard_normal((48, len(NAMES)))
    walkers[:, 0] = walkers[:, 0].clip(*BOUNDS["D0"])
    moves = [(emcee.moves.DEMove(), 0.8), (emcee.moves.DESnookerMove(), 0.2)]
    numpy.random.seed(1)
    sampler = emcee.EnsembleSampler(48, len(NAMES), ln_density, args=[pairs], vectorize=True, moves=moves)
    sampler.run_mcmc(walkers, asked.steps)
    chain = sampler.get_chain(discard=asked.steps // 4)
    correlated = emcee.autocorr.integrated_time(chain, quiet=True)
    n = chain.shape[0] * chain.shape[1]
    print("| parameter | emcee | program | means differ by | deviations differ by |\n| --- | --- | --- | --- | --- |")
    worst = 0.0
    for k, name in enumerate(NAMES):
        values, own = chain[:, :, k].ravel(), summary[name]
        mean, sd, ess = values.mean(), values.std(), n / correlated[k]
        by_mean = (mean - own["mean"]) / numpy.hypot(sd / numpy.sqrt(ess), own["mcse_mean"])
        # the deviation's error from the kurtosis, with the ESS of the values
        kurtosis = ((values - mean) ** 4).mean() / sd**4
        by_sd = (sd - own["sd"]) / numpy.hypot(sd * numpy.sqrt((kurtosis - 1) / (4 * ess)), own["mcse_sd"])
        worst = max(worst, abs(by_mean), abs(by_sd))
        pair = lambda m, s: f"{m:.6g} ± {s:.3g}"
        print(f"| {name} | {pair(mean, sd)} | {pair(own['mean'], own['sd'])} | {by_mean:+.1f} | {by_sd:+.1f} |")
    print(f"\nautocorrelation times {correlated.min():.0f} to {correlated.max():.0f} of {chain.shape[0]} steps")
    sys.exit(1 if worst > 4 else 0)


if __name__ == "__main__":
    main()
