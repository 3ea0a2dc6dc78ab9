use super::check;

const SOURCE: &str = "b3";

#[test]
fn the_first_row_of_the_first_of_six_pages() {
    let name = "GetPortfolioDay__SMLL_pt-br_segment1_TRIMMED_2023-09-20.json";
    let weight = ["SMLL RRRP3 '3R PETROLEUM' 'ON      NM' 2.683% 235661666 2023-09-20"];
    // {"language":"pt-br","pageNumber":1,"pageSize":20,"index":"SMLL","segment":"1"}
    let request = "/indexProxy/indexCall/GetPortfolioDay/\
        eyJsYW5ndWFnZSI6InB0LWJyIiwicGFnZU51bWJlciI6MSwicGFnZVNpemUiOjIwLCJpbmRleCI6IlNNTEwiLCJzZWdtZW50IjoiMSJ9";
    check(SOURCE, Some(request), name, &weight);
    let in_words = r#"GetPortfolioDay/<b64 {language:pt-br,pageNumber:1,pageSize:20,index:SMLL,segment:"1"}>"#;
    check(SOURCE, Some(in_words), name, &weight);
    // Asked for in the other language: the header shows the right one, and 20/09 is one day only.
    let in_english = "GetPortfolioDay/{language:en-us,index:SMLL}";
    check(SOURCE, Some(in_english), name, &[weight[0], "unexpected_form noted header.part"]);
    check(SOURCE, None, name, &["unknown_request rejected"]);
}

#[test]
fn portfolios_without_a_day_and_lists_without_weights() {
    for name in [
        "GetTheoricalPortfolio__IBOV_en-us_2025-04-07.json",
        "GetTheoricalPortfolio__IBOV_pt-br_2022.json",
        "GetStockIndex__2025-04-07.json",
    ] {
        check(SOURCE, None, name, &["unsupported_shape rejected header.date"]);
    }
    // {"pageNumber":1,"pageSize":9999,"language":"en-us","index":"IBOV"}
    let theoretical = "https://sistemaswebb3-listados.b3.com.br/indexProxy/indexCall/GetTheoricalPortfolio/\
        eyJwYWdlTnVtYmVyIjoxLCJwYWdlU2l6ZSI6OTk5OSwibGFuZ3VhZ2UiOiJlbi11cyIsImluZGV4IjoiSUJPViJ9";
    let name = "GetTheoricalPortfolio__IBOV_en-us_2025-04-07.json";
    check(SOURCE, Some(theoretical), name, &["unsupported_shape rejected header.date"]);
}
