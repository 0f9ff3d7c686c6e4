//! Opening a file: is it HDF5 or a zip file and whole, which layout does it have, and what does the selection take from it.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use super::hdf::Source;
use super::patience::Patience;
use super::selection::{Found, Purpose, select};
use super::{Dataset, Layout, Selection, aps_matlab, aps_old, aps_u, chx, esrf_id02, euxfel, native, npz, nxxpcs};
use crate::error::{TOO_MANY_OPEN, hdf5_reason as reason};
use crate::{Error, Result, files};

/// First bytes of every HDF5 superblock.
const SIGNATURE: [u8; 8] = *b"\x89HDF\r\n\x1a\n";

/// First bytes of a zip file with members, and of one without.
const ZIP: [[u8; 4]; 2] = [*b"PK\x03\x04", *b"PK\x05\x06"];

/// First bytes of files that are compressed as a whole, and what unpacks them.
const PACKED: [(&[u8], &str); 4] =
    [(b"\x1f\x8b", "gunzip"), (b"\xfd7zX", "unxz"), (b"BZh", "bunzip2"), (b"\x28\xb5\x2f\xfd", "unzstd")];

/// A layout of HDF5 files, objects one of which it has, and how to read its metadata.
struct Known {
    layout: Layout,
    markers: &'static [&'static str],
    /// Whether what marks it is there under another name.
    is_elsewhere: fn(Source) -> bool,
    /// What tells it from other layouts with the same markers.
    is_it: fn(Source, &Selection) -> bool,
    find: fn(Source, &Selection, Purpose) -> Result<Found>,
}

const KNOWN: [Known; 8] = [
    Known::new(Layout::ApsU, &[aps_u::MAP], |source, _, _| aps_u::find(source)),
    Known {
        // also where there are no matrices at all: its reader says so
        is_it: |source, selection| {
            let key = selection.exchange_key.as_deref();
            aps_old::is_there(source, key) || !aps_matlab::is_there(source, key)
        },
        ..Known::new(Layout::ApsOld, &[aps_old::Q_LIST, aps_old::DEFAULT_MATRICES], |source, selection, _| {
            aps_old::find(source, selection.exchange_key.as_deref())
        })
    },
    Known {
        is_it: |source, selection| aps_matlab::is_there(source, selection.exchange_key.as_deref()),
        ..Known::new(Layout::ApsMatlab, &[aps_old::DEFAULT_MATRICES, aps_old::Q_LIST], |source, selection, _| {
            aps_matlab::find(source, selection.exchange_key.as_deref())
        })
    },
    Known {
        is_elsewhere: nxxpcs::is_there,
        ..Known::new(Layout::Nxxpcs, &[nxxpcs::C2], |source, selection, purpose| {
            nxxpcs::find(source, selection.exchange_key.as_deref(), &selection.unsaid, purpose)
        })
    },
    Known::new(Layout::Chx, &[chx::C2], |source, _, _| chx::find(source)),
    Known::new(Layout::EsrfId02, &[esrf_id02::ANALYSES], |source, selection, purpose| {
        esrf_id02::find(source, selection.exchange_key.as_deref(), purpose)
    }),
    Known::new(Layout::Euxfel, &[euxfel::C2], |source, selection, purpose| {
        euxfel::find(source, selection.unsaid.train, purpose)
    }),
    Known::new(Layout::Native, &[native::C2], |source, _, _| native::find(source)),
];

impl Known {
    const fn new(
        layout: Layout,
        markers: &'static [&'static str],
        find: fn(Source, &Selection, Purpose) -> Result<Found>,
    ) -> Self {
        Self { layout, markers, is_elsewhere: |_| false, is_it: |_, _| true, find }
    }

    fn text(&self) -> String {
        format!("{} ({})", self.layout.name(), self.markers[0])
    }
}

impl Dataset {
    /// Opens a file, detects its layout (or insists on the selection's) and picks the matrices and frames selected.
    ///
    /// Reads metadata only. Errors: [`Error::Data`] for a file that is missing, damaged, of no known layout, inconsistent,
    /// or has nothing at the selected q or φ; [`Error::Usage`] for frame ranges that select too little; [`Error::Io`] for
    /// a file that may not be read.
    pub fn open(file: &Path, selection: &Selection) -> Result<Self> {
        let dataset = Self::open_as(file, selection, Purpose::Fit)?;
        for warning in &dataset.warnings {
            log::warn!("{}: {warning}", file.display());
        }
        Ok(dataset)
    }

    /// Opens a file that another rank has opened, which has said what there is to say.
    ///
    /// # Errors
    /// As [`Dataset::open`].
    pub fn open_again(file: &Path, selection: &Selection) -> Result<Self> {
        Self::open_as(file, selection, Purpose::Fit)
    }

    /// Like [`Dataset::open`], but keeps all rings where the selection names no q and several are there (`q` is NaN
    /// then), and does without a time between frames (`dt` is NaN then). For looking at a file, not for fitting it.
    pub fn open_for_inspection(file: &Path, selection: &Selection) -> Result<Self> {
        Self::open_as(file, selection, Purpose::Inspect)
    }

    fn open_as(file: &Path, selection: &Selection, purpose: Purpose) -> Result<Self> {
        let kind = kind(file)?;
        match (kind, selection.layout) {
            (Kind::Zip, None | Some(Layout::Npz)) => {
                return select(file, Layout::Npz, npz::find(file)?, selection, purpose);
            }
            (Kind::Zip, Some(layout)) => return Err(other_kind(file, layout, "a zip file")),
            (Kind::Hdf5, Some(Layout::Npz)) => return Err(other_kind(file, Layout::Npz, "an HDF5 file")),
            (Kind::Hdf5, _) => {}
        }
        let _patience = Patience::with(file);
        let h5 = open_hdf5(file)?;
        let source = Source { file, h5: &h5 };
        let known = detect(source, selection)?;
        let found = (known.find)(source, selection, purpose)?;
        select(file, known.layout, found, selection, purpose)
    }
}

/// The error of a layout asked for that such a file can't have.
fn other_kind(file: &Path, layout: Layout, found: &str) -> Error {
    let message = format!(
        "is not of the {} layout asked for (experimental_data.file_format): it is {found}; `auto` tells them apart",
        layout.name()
    );
    Error::data(file, message)
}

fn detect(source: Source, selection: &Selection) -> Result<&'static Known> {
    let is_there = |known: &&Known| known.markers.iter().any(|m| source.exists(m)) || (known.is_elsewhere)(source);
    let mut there: Vec<&Known> = KNOWN.iter().filter(is_there).collect();
    let listing = || {
        let mut names = source.h5.member_names().unwrap_or_default();
        names.sort_unstable();
        if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
    };
    if let Some(layout) = selection.layout {
        return there.into_iter().find(|k| k.layout == layout).ok_or_else(|| {
            let marker = KNOWN.iter().find(|k| k.layout == layout).map_or("", |k| k.markers[0]);
            let message = format!(
                "is not of the {} layout asked for (experimental_data.file_format): it has no {marker}; \
                 at its top level: {}",
                layout.name(),
                listing()
            );
            Error::data(source.file, message)
        });
    }
    there.retain(|known| (known.is_it)(source, selection));
    match there[..] {
        [one] => Ok(one),
        [] => {
            let layouts: Vec<String> = KNOWN.iter().map(Known::text).collect();
            let message = format!(
                "has no two-time data in a layout that can be read, which are {}; at its top level: {}",
                layouts.join(", "),
                listing()
            );
            Err(Error::data(source.file, message))
        }
        _ => {
            let layouts: Vec<String> = there.iter().map(|k| k.text()).collect();
            let message = format!(
                "holds data in several layouts: {}; say which one with experimental_data.file_format",
                layouts.join(", ")
            );
            Err(Error::data(source.file, message))
        }
    }
}

/// What holds the data.
#[derive(Clone, Copy)]
enum Kind {
    Hdf5,
    Zip,
}

/// Looks at the first bytes of the file.
fn kind(file: &Path) -> Result<Kind> {
    let mut raw = files::open(file).map_err(|e| match e.kind() {
        ErrorKind::NotFound => Error::data(file, not_there(file)),
        ErrorKind::InvalidInput => Error::data(file, format!("{e} that can be searched; write it to a disk first")),
        _ => Error::io("read", file, e),
    })?;
    let metadata = raw.metadata().map_err(|e| Error::io("read", file, e))?;
    if metadata.is_dir() {
        return Err(Error::data(file, "is a folder; expected an HDF5 or NPZ file"));
    }
    if metadata.len() == 0 {
        return Err(Error::data(file, "is empty; expected an HDF5 or NPZ file"));
    }
    let mut first = [0; 4];
    let is_zip = metadata.len() >= 4 && raw.read_exact(&mut first).is_ok() && ZIP.contains(&first);
    if is_zip {
        return Ok(Kind::Zip);
    }
    if let Some((_, how)) = PACKED.iter().find(|(begin, _)| first.starts_with(begin)) {
        return Err(Error::data(file, format!("is compressed as a whole; unpack it first, with {how}")));
    }
    if !has_signature(&mut raw, metadata.len()).map_err(|e| Error::io("read", file, e))? {
        let message = "is not an HDF5 or NPZ file, or its first bytes are lost: it has the signature of neither";
        return Err(Error::data(file, message));
    }
    Ok(Kind::Hdf5)
}

/// What to say of a path at which nothing is.
fn not_there(file: &Path) -> String {
    match std::fs::read_link(file) {
        Ok(target) => format!("is a link to {}, where there is no such file", target.display()),
        Err(_) => "no such file".to_owned(),
    }
}

/// Opens the file with HDF5, telling apart what can be wrong with it as a whole.
fn open_hdf5(file: &Path) -> Result<hdf5::File> {
    hdf5::File::open(file).map_err(|e| {
        let (full, said) = (e.to_string(), reason(e));
        if file.to_str().is_none() {
            let message = "its name isn't UTF-8 text, and HDF5 files are opened by such names only: rename it, or make a link";
            return Error::data(file, message);
        }
        if full.contains(TOO_MANY_OPEN) {
            Error::io("open", file, said)
        } else if full.contains("truncated") {
            Error::data(file, format!("is truncated; copy it again, or wait for its writer ({said})"))
        } else if full.contains("unable to lock") {
            let message = format!(
                "it is open in a program that writes it, or can't be locked here; \
                 HDF5_USE_FILE_LOCKING=FALSE reads it without a lock ({said})"
            );
            Error::io("read", file, message)
        } else if full.contains("already open for write") || full.contains("already open for SWMR write") {
            let message = format!(
                "is marked as open by a program that writes it; if none does any more, because it crashed, `h5clear -s {}` takes \
                 the mark away ({said})",
                file.display()
            );
            Error::data(file, message)
        } else if full.contains("superblock version") && is_of_tomorrow(file) {
            let (major, minor, patch) = hdf5::library_version();
            let message = format!(
                "is of a newer HDF5 format than the library {major}.{minor}.{patch} here can read; rewrite it with an older format \
                 (h5py: libver='v110', or h5repack --high=2), or build this program with a newer HDF5 ({said})"
            );
            Error::data(file, message)
        } else {
            Error::data(file, format!("is damaged: its HDF5 superblock or root group cannot be read ({said})"))
        }
    })
}

/// Whether the version behind the signature may be that of a later library: other bytes there are damage.
fn is_of_tomorrow(file: &Path) -> bool {
    const KNOWN: u8 = 3;
    let mut begin = [0; SIGNATURE.len() + 1];
    let read = files::open(file).and_then(|mut raw| raw.read_exact(&mut begin));
    read.is_ok() && begin.starts_with(&SIGNATURE) && (KNOWN + 1..=2 * KNOWN).contains(&begin[SIGNATURE.len()])
}

/// Looks for the signature where HDF5 does: at 0, 512, 1024, 2048 … (a user block may come first).
fn has_signature(raw: &mut File, length: u64) -> std::io::Result<bool> {
    let mut at = 0;
    let mut bytes = [0; 8];
    while at + 8 <= length {
        raw.seek(SeekFrom::Start(at))?;
        raw.read_exact(&mut bytes)?;
        if bytes == SIGNATURE {
            return Ok(true);
        }
        at = if at == 0 { 512 } else { 2 * at };
    }
    Ok(false)
}
