use clap::Parser;

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: CoinmarketcapArgs,
}

const KEY: [&str; 2] = ["--coinmarketcap-api-key", "b54bcf4d-secret"];

fn args(flags: &[&str]) -> CoinmarketcapArgs {
    Cli::try_parse_from(["producer"].iter().chain(flags)).map(|cli| cli.args).expect("arguments that clap takes")
}

fn polled(flags: &[&str]) -> anyhow::Result<Polled> {
    args(flags).polled(&Arc::new(Symbols::built_in()))
}

#[test]
fn a_currency_a_call_and_a_credit_a_call() {
    let polled = polled(&[&KEY[..], &["--coinmarketcap-symbols", "BTC-USD,ETH-USD,BTC-BRL"]].concat());
    let polled = polled.expect("good arguments");
    assert_eq!(
        polled.requests,
        [
            Ask { path: "/v2/cryptocurrency/quotes/latest?id=1,1027&convert=USD".to_owned(), cost: 1 },
            Ask { path: "/v2/cryptocurrency/quotes/latest?id=1&convert=BRL".to_owned(), cost: 1 },
        ]
    );
    assert_eq!(polled.asked, ["BTC-USD", "ETH-USD", "BTC-BRL"]);
    assert_eq!(polled.budget.to_string(), "minute=30,month=10000");
    assert_eq!(polled.server.base_url, "https://pro-api.coinmarketcap.com");
}

#[test]
fn the_key_is_needed_and_not_shown() {
    for flags in [&[][..], &["--coinmarketcap-api-key", " "]] {
        let error = polled(flags).map(|_| ()).expect_err("there is no key");
        assert_eq!(pipeline::exit_code(&error), 2);
        assert!(error.to_string().contains("COINMARKETCAP_API_KEY"), "{error}");
    }
    assert!(!format!("{:?}", args(&KEY)).contains("secret"));
    let polled = polled(&KEY).expect("good arguments");
    assert!(!format!("{:?} {:?}", polled.server, polled.requests).contains("secret"));
    assert_eq!(polled.server.key.map(|(header, _)| header), Some("x-cmc_pro_api_key"));
}

#[test]
fn what_cannot_be_meant_is_refused_in_one_line() {
    for (flag, value, said) in [
        ("--coinmarketcap-base-url", "pro-api.coinmarketcap.com", "COINMARKETCAP_BASE_URL"),
        ("--coinmarketcap-symbols", "BTC-UDS", "BTC-USD"),
        ("--coinmarketcap-symbols", "BTC-USDT", "COINMARKETCAP_SYMBOLS"),
    ] {
        let error = polled(&[KEY[0], KEY[1], flag, value]).map(|_| ()).expect_err("it cannot be meant");
        assert_eq!(pipeline::exit_code(&error), 2, "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
}
