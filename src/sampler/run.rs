//! All chains side by side: every pass answers all of them.

use std::cell::RefCell;
use std::sync::mpsc::{Receiver, Sender, channel};

use serde::{Deserialize, Serialize};

use super::chain::{Chain, Plan, Told};
use super::posterior::Seen;
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

/// What a chain says.
enum Said {
    /// It wants to know a place.
    Asks(Point),
    /// It has made a transition.
    Went(Box<Told>),
    /// It has made them all.
    Done,
    /// Nowhere near the fit is there any density.
    Nowhere,
}

/// A chain's line to the others is cut.
struct Cut;

/// The life of one chain in its thread.
fn live(plan: &Plan, mut chain: Chain, say: impl Fn(Said) -> std::result::Result<(), Cut>, hear: &Receiver<Vec<Gram>>) {
    let mut look = |x: &[f64]| -> std::result::Result<Option<Seen>, Cut> {
        let Some(point) = plan.posterior.point(x) else { return Ok(None) };
        say(Said::Asks(point))?;
        let grams = hear.recv().map_err(|_| Cut)?;
        Ok(plan.posterior.see(x, &grams))
    };
    let mut all = || {
        if !chain.has_begun() {
            chain.begin(plan, &mut look)?;
            if !chain.has_begun() {
                return say(Said::Nowhere);
            }
        }
        while chain.made() < plan.length() {
            let told = chain.clone().go_on(plan, &mut look)?;
            chain.clone_from(&told.chain);
            say(Said::Went(Box::new(told)))?;
        }
        say(Said::Done)
    };
    // a line that is cut means that nobody wants to hear of it any more
    let _ = all();
}

fn packed(grams: &[Gram]) -> Vec<f64> {
    grams.iter().flat_map(|gram| gram.0[Pass::Gram.filled()].iter().copied()).collect()
}

fn unpacked(sums: &[f64]) -> Vec<Gram> {
    let filled = Pass::Gram.filled();
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
    let (to_us, from_chains) = channel::<(usize, Said)>();
    std::thread::scope(|scope| {
        let mut lines: Vec<Option<Sender<Vec<Gram>>>> = Vec::new();
        for (number, kept) in record.borrow().chains.iter().enumerate() {
            let (answer, hear) = channel();
            lines.push(Some(answer));
            let (chain, to_us) = (kept.chain.clone(), to_us.clone());
            scope.spawn(move || live(plan, chain, |said| to_us.send((number, said)).map_err(|_| Cut), &hear));
        }
        drop(to_us);
        let mut known: Vec<std::vec::IntoIter<Vec<f64>>> =
            record.borrow().chains.iter().map(|kept| kept.answers.clone().into_iter()).collect();
        let mut asked: Vec<Option<Point>> = vec![None; lines.len()];
        // `lines` goes with an error, and with it all chains
        loop {
            // until every chain waits for an answer or is done
            while lines.iter().zip(&asked).any(|(line, asked)| line.is_some() && asked.is_none()) {
                let Ok((number, said)) = from_chains.recv() else {
                    return Err(nowhere("a chain has ended before its time"));
                };
                match said {
                    Said::Asks(point) => match known[number].next() {
                        Some(sums) => answer(&mut lines[number], unpacked(&sums)),
                        None => asked[number] = Some(point),
                    },
                    Said::Went(told) => record.borrow_mut().went(number, *told),
                    Said::Done => lines[number] = None,
                    Said::Nowhere => return Err(nowhere("there is no density around the fit")),
                }
            }
            let (numbers, points): (Vec<usize>, Vec<Point>) =
                asked.iter_mut().enumerate().filter_map(|(k, point)| Some((k, point.take()?))).unzip();
            if points.is_empty() {
                return Ok(());
            }
            let sums = objective.evaluate(0, &points, Pass::Gram)?;
            record.borrow_mut().n_points += points.len() as u64;
            for (number, grams) in numbers.into_iter().zip(sums) {
                record.borrow_mut().chains[number].answers.push(packed(&grams));
                answer(&mut lines[number], grams);
            }
            observe();
        }
    })
}

fn answer(line: &mut Option<Sender<Vec<Gram>>>, grams: Vec<Gram>) {
    // a chain that hears no more ends, which is seen when it says no more
    if let Some(line) = line {
        let _ = line.send(grams);
    }
}

fn nowhere(what: &str) -> Error {
    Error::Usage(format!("sampling can't begin: {what}; look at the fit first (--method nlsq)"))
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
