//! Members of a zip file as streams that can be kept open and begun again.
//!
//! The `zip` crate reads the directory; its own streams borrow the archive, which a reader shared by threads can't have.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use flate2::Crc;
use flate2::read::DeflateDecoder;
use zip::{CompressionMethod, ZipArchive};

use crate::{Error, Result};

/// Bytes read from the file at a time.
const BUFFER: usize = 1 << 18;

/// A zip file.
pub(super) struct Zipped {
    file: Arc<File>,
    /// Bytes of the whole file.
    pub size: u64,
    members: Vec<Member>,
}

/// Where a member lies.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub name: String,
    /// Bytes once unpacked, as the directory says.
    pub size: u64,
    start: u64,
    stored: u64,
    crc: u32,
    packing: std::result::Result<Packing, String>,
}

#[derive(Debug, Clone, Copy)]
enum Packing {
    None,
    Deflate,
}

impl Zipped {
    /// Reads the directory of the archive.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io("read", path, e))?;
        let size = file.metadata().map_err(|e| Error::io("read", path, e))?.len();
        let damaged = |e: &dyn std::fmt::Display| {
            let message = format!(
                "begins as a zip file, but its directory cannot be read: it is truncated or damaged; copy it again ({e})"
            );
            Error::data(path, message)
        };
        let file = Arc::new(file);
        let copy = file.try_clone().map_err(|e| Error::io("read", path, e))?;
        let mut archive = ZipArchive::new(BufReader::new(copy)).map_err(|e| damaged(&e))?;
        let mut members = Vec::with_capacity(archive.len());
        for k in 0..archive.len() {
            let entry = archive.by_index_raw(k).map_err(|e| damaged(&e))?;
            let packing = match entry.compression() {
                _ if entry.encrypted() => Err("is encrypted".to_owned()),
                CompressionMethod::Stored => Ok(Packing::None),
                CompressionMethod::Deflated => Ok(Packing::Deflate),
                other => Err(format!("is packed by {other}; expected what numpy.savez or savez_compressed write")),
            };
            let start = entry.data_start().ok_or_else(|| damaged(&"a member has no data"))?;
            let (stored, size, crc) = (entry.compressed_size(), entry.size(), entry.crc32());
            let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
            members.push(Member { name, size, start, stored, crc, packing });
        }
        Ok(Self { file, size, members })
    }

    /// Names of all members.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|m| m.name.as_str())
    }

    /// The member of that name.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|m| m.name == name)
    }

    /// Unpacks a member from its beginning. The error says what can't be unpacked here.
    pub fn stream(&self, member: &Member) -> std::result::Result<Stream, String> {
        let section = Section { file: self.file.clone(), at: member.start, rest: member.stored };
        let buffered = BufReader::with_capacity(BUFFER, section);
        let unpacked = match member.packing.clone()? {
            Packing::None => Unpacked::Plain(buffered),
            Packing::Deflate => Unpacked::Deflate(Box::new(DeflateDecoder::new(buffered))),
        };
        Ok(Stream { unpacked, crc: Crc::new(), expected: member.crc, at: 0, size: member.size })
    }
}

/// Bytes of a member, unpacked one after the other. The last ones are an error where the checksum isn't the directory's.
pub(super) struct Stream {
    unpacked: Unpacked,
    crc: Crc,
    expected: u32,
    /// Bytes that have been read.
    pub at: u64,
    size: u64,
}

enum Unpacked {
    Plain(BufReader<Section>),
    Deflate(Box<DeflateDecoder<BufReader<Section>>>),
}

impl Stream {
    /// Leaves out so many bytes.
    pub fn skip(&mut self, bytes: u64) -> io::Result<()> {
        match io::copy(&mut self.by_ref().take(bytes), &mut io::sink())? {
            skipped if skipped == bytes => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        // never beyond what the directory promises, whatever the packed bytes hold
        let most = into.len().min(usize::try_from(self.size - self.at).unwrap_or(usize::MAX));
        let into = &mut into[..most];
        let n = match &mut self.unpacked {
            Unpacked::Plain(from) => from.read(into)?,
            Unpacked::Deflate(from) => from.read(into)?,
        };
        self.crc.update(&into[..n]);
        self.at += n as u64;
        if n > 0 && self.at == self.size && self.crc.sum() != self.expected {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the checksum of the zip file doesn't fit its bytes",
            ));
        }
        Ok(n)
    }
}

/// A part of a file, read wherever others left the file's own position.
struct Section {
    file: Arc<File>,
    at: u64,
    rest: u64,
}

impl Read for Section {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = into.len().min(usize::try_from(self.rest).unwrap_or(usize::MAX));
        let n = self.file.read_at(&mut into[..most], self.at)?;
        self.at += n as u64;
        self.rest -= n as u64;
        Ok(n)
    }
}
