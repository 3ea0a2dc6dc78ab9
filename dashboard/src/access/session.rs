//! The cookie that stands for a token or a password: until when it is good, signed. Nothing is kept of it, so it outlives a
//! restart and is good at every replica with the same secret; another secret ends it.

use axum::http::HeaderValue;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::clock::now_us;

pub const COOKIE: &str = "tickstream_session";
const GOOD_FOR_SECONDS: i64 = 7 * 24 * 60 * 60;

pub struct Session {
    key: Hmac<Sha256>,
}

impl Session {
    /// `secret`: what the cookie stands for.
    pub fn new(secret: &[u8]) -> Self {
        Self { key: Hmac::new_from_slice(secret).expect("a key of any length will do") }
    }

    /// What a browser is told to keep.
    pub fn cookie(&self, secure: bool) -> HeaderValue {
        let until = now_us() / 1_000_000 + GOOD_FOR_SECONDS;
        let secure = if secure { "; Secure" } else { "" };
        let value = self.signed(until);
        let cookie = format!("{COOKIE}={value}; Path=/; Max-Age={GOOD_FOR_SECONDS}; HttpOnly; SameSite=Lax{secure}");
        HeaderValue::from_str(&cookie).expect("visible ASCII")
    }

    pub fn is_good(&self, value: &str) -> bool {
        self.is_good_at(value, now_us() / 1_000_000)
    }

    fn is_good_at(&self, value: &str, now: i64) -> bool {
        let Some((until, signature)) = value.split_once('.') else { return false };
        let Ok(until) = until.parse::<i64>() else { return false };
        let Some(signature) = from_hex(signature) else { return false };
        // In constant time.
        self.mac(until).verify_slice(&signature).is_ok() && now < until
    }

    fn mac(&self, until: i64) -> Hmac<Sha256> {
        let mut mac = self.key.clone();
        mac.update(format!("tickstream session until {until}").as_bytes());
        mac
    }

    fn signed(&self, until: i64) -> String {
        let signature = self.mac(until).finalize().into_bytes();
        let hex: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{until}.{hex}")
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_and_cannot_be_made_up() {
        let session = Session::new(b"the digest of a token");
        let value = session.signed(1000);
        assert!(session.is_good_at(&value, 999) && !session.is_good_at(&value, 1000));
        assert!(!Session::new(b"another").is_good_at(&value, 999));
        let later = value.replacen("1000", "2000", 1);
        for wrong in [later.as_str(), "1000", "1000.", "1000.zz", ".", "", &value[..value.len() - 2]] {
            assert!(!session.is_good_at(wrong, 999), "{wrong}");
        }
    }
}
