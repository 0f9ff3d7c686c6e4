//! Typed access to an HDF5 file whose every failure names the file, the HDF5 path, what was expected and what was found.

use std::ffi::{OsString, c_char};
use std::ops::Range;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use hdf5::filters::Filter;
use hdf5::plist::DatasetCreate;
use hdf5::plist::dataset_create::Layout;
use hdf5::types::{FixedAscii, FixedUnicode, TypeDescriptor, VarLenAscii, VarLenUnicode};
use hdf5::{Container, Hyperslab};
use hdf5_sys::h5i::hid_t;
use hdf5_sys::h5p::{H5Pget_virtual_count, H5Pget_virtual_dsetname, H5Pget_virtual_filename};
use hdf5_sys::h5t::{H5T_class_t, H5Tget_class};

use super::TwoTime;
use super::bands::read_rows;
use super::chunks::Chunked;
use super::storage::{self, Side};
use super::units::Quantity;
use crate::error::hdf5_reason as reason;
use crate::{Error, Result};

/// Filters that come as plugins, by their registered numbers.
const FILTERS: [(i32, &str); 9] = [
    (307, "bzip2"),
    (32001, "Blosc"),
    (32004, "LZ4"),
    (32008, "Bitshuffle"),
    (32013, "ZFP"),
    (32015, "Zstandard"),
    (32017, "SZ"),
    (32019, "JPEG"),
    (32026, "Blosc2"),
];
/// Where the library looks for the files of virtual datasets.
const VDS_PREFIX: &str = "HDF5_VDS_PREFIX";
/// Parts of a virtual dataset up to which each of their files is opened to see whether the part is there.
const MOST_SOURCES: usize = 64;
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
        self.h5.dataset(path).map_err(|e| {
            let said = reason(e);
            // the library names the file of a link that leads out of this one
            let other =
                said.split_once("file name = '").and_then(|(_, rest)| rest.split_once('\'')).map(|(name, _)| name);
            let message = match other {
                Some(name) => {
                    format!("is a link into another file, {name}, which can't be opened: copy it, too ({said})")
                }
                None => format!("cannot be opened as a dataset: {said}"),
            };
            self.error(path, message)
        })
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

    /// A list of numbers of any type, text included: (n), (1, n), (n, 1), or a single number; NaN where there is none.
    pub fn floats_or_nan(&self, path: &str) -> Result<Vec<f64>> {
        let dataset = self.dataset(path)?;
        self.check_list(path, &dataset)?;
        self.numbers(path, &dataset)
    }

    /// All numbers of a table, row by row, of any type.
    pub fn table(&self, path: &str) -> Result<Vec<f64>> {
        let dataset = self.dataset(path)?;
        self.check_written(path, &dataset)?;
        self.check_length(path, entries(&dataset.shape()))?;
        self.numbers(path, &dataset)
    }

    /// The same as [`Self::floats_or_nan`], all finite.
    pub fn floats(&self, path: &str) -> Result<Vec<f64>> {
        let values = self.floats_or_nan(path)?;
        match values.iter().position(|v| !v.is_finite()) {
            Some(at) => Err(self.error(path, format!("expected finite numbers, found {} at index {at}", values[at]))),
            None => Ok(values),
        }
    }

    /// A list of whole numbers, of any type: (n), (1, n), (n, 1), or a single one.
    pub fn integers(&self, path: &str) -> Result<Vec<i64>> {
        /// Beyond, a float64 doesn't tell whole numbers apart.
        const MOST: f64 = 9e15;
        let dataset = self.dataset(path)?;
        if Class::of(&dataset) == Class::Integer {
            self.check_list(path, &dataset)?;
            return dataset.read_raw().map_err(|e| self.error(path, format!("cannot be read: {}", reason(e))));
        }
        let values = self.floats_or_nan(path)?;
        match values.iter().position(|v| v.fract() != 0.0 || v.abs() > MOST || v.is_nan()) {
            Some(at) => Err(self.error(path, format!("expected integers, found {} at index {at}", values[at]))),
            None => Ok(values.into_iter().map(|v| v as i64).collect()),
        }
    }

    /// Whether a dataset holds nothing.
    pub fn is_empty(&self, path: &str) -> Result<bool> {
        let dataset = self.dataset(path)?;
        Ok(dataset.shape().contains(&0) || dataset.space().is_ok_and(|space| space.is_null()))
    }

    /// Refuses numbers that the file holds no storage for: they would read as zeros.
    fn check_written(&self, path: &str, dataset: &hdf5::Dataset) -> Result<()> {
        if !storage::is_written(dataset) {
            return Err(self.error(path, "expected numbers, found none: it was never written"));
        }
        Ok(())
    }

    fn check_list(&self, path: &str, dataset: &hdf5::Dataset) -> Result<()> {
        self.check_written(path, dataset)?;
        let shape = dataset.shape();
        let longest = shape.iter().copied().max().unwrap_or(1);
        if dataset.space().is_ok_and(|space| space.is_null()) || longest == 0 {
            return Err(self.error(path, "expected a list, found an empty one: nothing was written"));
        }
        if shape.len() > 2 || entries(&shape) != longest {
            return Err(self.error(path, format!("expected a list, found {}", shape_text(&shape))));
        }
        self.check_length(path, longest)
    }

    /// All numbers of a dataset or attribute, of whatever type they are.
    fn numbers(&self, path: &str, container: &Container) -> Result<Vec<f64>> {
        match Class::of(container) {
            Class::Float | Class::Integer => {
                container.read_raw().map_err(|e| self.error(path, format!("cannot be read: {}", reason(e))))
            }
            Class::Text => self.strings_of(path, container)?.iter().map(|text| self.parsed(path, text)).collect(),
            Class::Other => Err(self.error(path, format!("expected numbers, found {}", text(&type_of(container))))),
        }
    }

    /// A number that is written as text.
    fn parsed(&self, path: &str, text: &str) -> Result<f64> {
        let error = || self.error(path, format!("expected a number, found the text {text:?}"));
        text.trim_matches(|c: char| c == '\0' || c.is_whitespace()).parse().map_err(|_| error())
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
        let dataset = self.dataset(path)?;
        self.check_written(path, &dataset)?;
        self.one(path, &dataset).map(Some)
    }

    /// An attribute of the root group that holds one number, where it exists.
    pub fn root_number(&self, name: &str) -> Result<Option<f64>> {
        match self.h5.attr(name) {
            Ok(attribute) => self.one(&format!("/ attribute {name}"), &attribute).map(Some),
            Err(_) => Ok(None),
        }
    }

    fn one(&self, path: &str, container: &Container) -> Result<f64> {
        if entries(&container.shape()) != 1 || container.space().is_ok_and(|space| space.is_null()) {
            let found = shape_text(&container.shape());
            return Err(self.error(path, format!("expected one number, found {found}")));
        }
        Ok(self.numbers(path, container)?[0])
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
        self.numbers(&format!("{path} attribute {name}"), &attribute).map(Some)
    }

    /// The one number in an attribute, where it exists.
    pub fn attribute_number(&self, path: &str, name: &str) -> Result<Option<f64>> {
        let Ok(attribute) = self.location(path)?.attr(name) else { return Ok(None) };
        self.one(&format!("{path} attribute {name}"), &attribute).map(Some)
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
        fn read<T: hdf5::H5Type + AsRef<str>>(container: &Container) -> hdf5::Result<Vec<String>> {
            Ok(container.read_raw::<T>()?.iter().map(|s| decoded(s.as_ref().as_bytes())).collect())
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
        strings.map_err(|e| self.error(path, format!("cannot be read: {}", reason(e))))
    }

    /// The `units` (or `unit`) of a dataset; `None` where it names none.
    pub fn unit(&self, path: &str) -> Result<Option<String>> {
        for name in ["units", "unit"] {
            let unit = self.attribute_text(path, name)?;
            let unit = unit.filter(|unit| !unit.trim_matches(|c: char| c == '\0' || c.is_whitespace()).is_empty());
            if unit.is_some() {
                return Ok(unit);
            }
        }
        Ok(None)
    }

    /// Brings the numbers of a dataset to the unit used here, from the one that the file names; `elsewhere` is the unit that
    /// another place in the file gives them, and the place. Returns whether it names one; a change is noted.
    ///
    /// Errors for a unit of something else, or one that isn't known.
    pub fn convert(
        &self,
        path: &str,
        values: &mut [f64],
        quantity: Quantity,
        elsewhere: Option<(&str, &str)>,
        notes: &mut Vec<String>,
    ) -> Result<bool> {
        let (unit, place) = match (self.unit(path)?, elsewhere) {
            (Some(unit), _) => (unit, format!("{path} attribute units")),
            (None, Some((unit, place))) => (unit.to_owned(), place.to_owned()),
            (None, None) => return Ok(false),
        };
        let Some(divisor) = quantity.divisor(&unit) else {
            return Err(self.error(&place, format!("expected {}, found {unit:?}", quantity.expected())));
        };
        if let Some((other, elsewhere)) = elsewhere.filter(|(other, _)| quantity.divisor(other) != Some(divisor)) {
            notes.push(format!("{path} is in {unit} ({place}); {elsewhere} says {other}, which isn't believed"));
        }
        if divisor != 1.0 {
            notes.push(format!("{path} is in {unit} ({place}), brought to {}", quantity.own()));
            values.iter_mut().for_each(|value| *value /= divisor);
        }
        Ok(true)
    }

    /// One time in s, where the dataset exists; without a unit it is in s.
    pub fn seconds(&self, path: &str, notes: &mut Vec<String>) -> Result<Option<f64>> {
        let Some(time) = self.number(path)? else { return Ok(None) };
        let mut time = [time];
        self.convert(path, &mut time, Quantity::Time, None, notes)?;
        Ok(Some(time[0]))
    }

    /// Opens a dataset of float32 or float64 numbers.
    pub fn float_dataset(&self, path: &str) -> Result<hdf5::Dataset> {
        let dataset = self.dataset(path)?;
        self.check_sources(path, &dataset)?;
        self.check_filters(path, &dataset)?;
        match Class::of(&dataset) {
            Class::Float => Ok(dataset),
            _ => Err(self.error(path, format!("expected floating-point values, found {}", text(&type_of(&dataset))))),
        }
    }

    /// Refuses a dataset with a filter that neither the library nor a plugin of it has.
    fn check_filters(&self, path: &str, dataset: &hdf5::Dataset) -> Result<()> {
        let filters = dataset.dcpl().and_then(|creation| creation.get_filters()).unwrap_or_default();
        let Some(number) = filters.iter().find(|filter| !filter.is_available()).map(Filter::id) else { return Ok(()) };
        let name = FILTERS.iter().find(|(known, _)| *known == number).map_or("a compression", |(_, name)| name);
        let message = format!(
            "is compressed with {name} (HDF5 filter {number}), for which there is no plugin here: set HDF5_PLUGIN_PATH to a folder \
             that has it (PyPI's hdf5plugin brings one), or unpack the file with h5repack -f NONE where it can be read"
        );
        Err(self.error(path, message))
    }

    /// Refuses a virtual dataset of which a file isn't there: the library reads its part as never filled.
    fn check_sources(&self, path: &str, dataset: &hdf5::Dataset) -> Result<()> {
        let Ok(creation) = dataset.dcpl() else { return Ok(()) };
        if !creation.get_layout().is_ok_and(|layout| layout == Layout::Virtual)
            || std::env::var_os(VDS_PREFIX).is_some()
        {
            return Ok(());
        }
        let folder = self.file.parent().unwrap_or(Path::new(""));
        let sources = virtual_sources(&creation).map_err(|e| self.error(path, reason(e)))?;
        let are_few = sources.len() <= MOST_SOURCES;
        for (name, inner) in sources {
            let (name, inner) = (Path::new(&name), inner.to_string_lossy());
            // a name with % stands for many
            if name == Path::new(".") || name.to_string_lossy().contains('%') || inner.contains('%') {
                continue;
            }
            // the places where the library looks
            let places = [folder.join(name), name.to_path_buf(), folder.join(name.file_name().unwrap_or_default())];
            let Some(place) = places.iter().find(|place| place.exists()) else {
                let message = format!(
                    "its values are in another file, {}, which isn't there; copy it, too, or set {VDS_PREFIX} to its folder",
                    folder.join(name).display()
                );
                return Err(self.error(path, message));
            };
            if !are_few {
                continue;
            }
            let opened =
                hdf5::File::open(place).map_err(|e| self.error(path, format!("{}: {}", place.display(), reason(e))))?;
            if !(Source { file: place, h5: &opened }).exists(&inner) {
                let message = format!(
                    "its values are in {inner} of another file, {}, which has no such dataset",
                    place.display()
                );
                return Err(self.error(path, message));
            }
        }
        Ok(())
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
            (4, _) => "(T, K, N, N)",
            _ => "(T, S, K, N, N)",
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
    storage::note(dataset, &Side::of_stack(index), &frames, &frames, into)?;
    if let Some(chunked) = Chunked::new(dataset, index) {
        return chunked.read(&frames, into);
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

/// Files and datasets in them that a virtual dataset takes its values from.
fn virtual_sources(creation: &DatasetCreate) -> hdf5::Result<Vec<(OsString, OsString)>> {
    type Ask = unsafe extern "C" fn(hid_t, usize, *mut c_char, usize) -> isize;
    hdf5::sync::sync(|| {
        let mut count = 0;
        // SAFETY: an open list of properties, asked under the library's lock, with room for what it writes
        hdf5::h5check(unsafe { H5Pget_virtual_count(creation.id(), &mut count) })?;
        let name = |ask: Ask, index: usize| {
            // SAFETY: as above; without room the library says how much is needed
            let length = unsafe { ask(creation.id(), index, std::ptr::null_mut(), 0) };
            let mut name = vec![0_u8; usize::try_from(length).unwrap_or(0) + 1];
            // SAFETY: as above, with room for the end of the text
            unsafe { ask(creation.id(), index, name.as_mut_ptr().cast(), name.len()) };
            name.pop();
            OsString::from_vec(name)
        };
        let mut sources: Vec<_> =
            (0..count).map(|k| (name(H5Pget_virtual_filename, k), name(H5Pget_virtual_dsetname, k))).collect();
        sources.dedup();
        Ok(sources)
    })
}

/// What kind of values there are, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Integer,
    Float,
    Text,
    Other,
}

impl Class {
    /// Of any width and byte order: HDF5 converts them.
    fn of(container: &Container) -> Self {
        let Ok(stored) = container.dtype() else { return Self::Other };
        // SAFETY: an open type, asked for under the library's lock
        match hdf5::sync::sync(|| unsafe { H5Tget_class(stored.id()) }) {
            H5T_class_t::H5T_INTEGER => Self::Integer,
            H5T_class_t::H5T_FLOAT => Self::Float,
            H5T_class_t::H5T_STRING => Self::Text,
            _ => Self::Other,
        }
    }
}

/// Text of a file: UTF-8, and what isn't is taken as Latin-1, in which older programs write Å and µ.
fn decoded(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|&byte| byte as char).collect(),
    }
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
