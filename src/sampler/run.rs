//! All chains side by side: every pass answers all of them.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use serde::{Deserialize, Serialize};

use super::chain::{Chain, Plan, Told};
use super::{Draw, SamplerConfig};
use crate::gram::{Gram, Objective, Pass, Point};
use crate::{Error, Result};

/// What is known of one chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Kept {
    /// Between its last two transitions,
    chain: Chain,
    /// and what it was answered since: the filled part of the Gram matrices of all angles.
    answers: Vec<Vec<f64>>,
    draws: Vec<Draw>,
    /// Steps, warm-up included.
    n_steps: u64,
}

/// What a run of the sampler knows; from here another one goes on to the same bits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    chains: Vec<Kept>,
    /// Points evaluated.
    n_points: u64,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Transitions made by all chains.
    pub made: usize,
    /// Of so many.
    pub of: usize,
    /// Those of them that are warm-up, in all.
    pub warmup: usize,
    /// Draws so far whose energy ran away.
    pub diverged: usize,
    /// Mean of the chains' steps, in units of their metrics.
    pub step: f64,
    /// Mean number of passes of a transition.
    pub passes: f64,
}

impl Record {
    /// Draws of every chain.
    pub fn draws(&self) -> Vec<&[Draw]> {
        self.chains.iter().map(|kept| &kept.draws[..]).collect()
    }

    /// Whether something has been sampled.
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty()
    }

    /// Points evaluated, those before a restart included.
    pub fn n_points(&self) -> u64 {
        self.n_points
    }

    /// How far it is.
    pub fn progress(&self, config: &SamplerConfig) -> Progress {
        let made: usize = self.chains.iter().map(|kept| kept.chain.made()).sum();
        let n = self.chains.len().max(1) as f64;
        Progress {
            made,
            of: config.n_chains * (config.n_warmup + config.n_draws),
            warmup: config.n_chains * config.n_warmup,
            diverged: self.chains.iter().flat_map(|kept| &kept.draws).filter(|draw| draw.diverged).count(),
            step: self.chains.iter().map(|kept| kept.chain.step()).sum::<f64>() / n,
            passes: self.chains.iter().map(|kept| kept.n_steps).sum::<u64>() as f64 / made.max(1) as f64,
        }
    }
}

/// Between a chain and the passes that answer it.
#[derive(Default)]
struct Line {
    /// The place that the chain wants to know,
    asked: Cell<Option<Point>>,
    /// and what was found there.
    answer: Cell<Option<Vec<Gram>>>,
}

impl Line {
    /// The Gram matrices at a point: pending until they are there.
    async fn ask(&self, point: Point) -> Vec<Gram> {
        self.asked.set(Some(point));
        poll_fn(|_| self.answer.take().map_or(Poll::Pending, Poll::Ready)).await
    }
}

/// The life of one chain, as a future that is pending wherever it waits for a pass. It tells every transition; false where there is
/// no density near the fit.
async fn live(plan: &Plan<'_>, mut chain: Chain, line: &Line, tell: impl Fn(Told)) -> bool {
    let mut look = async |x: &[f64]| {
        let point = plan.posterior.point(x)?;
        plan.posterior.see(x, &line.ask(point).await)
    };
    if !chain.has_begun() {
        chain.begin(plan, &mut look).await;
    }
    while chain.has_begun() && chain.made() < plan.length() {
        let told = chain.go_on(plan, &mut look).await;
        chain = told.chain.clone();
        tell(told);
    }
    chain.has_begun()
}

fn packed(grams: &[Gram]) -> Vec<f64> {
    grams.iter().flat_map(|gram| gram.0[Pass::Slopes.filled()].iter().copied()).collect()
}

fn unpacked(sums: &[f64]) -> Vec<Gram> {
    let filled = Pass::Slopes.filled();
    let gram = |values: &[f64]| {
        let mut gram = Gram::default();
        gram.0[filled.clone()].copy_from_slice(values);
        gram
    };
    sums.chunks_exact(filled.len()).map(gram).collect()
}

/// Draws what the plan says, from where `record` stands on, into it. `observe` is called after every pass; no pass is made for what
/// the record knows already. The record isn't borrowed while a pass is made: it can be saved then, with all that is known.
///
/// # Errors
/// What the objective fails with; a fit around which the posterior has no density.
pub fn sample(
    plan: &Plan,
    objective: &mut dyn Objective,
    record: &RefCell<Record>,
    observe: &mut dyn FnMut(),
) -> Result<()> {
    if record.borrow().is_empty() {
        let begun = (0..plan.config.n_chains).map(|number| plan.chain(number)).collect::<Option<Vec<_>>>();
        let begun = begun.ok_or_else(|| nowhere("the covariance of the fit isn't positive"))?;
        let kept = |chain| Kept { chain, answers: Vec::new(), draws: Vec::new(), n_steps: 0 };
        record.borrow_mut().chains = begun.into_iter().map(kept).collect();
    }
    let begun: Vec<Chain> = record.borrow().chains.iter().map(|kept| kept.chain.clone()).collect();
    let mut known: Vec<std::vec::IntoIter<Vec<f64>>> =
        record.borrow().chains.iter().map(|kept| kept.answers.clone().into_iter()).collect();
    let lines: Vec<Line> = begun.iter().map(|_| Line::default()).collect();
    let mut lives: Vec<_> = begun
        .into_iter()
        .zip(&lines)
        .enumerate()
        .map(|(number, (chain, line))| {
            Some(Box::pin(live(plan, chain, line, move |told| record.borrow_mut().went(number, told))))
        })
        .collect();
    // nobody is woken: every chain is asked again when its answer is there
    let mut context = Context::from_waker(Waker::noop());
    loop {
        let mut asked = Vec::new();
        for (number, (life, line)) in lives.iter_mut().zip(&lines).enumerate() {
            while let Some(chain) = life {
                match chain.as_mut().poll(&mut context) {
                    Poll::Ready(true) => *life = None,
                    Poll::Ready(false) => return Err(nowhere("there is no density around the fit")),
                    Poll::Pending => match known[number].next() {
                        Some(sums) => line.answer.set(Some(unpacked(&sums))),
                        None => {
                            asked.extend(line.asked.take().map(|point| (number, point)));
                            break;
                        }
                    },
                }
            }
        }
        if asked.is_empty() {
            return Ok(());
        }
        let (numbers, points): (Vec<usize>, Vec<Point>) = asked.into_iter().unzip();
        let sums = objective.evaluate(0, &points, Pass::Slopes)?;
        record.borrow_mut().n_points += points.len() as u64;
        for (number, grams) in numbers.into_iter().zip(sums) {
            record.borrow_mut().chains[number].answers.push(packed(&grams));
            lines[number].answer.set(Some(grams));
        }
        observe();
    }
}

/// What nodes leave of ln of the density: how much its difference from what passes over every single pair give varies between these
/// draws and the fit; infinite where one of both gives no density, or there is nothing to compare.
///
/// # Errors
/// What the objective fails with.
pub fn verify(plan: &Plan, objective: &mut dyn Objective, draws: &[Draw]) -> Result<f64> {
    let places = draws.iter().map(|draw| plan.posterior.place_of(draw)).chain([plan.start.centre.clone()]);
    let (places, points): (Vec<_>, Vec<_>) =
        places.filter_map(|x| plan.posterior.point(&x).map(|point| (x, point))).unzip();
    let nodes = objective.evaluate(0, &points, Pass::Slopes)?;
    let pairs = objective.evaluate(0, &points, Pass::Exact)?;
    let mut left = Vec::new();
    for (x, (nodes, pairs)) in places.iter().zip(nodes.iter().zip(&pairs)) {
        match (plan.posterior.see(x, nodes), plan.posterior.see(x, pairs)) {
            (Some(a), Some(b)) => left.push(a.ln_density - b.ln_density),
            (None, None) => {}
            _ => return Ok(f64::INFINITY),
        }
    }
    left.sort_by(f64::total_cmp);
    Ok(if left.len() > 1 { left[left.len() - 1] - left[0] } else { f64::INFINITY })
}

fn nowhere(what: &str) -> Error {
    Error::Usage(format!("sampling can't begin: {what}"))
}

impl Record {
    /// A chain has made a transition.
    fn went(&mut self, number: usize, told: Told) {
        let kept = &mut self.chains[number];
        kept.chain = told.chain;
        kept.answers.clear();
        kept.n_steps += u64::from(told.n_steps);
        kept.draws.extend(told.draw);
    }
}
