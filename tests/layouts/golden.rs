//! The golden files, written again in the layouts of others, give the same matrices.

use std::path::Path;

use homodyne_mpi::dataset::{Dataset, Layout, Selection, TwoTime, Unsaid};

use super::support::{chosen, shown};
use crate::python::layouts;

#[test]
fn all_layouts_give_the_same_matrices() {
    let Some(folder) = layouts() else { return };
    for stem in ["lam", "sta"] {
        let original = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{stem}_3x100_apsu.hdf"));
        let original = Dataset::open(&original, &chosen()).unwrap();
        for (name, layout, has_angles) in [
            ("old.hdf", Layout::ApsOld, true),
            ("cache.npz", Layout::Npz, true),
            ("matlab.hdf", Layout::ApsMatlab, true),
            ("nxxpcs.h5", Layout::Nxxpcs, true),
            ("chx.h5", Layout::Chx, true),
            ("id02.h5", Layout::EsrfId02, false),
            ("id02_aged.h5", Layout::EsrfId02, false),
            ("xfel.h5", Layout::Euxfel, false),
        ] {
            let file = folder.join(format!("{stem}_{name}"));
            let phi = (!has_angles).then(|| vec![0.0, 45.0, 90.0]);
            let selection = Selection { unsaid: Unsaid { phi, ..Unsaid::default() }, ..chosen() };
            let other = Dataset::open(&file, &selection).unwrap();
            assert_eq!((other.layout, other.n_frames), (layout, 100));
            assert_eq!((other.q, other.dt, other.phi()), (original.q, original.dt, original.phi()));
            let (mut a, mut b) = (TwoTime::default(), TwoTime::default());
            for k in 0..3 {
                original.read(k, &mut a).unwrap();
                other.read(k, &mut b).unwrap();
                (0..100).for_each(|i| assert_eq!(a.row_after(i), b.row_after(i), "{name}, matrix {k}, row {i}"));
            }
            let text = shown(&file);
            assert!(text.contains("c2 is stored as float64; every value is rounded once, to float32"), "{text}");
        }
    }
}
