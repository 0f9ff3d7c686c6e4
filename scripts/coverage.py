#!/usr/bin/env python3
"""How often intervals hold the truth: simulates sets with known parameters, fits (or samples) them with the program, and counts.

    scripts/coverage.py [--replicates N] [--method nlsq|nuts] [--draws N] [--valley] [--program FILE] [--jobs N]

Four kinds of sets take turns: laminar and static, each with contrast and offset `individual` and `averaged`; every other round the
noise is known (in the file), else estimated from the residuals. With --valley exponents are near zero, where amplitude and offset
can't be told apart. Needs nothing beside Python 3 and the program. Prints a Markdown table: how many of the 68.27 % and 95.45 %
intervals of every quantity hold the truth, of how many that were given, and by how many standard errors of a binomial
distribution that is off.
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

Q, GAP, DT = 0.0054, 2.0e6, 0.1
NAMES = ["D0", "alpha", "D_offset", "gamma_dot_t0", "beta", "gamma_dot_t_offset", "phi0"]
UNITS_SHOWN = (0.6827, 0.9545)


def truth_of(rng, laminar, valley):
    """Parameters such that c2 decays within the window, well inside the default bounds."""
    exponent = (lambda: rng.uniform(-0.05, 0.05)) if valley else (lambda: rng.choice([-1, 1]) * rng.uniform(0.3, 0.8))
    frames = 120 if laminar else 100
    window = frames * DT
    # q²·D·T of a few
    level = rng.uniform(2.0, 5.0) / (Q * Q * window)
    share, alpha = rng.uniform(0.1, 0.4), exponent()
    mean_power = sum((DT * (k + 0.5)) ** alpha for k in range(frames)) / frames
    values = {"D0": level * (1 - share) / mean_power, "alpha": alpha, "D_offset": level * share}
    if laminar:
        strain = rng.uniform(6.0, 12.0) / (Q * GAP * window / (2 * math.pi))
        share, beta = rng.uniform(0.1, 0.4), exponent()
        mean_power = sum((DT * (k + 0.5)) ** beta for k in range(frames)) / frames
        values.update(
            gamma_dot_t0=strain * (1 - share) / mean_power,
            beta=beta,
            gamma_dot_t_offset=strain * share,
            phi0=rng.uniform(-6, 6),
        )
    return values, frames


def derived(values, frames):
    """What follows from the parameters, as docs/results.md defines it."""
    first, last = 0.0, (frames - 1) * DT
    t_ref = max(first + (last - first) / 3, DT / 2)
    tau = [max(k * DT, DT / 2, 1e-8) for k in range(frames)]
    out = {}
    for prefix, (amplitude, exponent, offset), total in [
        ("D", ("D0", "alpha", "D_offset"), "D0_plus_D_offset"),
        ("gamma_dot", ("gamma_dot_t0", "beta", "gamma_dot_t_offset"), "gamma_dot_t0_plus_offset"),
    ]:
        if amplitude not in values:
            continue
        f0, a, off = values[amplitude], values[exponent], values[offset]
        out[prefix + "_at_t_ref"] = off + f0 * t_ref**a
        out[prefix + "_slope_at_t_ref"] = a * f0 * t_ref**a
        out[total] = f0 + off
        if prefix == "gamma_dot":
            rate = [max(f0 * t**a + off, 1e-10) for t in tau]
            out["accumulated_strain"] = DT * sum((x + y) / 2 for x, y in zip(rate, rate[1:]))
    return out


def replicate(program, number, method, valley, draws):
    """One set: name of its kind, for every quantity (inside 68 %, inside 95 %) or None where no interval was given, the verdict, and of
    draws ESS, divergences and evaluations."""
    rng = random.Random(1000 * number + 17 + (500_000_000 if valley else 0))
    laminar, individual, known = number % 2 == 0, number // 2 % 2 == 0, number // 4 % 2 == 0
    values, frames = truth_of(rng, laminar, valley)
    angles = [-75.0, -40.0, -10.0, 20.0, 50.0] if laminar else [0.0, 60.0, 120.0]
    noise = rng.uniform(0.003, 0.006)
    contrast = [round(rng.uniform(0.2, 0.4), 4) for _ in angles] if individual else [0.3] * len(angles)
    offset = [round(rng.uniform(0.98, 1.02), 4) for _ in angles] if individual else [1.0] * len(angles)
    config = {
        "analysis_mode": "laminar_flow" if laminar else "static",
        "analyzer_parameters": {
            "dt": DT,
            "scattering": {"wavevector_q": Q},
            "geometry": {"stator_rotor_gap": GAP},
        },
        "experimental_data": {"file_path": "data.h5"},
        "optimization": {
            "method": method,
            "nuts": {"num_warmup": 300, "num_samples": draws},
            "nlsq": {"anti_degeneracy": {"per_angle_mode": "individual" if individual else "averaged"}},
        },
        "performance": {"computation": {"cpu_threads": 1}, "enable_progress": False},
        "output": {"formats": {"html": False, "hdf5": False}, "max_npz_entries": 0},
        "plotting": {"save_plots": False},
        "simulation": {
            "frames": frames,
            "angles": angles,
            "noise": noise,
            "seed": number + 1,
            "parameters": values,
            "contrast": contrast,
            "offset": offset,
        },
    }
    if known:
        # nearly the truth: estimated from second differences of thousands of values
        config["noise_estimation"] = {"enabled": True}
    kind = f"{'laminar' if laminar else 'static'}, {'individual' if individual else 'averaged'}, σ {'known' if known else 'estimated'}"
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "c.yaml").write_text(json.dumps(config))
        subprocess.run([program, "simulate", "--config", "c.yaml", "--out", "data.h5", "-q"], cwd=folder, check=True)
        done = subprocess.run([program, "--config", "c.yaml", "-q"], cwd=folder, capture_output=True, text=True)
        if done.returncode not in (0, 4):
            raise RuntimeError(f"set {number}: exit {done.returncode}: {done.stderr}")
        found = intervals(folder / "homodyne_results", method)
    quality, sampled = found.pop("quality"), found.pop("sampled", None)
    truth = dict(values, **derived(values, frames))
    # of one angle alone: those of one set aren't independent
    a = number % len(angles)
    truth[f"contrast_{a}"], truth[f"offset_{a}"] = contrast[a], offset[a]
    if not individual:
        truth["contrast"], truth["offset"] = contrast[0], offset[0]
    out = {}
    for name, given in found.items():
        if name in truth:
            out[name] = None if given is None else tuple(low <= truth[name] <= high for low, high in given)
    return kind, out, quality, sampled


def intervals(results, method):
    """For every quantity its two intervals, or None."""
    if method == "nuts":
        summary = json.loads((results / "nuts/posterior_summary.json").read_text())
        out = {}
        for name, one in summary["quantities"].items():
            if name in ("contrast", "offset") and summary["scaling_mode"] != "averaged":
                continue
            q = one["quantiles"]
            out[name] = ((q["q15.9"], q["q84.1"]), (q["q2.3"], q["q97.7"]))
        out["quality"] = summary["verdict"]
        parameters = [one for one in summary["quantities"].values() if one["kind"] == "parameter"]
        least = min(min(one["ess_bulk"], one["ess_tail"]) for one in parameters)
        out["sampled"] = (least, summary["sampler"]["divergent"], summary["sampler"]["evaluations"])
        return out
    parameters = json.loads((results / "nlsq/parameters.json").read_text())
    analysis = json.loads((results / "nlsq/analysis_results_nlsq.json").read_text())
    entries = dict(parameters["parameters"])
    if parameters["scaling_mode"] != "averaged":
        # means over the angles, of which there is no truth
        entries = {name: one for name, one in entries.items() if name in NAMES}
    entries.update(parameters["derived"])
    for a, angle in enumerate(parameters["per_angle"]):
        if parameters["scaling_mode"] == "averaged":
            break
        for name in ("contrast", "offset"):
            entries[f"{name}_{a}"] = {"value": angle[name], "uncertainty": angle[name + "_uncertainty"]}
    out = {"quality": analysis["fit_quality"]["quality_flag"]}
    for name, one in entries.items():
        value, error = one["value"], one["uncertainty"]
        if error is not None:
            out[name] = ((value - error, value + error), (value - 2 * error, value + 2 * error))
        elif one.get("limit_68") is not None:
            out[name] = tuple(tuple(sorted((value, one[key]))) for key in ("limit_68", "limit_95"))
        else:
            out[name] = None
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replicates", type=int, default=400)
    parser.add_argument("--method", choices=["nlsq", "nuts"], default="nlsq")
    parser.add_argument("--valley", action="store_true")
    parser.add_argument("--draws", type=int, default=500, help="of every chain")
    parser.add_argument("--program", default="target/release/homodyne-mpi")
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    program = str(pathlib.Path(asked.program).resolve())
    counts, kinds, flags, draws = {}, {}, {}, []
    with concurrent.futures.ThreadPoolExecutor(asked.jobs) as pool:
        work = [pool.submit(replicate, program, n, asked.method, asked.valley, asked.draws) for n in range(asked.replicates)]
        for done in concurrent.futures.as_completed(work):
            kind, found, quality, sampled = done.result()
            draws += [sampled] if sampled else []
            flags[quality] = flags.get(quality, 0) + 1
            for name, inside in found.items():
                name = name.split("_")[0] if name.startswith(("contrast_", "offset_")) else name
                for table, key in ((counts, name), (kinds, kind)):
                    entry = table.setdefault(key, [0, 0, 0, 0])
                    entry[0] += 1
                    if inside is not None:
                        entry[1] += 1
                        entry[2] += inside[0]
                        entry[3] += inside[1]
    print("| quantity | intervals of sets | 68.27 % | off by | 95.45 % | off by |")
    print("| --- | --- | --- | --- | --- | --- |")
    worst = 0.0
    for table in (counts, kinds):
        for name, (all_sets, given, *inside) in sorted(table.items()):
            cells = []
            for hits, wanted in zip(inside, UNITS_SHOWN):
                off = (hits - wanted * given) / math.sqrt(wanted * (1 - wanted) * given) if given else float("nan")
                worst = max(worst, abs(off)) if table is counts and given else worst
                cells.append(f"{100 * hits / given:.1f} % | {off:+.1f}" if given else "– | –")
            print(f"| {name} | {given} of {all_sets} | {' | '.join(cells)} |")
    print(f"\nverdicts: {', '.join(f'{n} {flag}' for flag, n in sorted(flags.items()))}; farthest off: {worst:.1f}")
    if draws:
        ess, divergent, evaluations = (sorted(column) for column in zip(*draws))
        print(
            f"ESS of a set's worst parameter: {ess[0]:.0f} at least, {ess[len(ess) // 2]:.0f} in the middle; {sum(divergent)} divergent in "
            f"all; {evaluations[0]} to {evaluations[-1]} evaluations"
        )
    sys.exit(0)


if __name__ == "__main__":
    main()
