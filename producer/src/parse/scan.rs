//! Where the parts of a JSON text lie: one pass that checks the grammar and copies nothing. The text of a value is what is
//! wanted here, digits and all, and a library's values have lost it or are read twice for it. Must never happen here:
//! recursion, an allocation that the text's length decides, or a value taken for whole that is not (a property test holds
//! every verdict against serde_json's).

use std::fmt;

/// Why a text stops being JSON, and at which byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    pub expected: &'static str,
    pub at: usize,
    pub ended: bool,
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = if self.ended { "it ends" } else { "something else stands" };
        write!(f, "{found} at byte {} where {} is expected", self.at, self.expected)
    }
}

/// Goes through a text from part to part.
pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next byte that is no space.
    pub fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// # Errors
    /// When another byte is next.
    pub fn expect(&mut self, wanted: u8, called: &'static str) -> Result<(), Break> {
        if self.peek() == Some(wanted) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.broken(called))
        }
    }

    /// The text of a string, quotes included.
    ///
    /// # Errors
    /// When none stands here, or it does not end.
    pub fn string(&mut self) -> Result<&'a str, Break> {
        if self.peek() != Some(b'"') {
            return Err(self.broken("a string"));
        }
        let from = self.at;
        self.skip_string()?;
        Ok(&self.text[from..self.at])
    }

    /// The text of a value, whatever it is.
    ///
    /// # Errors
    /// When none stands here, or something in it is not JSON.
    pub fn value(&mut self) -> Result<&'a str, Break> {
        let first = self.peek();
        let from = self.at;
        match first {
            Some(b'{' | b'[') => self.skip_container()?,
            _ => self.skip_scalar()?,
        }
        Ok(&self.text[from..self.at])
    }

    /// # Errors
    /// When anything but spaces is left.
    pub fn end(&mut self) -> Result<(), Break> {
        if self.peek().is_none() { Ok(()) } else { Err(self.broken("nothing more")) }
    }

    fn broken(&self, expected: &'static str) -> Break {
        Break { expected, at: self.at, ended: self.at >= self.text.len() }
    }

    fn skip_scalar(&mut self) -> Result<(), Break> {
        match self.peek() {
            Some(b'"') => self.skip_string(),
            Some(b'-' | b'0'..=b'9') => self.skip_number(),
            Some(b't') => self.skip_word("true"),
            Some(b'f') => self.skip_word("false"),
            Some(b'n') => self.skip_word("null"),
            _ => Err(self.broken("a value")),
        }
    }

    fn skip_word(&mut self, word: &'static str) -> Result<(), Break> {
        if self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.broken("a value"))
        }
    }

    fn skip_digits(&mut self) -> usize {
        let digits = self.text.as_bytes()[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += digits;
        digits
    }

    fn skip_number(&mut self) -> Result<(), Break> {
        let bytes = self.text.as_bytes();
        if bytes[self.at] == b'-' {
            self.at += 1;
        }
        let leading_zero = bytes.get(self.at) == Some(&b'0');
        let whole = self.skip_digits();
        if whole == 0 || (leading_zero && whole > 1) {
            return Err(self.broken("a number"));
        }
        if bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            if self.skip_digits() == 0 {
                return Err(self.broken("a digit"));
            }
        }
        if matches!(bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.skip_digits() == 0 {
                return Err(self.broken("a digit"));
            }
        }
        Ok(())
    }

    /// From the opening quote to behind the closing one.
    fn skip_string(&mut self) -> Result<(), Break> {
        let bytes = self.text.as_bytes();
        self.at += 1;
        loop {
            let Some(byte) = bytes.get(self.at) else { return Err(self.broken("the end of a string")) };
            match byte {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => self.skip_escape()?,
                0..0x20 => return Err(self.broken("no control character")),
                _ => self.at += 1,
            }
        }
    }

    fn skip_escape(&mut self) -> Result<(), Break> {
        let bytes = self.text.as_bytes();
        self.at += 1;
        let length = match bytes.get(self.at) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 1,
            Some(b'u') => {
                let digits = bytes.get(self.at + 1..self.at + 5);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return Err(self.broken("four hexadecimal digits"));
                }
                5
            }
            _ => return Err(self.broken("an escape")),
        };
        self.at += length;
        Ok(())
    }

    /// From an opening bracket to behind its closing one, without recursion.
    fn skip_container(&mut self) -> Result<(), Break> {
        let mut open = Brackets::default();
        let mut next = self.open(&mut open);
        loop {
            let byte = self.peek();
            match (next, byte) {
                (Next::KeyOrEnd | Next::MoreOrEnd, Some(b'}')) if open.in_object() => {}
                (Next::ValueOrEnd | Next::MoreOrEnd, Some(b']')) if !open.in_object() => {}
                (Next::Key | Next::KeyOrEnd, _) => {
                    self.string()?;
                    self.expect(b':', "a colon")?;
                    next = Next::Value;
                    continue;
                }
                (Next::MoreOrEnd, _) => {
                    self.expect(b',', "a comma or the end")?;
                    next = if open.in_object() { Next::Key } else { Next::Value };
                    continue;
                }
                (Next::Value | Next::ValueOrEnd, Some(b'{' | b'[')) => {
                    next = self.open(&mut open);
                    continue;
                }
                (Next::Value | Next::ValueOrEnd, _) => {
                    self.skip_scalar()?;
                    next = Next::MoreOrEnd;
                    continue;
                }
            }
            self.at += 1;
            if open.close() == 0 {
                return Ok(());
            }
            next = Next::MoreOrEnd;
        }
    }

    fn open(&mut self, open: &mut Brackets) -> Next {
        let object = self.text.as_bytes()[self.at] == b'{';
        self.at += 1;
        open.open(object);
        if object { Next::KeyOrEnd } else { Next::ValueOrEnd }
    }
}

/// What may stand next inside of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Key,
    KeyOrEnd,
    Value,
    ValueOrEnd,
    MoreOrEnd,
}

/// Which brackets are open, a bit each: a text of nothing but brackets costs an eighth of its length.
#[derive(Debug, Default)]
struct Brackets {
    /// The innermost 64 or fewer, the last one lowest.
    near: u64,
    far: Vec<u64>,
    depth: usize,
}

impl Brackets {
    fn open(&mut self, object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.far.push(self.near);
        }
        self.near = self.near << 1 | u64::from(object);
        self.depth += 1;
    }

    /// How many are left.
    fn close(&mut self) -> usize {
        self.near >>= 1;
        self.depth -= 1;
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.near = self.far.pop().unwrap_or_default();
        }
        self.depth
    }

    fn in_object(&self) -> bool {
        self.near & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    fn whole(text: &str) -> Result<(), Break> {
        let mut scanner = Scanner::new(text);
        scanner.value()?;
        scanner.end()
    }

    fn check(text: &str) {
        let expected = serde_json::from_str::<&RawValue>(text).is_ok();
        assert_eq!(whole(text).is_ok(), expected, "{text:?}: {:?}", whole(text));
    }

    #[test]
    fn the_verdict_is_serdes() {
        for text in [
            "{}",
            "[]",
            " [ ] ",
            "{\"a\":1}",
            "{\"a\":1,}",
            "[1,]",
            "[,]",
            "{,}",
            "[1 2]",
            "{\"a\" 1}",
            "{\"a\":}",
            "{1:2}",
            "[}",
            "{]",
            "[[]",
            "[]]",
            "01",
            "-",
            "-0",
            "1.",
            ".5",
            "1e",
            "1e+",
            "1E-07",
            "1.5e3",
            "+1",
            "tru",
            "true",
            "nullx",
            "null",
            "NaN",
            "\"\\u00e9\"",
            "\"\\u00g9\"",
            "\"\\x\"",
            "\"\n\"",
            "\"",
            "",
            " ",
            "{\"a\":[{\"b\":[]}]}",
            "[{}, {\"a\":{}}]",
            "[1]x",
            "\u{7f}",
        ] {
            check(text);
        }
    }

    #[test]
    fn brackets_are_told_apart_at_any_depth() {
        for depth in [1, 2, 63, 64, 65, 127, 128, 129, 1_000] {
            let open: String = (0..depth).map(|level| if level % 3 == 0 { "{\"a\":" } else { "[" }).collect();
            let close: String = (0..depth).rev().map(|level| if level % 3 == 0 { '}' } else { ']' }).collect();
            assert_eq!(whole(&format!("{open}1{close}")), Ok(()), "{depth}");
            let wrong =
                close.replacen(['}', ']'], "#", 1).replacen('#', if close.starts_with('}') { "]" } else { "}" }, 1);
            assert!(whole(&format!("{open}1{wrong}")).is_err(), "{depth}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_serdes_verdict(text in "[\\[\\]{}:,\"\\\\ua0-9.eE+\\- \ntrfalsn]{0,24}") {
            check(&text);
        }

        #[test]
        fn a_broken_document_has_serdes_verdict(cut in 0_usize..80, with in "[\\[\\]{}:,\"0a ]{0,3}") {
            let text = r#"{"a":[1,-2.5e3,{"b":"x\"y","c":null}],"d":{"e":[[],{}]},"f":true}"#;
            let cut = cut.min(text.len());
            check(&format!("{}{with}{}", &text[..cut], &text[cut..]));
            check(&text[..cut]);
        }
    }
}
