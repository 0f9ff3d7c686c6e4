use hdf5::filters::{Blosc, BloscShuffle, Filter, ScaleOffset};
use hdf5::{Dataset, File, Hyperslab};
use ndarray::Array3;
use proptest::prelude::*;

use super::super::TwoTime;
use super::super::hdf::read_frames;
use super::super::storage::{NOTHING, by_index};
use super::*;

/// What a matrix holds.
#[derive(Debug, Clone, Copy)]
enum Contents {
    /// Repeats everywhere.
    Smooth,
    /// Half of it zeros.
    Half,
    /// Nothing to save: optional filters are left out, chunk by chunk.
    Noise,
}

/// A stack of matrices and how it is stored.
#[derive(Debug, Clone)]
struct Case {
    n: usize,
    chunk: [usize; 3],
    filters: Vec<Filter>,
    contents: Contents,
    double: bool,
    /// The last matrix is never written.
    missing: bool,
    fill: f64,
    frames: Range<usize>,
}

const K: usize = 3;

fn compressors() -> Vec<Filter> {
    let mut all = vec![Filter::LZF, Filter::deflate(1), Filter::deflate(6)];
    for codec in [Blosc::BloscLZ, Blosc::LZ4, Blosc::LZ4HC, Blosc::Snappy, Blosc::ZLib, Blosc::ZStd] {
        for shuffle in [BloscShuffle::None, BloscShuffle::Byte, BloscShuffle::Bit] {
            all.push(Filter::Blosc(codec, 5, shuffle));
        }
    }
    all
}

fn case() -> impl Strategy<Value = Case> {
    let contents = prop_oneof![Just(Contents::Smooth), Just(Contents::Half), Just(Contents::Noise)];
    let filters = (any::<bool>(), prop::option::of(prop::sample::select(compressors())), any::<bool>()).prop_map(
        |(shuffle, compressor, checksum)| {
            let shuffle = shuffle.then_some(Filter::Shuffle);
            shuffle.into_iter().chain(compressor).chain(checksum.then_some(Filter::Fletcher32)).collect()
        },
    );
    let shape = (3usize..60).prop_flat_map(|n| {
        let side = || prop_oneof![1..=n, Just(n)];
        let chunk = (1..=K, side(), side()).prop_map(|(k, rows, columns)| [k, rows, columns]);
        let frames = prop_oneof![Just(0..n), (0..n - 1).prop_flat_map(move |a| (a + 1..=n).prop_map(move |b| a..b))];
        (Just(n), chunk, frames)
    });
    (shape, filters, contents, any::<bool>(), any::<bool>(), prop_oneof![Just(0.0), Just(7.5)]).prop_map(
        |((n, chunk, frames), filters, contents, double, missing, fill)| Case {
            n,
            chunk,
            filters,
            contents,
            double,
            missing,
            fill,
            frames,
        },
    )
}

fn value(contents: Contents, k: usize, i: usize, j: usize) -> f64 {
    let smooth = 1.0 + 0.3 * (-(i.abs_diff(j) as f64) / 9.0).exp();
    match contents {
        Contents::Half if i > j => 0.0,
        Contents::Smooth | Contents::Half => smooth,
        Contents::Noise => {
            let mixed = ((k * 1000 + i) * 1000 + j + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
            // any float32 but NaN, whose bits a conversion needn't keep
            let bits = mixed.wrapping_mul(0xBF58_476D_1CE4_E5B9) as u32;
            f64::from(f32::from_bits(bits & 0xbfff_ffff)) * (1.0 + 1e-9 * smooth)
        }
    }
}

fn write(file: &File, case: &Case) -> Dataset {
    let data = Array3::from_shape_fn((K, case.n, case.n), |(k, i, j)| value(case.contents, k, i, j));
    let written = if case.missing { K - 1 } else { K };
    let selection = Hyperslab::from((..written, .., ..));
    let part = data.slice_move(ndarray::s![..written, .., ..]);
    if case.double {
        let builder = file.new_dataset::<f64>().set_filters(&case.filters).fill_value(case.fill);
        let dataset = builder.chunk(case.chunk).shape((K, case.n, case.n)).create("c2").unwrap();
        dataset.write_slice(&part, selection).unwrap();
        dataset
    } else {
        let builder = file.new_dataset::<f32>().set_filters(&case.filters).fill_value(case.fill as f32);
        let dataset = builder.chunk(case.chunk).shape((K, case.n, case.n)).create("c2").unwrap();
        dataset.write_slice(&part.mapv(|v| v as f32), selection).unwrap();
        dataset
    }
}

/// A dataset of the case in a file that was closed and opened again.
fn stored(folder: &tempfile::TempDir, case: &Case) -> Dataset {
    let path = folder.path().join("x.h5");
    let file = File::create(&path).unwrap();
    drop(write(&file, case));
    file.close().unwrap();
    opened(&path).dataset("c2").unwrap()
}

/// A file that was just written: a process that another test has started meanwhile may hold its lock for a while.
fn opened(path: &std::path::Path) -> File {
    let tries = (0..200).find_map(|_| {
        let file = File::open(path);
        if file.is_err() {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        file.ok()
    });
    tries.unwrap_or_else(|| File::open(path).unwrap())
}

fn by_library(dataset: &Dataset, k: usize, frames: &Range<usize>) -> Vec<u32> {
    let slice: ndarray::Array2<f32> = dataset.read_slice(Hyperslab::from((k, frames.clone(), frames.clone()))).unwrap();
    slice.iter().map(|v| v.to_bits()).collect()
}

fn ours(dataset: &Dataset, k: usize, frames: &Range<usize>) -> Vec<u32> {
    // what an earlier matrix left in the buffer doesn't show through
    let mut m = TwoTime::from_matrix(frames.len(), vec![f32::MAX; frames.len().pow(2)]);
    match read_frames(dataset, Some(k), frames.clone(), &mut m) {
        Err(why) if why == NOTHING => m.unwritten = vec![(0..frames.len(), 0..frames.len())],
        read => read.unwrap(),
    }
    // what was never written is listed; the library has its fill value there
    let fill = dataset.dcpl().unwrap().get_fill_value_as::<f32>().unwrap().unwrap_or(0.0);
    for (rows, columns) in std::mem::take(&mut m.unwritten) {
        for row in rows {
            m.values[row * frames.len()..][columns.clone()].fill(fill);
        }
    }
    m.values.iter().map(|v| v.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_bit_is_what_the_library_reads(case in case()) {
        let folder = tempfile::tempdir().unwrap();
        let dataset = stored(&folder, &case);
        let plain = case.filters.is_empty() && dataset.num_chunks().unwrap() > MOST_PLAIN;
        prop_assert_eq!(Chunked::new(&dataset, Some(0)).is_none(), plain);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        for k in 0..K {
            let expected = by_library(&dataset, k, &case.frames);
            prop_assert_eq!(&ours(&dataset, k, &case.frames), &expected, "matrix {}", k);
            prop_assert_eq!(&pool.install(|| ours(&dataset, k, &case.frames)), &expected, "matrix {}, threads", k);
        }
    }
}

fn plain_case() -> Case {
    let (n, contents) = (40, Contents::Half);
    let chunk = [1, 7, 9];
    Case { n, chunk, filters: vec![], contents, double: false, missing: false, fill: 0.0, frames: 3..38 }
}

#[test]
fn many_chunks_come_in_several_batches() {
    // noise in float64: 4 batches
    let n = 2800;
    let case = Case { n, chunk: [1, 100, n], contents: Contents::Noise, double: true, frames: 0..n, ..plain_case() };
    assert!(n * n * 8 > 3 * BATCH);
    let folder = tempfile::tempdir().unwrap();
    let dataset = stored(&folder, &Case { filters: vec![Filter::Shuffle, Filter::LZF], missing: true, ..case });
    assert!(ours(&dataset, 1, &(0..n)) == by_library(&dataset, 1, &(0..n)));
}

#[test]
fn chunks_that_were_never_written_are_known_without_a_walk_along_the_index() {
    let folder = tempfile::tempdir().unwrap();
    let case = Case { filters: vec![Filter::LZF], missing: true, ..plain_case() };
    let dataset = stored(&folder, &case);
    let chunked = Chunked::new(&dataset, Some(K - 1)).unwrap();
    let origin = chunked.origin(0, 0);
    assert_eq!(hdf5::sync::sync(|| by_index(&dataset, &origin)), Some(None));
    assert_eq!(hdf5::sync::sync(|| chunked.look_up(&origin)).unwrap(), None);
}

#[test]
fn what_is_unknown_here_is_left_to_the_library() {
    let rounded = Filter::scale_offset(ScaleOffset::FloatDScale(3));
    let cases = [vec![Filter::nbit()], vec![rounded.clone()], vec![rounded, Filter::Shuffle, Filter::deflate(3)]];
    for filters in cases {
        let folder = tempfile::tempdir().unwrap();
        let case = Case { filters, ..plain_case() };
        let dataset = stored(&folder, &case);
        assert!(Chunked::new(&dataset, Some(0)).is_none(), "{case:?}");
        assert_eq!(ours(&dataset, 1, &case.frames), by_library(&dataset, 1, &case.frames), "{case:?}");
    }
}

#[test]
fn contiguous_data_and_edges_without_filters_are_left_to_the_library() {
    let folder = tempfile::tempdir().unwrap();
    let file = File::create(folder.path().join("x.h5")).unwrap();
    let data = Array3::from_shape_fn((K, 10, 10), |(k, i, j)| value(Contents::Smooth, k, i, j) as f32);
    let contiguous = file.new_dataset_builder().with_data(&data).create("a").unwrap();
    let builder = file.new_dataset_builder().with_data(&data).chunk((1, 4, 4)).deflate(3);
    let edges = builder.chunk_opts(ChunkOpts::DONT_FILTER_PARTIAL_CHUNKS).create("b").unwrap();
    for dataset in [contiguous, edges] {
        assert!(Chunked::new(&dataset, Some(0)).is_none());
        assert_eq!(ours(&dataset, 2, &(1..9)), by_library(&dataset, 2, &(1..9)));
    }
}

#[test]
fn the_other_byte_order_is_left_to_the_library() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.h5");
    let case = Case { filters: vec![Filter::LZF], ..plain_case() };
    let dataset = stored(&folder, &case);
    let before = by_library(&dataset, 1, &case.frames);
    drop(dataset);
    // the datatype message of float32: class and version, then flags whose first bit is the byte order
    let message = [0x11, 0x20, 0x1f, 0x00, 4, 0, 0, 0, 0, 0, 32, 0, 23, 8, 0, 23, 127];
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(message.len()).position(|w| w == message).unwrap();
    bytes[at + 1] |= 1;
    std::fs::write(&path, bytes).unwrap();
    let dataset = opened(&path).dataset("c2").unwrap();
    assert!(Chunked::new(&dataset, Some(1)).is_none());
    let swapped: Vec<u32> = before.iter().map(|bits| bits.swap_bytes()).collect();
    assert_eq!(ours(&dataset, 1, &case.frames), swapped);
}

#[test]
fn numbers_beyond_float32_become_infinite_as_the_library_makes_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = File::create(folder.path().join("x.h5")).unwrap();
    let largest = f64::from(f32::MAX);
    let values = [
        largest,
        largest * (1.0 + 1e-12),
        -largest * (1.0 + 1e-12),
        1e300,
        f64::NEG_INFINITY,
        1e-46,
        -1e-40,
        0.1,
        -0.0,
    ];
    let data = Array3::from_shape_vec((1, 3, 3), values.to_vec()).unwrap();
    let dataset = file.new_dataset_builder().with_data(&data).chunk((1, 3, 3)).create("c2").unwrap();
    assert_eq!(ours(&dataset, 0, &(0..3)), by_library(&dataset, 0, &(0..3)));
}

#[test]
fn a_chunk_that_cannot_be_unpacked_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.h5");
    for (filter, says) in [
        (Filter::LZF, "LZF data"),
        (Filter::deflate(3), "deflated data"),
        (Filter::blosc_lz4(5, true), "blosc data"),
        (Filter::Fletcher32, "checksum"),
    ] {
        // a chunk of zeros: every filter makes it smaller
        let case = Case { filters: vec![filter], chunk: [1, 20, 20], frames: 0..40, ..plain_case() };
        let dataset = stored(&folder, &case);
        let chunk = (0..).map_while(|k| dataset.chunk_info(k)).find(|c| c.offset == [1, 20, 0]).unwrap();
        drop(dataset);
        let mut bytes = std::fs::read(&path).unwrap();
        // all alike would be right for Fletcher's checksum of some lengths
        let stored = &mut bytes[chunk.addr as usize..][..chunk.size as usize];
        stored.iter_mut().enumerate().for_each(|(k, byte)| *byte = (37 * k + 11) as u8);
        std::fs::write(&path, bytes).unwrap();
        let dataset = opened(&path).dataset("c2").unwrap();
        let read = |k| {
            let mut m = TwoTime::default();
            m.resize(40).unwrap();
            read_frames(&dataset, Some(k), 0..40, &mut m)
        };
        let error = read(1).unwrap_err();
        assert!(error.contains("the chunk that begins at (1, 20, 0) cannot be unpacked: "), "{error}");
        assert!(error.contains(says) && error.contains("copy the file again"), "{error}");
        // the others are not touched
        assert_eq!(read(0), Ok(()));
    }
}
