//! A mistake and where it stands. Must never happen here: an excerpt of the file, in which a secret may stand that has no
//! business there.

use std::ops::Range;

/// What is wrong with a stretch of the file.
#[derive(Clone, Debug)]
pub struct Mistake {
    pub message: String,
    pub span: Option<Range<usize>>,
}

impl Mistake {
    pub fn at(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { message: message.into(), span: Some(span) }
    }

    /// `line:column: message`, both from 1, the column in characters.
    pub fn in_text(&self, text: &str) -> String {
        let at = self.span.as_ref().map_or(0, |span| span.start);
        let before = text.get(..at).unwrap_or(text);
        let line_begin = before.rfind('\n').map_or(0, |newline| newline + 1);
        let (line, column) = (before.matches('\n').count() + 1, before[line_begin..].chars().count() + 1);
        format!("{line}:{column}: {}", self.message.replace('\n', " "))
    }
}

impl From<toml::de::Error> for Mistake {
    fn from(error: toml::de::Error) -> Self {
        Self { message: error.message().to_owned(), span: error.span() }
    }
}
