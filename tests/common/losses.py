"""Robust losses by SciPy, pair by pair, knowing nothing of the program but its model and its answer.

    losses.py outliers DATA SHARE     replaces a share of c2 in a native file by gross outliers
    losses.py check DATA RESULTS      looks for a lower minimum near the answer in a folder of results, and prints as JSON
                                      its loss, its parameters and how far the answer's are from the truth, in errors
"""

import json
import sys

import h5py
import numpy as np
from scipy.optimize import least_squares

PARAMETERS = ["D0", "alpha", "D_offset"]


def outliers(path, share):
    rng = np.random.default_rng(17)
    with h5py.File(path, "r+") as file:
        c2 = file["c2"][:]
        for matrix in c2:
            i, j = np.triu_indices(matrix.shape[0], 1)
            hit = rng.random(i.size) < share
            by = rng.uniform(0.3, 1.0, i.size) * rng.choice([-1, 1], i.size)
            matrix[i[hit], j[hit]] += by[hit].astype(matrix.dtype)
            matrix[j, i] = matrix[i, j]
        file["c2"][...] = c2


def model(file, physical):
    """exp(-q^2 int D dt) of every fitted pair."""
    d0, alpha, d_offset = physical
    q, dt, n = file.attrs["q"], file.attrs["dt"], file["c2"].shape[-1]
    t = np.maximum(np.arange(n) * dt, dt / 2)
    rate = np.maximum(d0 * t**alpha + d_offset, 1e-10)
    running = np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2)])
    i, j = np.triu_indices(n, 1)
    i, j = i[i > 0], j[i > 0]
    return i, j, np.exp(-(q**2) * dt * (running[j] - running[i]))


def check(path, results):
    quality = json.load(open(f"{results}/nlsq/analysis_results_nlsq.json"))["fit_quality"]
    answer = json.load(open(f"{results}/nlsq/parameters.json"))
    sigma = quality["loss_sigma"]
    angle = answer["per_angle"][0]
    found = np.array([answer["parameters"][name]["value"] for name in PARAMETERS] + [angle["contrast"], angle["offset"]])
    with h5py.File(path) as file:
        i, j, _ = model(file, found[:3])
        data = file["c2"][:].astype(float)[:, i, j]

        def residuals(x):
            _, _, g = model(file, (x * found)[:3])
            return ((data - (x * found)[4] - (x * found)[3] * g) / sigma).ravel()

        best = least_squares(
            residuals, np.full(5, 1.001), jac="3-point", loss=quality["loss"], f_scale=1.0,
            xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=2000,
        )
    print(json.dumps({"loss": 2 * best.cost, "parameters": list(best.x * found), "found": list(found)}))


if sys.argv[1] == "outliers":
    outliers(sys.argv[2], float(sys.argv[3]))
else:
    check(sys.argv[2], sys.argv[3])
