use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::{command, database};

const PATIENCE: Duration = Duration::from_secs(60);

/// The command at work.
struct Watching {
    child: Child,
    prices: Receiver<String>,
    notes: Receiver<String>,
}

impl Watching {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        let (prices, notes) = (lines(child.stdout.take().expect("piped")), lines(child.stderr.take().expect("piped")));
        Self { child, prices, notes }
    }

    /// Symbol and price of the next line.
    fn price(&self) -> (String, String) {
        let line = self.prices.recv_timeout(PATIENCE).expect("a price");
        let price: Value = serde_json::from_str(&line).expect("one object a line");
        let text = |name: &str| price[name].as_str().expect(name).to_owned();
        (text("symbol"), text("price"))
    }

    fn note(&self) -> String {
        self.notes.recv_timeout(PATIENCE).expect("a line on standard error")
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            drop(sender.send(line));
        }
    });
    receiver
}

async fn execute(connection: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(connection).await.expect(statement);
}

async fn set_price(connection: &mut PgConnection, symbol: &str, price: u32, notify: &str) {
    let statement = format!(
        "insert into latest_prices (symbol, source, base, quote, kind, price, event_time, received_at, event_id, revision)
         values ('{symbol}', 'coinbase', 'B', 'Q', 'TRADE', {price}.50, now(), now(), gen_random_uuid(), 0)
         on conflict (symbol, source) do update set price = excluded.price, event_id = excluded.event_id;
         {notify}"
    );
    execute(connection, &statement).await;
}

fn said(symbol: &str, price: u32) -> (String, String) {
    (symbol.to_owned(), format!("{price}.5"))
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_followed_by_hint_and_without_and_through_an_outage() {
    let stack = stack::shared().await;
    let (mut connection, url) = database(stack, "cli_watch").await;
    set_price(&mut connection, "BTC-USD", 1, "").await;
    set_price(&mut connection, "ADA-USD", 1, "").await;
    let arguments = ["latest", "--database-url", &url, "BTC-USD", "--watch", "-o", "json"];
    let mut watching = Watching::start(command(stack, &arguments));
    assert_eq!(watching.price(), said("BTC-USD", 1));

    set_price(&mut connection, "ADA-USD", 2, "").await;
    set_price(&mut connection, "BTC-USD", 2, "").await;
    assert_eq!(watching.price(), said("BTC-USD", 2), "nobody told of it, and only what was asked for is shown");

    // Were it not for the hints, each of these would wait for the next regular question, three seconds.
    let begun = Instant::now();
    let hint = "select pg_notify('latest_prices', '{\"symbol\":\"BTC-USD\",\"source\":\"coinbase\",\"price\":\"1\"}')";
    for price in 10..20 {
        set_price(&mut connection, "BTC-USD", price, hint).await;
        assert_eq!(watching.price(), said("BTC-USD", price));
    }
    assert!(begun.elapsed() < Duration::from_secs(27), "ten changes took {:?}", begun.elapsed());

    let mut server = PgConnection::connect(&stack.database_url).await.expect("Postgres");
    execute(&mut server, "alter database cli_watch with allow_connections false").await;
    execute(
        &mut server,
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'cli_watch' and application_name = 'tickstream'",
    )
    .await;
    let note = watching.note();
    assert!(note.starts_with("tickstream: the database is away ("), "{note}");
    set_price(&mut connection, "BTC-USD", 30, "").await;
    execute(&mut server, "alter database cli_watch with allow_connections true").await;
    assert_eq!(watching.note(), "tickstream: the database is back");
    assert_eq!(watching.price(), said("BTC-USD", 30));

    let interrupt = Command::new("kill").args(["-INT", &watching.child.id().to_string()]).status().expect("kill runs");
    assert!(interrupt.success());
    assert!(watching.child.wait().expect("ends").success(), "an interruption is how it ends");
    assert!(watching.prices.try_recv().is_err(), "each change once");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_when_nobody_reads_any_more() {
    let stack = stack::shared().await;
    let (mut connection, url) = database(stack, "cli_watch_unread").await;
    set_price(&mut connection, "BTC-USD", 1, "").await;
    let mut command = command(stack, &["latest", "--database-url", &url, "--watch"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("starts");
    let mut first = [0; 6];
    child.stdout.take().expect("piped").read_exact(&mut first).expect("the heading");
    assert_eq!(&first, b"SYMBOL");
    let deadline = Instant::now() + PATIENCE;
    for price in 2.. {
        set_price(&mut connection, "BTC-USD", price, "").await;
        if let Some(status) = child.try_wait().expect("asked") {
            assert!(status.success());
            return;
        }
        assert!(Instant::now() < deadline, "it goes on");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
