"""Writes two-time files in the layouts of others, with the libraries that others write them with.

    layouts.py FOLDER DATA

DATA holds the golden APS-U files, which are written again as APS 8-ID-I (old) files and as NPZ caches. The other files are
small and each has one peculiarity, which its name says.
"""

import json
import sys
from pathlib import Path

import h5py
import numpy as np

folder, data = Path(sys.argv[1]), Path(sys.argv[2])


def values(slot, n):
    """c2 of every pair, different for every slot and pair."""
    i, j = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    return 1.0 + 0.1 * slot + 0.001 * np.minimum(i, j) + 0.00001 * np.maximum(i, j)


def old(name, matrices, q, phi, group="exchange", output="/exchange", **options):
    """`matrices` by bin."""
    with h5py.File(folder / name, "w") as f:
        f["xpcs/dqlist"] = np.asarray(q, float)[None, :]
        f["xpcs/dphilist"] = np.asarray(phi, float)[None, :]
        if output is not None:
            f["xpcs/output_data"] = output
        for number, c2 in matrices.items():
            f.create_dataset(f"{group}/C2T_all/g2_{number:05d}", data=c2, **options)


BINS_Q = [0.0027, 0.00271, 0.0053, 0.0054, 0.0055, 0.0062]
BINS_PHI = [-30, 15, 0, 45, 90, 135]
BINS = [6, 5, 4, 3, 1]


def old_bins(name, shape=np.triu, kind="f8", **more):
    old(name, {b: shape(values(b, 20)).astype(kind) for b in BINS}, BINS_Q, BINS_PHI, **more)


def dead(c2):
    c2 = np.triu(c2)
    c2[7, :] = c2[:, 7] = 0
    return c2


old_bins("old.hdf")
old_bins("old_lower_f32.hdf", np.tril, "f4", compression="gzip", chunks=(20, 20))
old_bins("old_full.hdf", lambda c2: c2)
old_bins("old_dead.hdf", dead)
old_bins("old_key.hdf", group="exchange_7", output=None)
old_bins("old_named.hdf", group="results/run_3", output=np.bytes_(b"results/run_3/"))
old_bins("old_unnamed.hdf", output="")
old_bins("old_elsewhere.hdf", output="/exchange_2")


N, START, STEP = 12, 10, 0.1
CACHE_Q = [0.0053, 0.0054, 0.0055]
CACHE_PHI = [0.0, 45.0, 90.0]


def cache(name, save=np.savez, metadata=None, without=(), **arrays):
    """A cache of three matrices of 12 frames, the 10th to the 21st of a measurement."""
    whole = {
        "wavevector_q_list": np.array(CACHE_Q),
        "phi_angles_list": np.array(CACHE_PHI),
        "t1": np.linspace(0, STEP * (N - 1), N),
        "t2": np.linspace(0, STEP * (N - 1), N),
        "c2_exp": np.array([values(k, N) for k in range(3)]),
    }
    whole.update(arrays)
    about = {
        "config_wavevector_q": 0.0054,
        "actual_wavevector_q": float(np.mean(CACHE_Q)),
        "q_variance": float(np.std(CACHE_Q)),
        "q_count": 3,
        "start_frame": START,
        "end_frame": START + N - 1,
        "phi_count": 3,
        "cache_version": "2.0",
        "selective_q_caching": True,
    }
    about.update(metadata or {})
    if "cache_metadata_json" not in whole:
        whole["cache_metadata_json"] = np.array(json.dumps(about))
    save(folder / name, **{key: value for key, value in whole.items() if key not in without})


c2 = np.array([values(k, N) for k in range(3)])
cache("cache.npz")
cache("cache_packed.npz", np.savez_compressed)
cache("cache_f32.npz", c2_exp=c2.astype("<f4"))
cache("cache_big_endian.npz", c2_exp=c2.astype(">f8"), t1=np.linspace(0, 1.1, N).astype(">f8"))
cache("cache_lower.npz", c2_exp=np.tril(c2))
gap = c2.copy()
gap[:, 4, :] = gap[:, :, 4] = 0
cache("cache_dead.npz", c2_exp=gap)
cache("cache_bytes.npz", cache_metadata_json=np.array(b'{"start_frame": 10, "end_frame": 21}'))
cache("cache_open_end.npz", metadata={"end_frame": -1})
cache("cache_bare.npz", without=["cache_metadata_json"])

# each of these is refused
cache("bad_fortran.npz", c2_exp=np.asfortranarray(c2))
cache("bad_rank.npz", c2_exp=c2[0])
cache("bad_square.npz", c2_exp=c2[:, :, :-1])
cache("bad_nothing.npz", c2_exp=c2[:, :0, :0])
cache("bad_integers.npz", c2_exp=c2.astype("i8"))
cache("bad_text.npz", c2_exp=np.array("c2"))
cache("bad_objects.npz", c2_exp=c2.astype(object))
cache("bad_pickled_metadata.npz", without=["cache_metadata_json"], cache_metadata={"start_frame": 10})
cache("bad_asymmetric.npz", c2_exp=c2 + 1e-4 * (np.indices((3, N, N))[1] > np.indices((3, N, N))[2]))
cache("bad_zeros.npz", c2_exp=np.zeros_like(c2))
for array in ["c2_exp", "phi_angles_list", "wavevector_q_list", "t1", "t2"]:
    cache(f"bad_without_{array}.npz", without=[array])
cache("bad_phi_nan.npz", phi_angles_list=np.array([0, np.nan, 90]))
cache("bad_phi_few.npz", phi_angles_list=np.array([0.0, 90.0]))
cache("bad_phi_rank.npz", phi_angles_list=np.array([CACHE_PHI]))
cache("bad_q_inf.npz", wavevector_q_list=np.array([0.0054, 0.0054, np.inf]))
cache("bad_q_zero.npz", wavevector_q_list=np.array([0.0054, 0.0, 0.0054]))
cache("bad_t1_steps.npz", t1=np.linspace(0, 1.1, N) ** 2)
cache("bad_t1_still.npz", t1=np.zeros(N))
cache("bad_t1_short.npz", t1=np.linspace(0, 1.0, N - 1))
cache("bad_t2_other.npz", t2=np.linspace(0, 2.2, N))
cache("bad_frames.npz", metadata={"end_frame": 8000})
cache("bad_frame_zero.npz", metadata={"start_frame": 0})
cache("bad_q_count.npz", metadata={"q_count": 4})
cache("bad_phi_count.npz", metadata={"phi_count": 2})
cache("bad_q_actual.npz", metadata={"actual_wavevector_q": 0.0027})
cache("bad_json.npz", cache_metadata_json=np.array("{start_frame: 10"))
cache("bad_bomb.npz", np.savez_compressed, c2_exp=np.ones((3, 600, 600)), t1=np.arange(600.0), t2=np.arange(600.0),
      metadata={"end_frame": 609})
np.savez(folder / "bad_other.npz", g2=c2, tau=np.arange(3))

# the golden files in the layouts of others: the same values, all of them float64
for stem in ["lam", "sta"]:
    with h5py.File(data / f"{stem}_3x100_apsu.hdf", "r") as f:
        matrices = [f[f"xpcs/twotime/correlation_map/c2_{k:05d}"][()] for k in (1, 2, 3)]
    phi, n = [0.0, 45.0, 90.0], matrices[0].shape[0]
    old(f"{stem}_old.hdf", dict(zip((1, 2, 3), matrices)), [0.0054] * 3, phi)
    full = np.array([m + m.T - np.diag(np.diag(m)) for m in matrices])
    about = {"config_wavevector_q": 0.0054, "actual_wavevector_q": 0.0054, "q_count": 3, "phi_count": 3,
             "start_frame": 1, "end_frame": n}
    times = np.linspace(0, 0.1 * (n - 1), n)
    np.savez_compressed(folder / f"{stem}_cache.npz", c2_exp=full, phi_angles_list=np.array(phi), t1=times, t2=times,
                        wavevector_q_list=np.full(3, 0.0054), cache_metadata_json=np.array(json.dumps(about)))
