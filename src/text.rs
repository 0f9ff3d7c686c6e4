//! Text for people: numbers and lines.

/// 1234567 as "1,234,567".
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (k, c) in digits.chars().enumerate() {
        if k > 0 && (digits.len() - k).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// "1 rank", "2 ranks".
pub fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Text that a terminal shows and doesn't obey: names and what stands in files may hold control characters, which become �.
/// Line breaks and tabs stay.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c }).collect()
}

/// Text broken at blanks to lines of at most `width` columns, later lines indented.
pub fn wrapped(text: &str, width: usize, indent: &str) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let n = word.chars().count();
        if column > 0 && column + 1 + n > width {
            out.push('\n');
            out.push_str(indent);
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += n;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn one_is_singular() {
        assert_eq!([counted(1, "rank"), counted(0, "rank"), counted(2, "rank")], ["1 rank", "0 ranks", "2 ranks"]);
    }

    #[test]
    fn control_characters_are_replaced() {
        assert_eq!(printable("a\u{1b}[31m\tφ\r\u{9b}\n"), "a\u{fffd}[31m\tφ\u{fffd}\u{fffd}\n");
    }

    #[test]
    fn long_text_is_wrapped() {
        assert_eq!(wrapped("aaa bbb ccc", 7, "  "), "aaa bbb\n  ccc");
    }
}
