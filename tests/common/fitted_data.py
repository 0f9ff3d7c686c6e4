"""Checks a fitted_data.npz as scripts read it, and leaves its matrices as raw float64.

    fitted_data.py FILE FOLDER K N

K angles of N frames, the first of which takes no part.
"""

import sys
from pathlib import Path

import numpy as np

file, folder, k, m = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]) - 1
data = np.load(file, allow_pickle=False)
matrices = ["c2_exp", "c2_theoretical_raw", "c2_theoretical_scaled", "c2_solver_scaled", "residuals", "residuals_normalized"]
shapes = {"phi_angles": (k,), "t1": (m,), "t2": (m,), "q": (1,)}
shapes |= {"per_angle_scaling": (k, 2), "per_angle_scaling_solver": (k, 2)}
shapes |= {name: (k, m, m) for name in matrices}
found = {name: data[name] for name in data.files}
assert {name: array.shape for name, array in found.items()} == shapes, found.keys()
assert all(array.dtype == np.float64 for array in found.values())

c2, raw = found["c2_exp"], found["c2_theoretical_raw"]
for name in matrices:
    assert np.array_equal(found[name], found[name].transpose(0, 2, 1), equal_nan=True), name
assert np.array_equal(np.isnan(found["residuals"]), np.isnan(c2))
for angle in range(k):
    known = np.isfinite(c2[angle])
    columns = np.column_stack([raw[angle][known], np.ones(known.sum())])
    line = np.linalg.lstsq(columns, c2[angle][known], rcond=None)[0]
    assert np.allclose(found["per_angle_scaling"][angle], line, rtol=1e-8), (line, found["per_angle_scaling"][angle])
    scaled = line[0] * raw[angle] + line[1]
    assert np.allclose(found["c2_theoretical_scaled"][angle], scaled, rtol=1e-8)
    contrast, offset = found["per_angle_scaling_solver"][angle]
    assert np.allclose(found["c2_solver_scaled"][angle], offset + contrast * (raw[angle] - 1), rtol=1e-14)
residuals = c2 - found["c2_theoretical_scaled"]
assert np.allclose(found["residuals"], residuals, rtol=0, atol=1e-15, equal_nan=True)
assert np.allclose(found["residuals_normalized"], residuals / (0.05 * c2), rtol=1e-12, atol=1e-15, equal_nan=True)
for name in [*matrices, "t1", "phi_angles", "q", "per_angle_scaling_solver"]:
    found[name].tofile(folder / f"{name}.f64")
