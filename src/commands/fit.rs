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
use super::reading::{Found, Manner};
use super::recording::{Recording, Wanted};
use super::sampling::Sampling;
use super::scaling::Choice;
use super::sigma::sigma;
use super::stops::Stops;
use super::writing::Writing;
use crate::checkpoint::{FolderLock, Journal, Purpose};
use crate::cluster::{Driver, NodeFiles, Reading, Recorded, Setup, Strategy, World, node_lines};
use crate::config::Config;
use crate::dataset::{Dataset, LeftOut};
use crate::gram::gpu::{self, DeviceChoice};
use crate::gram::{Level, Objective};
use crate::model::Experiment;
use crate::output::{DataSummary, Folder, Keeping, LostMatrix, Report, Truth, memory_of_views};
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
    let mut dataset = phases.time("opening", || open(config))?;
    let (experiment, scaling, holding) = prepare(world, config, &dataset)?;
    in_fitting(&experiment).iter().for_each(|line| log::info!("{line}"));
    device(config.performance.device)?;
    let folder = Folder::probe(&config.output.directory)?;
    let strategy = holding.strategy;
    let (going, records) = (asked.going, recording.files());
    let mut recording = Some(recording);
    // both locks are left before the folder is, which an early end takes back
    let done = FolderLock::take(&config.output.directory, Purpose::Results).and_then(|_lock| {
        folder.tidy();
        let mut keeper = Keeper::open(config, &dataset.file, strategy.is_short(), asked.going, begin)?;
        let all = dataset.selected.clone();
        let mut ready = Some((experiment, scaling, holding));
        let done = loop {
            let lost = leave_out(&mut dataset, &all, keeper.lost());
            let (experiment, scaling, holding) = match ready.take().filter(|_| lost.is_empty()) {
                Some(ready) => ready,
                None => prepare(world, config, &dataset)?,
            };
            let may_lose = (1.0 - config.streaming.min_success_rate) * all.len() as f64;
            let may_lose = (may_lose.floor() as usize).min(all.len() - 1).saturating_sub(lost.len());
            let (dataset, truth, records) = (&dataset, truth.as_ref(), &records[..]);
            let run =
                Run { world, config, experiment, strategy, holding, dataset, lost, may_lose, truth, going, records };
            match run.compute(&mut keeper, scaling, &folder, &mut phases, &mut recording, out) {
                Err(Error::Lost(more)) => {
                    log::warn!("the fit begins anew without what can't be read");
                    keeper.begin_without(&more, all.len());
                }
                done => break done,
            }
        };
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

/// What is fitted of the data, how its scaling is chosen, and how the data are held.
fn prepare(world: &World, config: &Config, dataset: &Dataset) -> Result<(Experiment, Choice, Holding)> {
    let experiment = experiment(config, dataset)?;
    let holding = Holding::new(world, config, &experiment, dataset)?;
    let scaling = Choice::new(config, &experiment)?;
    Ok((experiment, scaling, holding))
}

/// Leaves these of all selected matrices out; gives what they are.
fn leave_out(dataset: &mut Dataset, all: &[usize], lost: &[usize]) -> Vec<LostMatrix> {
    let (left, rest): (Vec<usize>, Vec<usize>) = (0..all.len()).partition(|number| lost.contains(number));
    dataset.selected = rest.into_iter().map(|number| all[number]).collect();
    let of = |number: usize| {
        let slot = &dataset.slots[all[number]];
        LostMatrix { phi: slot.phi, path: slot.path.clone() }
    };
    left.into_iter().map(of).collect()
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
    /// Matrices that couldn't be read.
    lost: Vec<LostMatrix>,
    /// How many more may be left out.
    may_lose: usize,
    truth: Option<&'a Truth>,
    going: &'a Going,
    /// Files that will hold what is recorded beside the results.
    records: &'a [PathBuf],
}

impl Run<'_> {
    /// Computes on all ranks, and brings together what they recorded, however that ends but for data that are lost.
    fn compute(
        &self,
        keeper: &mut Keeper,
        scaling: Choice,
        folder: &Folder,
        phases: &mut Phases,
        recording: &mut Option<Recording>,
        out: &mut impl Write,
    ) -> Result<u8> {
        let recorded = recording.as_ref().map(Recording::of_ranks).unwrap_or_default();
        let nodes = if self.holding.keeps { None } else { keeper.nodes() };
        if !self.holding.keeps {
            log::info!(
                "{}: ranks keep nodes in place of pairs; the file is read again to verify the answer",
                self.strategy.name()
            );
        }
        let mut driver = Driver::new(self.world, self.setup(recorded, nodes, scaling.needs_plateaus()))?;
        let done = self.compute_with(&mut driver, keeper, scaling, folder, phases, out);
        let others_wait = !matches!(done, Err(Error::Rank { .. }));
        match recording.take_if(|_| !matches!(done, Err(Error::Lost(_)))) {
            Some(recording) => {
                let recorded = recording.finish(others_wait.then_some(&driver));
                done.and_then(|code| recorded.map(|()| code))
            }
            None => done,
        }
    }

    fn setup(&self, recorded: Recorded, nodes: Option<NodeFiles>, plateaus: bool) -> Setup {
        let (performance, dataset) = (&self.config.performance, self.dataset);
        let Manner { parallel, on_their_way } = self.holding.reading;
        let reading = Reading {
            // ranks needn't have the same working directory
            file: std::path::absolute(&dataset.file).unwrap_or_else(|_| dataset.file.clone()),
            identity: dataset.identity.clone(),
            selection: self.config.selection.clone(),
            matrices: dataset.selected.clone(),
            plateaus,
            parallel,
            falls_back: performance.parallel_reading.is_none(),
            on_their_way,
            retries: self.config.streaming.retries,
            may_lose: self.may_lose,
        };
        Setup {
            experiment: self.experiment.clone(),
            threads: performance.threads,
            precision: performance.precision,
            device: performance.device,
            memory_fraction: performance.memory_fraction,
            silence_limit: performance.silence_limit,
            recorded,
            weighted: dataset.has_sigma_by_pair(),
            keeps: self.holding.keeps,
            room: self.holding.room,
            nodes,
            reading: Some(reading),
        }
    }

    fn compute_with<'d>(
        &'d self,
        driver: &mut Driver<'d>,
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
        driver.on_matrix(progress.teller("reading the data again", self.experiment.n_frames));
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
        let journal = Journal::of(keeper.state());
        let answer = fitting.answer(driver, &journal, (&mut *keeper, &mut stops), &mut scaling, phases)?;
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
            n_batches: if self.strategy.is_short() { 1 } else { self.experiment.n_angles() },
            data_bytes: driver.data_bytes(),
            kept: (!self.holding.keeps).then(|| driver.held_bytes()),
            lost: self.lost.clone(),
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
            truth: self.truth,
            records: self.records,
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
        report.keeping = keeper.record();
        (report.phases, report.seconds) = (phases.all(), phases.total().as_secs_f64());
        report.timestamp = jiff::Zoned::now().timestamp().to_string();
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

    /// Has all matrices read and dealt. The second part of the answer is how many pairs of each angle are fitted, the third σ of every
    /// angle where pairs have their own.
    fn read<'d>(
        &'d self,
        driver: &mut Driver<'d>,
        progress: &Progress,
        warnings: &mut Vec<String>,
        phases: &mut Phases,
        scaling: &mut Choice,
        between: &mut dyn FnMut() -> Result<()>,
    ) -> Result<(DataSummary, Vec<u64>, Option<Vec<f64>>)> {
        let dataset = self.dataset;
        let n_angles = self.experiment.n_angles();
        let tell = progress.teller("reading", self.experiment.n_frames);
        let judged = phases.time("reading", || {
            driver.read(dataset, &mut |done| {
                tell(done, n_angles);
                between()
            })
        })?;
        let found = Found::of(judged, &self.experiment, dataset);
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
