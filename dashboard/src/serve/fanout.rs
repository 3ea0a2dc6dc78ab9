//! Who wants what: for each symbol, candle, and channel the mailboxes to put things in. One lock, which is taken after the
//! state's: a record and what it changes are put into all mailboxes before anybody can subscribe, so a snapshot and the
//! updates behind it meet without a hole and without an overlap.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::board::{Board, Shown};
use super::mailbox::{Item, Mailbox};
use crate::protocol::Channel;
use crate::state::Timeframe;

#[derive(Debug)]
struct Entry {
    mailbox: Arc<Mailbox>,
    generation: u32,
}

#[derive(Debug, Default)]
struct SymbolFeed {
    board: Arc<Board>,
    members: Vec<Entry>,
    /// Subscribed by name, slow ones too.
    subscribers: usize,
}

type Members = Vec<Arc<Mailbox>>;

#[derive(Debug, Default)]
pub struct Fanout {
    symbols: HashMap<Arc<str>, SymbolFeed>,
    all: Vec<Entry>,
    all_subscribers: usize,
    all_boards: Arc<Vec<Arc<Board>>>,
    candles: HashMap<(Option<Arc<str>>, Timeframe), Members>,
    gaps: Members,
    alerts: Members,
    health: Members,
    everybody: Members,
}

impl Fanout {
    pub fn wants_ticks(&self, symbol: &str) -> bool {
        self.all_subscribers > 0 || self.symbols.contains_key(symbol)
    }

    /// Shows a row to all who want it.
    pub fn show(&mut self, shown: Arc<Shown>, now: Instant) {
        if self.all_subscribers > 0 && !self.symbols.contains_key(&shown.symbol) {
            self.board(&shown.symbol);
        }
        let Some(feed) = self.symbols.get_mut(&shown.symbol) else { return };
        feed.board.put(shown.clone());
        feed.members.retain(|entry| entry.mailbox.push_tick(entry.generation, &shown, now, None));
        let boards = self.all_boards.clone();
        self.all.retain(|entry| entry.mailbox.push_tick(entry.generation, &shown, now, Some(&boards)));
    }

    /// The board of a symbol, made when there is none.
    fn board(&mut self, symbol: &Arc<str>) -> Arc<Board> {
        if let Some(feed) = self.symbols.get(symbol) {
            return feed.board.clone();
        }
        let feed = SymbolFeed::default();
        let board = feed.board.clone();
        self.symbols.insert(symbol.clone(), feed);
        Arc::make_mut(&mut self.all_boards).push(board.clone());
        board
    }

    pub fn all_boards(&self) -> Arc<Vec<Arc<Board>>> {
        self.all_boards.clone()
    }

    /// Fills the board of a symbol, for somebody who begins to look at it.
    pub fn fill(&mut self, shown: Shown) {
        self.board(&shown.symbol.clone()).put(Arc::new(shown));
    }

    pub fn join_symbol(&mut self, symbol: &Arc<str>, mailbox: &Arc<Mailbox>) {
        let board = self.board(symbol);
        let mut inner = mailbox.lock();
        if let Some(feed) = self.symbols.get_mut(symbol) {
            feed.subscribers += 1;
            if inner.slow.is_none() {
                feed.members.push(Entry { mailbox: mailbox.clone(), generation: inner.generation });
            }
        }
        inner.boards.push((symbol.clone(), board));
    }

    pub fn leave_symbol(&mut self, symbol: &Arc<str>, mailbox: &Arc<Mailbox>) {
        mailbox.lock().boards.retain(|(known, _)| known != symbol);
        let Some(feed) = self.symbols.get_mut(symbol) else { return };
        feed.subscribers -= 1;
        forget(&mut feed.members, mailbox);
        if feed.subscribers == 0 && self.all_subscribers == 0 {
            let board = feed.board.clone();
            self.symbols.remove(symbol);
            Arc::make_mut(&mut self.all_boards).retain(|known| !Arc::ptr_eq(known, &board));
        }
    }

    pub fn join_all(&mut self, mailbox: &Arc<Mailbox>) {
        self.all_subscribers += 1;
        let inner = mailbox.lock();
        if inner.slow.is_none() {
            self.all.push(Entry { mailbox: mailbox.clone(), generation: inner.generation });
        }
    }

    pub fn leave_all(&mut self, mailbox: &Arc<Mailbox>) {
        self.all_subscribers -= 1;
        forget(&mut self.all, mailbox);
        if self.all_subscribers == 0 {
            self.symbols.retain(|_, feed| feed.subscribers > 0);
            self.all_boards = Arc::new(self.symbols.values().map(|feed| feed.board.clone()).collect());
        }
    }

    /// A slow connection keeps up again: `symbols` are those that it wants by name.
    pub fn rejoin<'a>(&mut self, symbols: impl Iterator<Item = &'a Arc<str>>, all: bool, mailbox: &Arc<Mailbox>) {
        let mut inner = mailbox.lock();
        inner.slow = None;
        inner.generation += 1;
        let entry = || Entry { mailbox: mailbox.clone(), generation: inner.generation };
        if all {
            forget(&mut self.all, mailbox);
            self.all.push(entry());
        }
        for symbol in symbols {
            if let Some(feed) = self.symbols.get_mut(symbol) {
                // A void entry is swept by the next tick, which may never come.
                forget(&mut feed.members, mailbox);
                feed.members.push(entry());
            }
        }
    }

    pub fn wants_candles(&self) -> bool {
        !self.candles.is_empty()
    }

    /// Who wants candles of a symbol, by name or of all.
    pub fn candles_of(&self, symbol: &Arc<str>, tf: Timeframe) -> impl Iterator<Item = &Arc<Mailbox>> {
        let by_name = self.candles.get(&(Some(symbol.clone()), tf)).into_iter().flatten();
        by_name.chain(self.candles.get(&(None, tf)).into_iter().flatten())
    }

    pub fn join_candles(&mut self, symbol: Option<Arc<str>>, tf: Timeframe, mailbox: &Arc<Mailbox>) {
        self.candles.entry((symbol, tf)).or_default().push(mailbox.clone());
    }

    pub fn leave_candles(&mut self, symbol: Option<Arc<str>>, tf: Timeframe, mailbox: &Arc<Mailbox>) {
        let key = (symbol, tf);
        if let Some(members) = self.candles.get_mut(&key) {
            members.retain(|known| !Arc::ptr_eq(known, mailbox));
            if members.is_empty() {
                self.candles.remove(&key);
            }
        }
    }

    /// Whether anybody wants gaps or alerts.
    pub fn wants_events(&self, channel: Channel) -> bool {
        match channel {
            Channel::Gaps => !self.gaps.is_empty(),
            Channel::Alerts => !self.alerts.is_empty(),
            Channel::Ticks | Channel::Candles | Channel::Health => false,
        }
    }

    fn members(&mut self, channel: Channel) -> Option<&mut Members> {
        match channel {
            Channel::Gaps => Some(&mut self.gaps),
            Channel::Alerts => Some(&mut self.alerts),
            Channel::Health => Some(&mut self.health),
            Channel::Ticks | Channel::Candles => None,
        }
    }

    pub fn join(&mut self, channel: Channel, mailbox: &Arc<Mailbox>) {
        if let Some(members) = self.members(channel) {
            members.push(mailbox.clone());
        }
    }

    pub fn leave(&mut self, channel: Channel, mailbox: &Arc<Mailbox>) {
        if let Some(members) = self.members(channel) {
            members.retain(|known| !Arc::ptr_eq(known, mailbox));
        }
    }

    pub fn tell(&mut self, channel: Channel, item: &Item) {
        for mailbox in self.members(channel).into_iter().flatten() {
            mailbox.push(item.clone());
        }
    }

    /// Whatever they are subscribed to.
    pub fn tell_everybody(&mut self, item: &Item) {
        for mailbox in &self.everybody {
            mailbox.push(item.clone());
        }
    }

    /// The state is another one: what was shown is void.
    pub fn restart(&mut self) {
        self.symbols.values().for_each(|feed| feed.board.clear());
        for mailbox in &self.everybody {
            mailbox.restart();
        }
    }

    pub fn has_board(&self, symbol: &str) -> bool {
        self.symbols.contains_key(symbol)
    }

    pub fn enter(&mut self, mailbox: &Arc<Mailbox>) {
        self.everybody.push(mailbox.clone());
    }

    pub fn exit(&mut self, mailbox: &Arc<Mailbox>) {
        if let Some(at) = self.everybody.iter().position(|known| Arc::ptr_eq(known, mailbox)) {
            self.everybody.swap_remove(at);
        }
    }
}

fn forget(entries: &mut Vec<Entry>, mailbox: &Arc<Mailbox>) {
    entries.retain(|entry| !Arc::ptr_eq(&entry.mailbox, mailbox));
}
