//! Unpacking LZF, the compression of most two-time files.
//!
//! A packed stream is a row of tokens. A first byte below 32 announces that many plus one bytes to be copied from the
//! stream. Any other repeats bytes written before: its upper three bits are the length minus two (7: the next byte adds to
//! it), its lower five and the byte behind are the distance minus one. There is no header, end mark or checksum: the length
//! of the result must be known. No crate that is kept up unpacks into memory of the caller, hence this one.

/// Tokens whose first byte is below this carry bytes of their own.
const COPIED: usize = 32;
/// Bytes moved at once where there is room behind: the longest run of copied bytes.
const WIDE: usize = 32;
/// The same for repeated bytes, most of which are short.
const NARROW: usize = 16;
/// A repeat's length in its first byte that is continued in the next one.
const LONG: usize = 7;

/// Unpacks `packed` into `out`, which it must fill exactly.
///
/// Whatever the bytes are, nothing panics. The error says where the stream goes wrong.
pub(super) fn unpack(packed: &[u8], out: &mut [u8]) -> Result<(), String> {
    let (mut read, mut written) = (0, 0);
    while let Some(&first) = packed.get(read) {
        let token = read;
        read += 1;
        let first = usize::from(first);
        if first < COPIED {
            let length = first + 1;
            // bytes written too far are overwritten by the tokens that follow
            if let (Some(from), Some(to)) = (packed.get(read..read + WIDE), out.get_mut(written..written + WIDE)) {
                to.copy_from_slice(from);
            } else {
                let from = packed.get(read..read + length).ok_or_else(|| ends_within(token))?;
                out.get_mut(written..written + length).ok_or_else(|| overfull(token))?.copy_from_slice(from);
            }
            read += length;
            written += length;
        } else {
            let mut length = first >> 5;
            if length == LONG {
                length += usize::from(*packed.get(read).ok_or_else(|| ends_within(token))?);
                read += 1;
            }
            let low = usize::from(*packed.get(read).ok_or_else(|| ends_within(token))?);
            read += 1;
            let (length, distance) = (length + 2, ((first & 0x1f) << 8) + low + 1);
            if distance > written {
                return Err(format!("the LZF data repeat what was never there, at byte {token}"));
            }
            if length > out.len() - written {
                return Err(overfull(token));
            }
            repeat(out, written, distance, length);
            written += length;
        }
    }
    if written == out.len() {
        Ok(())
    } else {
        Err(format!("the LZF data unpack to {written} bytes; expected {}", out.len()))
    }
}

/// Writes `length` bytes at `at` that repeat those `distance` before; all lie inside `out`.
#[inline]
fn repeat(out: &mut [u8], at: usize, distance: usize, length: usize) {
    let from = at - distance;
    if distance >= NARROW && out.len() - at >= length.next_multiple_of(NARROW) {
        for step in (0..length).step_by(NARROW) {
            out.copy_within(from + step..from + step + NARROW, at + step);
        }
    } else if distance == 1 {
        let byte = out[from];
        out[at..at + length].fill(byte);
    } else {
        // what has been repeated is repeated in turn: each step a whole number of periods but the last
        let mut done = 0;
        while done < length {
            let step = (distance + done).min(length - done);
            out.copy_within(from..from + step, at + done);
            done += step;
        }
    }
}

fn ends_within(token: usize) -> String {
    format!("the LZF data end within the token at byte {token}")
}

fn overfull(token: usize) -> String {
    format!("the LZF data unpack to more than there is room for, from byte {token} on")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Token {
        Copied(Vec<u8>),
        Repeat { length: usize, distance: usize },
    }

    fn token() -> impl Strategy<Value = Token> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 1..=32).prop_map(Token::Copied),
            (3usize..=264, prop_oneof![1usize..40, 1usize..=8192])
                .prop_map(|(length, distance)| Token::Repeat { length, distance }),
        ]
    }

    /// The packed stream of tokens and what it means, byte by byte.
    fn assemble(tokens: &[Token]) -> (Vec<u8>, Vec<u8>) {
        let (mut packed, mut plain) = (Vec::new(), Vec::<u8>::new());
        for token in tokens {
            match token {
                Token::Copied(bytes) => {
                    packed.push(bytes.len() as u8 - 1);
                    packed.extend(bytes);
                    plain.extend(bytes);
                }
                Token::Repeat { length, distance } if !plain.is_empty() => {
                    let distance = (*distance).min(plain.len());
                    let high = ((distance - 1) >> 8) as u8;
                    if length - 2 < LONG {
                        packed.push(((length - 2) << 5) as u8 | high);
                    } else {
                        packed.extend([(LONG << 5) as u8 | high, (length - 2 - LONG) as u8]);
                    }
                    packed.push((distance - 1) as u8);
                    (0..*length).for_each(|_| plain.push(plain[plain.len() - distance]));
                }
                Token::Repeat { .. } => {}
            }
        }
        (packed, plain)
    }

    proptest! {
        #[test]
        fn any_stream_means_what_its_tokens_say(tokens in prop::collection::vec(token(), 0..60)) {
            let (packed, plain) = assemble(&tokens);
            let mut out = vec![0xaa; plain.len()];
            prop_assert_eq!(unpack(&packed, &mut out), Ok(()));
            prop_assert_eq!(out, plain.clone());
            // a wrong length is noticed
            prop_assert!(unpack(&packed, &mut vec![0; plain.len() + 1]).is_err());
            if !plain.is_empty() {
                prop_assert!(unpack(&packed, &mut vec![0; plain.len() - 1]).is_err());
            }
        }

        #[test]
        fn no_bytes_make_it_panic(packed in prop::collection::vec(any::<u8>(), 0..400), room in 0usize..2000) {
            let _ = unpack(&packed, &mut vec![0; room]);
        }
    }

    #[test]
    fn errors_say_where() {
        let text = |packed: &[u8], room| unpack(packed, &mut vec![0; room]).unwrap_err();
        assert!(text(&[0, 7, 3, 1], 10).contains("end within the token at byte 2"));
        assert!(text(&[0, 7, 0x20], 10).contains("end within the token at byte 2"));
        assert!(text(&[0, 7, 0x20, 1], 10).contains("never there, at byte 2"));
        assert!(text(&[0, 7, 0xe0, 200, 0], 10).contains("from byte 2 on"));
        assert!(text(&[0, 7], 10).contains("unpack to 1 bytes; expected 10"));
    }
}
