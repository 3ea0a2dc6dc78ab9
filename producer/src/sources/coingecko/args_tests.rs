use clap::Parser;

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: CoingeckoArgs,
}

fn args(args: &[&str]) -> Result<CoingeckoArgs, clap::Error> {
    Cli::try_parse_from(["producer"].iter().chain(args)).map(|cli| cli.args)
}

fn polled(flags: &[&str]) -> anyhow::Result<Polled> {
    args(flags).expect("arguments that clap takes").polled(&Arc::new(Symbols::built_in()))
}

fn paths(polled: &Polled) -> Vec<&str> {
    polled.requests.iter().map(|ask| ask.path.split("&include").next().expect("a path")).collect()
}

#[test]
fn what_is_asked_for_is_asked_in_as_few_calls_as_can_be() {
    let simple = polled(&["--coingecko-symbols", "BTC-USD,LINK-USD,LINK-BRL,BTC-BRL"]).expect("good arguments");
    assert_eq!(paths(&simple), ["/api/v3/simple/price?ids=bitcoin,chainlink&vs_currencies=usd,brl"]);
    assert_eq!(simple.asked, ["BTC-USD", "LINK-USD", "LINK-BRL", "BTC-BRL"]);

    let markets = polled(&["--coingecko-symbols", "BTC-USD,BTC-BRL", "--coingecko-endpoint", "markets"]);
    let markets = markets.expect("good arguments");
    assert_eq!(
        paths(&markets),
        [
            "/api/v3/coins/markets?vs_currency=usd&ids=bitcoin&per_page=250&precision=full",
            "/api/v3/coins/markets?vs_currency=brl&ids=bitcoin&per_page=250&precision=full"
        ]
    );
    assert!(markets.requests.iter().all(|ask| ask.cost == 1));

    let history = markets.backfill.expect("market_chart").requests;
    let asked = history("BTC-BRL", 1_700_000_000_000_000, 1_700_000_600_000_000);
    let [ask] = &asked[..] else { panic!("one call") };
    assert!(ask.path.starts_with("/api/v3/coins/bitcoin/market_chart/range?vs_currency=brl&from=1700000000&"));
    assert_eq!(history("BTC-USDT", 0, 1), [], "not a symbol of this source");
}

#[test]
fn the_plan_and_the_header_follow_the_key_and_the_host() {
    for (flags, header, budget) in [
        (&[][..], None, "minute=5"),
        (&["--coingecko-api-key", ""], None, "minute=5"),
        (&["--coingecko-api-key", "CG-secret"], Some("x-cg-demo-api-key"), "minute=30,month=10000"),
        (
            &["--coingecko-api-key", "CG-secret", "--coingecko-base-url", "https://pro-api.coingecko.com/api/v3/"],
            Some("x-cg-pro-api-key"),
            "minute=250,month=100000",
        ),
        (&["--coingecko-budget", "minute=2,day=9"], None, "minute=2,day=9"),
    ] {
        let polled = polled(flags).expect("good arguments");
        assert_eq!(polled.server.key.as_ref().map(|(header, _)| *header), header, "{flags:?}");
        assert_eq!(polled.budget.to_string(), budget, "{flags:?}");
        assert!(polled.server.base_url.ends_with(".com"), "{}", polled.server.base_url);
    }
    let args = args(&["--coingecko-api-key", "CG-secret"]).expect("good arguments");
    assert!(!format!("{args:?}").contains("CG-secret"));
    let polled = args.polled(&Arc::new(Symbols::built_in())).expect("good arguments");
    assert!(!format!("{:?} {:?}", polled.server, polled.requests).contains("CG-secret"));
}

#[test]
fn what_cannot_be_meant_is_refused_in_one_line() {
    for (flags, said) in [
        (["--coingecko-base-url", "api.coingecko.com"], "COINGECKO_BASE_URL"),
        (["--coingecko-symbols", "BTC-UDS"], "BTC-USD"),
        (["--coingecko-symbols", "bitcoin"], "COINGECKO_SYMBOLS"),
        // Tether is not the dollar.
        (["--coingecko-symbols", "BTC-USDT"], "COINGECKO_SYMBOLS"),
    ] {
        let error = polled(&flags).map(|_| ()).expect_err("it cannot be meant");
        assert_eq!(pipeline::exit_code(&error), 2, "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
    for flags in [["--coingecko-poll-seconds", "0"], ["--coingecko-endpoint", "ohlc"], ["--coingecko-budget", "hour=3"]]
    {
        assert!(args(&flags).is_err(), "{flags:?}");
    }
}
