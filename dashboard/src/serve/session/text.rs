//! Messages put together from rows that were serialised once for all.

use std::fmt::Write;
use std::sync::Arc;

use super::Session;
use crate::protocol::{Channel, Json, SnapshotReason};
use crate::serve::board::Shown;
use crate::serve::cursor::{self, Cursor};
use crate::serve::mailbox::{ShownCandle, ShownEvent};
use crate::state::Timeframe;
use crate::state::candle::GoneCandle;
use crate::state::tick::Position;

/// How a row of ticks ends as it is shared.
const NOTHING_SKIPPED: &str = "\"skipped\":0}";

impl Session {
    /// The beginning of a message, numbered.
    fn begin(&mut self, room: usize, name: &str, channel: Channel) -> String {
        self.seq += 1;
        let mut text = String::with_capacity(room + 160);
        // Writing to a string does not fail.
        let _ = write!(text, "{{\"seq\":{},\"type\":\"{name}\",\"channel\":\"{}\"", self.seq, channel.name());
        text
    }

    pub(super) fn push_ticks(&mut self, rows: &[Arc<Shown>]) {
        let mut read: Vec<Position> = Vec::with_capacity(2);
        rows.iter().for_each(|shown| shown.at.raise(&mut read));
        let at = Cursor { topic: self.hub.cursor(Channel::Ticks).topic.clone(), read };
        self.push_updates(&at, rows.iter().map(|shown| (&shown.row, 0)));
    }

    /// With how many ticks each left out.
    pub(super) fn push_updates<'a>(
        &mut self,
        at: &Cursor,
        rows: impl ExactSizeIterator<Item = (&'a Json, u64)> + Clone,
    ) {
        let room = rows.clone().map(|(row, _)| row.get().len() + 8).sum();
        let mut text = self.begin(room, "update", Channel::Ticks);
        text.push_str(",\"cursor\":\"");
        cursor::write(&mut text, &at.topic, &at.read);
        text.push_str("\",\"ticks\":[");
        for (i, (row, skipped)) in rows.enumerate() {
            if i > 0 {
                text.push(',');
            }
            push_row(&mut text, row, skipped);
        }
        text.push_str("]}");
        self.note_cursor(Channel::Ticks, at);
        self.push("update", text);
    }

    pub(super) fn push_candle(&mut self, candle: &ShownCandle) {
        let row = candle.row.as_ref().map_or("", Json::get);
        let mut text = self.begin(row.len(), "update", Channel::Candles);
        let at = cursor::text(&candle.cursor.topic, &candle.cursor.read);
        let _ = write!(text, ",\"cursor\":\"{at}\",\"tf\":\"{}\",\"candles\":[{row}]", candle.key.tf.name());
        if candle.row.is_none() {
            let _ = write!(text, ",\"gone\":[{}]", Json::of(&GoneCandle::of(&candle.key)).get());
        }
        text.push('}');
        self.note_cursor(Channel::Candles, &candle.cursor);
        self.push("update", text);
    }

    pub(super) fn push_event(&mut self, event: &ShownEvent) {
        let name = if event.channel == Channel::Gaps { "gap" } else { "alert" };
        let mut text = self.begin(event.row.get().len(), name, event.channel);
        let at = cursor::text(&event.cursor.topic, &event.cursor.read);
        let _ = write!(text, ",\"cursor\":\"{at}\",\"{name}\":{}}}", event.row.get());
        self.note_cursor(event.channel, &event.cursor);
        self.push(name, text);
    }

    pub(super) fn push_health(&mut self, rows: &Json, at: &Cursor) {
        let mut text = self.begin(rows.get().len(), "update", Channel::Health);
        let _ = write!(text, ",\"cursor\":\"{}\",\"sources\":{}}}", cursor::text(&at.topic, &at.read), rows.get());
        self.note_cursor(Channel::Health, at);
        self.push("update", text);
    }

    pub(super) fn push_snapshot(
        &mut self,
        channel: Channel,
        tf: Option<Timeframe>,
        reason: SnapshotReason,
        full: bool,
        at: &Cursor,
        rows: &[Json],
    ) {
        let room = rows.iter().map(|row| row.get().len() + 1).sum();
        let mut text = self.begin(room, "snapshot", channel);
        let _ = write!(text, ",\"reason\":\"{}\",\"full\":{full},\"cursor\":\"", reason.name());
        cursor::write(&mut text, &at.topic, &at.read);
        text.push('"');
        if let Some(tf) = tf {
            let _ = write!(text, ",\"tf\":\"{}\"", tf.name());
        }
        let _ = write!(text, ",\"{}\":[", channel.rows());
        for (i, row) in rows.iter().enumerate() {
            if i > 0 {
                text.push(',');
            }
            text.push_str(row.get());
        }
        text.push_str("]}");
        self.note_cursor(channel, at);
        self.push("snapshot", text);
    }
}

fn push_row(text: &mut String, row: &Json, skipped: u64) {
    match row.get().strip_suffix(NOTHING_SKIPPED) {
        Some(rest) if skipped > 0 => {
            text.push_str(rest);
            let _ = write!(text, "\"skipped\":{skipped}}}");
        }
        _ => text.push_str(row.get()),
    }
}

impl SnapshotReason {
    fn name(self) -> &'static str {
        match self {
            Self::Subscribed => "subscribed",
            Self::Resumed => "resumed",
            Self::Lagged => "lagged",
            Self::Seek => "seek",
        }
    }
}
