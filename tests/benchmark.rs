//! `benchmark` and `--dry-run` from outside: what they say has the promised form, and nothing else is left behind.

use crate::common::files::Sample;
use crate::common::{Outcome, alone, json, scratch, tree, with_ranks};
use serde_json::Value;

/// Every number below a value, with its path.
fn numbers(value: &Value, path: &str, found: &mut Vec<(String, f64)>) {
    match value {
        Value::Number(number) => found.push((path.to_owned(), number.as_f64().unwrap())),
        Value::Array(items) => items.iter().enumerate().for_each(|(k, v)| numbers(v, &format!("{path}[{k}]"), found)),
        Value::Object(fields) => fields.iter().for_each(|(k, v)| numbers(v, &format!("{path}.{k}"), found)),
        _ => {}
    }
}

/// Fields that may be zero.
const MAY_BE_ZERO: [&str; 2] = ["idle_share", "last_cache_bytes"];

fn assert_promised(report: &Value, threads: &[u64]) {
    let mut all = Vec::new();
    numbers(report, "", &mut all);
    for (path, number) in all {
        let zero = number == 0.0 && MAY_BE_ZERO.iter().any(|name| path.ends_with(name));
        assert!(number.is_finite() && (number > 0.0 || zero), "{path} = {number}");
    }
    let machine = &report["machine"];
    for field in ["fma_per_second_per_core", "read_bytes_per_second", "cores", "memory_bytes"] {
        assert!(machine[field].is_number(), "{field}: {machine}");
    }
    let sets: Vec<&str> = machine["isa"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
    assert!(sets.contains(&"portable"));
    let rows = report["rows"].as_array().unwrap();
    for row in rows {
        for field in ["name", "model", "precision", "isa", "threads", "pairs_per_second", "pairs_per_second_median"] {
            assert!(row.get(field).is_some(), "{field}: {row}");
        }
        assert!(["laminar_flow", "static"].contains(&row["model"].as_str().unwrap()), "{row}");
        assert!(row["pairs_per_second"].as_f64() >= row["pairs_per_second_median"].as_f64(), "{row}");
    }
    for name in ["compress", "pass", "slopes", "chi2", "look"] {
        for model in ["laminar_flow", "static"] {
            for isa in &sets {
                for &n in threads {
                    let found = rows.iter().filter(|r| {
                        r["name"] == name
                            && r["model"] == model
                            && r["isa"] == *isa
                            && r["threads"] == n
                            && r["precision"] == "f64"
                            && ["terms", "frames", "angles", "products_over_fma_peak"]
                                .iter()
                                .all(|field| r[field].is_number())
                    });
                    assert_eq!(found.count(), 1, "{name} {model} {isa} {n}");
                }
            }
        }
    }
    let of = |name: &str| rows.iter().filter(|r| r["name"] == name).collect::<Vec<_>>();
    assert_eq!(of("read").len(), 2);
    assert!(of("read").iter().all(|r| r["raw_bytes_per_second"].is_number()));
    let drawn = of("draws");
    assert!(drawn.len() == 2 && drawn.iter().all(|r| r["ess_per_second"].as_f64() > Some(1.0)), "{drawn:?}");
    assert!(drawn.iter().all(|r| r["r_hat"].as_f64() < Some(1.1)), "{drawn:?}");
    assert!(of("fit").len() == 2 && of("fit").iter().all(|r| r["converged"] == true));
}

#[test]
fn a_quick_benchmark_has_the_promised_fields() {
    let folder = scratch();
    let arguments = ["benchmark", "--quick", "--json", "b.json", "--threads", "2,1"];
    let outcome = alone(folder.path(), &arguments).success();
    assert_promised(&json(&folder.path().join("b.json")), &[1, 2]);
    for part in ["Machine", "FMA portable", "Passes", "of peak", "Reading", "Reduction", "Whole fits", "Draws"] {
        assert!(outcome.stdout.contains(part), "{part}: {outcome}");
    }
    assert_eq!(tree(folder.path()).len(), 1, "more than the file asked for was left");
}

#[test]
fn over_ranks_the_first_measures_and_all_reduce() {
    let folder = scratch();
    let arguments = ["benchmark", "--quick", "--json", "b.json", "--threads", "1"];
    let outcome = with_ranks(3, folder.path(), &arguments).success();
    assert_eq!(outcome.stdout.lines().filter(|l| *l == "Machine").count(), 1, "{outcome}");
    let report = json(&folder.path().join("b.json"));
    assert_promised(&report, &[1]);
    assert_eq!(report["ranks"], 3);
    let rows = report["rows"].as_array().unwrap();
    let real: Vec<&Value> = rows.iter().filter(|r| r["with_collective_calls"] == true).collect();
    assert!(real.len() == 1 && real[0]["ranks"] == 3, "{real:?}");
}

#[test]
fn what_a_benchmark_cannot_do_is_refused() {
    let folder = scratch();
    alone(folder.path(), &["benchmark", "--threads", "1000000"]).outcome().assert_error(2, &["1000000", "cores"]);
    let outcome = alone(folder.path(), &["benchmark", "--quick", "--threads", "1", "--json", "no/b.json"]).outcome();
    outcome.assert_error(5, &["no/b.json"]);
    assert!(tree(folder.path()).is_empty());
}

/// The whole numbers of a column of the table of ranks.
fn column(outcome: &Outcome, name: &str) -> Vec<u64> {
    let mut lines = outcome.stdout.lines().skip_while(|l| !l.trim_start().starts_with("rank "));
    let header = lines.next().unwrap_or_else(|| panic!("no table of ranks: {outcome}"));
    let place = header.split_whitespace().position(|h| h == name).unwrap();
    let rows = lines.take_while(|l| !l.trim().is_empty());
    rows.map(|l| l.split_whitespace().nth(place).unwrap().replace(',', "").parse().unwrap()).collect()
}

#[test]
fn a_dry_run_tells_the_plan_and_writes_nothing() {
    let folder = scratch();
    let folder = folder.path();
    Sample::FLOW.make(folder);
    let before = tree(folder);
    let frames = Sample::FLOW.frames as u64 - 1;
    let pairs = Sample::FLOW.angles.len() as u64 * frames * (frames - 1) / 2;
    let arguments = ["--config", "config.yaml", "--dry-run"];
    let runs = [
        (1, alone(folder, &arguments)),
        (2, with_ranks(2, folder, &arguments)),
        (3, with_ranks(3, folder, &arguments)),
    ];
    for (ranks, run) in runs {
        let outcome = run.success();
        let shares = column(&outcome, "pairs");
        assert_eq!((shares.len(), shares.iter().sum::<u64>()), (ranks, pairs), "{outcome}");
        for part in ["strategy", "STANDARD", "memory", "Levels", "a full pass", "reading", "the whole fit", "about"] {
            assert!(outcome.stdout.contains(part), "{part}: {outcome}");
        }
        assert!(!outcome.stdout.contains("NaN") && !outcome.stdout.contains("inf "), "{outcome}");
        assert_eq!(tree(folder), before, "a dry run wrote something");
    }
    let sampled = alone(folder, &["--config", "config.yaml", "--dry-run", "--method", "nuts"]).success();
    assert!(sampled.stdout.contains("sampling            about"), "{sampled}");
    let quiet = alone(folder, &["--config", "config.yaml", "--dry-run", "-q"]).success();
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""), "{quiet}");
}

#[test]
fn a_dry_run_fails_as_the_run_would() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    let run = |more: &[&str]| alone(folder, &[&["--config", "config.yaml", "--dry-run"], more].concat()).outcome();
    run(&["--data-file", "elsewhere.hdf"]).assert_error(3, &["elsewhere.hdf"]);
    run(&["--set", "performance.memory_limit_gb=1.0e-6"]).assert_error(2, &["memory_limit_gb"]);
    run(&["--threads", "100000"]).assert_error(2, &["100000 threads"]);
}
