//! The header of an array in NumPy's `.npy` format: element type, order, shape.
//!
//! A header is a short text, a Python dictionary of three entries. Only numbers and text are known here: arrays of objects
//! are pickled, and unpickling runs whatever a file says.

use std::io::Read;

/// First bytes of the format.
const MAGIC: [u8; 6] = *b"\x93NUMPY";
/// Longest header accepted, bytes; those of plain arrays are 128 long.
const MAX_HEADER: usize = 1 << 16;

/// Type of the elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    F32 {
        big_endian: bool,
    },
    F64 {
        big_endian: bool,
    },
    /// So many characters of 4 bytes each.
    Unicode {
        characters: usize,
        big_endian: bool,
    },
    /// So many bytes of text.
    Bytes(usize),
}

impl Element {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::F32 { .. } => 4,
            Self::F64 { .. } => 8,
            Self::Unicode { characters, .. } => characters.saturating_mul(4),
            Self::Bytes(n) => n,
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (order, kind) = match text.strip_prefix(['<', '>', '|', '=']) {
            Some(kind) => (text.as_bytes()[0], kind),
            None => (b'|', text),
        };
        let big_endian = order == b'>';
        let wrong = || format!("expected float32 or float64 numbers, or text, found the type '{text}'");
        let length = |digits: &str| digits.parse::<usize>().map_err(|_| wrong());
        match kind {
            "f4" if order != b'|' => Ok(Self::F32 { big_endian }),
            "f8" if order != b'|' => Ok(Self::F64 { big_endian }),
            _ if kind.starts_with('O') => Err(
                "holds pickled Python objects, which are never read; make the file again with a version of the Python \
                     package that writes plain arrays"
                    .to_owned(),
            ),
            _ => match (kind.strip_prefix('U'), kind.strip_prefix('S')) {
                (Some(digits), _) => Ok(Self::Unicode { characters: length(digits)?, big_endian }),
                (_, Some(digits)) => Ok(Self::Bytes(length(digits)?)),
                _ => Err(wrong()),
            },
        }
    }
}

/// What a header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub element: Element,
    /// The first index runs fastest.
    pub fortran_order: bool,
    pub shape: Vec<usize>,
    /// Bytes before the first element.
    pub length: u64,
}

impl Header {
    /// Bytes of all elements; `None` where there can't be so many.
    pub fn data_bytes(&self) -> Option<u64> {
        let bytes = self.shape.iter().try_fold(self.element.size(), |bytes, &side| bytes.checked_mul(side))?;
        u64::try_from(bytes).ok()
    }

    /// Reads a header; what follows is the data. The error is what is wrong, without file and array.
    pub fn read(from: &mut impl Read) -> Result<Self, String> {
        let lost = |e: std::io::Error| format!("its header cannot be read: {e}");
        let mut start = [0; 8];
        from.read_exact(&mut start).map_err(lost)?;
        if start[..6] != MAGIC {
            return Err("isn't an array of NumPy: its first bytes are others".to_owned());
        }
        let (length, prefix) = match start[6] {
            1 => {
                let mut bytes = [0; 2];
                from.read_exact(&mut bytes).map_err(lost)?;
                (usize::from(u16::from_le_bytes(bytes)), 10)
            }
            2 | 3 => {
                let mut bytes = [0; 4];
                from.read_exact(&mut bytes).map_err(lost)?;
                (u32::from_le_bytes(bytes) as usize, 12)
            }
            version => return Err(format!("has version {version} of the NPY format; 1, 2 and 3 are known")),
        };
        if length > MAX_HEADER {
            return Err(format!("has a header of {length} bytes; {MAX_HEADER} are the most that is plausible"));
        }
        let mut text = vec![0; length];
        from.read_exact(&mut text).map_err(lost)?;
        let text = String::from_utf8(text).map_err(|_| "has a header that isn't text".to_owned())?;
        let mut header = parse(&text)?;
        header.length = (prefix + length) as u64;
        Ok(header)
    }
}

/// From a text like `{'descr': '<f8', 'fortran_order': False, 'shape': (3, 100, 100), }`.
fn parse(text: &str) -> Result<Header, String> {
    let shown: String = text.trim().chars().take(120).collect();
    let wrong = || format!("has a header that isn't understood: {shown:?}");
    let after = |key: &str| {
        let quoted = [format!("'{key}'"), format!("\"{key}\"")];
        let rest = quoted.iter().find_map(|quoted| text.split_once(quoted.as_str()))?.1;
        rest.trim_start().strip_prefix(':').map(str::trim_start)
    };
    let descr = after("descr").ok_or_else(wrong)?;
    if descr.starts_with('[') {
        return Err("expected an array of numbers, found one of records".to_owned());
    }
    let quote = descr.chars().next().filter(|c| matches!(c, '\'' | '"')).ok_or_else(wrong)?;
    let (descr, _) = descr[1..].split_once(quote).ok_or_else(wrong)?;
    let element = Element::parse(descr)?;
    let order = after("fortran_order").ok_or_else(wrong)?;
    let fortran_order = match (order.starts_with("True"), order.starts_with("False")) {
        (true, _) => true,
        (_, true) => false,
        _ => return Err(wrong()),
    };
    let shape = after("shape").and_then(|s| s.strip_prefix('(')).and_then(|s| s.split_once(')')).ok_or_else(wrong)?.0;
    let sides = shape.split(',').map(str::trim).filter(|side| !side.is_empty());
    let shape = sides.map(|side| side.parse().map_err(|_| wrong())).collect::<Result<_, _>>()?;
    Ok(Header { element, fortran_order, shape, length: 0 })
}

/// The header of an array of little-endian float64 in C order: what follows are its elements.
pub(crate) fn f64_header(shape: &[usize]) -> Vec<u8> {
    /// Elements begin at a multiple of so many bytes.
    const ALIGNMENT: usize = 64;
    let sides: String = shape.iter().map(|side| format!("{side}, ")).collect();
    let mut text = format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({}), }}", sides.trim_end());
    // magic, version, two bytes for the length; a line break at the end
    let prefix = MAGIC.len() + 2 + 2;
    let padding = (prefix + text.len() + 1).next_multiple_of(ALIGNMENT) - (prefix + text.len() + 1);
    text.push_str(&" ".repeat(padding));
    text.push('\n');
    let mut bytes = MAGIC.to_vec();
    bytes.extend([1, 0]);
    // a shape of a few sides is far shorter than 65,536 characters
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: u8, text: &str) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([version, 0]);
        match version {
            1 => bytes.extend((text.len() as u16).to_le_bytes()),
            _ => bytes.extend((text.len() as u32).to_le_bytes()),
        }
        bytes.extend(text.as_bytes());
        bytes
    }

    fn read(version: u8, text: &str) -> Result<Header, String> {
        Header::read(&mut &header(version, text)[..])
    }

    #[test]
    fn headers_of_all_versions_are_read() {
        let text = "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 100, 100), }   \n";
        for (version, prefix) in [(1, 10), (2, 12), (3, 12)] {
            let found = read(version, text).unwrap();
            assert_eq!((found.shape.as_slice(), found.fortran_order), (&[3, 100, 100][..], false));
            assert_eq!(found.element, Element::F64 { big_endian: false });
            assert_eq!(found.length, prefix + text.len() as u64);
            assert_eq!(found.data_bytes(), Some(240_000));
        }
        let scalar = read(1, "{\"descr\":\">U7\",\"fortran_order\":True,\"shape\":()}").unwrap();
        assert_eq!(scalar.element, Element::Unicode { characters: 7, big_endian: true });
        assert_eq!((scalar.shape.len(), scalar.fortran_order, scalar.data_bytes()), (0, true, Some(28)));
        assert_eq!(read(1, "{'descr': '>f4', 'fortran_order': False, 'shape': (5,)}").unwrap().shape, [5]);
    }

    #[test]
    fn headers_that_are_written_are_read_back() {
        for shape in [&[][..], &[1], &[3, 2], &[36, 10_000, 10_000]] {
            let bytes = f64_header(shape);
            assert_eq!(bytes.len() % 64, 0);
            let found = Header::read(&mut &bytes[..]).unwrap();
            assert_eq!((found.shape.as_slice(), found.fortran_order), (shape, false));
            assert_eq!((found.element, found.length), (Element::F64 { big_endian: false }, bytes.len() as u64));
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let of = |descr: &str, shape: &str| format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}");
        for (text, said) in [
            (of("'|O'", "()"), "pickled"),
            (of("'O'", "()"), "pickled"),
            (of("'<i8'", "(3,)"), "'<i8'"),
            (of("'<U-1'", "()"), "'<U-1'"),
            (of("[('a', '<f8')]", "(3,)"), "records"),
            (of("'<f8'", "(3, -1)"), "isn't understood"),
            (of("'<f8'", "3"), "isn't understood"),
            (of("'<f8", "(3,)"), "found the type '<f8, '"),
            ("{'descr': '<f8', 'fortran_order': 0, 'shape': ()}".to_owned(), "isn't understood"),
            ("{}".to_owned(), "isn't understood"),
        ] {
            let message = read(1, &text).unwrap_err();
            assert!(message.contains(said), "{text}: {message}");
        }
        assert!(read(9, "{}").unwrap_err().contains("version 9"));
        let mut cut = header(1, &of("'<f8'", "(3,)"));
        cut.truncate(20);
        assert!(Header::read(&mut &cut[..]).unwrap_err().contains("cannot be read"));
        let mut long = header(2, "{}");
        long[8..12].fill(0x7f);
        assert!(Header::read(&mut &long[..]).unwrap_err().contains("plausible"));
        assert!(Header::read(&mut &b"not an array"[..]).unwrap_err().contains("first bytes"));
        let huge = read(1, &of("'<f8'", "(4294967296, 4294967296)")).unwrap();
        assert_eq!(huge.data_bytes(), None);
    }
}
