//! `tickstream replay drop`: removes a generation: its schema, its objects, its topic, and then says so in its record. What is live is not
//! touched. Killed in between, the same command removes the rest. Must never happen here: a schema or an object removed that no
//! generation made; a generation dropped that is being switched.

use clap::Args;
use pipeline::kafka::KafkaArgs;
use pipeline::misconfigured;
use pipeline::store::StoreArgs;
use sqlx::{AssertSqlSafe, Connection, Row};

use super::generation::{GENERATION_COMMENT, copy, lake, own_topic, schema, topic};
use super::plan::{Mode, Name, Target};
use super::record::{Records, State};
use crate::database::DatabaseArgs;
use crate::output;

const WHOSE_SCHEMA: &str = include_str!("generation/sql/whose_schema.sql");

#[derive(Args, Debug)]
pub struct DropArgs {
    /// The generation's name.
    #[arg(value_name = "NAME")]
    name: Name,
    #[command(flatten)]
    kafka: KafkaArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    store: StoreArgs,
}

pub async fn run(args: DropArgs) -> anyhow::Result<()> {
    let name = &args.name;
    let mut records = Records::open(&args.kafka, name).await?;
    let Some(record) = records.current().cloned() else {
        return Err(misconfigured(format!(
            "there is no replay {name}; `tickstream replay list` shows those that there are"
        )));
    };
    match record.state {
        State::Switching | State::RollingBack => {
            let command = if record.state == State::Switching { "promote" } else { "rollback" };
            return Err(misconfigured(format!(
                "{name} is {}: run `tickstream replay {command} {name}` to its end first",
                record.state.as_str()
            )));
        }
        State::Done => output::note(&format!("{name} is promoted: it stays so, and cannot be rolled back any more")),
        State::Executing | State::Executed | State::Prepared | State::RolledBack | State::Dropped => {}
    }
    let mut removed = Vec::new();
    if record.plan.mode == Mode::SideBySide {
        if record.plan.has(&Target::Db) && drop_schema(&args).await? {
            removed.push(format!("schema {}", schema(name)));
        }
        if record.plan.has(&Target::Lake) {
            let objects = lake::delete(&args.store, name).await?;
            removed.extend((objects > 0).then(|| format!("{objects} objects below generations/{name}/")));
        }
        if record.plan.source.is_payloads() && own_topic::delete(&args.kafka, &topic(name)).await? {
            removed.push(format!("topic {}", topic(name)));
        }
    }
    let copies: Vec<&str> = record.plan.copies().collect();
    for into in &copies {
        copy::forget(&args.kafka, name, into).await?;
    }
    let kept = if copies.is_empty() { String::new() } else { format!("; {} stays as it is", copies.join(", ")) };
    if record.state != State::Dropped {
        records.advance(record.in_state(State::Dropped)).await?;
    }
    let removed = if removed.is_empty() { "nothing was left of it".to_owned() } else { removed.join(" and ") };
    output::print(&format!("{name} is dropped: {removed}{kept}\n"))
}

/// False where there is none.
async fn drop_schema(args: &DropArgs) -> anyhow::Result<bool> {
    let schema = schema(&args.name);
    let mut connection = args.database.connect().await?;
    let mut transaction = connection.begin().await?;
    let found = sqlx::query(WHOSE_SCHEMA).bind(&schema).fetch_one(&mut *transaction).await?;
    let (is_there, says): (bool, Option<String>) = (found.try_get(0)?, found.try_get(1)?);
    if !is_there {
        return Ok(false);
    }
    if !says.is_some_and(|says| says.starts_with(&format!("{GENERATION_COMMENT} {} ", args.name))) {
        return Err(misconfigured(format!("schema {schema} was not made by a replay: it is not dropped")));
    }
    let dropping = format!("drop schema {schema} cascade");
    sqlx::raw_sql(AssertSqlSafe(dropping)).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(true)
}
