//! Reading: a file of each layout into matrices, held against plain reading of the same file's bytes.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

use serde_json::json;

use super::Sample;
use super::row::{Row, Timings, fields};
use crate::dataset::{Dataset, Layout, Selection, TwoTime, WriteSpec, write_file};
use crate::{Error, Result};

/// Layouts measured, with the name for machines.
const LAYOUTS: [(Layout, &str); 2] = [(Layout::ApsU, "aps_u_lzf"), (Layout::Native, "native")];
/// Bytes that plain reading asks for at a time.
const BLOCK: usize = 1 << 20;

fn write(sample: &Sample, layout: Layout, file: &Path) -> Result<()> {
    let e = &sample.experiment;
    let n = e.n_frames;
    let spec = WriteSpec {
        layout,
        q: e.q,
        dt: e.dt,
        gap: Some(e.gap),
        sigma: None,
        phi: &e.phi,
        n_frames: n,
        first_frame: 1,
        gzip: 0,
    };
    write_file(file, &spec, |angle, matrix| {
        for i in 0..n {
            matrix[i * n + i] = 1.0;
            matrix[i * n + i + 1..(i + 1) * n].copy_from_slice(sample.row_after(angle, i));
        }
    })
}

/// Reads a file's bytes; returns how many there were.
fn plain(file: &Path) -> std::io::Result<usize> {
    let (mut file, mut block, mut total) = (File::open(file)?, vec![0; BLOCK], 0);
    loop {
        match file.read(&mut block)? {
            0 => return Ok(total),
            n => total += n,
        }
    }
}

/// Writes the sample as a file of each layout to the temporary folder and reads it, in turns with plain reading; both
/// come from the system's file cache.
///
/// # Errors
/// When a file can't be written or read.
pub fn read(sample: &Sample, repetitions: usize) -> Result<Vec<Row>> {
    let parent = std::env::temp_dir();
    let folder = tempfile::Builder::new().prefix("homodyne-benchmark-").tempdir_in(&parent);
    let folder = folder.map_err(|e| Error::io("create a folder in", &parent, e))?;
    LAYOUTS.into_iter().map(|(layout, name)| one(sample, layout, name, folder.path(), repetitions)).collect()
}

fn one(sample: &Sample, layout: Layout, name: &str, folder: &Path, repetitions: usize) -> Result<Row> {
    let file = folder.join(format!("{name}.h5"));
    write(sample, layout, &file)?;
    let e = &sample.experiment;
    let selection = Selection { layout: Some(layout), dt: Some(e.dt), ..Selection::default() };
    let mut buffer = TwoTime::default();
    let (mut seconds, mut raw, mut bytes) = (Vec::new(), Vec::new(), 0);
    // the first round fills the file cache and the buffer and isn't counted
    for round in 0..=repetitions {
        let begin = Instant::now();
        bytes = plain(&file).map_err(|e| Error::io("read", &file, e))?;
        let plainly = begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        let dataset = Dataset::open(&file, &selection)?;
        for angle in 0..dataset.selected.len() {
            dataset.read(angle, &mut buffer)?;
        }
        if round > 0 {
            seconds.push(begin.elapsed().as_secs_f64());
            raw.push(plainly);
        }
    }
    let (seconds, raw, bytes) = (Timings::new(seconds), Timings::new(raw), bytes as f64);
    Ok(Row {
        name: "read",
        model: e.mode.name(),
        precision: None,
        isa: None,
        threads: 1,
        pairs: e.n_pairs() as f64,
        more: fields([
            ("layout", json!(name)),
            ("file_bytes", json!(bytes)),
            ("bytes_per_second", json!(bytes / seconds.best())),
            ("raw_bytes_per_second", json!(bytes / raw.best())),
            ("rate_over_raw", json!(raw.best() / seconds.best())),
            ("frames", json!(e.n_frames)),
            ("angles", json!(e.n_angles())),
        ]),
        seconds,
    })
}
