//! What the sources say, made up by number: the good answers around a fault, and the faults that only they have.

use pipeline::events::GapReason;
use producer::config::SourceName;

use super::KEY;
use crate::fake_http::Answer;

/// A polled source, and two rows of its answer.
pub struct PolledSource {
    pub name: SourceName,
    /// The flag of its address.
    pub address: &'static str,
    pub args: &'static [&'static str],
    pub asked: &'static [&'static str],
    /// An answer with the values of its two rows, as they stand in JSON, and its own time in seconds.
    pub says: fn(&str, &str, i64) -> String,
    /// Two good values by number, and what they are as prices.
    pub good: fn(u32) -> ([String; 2], [String; 2]),
    /// The field that the values are of.
    pub field: &'static str,
    /// Whether its values are strings.
    pub text: bool,
    /// Answers with an error in them: what a gap says then, and the reason of it.
    pub errors: Vec<(Answer, GapReason, &'static str)>,
    /// Answers after which it makes no sense to ask again.
    pub stops: Vec<(Answer, &'static str)>,
}

pub fn status(status: u16, headers: &[(&'static str, &str)], body: impl Into<Vec<u8>>) -> Answer {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Answer::Status(status, headers, body.into())
}

pub fn polled_sources() -> Vec<PolledSource> {
    use GapReason::{PollFailed, RateLimited};
    let coingecko = PolledSource {
        name: SourceName::Coingecko,
        address: "--coingecko-base-url",
        args: &["--coingecko-symbols=BTC-USD,ETH-USD", "--coingecko-budget=unlimited"],
        asked: &["BTC-USD", "ETH-USD"],
        says: |bitcoin, ether, at| {
            format!(
                r#"{{"bitcoin":{{"usd":{bitcoin},"last_updated_at":{at}}},"ethereum":{{"usd":{ether},"last_updated_at":{at}}}}}"#
            )
        },
        good: |number| {
            let values = [format!("67000.{number}"), format!("3200.{number}")];
            (values.clone(), values)
        },
        field: "usd",
        text: false,
        errors: vec![
            (
                status(200, &[], r#"{"status":{"error_code":429,"error_message":"slow down"}}"#),
                RateLimited,
                "slow down",
            ),
            (status(200, &[], r#"{"error":"an internal error"}"#), PollFailed, "an internal error"),
        ],
        stops: vec![
            (status(404, &[], r#"{"error":"coin not found"}"#), "coin not found"),
            (status(200, &[], format!(r#"{{"status":{{"error_code":10002,"error_message":"{KEY}"}}}}"#)), "10002"),
            (status(403, &[], format!(r#"{{"status":{{"error_code":10005,"error_message":"{KEY}"}}}}"#)), "10005"),
        ],
    };
    let coinmarketcap = PolledSource {
        name: SourceName::Coinmarketcap,
        address: "--coinmarketcap-base-url",
        args: &["--coinmarketcap-symbols=BTC-USD,ETH-USD", "--coinmarketcap-budget=unlimited"],
        asked: &["BTC-USD", "ETH-USD"],
        says: |bitcoin, ether, at| {
            let at = jiff::Timestamp::from_second(at).expect("a time");
            let coin = |id: u32, symbol: &str, price: &str| {
                format!(
                    r#""{id}":{{"id":{id},"name":"{symbol}","symbol":"{symbol}","cmc_rank":{id},"is_active":1,"last_updated":"{at}","quote":{{"USD":{{"price":{price},"volume_24h":5,"last_updated":"{at}"}}}}}}"#
                )
            };
            format!(
                r#"{{"status":{{"timestamp":"{at}","error_code":0,"error_message":null,"credit_count":1}},"data":{{{},{}}}}}"#,
                coin(1, "BTC", bitcoin),
                coin(1027, "ETH", ether)
            )
        },
        good: coingecko.good,
        field: "price",
        text: false,
        errors: vec![
            (cmc_error(200, "\"1008\"", "too fast"), RateLimited, "error_code 1008"),
            (cmc_error(429, "1011", "too fast"), RateLimited, "error_code 1011"),
            (cmc_error(500, "500", "oops"), PollFailed, "error_code 500"),
        ],
        stops: vec![
            (cmc_error(401, "1001", KEY), "error_code 1001"),
            (cmc_error(200, "1002", "API key missing."), "error_code 1002"),
            (cmc_error(403, "\"1006\"", KEY), "error_code 1006"),
        ],
    };
    let awesomeapi = PolledSource {
        name: SourceName::Awesomeapi,
        address: "--awesomeapi-base-url",
        args: &["--awesomeapi-symbols=USD-BRL,EUR-BRL", "--awesomeapi-budget=unlimited"],
        asked: &["USD-BRL", "EUR-BRL"],
        says: |dollar, euro, at| {
            let rate = |code: &str, name: &str, ask: &str, bid: &str| {
                format!(
                    r#""{code}BRL":{{"code":"{code}","codein":"BRL","name":"{name}/Real Brasileiro","high":"{ask}","low":"{ask}","varBid":"0.0105","pctChange":"0.193","ask":"{ask}","timestamp":"{at}","create_date":"2026-03-04 02:06:07","bid":{bid}}}"#
                )
            };
            let (dollar, euro) =
                (rate("USD", "Dólar Americano", "5.4930", dollar), rate("EUR", "Euro", "6.3930", euro));
            format!("{{{dollar},{euro}}}")
        },
        good: |number| {
            let values = [format!("\"5.49{number}0\""), format!("\"6.39{number}0\"")];
            // Halfway to the ask.
            let fraction = 4_915 + 5 * number;
            let mid = |whole: u32, less: u32| format!("{whole}.{}", fraction - less).trim_end_matches('0').to_owned();
            (values, [mid(5, 0), mid(6, 1_000)])
        },
        field: "bid",
        text: true,
        errors: vec![(status(409, &[], r#"{"status":409,"code":"QuotaExceeded","message":"quota"}"#), RateLimited, "")],
        stops: vec![(
            status(404, &[], r#"{"status":404,"code":"CoinNotExists","message":"moeda nao encontrada USD-BRL"}"#),
            "CoinNotExists",
        )],
    };
    let b3 = PolledSource {
        name: SourceName::B3,
        address: "--b3-base-url",
        args: &["--b3-indexes=IBOV", "--b3-budget=unlimited"],
        asked: &["IBOV"],
        says: |petrobras, vale, _| {
            format!(
                r#"{{"page":{{"pageNumber":1,"pageSize":120,"totalRecords":2,"totalPages":1}},"header":{{"date":"04/03/26","text":"Quantidade Teórica Total","part":"100,000","partAcum":null,"textReductor":"Redutor","reductor":"16.513.247,1","theoricalQty":"3.000.000"}},"results":[{{"segment":null,"cod":"PETR4","asset":"PETROBRAS","type":"PN      N2","part":"60,000","partAcum":null,"theoricalQty":{petrobras}}},{{"segment":null,"cod":"VALE3","asset":"VALE","type":"ON      NM","part":"40,000","partAcum":null,"theoricalQty":{vale}}}]}}"#
            )
        },
        good: |number| {
            let values = [format!("\"1.000.00{number}\""), format!("\"2.000.00{number}\"")];
            (values, [format!("100000{number}"), format!("200000{number}")])
        },
        field: "theoricalQty",
        text: true,
        errors: vec![(status(200, &[], r#"{"page":{},"header":{},"results":{}}"#), PollFailed, "expected rows")],
        stops: vec![],
    };
    vec![coingecko, coinmarketcap, awesomeapi, b3]
}

fn cmc_error(http: u16, code: &str, message: &str) -> Answer {
    let body = format!(
        r#"{{"status":{{"timestamp":"2026-03-04T05:06:07.123Z","error_code":{code},"error_message":"{message}","credit_count":0}}}}"#
    );
    status(http, &[], body)
}

/// A source that pushes trades.
pub struct PushedSource {
    /// The source and its feed.
    pub label: &'static str,
    pub name: SourceName,
    /// The flag of its address.
    pub address: &'static str,
    pub args: &'static [&'static str],
    pub asked: &'static [&'static str],
    /// Whether all that is asked stands in the address, so that nothing is sent after connecting.
    pub unasked: bool,
    /// The answer to what is sent after connecting.
    pub greeting: &'static str,
    /// A trade of the symbol of this place, by its id, with its price as it stands in JSON and its time in micros UTC.
    pub trade: fn(usize, u64, &str, i64) -> String,
    /// What it says when nothing is traded; the latest trade is this one.
    pub heartbeat: fn(u64) -> String,
    /// The field of the price, and whether it is a string.
    pub field: &'static str,
    pub text: bool,
    /// Whether trade ids have no holes, so that a jump is a loss.
    pub consecutive: bool,
    /// Frames that end a connection, with the reason and the words of the gap.
    pub ends: &'static [(&'static str, GapReason, &'static str)],
    /// Frames after which it makes no sense to connect again.
    pub stops: &'static [(&'static str, &'static str)],
    /// What turns the second symbol down, in place of the greeting.
    pub turns_down: Option<&'static str>,
}

/// As RFC 3339 in UTC.
fn instant(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros).expect("a time").to_string()
}

pub const PUSHED: [PushedSource; 6] = {
    use GapReason::{Disconnected, RateLimited};
    [
        PushedSource {
            label: "binance",
            name: SourceName::Binance,
            address: "--binance-ws-url",
            args: &["--binance-symbols=BTC-USDT,ETH-USDT"],
            asked: &["BTC-USDT", "ETH-USDT"],
            unasked: true,
            greeting: r#"{"result":null,"id":1}"#,
            trade: |symbol, id, price, at| {
                let (symbol, lower, at) = (["BTCUSDT", "ETHUSDT"][symbol], ["btcusdt", "ethusdt"][symbol], at / 1_000);
                format!(
                    r#"{{"stream":"{lower}@trade","data":{{"e":"trade","E":{at},"s":"{symbol}","t":{id},"p":{price},"q":"0.5","T":{at},"m":true,"M":true}}}}"#
                )
            },
            heartbeat: |_| r#"{"result":["btcusdt@trade"],"id":1}"#.to_owned(),
            field: "p",
            text: true,
            consecutive: true,
            ends: &[
                (r#"{"e":"serverShutdown","E":1772600770000}"#, Disconnected, "about to shut down"),
                (r#"{"stream":"!serverShutdown","data":{"e":"serverShutdown"}}"#, Disconnected, "about to shut down"),
                (r#"{"code":-1000,"msg":"An unknown error."}"#, Disconnected, "code -1000"),
            ],
            stops: &[
                (r#"{"code":-1121,"msg":"Invalid symbol."}"#, "Invalid symbol"),
                (r#"{"error":{"code":2,"msg":"Invalid request"}}"#, "Invalid request"),
            ],
            turns_down: None,
        },
        PushedSource {
            label: "coinbase exchange",
            name: SourceName::Coinbase,
            address: "--coinbase-ws-url",
            args: &["--coinbase-symbols=BTC-USD,ETH-USD"],
            asked: &["BTC-USD", "ETH-USD"],
            unasked: false,
            greeting: r#"{"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USD","ETH-USD"]},{"name":"heartbeat","product_ids":["BTC-USD","ETH-USD"]}]}"#,
            trade: |symbol, id, price, at| {
                let (product, at) = (["BTC-USD", "ETH-USD"][symbol], instant(at));
                format!(
                    r#"{{"type":"match","trade_id":{id},"side":"buy","size":"0.5","price":{price},"product_id":"{product}","sequence":{id},"time":"{at}"}}"#
                )
            },
            heartbeat: |id| {
                format!(
                    r#"{{"type":"heartbeat","last_trade_id":{id},"product_id":"BTC-USD","sequence":1,"time":"2026-03-04T05:06:08Z"}}"#
                )
            },
            field: "price",
            text: true,
            consecutive: true,
            ends: &[(r#"{"type":"error","message":"Internal error","reason":"x"}"#, Disconnected, "Internal error")],
            stops: &[(
                r#"{"type":"error","message":"Failed to subscribe","reason":"NOPE-USD is not a valid product"}"#,
                "NOPE-USD is not a valid product",
            )],
            turns_down: Some(
                r#"{"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USD"]},{"name":"heartbeat","product_ids":["BTC-USD"]}]}"#,
            ),
        },
        PushedSource {
            label: "coinbase advanced",
            name: SourceName::Coinbase,
            address: "--coinbase-ws-url",
            args: &["--coinbase-symbols=BTC-USD,ETH-USD", "--coinbase-feed=advanced"],
            asked: &["BTC-USD", "ETH-USD"],
            unasked: false,
            greeting: r#"{"channel":"subscriptions","timestamp":"2026-03-04T05:06:07Z","events":[{"subscriptions":{"market_trades":["BTC-USD","ETH-USD"]}}]}"#,
            trade: |symbol, id, price, at| {
                let (product, at) = (["BTC-USD", "ETH-USD"][symbol], instant(at));
                format!(
                    r#"{{"channel":"market_trades","timestamp":"{at}","events":[{{"type":"update","trades":[{{"trade_id":"{id}","product_id":"{product}","price":{price},"size":"0.5","side":"BUY","time":"{at}"}}]}}]}}"#
                )
            },
            heartbeat: |_| {
                r#"{"channel":"heartbeats","timestamp":"2026-03-04T05:06:09Z","events":[{"heartbeat_counter":7}]}"#
                    .to_owned()
            },
            field: "price",
            text: true,
            consecutive: true,
            ends: &[(r#"{"type":"error","message":"rate limit exceeded"}"#, RateLimited, "rate limit exceeded")],
            stops: &[(r#"{"type":"error","message":"authentication failure"}"#, "authentication failure")],
            turns_down: None,
        },
        PushedSource {
            label: "kraken",
            name: SourceName::Kraken,
            address: "--kraken-ws-url",
            args: &["--kraken-symbols=BTC-USD,ETH-USD"],
            asked: &["BTC-USD", "ETH-USD"],
            unasked: false,
            greeting: r#"{"channel":"status","type":"update","data":[{"version":"2.0.10","system":"online","connection_id":18446744073709551000}]}"#,
            trade: |symbol, id, price, at| {
                let (market, at) = (["BTC/USD", "ETH/USD"][symbol], instant(at));
                format!(
                    r#"{{"channel":"trade","type":"update","data":[{{"symbol":"{market}","side":"buy","price":{price},"qty":0.50000000,"ord_type":"limit","trade_id":{id},"timestamp":"{at}"}}]}}"#
                )
            },
            heartbeat: |_| r#"{"channel":"heartbeat"}"#.to_owned(),
            field: "price",
            text: false,
            consecutive: true,
            ends: &[(
                r#"{"error":"Internal error","method":"subscribe","success":false}"#,
                Disconnected,
                "Internal error",
            )],
            stops: &[(r#"{"error":"Unsupported field: x","method":"subscribe","success":false}"#, "Unsupported field")],
            turns_down: Some(
                r#"{"error":"Currency pair not supported ETH/USD","method":"subscribe","success":false,"symbol":"ETH/USD"}"#,
            ),
        },
        PushedSource {
            label: "okx",
            name: SourceName::Okx,
            address: "--okx-ws-url",
            args: &["--okx-symbols=BTC-USDT,ETH-USDT"],
            asked: &["BTC-USDT", "ETH-USDT"],
            unasked: false,
            greeting: r#"{"event":"subscribe","arg":{"channel":"trades","instId":"BTC-USDT"},"connId":"a4d3ae55"}"#,
            trade: |symbol, id, price, at| {
                let (instrument, at) = (["BTC-USDT", "ETH-USDT"][symbol], at / 1_000);
                format!(
                    r#"{{"arg":{{"channel":"trades","instId":"{instrument}"}},"data":[{{"instId":"{instrument}","tradeId":"{id}","px":{price},"sz":"0.5","side":"buy","ts":"{at}","count":"3"}}]}}"#
                )
            },
            heartbeat: |_| "pong".to_owned(),
            field: "px",
            text: true,
            consecutive: false,
            ends: &[
                (r#"{"event":"notice","code":"64008","msg":"soon closed for an upgrade"}"#, Disconnected, "64008"),
                (r#"{"event":"error","code":"50001","msg":"Service unavailable"}"#, Disconnected, "code 50001"),
            ],
            stops: &[(r#"{"event":"error","code":"60018","msg":"Wrong URL or channel"}"#, "code 60018")],
            turns_down: None,
        },
        PushedSource {
            label: "bitstamp",
            name: SourceName::Bitstamp,
            address: "--bitstamp-ws-url",
            args: &["--bitstamp-symbols=BTC-USD,ETH-USD"],
            asked: &["BTC-USD", "ETH-USD"],
            unasked: false,
            greeting: r#"{"event":"bts:subscription_succeeded","channel":"live_trades_btcusd","data":{}}"#,
            trade: |symbol, id, price, at| {
                let market = ["btcusd", "ethusd"][symbol];
                format!(
                    r#"{{"data":{{"id":{id},"timestamp":"{}","amount":0.5,"amount_str":"0.50000000","price":{price},"price_str":{price},"type":0,"microtimestamp":"{at}"}},"channel":"live_trades_{market}","event":"trade"}}"#,
                    at / 1_000_000
                )
            },
            heartbeat: |_| r#"{"event":"bts:heartbeat","channel":"","data":{"status":"success"}}"#.to_owned(),
            field: "price_str",
            text: true,
            consecutive: false,
            ends: &[
                (
                    r#"{"event":"bts:request_reconnect","channel":"","data":""}"#,
                    Disconnected,
                    "asks for another connection",
                ),
                (
                    r#"{"event":"bts:error","data":{"code":null,"message":"Server error."}}"#,
                    Disconnected,
                    "Server error",
                ),
            ],
            stops: &[(
                r#"{"event":"bts:error","data":{"code":null,"message":"Bad subscription string."}}"#,
                "Bad subscription",
            )],
            turns_down: None,
        },
    ]
};
