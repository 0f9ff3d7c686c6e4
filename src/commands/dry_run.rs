//! `--dry-run`: what a fit would do and about how long it would take, without doing it.
//!
//! Levels, tiles and dealing are those of the run. Speeds are measured at once on all ranks (see
//! [`crate::cluster::survey`]), that of reading on the first matrix. Nothing is written.

use std::io::Write;
use std::time::Instant;

use super::fit::level_pairs;
use super::holding::{self, Holding};
use super::opening::{experiment, open};
use super::scaling::Choice;
use crate::Result;
use crate::cluster::{GB, MemoryLimit, Recorded, Setup, Share, Survey, World, survey};
use crate::config::Config;
use crate::dataset::{Dataset, TwoTime, digest, noise};
use crate::gram::Pass;
use crate::model::Experiment;
use crate::output::{self, Table};
use crate::solver::search::{REFINED, SCREENED};
use crate::text::grouped;

/// Most ranks that get a line of their own.
const MOST_LINES: usize = 16;
/// Full-resolution passes of a fit: the median over many fits (docs/validation.md).
const FINE_PASSES: f64 = 5.0;
/// Passes on a level between the coarsest and the finest.
const MIDDLE_PASSES: f64 = 4.0;
/// Evaluations of a transition of the sampler where the parameters are well determined, and more than were seen where they aren't
/// (figures in docs/sampling.md).
const STEPS: (f64, f64) = (7.0, 15.0);
/// Passes of one start that is refined on the coarsest level.
const START_PASSES: f64 = 25.0;

/// Prints the plan of the fit that the configuration asks for; called on rank 0 while the others wait for a command.
///
/// # Errors
/// Those that the run itself would end with before computing: wrong or missing input, too little memory.
pub fn dry_run(world: &World, config: &Config, out: &mut impl Write) -> Result<()> {
    let dataset = open(config)?;
    let experiment = experiment(config, &dataset)?;
    let scaling = Choice::new(config, &experiment)?;
    let threads = config.performance.threads;
    let holding = Holding::new(world, config, &experiment, &dataset);
    let precision = config.performance.precision;
    let setup = Setup {
        experiment: experiment.clone(),
        threads,
        precision,
        keeps: true,
        room: 0,
        nodes: None,
        reading: None,
        recorded: Recorded::default(),
        weighted: false,
        device: config.performance.device,
        memory_fraction: config.performance.memory_fraction,
        silence_limit: config.performance.silence_limit,
    };
    let survey = survey(world, setup, true)?;
    // where the data are too large for this node, so may be one of the matrices
    let parallel = holding.as_ref().is_ok_and(|holding| holding.reading.parallel);
    let readers = if parallel { world.size().min(experiment.n_angles()) } else { 1 };
    let (ok, threads) = (holding.is_ok(), survey.ranks[0].plan.threads);
    let reading = ok.then(|| reading_seconds(&dataset, readers, threads)).transpose()?;
    let plan = Printed {
        world,
        config,
        dataset: &dataset,
        experiment: &experiment,
        survey: &survey,
        reading,
        scaling: &scaling,
        holding: holding.as_ref().ok(),
    };
    super::heard(plan.print(out))?;
    holding.map(|_| ())
}

/// Time for reading all matrices, from that for the first, shared out among the ranks that read and their threads. It is read
/// twice: the first time the file and the memory may be cold.
fn reading_seconds(dataset: &Dataset, readers: usize, threads: usize) -> Result<f64> {
    let mut matrix = TwoTime::default();
    let mut shortest = f64::INFINITY;
    for _ in 0..2 {
        let begin = Instant::now();
        dataset.read(0, &mut matrix)?;
        noise::estimate(&matrix);
        std::hint::black_box(digest(&matrix));
        shortest = shortest.min(begin.elapsed().as_secs_f64());
    }
    let n = dataset.selected.len().div_ceil(readers);
    Ok(shortest * n.div_ceil(threads.clamp(1, n.max(1))) as f64)
}

/// A time for people who plan with it.
fn about(seconds: f64) -> String {
    match seconds {
        s if s >= 7200.0 => format!("{:.1} hours", s / 3600.0),
        s if s >= 120.0 => format!("{:.0} minutes", s / 60.0),
        s if s >= 1.0 => format!("{s:.1} s"),
        s if s >= 1e-2 => format!("{:.0} ms", s * 1e3),
        s if s >= 1e-3 => format!("{:.1} ms", s * 1e3),
        s => format!("{:.0} µs", s * 1e6),
    }
}

fn megabytes(bytes: usize) -> String {
    format!("{:.1} MB", bytes as f64 / f64::from(1 << 20))
}

struct Printed<'a> {
    world: &'a World,
    config: &'a Config,
    dataset: &'a Dataset,
    experiment: &'a Experiment,
    survey: &'a Survey,
    reading: Option<f64>,
    scaling: &'a Choice,
    /// `None` where the memory isn't enough.
    holding: Option<&'a Holding>,
}

impl Printed<'_> {
    fn print(&self, out: &mut impl Write) -> std::io::Result<()> {
        let e = self.experiment;
        let left_out = &self.dataset.left_out;
        let kept = level_pairs(&self.survey.levels, left_out);
        let mut line = |name: &str, value: String| writeln!(out, "  {name:<20}{value}");
        line("Plan", "nothing is computed or written".into())?;
        line("data", self.dataset.file.display().to_string())?;
        line(
            "fit",
            format!(
                "{} angles × {} frames, {}, {} pairs",
                e.n_angles(),
                e.n_frames,
                e.mode.name(),
                grouped(kept[0] as u64)
            ),
        )?;
        line("scaling mode", format!("{}: {}", self.scaling.mode.name(), self.scaling.reason))?;
        if !left_out.is_nothing() {
            let pairs = e.n_pairs() - kept[0] as u64;
            line("left out", format!("{}; times are as if nothing were", output::left_out(&left_out.text(), pairs)))?;
        }
        if let Some(Holding { strategy, why, keeps, .. }) = self.holding {
            line("strategy", format!("{}, {why} ({})", strategy.name(), grouped(e.n_points())))?;
            if !keeps {
                let text = "once to be compressed, once to verify the answer, and once for every pass of a robust loss; times are as \
                            if all were in memory";
                line("the file is read", text.into())?;
            }
        }
        line("ranks", self.world.size().to_string())?;
        line("memory", self.memory())?;
        self.print_levels(out)?;
        self.print_ranks(out)?;
        self.print_times(out)
    }

    fn memory(&self) -> String {
        let found = MemoryLimit::of_tightest_node(self.world, self.config.performance.memory_limit_gb);
        let on_node = found.as_ref().map_or(self.world.ranks_on_node(), |(_, ranks)| *ranks);
        let needed = holding::in_memory(self.world, on_node, self.experiment, self.dataset) / GB;
        let all = format!("{needed:.2} GB on a node with all data in memory");
        match found {
            Ok((limit, _)) => format!("{all}; {:.2} GB allowed ({})", limit.bytes / GB, limit.source),
            Err(_) => all,
        }
    }

    /// Passes that a fit makes on a level, and what kind they are.
    fn passes(&self, level: usize) -> (f64, f64) {
        let coarsest = self.survey.levels.len() - 1;
        let refined = self.config.fit.n_starts.unwrap_or(REFINED) as f64;
        match level {
            0 if coarsest > 0 => (FINE_PASSES, 0.0),
            l if l < coarsest => (MIDDLE_PASSES, 0.0),
            _ if self.config.fit.global_search => (refined * START_PASSES, SCREENED as f64),
            _ => (START_PASSES, 0.0),
        }
    }

    fn level_seconds(&self, level: usize) -> f64 {
        let (gram, chi2) = self.passes(level);
        // points of a search share their collective calls
        let shared = self.survey.exchange_seconds();
        let alone = |pass, n: f64| {
            let calls = if level + 1 == self.survey.levels.len() { n / START_PASSES } else { n };
            n * (self.survey.pass_seconds(level, pass) - shared) + calls * shared
        };
        alone(Pass::Gram, gram) + alone(Pass::Chi2, chi2)
    }

    /// The least and the most that sampling is expected to take. The chains share a pass and its collective calls, not its
    /// arithmetic.
    fn sampling_seconds(&self) -> (f64, f64) {
        let sampler = &self.config.sampler;
        let shared = self.survey.exchange_seconds();
        let pass = sampler.n_chains as f64 * (self.survey.pass_seconds(0, Pass::Gram) - shared) + shared;
        let transitions = (sampler.n_warmup + sampler.n_draws) as f64;
        (transitions * STEPS.0 * pass, transitions * STEPS.1 * pass)
    }

    fn print_levels(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(out, "\n  Levels")?;
        let columns = ["level", "frames", "tiles", "pairs", "a pass", "passes", "together"];
        let mut table = Table::new(&columns, &[]);
        for (k, level) in self.survey.levels.iter().enumerate() {
            let (gram, chi2) = self.passes(k);
            table.row([
                k.to_string(),
                level.frames.len().to_string(),
                level.plan.n_tiles().to_string(),
                grouped(level.plan.n_pairs() as u64),
                about(self.survey.pass_seconds(k, Pass::Gram)),
                format!("about {:.0}", gram + chi2),
                about(self.level_seconds(k)),
            ]);
        }
        table.print(out)
    }

    fn print_ranks(&self, out: &mut impl Write) -> std::io::Result<()> {
        let shares = &self.survey.shares[0];
        let pairs = || shares.iter().map(|s| s.pairs);
        let mean = pairs().sum::<usize>() as f64 / shares.len() as f64;
        let (least, most) = (pairs().min().unwrap_or(0), pairs().max().unwrap_or(0));
        writeln!(
            out,
            "\n  Ranks at full resolution: {} to {} pairs each, the fullest {:.2} % above the mean",
            grouped(least as u64),
            grouped(most as u64),
            100.0 * (most as f64 / mean.max(1.0) - 1.0).max(0.0)
        )?;
        let columns = ["rank", "tiles", "pairs", "bytes", "nodes", "threads", "isa", "pairs/s", "its pairs"];
        let mut table = Table::new(&columns, &[6]);
        for (k, (share, rank)) in shares.iter().zip(&self.survey.ranks).enumerate().take(MOST_LINES) {
            let rate = rank.rate.map_or(f64::NAN, |r| r.gram);
            let Share { tiles, pairs, bytes, nodes } = *share;
            table.row([
                k.to_string(),
                tiles.to_string(),
                grouped(pairs as u64),
                megabytes(bytes),
                nodes.to_string(),
                rank.plan.threads.to_string(),
                rank.instruction_set.to_owned(),
                format!("{:.3} G", rate / 1e9),
                about(self.survey.pairs_seconds(0, k, Pass::Gram)),
            ]);
        }
        table.print(out)?;
        match shares.len().saturating_sub(MOST_LINES) {
            0 => Ok(()),
            more => writeln!(out, "  … and {more} ranks more"),
        }
    }

    fn print_times(&self, out: &mut impl Write) -> std::io::Result<()> {
        let (pass, exchange) = (self.survey.pass_seconds(0, Pass::Gram), self.survey.exchange_seconds());
        let gathered: usize = self.survey.shares[0].iter().map(|s| s.nodes * size_of::<crate::gram::Gram>()).sum();
        writeln!(out, "\n  Prediction, from speeds measured just now on all ranks at once")?;
        let mut line = |name: &str, value: String| writeln!(out, "  {name:<20}{value}");
        let tables = (0..self.survey.ranks.len()).map(|rank| self.survey.tables_seconds(0, rank)).fold(0.0, f64::max);
        line("a full pass", about(pass))?;
        line("  tables", format!("{} of it, on every rank", about(tables)))?;
        line("  collective calls", format!("{} of it, with {gathered} bytes gathered", about(exchange)))?;
        let fitting: f64 = (0..self.survey.levels.len()).map(|level| self.level_seconds(level)).sum();
        if self.config.method.samples() {
            let (least, most) = self.sampling_seconds();
            let steps = format!("{} to {} evaluations a draw", STEPS.0, STEPS.1);
            line("sampling", format!("about {} to {} beside the fit, for {steps}", about(least), about(most)))?;
        }
        match self.reading {
            Some(reading) => {
                line("reading", format!("about {}, from the time for the first matrix", about(reading)))?;
                line("fitting", format!("about {}", about(fitting)))?;
                line("the whole fit", format!("about {}", about(reading + fitting)))
            }
            None => line("fitting", format!("about {}; the data don't fit into the memory", about(fitting))),
        }
    }
}
