//! Typed access to an HDF5 file whose every failure names the file, the HDF5 path, what was expected and what was found.

use std::ops::Range;
use std::path::Path;

use hdf5::types::{FixedAscii, FixedUnicode, TypeDescriptor, VarLenAscii, VarLenUnicode};
use hdf5::{Container, Hyperslab};

use super::TwoTime;
use super::bands::read_rows;
use super::chunks::Chunked;
use crate::error::hdf5_reason as reason;
use crate::{Error, Result};

/// Longest fixed-size string read from metadata, bytes; names in q maps are a few letters long.
const MAX_NAME: usize = 256;
/// Entries of a list that any file may have, 1 MB of them …
const ANY_FILE: u64 = 1 << 17;
/// … and bytes of it per byte of a larger file: an HDF5 file can promise a list of any length without holding it.
const PER_BYTE: u64 = 4;

/// An open HDF5 file together with the name that its errors carry.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub file: &'a Path,
    pub h5: &'a hdf5::File,
}

impl Source<'_> {
    /// An error blaming an HDF5 path.
    pub fn error(&self, path: &str, message: impl Into<String>) -> Error {
        Error::data_at(self.file, path, message)
    }

    /// Whether a link of that absolute path exists.
    pub fn exists(&self, path: &str) -> bool {
        // the library can only ask for the last component of a path whose others exist
        let mut walked = String::new();
        path.split('/').filter(|part| !part.is_empty()).all(|part| {
            walked.push('/');
            walked.push_str(part);
            self.h5.link_exists(&walked)
        })
    }

    /// Opens a dataset that must be there.
    pub fn dataset(&self, path: &str) -> Result<hdf5::Dataset> {
        if !self.exists(path) {
            return Err(self.error(path, "this dataset is missing"));
        }
        self.h5.dataset(path).map_err(|e| self.error(path, format!("cannot be opened as a dataset: {}", reason(e))))
    }

    /// Names in a group that must be there.
    pub fn members(&self, path: &str) -> Result<Vec<String>> {
        if !self.exists(path) {
            return Err(self.error(path, "this group is missing"));
        }
        self.h5
            .group(path)
            .and_then(|group| group.member_names())
            .map_err(|e| self.error(path, format!("expected a group, which cannot be opened: {}", reason(e))))
    }

    /// A list of floating-point numbers, (n), (1, n) or (n, 1), NaN where there is none.
    pub fn floats_or_nan(&self, path: &str) -> Result<Vec<f64>> {
        let dataset = self.dataset(path)?;
        match type_of(&dataset) {
            Ok(TypeDescriptor::Float(_)) => self.list(path, &dataset),
            other => Err(self.error(path, format!("expected floating-point numbers, found {}", text(&other)))),
        }
    }

    /// A list of finite floating-point numbers, (n), (1, n) or (n, 1).
    pub fn floats(&self, path: &str) -> Result<Vec<f64>> {
        let values = self.floats_or_nan(path)?;
        match values.iter().position(|v| !v.is_finite()) {
            Some(at) => Err(self.error(path, format!("expected finite numbers, found {} at index {at}", values[at]))),
            None => Ok(values),
        }
    }

    /// A list of integers of any width, (n), (1, n) or (n, 1).
    pub fn integers(&self, path: &str) -> Result<Vec<i64>> {
        let dataset = self.dataset(path)?;
        match type_of(&dataset) {
            Ok(TypeDescriptor::Integer(_) | TypeDescriptor::Unsigned(_)) => self.list(path, &dataset),
            other => Err(self.error(path, format!("expected integers, found {}", text(&other)))),
        }
    }

    fn list<T: hdf5::H5Type>(&self, path: &str, dataset: &hdf5::Dataset) -> Result<Vec<T>> {
        let shape = dataset.shape();
        let longest = shape.iter().copied().max().unwrap_or(0);
        if shape.is_empty() || shape.len() > 2 || entries(&shape) != longest || longest == 0 {
            return Err(self.error(path, format!("expected a list, found {}", shape_text(&shape))));
        }
        self.check_length(path, longest)?;
        dataset.read_raw().map_err(|e| self.error(path, format!("cannot be read: {}", reason(e))))
    }

    /// Refuses a list that the file can't hold, be it of numbers or of matrices, before there is memory for it.
    pub fn check_length(&self, path: &str, n: usize) -> Result<()> {
        let size = std::fs::metadata(self.file).map_or(0, |m| m.len());
        if n as u64 <= ANY_FILE.max(PER_BYTE * size / size_of::<f64>() as u64) {
            return Ok(());
        }
        let message = format!("promises {n} entries, more than a file of {size} bytes can hold; it is damaged");
        Err(self.error(path, message))
    }

    /// One number of any type, where the dataset exists.
    pub fn number(&self, path: &str) -> Result<Option<f64>> {
        if !self.exists(path) {
            return Ok(None);
        }
        self.one(path, &*self.dataset(path)?).map(Some)
    }

    /// An attribute of the root group that holds one number, where it exists.
    pub fn root_number(&self, name: &str) -> Result<Option<f64>> {
        match self.h5.attr(name) {
            Ok(attribute) => self.one(&format!("/ attribute {name}"), &attribute).map(Some),
            Err(_) => Ok(None),
        }
    }

    fn one(&self, path: &str, container: &Container) -> Result<f64> {
        match type_of(container) {
            Ok(TypeDescriptor::Float(_) | TypeDescriptor::Integer(_) | TypeDescriptor::Unsigned(_)) => {}
            other => return Err(self.error(path, format!("expected a number, found {}", text(&other)))),
        }
        if entries(&container.shape()) != 1 {
            let found = shape_text(&container.shape());
            return Err(self.error(path, format!("expected one number, found {found}")));
        }
        let values: Vec<f64> =
            container.read_raw().map_err(|e| self.error(path, format!("cannot be read: {}", reason(e))))?;
        Ok(values[0])
    }

    /// A list of strings of any HDF5 kind.
    pub fn strings(&self, path: &str) -> Result<Vec<String>> {
        self.strings_of(path, &*self.dataset(path)?)
    }

    /// A string attribute of a group or dataset, where it exists.
    pub fn attribute_text(&self, path: &str, name: &str) -> Result<Option<String>> {
        match self.location(path)?.attr(name) {
            Ok(attribute) => Ok(self.strings_of(&format!("{path} attribute {name}"), &attribute)?.pop()),
            Err(_) => Ok(None),
        }
    }

    /// The numbers in an attribute of a group or dataset, of any type and shape, where it exists.
    pub fn attribute_numbers(&self, path: &str, name: &str) -> Result<Option<Vec<f64>>> {
        let Ok(attribute) = self.location(path)?.attr(name) else { return Ok(None) };
        let place = format!("{path} attribute {name}");
        match type_of(&attribute) {
            Ok(TypeDescriptor::Float(_) | TypeDescriptor::Integer(_) | TypeDescriptor::Unsigned(_)) => {}
            other => return Err(self.error(&place, format!("expected numbers, found {}", text(&other)))),
        }
        let values = attribute.read_raw().map_err(|e| self.error(&place, format!("cannot be read: {}", reason(e))))?;
        Ok(Some(values))
    }

    /// The one number in an attribute, which may be written as text.
    pub fn attribute_number(&self, path: &str, name: &str) -> Result<Option<f64>> {
        let place = format!("{path} attribute {name}");
        let values = match self.attribute_text(path, name) {
            Ok(Some(text)) => match text.trim().parse() {
                Ok(number) => vec![number],
                Err(_) => return Err(self.error(&place, format!("expected a number, found the text {text:?}"))),
            },
            Ok(None) => return Ok(None),
            Err(_) => self.attribute_numbers(path, name)?.unwrap_or_default(),
        };
        match values[..] {
            [number] => Ok(Some(number)),
            _ => Err(self.error(&place, format!("expected one number, found {}", values.len()))),
        }
    }

    /// Names of all attributes of a group or dataset.
    pub fn attribute_names(&self, path: &str) -> Result<Vec<String>> {
        let names = self.location(path)?.attr_names();
        names.map_err(|e| self.error(path, format!("its attributes cannot be read: {}", reason(e))))
    }

    /// A group or dataset that must be there.
    fn location(&self, path: &str) -> Result<hdf5::Location> {
        if !self.exists(path) {
            return Err(self.error(path, "is missing"));
        }
        let opened = self.h5.dataset(path).map(|dataset| hdf5::Location::clone(&dataset));
        let opened = opened.or_else(|_| self.h5.group(path).map(|group| hdf5::Location::clone(&group)));
        opened.map_err(|e| self.error(path, format!("cannot be opened: {}", reason(e))))
    }

    /// Whether a path leads to a group.
    pub fn is_group(&self, path: &str) -> bool {
        self.exists(path) && self.h5.group(path).is_ok()
    }

    /// The shape of a dataset that must be there.
    pub fn shape(&self, path: &str) -> Result<Vec<usize>> {
        Ok(self.dataset(path)?.shape())
    }

    fn strings_of(&self, path: &str, container: &Container) -> Result<Vec<String>> {
        // the library hands on whatever bytes are there, and calls them a string
        fn read<T: hdf5::H5Type + AsRef<str>>(container: &Container) -> hdf5::Result<Option<Vec<String>>> {
            let checked = |s: &T| String::from_utf8(s.as_ref().as_bytes().to_vec()).ok();
            Ok(container.read_raw::<T>()?.iter().map(checked).collect())
        }
        // a name takes the memory of many numbers
        self.check_length(path, entries(&container.shape()).saturating_mul(MAX_NAME / size_of::<f64>()))?;
        let strings = match type_of(container) {
            Ok(TypeDescriptor::VarLenUnicode) => read::<VarLenUnicode>(container),
            Ok(TypeDescriptor::VarLenAscii) => read::<VarLenAscii>(container),
            Ok(TypeDescriptor::FixedAscii(n)) if n <= MAX_NAME => read::<FixedAscii<MAX_NAME>>(container),
            Ok(TypeDescriptor::FixedUnicode(n)) if n <= MAX_NAME => read::<FixedUnicode<MAX_NAME>>(container),
            other => return Err(self.error(path, format!("expected text, found {}", text(&other)))),
        };
        let strings = strings.map_err(|e| self.error(path, format!("cannot be read: {}", reason(e))))?;
        strings.ok_or_else(|| self.error(path, "is no text: its bytes are not UTF-8"))
    }

    /// The `units` (or `unit`) of a dataset; `None` where it names none.
    pub fn unit(&self, path: &str) -> Result<Option<String>> {
        let named = match self.attribute_text(path, "units")? {
            Some(unit) => Some(unit),
            None => self.attribute_text(path, "unit")?,
        };
        Ok(named.filter(|unit| !unit.trim_matches(|c: char| c == '\0' || c.is_whitespace()).is_empty()))
    }

    /// Opens a dataset of float32 or float64 numbers.
    pub fn float_dataset(&self, path: &str) -> Result<hdf5::Dataset> {
        let dataset = self.dataset(path)?;
        match type_of(&dataset) {
            Ok(TypeDescriptor::Float(_)) => Ok(dataset),
            other => Err(self.error(path, format!("expected float32 or float64 values, found {}", text(&other)))),
        }
    }

    /// Opens a dataset of float32 or float64 numbers with `rank` dimensions, the last two of which are N × N with
    /// N > 0; returns its shape too.
    pub fn square(&self, path: &str, rank: usize) -> Result<(hdf5::Dataset, Vec<usize>)> {
        self.square_at(path, rank, rank - 2)
    }

    /// The same with N × N at the dimensions `axis` and `axis` + 1.
    pub fn square_at(&self, path: &str, rank: usize, axis: usize) -> Result<(hdf5::Dataset, Vec<usize>)> {
        let dataset = self.float_dataset(path)?;
        let shape = dataset.shape();
        let wanted = match (rank, axis) {
            (2, _) => "(N, N)",
            (3, 0) => "(N, N, K)",
            (3, _) => "(K, N, N)",
            _ => "(T, K, N, N)",
        };
        let square = shape.len() == rank && shape[axis] == shape[axis + 1] && !shape.contains(&0);
        if !square {
            return Err(self.error(path, format!("expected the shape {wanted}, found {}", shape_text(&shape))));
        }
        let others = shape.iter().enumerate().filter(|(k, _)| *k != axis && *k != axis + 1);
        self.check_length(path, others.fold(1, |n, (_, &length)| n.saturating_mul(length)))?;
        Ok((dataset, shape))
    }
}

/// Reads frames × frames of a matrix, or of matrix `index` of a stack, as float32: chunks by all threads (see
/// [`super::chunks`]), anything else by the library, which doesn't touch contiguous data outside the frames. `into` has room for
/// them.
///
/// The error is what is wrong with the data, without file and path.
pub(super) fn read_frames(
    dataset: &hdf5::Dataset,
    index: Option<usize>,
    frames: Range<usize>,
    into: &mut TwoTime,
) -> std::result::Result<(), String> {
    let n = frames.len();
    if let Some(chunked) = Chunked::new(dataset, index) {
        return chunked.read(&frames, &mut into.values);
    }
    if index.is_none() && dataset.shape() == [n, n] {
        return dataset.as_reader().read_into_raw(&mut into.values).map(|_| ()).map_err(reason);
    }
    let part = |rows: Range<usize>| match index {
        None => Hyperslab::from((rows, frames.clone())),
        Some(k) => Hyperslab::from((k, rows, frames.clone())),
    };
    let axis = usize::from(index.is_some());
    read_rows::<f32>(dataset, axis, frames.clone(), n, part, |row, values| {
        into.values[(row - frames.start) * n..][..n].copy_from_slice(values);
        Ok(())
    })
}

fn type_of(container: &Container) -> hdf5::Result<TypeDescriptor> {
    container.dtype()?.to_descriptor()
}

fn text(found: &hdf5::Result<TypeDescriptor>) -> String {
    match found {
        Ok(descriptor) => descriptor.to_string(),
        Err(e) => format!("a type that cannot be read ({})", reason(e)),
    }
}

/// How many entries a shape claims; the product may not fit into a number.
pub(super) fn entries(shape: &[usize]) -> usize {
    shape.iter().fold(1, |all, &side| all.saturating_mul(side))
}

/// A shape for people: "(3, 100, 100)", "a scalar".
pub(super) fn shape_text(shape: &[usize]) -> String {
    match shape {
        [] => "a scalar".to_owned(),
        [n] => format!("the shape ({n},)"),
        _ => format!("the shape ({})", shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
    }
}
