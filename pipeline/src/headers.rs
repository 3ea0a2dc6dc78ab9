//! Record headers, of which a key may be any bytes: whoever writes to a topic decides. rdkafka's own reading panics at a key
//! that is not UTF-8, so keys are read and written through C here. Where a key must be text, [`text_of`] and [`key_of`] turn
//! bytes into text and back without loss. Invariant: a key that is UTF-8 is its own text. Must never happen here: a record
//! that cannot be taken because of its headers, or one that loses a header without a word.

use std::borrow::Cow;
use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr;

use rdkafka::bindings as c;
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, OwnedHeaders};

/// Stands before a text that is not the key itself. librdkafka ends keys at a zero byte, so none begins with one.
const ESCAPED: char = '\0';
/// Stands in place of headers that the client library does not read: it takes at most 100,000 a record.
pub const UNREADABLE: &str = "tickstream-unreadable-headers";

/// The headers of one record.
#[derive(Clone, Copy, Debug)]
pub enum ClientHeaders<'a> {
    None,
    Some(NativeHeaders<'a>),
    /// There are headers, and the client library refuses to read them.
    Unreadable,
}

/// Headers that the client library holds.
#[derive(Clone, Copy, Debug)]
pub struct NativeHeaders<'a> {
    native: *const c::rd_kafka_headers_t,
    owner: PhantomData<&'a ()>,
}

impl<'a> ClientHeaders<'a> {
    #[must_use]
    pub fn of(message: &'a BorrowedMessage<'_>) -> Self {
        let mut native = ptr::null_mut();
        // SAFETY: the message is alive, and owns the headers that it gives.
        let code = unsafe { c::rd_kafka_message_headers(message.ptr(), &raw mut native) };
        match code {
            c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Self::Some(NativeHeaders::new(native)),
            c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__NOENT => Self::None,
            _ => Self::Unreadable,
        }
    }
}

impl<'a> From<&'a BorrowedHeaders> for ClientHeaders<'a> {
    fn from(headers: &'a BorrowedHeaders) -> Self {
        Self::Some(NativeHeaders::new(native_of(headers)))
    }
}

impl<'a> NativeHeaders<'a> {
    fn new(native: *const c::rd_kafka_headers_t) -> Self {
        Self { native, owner: PhantomData }
    }

    /// Keys and values in their order.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        (0..).map_while(move |index| self.get(index))
    }

    fn get(self, index: usize) -> Option<(&'a [u8], Option<&'a [u8]>)> {
        let (mut key, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the headers live for 'a, the results are ours. A key ends with a zero byte; a value, unless it is null, is of
        // `size` bytes; both live as long as the headers.
        unsafe {
            let code = c::rd_kafka_header_get_all(self.native, index, &raw mut key, &raw mut value, &raw mut size);
            let there = code == c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
            there.then(|| {
                let value = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), size));
                (CStr::from_ptr(key).to_bytes(), value)
            })
        }
    }
}

/// rdkafka's type is the native object behind a reference.
fn native_of(headers: &BorrowedHeaders) -> *const c::rd_kafka_headers_t {
    ptr::from_ref(headers).cast()
}

/// The headers with one more, whatever its key's bytes are.
#[must_use]
pub fn insert(headers: OwnedHeaders, key: &[u8], value: Option<&[u8]>) -> OwnedHeaders {
    let (bytes, size) = value.map_or((ptr::null(), 0), |value| (value.as_ptr(), value.len()));
    // SAFETY: the headers are ours alone; key and value are copied.
    let code = unsafe {
        c::rd_kafka_header_add(
            native_of(headers.as_borrowed()).cast_mut(),
            key.as_ptr().cast(),
            key.len().cast_signed(),
            bytes.cast(),
            size.cast_signed(),
        )
    };
    debug_assert!(code == c::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR, "headers of ours can be written");
    headers
}

/// The key as text: itself where it is UTF-8, else a zero byte, and then its UTF-8 with `%25` for `%` and, for each byte that
/// is none, `%` and two hexadecimal digits.
#[must_use]
pub fn text_of(key: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(key)
        && !text.starts_with(ESCAPED)
    {
        return Cow::Borrowed(text);
    }
    let mut text = String::from(ESCAPED);
    for chunk in key.utf8_chunks() {
        text.push_str(&chunk.valid().replace('%', "%25"));
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("%{byte:02X}")));
    }
    Cow::Owned(text)
}

/// The key that [`text_of`] was given.
#[must_use]
pub fn key_of(text: &str) -> Cow<'_, [u8]> {
    let Some(escaped) = text.strip_prefix(ESCAPED) else { return Cow::Borrowed(text.as_bytes()) };
    let mut parts = escaped.split('%');
    let mut key = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                key.push(byte);
                key.extend_from_slice(&part.as_bytes()[2..]);
            }
            // Not ours: kept as it stands.
            None => {
                key.push(b'%');
                key.extend_from_slice(part.as_bytes());
            }
        }
    }
    Cow::Owned(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn any_bytes_are_a_key_and_come_back_in_order() {
        let given: [(&[u8], Option<&[u8]>); 5] =
            [(b"a", Some(b"1")), (b"caf\xe9", Some(b"\xff")), (b"", None), (b"\xff\xfe", Some(b"")), (b"a", None)];
        let headers = given.iter().fold(OwnedHeaders::new(), |headers, (key, value)| insert(headers, key, *value));
        let ClientHeaders::Some(native) = ClientHeaders::from(headers.as_borrowed()) else { panic!("there are some") };
        assert_eq!(native.iter().collect::<Vec<_>>(), given);
    }

    #[test]
    fn a_text_is_its_own_and_what_is_none_is_told_in_ascii() {
        for text in ["", "source", "100%", "%FF", "straße"] {
            assert_eq!((text_of(text.as_bytes()), &*key_of(text)), (Cow::Borrowed(text), text.as_bytes()));
        }
        assert_eq!(text_of(b"caf\xe9 100%"), "\0caf%E9 100%25");
        assert_eq!(&*key_of("\0%zz%"), b"%zz%", "never written by us");
    }

    proptest! {
        #[test]
        fn no_key_is_lost(key in any::<Vec<u8>>()) {
            let text = text_of(&key);
            prop_assert_eq!(&*key_of(&text), &key[..]);
        }

        #[test]
        fn two_keys_are_two_texts(one in any::<Vec<u8>>(), other in any::<Vec<u8>>()) {
            prop_assert_eq!(one == other, text_of(&one) == text_of(&other));
        }
    }
}
