#!/usr/bin/env python3
"""Simulation-based calibration of the sampler (Talts et al., arXiv:1804.06788): draws truths from the priors, simulates, samples,
and ranks every truth among the draws. If the sampler is right, the ranks are uniform.

    scripts/calibration.py [--sets N] [--valley] [--program FILE] [--jobs N]

The model is small: static, 2 angles × 40 frames, one contrast and offset, σ in the file. With --valley exponents are so near
0 that D0 and D_offset can't be told apart by the data. Prints the p value of a χ² test over
20 bins for every quantity; ends with 1 where one is below 0.01 / number of quantities. Needs h5py (scripts/setup.sh --tests).
"""
import argparse
import concurrent.futures
import json
import math
import pathlib
import random
import subprocess
import sys
import tempfile

import h5py

DRAWS, BINS = 99, 20
# (low, high, mean, deviation) of truncated normal priors
PRIORS = {
    "D0": (2000.0, 60000.0, 20000.0, 8000.0),
    "alpha": (-1.0, 1.0, -0.2, 0.3),
    "D_offset": (-5000.0, 20000.0, 3000.0, 2000.0),
    "contrast": (0.1, 0.5, 0.3, 0.05),
    "offset": (0.9, 1.1, 1.0, 0.01),
}
# instead of some of them, near exponent 0
VALLEY = {"alpha": (-0.5, 0.5, 0.0, 0.03), "D_offset": (-20000.0, 30000.0, 3000.0, 8000.0)}


def prior_draw(rng, low, high, mean, deviation):
    while True:
        value = rng.gauss(mean, deviation)
        if low <= value <= high:
            return value


def ranks(program, priors, number):
    """How many of DRAWS nearly independent draws lie below each truth."""
    rng = random.Random(7_000_003 + number)
    truth = {name: prior_draw(rng, *prior) for name, prior in priors.items()}
    bounds = [
        {"name": name, "min": low, "max": high, "type": "TruncatedNormal", "prior_mu": mean, "prior_sigma": deviation}
        for name, (low, high, mean, deviation) in priors.items()
    ]
    noise = 0.02
    config = {
        "analysis_mode": "static",
        "analyzer_parameters": {"dt": 0.1, "scattering": {"wavevector_q": 0.0054}},
        "experimental_data": {"file_path": "data.h5"},
        "parameter_space": {"bounds": bounds},
        "optimization": {
            "method": "nuts",
            "nuts": {"num_warmup": 300, "num_samples": 495, "seed": number},
            "nlsq": {"anti_degeneracy": {"per_angle_mode": "averaged"}},
        },
        "performance": {"computation": {"cpu_threads": 1}, "enable_progress": False},
        "output": {"formats": {"html": False, "hdf5": False}, "max_npz_entries": 0},
        "plotting": {"save_plots": False},
        "simulation": {
            "frames": 40,
            "angles": [0.0, 90.0],
            "noise": noise,
            "seed": number + 1,
            "parameters": {name: truth[name] for name in ("D0", "alpha", "D_offset")},
            "contrast": truth["contrast"],
            "offset": truth["offset"],
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "c.yaml").write_text(json.dumps(config))
        simulate = [program, "simulate", "--config", "c.yaml", "--out", "data.h5", "--layout", "native", "-q"]
        subprocess.run(simulate, cwd=folder, check=True)
        with h5py.File(folder / "data.h5", "a") as data:
            data["sigma"] = noise
        done = subprocess.run([program, "--config", "c.yaml", "-q"], cwd=folder, capture_output=True, text=True)
        if done.returncode not in (0, 4):
            raise RuntimeError(f"set {number}: exit {done.returncode}: {done.stderr}")
        with h5py.File(folder / "homodyne_results/nuts/samples.h5") as samples:
            posterior = {name: samples["posterior"][name][()] for name in truth}
    out = {}
    for name, value in truth.items():
        # every 20th of 4 × 495 draws, from all chains in turn
        thinned = [posterior[name][k % 4][5 * k] for k in range(DRAWS)]
        out[name] = sum(draw < value for draw in thinned)
    return out


def chi2_above(x, degrees):
    """P(χ² > x), by the series of the incomplete gamma function."""
    a, x = degrees / 2, x / 2
    term = total = 1 / a
    k = 0
    while term > 1e-16 * total:
        k += 1
        term *= x / (a + k)
        total += term
    return 1 - total * math.exp(-x + a * math.log(x) - math.lgamma(a)) if x > 0 else 1.0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=400)
    parser.add_argument("--valley", action="store_true")
    parser.add_argument("--program", default="target/release/homodyne-mpi")
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    program = str(pathlib.Path(asked.program).resolve())
    priors = dict(PRIORS, **VALLEY) if asked.valley else PRIORS
    with concurrent.futures.ThreadPoolExecutor(asked.jobs) as pool:
        found = list(pool.map(lambda number: ranks(program, priors, number), range(asked.sets)))
    print("| quantity | χ² over 20 bins | p |\n| --- | --- | --- |")
    least = 1.0
    for name in priors:
        counts = [0] * BINS
        for one in found:
            counts[one[name] * BINS // (DRAWS + 1)] += 1
        wanted = asked.sets / BINS
        x = sum((count - wanted) ** 2 / wanted for count in counts)
        p = chi2_above(x, BINS - 1)
        least = min(least, p)
        print(f"| {name} | {x:.1f} | {p:.3f} |")
    sys.exit(1 if least < 0.01 / len(priors) else 0)


if __name__ == "__main__":
    main()
