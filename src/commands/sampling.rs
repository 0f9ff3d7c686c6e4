//! Draws from the posterior, after the fit around which they begin.

use std::time::{Duration, Instant};

use super::keeper::{Keeper, Watchman};
use super::stops::Stops;
use crate::checkpoint::{Journal, Recorded};
use crate::cluster::Driver;
use crate::config::{Config, Method};
use crate::gram::Objective;
use crate::model::{Experiment, ParameterSpace, ScalingMode};
use crate::sampler::summary::{Marginal, Series, Summary, series};
use crate::sampler::{Draw, Noise, Plan, Posterior, Record, sample, verify};
use crate::solver::design::Scaling;
use crate::solver::{Fit, Sigma, Weighted};
use crate::telemetry::Progress;
use crate::{Error, Result};

/// Time between two looks at how far it is.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// What is sampled, and with what.
pub(super) struct Sampling<'a> {
    pub config: &'a Config,
    pub space: &'a ParameterSpace,
    pub mode: ScalingMode,
    pub sigma: &'a Sigma,
    pub fit: &'a Fit,
    pub journal: &'a Journal,
    pub progress: &'a Progress,
}

impl Sampling<'_> {
    /// What there is to be said about it beforehand.
    pub fn remarks(&self) -> Vec<String> {
        let mut out = Vec::new();
        if let Some(robust) = &self.fit.robust {
            out.push(format!(
                "the posterior is that of Gaussian noise: the loss `{}` is for the fit alone, and outliers count in full here",
                robust.loss.name()
            ));
        }
        out
    }

    /// The noise in units of which residuals are taken, and whether it is sampled.
    fn noise(&self) -> Noise {
        let own = self.fit.covariance.s2.sqrt();
        match (self.sigma.for_errors(), self.config.sampler.sample_sigma) {
            (Some(sigma), None | Some(false)) => Noise::Known(sigma),
            (Some(_), Some(true)) => Noise::Sampled(own),
            (None, Some(false)) => Noise::Known(own),
            (None, None | Some(true)) => Noise::Sampled(own),
        }
    }

    /// Draws on all ranks; goes on from what the journal holds.
    ///
    /// # Errors
    /// A fit that there is nothing to sample around; what passes, checkpoints and requests to stop end with.
    pub fn draw(&self, driver: &mut Driver, keeper: &mut Keeper, stops: &mut Stops) -> Result<Summary> {
        let begin = Instant::now();
        let (fit, config) = (self.fit, &self.config.sampler);
        if !(fit.projected.chi2.is_finite() && fit.covariance.s2 > 0.0) {
            let message =
                "sampling can't begin: χ² of the fit is zero or not finite, so there is nothing to sample around";
            return Err(Error::Usage(message.into()));
        }
        let experiment = driver.experiment().clone();
        let scaling = Scaling::new(self.mode, &experiment.phi, self.space)?;
        let noise = self.noise();
        let (posterior, start) = Posterior::around(self.space, &scaling, fit, noise, &experiment);
        let plan = Plan::new(config, &posterior, start);
        let unresolved = self.sample(&plan, driver, keeper, stops)?;
        let record = self.journal.draws().borrow();
        let (sigma_is_sampled, seconds) = (matches!(noise, Noise::Sampled(_)), begin.elapsed().as_secs_f64());
        let marginals = self.marginals(&record, &experiment, sigma_is_sampled);
        Ok(Summary::new(&record, &experiment, config.clone(), marginals, unresolved, sigma_is_sampled, seconds))
    }

    /// Draws, and holds the last of them against every pair.
    fn sample(&self, plan: &Plan, driver: &mut Driver, keeper: &mut Keeper, stops: &mut Stops) -> Result<f64> {
        let (draws, config) = (self.journal.draws(), plan.config);
        let mut watchman = Watchman { keeper, stops, last: None };
        let mut recorded = Recorded::of_draws(driver, self.journal, &mut watchman);
        let mut objective = Weighted::new(&mut recorded, self.sigma.weights(), 1);
        self.progress.samples(&draws.borrow().progress(config));
        let mut told = Instant::now();
        sample(plan, &mut objective, draws, &mut || {
            if told.elapsed() >= TELL_EVERY {
                self.progress.samples(&draws.borrow().progress(config));
                told = Instant::now();
            }
        })?;
        // the record isn't held while passes are made: it may have to be saved
        let last: Vec<Draw> = draws.borrow().draws().iter().filter_map(|chain| chain.last().cloned()).collect();
        verify(plan, &mut objective, &last)
    }

    fn marginals(&self, record: &Record, experiment: &Experiment, sigma_is_sampled: bool) -> Vec<Marginal> {
        let compare = self.config.method == Method::Both;
        let of = |series: Series| {
            let fit = if compare { self.fit.estimate(experiment, &series.name) } else { None };
            Marginal::new(series, fit)
        };
        series(&record.draws(), experiment, self.space, self.mode, sigma_is_sampled).into_iter().map(of).collect()
    }
}
