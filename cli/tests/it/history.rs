use sqlx::{AssertSqlSafe, PgConnection};
use stack::Stack;

use crate::{Answer, database, tickstream};

async fn execute(connection: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(connection).await.expect(statement);
}

/// Two days of ticks of two sources, each thirty seconds or so apart, and the candles that they come to.
async fn fill(connection: &mut PgConnection) {
    execute(
        connection,
        "select setseed(0.5);
         create table t as
         select timestamptz '2026-03-01 00:00:07Z' + n * interval '29.5 seconds' as at, gen_random_uuid() as id,
                case when n % 3 = 0 then 'coinbase' else 'kraken' end as source,
                case when n % 3 = 0 then 'TRADE' else 'REFERENCE' end as basis,
                60000 + (random() * 1000000)::bigint * 0.000000000000000001 + (random() * 100)::int as price,
                case when n % 3 = 0 then (random() * 1000)::int * 0.001 end as quantity
         from generate_series(0, 5855) as n;
         insert into candles (
             symbol, source, price_basis, timeframe, bucket, open, high, low, close, quote_volume, ticks, first_event_time,
             last_event_time, complete, first_event_id, last_event_id, price_sum, quantity, negative_quantity)
         select 'BTC-USD', source, basis, timeframe, date_bin(candle_width(timeframe), at, '1970-01-01Z') as bucket,
                (array_agg(price order by at))[1], max(price), min(price), (array_agg(price order by at desc))[1],
                sum(price * quantity), count(*), min(at), max(at), true, (array_agg(id order by at))[1],
                (array_agg(id order by at desc))[1], sum(price), sum(quantity), null
         from t, unnest(array['1m', '5m', '1h', '1d']) as timeframe
         group by source, basis, timeframe, bucket;
         insert into latest_prices (symbol, source, base, quote, kind, price, event_time, received_at, event_id, revision)
         values ('BTC-USD', 'kraken', 'BTC', 'USD', 'TRADE', 1, now(), now(), gen_random_uuid(), 0)",
    )
    .await;
}

/// What the ticks themselves come to in buckets of `minutes`, as the command prints it, without vwap.
async fn from_ticks(connection: &mut PgConnection, minutes: i32) -> Vec<String> {
    let statement = format!(
        "select concat_ws(',', to_char(bucket at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), source, 'BTC-USD', basis,
                trim_scale(open), trim_scale(high), trim_scale(low), trim_scale(close),
                coalesce(trim_scale(volume)::text, ''), ticks, 'true')
         from (
             select source, basis, date_bin(make_interval(mins => {minutes}), at, '1970-01-01Z') as bucket,
                    (array_agg(price order by at))[1] as open, max(price) as high, min(price) as low,
                    (array_agg(price order by at desc))[1] as close, sum(quantity) as volume, count(*) as ticks
             from t group by source, basis, bucket
         ) as buckets
         order by bucket, source, basis"
    );
    sqlx::query_scalar(AssertSqlSafe(statement)).fetch_all(connection).await.expect("buckets")
}

async fn history(stack: &Stack, url: &str, arguments: &[&str]) -> Answer {
    tickstream(stack, &[&["history", "--database-url", url], arguments].concat()).await
}

const TWO_DAYS: [&str; 5] = ["btc-usd", "--from", "2026-03-01", "--to", "2026-03-03"];

#[tokio::test(flavor = "multi_thread")]
async fn buckets_of_every_width_are_what_the_ticks_come_to() {
    let stack = stack::shared().await;
    let (mut connection, url) = database(stack, "cli_history").await;
    fill(&mut connection).await;
    for (every, minutes) in
        [("1m", 1), ("3m", 3), ("5m", 5), ("15m", 15), ("1h", 60), ("90m", 90), ("4h", 240), ("1d", 1440)]
    {
        let answer = history(stack, &url, &[&TWO_DAYS[..], &["--every", every, "-o", "csv"]].concat()).await;
        assert_eq!((answer.code, answer.stderr.as_str()), (0, ""));
        let mut lines = answer.stdout.lines();
        assert_eq!(
            lines.next(),
            Some("bucket,source,symbol,price_basis,open,high,low,close,volume,vwap,ticks,complete")
        );
        let mut vwaps = 0;
        let found: Vec<String> = lines
            .map(|line| {
                let mut cells: Vec<&str> = line.split(',').collect();
                let vwap = cells.remove(9);
                if !vwap.is_empty() {
                    let (low, high): (f64, f64) = (cells[6].parse().expect("low"), cells[5].parse().expect("high"));
                    let vwap: f64 = vwap.parse().expect("a number");
                    assert!((low - 1e-6..=high + 1e-6).contains(&vwap), "{line}");
                    vwaps += 1;
                }
                cells.join(",")
            })
            .collect();
        assert!(vwaps > 0, "{every}");
        assert_eq!(found, from_ticks(&mut connection, minutes).await, "{every}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_is_shown_and_what_may_be_missing_is_said() {
    let stack = stack::shared().await;
    let (mut connection, url) = database(stack, "cli_history_asked").await;
    fill(&mut connection).await;
    let ask = async |arguments: &[&str]| history(stack, &url, arguments).await;

    let some = ask(&[
        "BTC-USD",
        "--from",
        "2026-03-01T05:59:59Z",
        "--to",
        "2026-03-01T12:00:00.5Z",
        "--every",
        "4h",
        "-o",
        "json",
    ])
    .await;
    let buckets = some.json_lines();
    let keys: Vec<(&str, &str)> = buckets
        .iter()
        .map(|bucket| (bucket["bucket"].as_str().expect("text"), bucket["source"].as_str().expect("text")))
        .collect();
    let expected = ["04", "08", "12"].map(|hour| format!("2026-03-01T{hour}:00:00Z"));
    let expected: Vec<(&str, &str)> =
        expected.iter().flat_map(|bucket| [(bucket.as_str(), "coinbase"), (bucket.as_str(), "kraken")]).collect();
    assert_eq!(keys, expected);
    assert!(buckets[0]["open"].is_string() && buckets[0]["vwap"].is_f64() && buckets[0]["complete"] == true);
    assert!(buckets[1]["volume"].is_null(), "a reference price has no volume");
    let count = async |arguments: &[&str]| {
        let answer = ask(&[&TWO_DAYS[..], &["--every", "1d", "-o", "json"], arguments].concat()).await;
        answer.stdout.lines().count()
    };
    assert_eq!(count(&[]).await, 4);
    assert_eq!(count(&["--source", "Kraken"]).await, 2);
    assert_eq!(count(&["--basis", "trade,fx"]).await, 2);
    assert_eq!(count(&["--source", "kraken", "--basis", "TRADE"]).await, 0);

    // The candles of this gap's five minutes are gone with it: no candle knows of it, and the wider bucket does.
    execute(
        &mut connection,
        "delete from candles where source = 'kraken' and timeframe in ('1m', '5m')
             and bucket >= '2026-03-01 10:05Z' and bucket < '2026-03-01 10:10Z';
         insert into gaps (id, source, symbols, reason, started_at, ended_at, detail, broker_time, kafka_partition, kafka_offset)
         values (gen_random_uuid(), 'kraken', '{}', 'DISCONNECTED', '2026-03-01 10:05Z', '2026-03-01 10:10Z', '', now(), 0, 0);
         update candles set complete = false where source = 'coinbase' and timeframe = '5m' and bucket = '2026-03-01 11:20Z'",
    )
    .await;
    let gap = ask(&[&TWO_DAYS[..], &["--every", "15m", "-o", "csv"]].concat()).await;
    assert_eq!(
        gap.line(),
        "tickstream: buckets that are not complete, since a gap touches them: 2 of 384 (column complete)"
    );
    let incomplete: Vec<String> = gap
        .stdout
        .lines()
        .filter(|line| line.ends_with(",false"))
        .map(|line| line.split(',').take(2).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(incomplete, ["2026-03-01T10:00:00Z kraken", "2026-03-01T11:15:00Z coinbase"]);

    let table = ask(&[&TWO_DAYS[..], &["--every", "1d"]].concat()).await;
    let lines: Vec<&str> = table.stdout.lines().collect();
    assert!(lines[0].starts_with("BUCKET                SOURCE    BASIS") && lines.len() == 5, "{}", table.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_to_show_and_mistakes_are_one_line() {
    let stack = stack::shared().await;
    let (mut connection, url) = database(stack, "cli_history_nothing").await;
    fill(&mut connection).await;
    let empty = history(stack, &url, &["BTC-USD", "-o", "csv"]).await;
    assert_eq!((empty.code, empty.stdout.lines().count()), (0, 1), "the headings alone");
    assert!(empty.line().starts_with("tickstream: no candles of BTC-USD from 20"), "{}", empty.stderr);
    let unknown = history(stack, &url, &["BTC-USDT"]).await;
    assert_eq!(
        (unknown.code, unknown.line()),
        (1, "tickstream: no price of BTC-USDT is known; the nearest names are BTC-USD")
    );
    let backwards = history(stack, &url, &["BTC-USD", "--from", "2026-03-02", "--to", "2026-03-01"]).await;
    assert_eq!(backwards.code, 2);
    assert_eq!(backwards.line(), "tickstream: --from 2026-03-02T00:00:00Z is not before --to 2026-03-01T00:00:00Z");
    for (arguments, says) in [
        (["--every", "7m"], "a day is no multiple of 7m"),
        (["--from", "soon"], "-24h, -7d, today"),
        (["--basis", "PRICE"], "TRADE, QUOTE, TICKER, REFERENCE, FX, FX_IMPLIED"),
    ] {
        let wrong = history(stack, &url, &[&["BTC-USD"], &arguments[..]].concat()).await;
        assert_eq!(wrong.code, 2);
        assert!(wrong.stderr.contains(says), "{}", wrong.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_not_over_is_said() {
    let stack = stack::shared().await;
    let (mut connection, url) = database(stack, "cli_history_now").await;
    execute(
        &mut connection,
        "insert into candles (
             symbol, source, price_basis, timeframe, bucket, open, high, low, close, ticks, first_event_time, last_event_time,
             complete, first_event_id, last_event_id, price_sum)
         select 'BTC-USD', 'kraken', 'FX', '1d', date_trunc('day', now(), 'UTC') + n * interval '24 hours', 1, 1, 1, 1, 1, now(), now(),
                true, gen_random_uuid(), gen_random_uuid(), 1
         from generate_series(-3, 0) as n",
    )
    .await;
    let answer = history(stack, &url, &["BTC-USD", "--from", "-2d", "--every", "1d", "-o", "json"]).await;
    assert_eq!(answer.json_lines().len(), 3);
    assert!(answer.line().ends_with("T00:00:00Z is not over yet"), "{}", answer.stderr);
}
