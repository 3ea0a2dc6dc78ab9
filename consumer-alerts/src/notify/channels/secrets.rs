//! Secrets, found by what the file says of where they are. Must never happen here: a secret in a mistake's message.

use std::ops::Range;
use std::path::Path;

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use toml::Spanned;

use super::Environment;
use super::place::Mistake;

/// Whether a text is the address of a server.
pub fn good_url(text: &str) -> Result<(), String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(()),
        Ok(_) => Err("begins with http:// or https://".to_owned()),
        Err(error) => Err(format!("is no address: {error}")),
    }
}

/// Finds secrets of one channel, by what names them.
pub struct Secrets<'a> {
    pub environment: Environment<'a>,
    /// Where the channel stands.
    pub channel: Range<usize>,
}

impl Secrets<'_> {
    pub fn missing(&self, what: &str) -> Mistake {
        Mistake::at(self.channel.clone(), format!("this channel lacks {what}"))
    }

    /// The secret that a variable or a file has, if one of them is named.
    pub fn find(
        &self,
        what: &str,
        variable: Option<&Spanned<String>>,
        file: Option<&Spanned<String>>,
    ) -> Result<Option<SecretString>, Mistake> {
        let (named, text) = match (variable, file) {
            (None, None) => return Ok(None),
            (Some(variable), None) => {
                let found = (self.environment)(variable.get_ref());
                let unset = || format!("the environment variable {} is not set", variable.get_ref());
                (variable, found.ok_or_else(|| Mistake::at(variable.span(), unset()))?)
            }
            (None, Some(file)) => {
                let found = pipeline::secrets::read(Path::new(file.get_ref()));
                let cannot =
                    |error| Mistake::at(file.span(), format!("cannot read the file {}: {error}", file.get_ref()));
                (file, found.map_err(cannot)?)
            }
            (Some(_), Some(file)) => {
                let message = format!("`{what}_env` and `{what}_file` are two ways to say the same: leave one out");
                return Err(Mistake::at(file.span(), message));
            }
        };
        let text = text.trim();
        if text.is_empty() {
            return Err(Mistake::at(named.span(), format!("what {} names is empty", named.get_ref())));
        }
        Ok(Some(SecretString::from(text)))
    }

    /// The address that the file has, or a variable, or a file of its own.
    pub fn url(&self, [url, variable, file]: [Option<&Spanned<String>>; 3]) -> Result<SecretString, Mistake> {
        let named = self.find("url", variable, file)?;
        let (found, span) = match (url, named) {
            (Some(url), Some(_)) => {
                let message = "`url`, `url_env` and `url_file` are ways to say the same: leave one";
                return Err(Mistake::at(url.span(), message));
            }
            (Some(url), None) => (SecretString::from(url.get_ref().as_str()), url.span()),
            (None, Some(found)) => (found, variable.or(file).map_or(self.channel.clone(), Spanned::span)),
            (None, None) => return Err(self.missing("`url`, `url_env` or `url_file`")),
        };
        good_url(found.expose_secret()).map_err(|reason| Mistake::at(span, format!("the address {reason}")))?;
        Ok(found)
    }
}
