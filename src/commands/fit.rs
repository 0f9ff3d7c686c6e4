//! `fit`, the main job: read, deal, search, refine, write.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;

use super::differences::{in_fitting, in_full_matrices};
use super::fitting::{Answer, Fitting};
use super::holding::{self, Holding};
use super::keeper::{Going, Keeper};
use super::opening::{experiment, open};
use super::reading::{self, Found};
use super::recording::{Recording, Wanted};
use super::sampling::Sampling;
use super::scaling::Choice;
use super::sigma::sigma;
use super::stops::Stops;
use super::writing::Writing;
use crate::checkpoint::{FolderLock, Journal, Purpose};
use crate::cluster::{Driver, GB, Recorded, RoundPlan, Setup, Strategy, Streaming, World, node_lines};
use crate::config::Config;
use crate::dataset::{Dataset, LeftOut};
use crate::gram::gpu::{self, DeviceChoice};
use crate::gram::{Level, Objective, Tolerance};
use crate::model::Experiment;
use crate::output::{DataSummary, Folder, Keeping, LostBlock, Report, Truth, memory_of_views};
use crate::sampler::summary::Summary;
use crate::solver::{Robust, Sigma};
use crate::telemetry::{Phases, Progress};
use crate::{Error, Result};

/// Exit code of a run that finished without reaching a minimum.
const NOT_CONVERGED: u8 = 4;

/// What the command line asks of a run, beside the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// What to go on from, and until when.
    pub going: &'a Going,
    /// What to record.
    pub record: &'a Wanted,
    /// The truth to compare with.
    pub truth: Option<&'a Path>,
}

/// Fits what the configuration says, on all ranks; called on rank 0. Results go to files, the closing report to `out`.
/// Returns the exit code: 0 when converged, 4 when not.
///
/// # Errors
/// Wrong or missing input, too little memory, an output folder that can't be written, a failing rank; [`Error::Stopped`] where
/// a signal or a deadline ends the run with a checkpoint.
pub fn fit(world: &World, config: &Config, asked: &Asked, out: &mut impl Write) -> Result<u8> {
    let begin = Instant::now();
    let recording = Recording::begin(asked.record)?;
    let mut phases = Phases::default();
    let truth = asked.truth.map(Truth::read).transpose()?;
    let dataset = phases.time("opening", || open(config))?;
    let experiment = experiment(config, &dataset)?;
    in_fitting(&experiment).iter().for_each(|line| log::info!("{line}"));
    let holding = Holding::new(world, config, &experiment, &dataset)?;
    device(config.performance.device)?;
    let scaling = Choice::new(config, &experiment)?;
    let folder = Folder::probe(&config.output.directory)?;
    let strategy = holding.strategy;
    let (going, records) = (asked.going, recording.files());
    let run = Run { world, config, experiment, strategy, holding, dataset: &dataset, truth, going, records };
    // both locks are left before the folder is, which an early end takes back
    let done = FolderLock::take(&config.output.directory, Purpose::Results).and_then(|_lock| {
        folder.tidy();
        let mut keeper = Keeper::open(config, &dataset.file, run.strategy.is_short(), asked.going, begin)?;
        let done = run.compute(&mut keeper, scaling, &folder, &mut phases, recording, out);
        match &done {
            Ok(_) => keeper.finish(),
            // the fit is done and sampling can't begin: there is nothing to go on with
            Err(Error::Usage(_)) if keeper.has_written() => keeper.finish(),
            Err(error) => keeper.leave(error),
        }
        done
    });
    done.inspect_err(|_| folder.discard())
}

/// Says why no GPU is used, before anything is read.
///
/// # Errors
/// [`Error::Device`] where one must be used and there is none.
fn device(choice: DeviceChoice) -> Result<()> {
    match (choice, gpu::available()) {
        (DeviceChoice::Cuda, Err(message)) => return Err(Error::Device { name: "GPU".into(), message }),
        (DeviceChoice::Auto, Err(reason)) => log::info!("the CPU is used: {reason}"),
        _ => {}
    }
    Ok(())
}

/// One run on rank 0.
struct Run<'a> {
    world: &'a World,
    config: &'a Config,
    experiment: Experiment,
    strategy: Strategy,
    holding: Holding,
    dataset: &'a Dataset,
    truth: Option<Truth>,
    going: &'a Going,
    /// Files that will hold what is recorded beside the results.
    records: Vec<PathBuf>,
}

impl Run<'_> {
    /// Computes on all ranks, and brings together what they recorded, however that ends.
    fn compute(
        &self,
        keeper: &mut Keeper,
        scaling: Choice,
        folder: &Folder,
        phases: &mut Phases,
        recording: Recording,
        out: &mut impl Write,
    ) -> Result<u8> {
        let streaming = self.streaming(keeper)?;
        let mut driver = self.driver(streaming, recording.of_ranks())?;
        let done = self.compute_with(&mut driver, keeper, scaling, folder, phases, out);
        let others_wait = !matches!(done, Err(Error::Rank { .. }));
        let recorded = recording.finish(others_wait.then_some(&driver));
        done.and_then(|code| recorded.map(|()| code))
    }

    fn driver(&self, streaming: Option<Streaming>, recorded: Recorded) -> Result<Driver<'_>> {
        let performance = &self.config.performance;
        let batch_pairs = self.strategy.batch_pairs().map(|pairs| self.config.streaming.batch_pairs.unwrap_or(pairs));
        let setup = Setup {
            experiment: self.experiment.clone(),
            threads: performance.threads,
            batch_pairs,
            precision: performance.precision,
            device: performance.device,
            memory_fraction: performance.memory_fraction,
            silence_limit: performance.silence_limit,
            streaming,
            recorded,
            rounds: RoundPlan::from_environment(),
            weighted: self.dataset.has_sigma_by_pair(),
        };
        Driver::new(self.world, setup)
    }

    fn compute_with(
        &self,
        driver: &mut Driver,
        keeper: &mut Keeper,
        mut scaling: Choice,
        folder: &Folder,
        phases: &mut Phases,
        out: &mut impl Write,
    ) -> Result<u8> {
        let mut warnings: Vec<String> = self.config.warnings.iter().chain(&self.dataset.warnings).cloned().collect();
        let (about_threads, notes) = driver.thread_remarks();
        about_threads.iter().for_each(|warning| log::warn!("{warning}"));
        notes.iter().for_each(|note| log::info!("{note}"));
        warnings.extend(about_threads);
        if let Some(warning) = &scaling.warning {
            log::warn!("{warning}");
            warnings.push(warning.clone());
        }
        let mut stops =
            Stops::new(driver.signals(), &self.config.output.directory, keeper.begin(), self.going.max_time);
        let mut progress = Progress::new(self.config.performance.progress);
        progress.watch(driver.pace());
        let (data, pairs, by_pair) = self
            .read(driver, &progress, &mut warnings, phases, &mut scaling, &mut || keeper.between(&mut stops))
            .and_then(|read| {
                scaling.check_size(&read.0.file, read.1.iter().sum(), self.experiment.n_angles()).map(|()| read)
            })?;
        let (sigma, about_sigma) = sigma(self.config, self.dataset, &data.noise, &pairs, by_pair.as_deref())?;
        about_sigma.iter().for_each(|warning| log::warn!("{warning}"));
        warnings.extend(about_sigma);
        let places = driver.places();
        if self.world.size() > 1 {
            node_lines(&places).iter().for_each(|line| log::info!("{line}"));
        }
        keeper.data_are(&data.hash)?;
        driver.on_batch(progress.batches(pairs.iter().sum()));
        progress.measure_by(sigma.reference);
        if sigma.by_pair {
            driver.set_sigma(&vec![sigma.reference; data.noise.len()]);
        }
        let robust = self.robust(&data, &sigma, driver, &mut warnings);
        let level_pairs = level_pairs(driver.levels(), &self.dataset.left_out);
        let n_levels = useful_levels(&level_pairs, &self.dataset.left_out);
        keeper.tell(sigma.reference, json!({ "strategy": self.strategy.name(), "ranks": self.world.size() }));
        let fitting = Fitting {
            experiment: &self.experiment,
            config: &self.config.fit,
            sigma: &sigma,
            noise: &data.noise,
            robust,
            n_levels,
            progress: &progress,
        };
        let mut state = keeper.state();
        let (answer, journal) = loop {
            // what was left out and now is there again, or the other way round
            let journal = Journal::of(state.without(driver.lost()));
            match fitting.answer(driver, &journal, (&mut *keeper, &mut stops), &mut scaling, phases) {
                Err(Error::Lost(what)) => {
                    log::warn!("{what}; they are left out, and the fit goes on from where this level began");
                    state = journal.state();
                }
                answer => break (answer?, journal),
            }
        };
        let Answer { fit, view, seen, one_scaling } = answer;
        let space = &scaling.space;
        let sampling = Sampling {
            config: self.config,
            space,
            mode: scaling.mode,
            sigma: &sigma,
            fit: &fit,
            journal: &journal,
            progress: &progress,
        };
        if self.config.method.samples() {
            sampling.remarks().into_iter().for_each(|remark| {
                log::warn!("{remark}");
                warnings.push(remark);
            });
        }
        let mut report = Report {
            config: self.config,
            experiment: &self.experiment,
            space,
            data: &data,
            sigma: &sigma,
            fit: &fit,
            scaling: scaling.mode,
            scaling_reason: scaling.reason.clone(),
            strategy: self.strategy,
            ranks: Vec::new(),
            places,
            instruction_set: driver.instruction_set(),
            gpu: driver.gpu(),
            passes: Vec::new(),
            level_pairs,
            pairs_evaluated: 0.0,
            pass_seconds: 0.0,
            finest_seconds: 0.0,
            n_batches: driver.n_batches(),
            data_bytes: driver.data_bytes(),
            kept: self.holding.keep,
            readable: 1.0,
            lost: Vec::new(),
            keeping: Keeping::default(),
            posterior: None,
            seen: Vec::new(),
            smooth: None,
            one_scaling,
            phases: Vec::new(),
            seconds: 0.0,
            timestamp: String::new(),
            warnings,
        };
        self.count(&mut report, driver, &journal, keeper, phases);
        let mut writing = Writing {
            folder,
            dataset: self.dataset,
            truth: self.truth.as_ref(),
            records: &self.records,
            view,
            seen,
            written: Vec::new(),
        };
        writing.judge(&mut report);
        let needed = memory_of_views(&report, &writing.view, driver.pool().current_num_threads());
        if let Err(error) = holding::room_for_views(self.world, &report, needed) {
            log::warn!("{error}; there will be no maps");
            writing.seen.clear();
        }
        let is_own = keeper.results().is_some_and(|timestamp| folder.is_of(timestamp));
        writing.fit(&mut report, (&driver.pool(), &progress), phases, is_own)?;
        keeper.wrote(&report.timestamp);
        if self.config.method.samples() {
            match phases.time("sampling", || sampling.draw(driver, keeper, &mut stops)) {
                Ok(summary) => report.posterior = Some(summary),
                Err(Error::Usage(why)) => {
                    progress.finish();
                    writing.print(&report, out);
                    let results = folder.results();
                    return Err(Error::Usage(format!("{why}; the results of the fit are in {}", results.display())));
                }
                Err(error) => return Err(error),
            }
            self.count(&mut report, driver, &journal, keeper, phases);
            let draws = journal.draws().borrow();
            writing.draws(&mut report, &draws.draws(), (&driver.pool(), &progress), phases)?;
            keeper.wrote(&report.timestamp);
        }
        progress.finish();
        writing.print(&report, out);
        let trusted = report.posterior.as_ref().is_none_or(Summary::is_trusted);
        Ok(if trusted && report.convergence_status() == "converged" { 0 } else { NOT_CONVERGED })
    }

    /// What a run has cost up to now, and what was lost.
    fn count(&self, report: &mut Report, driver: &Driver, journal: &Journal, keeper: &Keeper, phases: &Phases) {
        let of_level = driver.passes().iter().zip(&report.level_pairs);
        report.pairs_evaluated = of_level.map(|(&passes, &pairs)| passes as f64 * pairs as f64).sum();
        report.ranks = driver.status();
        report.passes = journal.passes();
        report.pass_seconds = driver.work().1.as_secs_f64();
        report.finest_seconds = driver.finest_seconds();
        (report.readable, report.lost) = (driver.readable(), self.lost(driver));
        report.keeping = keeper.record();
        (report.phases, report.seconds) = (phases.all(), phases.total().as_secs_f64());
        report.timestamp = jiff::Zoned::now().timestamp().to_string();
    }

    /// Pairs of the finest level that couldn't be read.
    fn lost(&self, driver: &Driver) -> Vec<LostBlock> {
        let level = &driver.levels()[0];
        let n = level.plan.per_angle();
        // frames as the file counts them, from 1
        let number = |frame: usize| frame + self.dataset.first_frame + 1;
        let block = |&(_, tile): &(usize, usize)| {
            let frames = level.frames_of(tile % n).map(|(first, last)| [number(first), number(last)]);
            LostBlock { angle: tile / n, frames }
        };
        driver.lost().iter().filter(|(level, _)| *level == 0).map(block).collect()
    }

    /// What ranks are to do with what they can't keep.
    fn streaming(&self, keeper: &mut Keeper) -> Result<Option<Streaming>> {
        let Some(keep) = self.holding.keep else { return Ok(None) };
        let folder = keeper.scratch()?;
        log::info!(
            "{}: packed data go to {}; ranks keep {:.2} GB of them each and read the rest in every pass",
            self.strategy.name(),
            folder.display(),
            keep as f64 / GB
        );
        let settings = &self.config.streaming;
        let tolerance = Tolerance { retries: settings.retries, may_lose: 1.0 - settings.min_success_rate };
        Ok(Some(Streaming { folder, keep, tolerance, lost: keeper.state().lost().to_vec() }))
    }

    /// The loss asked for, and σ for it on all ranks: the σ in use or, while that is a default, the estimated noise, one for all
    /// angles so that each counts as in least squares.
    fn robust(
        &self,
        data: &DataSummary,
        known: &Sigma,
        driver: &mut Driver,
        warnings: &mut Vec<String>,
    ) -> Option<Robust> {
        let loss = self.config.fit.loss?;
        let (mut per_angle, mut sigma) = (known.per_angle.clone(), known.reference);
        let noise = data.noise();
        if known.is_default() && noise.is_finite() && noise > 0.0 {
            sigma = noise;
            per_angle.fill(noise);
        } else if known.is_default() {
            let text = format!(
                "the noise can't be estimated, so loss `{}` measures residuals in units of {sigma}",
                loss.name()
            );
            log::warn!("{text}");
            warnings.push(text);
        }
        if !known.by_pair {
            driver.set_sigma(&per_angle);
        }
        Some(Robust { loss, sigma })
    }

    /// Reads all matrices and deals or packs them, unless an earlier run has packed them. The second part of the answer is how
    /// many pairs of each angle are fitted, the third σ of every angle where pairs have their own.
    fn read(
        &self,
        driver: &mut Driver,
        progress: &Progress,
        warnings: &mut Vec<String>,
        phases: &mut Phases,
        scaling: &mut Choice,
        between: &mut dyn FnMut() -> Result<()>,
    ) -> Result<(DataSummary, Vec<u64>, Option<Vec<f64>>)> {
        let dataset = self.dataset;
        let packed = driver.scratch().map(|folder| folder.join(Found::FILE));
        let mut earlier = packed.as_deref().and_then(Found::load);
        if earlier.is_some() && !driver.reuse()? {
            earlier = None;
        }
        let found = match (earlier, &packed) {
            (Some(found), Some(packed)) => {
                log::info!("{}: data that an earlier run has packed are used", packed.display());
                found
            }
            _ => {
                let asked = (scaling.needs_plateaus(), self.holding.reading);
                let file = (dataset, &self.config.selection);
                let found = reading::read_all(file, &self.experiment, driver, progress, phases, asked, between)?;
                packed.iter().try_for_each(|packed| found.save(packed))?;
                found
            }
        };
        for (&slot, frames) in dataset.selected.iter().zip(&found.dead_frames).filter(|(_, frames)| !frames.is_empty())
        {
            let text = dead_frames(&dataset.slots[slot].path, frames, dataset.first_frame);
            log::warn!("{text}");
            warnings.push(text);
        }
        for text in found.odd_level().into_iter().chain(found.unfilled(dataset)) {
            log::warn!("{text}");
            warnings.push(text);
        }
        for text in found.copies(dataset) {
            log::warn!("{text}");
            warnings.push(text);
        }
        scaling.hold(dataset, &self.experiment.phi, &found.plateaus)?;
        if let Some(line) = in_full_matrices(dataset.layout).filter(|_| found.any_full) {
            log::info!("{line}");
        }
        let of_angle = self.experiment.n_pairs() / self.experiment.n_angles() as u64;
        let out = found.n_missing.iter().zip(&found.n_excluded);
        let pairs = out.map(|(missing, excluded)| of_angle - missing - excluded).collect();
        let data = DataSummary {
            file: dataset.file.clone(),
            layout: dataset.layout.name(),
            q_source: dataset.q_source.clone(),
            dt_source: dataset.dt_source.clone(),
            n_file_frames: dataset.n_file_frames,
            first_frame: dataset.first_frame + 1,
            bins: dataset.selected.iter().map(|&s| dataset.slots[s].bin).collect(),
            n_missing: found.n_missing.iter().sum(),
            n_excluded: found.n_excluded.iter().sum(),
            left_out: dataset.left_out.text(),
            noise: found.noise,
            digests: found.digests,
            hash: found.hash,
        };
        let n_without: u64 = found.sigma.iter().map(|own| own.n_without).sum();
        if n_without > 0 {
            let text = format!(
                "{}: {n_without} pair(s) left out, whose σ in /sigma is missing, infinite or not positive",
                dataset.file.display()
            );
            log::warn!("{text}");
            warnings.push(text);
        }
        let sigma = found.sigma.iter().map(|own| (own.n as f64 / own.inverse).sqrt());
        Ok((data, pairs, dataset.has_sigma_by_pair().then(|| sigma.collect())))
    }
}

/// Pairs of every level that the configuration leaves in.
pub(super) fn level_pairs(levels: &[Level], left_out: &LeftOut) -> Vec<usize> {
    let kept = |level: &Level| {
        if left_out.is_nothing() {
            return level.plan.n_pairs();
        }
        level.plan.n_angles * left_out.pairs_kept(&level.frames) as usize
    };
    levels.iter().map(kept).collect()
}

/// Fewest pairs with which a coarse level of a filtered fit is worth its passes: with fewer, noise may hide the minimum, or
/// no pair of the level may have a lag that is fitted.
const FEWEST_PAIRS: usize = 2000;

/// How many levels, the finest first, have enough pairs left.
fn useful_levels(pairs: &[usize], left_out: &LeftOut) -> usize {
    let enough = |&&pairs: &&usize| left_out.is_nothing() || pairs >= FEWEST_PAIRS;
    1 + pairs[1..].iter().take_while(enough).count()
}

/// Most dead frames that a warning names.
const NAMED_FRAMES: usize = 10;

fn dead_frames(path: &str, frames: &[usize], first_frame: usize) -> String {
    let mut names: Vec<String> = frames.iter().take(NAMED_FRAMES).map(|f| (f + first_frame + 1).to_string()).collect();
    if frames.len() > NAMED_FRAMES {
        names.push("…".into());
    }
    format!("{path}: {} dead frame(s) left out: {}", frames.len(), names.join(", "))
}
