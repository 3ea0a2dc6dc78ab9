//! The terminal itself: taken, drawn to, given back. Whatever ends the command (a key, a signal, an error, a panic), the
//! terminal is as it was before: the guard gives it back when the work is dropped, and ratatui's hook before a panic is told.

use std::time::Duration;

use anyhow::Context;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::interval;

use super::screen::draw;
use super::shared::Shared;

/// How long a wait for a key may outlast the end.
const KEY_WAIT: Duration = Duration::from_millis(200);
const PAGE: usize = 10;

struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Quit,
    Up(usize),
    Down(usize),
    Redraw,
}

/// Draws until q, Escape or Ctrl-C.
pub async fn show(shared: &Shared, topic: &str, every: Duration) -> anyhow::Result<()> {
    // Before the terminal is taken, and so given back last, when that failed half-way too.
    let _guard = Guard;
    let mut terminal = ratatui::try_init().context("taking the terminal")?;
    let mut wishes = keys();
    let mut turn = interval(every);
    let mut scroll = 0_usize;
    loop {
        tokio::select! {
            _ = turn.tick() => {}
            wish = wishes.recv() => match wish {
                Some(Wish::Quit) => return Ok(()),
                Some(Wish::Up(rows)) => scroll = scroll.saturating_sub(rows),
                Some(Wish::Down(rows)) => scroll = scroll.saturating_add(rows),
                Some(Wish::Redraw) => {}
                // Without keys it goes on until a signal.
                None => {
                    turn.tick().await;
                }
            },
        }
        let view = shared.view();
        terminal.draw(|frame| scroll = draw(frame, &view, topic, scroll)).context("drawing")?;
    }
}

/// What the keys ask for, from a thread of their own: waiting for a key blocks.
fn keys() -> Receiver<Wish> {
    let (sender, receiver) = channel(16);
    std::thread::spawn(move || while read_key(&sender) {});
    receiver
}

/// False when there are no keys to be had, or nobody wants them.
fn read_key(to: &Sender<Wish>) -> bool {
    let wish =
        match event::poll(KEY_WAIT).and_then(|is_there| if is_there { event::read().map(Some) } else { Ok(None) }) {
            Ok(Some(event)) => wish(&event),
            Ok(None) => None,
            Err(_) => return false,
        };
    match wish {
        Some(wish) => to.blocking_send(wish).is_ok(),
        None => !to.is_closed(),
    }
}

fn wish(event: &Event) -> Option<Wish> {
    match event {
        Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press | KeyEventKind::Repeat, .. }) => match code {
            KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => Some(Wish::Quit),
            KeyCode::Char('q' | 'Q') | KeyCode::Esc => Some(Wish::Quit),
            KeyCode::Up | KeyCode::Char('k') => Some(Wish::Up(1)),
            KeyCode::Down | KeyCode::Char('j') => Some(Wish::Down(1)),
            KeyCode::PageUp => Some(Wish::Up(PAGE)),
            KeyCode::PageDown | KeyCode::Char(' ') => Some(Wish::Down(PAGE)),
            KeyCode::Home => Some(Wish::Up(usize::MAX)),
            KeyCode::End => Some(Wish::Down(usize::MAX)),
            _ => None,
        },
        Event::Resize(..) => Some(Wish::Redraw),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_mean_what_they_mean_everywhere() {
        let key = |code, modifiers| wish(&Event::Key(KeyEvent::new(code, modifiers)));
        for (code, modifiers) in [
            (KeyCode::Char('q'), KeyModifiers::NONE),
            (KeyCode::Char('c'), KeyModifiers::CONTROL),
            (KeyCode::Esc, KeyModifiers::NONE),
        ] {
            assert_eq!(key(code, modifiers), Some(Wish::Quit));
        }
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::NONE), None);
        assert_eq!(key(KeyCode::PageDown, KeyModifiers::NONE), Some(Wish::Down(PAGE)));
        assert_eq!(wish(&Event::Resize(10, 10)), Some(Wish::Redraw));
    }
}
