//! What was asked of B3: a path that ends in the base64 of a JSON object, such as
//! `{"language":"pt-br","pageNumber":1,"pageSize":120,"index":"IBOV","segment":"1"}`. The index and the language of an answer
//! stand there and nowhere else.

use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::parse::grouped::Marks;

/// Padded or not: some write the path without it.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Which decides how numbers are written and in which order a date is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    Portuguese,
    English,
}

impl Language {
    pub const BOTH: [Self; 2] = [Self::Portuguese, Self::English];

    /// The source's name for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Portuguese => "pt-br",
            Self::English => "en-us",
        }
    }

    #[must_use]
    pub fn marks(self) -> Marks {
        match self {
            Self::Portuguese => Marks::BRAZILIAN,
            Self::English => Marks::ENGLISH,
        }
    }
}

impl std::str::FromStr for Language {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::BOTH.into_iter().find(|language| text.eq_ignore_ascii_case(language.as_str()));
        known.ok_or_else(|| format!("{text:?} is none of the source's languages, pt-br and en-us"))
    }
}

/// The path of the first page of an index's portfolio of the day.
#[must_use]
pub fn portfolio_day(index: &str, language: Language) -> String {
    const PAGE_SIZE: u32 = 120;
    let language = language.as_str();
    let asked =
        format!(r#"{{"language":"{language}","pageNumber":1,"pageSize":{PAGE_SIZE},"index":"{index}","segment":"1"}}"#);
    format!("/indexProxy/indexCall/GetPortfolioDay/{}", STANDARD.encode(asked))
}

/// A request, read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// `GetPortfolioDay`; empty when it is not known.
    pub call: String,
    pub index: Option<String>,
    pub language: Option<Language>,
    pub page: Option<i64>,
    /// The path before the parameters, and the parameters.
    decoded: Option<(String, String)>,
}

impl Asked {
    #[must_use]
    pub fn of(request: &str) -> Self {
        // Of a whole address the path.
        let path = match request.split_once("://") {
            Some((_, rest)) => rest.find('/').map_or("", |at| &rest[at..]),
            None => request,
        };
        let Some(at) = path.find("Get") else { return Self::default() };
        let (call, parameters) = path[at..].split_once('/').unwrap_or((&path[at..], ""));
        let before = &path[..at + call.len()];
        let decoded = decode(parameters);
        // People note a request down with its parameters in plain words.
        let text = decoded.as_deref().unwrap_or(parameters);
        let index = parameter(text, "index").map(|(_, value)| value.to_owned());
        let language = parameter(text, "language").and_then(|(_, value)| value.parse().ok());
        let page = parameter(text, "pageNumber").and_then(|(_, value)| value.parse().ok());
        Self {
            call: call.to_owned(),
            index,
            language,
            page,
            decoded: decoded.map(|decoded| (format!("{before}/"), decoded)),
        }
    }

    /// The same request for another page; `None` when the parameters could not be read.
    #[must_use]
    pub fn for_page(&self, page: i64) -> Option<String> {
        let (before, parameters) = self.decoded.as_ref()?;
        let (at, value) = parameter(parameters, "pageNumber")?;
        let turned = format!("{}{page}{}", &parameters[..at], &parameters[at + value.len()..]);
        Some(format!("{before}{}", STANDARD.encode(turned)))
    }
}

fn decode(parameters: &str) -> Option<String> {
    let unescaped = parameters.replace("%3D", "=").replace("%3d", "=");
    let bytes = LENIENT.decode(unescaped.trim_end_matches('/')).ok()?;
    String::from_utf8(bytes).ok().filter(|text| text.contains("index"))
}

/// Where the value of `"name": value` begins, and that value without quotes.
fn parameter<'a>(text: &'a str, name: &str) -> Option<(usize, &'a str)> {
    let is_inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    text.match_indices(name).find_map(|(at, _)| {
        if text[..at].ends_with(is_inside) {
            return None;
        }
        let after = text[at + name.len()..].trim_start_matches(['"', ' ']).strip_prefix(':')?;
        let value = after.trim_start_matches(['"', ' ']);
        let end = value.find(|c| !is_inside(c)).unwrap_or(value.len());
        (end > 0).then(|| (text.len() - value.len(), &value[..end]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_made() {
        let path = portfolio_day("IBOV", Language::Portuguese);
        // From the exchange's own page.
        let known = "/indexProxy/indexCall/GetPortfolioDay/eyJsYW5ndWFnZSI6InB0LWJyIiwicGFnZU51bWJlciI6MSwicGFnZVNpemUiOjEyMCwiaW5kZXgiOiJJQk9WIiwic2VnbWVudCI6IjEifQ==";
        assert_eq!(path, known);
        let asked = Asked::of(known);
        assert_eq!((asked.call.as_str(), asked.index.as_deref()), ("GetPortfolioDay", Some("IBOV")));
        assert_eq!((asked.language, asked.page), (Some(Language::Portuguese), Some(1)));
        for other in [
            known.trim_end_matches('=').to_owned(),
            known.replace('=', "%3D"),
            format!("https://host.example{known}"),
            format!("{known}/"),
        ] {
            assert_eq!(Asked::of(&other), asked, "{other}");
        }
    }

    #[test]
    fn only_the_page_changes_from_page_to_page() {
        let second = Asked::of(&portfolio_day("SMLL", Language::English)).for_page(2).expect("it was read");
        let asked = Asked::of(&second);
        assert_eq!(
            (asked.index.as_deref(), asked.language, asked.page),
            (Some("SMLL"), Some(Language::English), Some(2))
        );
        let parameters = r#"{"pageSize": 20, "pageNumber" : 12, "index":"IBRA", "other":[1], "language":"pt-br"}"#;
        let path = format!("/GetPortfolioDay/{}", STANDARD.encode(parameters));
        let next = Asked::of(&path).for_page(13).expect("it was read");
        assert_eq!(next, format!("/GetPortfolioDay/{}", STANDARD.encode(parameters.replace("12", "13"))));
    }

    #[test]
    fn parameters_in_plain_words_are_read_and_never_turned() {
        let asked =
            Asked::of(r#"GetPortfolioDay/<b64 {language:en-us,pageNumber:3,pageSize:20,index:SMLL,segment:"1"}>"#);
        assert_eq!(
            (asked.index.as_deref(), asked.language, asked.page),
            (Some("SMLL"), Some(Language::English), Some(3))
        );
        assert_eq!(asked.for_page(4), None);
        for request in
            ["", "/", "/GetPortfolioDay", "/GetPortfolioDay/", "/GetPortfolioDay/AAAA", "/indexCall/Get/é", "index:"]
        {
            assert_eq!(Asked::of(request).index, None, "{request}");
        }
        let wrong = Asked::of("GetPortfolioDay/{language:fr,pageNumber:x,index:IBOV}");
        assert_eq!((wrong.language, wrong.page), (None, None));
    }
}
