"""Writes two-time files in the layouts of others, with the libraries that others write them with.

    layouts.py FOLDER DATA

DATA holds the golden APS-U files, which are written again in every other layout. The other files are small and each has one
peculiarity, which its name says.
"""

import io
import json
import sys
import zipfile
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
cache("cache_big_endian_f32.npz", c2_exp=c2.astype(">f4"))
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
cache("bad_promise.npz", without=["t2"])
whole_list = io.BytesIO()
np.save(whole_list, np.zeros(N))
with zipfile.ZipFile(folder / "bad_promise.npz", "a") as archive:
    archive.writestr("t2.npy", whole_list.getvalue()[:-8])
np.savez(folder / "bad_other.npz", g2=c2, tau=np.arange(3))

# APS 8-ID-I of the time of MATLAB, whose arrays lie column by column: a reader of rows finds them transposed


def matlab(name, matrices, q, phi, group="exchange", output="/exchange", half=np.triu):
    """`matrices` by bin."""
    with h5py.File(folder / name, "w") as f:
        f["xpcs/dqlist"] = np.asarray(q, float)[None, :]
        f["xpcs/dphilist"] = np.asarray(phi, float)[None, :]
        f["xpcs/output_data"] = output
        for number, c2 in matrices.items():
            stored = half(c2).T
            f.create_dataset(f"{group}/C2T_all/C2T_{number:05d}", data=stored, chunks=stored.shape, compression="gzip",
                             compression_opts=1)


def matlab_bins(name, kind="f8", **more):
    matlab(name, {b: values(b, 20).astype(kind) for b in BINS}, BINS_Q, BINS_PHI, **more)


matlab_bins("matlab.hdf")
matlab_bins("matlab_f32.hdf", kind="f4")
matlab_bins("matlab_other_half.hdf", half=np.tril)
matlab_bins("matlab_dead.hdf", half=dead)
matlab_bins("matlab_group.hdf", group="results/run_3", output=np.bytes_(b"/results/run_3"))
matlab_bins("matlab_both.hdf")
with h5py.File(folder / "matlab_both.hdf", "a") as f:
    f["exchange/C2T_all/g2_00003"] = values(0, 20)


# NXxpcs: region 1 on one ring, regions 2 to 4 on another

REGION_Q = [0.0027, 0.0054, 0.0054, 0.0054]
REGION_PHI = [0.0, 0.0, 45.0, 90.0]
SAID = {"storage_mode": "one_array_q_first", "baseline_reference": 1, "time_origin_location": "upper_left",
        "populated_elements": "all"}


def whole(n=20, kind="f8"):
    return np.array([values(k, n) for k in range(4)]).astype(kind)


def nxxpcs(name, c2=None, half=None, q=REGION_Q, phi=REGION_PHI, units="1/angstrom", without=(), **said):
    """`c2` as it is in the end, stored as the attributes say; `half` picks the populated elements."""
    said = {**SAID, **said}
    stored = whole() if c2 is None else c2
    if said["baseline_reference"] == 0:
        stored = stored - stored.dtype.type(1)
    if half is not None:
        stored = np.array([half(m) for m in stored])
    if said["time_origin_location"] == "lower_left":
        stored = stored[:, ::-1]
    said = {key: value for key, value in said.items() if key not in without}
    path = "entry/twotime/two_time_corr_func"
    with h5py.File(folder / name, "w") as f:
        f["entry/definition"] = "NXxpcs"
        if said.get("storage_mode") == "data_exchange_keys":
            for number, matrix in enumerate(stored, 1):
                f[f"{path}/g2_{number:05d}"] = matrix
        elif said.get("storage_mode") == "one_array_q_last" or "last" in name:
            f.create_dataset(path, data=np.moveaxis(stored, 0, -1), chunks=(6, 20, 2), compression="gzip")
        else:
            f[path] = stored
        f[path].attrs.update(said)
        masks = f.require_group("entry/instrument/masks")
        for key, data, unit in [("dynamic_q_list", q, units), ("dynamic_phi_list", phi, "degree")]:
            if data is not None:
                masks[key] = np.asarray(data, float)
                if unit is not None:
                    masks[key].attrs["units"] = unit
        detector = f.require_group("entry/instrument/detector_1")
        detector["frame_time"] = 100.0
        detector["frame_time"].attrs["units"] = "ms"


def marked(c2):
    """c2 with a dead frame, a pair without correlation, and one of 0."""
    c2 = c2.copy()
    c2[:, 7, :] = c2[:, :, 7] = 1
    c2[:, 3, 9] = c2[:, 9, 3] = 1
    c2[:, 4, 11] = c2[:, 11, 4] = 0
    return c2


for mode in ["one_array_q_first", "one_array_q_last", "data_exchange_keys"]:
    for baseline in [0, 1]:
        for origin in ["upper_left", "lower_left"]:
            for populated, half in [("all", None), ("upper_half", np.triu), ("lower_half", np.tril)]:
                nxxpcs(f"nx-{mode}-{baseline}-{origin}-{populated}.h5", half=half, storage_mode=mode,
                       baseline_reference=baseline, time_origin_location=origin, populated_elements=populated)
nxxpcs("nx_f32_0.h5", whole(kind="f4"), baseline_reference=0)
nxxpcs("nx_chunked_0.h5", baseline_reference=0)
with h5py.File(folder / "nx_chunked_0.h5", "a") as f:
    path = "entry/twotime/two_time_corr_func"
    stored, said = f[path][()], dict(f[path].attrs)
    del f[path]
    f.create_dataset(path, data=stored, chunks=(1, 7, 13), compression="gzip", shuffle=True)
    f[path].attrs.update(said)
nxxpcs("nx_marked_0.h5", marked(whole()), half=np.triu, baseline_reference=0)
nxxpcs("nx_marked_f32_0.h5", marked(whole(kind="f4")), baseline_reference=0)
nxxpcs("nx_says_other_half.h5", half=np.triu, populated_elements="lower_half")
nxxpcs("nx_says_upper_left.h5", whole()[:, ::-1])
nxxpcs("nx_silent.h5", without=SAID)
nxxpcs("nx_silent_last.h5", without=SAID)
nxxpcs("nx_no_baseline_0.h5", baseline_reference=0, without=["baseline_reference"])
nxxpcs("nx_per_nm.h5", q=[10 * q for q in REGION_Q], units="nm^-1")
nxxpcs("nx_no_unit.h5", units=None)
nxxpcs("nx_no_phi.h5", phi=None)
nxxpcs("nx_cube.h5", whole(4), without=["storage_mode"])

# CHX


def chx(name, c2, bins, md=None, **more):
    with h5py.File(folder / name, "w") as f:
        md = {"acquire period": "0.1", "uid": "a1b2c3"} if md is None else md
        for key, attributes in [("md", md), ("qval_dict", bins)]:
            f.create_dataset(key, (1,), dtype="i").attrs.update({str(k): v for k, v in attributes.items()})
        f["g12b"] = np.moveaxis(c2, 0, -1)
        for key, data in more.items():
            f[key] = data


SECTORS = {k: np.array([q, phi]) for k, (q, phi) in enumerate(zip(REGION_Q, REGION_PHI))}
RINGS = {k: np.array([q]) for k, q in enumerate([0.0027, 0.0054, 0.0081, 0.0108])}
chx("chx.h5", whole(), SECTORS, iq_saxs=np.ones(5))
chx("chx_md.h5", whole(), SECTORS, {"analysis": "q_phi", "acquire period": 0.1})
chx("chx_f32.h5", whole(kind="f4"), SECTORS, iq_saxs=np.ones(5))
chx("chx_half.h5", np.array([np.tril(m) for m in whole()]), SECTORS, iq_saxs=np.ones(5))
chx("chx_dead.h5", np.array([dead(m) for m in whole()]), SECTORS, iq_saxs=np.ones(5))
chx("chx_rings.h5", whole(), RINGS)
chx("chx_unclear.h5", whole(), SECTORS)
chx("chx_grazing.h5", whole(), SECTORS, qr_1d_pds=np.ones(5))
chx("chx_grazing_md.h5", whole(), SECTORS, {"scat_geometry": "gi_saxs"})

# ESRF ID02: over t1 and t2, or over age and lag with t = age -+ lag/2


def aged(c2):
    """c2 over age, in steps of half a frame, and lag."""
    n = c2.shape[-1]
    i, j = np.triu_indices(n)
    out = np.full((len(c2), 2 * n - 1, n), np.nan, c2.dtype)
    out[:, i + j, j - i] = c2[:, i, j]
    return out


def id02(name, c2, q=(0.027, 0.054, 0.081, 0.108), age=None, lag=None, magic="XPCSResultFile_v2.0", keys=("full",)):
    with h5py.File(folder / name, "w") as f:
        if magic is not None:
            f.attrs["MagicString"] = magic
        for key in keys:
            group = f.create_group(f"entry_0000/correlations/{key}")
            group["parameters/q"] = np.asarray(q, float)
            group["twotime/ttcf"] = c2
            for axis, times in [("age", age), ("lag", lag)]:
                if times is not None:
                    group[f"twotime/{axis}"] = np.asarray(times)


AGES, LAGS = 0.05 * np.arange(39), 0.1 * np.arange(20)
id02("id02.h5", whole())
id02("id02_upper.h5", np.array([np.triu(m) for m in whole(kind="f4")]))
id02("id02_dead.h5", np.array([dead(m) for m in whole()]))
id02("id02_aged.h5", aged(whole()), age=AGES, lag=LAGS)
id02("id02_aged_f32.h5", aged(whole(kind="f4")), age=AGES.astype("f4")[None], lag=LAGS.astype("f4")[None])
id02("id02_aged_zeros.h5", np.nan_to_num(aged(whole())), age=AGES, lag=LAGS)
killed = np.array([np.where(np.isin(np.arange(20), 7)[:, None] | np.isin(np.arange(20), 7), 0, m) for m in whole()])
id02("id02_aged_dead.h5", aged(killed), age=AGES, lag=LAGS)
id02("id02_aged_padded.h5", np.pad(aged(whole()), [(0, 0), (0, 3), (0, 2)], constant_values=np.nan),
     age=np.append(AGES, [np.nan] * 3), lag=np.append(LAGS, [np.nan] * 2))
by_start = np.zeros((4, 20, 20))
for start in range(20):
    for lag in range(20 - start):
        by_start[:, start, lag] = whole()[:, start, start + lag]
# what a square of ages and lags looks like without its axes, and with ages between the frames
id02("id02_unnamed_axes.h5", by_start)
id02("id02_between.h5", by_start, age=0.1 * np.arange(20), lag=LAGS)
id02("id02_odd_ages.h5", aged(whole()), age=0.03 * np.arange(39), lag=LAGS)
id02("id02_swapped.h5", aged(whole()).swapaxes(1, 2), age=AGES, lag=LAGS)
id02("id02_no_lag.h5", aged(whole()), age=AGES)
id02("id02_far_age.h5", aged(whole()), age=np.append(AGES[:-1], 1e7), lag=LAGS)
id02("id02_two.h5", whole(), keys=("full", "sector"))
id02("id02_other.h5", whole(), magic="XPCSResultFile_v1.0")
id02("id02_bytes.h5", whole(), magic=np.bytes_(b"XPCSResultFile_v2.0"))
id02("id02_none.h5", whole(), magic=None)

# European XFEL, midtools: trains, q, t1, t2


def euxfel(name, ttc, q=(0.027, 0.054, 0.081, 0.108), t=0.1 * np.arange(1, 20)):
    with h5py.File(folder / name, "w") as f:
        group = f.create_group("train_resolved/correlation")
        group["q"], group["t"], group["ttc"] = np.asarray(q, "f4"), np.asarray(t), ttc


euxfel("xfel.h5", whole()[None].astype("f4"))
euxfel("xfel_3d.h5", whole())
trains = np.stack([whole() - 0.25, np.full((4, 20, 20), -100.0), whole() + 0.25, np.array([np.triu(m) for m in whole()])])
trains[3, :, 5, :] = trains[3, :, :, 5] = 0
euxfel("xfel_trains.h5", trains)
euxfel("xfel_uneven.h5", whole()[None], t=0.1 * np.arange(1, 20) ** 2)

# the golden files in the layouts of others: the same values, all of them float64
for stem in ["lam", "sta"]:
    with h5py.File(data / f"{stem}_3x100_apsu.hdf", "r") as f:
        matrices = [f[f"xpcs/twotime/correlation_map/c2_{k:05d}"][()] for k in (1, 2, 3)]
    phi, n = [0.0, 45.0, 90.0], matrices[0].shape[0]
    old(f"{stem}_old.hdf", dict(zip((1, 2, 3), matrices)), [0.0054] * 3, phi)
    matlab(f"{stem}_matlab.hdf", dict(zip((1, 2, 3), matrices)), [0.0054] * 3, phi)
    full = np.array([m + m.T - np.diag(np.diag(m)) for m in matrices])
    nxxpcs(f"{stem}_nxxpcs.h5", full, np.tril, [0.0054] * 3, phi, baseline_reference=0, time_origin_location="lower_left",
           populated_elements="lower_half")
    chx(f"{stem}_chx.h5", full, {k: np.array([0.0054, angle]) for k, angle in enumerate(phi)}, iq_saxs=np.ones(5))
    id02(f"{stem}_id02.h5", full, [0.054] * 3)
    id02(f"{stem}_id02_aged.h5", aged(full), [0.054] * 3, 0.05 * np.arange(2 * n - 1), 0.1 * np.arange(n))
    euxfel(f"{stem}_xfel.h5", full[None], [0.054] * 3, 0.1 * np.arange(1, n))
    about = {"config_wavevector_q": 0.0054, "actual_wavevector_q": 0.0054, "q_count": 3, "phi_count": 3,
             "start_frame": 1, "end_frame": n}
    times = np.linspace(0, 0.1 * (n - 1), n)
    np.savez_compressed(folder / f"{stem}_cache.npz", c2_exp=full, phi_angles_list=np.array(phi), t1=times, t2=times,
                        wavevector_q_list=np.full(3, 0.0054), cache_metadata_json=np.array(json.dumps(about)))
