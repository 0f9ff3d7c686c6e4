#!/usr/bin/env python3
"""Load the results of a fit with h5py and numpy, print them, and draw them with matplotlib.

    python3 plot_results.py [RESULTS] [PICTURE]

RESULTS is the folder that a fit wrote (default: ./homodyne_results), PICTURE the file to draw (default: results.png).
"""

import sys
from pathlib import Path

import h5py
import matplotlib

matplotlib.use("Agg")  # draws into files, so that no display is needed
import matplotlib.pyplot as plt
import numpy as np


def load_parameters(file):
    """Names, values, standard errors and units of the parameters in an open result.h5; an error is NaN where there is none."""
    for name, dataset in file["parameters"].items():
        yield name, dataset[()], dataset.attrs["uncertainty"], dataset.attrs["unit"]


def load_time(file):
    """Times (s) and rates by name, each with its unit: D, and the shear rate where there is one."""
    group = file["time"]
    rates = {name: (group[name][:], group[name].attrs["unit"]) for name in ("D", "gamma_dot") if name in group}
    return group["t"][:], rates


def by_lag(matrix):
    """Mean of a matrix c2(t1, t2) over all ages, by lag from one frame on; missing values are left out."""
    return np.array([np.nanmean(np.diagonal(matrix, lag)) for lag in range(1, len(matrix))])


def main():
    results = Path(sys.argv[1] if len(sys.argv) > 1 else "homodyne_results") / "nlsq"
    picture = sys.argv[2] if len(sys.argv) > 2 else "results.png"

    with h5py.File(results / "result.h5") as file:
        print(f"{file.attrs['data_file']}: {file.attrs['convergence_status']}, quality {file.attrs['quality_flag']}")
        print(f"chi-squared per degree of freedom {file.attrs['reduced_chi_squared']:.6f}")
        for name, value, error, unit in load_parameters(file):
            print(f"  {name:<20}{value:>14.6g} +- {error:<12.2g}{unit}")
        t, rates = load_time(file)
        angles = {name: file["angles"][name][:] for name in ("phi", "contrast", "contrast_uncertainty")}

    # written while it isn't too large: see output.max_npz_entries
    arrays = np.load(results / "fitted_data.npz")
    lag = arrays["t1"][1:] - arrays["t1"][0]

    figure, axes = plt.subplots(2, 2, figsize=(11, 8), constrained_layout=True)
    middle = len(arrays["phi_angles"]) // 2
    phi = arrays["phi_angles"][middle]
    image = axes[0, 0].imshow(
        arrays["c2_exp"][middle],
        origin="lower",
        extent=[arrays["t1"][0], arrays["t1"][-1], arrays["t2"][0], arrays["t2"][-1]],
        cmap="viridis",
    )
    figure.colorbar(image, ax=axes[0, 0], label="c2")
    axes[0, 0].set(title=f"data, φ = {phi:g}°", xlabel="t1 (s)", ylabel="t2 (s)")

    for k, phi in enumerate(arrays["phi_angles"]):
        (points,) = axes[0, 1].semilogx(lag, by_lag(arrays["c2_exp"][k]), ".", markersize=3, label=f"{phi:g}°")
        axes[0, 1].semilogx(lag, by_lag(arrays["c2_solver_scaled"][k]), color=points.get_color())
    axes[0, 1].set(title="averaged over all ages: data and fit", xlabel="lag (s)", ylabel="c2")
    axes[0, 1].legend(title="φ", fontsize="small")

    for name, (rate, unit) in rates.items():
        # t = 0 has no place on a logarithmic axis
        axes[1, 0].loglog(t[1:], rate[1:], label=f"{name} ({unit})")
    axes[1, 0].set(title="rates", xlabel="t (s)")
    axes[1, 0].legend()

    errors = np.nan_to_num(angles["contrast_uncertainty"])
    axes[1, 1].errorbar(angles["phi"], angles["contrast"], yerr=errors, fmt="o")
    axes[1, 1].set(title="contrast", xlabel="φ (degree)", ylabel="contrast")

    figure.savefig(picture, dpi=150)
    print(f"drawn: {picture}")


if __name__ == "__main__":
    main()
