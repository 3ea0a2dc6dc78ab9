//! W3C trace context in record headers. Whoever writes to a topic decides what stands there: what is not well formed, too
//! long, or said twice is ignored. Must never happen here: an error, or work that grows with what a stranger wrote.

use std::str::FromStr;

use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

pub const TRACEPARENT: &str = "traceparent";
pub const TRACESTATE: &str = "tracestate";

/// `00-<trace id>-<span id>-<flags>`; a later version may go on after another dash.
const LENGTH: usize = 55;
/// What a later version may take.
const LONGEST: usize = 256;
/// What the recommendation asks to be kept of a state.
const LONGEST_STATE: usize = 512;
/// Headers that are looked at: none of ours has nearly as many.
const HEADERS: usize = 64;

/// The span that a record was sent in.
pub(super) fn parent<'a>(headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>) -> Option<SpanContext> {
    let (mut parent, mut state) = (None, None);
    for (key, value) in headers.take(HEADERS) {
        match key {
            TRACEPARENT if parent.is_some() => return None,
            TRACEPARENT => parent = Some(value.unwrap_or_default()),
            TRACESTATE if state.is_none() => state = value,
            _ => {}
        }
    }
    let (trace_id, span_id, flags) = read(parent?)?;
    let state = state
        .filter(|state| state.len() <= LONGEST_STATE)
        .and_then(|state| TraceState::from_str(std::str::from_utf8(state).ok()?).ok())
        .unwrap_or_default();
    let context = SpanContext::new(trace_id, span_id, flags, true, state);
    context.is_valid().then_some(context)
}

/// The id of the trace that a record's headers name, as tracing tools show it.
#[must_use]
pub fn trace_id_of<'a>(headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>) -> Option<String> {
    parent(headers).map(|parent| parent.trace_id().to_string())
}

fn read(value: &[u8]) -> Option<(TraceId, SpanId, TraceFlags)> {
    let text = std::str::from_utf8(value).ok().filter(|text| (LENGTH..=LONGEST).contains(&text.len()))?;
    let shaped = text.bytes().take(LENGTH).enumerate().all(|(at, byte)| match at {
        2 | 35 | 52 => byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    });
    let ends = match text.get(..2) {
        Some("00") => text.len() == LENGTH,
        Some("ff") => false,
        _ => text.len() == LENGTH || text.as_bytes()[LENGTH] == b'-',
    };
    if !shaped || !ends {
        return None;
    }
    let flags = u8::from_str_radix(&text[53..LENGTH], 16).ok()?;
    let flags = TraceFlags::new(flags) & TraceFlags::SAMPLED;
    Some((TraceId::from_hex(&text[3..35]).ok()?, SpanId::from_hex(&text[36..52]).ok()?, flags))
}

/// What a record says of the span that it is sent in.
pub(super) fn traceparent(trace_id: TraceId, span_id: SpanId) -> String {
    format!("00-{trace_id}-{span_id}-01")
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use opentelemetry::propagation::TextMapPropagator;
    use opentelemetry::trace::TraceContextExt;
    use opentelemetry_sdk::propagation::TraceContextPropagator;
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(value: &[u8]) -> Option<SpanContext> {
        parent([(TRACEPARENT, Some(value))].into_iter())
    }

    #[test]
    fn what_is_written_is_read() {
        let read = of(GOOD.as_bytes()).expect("well formed");
        assert_eq!(traceparent(read.trace_id(), read.span_id()), GOOD);
        assert!(read.is_sampled() && read.is_remote());
    }

    #[test]
    fn flags_and_versions() {
        let sampled = |value: &str| of(value.as_bytes()).map(|context| context.is_sampled());
        assert_eq!(sampled(&GOOD.replace("-01", "-00")), Some(false));
        assert_eq!(sampled(&GOOD.replace("-01", "-03")), Some(true), "flags that are not known say nothing");
        assert_eq!(sampled(&format!("01{}-what-comes", &GOOD[2..])), Some(true), "a later version may say more");
        assert_eq!(sampled(&format!("{GOOD}-more")), None, "and this one may not");
        assert_eq!(sampled(&format!("01{}more", &GOOD[2..])), None);
        assert_eq!(sampled(&format!("ff{}", &GOOD[2..])), None);
    }

    #[test]
    fn what_is_not_well_formed_is_ignored() {
        for bad in [
            "",
            "00",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-+1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(of(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(of(&[0xff; 55]), None);
        assert_eq!(of(format!("01{}-{}", &GOOD[2..], "a".repeat(1 << 20)).as_bytes()), None, "over-long");
        let twice = [(TRACEPARENT, Some(GOOD.as_bytes())), (TRACEPARENT, Some(GOOD.as_bytes()))];
        assert_eq!(parent(twice.into_iter()), None, "which of the two is meant is not known");
        assert_eq!(parent([(TRACEPARENT, None)].into_iter()), None);
    }

    #[test]
    fn a_state_goes_along_and_a_bad_one_is_left_out() {
        let with = |state: &[u8]| {
            let headers = [("other", None), (TRACESTATE, Some(state)), (TRACEPARENT, Some(GOOD.as_bytes()))];
            parent(headers.into_iter()).expect("the parent is well formed").trace_state().header()
        };
        assert_eq!(with(b"vendor=1,other=2"), "vendor=1,other=2");
        for bad in [&b"\xff"[..], b"no value", "v=1,".repeat(1000).as_bytes()] {
            assert_eq!(with(bad), "");
        }
    }

    #[test]
    fn headers_without_end_are_not_read_to_their_end() {
        let many = std::iter::repeat_n(("other", None), HEADERS).chain([(TRACEPARENT, Some(GOOD.as_bytes()))]);
        assert_eq!(parent(many), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken(value in any::<Vec<u8>>(), state in any::<Vec<u8>>()) {
            let headers = [(TRACEPARENT, Some(&value[..])), (TRACESTATE, Some(&state[..]))];
            prop_assert_eq!(parent(headers.into_iter()), None);
        }

        #[test]
        fn what_is_well_formed_is_read_as_the_library_does(
            value in "0[01]-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]"
        ) {
            let headers = HashMap::from([(TRACEPARENT.to_owned(), value.clone())]);
            let theirs = TraceContextPropagator::new().extract(&headers);
            let theirs = Some(theirs.span().span_context().clone()).filter(SpanContext::is_valid);
            prop_assert_eq!(of(value.as_bytes()), theirs);
        }
    }
}
