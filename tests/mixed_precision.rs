//! `device.precision: mixed` ends where f64 ends.

use homodyne_mpi::benchmark::{Sample, pool};
use homodyne_mpi::gram::Precision;
use homodyne_mpi::model::{AnalysisMode, ParameterSpace, ScalingMode};
use homodyne_mpi::solver::{self, Fit, FitConfig, Task};

fn fit(sample: &Sample, precision: Precision) -> Fit {
    let mut objective = sample.objective(pool(2).unwrap()).unwrap();
    objective.engine().set_precision(precision);
    let e = &sample.experiment;
    let space = ParameterSpace::for_mode(e.mode);
    let config = FitConfig { global_search: true, ..FitConfig::default() };
    let task =
        Task { space: &space, config: &config, mode: ScalingMode::automatic(e.n_angles()), sigma: None, robust: None };
    solver::fit(&task, &mut objective, &mut |_| {}).unwrap()
}

#[test]
fn parameters_agree_within_a_thousandth_of_their_errors() {
    for shape in [(400, 4), (1000, 3)] {
        let sample = Sample::new(AnalysisMode::LaminarFlow, shape);
        let (exact, mixed) = (fit(&sample, Precision::F64), fit(&sample, Precision::Mixed));
        assert!(exact.outcome.converged() && mixed.outcome.converged(), "{shape:?}: {:?}", mixed.outcome);
        let names = ["D0", "alpha", "D_offset", "gamma_dot_t0", "beta", "gamma_dot_t_offset", "phi0"];
        let mut largest = 0.0f64;
        for (k, name) in names.into_iter().enumerate() {
            let error = exact.covariance.physical[k];
            let apart = (mixed.physical[k] - exact.physical[k]).abs() / error;
            largest = largest.max(apart);
            assert!(apart < 1e-3, "{shape:?}: {name} {apart:.1e} errors apart");
        }
        println!("{shape:?}: at most {largest:.1e} errors apart");
    }
}
