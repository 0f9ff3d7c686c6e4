//! The state of a fit, from which another run goes on to the same bits.
//!
//! The solver does nothing but small dense algebra on Gram matrices, always the same for the same matrices. So what it got
//! since its last [`Stage`] is its state: a run that goes on begins that stage again and is given the old answers before
//! passes are made anew. Nothing else of the solver needs to be kept, and nothing can be forgotten.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::gram::{Gram, Level, Objective, Pass, Point};
use crate::model::Experiment;
use crate::sampler::Record;
use crate::solver::{OneScaling, Stage};

/// Passes on coarse levels that take less are cheaper made again than kept.
const WORTH_KEEPING: Duration = Duration::from_millis(200);
/// Most numbers of answers that a stage keeps, 64 MB: a search over thousands of angles would have gigabytes. What isn't kept a
/// restart makes anew.
const MOST_NUMBERS: usize = 8 << 20;

/// One answer of the objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Answer {
    /// Its number in the stage, from 0.
    number: u64,
    /// [`fingerprint`] of what was asked.
    question: u64,
    /// The filled part of every Gram matrix: point by point, angle by angle.
    sums: Vec<f64>,
}

/// What a fit knows so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The stage at work; `None` while the coarsest level is searched, which a run that goes on does again.
    stage: Option<Stage>,
    /// Answers since it began, but for cheap ones.
    answers: Vec<Answer>,
    /// Passes so far, by level.
    passes: Vec<u64>,
    /// Matrices that couldn't be read, and without which the answers are, by their number among those selected.
    lost: Vec<usize>,
    /// Why the stage at work fits a contrast and an offset for every angle, where one for all was refuted before it.
    refuted: Option<OneScaling>,
    /// Draws from the posterior, after the fit.
    draws: Record,
}

impl State {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        // numbers and lists of numbers always have a form
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// From bytes; `None` where they aren't a state.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }

    /// The stage at work.
    pub fn stage(&self) -> Option<&Stage> {
        self.stage.as_ref()
    }

    /// Why the stage at work fits a contrast and an offset for every angle, where one for all was refuted before it.
    pub fn refuted(&self) -> Option<OneScaling> {
        self.refuted
    }

    /// Matrices that couldn't be read, by their number among those selected.
    pub fn lost(&self) -> &[usize] {
        &self.lost
    }

    /// A fit that begins without these.
    pub fn without(lost: &[usize]) -> Self {
        Self { lost: lost.to_vec(), ..Self::default() }
    }

    /// Passes so far, by level.
    pub fn passes(&self) -> &[u64] {
        &self.passes
    }
}

/// A state that grows while a fit is made.
#[derive(Debug, Default)]
pub struct Journal {
    /// Its answers are those given in this run.
    state: RefCell<State>,
    /// Answers of an earlier run that haven't been asked for yet.
    earlier: RefCell<VecDeque<Answer>>,
    /// The last stage, by its number in this run, to which these belong.
    replayed_until: u64,
    /// Stages begun in this run.
    begun: Cell<u64>,
    /// Number of the next answer in the stage at work.
    next: Cell<u64>,
    /// What the next stage to begin says of one scaling for all angles.
    refuted: Cell<Option<OneScaling>>,
    /// Draws from the posterior; those of the state are none.
    draws: RefCell<Record>,
}

impl Journal {
    /// Of a fit that goes on from a state.
    pub fn of(mut state: State) -> Self {
        let earlier = RefCell::new(std::mem::take(&mut state.answers).into());
        let replayed_until = u64::from(state.stage.is_some());
        let draws = RefCell::new(std::mem::take(&mut state.draws));
        let refuted = Cell::new(state.refuted);
        Self {
            state: RefCell::new(state),
            earlier,
            replayed_until,
            begun: Cell::new(0),
            next: Cell::new(0),
            refuted,
            draws,
        }
    }

    /// Draws from the posterior so far.
    pub fn draws(&self) -> &RefCell<Record> {
        &self.draws
    }

    /// Passes so far, by level.
    pub fn passes(&self) -> Vec<u64> {
        self.state.borrow().passes.clone()
    }

    /// One contrast and offset for all angles are refuted: stages from now on are of a fit with own ones.
    pub fn refute(&self, found: OneScaling) {
        self.refuted.set(Some(found));
    }

    /// A new stage begins: the answers to the one before have had their say.
    pub fn begin(&self, stage: &Stage) {
        let mut state = self.state.borrow_mut();
        state.stage = Some(stage.clone());
        state.refuted = self.refuted.get();
        state.answers.clear();
        self.next.set(0);
        self.begun.set(self.begun.get() + 1);
        if self.begun.get() > self.replayed_until {
            self.earlier.borrow_mut().clear();
        }
    }

    /// The state so far, with what is known from the earlier run of what comes next.
    pub fn state(&self) -> State {
        let mut state = self.state.borrow().clone();
        state.answers.extend(self.earlier.borrow().iter().cloned());
        state.draws.clone_from(&self.draws.borrow());
        state
    }

    /// The earlier answer to a question, which has this number; `width` = how many numbers there must be.
    fn replay(&self, number: u64, question: u64, width: usize) -> Option<Vec<f64>> {
        let mut earlier = self.earlier.borrow_mut();
        earlier.front().filter(|answer| answer.number == number)?;
        let answer = earlier.pop_front()?;
        if answer.question == question && answer.sums.len() == width {
            return Some(answer.sums);
        }
        log::warn!("what the checkpoint holds isn't what the solver asks for; passes are made anew from here");
        earlier.clear();
        None
    }

    /// Keeps an answer that has been given, made anew or not, unless those of this stage have become too large; where it was cheap
    /// `answer` is `None`.
    fn keep(&self, answer: Option<Answer>) {
        let mut state = self.state.borrow_mut();
        let kept: usize = state.answers.iter().map(|kept| kept.sums.len()).sum();
        state.answers.extend(answer.filter(|answer| kept + answer.sums.len() <= MOST_NUMBERS));
    }

    fn count(&self, level: usize, n_points: usize) {
        let mut state = self.state.borrow_mut();
        let n_levels = state.passes.len().max(level + 1);
        state.passes.resize(n_levels, 0);
        state.passes[level] += n_points as u64;
    }
}

/// Looks after a fit while it is made; its errors end the fit.
pub trait Care {
    /// Called after every pass that was made, with its level.
    ///
    /// # Errors
    /// What the fit is to end with.
    fn after_pass(&mut self, level: usize, journal: &Journal) -> Result<()>;

    /// Called between the matrices that are read for a pass.
    ///
    /// # Errors
    /// What the fit is to end with.
    fn between(&mut self, journal: &Journal) -> Result<()>;
}

/// An objective whose answers are written down, and which first gives those that were.
pub struct Recorded<'o> {
    inner: &'o mut dyn Objective,
    journal: &'o Journal,
    care: &'o mut dyn Care,
    /// Whether answers are those of a fit, which are kept.
    keeps: bool,
}

impl<'o> Recorded<'o> {
    /// Writes into a journal; where that was made [of a state](Journal::of), its answers come first.
    pub fn new(inner: &'o mut dyn Objective, journal: &'o Journal, care: &'o mut dyn Care) -> Self {
        Self { inner, journal, care, keeps: true }
    }

    /// The same for a sampler, which keeps its answers itself.
    pub fn of_draws(inner: &'o mut dyn Objective, journal: &'o Journal, care: &'o mut dyn Care) -> Self {
        Self { keeps: false, ..Self::new(inner, journal, care) }
    }

    fn make(&mut self, level: usize, points: &[Point], pass: Pass) -> Result<Vec<Vec<Gram>>> {
        let (journal, care) = (self.journal, &mut *self.care);
        self.inner.evaluate_watched(level, points, pass, &mut || care.between(journal))
    }
}

impl Objective for Recorded<'_> {
    fn experiment(&self) -> &Experiment {
        self.inner.experiment()
    }

    fn levels(&self) -> &[Level] {
        self.inner.levels()
    }

    fn evaluate(&mut self, level: usize, points: &[Point], pass: Pass) -> Result<Vec<Vec<Gram>>> {
        if !self.keeps {
            // beforehand: by now the sampler has written down all that it knows
            self.care.after_pass(level, self.journal)?;
            let grams = self.make(level, points, pass)?;
            self.journal.count(level, points.len());
            return Ok(grams);
        }
        let number = self.journal.next.replace(self.journal.next.get() + 1);
        let question = fingerprint(level, points, pass);
        let width = points.len() * self.inner.experiment().n_angles() * pass.filled().len();
        if let Some(sums) = self.journal.replay(number, question, width) {
            let grams = unpack(&sums, points.len(), pass);
            self.journal.keep(Some(Answer { number, question, sums }));
            return Ok(grams);
        }
        let begin = Instant::now();
        let grams = self.make(level, points, pass)?;
        let answer = (level == 0 || begin.elapsed() > WORTH_KEEPING).then(|| {
            let mut sums = Vec::with_capacity(width);
            grams.iter().flatten().for_each(|gram| sums.extend(&gram.0[pass.filled()]));
            Answer { number, question, sums }
        });
        self.journal.keep(answer);
        self.journal.count(level, points.len());
        self.care.after_pass(level, self.journal)?;
        Ok(grams)
    }
}

fn unpack(sums: &[f64], n_points: usize, pass: Pass) -> Vec<Vec<Gram>> {
    let width = pass.filled().len();
    let gram = |values: &[f64]| {
        let mut gram = Gram::default();
        gram.0[pass.filled()].copy_from_slice(values);
        gram
    };
    let point = |values: &[f64]| values.chunks_exact(width).map(gram).collect();
    sums.chunks_exact(sums.len() / n_points.max(1)).map(point).collect()
}

/// A number that tells questions apart.
fn fingerprint(level: usize, points: &[Point], pass: Pass) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(level as u64).to_le_bytes());
    hasher.update(&pass.code().to_le_bytes());
    for point in points {
        let scaling = point.scaling.iter().flat_map(|&(contrast, offset)| [contrast, offset]);
        for value in point.physical.iter().copied().chain(scaling) {
            hasher.update(&value.to_le_bytes());
        }
    }
    let hash = *hasher.finalize().as_bytes();
    u64::from_le_bytes(std::array::from_fn(|k| hash[k]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use crate::gram::{Local, Loss};
    use crate::model::{AnalysisMode, ParameterSpace, ScalingMode, ShearConvention, TimeAxis, reference};
    use crate::solver::{Event, Fit, FitConfig, Robust, Task, fit_from};

    const FRAMES: usize = 220;

    fn objective() -> Local {
        let experiment = Experiment {
            mode: AnalysisMode::Static,
            convention: ShearConvention::Homodyne,
            q: 0.0054,
            gap: 0.0,
            dt: 0.1,
            phi: vec![0.0, 50.0],
            n_frames: FRAMES,
            time_offset: 0,
        };
        let axis = TimeAxis::without_derivatives(&experiment, &[9000.0, -0.3, 700.0]);
        let value = |angle: usize, i: usize, j: usize| {
            let noise = 0.02 * (((i * 7919 + j * 104_729 + angle) % 1009) as f64 / 1009.0 - 0.5);
            (1.0 + 0.3 * reference::shape(&experiment, &axis, angle, i, j) + noise) as f32
        };
        let row = |angle, i| (0..FRAMES).map(|j| if j > i { value(angle, i, j) } else { 0.0 }).collect::<Vec<_>>();
        let rows: Vec<Vec<Vec<f32>>> = (0..2).map(|angle| (0..FRAMES).map(|i| row(angle, i)).collect()).collect();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        Local::new(experiment.clone(), pool, |angle, i| &rows[angle][i][i + 1..]).unwrap()
    }

    /// Ends a fit after so many passes.
    struct Most {
        made: usize,
        most: usize,
    }

    impl Care for Most {
        fn after_pass(&mut self, _: usize, _: &Journal) -> Result<()> {
            self.made += 1;
            if self.made == self.most { Err(Error::Usage("stop".into())) } else { Ok(()) }
        }

        fn between(&mut self, _: &Journal) -> Result<()> {
            Ok(())
        }
    }

    /// Fits until so many passes were made, from a state on; the second part of the answer is the state then.
    fn run(inner: &mut Local, from: State, most: usize, robust: Option<Robust>) -> (Result<Fit>, State, usize) {
        let space = ParameterSpace::for_mode(AnalysisMode::Static);
        let config = FitConfig { global_search: true, ..FitConfig::default() };
        let task = Task { space: &space, config: &config, mode: ScalingMode::Individual, sigma: None, robust };
        let (stage, journal) = (from.stage().cloned(), Journal::of(from));
        let mut care = Most { made: 0, most };
        let mut recorded = Recorded::new(inner, &journal, &mut care);
        let mut observe = |event: &Event| {
            if let Event::Stage(stage) = event {
                journal.begin(stage);
            }
        };
        let fit = fit_from(stage, &task, &mut recorded, &mut observe);
        (fit, journal.state(), care.made)
    }

    #[test]
    fn a_fit_stopped_after_any_pass_ends_where_the_undisturbed_one_does() {
        for robust in [None, Some(Robust { loss: Loss::SoftL1, sigma: 1.0 })] {
            let mut inner = objective();
            let (whole, end, all) = run(&mut inner, State::default(), usize::MAX, robust);
            let whole = whole.unwrap();
            assert!(all > 8, "{all}");
            for most in 1..=all {
                let (stopped, state, made) = run(&mut inner, State::default(), most, robust);
                assert!(stopped.is_err() && made == most);
                let state = State::decode(&state.encode()).unwrap();
                let searching = state.stage().is_none();
                // stopped again at once, which loses nothing that isn't cheap
                let (_, state, _) = run(&mut inner, state, 1, robust);
                let (again, state, _) = run(&mut inner, state, usize::MAX, robust);
                let again = again.unwrap();
                assert_eq!((&again.physical, again.projected.chi2), (&whole.physical, whole.projected.chi2), "{most}");
                assert_eq!(format!("{:?}", again.covariance), format!("{:?}", whole.covariance), "{most}");
                assert_eq!(again.iterations, whole.iterations, "{most}");
                if !searching {
                    // no pass at full resolution is made twice
                    assert_eq!(state.passes()[0], end.passes()[0], "{most}");
                }
            }
        }
    }

    #[test]
    fn answers_to_other_questions_are_not_used() {
        let mut inner = objective();
        let (whole, _, all) = run(&mut inner, State::default(), usize::MAX, None);
        let (_, mut state, _) = run(&mut inner, State::default(), all - 1, None);
        assert!(!state.answers.is_empty());
        state.answers[0].question ^= 1;
        let (again, _, _) = run(&mut inner, state, usize::MAX, None);
        assert_eq!(again.unwrap().physical, whole.unwrap().physical, "made anew");
        assert_eq!(State::decode(&[1, 2, 3]), None);
    }
}
