//! `tickstream replay diff`: a generation's rows beside the live ones, of one moment: how many there are of each kind, then
//! each difference by event and column. It reads only. Candles and latest prices are not compared: they follow from the
//! ticks. The lake's objects are compared in [`lake`]. Must never happen here: "the same" for a row that was not looked at.

mod lake;

use anyhow::{Context, anyhow};
use clap::Args;
use consumer_db::exchange::Scope;
use futures::TryStreamExt;
use pipeline::kafka::KafkaArgs;
use pipeline::misconfigured;
use pipeline::topics::TICKS;
use serde::Serialize;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Postgres, Row};

use self::lake::LakeArgs;
use super::plan::{Mode, Name, Plan, Source, Target};
use super::record::{All, State};
use super::switch::scope;
use crate::database::{DatabaseArgs, explain};
use crate::output::{self, Align, Format, OutputArgs, Pages};

const COUNTS: &str = include_str!("diff/counts.sql");
const ROWS: &str = include_str!("diff/rows.sql");
const BEHIND: &str = include_str!("diff/behind.sql");

const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
const POSTGRES: &str = "postgres";
/// Lines that are printed at once.
const PAGE: usize = 500;

#[derive(Args, Debug)]
pub struct DiffArgs {
    /// The generation's name.
    #[arg(value_name = "NAME")]
    name: Name,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    lake: LakeArgs,
    /// So many lines at most; the counts are of all of them.
    #[arg(long, env = "REPLAY_DIFF_LIMIT", value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    limit: Option<i64>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Events by what became of the comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Counts {
    different: i64,
    only_generation: i64,
    only_live: i64,
    /// A record outside the scope, or a later correction, decides.
    left_alone: i64,
    same: i64,
}

/// A column that differs, or a row that one of the two has not: then with its price.
#[derive(Debug, Serialize)]
struct Difference {
    layer: String,
    change: String,
    event_id: String,
    symbol: String,
    source: String,
    event_time: String,
    column: String,
    live: Option<String>,
    generation: Option<String>,
}

const HEADINGS: [&str; 9] =
    ["layer", "change", "event_id", "symbol", "source", "event_time", "column", "live", "generation"];

pub async fn run(args: DiffArgs) -> anyhow::Result<()> {
    let plan = written(&args.kafka, &args.name).await?;
    if args.output.format == Format::Csv {
        // Once, whatever differs and in how many places.
        output::print(&output::csv::<Difference>(&HEADINGS, true, &[])?)?;
    }
    let mut differing = 0;
    if plan.has(&Target::Db) {
        differing += of_rows(&args, &plan).await?;
    }
    if plan.has(&Target::Lake) {
        differing += Box::pin(lake::run(&args, &plan)).await?;
    }
    if differing == 0 {
        return Ok(());
    }
    let what = if plan.has(&Target::Lake) { "rows" } else { "events" };
    Err(anyhow!("{differing} {what} are not as the generation {} has them", args.name))
}

/// How many differ in Postgres.
async fn of_rows(args: &DiffArgs, plan: &Plan) -> anyhow::Result<i64> {
    let mut connection = args.database.connect().await?;
    let mut snapshot = connection.begin_with(SNAPSHOT).await?;
    sqlx::query("set local time zone 'UTC'").execute(&mut *snapshot).await?;
    say_what_is_behind(&mut snapshot, plan).await?;
    let scope = Compared(scope(plan));
    let counts = scope.counts(&mut snapshot).await?;
    print_counts(args, POSTGRES, counts)?;
    if counts.differing() > 0 {
        scope.print_rows(&mut snapshot, args).await?;
    }
    Ok(counts.differing())
}

/// The plan of a generation that stands.
async fn written(kafka: &KafkaArgs, name: &Name) -> anyhow::Result<Plan> {
    let record = All::read(kafka).await?.records.remove(name);
    let record = record.ok_or_else(|| {
        misconfigured(format!("there is no replay {name}; `tickstream replay list` shows those that there are"))
    })?;
    let plan = record.plan;
    if plan.mode == Mode::Rewind {
        return Err(misconfigured(format!("{name} was a rewind: it has written nothing beside the live rows")));
    }
    match record.state {
        State::Dropped => {
            return Err(misconfigured(format!("the generation {name} is dropped: it has no rows any more")));
        }
        State::Executing => {
            return Err(misconfigured(format!(
                "the generation {name} is not whole: run `tickstream replay execute` with its plan again, it goes on from there"
            )));
        }
        State::Executed | State::Prepared | State::Switching | State::Done | State::RollingBack | State::RolledBack => {
        }
    }
    if !plan.has(&Target::Db) && !plan.has(&Target::Lake) {
        return Err(misconfigured(format!(
            "the generation {name} has no rows: neither db nor lake is among its targets"
        )));
    }
    Ok(plan)
}

/// What consumer-db has not read yet differs until it has.
async fn say_what_is_behind(connection: &mut PgConnection, plan: &Plan) -> anyhow::Result<()> {
    if matches!(plan.source, Source::LakeRaw | Source::PayloadsLake) {
        return Ok(());
    }
    let stretches: Vec<_> = plan.of_topic(TICKS).collect();
    let query = sqlx::query(BEHIND)
        .bind(stretches.iter().map(|stretch| stretch.topic_id).collect::<Vec<_>>())
        .bind(stretches.iter().map(|stretch| stretch.partition).collect::<Vec<_>>())
        .bind(stretches.iter().map(|stretch| stretch.to).collect::<Vec<_>>());
    for row in query.fetch_all(connection).await.map_err(explain)? {
        let (partition, offsets): (i32, i64) = (row.try_get(0)?, row.try_get(1)?);
        output::note(&format!(
            "consumer-db has {offsets} offsets of {TICKS}[{partition}] still to read before the plan's end"
        ));
    }
    Ok(())
}

/// A generation's rows beside the live ones.
struct Compared(Scope);

impl Compared {
    fn query(&self, of_pairs: &str) -> Query<'_, Postgres, PgArguments> {
        let Scope { partitions, begins, ends, symbols, .. } = &self.0;
        let statement = AssertSqlSafe(self.0.statement(of_pairs));
        sqlx::query(statement).bind(partitions).bind(begins).bind(ends).bind(symbols)
    }

    async fn counts(&self, connection: &mut PgConnection) -> anyhow::Result<Counts> {
        let mut counts = Counts::default();
        for row in self.query(COUNTS).fetch_all(connection).await.map_err(explain)? {
            let (verdict, count): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
            *counts.of(&verdict).with_context(|| format!("a verdict {verdict}"))? = count;
        }
        Ok(counts)
    }

    async fn print_rows(&self, connection: &mut PgConnection, args: &DiffArgs) -> anyhow::Result<()> {
        let query = self.query(ROWS).bind(args.limit);
        let mut rows = query.fetch(connection);
        let mut printer = Printer::new(args.output.format);
        let mut page = Vec::new();
        while let Some(row) = rows.try_next().await.map_err(explain)? {
            page.push(difference(&row)?);
            if page.len() == PAGE && !printer.print(&std::mem::take(&mut page))? {
                return Ok(());
            }
        }
        printer.print(&page).map(drop)
    }
}

impl Counts {
    fn of(&mut self, verdict: &str) -> Option<&mut i64> {
        match verdict {
            "different" => Some(&mut self.different),
            "only_generation" => Some(&mut self.only_generation),
            "only_live" => Some(&mut self.only_live),
            "left_alone" => Some(&mut self.left_alone),
            "same" => Some(&mut self.same),
            _ => None,
        }
    }

    fn differing(self) -> i64 {
        self.different + self.only_generation + self.only_live
    }

    fn as_text(self, what: &str) -> String {
        let Self { different, only_generation, only_live, left_alone, same } = self;
        format!(
            "{different} {what} differ, {only_generation} are only in the generation, {only_live} only live; {same} are the same, \
             {left_alone} decided by records outside it"
        )
    }
}

fn print_counts(args: &DiffArgs, layer: &str, counts: Counts) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Line<'a> {
        layer: &'a str,
        counts: Counts,
    }
    let text = || match layer {
        POSTGRES => counts.as_text("events"),
        _ => format!("{layer}: {}", counts.as_text("rows")),
    };
    match args.output.format {
        Format::Table => output::print(&format!("{}\n", text())),
        Format::Json => output::print(&format!("{}\n", serde_json::to_string(&Line { layer, counts })?)),
        Format::Csv => {
            output::note(&text());
            Ok(())
        }
    }
}

fn difference(row: &PgRow) -> Result<Difference, sqlx::Error> {
    let column: String = row.try_get(5)?;
    let is_time = column.ends_with("_time") || column.ends_with("_at");
    let value = |index| -> Result<Option<String>, sqlx::Error> {
        let value: Option<String> = row.try_get(index)?;
        Ok(if is_time { value.map(in_utc) } else { value })
    };
    Ok(Difference {
        layer: POSTGRES.to_owned(),
        change: row.try_get(0)?,
        event_id: row.try_get(1)?,
        symbol: row.try_get(2)?,
        source: row.try_get(3)?,
        event_time: in_utc(row.try_get(4)?),
        live: value(6)?,
        generation: value(7)?,
        column,
    })
}

/// As this program writes times; Postgres writes the offset of UTC in digits.
fn in_utc(time: String) -> String {
    match time.strip_suffix("+00:00") {
        Some(time) => format!("{time}Z"),
        None => time,
    }
}

struct Printer {
    format: Format,
    pages: Pages<'static>,
    begun: bool,
}

const COLUMNS: [(&str, Align); 9] = [
    ("LAYER", Align::Left),
    ("CHANGE", Align::Left),
    ("EVENT ID", Align::Left),
    ("SYMBOL", Align::Left),
    ("SOURCE", Align::Left),
    ("EVENT TIME", Align::Left),
    ("COLUMN", Align::Left),
    ("LIVE", Align::Right),
    ("GENERATION", Align::Right),
];

impl Printer {
    fn new(format: Format) -> Self {
        Self { format, pages: Pages::new(&COLUMNS), begun: false }
    }

    /// False when nobody reads any more.
    fn print(&mut self, differences: &[Difference]) -> anyhow::Result<bool> {
        let begun = std::mem::replace(&mut self.begun, true);
        if begun && differences.is_empty() {
            return Ok(true);
        }
        let text = match self.format {
            Format::Table => self.pages.page(&differences.iter().map(cells).collect::<Vec<_>>()),
            Format::Json => {
                let lines = differences.iter().map(|line| serde_json::to_string(line).map(|line| line + "\n"));
                lines.collect::<Result<String, _>>()?
            }
            Format::Csv => output::csv(&HEADINGS, false, differences)?,
        };
        output::print_piece(&text)
    }
}

fn cells(difference: &Difference) -> Vec<String> {
    let Difference { layer, change, event_id, symbol, source, event_time, column, live, generation } = difference;
    let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    vec![
        layer.clone(),
        change.replace('_', " "),
        event_id.clone(),
        symbol.clone(),
        source.clone(),
        event_time.clone(),
        column.clone(),
        or_none(live),
        or_none(generation),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verdict_is_counted() {
        let mut counts = Counts::default();
        for (verdict, count) in
            [("different", 1), ("only_generation", 2), ("only_live", 3), ("left_alone", 4), ("same", 5)]
        {
            *counts.of(verdict).expect("a verdict") = count;
        }
        assert_eq!(
            counts.as_text("events"),
            "1 events differ, 2 are only in the generation, 3 only live; 5 are the same, 4 decided by records outside it"
        );
        assert!(counts.of("else").is_none());
    }
}
