//! What a user of the Python package `homodyne` should know of this fit: where the same data give other numbers there.
//!
//! Differences in reading a file are among the notes of [`crate::dataset::Dataset`]; `docs/from-homodyne.md` lists all of
//! them with reasons.

use crate::dataset::Layout;
use crate::model::Experiment;

/// Matrix entries from which the Python package fits in another way.
const OTHER_OBJECTIVE: u64 = 1_000_000;

/// One line per difference in what is fitted.
pub(super) fn in_fitting(experiment: &Experiment) -> Vec<String> {
    let mut lines = vec![
        "every pair of frames is fitted once; the Python package fits it from both triangles, which doubles χ² and makes \
         errors √2 too small"
            .to_owned(),
    ];
    if experiment.n_points() >= OTHER_OBJECTIVE {
        lines.push(format!(
            "χ² is minimised at every size; from {OTHER_OBJECTIVE} matrix entries on the Python package minimises it with \
             weights and penalties of its own, so its minimum may be another"
        ));
    }
    lines
}

/// The difference in reading matrices whose halves are both filled, where there is one.
pub(super) fn in_full_matrices(layout: Layout) -> Option<&'static str> {
    matches!(layout, Layout::ApsU | Layout::ApsOld).then_some(
        "both halves of the matrices are filled and the pair's value is taken once; the Python package adds the halves, \
         which doubles c2 off the diagonal",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AnalysisMode, ShearConvention};

    #[test]
    fn only_large_data_have_another_objective() {
        let lines = |n_frames| {
            let experiment = Experiment {
                mode: AnalysisMode::Static,
                convention: ShearConvention::Homodyne,
                q: 0.0054,
                gap: 0.0,
                dt: 0.1,
                phi: vec![0.0],
                n_frames,
                time_offset: 0,
            };
            in_fitting(&experiment)
        };
        assert_eq!(lines(1000).len(), 1);
        assert!(lines(1001)[1].contains("from 1000000 matrix entries on"));
    }

    #[test]
    fn only_layouts_of_half_matrices_are_misread_when_full() {
        assert!(in_full_matrices(Layout::ApsU).is_some() && in_full_matrices(Layout::ApsOld).is_some());
        assert!(in_full_matrices(Layout::Native).is_none() && in_full_matrices(Layout::Npz).is_none());
    }
}
