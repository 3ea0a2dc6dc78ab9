//! What a person does when a writer stops: accepts a hole, begins a new epoch. Each in one step, as the rules say.

use bytes::Bytes;
use pipeline::lake::{Epoch, Link, LinkKind, bronze_key, epoch_key, raw_key};

use super::invariants::{TABLE, TOPIC, bronze, epochs, follow, origin, raw};
use super::sim::{PutRequest, State, decode, raw_file, topic_uuid};
use crate::chain::bronze_step;
use crate::chain::metadata;

/// Does what there is to do, if anything.
pub fn act(state: &mut State) {
    let epochs = epochs(state);
    let Some(topic) = epochs.last().copied() else { return };
    let epoch = u32::try_from(epochs.len() - 1).expect("few");
    let tail = origin(state, epoch).map(|origin| follow(&raw(state, epoch), origin).1);
    if topic == state.topic {
        let low = state.log().low;
        if let Some(tail) = tail.filter(|tail| *tail < low) {
            state.count("hole");
            put_link(state, epoch, LinkKind::Hole, tail, low);
        }
        return;
    }
    if let Some(tail) = tail
        && !raw(state, epoch).contains_key(&tail)
    {
        put_link(state, epoch, LinkKind::End, tail, tail);
    }
    for stored in raw(state, epoch).values() {
        let Some(rows) = stored.link.rows else { continue };
        if bronze(state, epoch, &stored.link).is_none() {
            let file = decode(1, &stored.rows);
            state.letters.extend(file.bad.iter().map(|(offset, _)| (topic, *offset)));
            let key = bronze_key(TABLE, rows.first_time_ms, TOPIC, epoch, 0, stored.link.start);
            let metadata = [(bronze_step::VERSION, "1".to_owned()), (bronze_step::BAD, file.bad.len().to_string())];
            let metadata = metadata.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
            let bytes = Bytes::from(serde_json::to_vec(&file).expect("plain fields"));
            state.land(&PutRequest { key, bytes, metadata, if_match: None });
        } else {
            // Their letters may not have been sent when the writer was lost.
            let bad = bronze(state, epoch, &stored.link).map(|file| file.bad).unwrap_or_default();
            state.letters.extend(bad.iter().map(|(offset, _)| (topic, *offset)));
        }
    }
    let bound = Epoch { cluster_id: "cluster".to_owned(), topic_id: topic_uuid(state.topic) };
    let bytes = Bytes::from(serde_json::to_vec(&bound).expect("plain fields"));
    let key = epoch_key(TOPIC, epoch + 1);
    state.land(&PutRequest { key, bytes, metadata: std::collections::HashMap::new(), if_match: None });
}

fn put_link(state: &mut State, epoch: u32, kind: LinkKind, start: i64, next_offset: i64) {
    let topic_id = topic_uuid(epochs(state)[epoch as usize]);
    let link = Link { kind, topic_id, start, next_offset, rows: None };
    let key = raw_key(TOPIC, epoch, 0, start);
    state.land(&PutRequest { key, bytes: raw_file(&link, &[]), metadata: metadata(&link), if_match: None });
}
