//! `benchmark`: what this machine can do and what the program gets out of it, as a table and as JSON.

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use crate::benchmark::{self, Engine, Machine, Plan, Row, Sample};
use crate::cluster::{MemoryLimit, World, while_others_rest};
use crate::model::AnalysisMode;
use crate::output::Table;
use crate::version::{NAME_AND_VERSION, commit};
use crate::{Error, Result, files};

/// Ranks as if from which trees are completed.
const RANKS: [usize; 5] = [2, 16, 128, 1024, 8192];
/// Repetitions of completing them.
const COMPLETIONS: usize = 30;

/// Measures on rank 0 while the other ranks rest, and the collective calls with them; prints a table on `out` and writes
/// `json`.
///
/// # Errors
/// Too little memory, a number of threads that can't be started, a file that can't be written.
pub fn benchmark(world: &World, plan: &Plan, json: Option<&Path>, out: &mut impl Write) -> Result<()> {
    let needed = Sample::bytes(plan.shape) + plan.memory as f64;
    MemoryLimit::find(None, 1)?.check_for(needed, "the benchmark needs", "try `--quick`")?;
    let (machine, mut rows) = while_others_rest(world, || measure(plan))?;
    if world.size() > 1 {
        let sample = Sample::experiment(AnalysisMode::LaminarFlow, plan.shape);
        rows.push(benchmark::reduce_over_ranks(world, &sample)?);
    }
    if let Some(path) = json {
        let text = text_of(&machine, &rows, world.size());
        files::write(path, text)?;
    }
    super::heard(print(&machine, &rows, out))
}

fn measure(plan: &Plan) -> Result<(Machine, Vec<Row>)> {
    let machine = Machine::measure(plan)?;
    let all = *plan.threads.last().unwrap_or(&1);
    let (mut passes, mut fits, mut drawn, mut others) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for mode in [AnalysisMode::LaminarFlow, AnalysisMode::Static] {
        for slow in [false, true] {
            let sample = Sample::new(mode, if slow { plan.portable_shape } else { plan.shape });
            let mut objective = sample.objective(benchmark::pool(all)?)?;
            for engine in Engine::all().into_iter().filter(|engine| engine.is_slow() == slow) {
                for &threads in &plan.threads {
                    let repetitions = plan.passes;
                    passes.extend(benchmark::passes(&sample, &mut objective, &machine, engine, threads, repetitions)?);
                }
            }
            if let Some(engine) = Engine::all().into_iter().next().filter(|engine| engine.is_slow() == slow) {
                fits.push(benchmark::fit(&sample, &mut objective, engine, all, plan.long)?);
                if !slow {
                    drawn.push(benchmark::draws(&Sample::new(mode, plan.drawn_shape), engine, all, plan.n_draws)?);
                }
            }
            if mode.has_shear() && !slow {
                others.extend(RANKS.map(|ranks| benchmark::reduce_alone(&sample.experiment, ranks, COMPLETIONS)));
            }
        }
    }
    let file = Sample::new(AnalysisMode::LaminarFlow, plan.file_shape);
    let read = benchmark::read(&file, plan.long)?;
    Ok((machine, passes.into_iter().chain(read).chain(others).chain(fits).chain(drawn).collect()))
}

fn text_of(machine: &Machine, rows: &[Row], ranks: usize) -> String {
    let value = json!({
        "program": NAME_AND_VERSION,
        "git_commit": commit(),
        "timestamp": jiff::Zoned::now().timestamp().to_string(),
        "ranks": ranks,
        "machine": machine.json(),
        "rows": rows.iter().map(Row::json).collect::<Vec<Value>>(),
    });
    // maps of strings and numbers always have a JSON form
    serde_json::to_string_pretty(&value).unwrap_or_default() + "\n"
}

/// A number of something per second, with its prefix.
pub(super) fn rate(value: f64, unit: &str) -> String {
    let (scaled, prefix) = match value {
        v if v >= 1e9 => (v / 1e9, "G"),
        v if v >= 1e6 => (v / 1e6, "M"),
        v => (v / 1e3, "k"),
    };
    format!("{scaled:.2} {prefix}{unit}/s")
}

/// A time for people.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.2} ms", s * 1e3),
        s => format!("{:.1} µs", s * 1e6),
    }
}

/// A share for people.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn some(name: Option<&str>) -> String {
    name.unwrap_or("-").to_owned()
}

fn print(machine: &Machine, rows: &[Row], out: &mut impl Write) -> std::io::Result<()> {
    print_machine(machine, out)?;
    let of = |names: &'static [&'static str]| rows.iter().filter(|row| names.contains(&row.name));

    writeln!(out, "\nPasses")?;
    let columns = ["pass", "model", "isa", "threads", "pairs", "terms", "best", "median", "rate", "of peak", "idle"];
    let mut table = Table::new(&columns, &[0, 1, 2]);
    for row in of(&["compress", "pass", "slopes", "chi2", "look"]) {
        table.row([
            row.name.to_owned(),
            row.model.to_owned(),
            some(row.isa),
            row.threads.to_string(),
            format!("{:.3} M", row.pairs / 1e6),
            format!("{:.3} M", row.number("terms") / 1e6),
            time(row.seconds.best()),
            time(row.seconds.median()),
            rate(row.rate(), ""),
            percent(row.number("products_over_fma_peak")),
            if row.more.contains_key("idle_share") { percent(row.number("idle_share")) } else { "-".into() },
        ]);
    }
    table.print(out)?;

    writeln!(out, "\nReading")?;
    let columns = ["layout", "frames", "angles", "file", "into matrices", "plain read", "of plain", "pairs"];
    let mut table = Table::new(&columns, &[0]);
    for row in of(&["read"]) {
        table.row([
            row.more["layout"].as_str().unwrap_or_default().to_owned(),
            row.more["frames"].to_string(),
            row.more["angles"].to_string(),
            super::byte_text(row.number("file_bytes") as u64),
            rate(row.number("bytes_per_second"), "B"),
            rate(row.number("raw_bytes_per_second"), "B"),
            percent(row.number("rate_over_raw")),
            rate(row.rate(), " pairs"),
        ]);
    }
    table.print(out)?;

    writeln!(out, "\nReduction of a pass on the first rank")?;
    let columns = ["from ranks", "what", "nodes", "gathered", "best", "median"];
    let mut table = Table::new(&columns, &[1]);
    for row in of(&["reduce"]) {
        let real = row.more["with_collective_calls"] == true;
        table.row([
            row.more["ranks"].to_string(),
            (if real { "broadcast, gather, trees" } else { "trees" }).to_owned(),
            row.more["nodes"].to_string(),
            super::byte_text(row.number("gathered_bytes") as u64),
            time(row.seconds.best()),
            time(row.seconds.median()),
        ]);
    }
    table.print(out)?;

    writeln!(out, "\nWhole fits of data in memory, with the search for a start")?;
    let columns = ["model", "isa", "threads", "frames", "angles", "passes", "full", "best", "median", "rate"];
    let mut table = Table::new(&columns, &[0, 1]);
    for row in of(&["fit"]) {
        table.row([
            row.model.to_owned(),
            some(row.isa),
            row.threads.to_string(),
            row.more["frames"].to_string(),
            row.more["angles"].to_string(),
            row.more["passes"].to_string(),
            row.more["full_resolution_passes"].to_string(),
            time(row.seconds.best()),
            time(row.seconds.median()),
            rate(row.rate(), " pairs"),
        ]);
    }
    table.print(out)?;

    writeln!(out, "\nDraws from the posterior, with the warm-up")?;
    let columns = ["model", "isa", "threads", "frames", "angles", "draws", "evaluations", "time", "R̂", "ESS", "ESS/s"];
    let mut table = Table::new(&columns, &[0, 1]);
    for row in of(&["draws"]) {
        table.row([
            row.model.to_owned(),
            some(row.isa),
            row.threads.to_string(),
            row.more["frames"].to_string(),
            row.more["angles"].to_string(),
            row.more["draws"].to_string(),
            row.more["evaluations"].to_string(),
            time(row.seconds.best()),
            format!("{:.3}", row.number("r_hat")),
            format!("{:.0}", row.number("ess")),
            format!("{:.0}", row.number("ess_per_second")),
        ]);
    }
    table.print(out)?;
    writeln!(out, "\n{LEGEND}")
}

const LEGEND: &str = "\
best, median: of several repetitions; other work on the machine makes them differ.
compress: from pairs in memory to the nodes that stand for them; pass, slopes, chi2: passes over nodes, for fits, draws and
  χ² alone; look: a pass over every pair.
terms: weighted pairs that are summed, eight at a time; rate: pairs that they stand for, per second.
of peak: multiply-adds that a plain way takes for the terms (under shear 70 for each of a pass or look, 49 of slopes, 31 of
  chi2; without 23, 20, 14; 20 for each pair that is compressed), over those that as many threads reach, measured in turns.
idle: share of the pass in which threads had nothing to do.
full: passes at full resolution; the others are on coarser levels.
R̂, ESS: the greatest and the least of all parameters; ESS counts the draws as if they were independent of each other.";

fn print_machine(machine: &Machine, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(out, "Machine")?;
    let mut line = |name: &str, value: String| writeln!(out, "  {name:<18}{value}");
    line("processor", if machine.processor.is_empty() { "unknown".into() } else { machine.processor.clone() })?;
    line("usable cores", machine.cores.to_string())?;
    line("memory", super::byte_text(machine.memory as u64))?;
    line("last cache", super::byte_text(machine.last_cache as u64))?;
    let several = |rates: Vec<(usize, f64)>, unit: &str| {
        let texts = rates.into_iter().map(|(threads, value)| {
            format!("{} with {threads} thread{}", rate(value, unit), if threads == 1 { "" } else { "s" })
        });
        texts.collect::<Vec<_>>().join(", ")
    };
    for (isa, rates) in machine.fma_rates() {
        line(&format!("FMA {isa}"), several(rates, "f64"))?;
    }
    let array = super::byte_text(machine.array_bytes() as u64);
    line("reading memory", format!("{} (an array of {array})", several(machine.read_rates(), "B")))
}

/// The numbers of threads to measure with: those asked for in ascending order, else one and all cores.
///
/// # Errors
/// [`Error::Usage`] for numbers far beyond the cores.
pub fn thread_counts(asked: &[usize]) -> Result<Vec<usize>> {
    let cores = benchmark::cores();
    let mut counts = if asked.is_empty() { vec![1, cores] } else { asked.to_vec() };
    counts.sort_unstable();
    counts.dedup();
    match counts.last() {
        Some(&most) if most > MOST_PER_CORE * cores => Err(Error::Usage(format!(
            "--threads {most}: this process may use {cores} cores; ask for at most {}",
            MOST_PER_CORE * cores
        ))),
        _ => Ok(counts),
    }
}

/// Threads per core that can still be meant.
const MOST_PER_CORE: usize = 4;
