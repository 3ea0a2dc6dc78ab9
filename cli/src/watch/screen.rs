//! What one picture of the terminal shows. Pure: a view and a place to draw go in. A terminal that is too small shows what
//! fits, the prices before the lag.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Paragraph, Row, Table};

use super::plain::{COLUMNS, cells, headline};
use super::prices::{Change, Price};
use super::shared::View;
use crate::groups::{TOTAL_COLUMNS, total_row};
use crate::output::Align;

/// How long a price that changed is coloured.
const COLOURED: Duration = Duration::from_secs(2);
const PRICE: usize = 3;
const SPACE: u16 = 2;

/// Draws, and gives the row that the prices begin with: a scroll beyond the end is taken back.
pub fn draw(frame: &mut Frame<'_>, view: &View, topic: &str, scroll: usize) -> usize {
    let lags = view.lags.as_deref().unwrap_or_default();
    let lag_height = if lags.is_empty() { 0 } else { u16::try_from(lags.len()).unwrap_or(u16::MAX).saturating_add(2) };
    let area = frame.area();
    let lag_height = lag_height.min(area.height / 2);
    let [head, prices, below, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(2),
        Constraint::Length(lag_height),
        Constraint::Length(1),
    ])
    .areas(area);
    let bold = Style::new().add_modifier(Modifier::BOLD);
    frame.render_widget(Line::styled(format!("{topic}  {}", headline(view)), bold), head);

    let room = usize::from(prices.height.saturating_sub(1));
    let first = scroll.min(view.prices.len().saturating_sub(room));
    let shown = view.prices.iter().skip(first).take(room);
    let rows: Vec<(Vec<String>, Style)> =
        shown.map(|price| (cells(price, view.at).to_vec(), colour(price, view))).collect();
    render(frame, prices, &COLUMNS, &rows, PRICE);
    if view.prices.is_empty() {
        let [_, line] = Layout::vertical([Constraint::Length(1), Constraint::Length(1)]).areas(prices);
        frame.render_widget(Line::raw("no price yet"), line);
    }

    if lag_height > 2 {
        let [_, below] = Layout::vertical([Constraint::Length(1), Constraint::Min(1)]).areas(below);
        let rows: Vec<(Vec<String>, Style)> = lags.iter().map(|total| (total_row(total), Style::new())).collect();
        render(frame, below, &TOTAL_COLUMNS, &rows, usize::MAX);
    }
    let foot_line = match &view.trouble {
        Some(trouble) => Line::styled(trouble.clone(), Style::new().fg(Color::Red)),
        None => {
            let last = (first + room).min(view.prices.len());
            let beyond = if view.prices.len() > room {
                format!("  ↑ ↓ scroll ({} to {last} of {})", first + 1, view.prices.len())
            } else {
                String::new()
            };
            Line::styled(format!("q quit{beyond}"), Style::new().add_modifier(Modifier::DIM))
        }
    };
    frame.render_widget(Paragraph::new(foot_line), foot);
    first
}

fn colour(price: &Price, view: &View) -> Style {
    let is_new = view.now.saturating_duration_since(price.changed) < COLOURED;
    match price.change {
        Change::Up if is_new => Style::new().fg(Color::Green),
        Change::Down if is_new => Style::new().fg(Color::Red),
        Change::Up | Change::Down | Change::None => Style::new(),
    }
}

/// Columns as wide as their widest cell. The style of a row is that of its `styled` cell.
fn render(frame: &mut Frame<'_>, area: Rect, columns: &[(&str, Align)], rows: &[(Vec<String>, Style)], styled: usize) {
    let width = |index: usize, heading: &str| {
        let cells = rows.iter().map(|(cells, _)| cells[index].chars().count());
        let widest = cells.chain([heading.chars().count()]).max().unwrap_or(0);
        Constraint::Length(u16::try_from(widest).unwrap_or(u16::MAX))
    };
    let widths: Vec<Constraint> =
        columns.iter().enumerate().map(|(index, (heading, _))| width(index, heading)).collect();
    let cell = |index: usize, text: &str, style: Style| {
        let alignment = if columns[index].1 == Align::Right { Alignment::Right } else { Alignment::Left };
        Cell::new(Text::raw(text.to_owned()).alignment(alignment)).style(style)
    };
    let headings = columns.iter().enumerate().map(|(index, (heading, _))| cell(index, heading, Style::new()));
    let head =
        Row::new(headings.collect::<Vec<_>>()).style(Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED));
    let lines = rows.iter().map(|(cells, style)| {
        let of = |index: usize| if index == styled { *style } else { Style::new() };
        Row::new(cells.iter().enumerate().map(|(index, text)| cell(index, text, of(index))).collect::<Vec<_>>())
    });
    frame.render_widget(Table::new(lines.collect::<Vec<_>>(), widths).header(head).column_spacing(SPACE), area);
}

#[cfg(test)]
mod tests {
    use pipeline::events::PriceTick;
    use pipeline::example;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::groups::Total;
    use crate::watch::shared::Shared;

    /// The lines of a terminal of that size, and the row that it begins with.
    fn picture(view: &View, size: (u16, u16), scroll: usize) -> (Vec<String>, usize) {
        let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).expect("a terminal");
        let mut first = 0;
        terminal.draw(|frame| first = draw(frame, view, "market.ticks.v1", scroll)).expect("drawn");
        let buffer = terminal.backend().buffer();
        let line = |y| (0..size.0).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        ((0..size.1).map(line).collect(), first)
    }

    fn view(symbols: usize) -> View {
        let shared = Shared::new(&[], &[]);
        let tick = |n: usize| PriceTick { symbol: format!("S{n:02}-USD"), ..example::tick() };
        shared.add((0..symbols).map(tick), 0);
        let total = |group: &str| Total {
            group: group.to_owned(),
            state: "Stable".to_owned(),
            topic: "market.ticks.v1".to_owned(),
            partitions: 4,
            lag: Some(7),
            behind_seconds: Some(1.5),
            waits_seconds: None,
        };
        shared.state().lags = Some(vec![total("consumer-db"), total("consumer-lake")]);
        shared.view()
    }

    #[test]
    fn prices_stand_above_and_lag_below() {
        let (lines, _) = picture(&view(3), (120, 14), 0);
        assert!(lines[0].starts_with("market.ticks.v1  "), "{lines:#?}");
        assert!(lines[1].starts_with("SYMBOL   SOURCE"), "{lines:#?}");
        let price = example::tick().price.to_string();
        assert!(lines[2].starts_with("S00-USD  ") && lines[2].contains(&price), "{lines:#?}");
        let lag = lines.iter().position(|line| line.starts_with("GROUP")).expect("the lag");
        assert!(lines[lag + 1].starts_with("consumer-db") && lines[lag + 1].contains("1.5 s"), "{lines:#?}");
        assert!(lines[lag + 2].starts_with("consumer-lake"), "{lines:#?}");
        assert_eq!(lines[13], "q quit");
    }

    #[test]
    fn what_does_not_fit_is_scrolled_to_and_no_further() {
        let (lines, first) = picture(&view(30), (100, 16), 5);
        assert_eq!(first, 5);
        assert!(lines[2].starts_with("S05-USD") && lines[15].contains("(6 to 14 of 30)"), "{lines:#?}");
        let (lines, first) = picture(&view(30), (100, 16), 1000);
        assert_eq!(first, 21);
        assert!(lines.iter().any(|line| line.starts_with("S29-USD")), "{lines:#?}");
    }

    #[test]
    fn a_terminal_of_any_size_is_drawn() {
        for size in [(1, 1), (5, 2), (20, 3), (300, 100)] {
            picture(&view(3), size, 0);
            picture(&view(0), size, 0);
        }
    }

    #[test]
    fn trouble_is_told_where_the_keys_were() {
        let shared = Shared::new(&[], &[]);
        shared.state().broker_away = Some("127.0.0.1:9092 is away".to_owned());
        let (lines, _) = picture(&shared.view(), (60, 8), 0);
        assert_eq!(lines[7], "127.0.0.1:9092 is away");
        assert!(lines.iter().any(|line| line == "no price yet"), "{lines:#?}");
    }
}
