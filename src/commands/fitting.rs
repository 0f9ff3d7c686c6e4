//! A fit and the look at its residuals; a second one where the data refute what the first one took for granted.

use std::cell::RefCell;

use super::keeper::{Keeper, Watchman};
use super::scaling::Choice;
use super::stops::Stops;
use crate::checkpoint::{self, Journal};
use crate::cluster::Driver;
use crate::gram::overview::{Overview, View};
use crate::model::{Experiment, ScalingMode};
use crate::output::quality::smoothness;
use crate::output::views;
use crate::solver::{self, Event, Fit, FitConfig, OneScaling, Robust, Sigma, Task, Weighted};
use crate::telemetry::{Phases, Progress};
use crate::{Error, Result};

/// What a fit has found, and what the residuals look like there.
pub(super) struct Answer {
    pub fit: Fit,
    pub view: View,
    /// By angle; empty where the data couldn't be looked at.
    pub seen: Vec<Overview>,
    /// What own contrasts and offsets would bring, where one for all was tried.
    pub one_scaling: Option<OneScaling>,
}

/// What stays the same from fit to fit of a run.
pub(super) struct Fitting<'a> {
    pub experiment: &'a Experiment,
    pub config: &'a FitConfig,
    pub sigma: &'a Sigma,
    /// The noise of every angle, as the data show it.
    pub noise: &'a [f64],
    pub robust: Option<Robust>,
    /// How many levels, the finest first, are worth their passes.
    pub n_levels: usize,
    pub progress: &'a Progress,
}

impl Fitting<'_> {
    /// Fits, and looks at the residuals. Where `auto` has tried one contrast and offset for all angles and the data refute it, fits again
    /// with own ones, which `scaling` then says.
    ///
    /// # Errors
    /// As [`solver::fit`].
    pub fn answer(
        &self,
        driver: &mut Driver,
        journal: &Journal,
        (keeper, stops): (&mut Keeper, &mut Stops),
        scaling: &mut Choice,
        phases: &mut Phases,
    ) -> Result<Answer> {
        let state = journal.state();
        let mut stage = state.stage().cloned();
        let mut one_scaling = state.refuted();
        if let Some(refuted) = one_scaling {
            scaling.tested(&refuted);
        }
        let last = RefCell::new(None);
        if let Some(view) = views::expected(self.experiment, self.sigma, self.noise) {
            driver.look_when_verifying(&view);
        }
        loop {
            let (mode, sigma) = (scaling.mode, self.sigma.for_errors());
            let task = Task { space: &scaling.space, config: self.config, mode, sigma, robust: self.robust };
            let mut watchman = Watchman { keeper, stops, last: Some(&last) };
            let mut recorded = checkpoint::Recorded::new(driver, journal, &mut watchman);
            let mut objective = Weighted::new(&mut recorded, self.sigma.weights(), self.n_levels);
            let mut fit = phases.time("fitting", || {
                solver::fit_from(stage.take(), &task, &mut objective, &mut |event| {
                    match event {
                        Event::Stage(stage) => journal.begin(stage),
                        Event::Iteration(iteration) => *last.borrow_mut() = Some(iteration.clone()),
                        _ => {}
                    }
                    self.progress.solver(event);
                })
            })?;
            self.sigma.count_pairs(&mut fit);
            let view = views::view(self.experiment, &fit, self.sigma, self.noise);
            self.progress.doing("looking at the residuals");
            let looked = phases.time("looking", || driver.overview(&view, &mut || keeper.go_on(journal, stops)));
            let seen = match looked {
                Err(error @ (Error::Stopped(_) | Error::Lost(_))) => return Err(error),
                Err(error) => {
                    log::warn!("{error}; the residuals aren't judged, and there will be no maps");
                    Vec::new()
                }
                Ok(seen) => seen,
            };
            if mode != ScalingMode::Averaged || self.experiment.n_angles() < 2 {
                return Ok(Answer { fit, view, seen, one_scaling });
            }
            let mut watchman = Watchman { keeper, stops, last: Some(&last) };
            let mut recorded = checkpoint::Recorded::new(driver, journal, &mut watchman);
            let mut objective = Weighted::new(&mut recorded, self.sigma.weights(), self.n_levels);
            let smooth = smoothness(&seen);
            let found = phases.time("fitting", || solver::one_scaling(&task, &mut objective, &fit, smooth))?;
            one_scaling = Some(found);
            scaling.tested(&found);
            if scaling.mode == mode {
                return Ok(Answer { fit, view, seen, one_scaling });
            }
            log::info!("contrast or offset differs between the angles ({}); fitting own ones", found.text());
            journal.refute(found);
        }
    }
}
