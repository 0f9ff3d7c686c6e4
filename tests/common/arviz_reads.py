"""What ArviZ finds in samples.h5, as JSON: dimensions and shapes of all variables, and its own summary of the posterior."""
import json
import sys
import warnings

warnings.simplefilter("ignore")
import arviz

data = arviz.from_netcdf(sys.argv[1])
found = {"groups": {}, "summary": {}}
for name in data.groups():
    group = data[name]
    found["groups"][name] = {
        variable: {"dims": list(map(str, array.dims)), "shape": list(array.shape), "attrs": dict(array.attrs)}
        for variable, array in group.data_vars.items()
    }
    found["groups"][name + "/coords"] = {str(k): v.values.tolist() for k, v in group.coords.items() if k != "draw"}
posterior = data["posterior"]
for function, key in [
    (arviz.rhat, "rhat"),
    (lambda d: arviz.ess(d, method="bulk"), "ess_bulk"),
    (lambda d: arviz.ess(d, method="tail"), "ess_tail"),
    (lambda d: arviz.mcse(d, method="mean"), "mcse_mean"),
]:
    result = function(posterior)
    for variable in posterior.data_vars:
        if posterior[variable].ndim == 2:
            found["summary"].setdefault(variable, {})[key] = float(result[variable])
found["bfmi"] = arviz.bfmi(data).tolist()
found["diverging"] = int(data["sample_stats"]["diverging"].values.sum())
json.dump(found, sys.stdout)
