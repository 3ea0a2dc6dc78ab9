//! A message without a channel's markup, and how each channel writes it down. Escaping happens here and nowhere else: a
//! text cannot become markup, whatever a rule, a symbol or a source is called. Must never happen here: a text that gets past
//! [`plain`].

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    Bold(String),
    Link { text: String, url: String },
    NewLine,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Words(pub Vec<Piece>);

impl Words {
    pub fn text(&mut self, text: impl Into<String>) -> &mut Self {
        self.0.push(Piece::Text(text.into()));
        self
    }

    pub fn bold(&mut self, text: impl Into<String>) -> &mut Self {
        self.0.push(Piece::Bold(text.into()));
        self
    }

    pub fn link(&mut self, text: impl Into<String>, url: impl Into<String>) -> &mut Self {
        self.0.push(Piece::Link { text: text.into(), url: url.into() });
        self
    }

    pub fn new_line(&mut self) -> &mut Self {
        self.0.push(Piece::NewLine);
        self
    }

    /// For Telegram's parse_mode HTML.
    pub fn html(&self) -> String {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => escape_html(&mut out, text),
                Piece::Bold(text) => {
                    out.push_str("<b>");
                    escape_html(&mut out, text);
                    out.push_str("</b>");
                }
                Piece::Link { text, url } => {
                    out.push_str("<a href=\"");
                    escape_html(&mut out, url);
                    out.push_str("\">");
                    escape_html(&mut out, text);
                    out.push_str("</a>");
                }
                Piece::NewLine => out.push('\n'),
            }
        }
        out
    }

    /// For Slack and those that understand its webhooks.
    pub fn mrkdwn(&self) -> String {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => escape_mrkdwn(&mut out, text),
                Piece::Bold(text) => {
                    out.push('*');
                    escape_mrkdwn(&mut out, text);
                    out.push('*');
                }
                Piece::Link { text, url } => {
                    out.push('<');
                    // Between the angle brackets a bar ends the address, and nothing else may.
                    escape_mrkdwn_entities(&mut out, &url.replace('|', "%7C"));
                    out.push('|');
                    escape_mrkdwn(&mut out, &text.replace('|', "/"));
                    out.push('>');
                }
                Piece::NewLine => out.push('\n'),
            }
        }
        out
    }
}

/// `text` on one line: control characters are spaces, and what turns the direction of writing, or is no character, is left out.
fn plain(text: &str) -> String {
    let kept = |c: &char| !matches!(*c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}');
    text.chars()
        .filter(kept)
        .map(|c| if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') { ' ' } else { c })
        .collect()
}

fn escape_html(out: &mut String, text: &str) {
    for c in plain(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
}

fn escape_mrkdwn_entities(out: &mut String, text: &str) {
    for c in plain(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
}

/// Slack has no escape for the characters that format: where one could begin or end a stretch, which is beside anything but a
/// letter or a digit, a zero-width space keeps it from doing so.
fn escape_mrkdwn(out: &mut String, text: &str) {
    let text = plain(text);
    let chars: Vec<char> = text.chars().collect();
    for (i, c) in chars.iter().enumerate() {
        if matches!(c, '*' | '_' | '~' | '`') {
            let inside = |at: Option<&char>| at.is_some_and(|c| c.is_alphanumeric());
            if !(i > 0 && inside(chars.get(i - 1)) && inside(chars.get(i + 1))) {
                out.push('\u{200B}');
            }
        }
        escape_mrkdwn_entities(out, c.encode_utf8(&mut [0; 4]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Words {
        let mut words = Words::default();
        words.bold(text).text(text).new_line().link(text, "https://d/?a=1&b=\"<|>\"");
        words
    }

    #[test]
    fn html_is_escaped_in_texts_and_addresses() {
        let html = words("<b>&\"BTC\"</b>").html();
        let text = "&lt;b&gt;&amp;&quot;BTC&quot;&lt;/b&gt;";
        let url = "https://d/?a=1&amp;b=&quot;&lt;|&gt;&quot;";
        assert_eq!(html, format!("<b>{text}</b>{text}\n<a href=\"{url}\">{text}</a>"));
    }

    #[test]
    fn mrkdwn_makes_no_mention_no_link_and_no_format() {
        let said = words("<!channel> & *all*").mrkdwn();
        let text = "&lt;!channel&gt; &amp; \u{200B}*all\u{200B}*";
        assert_eq!(said, format!("*{text}*{text}\n<https://d/?a=1&amp;b=\"&lt;%7C&gt;\"|{text}>"));
        let mut name = Words::default();
        assert_eq!(name.text("BTC_USD_PERP").mrkdwn(), "BTC_USD_PERP", "a name stays one that can be copied");
        let mut bar = Words::default();
        assert_eq!(bar.link("a|b", "https://d/").mrkdwn(), "<https://d/|a/b>");
    }

    #[test]
    fn a_text_is_one_line_in_one_direction() {
        let mut words = Words::default();
        words.text("a\nb\0c\u{202E}d\u{2028}e");
        assert_eq!(words.html(), "a b cd e");
        assert_eq!(words.mrkdwn(), "a b cd e");
    }
}
