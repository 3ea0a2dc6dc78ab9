//! A replay measured: how fast a new generation of the database and of the lake is written from the topic, beside the services
//! that write the live ones. The programs are started for it, so their start counts, as it does for who waits.

use std::path::Path;

use pipeline::kafka::KafkaArgs;
use pipeline::topics;
use stack::Stack;

use crate::report::Row;
use crate::service::run;
use crate::ticks::Past;
use crate::{database, lake, now_us, report};

const PREFIX: &str = "replayed";
const HOUR_US: i64 = 3_600_000_000;
/// The past that the ticks are of.
const HOURS: i64 = 6;

/// Prints the rates and their shares.
///
/// # Errors
/// When a service or a replay fails.
pub async fn measure(stack: &Stack, kafka: &KafkaArgs, binaries: &Path, ticks: usize) -> anyhow::Result<()> {
    let step_us = (HOURS * HOUR_US / i64::try_from(ticks)?).max(1);
    let begin_us = now_us() / HOUR_US * HOUR_US - HOURS * HOUR_US;
    Past { first_number: 0, count: ticks, begin_us, step_us }.publish(kafka, topics::TICKS).await?;
    let written = database::write(stack, binaries, PREFIX, ticks).await?;
    let (archived, used) = lake::archive(stack, binaries, PREFIX, ticks).await?;
    let mut rows = vec![
        Row { what: "limit: consumer-db, live", rate: written.rate, limit: None, used: Some(written.used) },
        Row { what: "limit: consumer-lake, live", rate: archived, limit: None, used: Some(used) },
    ];
    for (what, target, limit) in
        [("replay to Postgres", "db", ("live", written.rate)), ("replay to the lake", "lake", ("live", archived))]
    {
        let plan = stack.data_dir().join(format!("replay-{target}.json")).display().to_string();
        let arguments = ["replay", "plan", "--from-earliest", "--name", target, "--target", target, "--out", &plan];
        run(stack, binaries, "tickstream", &arguments, PREFIX).await?;
        let took = run(stack, binaries, "tickstream", &["replay", "execute", &plan], PREFIX).await?;
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = ticks as f64 / took;
        rows.push(Row { what, rate, limit: Some(limit), used: None });
    }
    Ok(report::print(&rows, &mut std::io::stdout().lock())?)
}
