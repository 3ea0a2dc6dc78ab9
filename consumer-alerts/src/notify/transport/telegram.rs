//! Telegram's Bot API: sendMessage. It has no idempotency key: a message whose answer was lost is sent again, and may be
//! there twice.

use std::num::NonZeroUsize;
use std::time::Duration;

use reqwest::header::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use crate::notify::http::{Answer, Http, Verdict, bounded};

/// Characters of a text; counted before its entities are parsed, so on the safe side.
pub const LIMIT: NonZeroUsize = NonZeroUsize::new(4096).expect("more than none");

#[derive(Debug)]
pub struct Telegram {
    http: Http,
    /// With the token in it.
    url: SecretString,
    chat_id: String,
}

/// What every method answers.
#[derive(Debug, Deserialize)]
struct Said {
    ok: bool,
    error_code: Option<u16>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Debug, Default, Deserialize)]
struct Parameters {
    retry_after: Option<u64>,
    migrate_to_chat_id: Option<i64>,
}

impl Telegram {
    pub fn new(http: Http, token: &SecretString, chat_id: &str, api_url: &str) -> Self {
        let url = SecretString::from(format!("{api_url}/bot{}/sendMessage", token.expose_secret()));
        Self { http, url, chat_id: chat_id.to_owned() }
    }

    pub async fn send(&mut self, html: &str) -> Verdict {
        let (verdict, moved) = self.try_once(html).await;
        let Some(chat_id) = moved else { return verdict };
        tracing::warn!(
            chat_id,
            before = self.chat_id,
            "the chat {} has become the supergroup {chat_id}: set that as chat_id",
            self.chat_id
        );
        self.chat_id = chat_id.to_string();
        self.try_once(html).await.0
    }

    async fn try_once(&self, html: &str) -> (Verdict, Option<i64>) {
        let body = json!({
            "chat_id": self.chat_id,
            "text": html,
            "parse_mode": "HTML",
            "link_preview_options": {"is_disabled": true},
        });
        match self.http.post(&self.url, HeaderMap::new(), body.to_string().into_bytes()).await {
            Ok(answer) => judge(&answer),
            Err(reason) => (Verdict::Later(reason, None), None),
        }
    }
}

/// What an answer means, and where the chat has moved to, if that is why it was refused.
fn judge(answer: &Answer) -> (Verdict, Option<i64>) {
    let Ok(said) = serde_json::from_str::<Said>(&answer.body) else {
        // A message's own answer is cut short, or it is somebody else's: a proxy's, a login page's.
        let taken = answer.status == 200 && answer.body.trim_start().starts_with("{\"ok\":true");
        let verdict = if taken {
            Verdict::Delivered
        } else {
            Verdict::Later(format!("not an answer of the Bot API: {}", answer.told()), answer.retry_after)
        };
        return (verdict, None);
    };
    if said.ok {
        return (Verdict::Delivered, None);
    }
    let code = said.error_code.unwrap_or(answer.status);
    let told = format!("{code}: {}", said.description.chars().take(200).collect::<String>());
    let wait = said.parameters.retry_after.map(|seconds| bounded(Duration::from_secs(seconds))).or(answer.retry_after);
    let verdict = match code {
        401 | 404 => Verdict::Later(format!("{told}: the bot token is refused; @BotFather tells the right one"), None),
        408 | 425 | 429 => Verdict::Later(told, wait),
        400 | 403 => Verdict::GivenUp(format!("{told}: is chat_id right, and may the bot write there?")),
        402 | 405..=499 => Verdict::GivenUp(told),
        _ => Verdict::Later(told, wait),
    };
    (verdict, said.parameters.migrate_to_chat_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, body: &str) -> Verdict {
        judge(&Answer { status, retry_after: None, leads_to: None, body: body.to_owned() }).0
    }

    #[test]
    fn each_answer_has_its_meaning() {
        assert_eq!(judged(200, r#"{"ok":true,"result":{"message_id":7}}"#), Verdict::Delivered);
        assert_eq!(judged(200, r#"{"ok":true,"result":{"text":"cut off"#), Verdict::Delivered);
        let flood = r#"{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 35","parameters":{"retry_after":35}}"#;
        let wait = Some(Duration::from_secs(35));
        assert_eq!(judged(429, flood), Verdict::Later("429: Too Many Requests: retry after 35".to_owned(), wait));
        assert_eq!(judged(200, flood), Verdict::Later("429: Too Many Requests: retry after 35".to_owned(), wait));
        for (status, description) in
            [(400, "Bad Request: chat not found"), (403, "Forbidden: bot was blocked by the user")]
        {
            let body = format!(r#"{{"ok":false,"error_code":{status},"description":"{description}"}}"#);
            let Verdict::GivenUp(reason) = judged(status, &body) else { panic!("{status} is for good") };
            assert!(reason.contains(description) && reason.contains("chat_id"), "{reason}");
        }
        for (status, body) in [
            (401, r#"{"ok":false,"error_code":401,"description":"Unauthorized"}"#),
            (404, r#"{"ok":false,"error_code":404,"description":"Not Found"}"#),
            (500, r#"{"ok":false,"error_code":500,"description":"Internal Server Error"}"#),
            (200, r#"{"ok":false}"#),
            (200, "<html>log in</html>"),
            (502, "<html>Bad Gateway</html>"),
            (200, ""),
            (413, "<html>proxy</html>"),
        ] {
            assert!(matches!(judged(status, body), Verdict::Later(_, None)), "{status} {body}");
        }
    }

    #[test]
    fn a_chat_that_has_moved_says_where() {
        let body = r#"{"ok":false,"error_code":400,"description":"Bad Request: group chat was upgraded to a supergroup chat","parameters":{"migrate_to_chat_id":-1001234567890}}"#;
        let answer = Answer { status: 400, retry_after: None, leads_to: None, body: body.to_owned() };
        assert_eq!(judge(&answer).1, Some(-1_001_234_567_890));
    }
}
