//! Arrays with named dimensions in an HDF5 file that programs for netCDF-4 read, such as xarray, and through it ArviZ.
//!
//! A netCDF-4 dimension is a data set that HDF5 calls a dimension scale: it carries `CLASS`, `NAME` and a number, and every
//! variable points to its dimensions by the attribute `DIMENSION_LIST`, an object reference for each axis. Here every group has
//! dimensions of its own, and each of them coordinates.

use std::path::Path;

use hdf5::types::{FixedAscii, VarLenArray, VarLenUnicode};
use hdf5::{Group, H5Type, Location, ObjectReference1};

/// An axis.
#[derive(Debug, Clone)]
pub struct Dimension<'a> {
    /// Its name.
    pub name: &'a str,
    /// A number for each position.
    pub coordinates: Vec<f64>,
    /// Their unit; empty where they only count, from 0.
    pub unit: &'a str,
}

/// What an array holds, the last dimension fastest.
#[derive(Debug, Clone)]
pub enum Values {
    /// Numbers.
    Numbers(Vec<f64>),
    /// Whole numbers.
    Whole(Vec<i64>),
    /// Yes or no.
    Flags(Vec<bool>),
}

/// An array.
#[derive(Debug, Clone)]
pub struct Variable<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its dimensions, by their positions in the group.
    pub dimensions: Vec<usize>,
    /// Its values.
    pub values: Values,
    /// Their unit; empty where there is none.
    pub unit: &'a str,
    /// What it is.
    pub description: &'a str,
}

/// Arrays that belong together.
#[derive(Debug, Clone)]
pub struct Arrays<'a> {
    /// Name of the group.
    pub name: &'a str,
    /// Its axes.
    pub dimensions: Vec<Dimension<'a>>,
    /// Its arrays.
    pub variables: Vec<Variable<'a>>,
}

/// Length of names in the fixed strings that HDF5's dimension scales want.
type Name = FixedAscii<64>;

fn attribute<T: H5Type>(at: &Location, name: &str, value: &T) -> hdf5::Result<()> {
    at.new_attr::<T>().create(name)?.write_scalar(value)
}

fn text(at: &Location, name: &str, value: &str) -> hdf5::Result<()> {
    attribute(at, name, &value.replace('\0', "?").parse::<VarLenUnicode>().unwrap_or_default())
}

fn name_of(value: &str) -> Name {
    Name::from_ascii(value.as_bytes()).unwrap_or_default()
}

impl Dimension<'_> {
    fn write(&self, group: &Group, number: usize) -> hdf5::Result<()> {
        let is_count = self.unit.is_empty();
        let builder = group.new_dataset_builder();
        let dataset = if is_count {
            let whole: Vec<i64> = self.coordinates.iter().map(|&v| v as i64).collect();
            builder.with_data(&whole).create(self.name)?
        } else {
            builder.with_data(&self.coordinates).create(self.name)?
        };
        attribute(&dataset, "CLASS", &name_of("DIMENSION_SCALE"))?;
        attribute(&dataset, "NAME", &name_of(self.name))?;
        attribute(&dataset, "_Netcdf4Dimid", &(number as i32))?;
        if is_count { Ok(()) } else { text(&dataset, "units", self.unit) }
    }
}

impl Variable<'_> {
    fn write(&self, group: &Group, dimensions: &[Dimension], compression: u8) -> hdf5::Result<()> {
        let shape: Vec<usize> = self.dimensions.iter().map(|&k| dimensions[k].coordinates.len()).collect();
        let dataset = match &self.values {
            Values::Numbers(values) => self.create(group, values, &shape, compression)?,
            Values::Whole(values) => self.create(group, values, &shape, compression)?,
            // HDF5's booleans are enumerations, which netCDF doesn't take for numbers
            Values::Flags(values) => {
                let bytes: Vec<i8> = values.iter().map(|&v| i8::from(v)).collect();
                let dataset = self.create(group, &bytes, &shape, compression)?;
                text(&dataset, "dtype", "bool")?;
                dataset
            }
        };
        let axes = self.dimensions.iter().map(|&k| {
            let scale = group.reference::<ObjectReference1>(dimensions[k].name)?;
            Ok(VarLenArray::from_slice(&[scale]))
        });
        let axes = axes.collect::<hdf5::Result<Vec<VarLenArray<ObjectReference1>>>>()?;
        dataset.new_attr::<VarLenArray<ObjectReference1>>().shape(axes.len()).create("DIMENSION_LIST")?.write(&axes)?;
        if !self.unit.is_empty() {
            text(&dataset, "units", self.unit)?;
        }
        text(&dataset, "long_name", self.description)
    }

    fn create<T: H5Type>(
        &self,
        group: &Group,
        values: &[T],
        shape: &[usize],
        compression: u8,
    ) -> hdf5::Result<hdf5::Dataset> {
        let builder = group.new_dataset::<T>().shape(shape);
        let builder = if compression > 0 && values.len() > 1024 {
            builder.chunk(shape).shuffle().deflate(compression)
        } else {
            builder
        };
        let dataset = builder.create(self.name)?;
        dataset.write_raw(values)?;
        Ok(dataset)
    }
}

/// Writes groups of arrays into a new file, with these attributes on the file and on every group; gzip level `compression`.
///
/// # Errors
/// What HDF5 fails with.
pub fn write(path: &Path, groups: &[Arrays], attributes: &[(&str, String)], compression: u8) -> hdf5::Result<()> {
    let file = hdf5::File::create(path)?;
    for (name, value) in attributes {
        text(&file, name, value)?;
    }
    for arrays in groups {
        let group = file.create_group(arrays.name)?;
        for (name, value) in attributes {
            text(&group, name, value)?;
        }
        for (number, dimension) in arrays.dimensions.iter().enumerate() {
            dimension.write(&group, number)?;
        }
        for variable in &arrays.variables {
            variable.write(&group, &arrays.dimensions, compression)?;
        }
    }
    file.close()
}
