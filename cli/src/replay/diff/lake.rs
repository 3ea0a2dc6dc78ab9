//! A generation's lake beside the live one: bronze by record, silver by event, candles by bucket. It reads only, an object of each
//! side at a time; both sides may change meanwhile, object by object, as for any reader of the lake.
//!
//! Whose word counts is judged as Postgres's rows are: an event that a record outside the plan decides (a higher revision, or among
//! equals the one that the broker took first) is as it should be, and no difference. Candles are compared where all of their live
//! ticks are the plan's: the generation has no others. What counts repetitions (`copies`, `revisions`) is not compared, since
//! repetitions lie outside the plan, too; nor are tables of gold that are made of whole days of other symbols.
//!
//! Must never happen here: "the same" for a row that was not looked at.

mod bronze;
mod candles;
mod object;
mod silver;

use std::collections::HashSet;

use clap::Args;
use consumer_db::exchange::Scope;
use pipeline::registry::RegistryArgs;
use pipeline::store::{Store, StoreArgs};

use super::{Counts, DiffArgs, Difference, Printer, print_counts};
use crate::replay::generation;
use crate::replay::plan::Plan;
use crate::replay::switch::scope;
use object::Row;

#[derive(Args, Debug)]
pub struct LakeArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub registry: RegistryArgs,
}

/// Both lakes, and what the generation is made of.
struct Sides<'a> {
    live: Store,
    own: Store,
    plan: &'a Plan,
    args: &'a DiffArgs,
    scope: Scope,
}

/// What came of comparing one layer.
struct Compared {
    layer: &'static str,
    counts: Counts,
    lines: Vec<Difference>,
    most: usize,
}

/// Prints what differs. Gives how many rows that is.
///
/// # Errors
/// When a store does not answer, or an object cannot be read.
pub async fn run(args: &DiffArgs, plan: &Plan) -> anyhow::Result<i64> {
    let own = generation::lake::own(&args.lake.store, &plan.name);
    let (live, own) = (Store::connect(&args.lake.store).await?, Store::connect(&own).await?);
    let sides = Sides { live, own, plan, args, scope: scope(plan) };
    let mut differing = bronze::compare(&sides).await?.print(args)?;
    let (silver, foreign) = silver::compare(&sides).await?;
    differing += silver.print(args)?;
    differing += candles::compare(&sides, &foreign).await?.print(args)?;
    Ok(differing)
}

/// Buckets in which live ticks stand that are not the plan's: timeframe, source, symbol, price basis, bucket.
type Foreign = HashSet<(&'static str, String, String, String, i64)>;

impl Compared {
    fn new(layer: &'static str, args: &DiffArgs) -> Self {
        let most = args.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        Self { layer, counts: Counts::default(), lines: Vec::new(), most }
    }

    fn same(&mut self) {
        self.counts.same += 1;
    }

    fn left_alone(&mut self) {
        self.counts.left_alone += 1;
    }

    /// A row of which these columns differ.
    fn different(&mut self, of: &Row, columns: Vec<(String, Option<String>, Option<String>)>) {
        self.counts.different += 1;
        for (column, live, generation) in columns {
            self.line("different", of, column, live, generation);
        }
    }

    fn only_live(&mut self, live: &Row, column: &str) {
        self.counts.only_live += 1;
        self.line("only_live", live, column.to_owned(), live.get(column), None);
    }

    fn only_generation(&mut self, own: &Row, column: &str) {
        self.counts.only_generation += 1;
        self.line("only_generation", own, column.to_owned(), None, own.get(column));
    }

    fn line(&mut self, change: &str, of: &Row, column: String, live: Option<String>, generation: Option<String>) {
        if self.lines.len() < self.most {
            let text = |name: &str| of.get(name).unwrap_or_default();
            self.lines.push(Difference {
                layer: self.layer.to_owned(),
                change: change.to_owned(),
                event_id: of.key().to_owned(),
                symbol: text("symbol"),
                source: text("source"),
                event_time: of.get("event_time").or_else(|| of.get("bucket")).unwrap_or_default(),
                column,
                live,
                generation,
            });
        }
    }

    fn print(self, args: &DiffArgs) -> anyhow::Result<i64> {
        print_counts(args, self.layer, self.counts)?;
        let mut printer = Printer::new(args.output.format);
        if !self.lines.is_empty() {
            printer.print(&self.lines)?;
        }
        Ok(self.counts.differing())
    }
}

/// Whether the plan names the record that made this row.
fn is_in(scope: &Scope, row: &Row) -> bool {
    let (Some(partition), Some(offset)) = (row.number("kafka_partition"), row.number("kafka_offset")) else {
        return false;
    };
    let mut stretches = scope.partitions.iter().zip(scope.begins.iter().zip(&scope.ends));
    let is_named = scope.symbols.is_empty() || row.get("symbol").is_some_and(|symbol| scope.symbols.contains(&symbol));
    is_named && stretches.any(|(of, (begin, end))| i64::from(*of) == partition && (*begin..*end).contains(&offset))
}
