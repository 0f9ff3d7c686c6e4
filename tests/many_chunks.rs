//! How long reading takes where a matrix is stored in very many chunks.

use std::path::Path;
use std::time::Duration;

use crate::common::{alone, alone_with_files, scratch};
use hdf5::Hyperslab;
use ndarray::Array3;

/// Frames of the matrix.
const N: usize = 800;

/// A native file of one matrix in square chunks, of which those below the diagonal may be left unwritten.
fn write(file: &Path, side: usize, compressed: bool, half: bool) {
    alone_with_files(|| {
        let h5 = hdf5::File::create(file).unwrap();
        let builder = h5.new_dataset::<f32>().chunk((1, side, side));
        let builder = if compressed { builder.lzf() } else { builder };
        let c2 = builder.shape((1, N, N)).create("c2").unwrap();
        for first in (0..N).step_by(side) {
            let columns = if half { first } else { 0 };
            let rows = Array3::from_shape_fn((1, side, N - columns), |(_, i, j)| {
                let (i, j) = (first + i, columns + j);
                if half && i > j { 0.0 } else { 1.0 + 0.3 * (-(i.abs_diff(j) as f32) / 90.0).exp() }
            });
            c2.write_slice(&rows, Hyperslab::from((0..1, first..first + side, columns..N))).unwrap();
        }
        h5.new_dataset_builder().with_data(&[0.0]).create("phi").unwrap();
        for (name, value) in [("q", 0.0054), ("dt", 0.1)] {
            h5.new_attr::<f64>().create(name).unwrap().write_scalar(&value).unwrap();
        }
        h5.close().unwrap();
    });
}

#[test]
fn four_times_as_many_chunks_take_less_than_six_times_as_long() {
    let folder = scratch();
    let folder = folder.path();
    for (compressed, half) in [(true, false), (true, true), (false, false)] {
        write(&folder.join("few.h5"), 8, compressed, half);
        write(&folder.join("many.h5"), 4, compressed, half);
        let took = |file: &str| -> Duration { alone(folder, &["inspect", file]).success().took };
        // the best of each: other jobs have the machine, too
        let (mut few, mut many) = (took("few.h5"), took("many.h5"));
        for _ in 0..6 {
            if many < 6 * few {
                break;
            }
            (few, many) = (few.min(took("few.h5")), many.min(took("many.h5")));
        }
        assert!(many < 6 * few, "compressed {compressed}, half {half}: {few:?} for 10,000 chunks, {many:?} for 40,000");
    }
}
