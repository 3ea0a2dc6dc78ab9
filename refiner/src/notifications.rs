//! The bronze objects that a notification names. Invariant: every shape in which S3 tells of new objects gives the same keys:
//! the event itself, within an SQS message or a batch of them, within SNS, or as EventBridge has it. Must never happen here: a
//! message that is not understood and passes for an empty one.

use std::collections::BTreeSet;

use anyhow::Context;
use serde_json::Value;

/// Messages within messages.
const MAX_DEPTH: usize = 6;

/// The keys in `bucket`, as they stand there.
///
/// # Errors
/// When it is not JSON, or not a notification of objects.
pub fn keys(text: &str, bucket: &str) -> anyhow::Result<BTreeSet<String>> {
    let value: Value = serde_json::from_str(text).context("the notification is not JSON")?;
    let mut keys = BTreeSet::new();
    let understood = gather(&value, bucket, 0, &mut keys);
    anyhow::ensure!(
        understood,
        "the notification is of no shape that is known: an S3 event, SQS, SNS or EventBridge around one"
    );
    Ok(keys)
}

fn gather(value: &Value, bucket: &str, depth: usize, keys: &mut BTreeSet<String>) -> bool {
    if depth > MAX_DEPTH {
        return false;
    }
    if let Some(list) = value.as_array() {
        return !list.is_empty() && list.iter().all(|each| gather(each, bucket, depth + 1, keys));
    }
    for records in ["Records", "Messages"] {
        if let Some(list) = value.get(records).and_then(Value::as_array) {
            return list.iter().all(|each| gather(each, bucket, depth + 1, keys));
        }
    }
    // An S3 record: its key is encoded as in a form.
    if let Some(s3) = value.get("s3") {
        return take(s3, bucket, decode, keys);
    }
    // EventBridge: the key is plain.
    if let Some(detail) = value.get("detail").filter(|detail| detail.get("object").is_some()) {
        return take(detail, bucket, |key| Some(key.to_owned()), keys);
    }
    // What S3 sends when notifications are set up.
    if value.get("Event").and_then(Value::as_str) == Some("s3:TestEvent") {
        return true;
    }
    let inner = ["body", "Body", "Message"].iter().find_map(|field| value.get(*field)?.as_str());
    let inner = inner.or_else(|| value.get("Sns")?.get("Message")?.as_str());
    let Some(inner) = inner.and_then(|text| serde_json::from_str::<Value>(text).ok()) else { return false };
    gather(&inner, bucket, depth + 1, keys)
}

fn take(s3: &Value, bucket: &str, plain: impl Fn(&str) -> Option<String>, keys: &mut BTreeSet<String>) -> bool {
    let name = s3.get("bucket").and_then(|found| found.get("name")).and_then(Value::as_str);
    let key = s3.get("object").and_then(|found| found.get("key")).and_then(Value::as_str);
    let Some((name, key)) = name.zip(key.and_then(plain)) else { return false };
    if name == bucket {
        keys.insert(key);
    }
    true
}

/// Form encoding: + is a space, %2B a plus.
fn decode(key: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let value = digit(rest.next())? * 16 + digit(rest.next())?;
                bytes.push(u8::try_from(value).ok()?);
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEY: &str = "bronze/ticks/dt=2026-03-02/hour=07/market.ticks.v1+0000+00001+00000000000000000042.parquet";

    fn record(bucket: &str) -> Value {
        let key = KEY.replace('=', "%3D").replace('+', "%2B");
        json!({"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": bucket}, "object": {"key": key, "eTag": "1"}}})
    }

    #[test]
    fn every_shape_gives_the_key() {
        let event = json!({"Records": [record("lake"), record("another")]});
        let sqs = json!({"Messages": [{"MessageId": "1", "Body": event.to_string()}]});
        let lambda = json!({"Records": [{"messageId": "1", "eventSource": "aws:sqs", "body": event.to_string()}]});
        let sns = json!({"Type": "Notification", "Message": event.to_string()});
        let sns_in_lambda = json!({"Records": [{"EventSource": "aws:sns", "Sns": {"Message": event.to_string()}}]});
        let sns_in_sqs = json!({"Messages": [{"Body": sns.to_string()}]});
        let bridge =
            json!({"detail-type": "Object Created", "detail": {"bucket": {"name": "lake"}, "object": {"key": KEY}}});
        for shape in [event, sqs, lambda, sns, sns_in_lambda, sns_in_sqs, bridge] {
            assert_eq!(keys(&shape.to_string(), "lake").expect("keys"), BTreeSet::from([KEY.to_owned()]), "{shape}");
        }
        let test = json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "lake"});
        assert!(keys(&test.to_string(), "lake").expect("nothing to do").is_empty());
    }

    #[test]
    fn what_is_not_understood_is_said() {
        let broken = json!({"Records": [{"s3": {"bucket": {"name": "lake"}, "object": {"key": "%zz"}}}]}).to_string();
        for wrong in ["", "{}", "[]", "null", "{\"Records\": [{}]}", "{\"body\": \"x\"}", &broken] {
            assert!(keys(wrong, "lake").is_err(), "{wrong}");
        }
    }
}
