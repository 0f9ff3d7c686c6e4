//! Passes that give nonsense.

use super::*;
use crate::gram::{Gram, Level};

/// Its n-th answer is all NaN.
struct Sick {
    inner: Local,
    at: usize,
    made: usize,
}

impl Objective for Sick {
    fn experiment(&self) -> &Experiment {
        self.inner.experiment()
    }

    fn levels(&self) -> &[Level] {
        self.inner.levels()
    }

    fn evaluate(&mut self, level: usize, points: &[Point], pass: Pass) -> Result<Vec<Vec<Gram>>> {
        let mut grams = self.inner.evaluate(level, points, pass)?;
        self.made += 1;
        if self.made == self.at {
            grams.iter_mut().flatten().for_each(|gram| gram.0.fill(f64::NAN));
        }
        Ok(grams)
    }
}

#[test]
fn a_pass_of_nonsense_costs_a_step_and_never_the_run() {
    let experiment = measurement(AnalysisMode::Static, 220, vec![0.0, 50.0]);
    let set = Synthetic::new(experiment, vec![9000.0, -0.3, 700.0], (0.3, 1.0), 0.01, 3);
    let space = ParameterSpace::for_mode(AnalysisMode::Static);
    for robust in [None, Some(Robust { loss: crate::gram::Loss::SoftL1, sigma: 0.01 })] {
        let config = config(true);
        let task = Task { space: &space, config: &config, mode: ScalingMode::Individual, sigma: None, robust };
        let mut healthy = Sick { inner: set.objective(), at: 0, made: 0 };
        let expected = fit(&task, &mut healthy, &mut |_| {}).unwrap();
        assert!(expected.outcome.converged() && healthy.made > 8);
        for at in 1..=healthy.made {
            let mut sick = Sick { inner: set.objective(), at, made: 0 };
            let found = fit(&task, &mut sick, &mut |_| {}).unwrap();
            assert!(found.outcome.converged(), "{at} of {}: {:?}", healthy.made, found.outcome);
            for (k, error) in found.covariance.physical.iter().enumerate() {
                let (a, b) = (found.physical[k], expected.physical[k]);
                // as near as any fit that counts as converged: `LARGEST_FINAL_DECREMENT`
                assert!((a - b).abs() < 1e-2 * error, "{at} of {}: {a} {b} ± {error}", healthy.made);
            }
        }
    }
}
