//! The last bytes of a checkpoint, behind the HDF5 file: its format version and a digest of all bytes.
//!
//! The digest is checked before anything else, and it covers everything: the structures of HDF5, unused space, the seal
//! itself. It finds damage, not forgery: everybody can make a right one. What stands behind an HDF5 file doesn't concern
//! those who open it. Opening it for writing breaks the seal.
//!
//! The seal is text, for `tail -n 2`, and stays the same in all versions of the format:
//!
//! ```text
//! <newline>
//! homodyne-mpi checkpoint, format 00001
//! blake3 <64 hexadecimal digits>
//! ```
//!
//! The digest is that of the file with zeros in place of its own digits.

use std::io::{Read, Seek, SeekFrom};

use super::Problem;

const BEGINNING: &str = "\nhomodyne-mpi checkpoint, format ";
/// Digits of the format version.
const VERSION_DIGITS: usize = 5;
const BEFORE_DIGEST: &str = "\nblake3 ";
const DIGEST_DIGITS: usize = 2 * blake3::OUT_LEN;
const END: &str = "\n";
/// Where the version and the digest begin in the seal.
const VERSION_AT: usize = BEGINNING.len();
const DIGEST_AT: usize = VERSION_AT + VERSION_DIGITS + BEFORE_DIGEST.len();
/// Length of the seal, bytes.
const LENGTH: usize = DIGEST_AT + DIGEST_DIGITS + END.len();
/// Bytes that no checkpoint has: thousands of draws on hundreds of angles take some 100 MB. A file with holes can have any
/// length, and making its digest would take for ever.
const MOST_BYTES: u64 = 8 << 30;

/// Puts the seal behind a complete HDF5 file.
pub(super) fn seal(mut file: Vec<u8>, version: u32) -> Vec<u8> {
    let no_digest = "0".repeat(DIGEST_DIGITS);
    let without = format!("{BEGINNING}{version:0VERSION_DIGITS$}{BEFORE_DIGEST}{no_digest}{END}");
    let mut hasher = blake3::Hasher::new();
    let digits = hasher.update(&file).update(without.as_bytes()).finalize().to_hex();
    file.extend(without.as_bytes());
    let at = file.len() - LENGTH + DIGEST_AT;
    file[at..][..DIGEST_DIGITS].copy_from_slice(digits.as_bytes());
    file
}

/// The format version of a file that is as it was written, and the number of its bytes before the seal. A file of any length
/// takes the same little memory, and one without a seal or too long for a checkpoint no time.
///
/// # Errors
/// [`Problem::Damaged`] where it isn't, [`Problem::Unreadable`] where it can't be read.
pub(super) fn check(mut file: impl Read + Seek) -> Result<(u32, u64), Problem> {
    let failed = |e: std::io::Error| Problem::Unreadable(e.to_string());
    let damaged = |what: &str| Err(Problem::Damaged(what.to_owned()));
    let Some(before) = file.seek(SeekFrom::End(0)).map_err(failed)?.checked_sub(LENGTH as u64) else {
        return damaged("it is too short");
    };
    if before > MOST_BYTES {
        return damaged("it is too long");
    }
    let mut seal = [0; LENGTH];
    file.seek(SeekFrom::Start(before)).and_then(|_| file.read_exact(&mut seal)).map_err(failed)?;
    if !seal.starts_with(BEGINNING.as_bytes()) {
        return damaged("it doesn't end as a checkpoint does");
    }
    let digits = &mut seal[DIGEST_AT..][..DIGEST_DIGITS];
    let found = digits.to_vec();
    digits.fill(b'0');
    file.rewind().map_err(failed)?;
    let mut hasher = blake3::Hasher::new();
    let digest = hasher.update_reader(file.take(before)).map_err(failed)?.update(&seal).finalize();
    if found != digest.to_hex().as_bytes() {
        return damaged("its bytes aren't those that were written (their BLAKE3 digest differs)");
    }
    let version = str::from_utf8(&seal[VERSION_AT..][..VERSION_DIGITS]).ok().and_then(|text| text.parse().ok());
    version.map_or_else(|| damaged("its format version is no number"), |version| Ok((version, before)))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn any_flipped_bit_and_any_other_length_is_found() {
        let mut file = seal((0..700).map(|k| k as u8).collect(), 12);
        assert_eq!(check(Cursor::new(&file)).unwrap(), (12, 700));
        for at in 0..file.len() {
            for bit in 0..8 {
                file[at] ^= 1 << bit;
                assert!(matches!(check(Cursor::new(&file)), Err(Problem::Damaged(_))), "byte {at}, bit {bit}");
                file[at] ^= 1 << bit;
            }
        }
        for length in 0..file.len() {
            assert!(matches!(check(Cursor::new(&file[..length])), Err(Problem::Damaged(_))), "length {length}");
        }
        file.push(0);
        assert!(matches!(check(Cursor::new(&file)), Err(Problem::Damaged(_))));
    }

    #[test]
    fn the_digest_can_be_checked_by_other_tools() {
        let file = String::from_utf8(seal(vec![b'x'; 600], 1)).unwrap();
        let digits = file.lines().last().unwrap().strip_prefix("blake3 ").unwrap();
        let zeroed = file.replace(digits, &"0".repeat(64));
        assert_eq!(blake3::hash(zeroed.as_bytes()).to_hex().as_str(), digits);
    }
}
