//! Storage that was never written, in every way that matrices are read: missing, with the frames.

use homodyne_mpi::dataset::{Dataset, Selection, Train, TwoTime, Unsaid};
use ndarray::s;

use super::support::{assert_data_error, chosen, copy, value};
use crate::python::layouts;

/// Makes a dataset anew, in chunks of which those with rows from `from` on are never written; `fill` is what then is read there.
fn cut(
    h5: &hdf5::File,
    path: &str,
    chunk: &[usize],
    axis: usize,
    from: usize,
    fill: f32,
    filter: fn(hdf5::DatasetBuilderEmpty) -> hdf5::DatasetBuilderEmpty,
) {
    let old = h5.dataset(path).unwrap();
    let (values, shape) = (old.read_dyn::<f32>().unwrap(), old.shape());
    let said: Vec<(String, hdf5::Result<i64>, hdf5::Result<hdf5::types::VarLenUnicode>)> = old
        .attr_names()
        .unwrap()
        .into_iter()
        .map(|name| {
            let attribute = old.attr(&name).unwrap();
            (name, attribute.read_scalar(), attribute.read_scalar())
        })
        .collect();
    h5.unlink(path).unwrap();
    let new = filter(h5.new_dataset::<f32>().chunk(chunk).fill_value(fill)).shape(&shape[..]).create(path).unwrap();
    for (name, number, text) in said {
        match (number, text) {
            (Ok(number), _) => new.new_attr::<i64>().create(&*name).unwrap().write_scalar(&number).unwrap(),
            (_, Ok(text)) => {
                new.new_attr::<hdf5::types::VarLenUnicode>().create(&*name).unwrap().write_scalar(&text).unwrap();
            }
            _ => {}
        }
    }
    let slice = |of: usize| if of == axis { 0..from } else { 0..shape[of] };
    let there = match shape.len() {
        2 => values.slice(s![slice(0), slice(1)]).into_dyn().to_owned(),
        3 => values.slice(s![slice(0), slice(1), slice(2)]).into_dyn().to_owned(),
        _ => values.slice(s![slice(0), slice(1), slice(2), slice(3)]).into_dyn().to_owned(),
    };
    let selected: Vec<hdf5::SliceOrIndex> = (0..shape.len()).map(|of| slice(of).into()).collect();
    new.write_slice(&there, hdf5::Hyperslab::from(selected)).unwrap();
}

#[test]
fn whoever_reads_what_was_never_written_is_missing() {
    let Some(folder) = layouts() else { return };
    let c2 = "/entry/twotime/two_time_corr_func";
    let plain = |b: hdf5::DatasetBuilderEmpty| b;
    let packed = |b: hdf5::DatasetBuilderEmpty| b.shuffle().deflate(1);
    // a filter that only the library undoes
    let checked = |b: hdf5::DatasetBuilderEmpty| b.nbit();
    let unsaid = Unsaid { phi: Some(vec![0.0]), train: Some(Train::One(1)), ..Unsaid::default() };
    for (name, path, chunk, axis) in [
        ("old_full.hdf", "/exchange/C2T_all/g2_00003", &[5, 20][..], 0),
        ("nx-one_array_q_first-1-upper_left-all.h5", c2, &[1, 5, 20], 1),
        ("nx-one_array_q_last-1-upper_left-all.h5", c2, &[5, 20, 4], 0),
        ("nx-one_array_q_first-0-upper_left-all.h5", c2, &[1, 5, 20], 1),
        ("chx.h5", "/g12b", &[5, 20, 1], 0),
        ("id02.h5", "/entry_0000/correlations/full/twotime/ttcf", &[2, 5, 20], 1),
        ("xfel.h5", "/train_resolved/correlation/ttc", &[1, 1, 5, 20], 2),
    ] {
        for (filter, fill) in [
            (plain as fn(_) -> _, 0.0),
            (plain, -7.0),
            (packed, 0.0),
            (packed, f32::NAN),
            (checked, 0.0),
            (checked, 3.0),
        ] {
            let (_folder, file) = copy(&folder.join(name));
            let h5 = hdf5::File::open_rw(&file).unwrap();
            // rows 10 to 14 and 15 to 19: the upper triangle among the last ten frames
            cut(&h5, path, chunk, axis, 10, fill, filter);
            drop(h5);
            for (start, blank) in [(1, (10..19, 11..20)), (6, (5..14, 6..15))] {
                let selection = Selection { unsaid: unsaid.clone(), start_frame: start, ..chosen() };
                let dataset = Dataset::open(&file, &selection).unwrap();
                let mut m = TwoTime::default();
                let report = dataset.read(0, &mut m).unwrap();
                let what = format!("{name} {fill} from {start}: {:?}", report.blanks);
                assert_eq!(report.n_missing, 45, "{what}");
                assert_eq!((&report.blanks[0].t1, &report.blanks[0].t2), (&blank.0, &blank.1), "{what}");
                assert_eq!(report.blanks.len(), 1, "{what}");
                let slot = if name.starts_with("old") { 3 } else { 1 };
                let at = start - 1;
                assert!((m.at(1, 2) - value(slot, at + 1, at + 2)).abs() < 1e-6, "{what}");
                assert!(m.at(blank.0.start, blank.1.start).is_nan(), "{what}");
            }
        }
    }
}

#[test]
fn rows_from_the_bottom_are_missing_where_they_are_meant() {
    let Some(folder) = layouts() else { return };
    let (_folder, file) = copy(&folder.join("nx-one_array_q_first-1-lower_left-all.h5"));
    let h5 = hdf5::File::open_rw(&file).unwrap();
    // the first rows of the file are there: those of the last frames
    cut(&h5, "/entry/twotime/two_time_corr_func", &[1, 5, 20], 1, 15, 0.0, |b| b.deflate(1));
    drop(h5);
    let report = Dataset::open(&file, &chosen()).unwrap().read(0, &mut TwoTime::default()).unwrap();
    let blank = &report.blanks[0];
    // pairs with later frames are in the rows of those
    assert_eq!((report.blanks.len(), &blank.t1, &blank.t2), (1, &(0..4), &(1..5)), "{report:?}");
}

#[test]
fn ages_that_were_never_written_are_missing() {
    let Some(folder) = layouts() else { return };
    let (_folder, file) = copy(&folder.join("id02_aged_f32.h5"));
    let h5 = hdf5::File::open_rw(&file).unwrap();
    cut(&h5, "/entry_0000/correlations/full/twotime/ttcf", &[1, 10, 20], 1, 30, 0.0, |b| b.deflate(1));
    drop(h5);
    let unsaid = Unsaid { phi: Some(vec![0.0]), ..Unsaid::default() };
    let dataset = Dataset::open(&file, &Selection { unsaid, ..chosen() }).unwrap();
    let mut m = TwoTime::default();
    let report = dataset.read(0, &mut m).unwrap();
    // t1 + t2 of 30 half frames and more
    let missing = (1..20).map(|i| (i + 1..20).filter(|j| i + j >= 30).count() as u64).sum::<u64>();
    assert_eq!((report.n_missing, report.blanks[0].pairs), (missing, missing), "{report:?}");
    assert!(m.at(14, 16).is_nan() && m.at(13, 16).is_finite());
}

#[test]
fn a_train_that_ended_early_is_named_in_the_mean() {
    let Some(folder) = layouts() else { return };
    let (_folder, file) = copy(&folder.join("xfel_trains.h5"));
    let h5 = hdf5::File::open_rw(&file).unwrap();
    let ttc = h5.dataset("/train_resolved/correlation/ttc").unwrap();
    let mut values = ttc.read_dyn::<f32>().unwrap();
    // the last frames of train 3, and all of train 1
    values.slice_mut(s![2, .., 10.., 10..]).fill(0.0);
    values.slice_mut(s![0, .., .., ..]).fill(0.0);
    ttc.write(&values).unwrap();
    drop((ttc, h5));
    let unsaid = Unsaid { phi: Some(vec![0.0]), train: Some(Train::Mean), ..Unsaid::default() };
    let dataset = Dataset::open(&file, &Selection { unsaid, ..chosen() }).unwrap();
    let report = dataset.read(0, &mut TwoTime::default()).unwrap();
    let said: Vec<String> = report.blanks.iter().map(|blank| blank.text(1)).collect();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].starts_with("train 1: ") && said[0].contains("frames 1 to 20 with frames 1 to 20"), "{said:?}");
    assert!(said[1].starts_with("train 3: 45 pairs of frames 11 to 19 with frames 12 to 20"), "{said:?}");
    assert!(said[1].ends_with("have no part in the mean"), "{said:?}");
    assert_eq!(report.n_missing, 0, "train 4 has them all but those of a dead frame");
}

#[test]
fn a_matrix_of_which_nothing_was_written_says_so() {
    let Some(folder) = layouts() else { return };
    for chunked in [false, true] {
        let (_folder, file) = copy(&folder.join("old.hdf"));
        let h5 = hdf5::File::open_rw(&file).unwrap();
        let path = "/exchange/C2T_all/g2_00004";
        h5.unlink(path).unwrap();
        let builder = h5.new_dataset::<f32>();
        let builder = if chunked { builder.chunk((5, 20)) } else { builder };
        builder.shape((20, 20)).create(path).unwrap();
        drop(h5);
        let dataset = Dataset::open(&file, &chosen()).unwrap();
        dataset.read(0, &mut TwoTime::default()).unwrap();
        let result = dataset.read(1, &mut TwoTime::default());
        assert_data_error(result, &file, &[path, "was never written", "no storage", "phi_filtering.target_ranges"]);
    }
}

#[test]
fn a_pair_that_one_half_holds_is_there() {
    let Some(folder) = layouts() else { return };
    // a full matrix of which the last columns were never written: rows hold their pairs; and one half alone with another fill value
    let halves = [("old_full.hdf", 0.0), ("old.hdf", 1.0), ("old_lower_f32.hdf", -1.0)];
    for ((name, fill), by_library) in halves.into_iter().flat_map(|half| [(half, false), (half, true)]) {
        let (_folder, file) = copy(&folder.join(name));
        let h5 = hdf5::File::open_rw(&file).unwrap();
        let path = "/exchange/C2T_all/g2_00003";
        let values = h5.dataset(path).unwrap().read_2d::<f32>().unwrap();
        h5.unlink(path).unwrap();
        let new = h5.new_dataset::<f32>().chunk((5, 5)).fill_value(fill);
        let new = if by_library { new.nbit() } else { new.deflate(1) };
        let new = new.shape((20, 20)).create(path).unwrap();
        for (row, column) in (0..4).flat_map(|row| (0..4).map(move |column| (row, column))) {
            let is_written = match name {
                "old_full.hdf" => column < 3 || row == 3,
                "old.hdf" => column >= row,
                _ => column <= row,
            };
            if is_written {
                let (rows, columns) = (5 * row..5 * row + 5, 5 * column..5 * column + 5);
                let part = values.slice(s![rows.clone(), columns.clone()]).to_owned();
                new.write_slice(&part, hdf5::Hyperslab::from((rows, columns))).unwrap();
            }
        }
        drop((new, h5));
        let dataset = Dataset::open(&file, &chosen()).unwrap();
        let mut m = TwoTime::default();
        let report = dataset.read(0, &mut m).unwrap();
        assert_eq!((report.n_missing, report.blanks.len()), (0, 0), "{name}: {report:?}");
        assert!(
            (m.at(2, 17) - value(3, 2, 17)).abs() < 1e-6 && (m.at(16, 18) - value(3, 16, 18)).abs() < 1e-6,
            "{name}"
        );
    }
}
