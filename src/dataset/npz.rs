//! Caches of the Python package `homodyne`: `.npz` files, which are zip files of NumPy arrays.
//!
//! `c2_exp` (K, N, N) holds the matrices, `phi_angles_list` (K) their angles in degree, `wavevector_q_list` (K) their q in
//! Å⁻¹, `t1` and `t2` (N) the times of the frames in s. The frames are those that its maker was configured with, and
//! `cache_metadata_json` names them: they aren't cut again.
//!
//! A packed member can only be unpacked from its beginning, so one stream is kept, which goes back to the beginning where
//! an earlier matrix is asked for. Memory beside the matrix is that of one row.

use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::chunks::narrow;
use super::hdf::shape_text;
use super::npy::{Element, Header};
use super::rings::short;
use super::selection::{Cut, Found, Rings};
use super::squares::{rounding, unreadable};
use super::zipped::{Member, Stream, Zipped};
use super::{MatrixReader, Slot, TwoTime};
use crate::{Error, Result};

/// The stack of matrices.
pub(super) const C2: &str = "c2_exp";
const PHI: &str = "phi_angles_list";
const Q: &str = "wavevector_q_list";
const TIMES: [&str; 2] = ["t1", "t2"];
const METADATA: &str = "cache_metadata_json";
/// The metadata as old versions of the package pickled them.
const PICKLED: &str = "cache_metadata";
/// A buffer may be so many times as large as the whole file.
const MOST: u64 = 4;
/// Numbers of the metadata and of the arrays farther apart than this, relatively, contradict each other.
const SAME: f64 = 1e-6;

/// Reads and checks everything but the matrices.
pub(super) fn find(file: &Path) -> Result<Found> {
    let archive = Archive { file: file.to_path_buf(), zip: Zipped::open(file)? };
    if archive.zip.member(&format!("{C2}.npy")).is_none() {
        let mut names: Vec<&str> = archive.zip.names().map(|n| n.trim_end_matches(".npy")).collect();
        names.sort_unstable();
        let names = if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
        let message = format!("is a zip file, but no cache of two-time data: it has no array {C2}; it holds {names}");
        return Err(Error::data(file, message));
    }
    if archive.zip.member(&format!("{PICKLED}.npy")).is_some() && !archive.has(METADATA) {
        archive.open(PICKLED)?;
    }
    let (member, header) = archive.stack()?;
    let (n_matrices, n) = (header.shape[0], header.shape[1]);
    let phi = archive.list(PHI, n_matrices, "angles, one per matrix of c2_exp")?;
    let q = archive.list(Q, n_matrices, "values of q, one per matrix of c2_exp")?;
    if let Some(at) = q.iter().position(|q| *q <= 0.0) {
        return Err(archive.error(Q, format!("expected positive numbers in Å⁻¹, found {} at index {at}", q[at])));
    }
    let dt = archive.time_step(n)?;
    let (mut notes, mut warnings) = (Vec::new(), Vec::new());
    let cut = match archive.metadata()? {
        Some(metadata) => archive.check(&metadata, &q, n)?,
        None => {
            warnings.push(format!("{METADATA} isn't there: the file doesn't say for which frames and q it was made"));
            Cut { frames: None, q: None }
        }
    };
    if matches!(header.element, Element::F64 { .. }) {
        notes.push(rounding(n_matrices, n_matrices));
    }
    if let Some(q) = cut.q {
        notes.push(format!("made for q = {q} Å⁻¹; every matrix has a q of its own, from {Q}"));
    }
    let slot = |(k, (&q, &phi)): (usize, (&f64, &f64))| Slot {
        path: format!("{C2}[{k}]"),
        bin: None,
        q,
        phi,
        selected: false,
    };
    let slots = q.iter().zip(&phi).enumerate().map(slot).collect();
    Ok(Found {
        slots,
        rings: Rings::PerBin,
        n_frames: n,
        cut: Some(cut),
        dt: Ok(Some(dt)),
        likely_dt: None,
        bad_frames: Vec::new(),
        skipped: 0,
        gap: None,
        notes,
        warnings,
        reader: Box::new(Reader { archive, member, header, stream: Mutex::new(None) }),
    })
}

/// The zip file with the name that its errors carry.
struct Archive {
    file: PathBuf,
    zip: Zipped,
}

impl Archive {
    fn error(&self, array: &str, message: impl Into<String>) -> Error {
        Error::data_at(&self.file, array, message)
    }

    fn has(&self, array: &str) -> bool {
        self.zip.member(&format!("{array}.npy")).is_some()
    }

    /// Header of an array that must be there, and its data. What the header promises is what the zip file holds.
    fn open(&self, array: &str) -> Result<(Member, Header, Stream)> {
        let member = self.zip.member(&format!("{array}.npy"));
        let member = member.ok_or_else(|| self.error(array, "this array is missing"))?;
        let mut stream = self.zip.stream(member).map_err(|e| self.error(array, e))?;
        let header = Header::read(&mut stream).map_err(|e| self.error(array, e))?;
        let promised = header.data_bytes().and_then(|bytes| bytes.checked_add(header.length));
        if promised != Some(member.size) {
            let message = format!(
                "is truncated or damaged: {} needs other than the {} bytes that are there",
                shape_text(&header.shape),
                member.size
            );
            return Err(self.error(array, message));
        }
        Ok((member.clone(), header, stream))
    }

    /// Refuses to make a buffer that the file can't fill.
    fn check_room(&self, array: &str, bytes: Option<u64>) -> Result<()> {
        if bytes.is_none_or(|bytes| bytes > MOST * self.zip.size) {
            let message = format!(
                "takes more than {MOST} times as much memory as the whole file, which isn't plausible; if it is meant, save it \
                 with numpy.savez, which doesn't compress"
            );
            return Err(self.error(array, message));
        }
        Ok(())
    }

    /// The stack of matrices, its header checked.
    fn stack(&self) -> Result<(Member, Header)> {
        let (member, mut header, _) = self.open(C2)?;
        if header.shape.len() == 2 {
            // of one angle, without a dimension for it
            header.shape.insert(0, 1);
        }
        if !matches!(header.element, Element::F32 { .. } | Element::F64 { .. }) {
            return Err(self.error(C2, "expected float32 or float64 values, found text"));
        }
        let square = header.shape.len() == 3 && header.shape[1] == header.shape[2] && !header.shape.contains(&0);
        if !square {
            let found = shape_text(&header.shape);
            return Err(self.error(C2, format!("expected the shape (K, N, N), found {found}")));
        }
        if header.fortran_order {
            let message = "is in Fortran order, in which no matrix lies in one piece; \
                           save numpy.ascontiguousarray(c2_exp) instead";
            return Err(self.error(C2, message));
        }
        let n = header.shape[1] as u64;
        self.check_room(C2, n.checked_mul(n).and_then(|entries| entries.checked_mul(size_of::<f32>() as u64)))?;
        Ok((member, header))
    }

    /// A list of finite numbers of known length; `what` says of what.
    fn list(&self, array: &str, n: usize, what: &str) -> Result<Vec<f64>> {
        let (_, header, mut stream) = self.open(array)?;
        if !matches!(header.element, Element::F32 { .. } | Element::F64 { .. }) {
            return Err(self.error(array, "expected float32 or float64 numbers, found text"));
        }
        if header.shape.len() != 1 {
            return Err(self.error(array, format!("expected a list, found {}", shape_text(&header.shape))));
        }
        if header.shape[0] != n {
            return Err(self.error(array, format!("expected {n} {what}, found {}", header.shape[0])));
        }
        let bytes = self.contents(array, &header, &mut stream)?;
        let values: Vec<f64> = bytes.chunks_exact(header.element.size()).map(|b| number(header.element, b)).collect();
        match values.iter().position(|v| !v.is_finite()) {
            Some(at) => Err(self.error(array, format!("expected finite numbers, found {} at index {at}", values[at]))),
            None => Ok(values),
        }
    }

    fn contents(&self, array: &str, header: &Header, stream: &mut Stream) -> Result<Vec<u8>> {
        self.check_room(array, header.data_bytes())?;
        let mut bytes = vec![0; header.data_bytes().unwrap_or(0) as usize];
        stream.read_exact(&mut bytes).map_err(|e| self.error(array, format!("cannot be read: {}", damage(&e))))?;
        Ok(bytes)
    }

    /// Time between frames, s, and where it came from.
    fn time_step(&self, n: usize) -> Result<(f64, String)> {
        let [first, second] = TIMES;
        let t1 = self.list(first, n, "times, one per frame of c2_exp")?;
        let t2 = self.list(second, n, "times, one per frame of c2_exp")?;
        let steps = n.saturating_sub(1).max(1) as f64;
        let dt = (t1[n - 1] - t1[0]) / steps;
        if !(dt > 0.0 && dt.is_finite()) && n > 1 {
            return Err(self.error(first, format!("expected times that rise, found {} to {}", t1[0], t1[n - 1])));
        }
        if let Some(i) = (0..n).find(|&i| (t1[i] - t1[0] - i as f64 * dt).abs() > SAME * dt * steps) {
            let message = format!("expected frames at equal steps of {dt} s, found {} s at index {i}", t1[i]);
            return Err(self.error(first, message));
        }
        if let Some(i) = (0..n).find(|&i| (t1[i] - t2[i]).abs() > SAME * dt) {
            let message =
                format!("expected the same times as {first}, found {} s, not {} s, at index {i}", t2[i], t1[i]);
            return Err(self.error(second, message));
        }
        Ok((dt, format!("file: steps of {first}")))
    }

    /// The metadata, a section of JSON in an array of one text.
    fn metadata(&self) -> Result<Option<Value>> {
        if !self.has(METADATA) {
            return Ok(None);
        }
        let (_, header, mut stream) = self.open(METADATA)?;
        if header.shape.iter().any(|&side| side != 1) {
            let found = shape_text(&header.shape);
            return Err(self.error(METADATA, format!("expected one text, found {found}")));
        }
        let bytes = self.contents(METADATA, &header, &mut stream)?;
        let text = match header.element {
            Element::Bytes(_) => String::from_utf8(bytes).ok(),
            Element::Unicode { big_endian, .. } => {
                let code = |b: &[u8; 4]| if big_endian { u32::from_be_bytes(*b) } else { u32::from_le_bytes(*b) };
                bytes.as_chunks().0.iter().map(|b| char::from_u32(code(b))).collect()
            }
            _ => return Err(self.error(METADATA, "expected one text, found numbers")),
        };
        let text = text.ok_or_else(|| self.error(METADATA, "expected text, found bytes that are none"))?;
        match serde_json::from_str(text.trim_end_matches('\0')) {
            Ok(value @ Value::Object(_)) => Ok(Some(value)),
            Ok(_) => Err(self.error(METADATA, "expected a JSON object")),
            Err(e) => Err(self.error(METADATA, format!("isn't JSON: {e}"))),
        }
    }

    /// Compares the metadata with the arrays and takes frames and q from them.
    fn check(&self, metadata: &Value, q: &[f64], n: usize) -> Result<Cut> {
        let number = |key: &str| match &metadata[key] {
            Value::Null => Ok(None),
            value => match value.as_f64() {
                Some(number) => Ok(Some(number)),
                None => Err(self.error(METADATA, format!("`{key}`: expected a number, found {value}"))),
            },
        };
        let contradicts = |key: &str, says: f64, array: &str, found: f64| {
            self.error(
                METADATA,
                format!("`{key}` says {says}, but {array} holds {}; make the file again", short(found)),
            )
        };
        for (key, array) in [("q_count", Q), ("phi_count", PHI)] {
            if let Some(count) = number(key)?.filter(|&count| count != q.len() as f64) {
                return Err(contradicts(key, count, array, q.len() as f64));
            }
        }
        let mean = q.iter().sum::<f64>() / q.len() as f64;
        if let Some(actual) = number("actual_wavevector_q")?.filter(|actual| (actual - mean).abs() > SAME * mean) {
            return Err(contradicts("actual_wavevector_q", actual, &format!("{Q}, on average,"), mean));
        }
        let frame = |key: &str| match number(key)? {
            // the last one, whatever its number
            None | Some(-1.0) => Ok(None),
            Some(f) if f >= 1.0 && f.fract() == 0.0 && f < 1e15 => Ok(Some(f as usize)),
            Some(f) => Err(self.error(METADATA, format!("`{key}`: expected a frame from 1, found {f}"))),
        };
        let frames = match (frame("start_frame")?, frame("end_frame")?) {
            (None, _) => None,
            (Some(start), None) => Some((start, start + n - 1)),
            (Some(start), Some(end)) if end >= start && end - start + 1 == n => Some((start, end)),
            (Some(start), Some(end)) => {
                let message = format!(
                    "says frames {start} to {end}, but {C2} has {n} frames; make the file again with frames that the \
                     measurement has"
                );
                return Err(self.error(METADATA, message));
            }
        };
        Ok(Cut { frames, q: number("config_wavevector_q")? })
    }
}

/// One element that is a number.
fn number(element: Element, bytes: &[u8]) -> f64 {
    let (four, eight) = (bytes.first_chunk(), bytes.first_chunk());
    match (element, four, eight) {
        (Element::F32 { big_endian: false }, Some(b), _) => f32::from_le_bytes(*b).into(),
        (Element::F32 { big_endian: true }, Some(b), _) => f32::from_be_bytes(*b).into(),
        (Element::F64 { big_endian: false }, _, Some(b)) => f64::from_le_bytes(*b),
        (Element::F64 { big_endian: true }, _, Some(b)) => f64::from_be_bytes(*b),
        _ => f64::NAN,
    }
}

/// What went wrong when unpacking, for people.
fn damage(error: &std::io::Error) -> String {
    let said = match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "its data end too early".to_owned(),
        _ => error.to_string(),
    };
    format!("{said}; copy the file again from where it was written")
}

struct Reader {
    archive: Archive,
    member: Member,
    header: Header,
    /// Where reading stands; `None` before the first matrix and after a failure.
    stream: Mutex<Option<Stream>>,
}

impl MatrixReader for Reader {
    fn read(&self, slot: usize, frames: Range<usize>, into: &mut TwoTime) -> Result<()> {
        self.unpack(slot, frames, into).map_err(|why| unreadable(&self.archive.file, &format!("{C2}[{slot}]"), &why))
    }
}

impl Reader {
    fn unpack(&self, slot: usize, frames: Range<usize>, into: &mut TwoTime) -> std::result::Result<(), String> {
        let (element, n) = (self.header.element, self.header.shape[1]);
        let row_bytes = element.size() * n;
        let start = self.header.length + slot as u64 * n as u64 * row_bytes as u64;
        let mut place = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stream = match place.take() {
            Some(stream) if stream.at <= start => stream,
            _ => self.archive.zip.stream(&self.member)?,
        };
        let fail = |e: std::io::Error| damage(&e);
        stream.skip(start - stream.at).map_err(fail)?;
        let mut row = vec![0; row_bytes];
        let mut rows = into.values.chunks_exact_mut(frames.len());
        for i in 0..n {
            stream.read_exact(&mut row).map_err(fail)?;
            if frames.contains(&i)
                && let Some(to) = rows.next()
            {
                let from = &row[frames.start * element.size()..frames.end * element.size()];
                for (to, bytes) in to.iter_mut().zip(from.chunks_exact(element.size())) {
                    *to = narrow(number(element, bytes));
                }
            }
        }
        *place = Some(stream);
        Ok(())
    }
}
