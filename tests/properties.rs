//! Whatever a file holds, reading it ends with an answer: no panic, no hang, no memory out of proportion.
//!
//! Three readers that take what others wrote: configurations (YAML), NPZ files, the metadata of HDF5 files. `fuzz/` has the
//! same three for hours of search (docs/fuzzing.md); here are a few hundred cases of each kind in seconds.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use homodyne_mpi::config::{Overrides, examine, load};
use homodyne_mpi::dataset::{Dataset, Selection, TwoTime};
use proptest::prelude::*;
use tempfile::TempDir;

/// Counts what the calling thread allocates. What libhdf5 allocates by itself isn't seen.
struct Counting;

thread_local! {
    /// Bytes held, and the most that were held.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

fn count(bytes: isize) {
    // gone at the end of a thread, when nobody asks any more
    let _ = HELD.try_with(|held| {
        let now = held.get().0 + bytes;
        held.set((now, held.get().1.max(now)));
    });
}

// SAFETY: every call is passed on to the system's allocator as it is; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Time after which reading a small file counts as a hang: a thousand times what it takes.
const HANG: Duration = Duration::from_secs(20);
/// Memory that any file may take: messages, tables of keys that are built once.
const ALLOWANCE: isize = 1 << 21;

/// Calls `work`, and checks its time and that it holds at most `per_byte` times the file's size.
fn within_bounds(file_bytes: usize, per_byte: usize, work: impl FnOnce()) {
    let before = HELD.with(|held| {
        held.set((held.get().0, held.get().0));
        held.get().0
    });
    let begin = Instant::now();
    work();
    let most = HELD.with(Cell::get).1 - before;
    assert!(begin.elapsed() < HANG, "took {:?}", begin.elapsed());
    let allowed = (per_byte * file_bytes) as isize + ALLOWANCE;
    assert!(most <= allowed, "{most} bytes for a file of {file_bytes}; at most {allowed} are allowed");
}

/// A folder with one file.
fn file(name: &str, bytes: &[u8]) -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

/// One change of a good file: bytes from `at` on (a share of its length) replaced.
fn changes() -> impl Strategy<Value = Vec<(f64, usize, Vec<u8>)>> {
    prop::collection::vec((0.0..1.0, 0usize..40, prop::collection::vec(any::<u8>(), 0..12)), 1..6)
}

fn changed(good: &[u8], changes: &[(f64, usize, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for (at, length, new) in changes {
        let at = (at * bytes.len() as f64) as usize;
        let end = (at + length).min(bytes.len());
        bytes.splice(at..end, new.iter().copied());
    }
    bytes
}

fn read_yaml(bytes: &[u8]) {
    let (_folder, path) = file("c.yaml", bytes);
    within_bounds(bytes.len(), 4, || {
        let _ = load(&path, &Overrides::default());
        let _ = examine(&path);
    });
}

const CONFIGS: [&str; 3] = [
    include_str!("data/config/static.yaml"),
    include_str!("data/config/laminar_flow.yaml"),
    include_str!("data/config/master.yaml"),
];

fn yaml_piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("analysis_mode: ".to_owned()),
        Just("data_filtering: {exclude_frames: [".to_owned()),
        Just("parameter_space: {bounds: [{name: ".to_owned()),
        Just("\n  ".to_owned()),
        Just("- ".to_owned()),
        Just(": ".to_owned()),
        Just("&a ".to_owned()),
        Just("*a".to_owned()),
        Just("<<: ".to_owned()),
        Just("!!binary ".to_owned()),
        Just("1e999".to_owned()),
        Just("18446744073709551615-1".to_owned()),
        "[-{}\\[\\],:#|>'\"0-9a-z \n]{0,12}",
        any::<String>(),
    ]
}

#[test]
fn deep_and_self_referring_yaml_ends() {
    for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", "")] {
        for depth in [10, 100, 1000, 100_000] {
            read_yaml((open.repeat(depth) + &close.repeat(depth)).as_bytes());
        }
    }
    // nine levels of nine aliases each: 9⁹ items if they were copied
    let mut laughs = "a0: &a0 [x]\n".to_owned();
    for level in 1..=9 {
        let items = vec![format!("*a{}", level - 1); 9].join(", ");
        laughs += &format!("a{level}: &a{level} [{items}]\n");
    }
    read_yaml(laughs.as_bytes());
    read_yaml(b"a: &a [*a]\n");
}

/// A node with its place is larger than the two bytes of an item, so it is their number that must be bounded.
#[test]
fn large_yaml_takes_little_memory() {
    let keys = |n: usize, open: &str, between: &str, close: &str| {
        let keys: Vec<String> = (0..n).map(|i| format!("k{i}: {i}")).collect();
        format!("{open}{}{close}", keys.join(between))
    };
    let frames = |n: usize| vec!["7"; n].join(", ");
    for n in [1_000, 5_000, 9_000, 20_000, 100_000, 180_000] {
        let cases = [
            ("commas", format!("a: [{}]", ",".repeat(n))),
            ("tiny items", format!("a: [{}]", "a,".repeat(n))),
            ("items on lines", "- \n".repeat(n)),
            ("nested lists", "- - - - - - - -\n".repeat(n / 8)),
            ("braces in a list", format!("a: [{}]", "{},".repeat(n))),
            ("unknown keys", keys(n, "", "\n", "\n")),
            ("unknown keys in braces", keys(n, "{", ", ", "}")),
            ("keys of a known section", keys(n, "optimization:\n  ", "\n  ", "\n")),
            ("keys that are no names", "? [a]\n: b\n".repeat(n)),
            ("one key", "a: 1\n".repeat(n)),
            ("excluded frames", format!("data_filtering: {{exclude_frames: [{}]}}", frames(n))),
            ("wrong frames", format!("data_filtering: {{exclude_frames: [{}]}}", vec!["x"; n].join(", "))),
            (
                "wrong bounds",
                format!("parameter_space:\n  bounds:\n{}", "  - {name: D0, min: x, a: 1}\n".repeat(n / 8)),
            ),
            ("anchors", (0..n).map(|i| format!("k{i}: &a{i} 1\n")).collect()),
            ("an anchored list", format!("a: &a [{}]\nb: *a\n", "1,".repeat(n))),
            ("aliases", format!("a: &a [1]\nb: [{}]\n", vec!["*a"; n].join(", "))),
            ("merges", format!("a: &a {{x: 1}}\nb: [{}]\n", vec!["{<<: *a}"; n].join(", "))),
            ("comments", "# a\n".repeat(n)),
            ("a long text", format!("a: {}", "x".repeat(n))),
            ("a long mode", format!("analysis_mode: {}", "x".repeat(n))),
            ("a long name", format!("initial_parameters: {{parameter_names: [{}]}}", "x".repeat(n))),
            ("wrong names", format!("initial_parameters: {{parameter_names: [{}]}}", vec!["x"; n].join(", "))),
            ("a long quoted text", format!("a: \"{}\"", "\\n".repeat(n))),
            ("a long block", format!("a: |\n{}", "  x\n".repeat(n))),
            ("a folded block", format!("a: >\n{}", "  x\n".repeat(n))),
            ("a long key", format!("{}: 1", "x".repeat(n))),
            ("a long question", format!("? {}\n: 1", "x".repeat(n))),
            ("a long number", format!("a: {}", "1".repeat(n))),
            ("a long tag", format!("a: !{} 1", "x".repeat(n))),
            ("a long anchor", format!("a: &{} 1", "x".repeat(n))),
            ("documents", "---\na: 1\n".repeat(n / 4)),
            ("tabs", format!("a:{}x: [", "\t".repeat(n))),
        ];
        for (name, text) in cases {
            println!("{name}, {n}");
            read_yaml(text.as_bytes());
            read_yaml(format!("analysis_mode: static\n{text}").as_bytes());
        }
    }
}

/// A NumPy array file: magic, header text, data.
fn npy(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn npz(members: &[(String, Vec<u8>)], packed: bool) -> Vec<u8> {
    let method = if packed { zip::CompressionMethod::Deflated } else { zip::CompressionMethod::Stored };
    let options = zip::write::SimpleFileOptions::default().compression_method(method);
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in members {
        writer.start_file(format!("{name}.npy"), options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn floats(values: impl IntoIterator<Item = f64>) -> Vec<u8> {
    values.into_iter().flat_map(f64::to_le_bytes).collect()
}

fn header(shape: &str) -> String {
    format!("{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n")
}

/// A good cache of 2 × 6 frames, whose header of `c2_exp` can be another.
fn cache(c2_header: &str, packed: bool) -> Vec<u8> {
    let n = 6;
    let metadata = r#"{"start_frame": 1, "end_frame": 6, "q_count": 2, "phi_count": 2}"#;
    let times = npy(&header("(6,)"), &floats((0..n).map(|i| 0.1 * i as f64)));
    let text = npy(
        &format!("{{'descr': '|S{}', 'fortran_order': False, 'shape': (), }}\n", metadata.len()),
        metadata.as_bytes(),
    );
    let c2 = npy(c2_header, &floats((0..2 * n * n).map(|k| 1.0 + 0.001 * f64::from((k % (n * n)) as u8))));
    let member = |name: &str, bytes: Vec<u8>| (name.to_owned(), bytes);
    npz(
        &[
            member("c2_exp", c2),
            member("phi_angles_list", npy(&header("(2,)"), &floats([0.0, 90.0]))),
            member("wavevector_q_list", npy(&header("(2,)"), &floats([0.0054, 0.0054]))),
            member("t1", times.clone()),
            member("t2", times),
            member("cache_metadata_json", text),
        ],
        packed,
    )
}

/// Opens a file and reads every matrix that it promises.
fn read_data(path: &Path, bytes: usize) -> bool {
    let mut opened = false;
    within_bounds(bytes, 4, || {
        let selection = Selection { q: Some(0.0054), dt: Some(0.1), compare_halves: false, ..Selection::default() };
        let _ = Dataset::open_for_inspection(path, &Selection::default());
        if let Ok(dataset) = Dataset::open(path, &selection) {
            opened = true;
            let mut matrix = TwoTime::default();
            (0..dataset.selected.len()).for_each(|k| drop(dataset.read(k, &mut matrix)));
        }
    });
    opened
}

fn read_npz(bytes: &[u8]) -> bool {
    let (_folder, path) = file("x.npz", bytes);
    read_data(&path, bytes.len())
}

#[test]
fn the_cache_that_is_changed_is_good_to_begin_with() {
    assert!(read_npz(&cache(&header("(2, 6, 6)"), false)) && read_npz(&cache(&header("(2, 6, 6)"), true)));
}

/// A number as a header or a dataset might claim it.
fn claimed() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..8, Just(6), any::<u32>().prop_map(u64::from), any::<u64>(), Just(1 << 32), Just(u64::MAX / 8)]
}

/// What may stand where a list of metadata should be.
#[derive(Debug, Clone)]
enum Entry {
    Good,
    Missing,
    Group,
    Scalar(f64),
    Floats(Vec<f64>),
    Integers(Vec<i64>),
    Text(String),
    Matrix(usize, usize),
}

fn entry() -> impl Strategy<Value = Entry> {
    prop_oneof![
        6 => Just(Entry::Good),
        1 => Just(Entry::Missing),
        1 => Just(Entry::Group),
        1 => any::<f64>().prop_map(Entry::Scalar),
        2 => prop::collection::vec(any::<f64>(), 0..5).prop_map(Entry::Floats),
        2 => prop::collection::vec(prop_oneof![any::<i64>(), -2i64..8], 0..5).prop_map(Entry::Integers),
        1 => "[a-z]{0,6}".prop_map(Entry::Text),
        1 => (0usize..5, 0usize..5).prop_map(|(a, b)| Entry::Matrix(a, b)),
    ]
}

fn put(h5: &hdf5::File, path: &str, entry: &Entry, good: impl FnOnce(&hdf5::File)) {
    match entry {
        Entry::Good => good(h5),
        Entry::Missing => {}
        Entry::Group => drop(h5.create_group(path).unwrap()),
        Entry::Scalar(v) => h5.new_dataset::<f64>().create(path).unwrap().write_scalar(v).unwrap(),
        Entry::Floats(v) => drop(h5.new_dataset_builder().with_data(v).create(path).unwrap()),
        Entry::Integers(v) => drop(h5.new_dataset_builder().with_data(v).create(path).unwrap()),
        Entry::Text(v) => {
            let text: hdf5::types::VarLenUnicode = v.parse().unwrap();
            h5.new_dataset::<hdf5::types::VarLenUnicode>().create(path).unwrap().write_scalar(&text).unwrap();
        }
        Entry::Matrix(a, b) => drop(h5.new_dataset::<f32>().shape((*a, *b)).create(path).unwrap()),
    }
}

/// What a file of each layout consists of; the good value of each.
fn write_layout(path: &Path, layout: usize, entries: &[Entry]) {
    let h5 = hdf5::File::create(path).unwrap();
    let c2 = ndarray::Array2::from_shape_fn((6, 6), |(i, j)| if i <= j { 1.0 + 0.01 * (j - i) as f32 } else { 0.0 });
    let list = |path: &'static str, v: &'static [f64]| {
        move |h5: &hdf5::File| drop(h5.new_dataset_builder().with_data(v).create(path).unwrap())
    };
    let numbers = |path: &'static str, v: &'static [i64]| {
        move |h5: &hdf5::File| drop(h5.new_dataset_builder().with_data(v).create(path).unwrap())
    };
    let matrix = |path: &'static str| {
        let c2 = c2.clone();
        move |h5: &hdf5::File| drop(h5.new_dataset_builder().with_data(&c2).create(path).unwrap())
    };
    let e = |k: usize| &entries[k % entries.len()];
    match layout {
        0 => {
            put(&h5, "xpcs/qmap/dynamic_v_list_dim0", e(0), list("xpcs/qmap/dynamic_v_list_dim0", &[0.0027, 0.0054]));
            put(&h5, "xpcs/qmap/dynamic_v_list_dim1", e(1), list("xpcs/qmap/dynamic_v_list_dim1", &[0.0, 90.0]));
            put(
                &h5,
                "xpcs/qmap/dynamic_index_mapping",
                e(2),
                numbers("xpcs/qmap/dynamic_index_mapping", &[0, 1, 2, 3]),
            );
            put(&h5, "xpcs/qmap/dynamic_num_pts", e(3), numbers("xpcs/qmap/dynamic_num_pts", &[2, 2]));
            put(&h5, "xpcs/twotime/processed_bins", e(4), numbers("xpcs/twotime/processed_bins", &[3, 4]));
            put(&h5, "xpcs/twotime/correlation_map/c2_00001", e(5), matrix("xpcs/twotime/correlation_map/c2_00001"));
            put(&h5, "xpcs/twotime/correlation_map/c2_00002", e(6), matrix("xpcs/twotime/correlation_map/c2_00002"));
            let frame_time = "entry/instrument/detector_1/frame_time";
            put(&h5, frame_time, e(7), list("entry/instrument/detector_1/frame_time", &[0.1]));
        }
        1 => {
            put(&h5, "xpcs/dqlist", e(0), list("xpcs/dqlist", &[0.0027, 0.0054]));
            put(&h5, "xpcs/dphilist", e(1), list("xpcs/dphilist", &[0.0, 90.0]));
            put(&h5, "exchange/C2T_all/g2_00001", e(2), matrix("exchange/C2T_all/g2_00001"));
            put(&h5, "exchange/C2T_all/g2_00002", e(3), matrix("exchange/C2T_all/g2_00002"));
            put(&h5, "xpcs/output_data", e(4), |_| ());
        }
        _ => {
            put(&h5, "c2", e(0), |h5| {
                let c2 = ndarray::Array3::from_shape_fn((2, 6, 6), |(_, i, j)| c2[(i, j)]);
                drop(h5.new_dataset_builder().with_data(&c2).create("c2").unwrap());
            });
            put(&h5, "phi", e(1), list("phi", &[0.0, 90.0]));
            put(&h5, "sigma", e(2), list("sigma", &[0.01, 0.02]));
            for (name, k) in [("q", 3), ("dt", 4), ("gap", 5)] {
                match e(k) {
                    Entry::Scalar(v) => h5.new_attr::<f64>().create(name).unwrap().write_scalar(v).unwrap(),
                    Entry::Floats(v) => drop(h5.new_attr_builder().with_data(v).create(name).unwrap()),
                    Entry::Missing => {}
                    _ => h5.new_attr::<f64>().create(name).unwrap().write_scalar(&0.0054).unwrap(),
                }
            }
        }
    }
}

#[test]
fn a_list_that_is_only_promised_takes_no_memory() {
    for (path, of_text) in [("phi", false), ("xpcs/qmap/map_names", true)] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.h5");
        write_layout(&file, if of_text { 0 } else { 2 }, &[Entry::Good]);
        let h5 = hdf5::File::open_rw(&file).unwrap();
        // chunks that were never written take no room in the file
        if of_text {
            let names = h5.new_dataset::<hdf5::types::FixedAscii<16>>().chunk(1000_usize).shape(1_usize << 28);
            names.create(path).unwrap();
        } else {
            h5.unlink(path).unwrap();
            h5.new_dataset::<f64>().chunk(1000_usize).shape(1_usize << 28).create(path).unwrap();
            h5.unlink("c2").unwrap();
            h5.new_dataset::<f32>().chunk((1, 6, 6)).shape((1_usize << 28, 6, 6)).create("c2").unwrap();
        }
        drop(h5);
        assert!(!read_data(&file, std::fs::metadata(&file).unwrap().len() as usize), "{path}");
        let text = Dataset::open(&file, &Selection::default()).unwrap_err().to_string();
        // matrices are counted before their angles are
        let culprit = if of_text { path } else { "/c2" };
        assert!(text.contains(culprit) && text.contains("can hold"), "{text}");
    }
}

#[test]
fn text_of_any_bytes_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.h5");
    write_layout(&file, 0, &[Entry::Good]);
    let h5 = hdf5::File::open_rw(&file).unwrap();
    const NAMES: &str = "xpcs/qmap/map_names";
    if h5.link_exists(NAMES) {
        h5.unlink(NAMES).unwrap();
    }
    const WORD: &str = "words to be spoilt";
    let words: hdf5::types::VarLenUnicode = WORD.parse().unwrap();
    h5.new_dataset_builder().with_data(&[words]).create(NAMES).unwrap();
    drop(h5);
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.windows(WORD.len()).position(|window| window == WORD.as_bytes()).unwrap();
    bytes[at + 3] = 0xff;
    std::fs::write(&file, bytes).unwrap();
    let text = Dataset::open(&file, &Selection::default()).unwrap_err().to_string();
    assert!(text.contains(NAMES) && text.contains("worÿs to be spoilt"), "{text}");
}

#[test]
fn matrices_that_are_only_promised_take_no_memory() {
    const NEXUS: &str = "entry/twotime/two_time_corr_func";
    const ID02: &str = "entry_0000/correlations/a/twotime";
    for aged in [None, Some(false), Some(true)] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.h5");
        let h5 = hdf5::File::create(&file).unwrap();
        let path = if aged.is_some() { format!("{ID02}/ttcf") } else { NEXUS.into() };
        h5.new_dataset::<f32>().chunk((1, 6, 6)).shape((1_usize << 40, 6, 6)).create(path.as_str()).unwrap();
        let word = |text: &str| text.parse::<hdf5::types::VarLenUnicode>().unwrap();
        match aged {
            None => {
                let dataset = h5.dataset(NEXUS).unwrap();
                for (name, value) in [("storage_mode", "one_array_q_first"), ("populated_elements", "all")] {
                    let attribute = dataset.new_attr::<hdf5::types::VarLenUnicode>().create(name).unwrap();
                    attribute.write_scalar(&word(value)).unwrap();
                }
                dataset.new_attr::<i32>().create("baseline_reference").unwrap().write_scalar(&1).unwrap();
            }
            Some(aged) => {
                let attribute = h5.new_attr::<hdf5::types::VarLenUnicode>().create("MagicString").unwrap();
                attribute.write_scalar(&word("XPCSResultFile_v2.0")).unwrap();
                let times: Vec<f64> = (0..6).map(|k| 0.1 * f64::from(k)).collect();
                for list in ["age", "lag"].into_iter().filter(|_| aged) {
                    h5.new_dataset_builder().with_data(&times).create(format!("{ID02}/{list}").as_str()).unwrap();
                }
            }
        }
        drop(h5);
        let text = Dataset::open(&file, &Selection::default()).unwrap_err().to_string();
        assert!(text.contains(&path) && text.contains("can hold"), "{text}");
    }
}

#[test]
fn the_files_that_are_changed_are_good_to_begin_with() {
    for layout in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.h5");
        write_layout(&path, layout, &[Entry::Good]);
        assert!(read_data(&path, std::fs::metadata(&path).unwrap().len() as usize), "layout {layout}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_as_yaml(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read_yaml(&bytes);
    }

    #[test]
    fn pieces_of_yaml(pieces in prop::collection::vec(yaml_piece(), 0..40)) {
        read_yaml(pieces.concat().as_bytes());
    }

    #[test]
    fn changed_configurations(which in 0usize..3, changes in changes()) {
        read_yaml(&changed(CONFIGS[which].as_bytes(), &changes));
    }

    #[test]
    fn changed_caches(packed in any::<bool>(), changes in changes()) {
        read_npz(&changed(&cache(&header("(2, 6, 6)"), packed), &changes));
    }

    #[test]
    fn caches_that_claim_any_shape(shape in prop::collection::vec(claimed(), 0..5), packed in any::<bool>()) {
        let text: Vec<String> = shape.iter().map(|n| format!("{n}, ")).collect();
        read_npz(&cache(&header(&format!("({})", text.concat())), packed));
    }

    #[test]
    fn caches_with_any_header(header in "[{}'(),:a-z0-9<>|= \n-]{0,120}") {
        read_npz(&cache(&header, false));
    }

    #[test]
    fn metadata_of_any_kind(layout in 0usize..3, entries in prop::collection::vec(entry(), 8)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.h5");
        write_layout(&path, layout, &entries);
        read_data(&path, std::fs::metadata(&path).unwrap().len() as usize);
    }

    #[test]
    fn truncated_hdf5(layout in 0usize..3, share in 0.0f64..1.0) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.h5");
        write_layout(&path, layout, &[Entry::Good]);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..(share * bytes.len() as f64) as usize]).unwrap();
        read_data(&path, bytes.len());
    }
}
