use jiff::civil::date;
use proptest::prelude::*;

use super::*;
use crate::sources::mutations::{mutated, mutations};

/// 2025-07-04, a Friday.
const RECEIVED: i64 = 1_751_670_000_123_456;
const SATURDAY: i64 = RECEIVED + 86_400_000_000;
const PORTUGUESE: &str = "GetPortfolioDay/{language:pt-br,pageNumber:1,pageSize:120,index:IBOV,segment:1}";
const ENGLISH: &str = "GetPortfolioDay/{language:en-us,pageNumber:1,pageSize:120,index:IBOV,segment:1}";

fn parse_at(body: &[u8], request: &str, received_at: i64) -> Parsed {
    B3.parse(&Payload::new(SOURCE, body, received_at, request))
}

/// Each weight as `index code class part quantity day`, each problem as `code path effect`.
#[track_caller]
fn check(body: &str, request: &str, weights: &[&str], problems: &[&str]) -> Parsed {
    let parsed = parse_at(body.as_bytes(), request, RECEIVED);
    assert_eq!(parsed.weights.iter().map(shown).collect::<Vec<_>>(), weights, "{body}");
    assert_eq!(named(&parsed), problems, "{body}");
    assert_eq!(parsed.answered, !weights.is_empty());
    parsed
}

fn named(parsed: &Parsed) -> Vec<String> {
    let name = |problem: &Problem| format!("{} {} {:?}", problem.code, problem.path, problem.effect).to_lowercase();
    parsed.problems.iter().map(name).collect()
}

fn shown(weight: &IndexWeight) -> String {
    let segment = weight.segment.as_ref().map_or_else(String::new, |segment| format!(" in {segment}"));
    format!(
        "{} {} '{}' {}% {} {}{segment}",
        weight.index_name, weight.code, weight.asset_type, weight.part, weight.theoretical_quantity, weight.pregao_date
    )
}

/// Code, class, part and quantity.
type Paper = (&'static str, &'static str, &'static str, &'static str);

/// In the marks of pt-br.
const PAPERS: [Paper; 3] = [
    ("AAAA3", "ON      NM", "60,125", "4.200.000.001"),
    ("BBBB4", "PN  EJ  N1", "0,375", "31.500.000"),
    ("CCCC11", "UNT     N2", "39,500", "900.100"),
];
const TOTAL: &str = "4.232.400.101";

fn row((code, class, part, quantity): (&str, &str, &str, &str)) -> String {
    format!(
        r#"{{"segment":null,"cod":"{code}","asset":"{code} S/A","type":"{class}","part":"{part}","partAcum":null,"theoricalQty":"{quantity}"}}"#
    )
}

fn answer(page: i64, of: i64, rows: &[String]) -> String {
    format!(
        r#"{{"page":{{"pageNumber":{page},"pageSize":120,"totalRecords":3,"totalPages":{of}}},
            "header":{{"date":"04/07/25","text":"Quantidade Teórica Total","part":"100,000","partAcum":null,"textReductor":"Redutor","reductor":"16.104.230,70115001","theoricalQty":"{TOTAL}"}},
            "results":[{}]}}"#,
        rows.join(",")
    )
}

fn whole() -> String {
    answer(1, 1, &PAPERS.map(row))
}

/// Dots for commas and commas for dots, and the month first.
fn in_english(body: &str) -> String {
    let swap = |text: &str| -> String {
        text.chars()
            .map(|c| {
                if c == '.' {
                    ','
                } else if c == ',' {
                    '.'
                } else {
                    c
                }
            })
            .collect()
    };
    let mut english = body.replace("04/07/25", "07/04/25");
    for number in
        ["100,000", "16.104.230,70115001", TOTAL].into_iter().chain(PAPERS.iter().flat_map(|paper| [paper.2, paper.3]))
    {
        english = english.replace(&format!("\"{number}\""), &format!("\"{}\"", swap(number)));
    }
    english
}

const WEIGHTS: [&str; 3] = [
    "IBOV AAAA3 'ON      NM' 60.125% 4200000001 2025-07-04",
    "IBOV BBBB4 'PN  EJ  N1' 0.375% 31500000 2025-07-04",
    "IBOV CCCC11 'UNT     N2' 39.5% 900100 2025-07-04",
];

#[test]
fn a_whole_portfolio_in_both_languages() {
    let parsed = check(&whole(), PORTUGUESE, &WEIGHTS, &[]);
    assert_eq!((parsed.next_page, parsed.portfolio.len()), (None, 0));
    check(&in_english(&whole()), ENGLISH, &WEIGHTS, &[]);
    let weight = &parsed.weights[1];
    assert_eq!((weight.source.as_str(), weight.asset.as_str()), ("b3", "BBBB4 S/A"));
    assert_eq!((weight.segment.as_deref(), weight.received_at, weight.revision), (None, RECEIVED, 0));
    assert_eq!(weight.event_id, event_id("b3", "portfolio_day", "IBOV/BBBB4/", "2025-07-04"));
}

#[test]
fn the_header_shows_the_language() {
    // Without one in the request, and against it.
    check(&whole(), "GetPortfolioDay/{index:IBOV}", &WEIGHTS, &[]);
    check(&in_english(&whole()), "GetPortfolioDay/{index:IBOV}", &WEIGHTS, &[]);
    check(&whole(), ENGLISH, &[], &["unexpected_form header.part noted", "bad_time header.date rejected"]);
    let unmistakable = whole().replace("04/07/25", "24/07/25");
    let weights = WEIGHTS.map(|weight| weight.replace("-07-04", "-07-24"));
    let weights: Vec<&str> = weights.iter().map(String::as_str).collect();
    check(&unmistakable, ENGLISH, &weights, &["unexpected_form header.part noted"]);
    // A header that fits both languages.
    let vague = answer(1, 1, &[row(("AAAA3", "ON", "99,999", "999"))])
        .replace(r#""part":"100,000""#, r#""part":null"#)
        .replace(r#""16.104.230,70115001""#, "null")
        .replace(TOTAL, "999");
    check(&vague, "GetPortfolioDay/{index:IBOV}", &[], &["ambiguous_number header.theoricalqty rejected"]);
    check(&vague, PORTUGUESE, &["IBOV AAAA3 'ON' 99.999% 999 2025-07-04"], &[]);
    check(
        &vague,
        ENGLISH,
        &[],
        &[
            "out_of_range results[0].part rejected",
            "sum_mismatch header.theoricalqty noted",
            "part_sum results.part noted",
        ],
    );
}

#[test]
fn no_number_is_read_with_the_wrong_marks() {
    for (paper, problems) in [
        (("BBBB4", "PN", "0.375", "31.500.000"), &["not_a_number results[1].part rejected"][..]),
        (("BBBB4", "PN", "1.375", "31.500.000"), &["out_of_range results[1].part rejected"]),
        (("BBBB4", "PN", "0,375", "31,500,000"), &["not_a_number results[1].theoricalqty rejected"]),
        (("BBBB4", "PN", "0,375", "31500,250"), &["ambiguous_number results[1].theoricalqty rejected"]),
        (("BBBB4", "PN", "-0,375", "31.500.000"), &["negative results[1].part rejected"]),
        (("BBBB4", "PN", "0,375", "0"), &["not_positive results[1].theoricalqty rejected"]),
        (
            ("BBBB4", "PN", "100,001", "-5"),
            &["out_of_range results[1].part rejected", "negative results[1].theoricalqty rejected"],
        ),
        (("BBBB4", "PN", "NaN", "31.500.000"), &["not_a_number results[1].part rejected"]),
        (("bbbb", "PN", "0,375", "31.500.000"), &["unknown_product results[1].cod rejected"]),
        (("", "PN", "0,375", "31.500.000"), &["missing_field results[1].cod rejected"]),
    ] {
        let body = answer(1, 1, &[row(PAPERS[0]), row(paper), row(PAPERS[2])]);
        let sums = ["sum_mismatch header.theoricalqty noted", "part_sum results.part noted"];
        check(&body, PORTUGUESE, &[WEIGHTS[0], WEIGHTS[2]], &[problems, &sums].concat());
    }
}

#[test]
fn what_is_wrong_with_a_row_is_named_and_its_neighbours_are_kept() {
    let sums = ["sum_mismatch header.theoricalqty noted", "part_sum results.part noted"];
    for (from, to, problem) in [
        (r#""part":"0,375""#, r#""part":null"#, "null_field results[1].part rejected"),
        (r#""part":"0,375""#, r#""part":{}"#, "wrong_type results[1].part rejected"),
        (r#""part":"0,375""#, r#""part":"1","part":"2""#, "duplicate_key results[1].part rejected"),
        (r#""theoricalQty":"31.500.000""#, r#""other":"x""#, "missing_field results[1].theoricalqty rejected"),
        (r#""cod":"BBBB4""#, r#""cod":7"#, "wrong_type results[1].cod rejected"),
    ] {
        let body = whole().replacen(from, to, 1);
        assert_ne!(body, whole(), "{from}");
        check(&body, PORTUGUESE, &[WEIGHTS[0], WEIGHTS[2]], &[&[problem][..], &sums].concat());
    }
    let nulled = whole().replace(r#""type":"PN  EJ  N1""#, r#""type":null"#);
    check(
        &nulled,
        PORTUGUESE,
        &[WEIGHTS[0], "IBOV BBBB4 '' 0.375% 31500000 2025-07-04", WEIGHTS[2]],
        &["null_field results[1].type nulled"],
    );
    let number = whole().replace(r#""31.500.000""#, "31500000");
    check(&number, PORTUGUESE, &WEIGHTS, &["unexpected_form results[1].theoricalqty noted"]);
    let no_object = answer(1, 1, &["null".to_owned(), row(PAPERS[0]), row(PAPERS[1]), row(PAPERS[2])]);
    check(&no_object, PORTUGUESE, &WEIGHTS, &["wrong_type results[0] rejected"]);
    // Cut off in the last row: those before it are there.
    let cut = &whole()[..whole().len() - 30];
    check(cut, PORTUGUESE, &WEIGHTS[..2], &[&["not_json  rejected"][..], &sums].concat());
}

#[test]
fn the_pages_are_followed_and_checked_as_a_whole() {
    let first = request::portfolio_day("IBOV", Language::Portuguese);
    let mut all = check(&answer(1, 3, &[row(PAPERS[0])]), &first, &WEIGHTS[..1], &[]);
    let second = all.next_page.take().expect("another page");
    assert_eq!(Asked::of(&second).page, Some(2));
    let page = check(&answer(2, 3, &[row(PAPERS[1])]), &second, &WEIGHTS[1..2], &[]);
    let third = page.next_page.clone().expect("another page");
    all.append(page);
    let page = check(&answer(3, 3, &[row(PAPERS[2])]), &third, &WEIGHTS[2..], &[]);
    assert_eq!(page.next_page, None);
    all.append(page);
    B3.conclude(&mut all);
    assert_eq!((all.weights.len(), named(&all)), (3, vec![]));
}

fn concluded(pages: &[(&str, &[Paper])]) -> Parsed {
    let mut all = Parsed::default();
    for (request, papers) in pages {
        let number = Asked::of(request).page.expect("in the request");
        all.append(parse_at(
            answer(number, 2, &papers.iter().map(|paper| row(*paper)).collect::<Vec<_>>()).as_bytes(),
            request,
            RECEIVED,
        ));
    }
    B3.conclude(&mut all);
    all
}

#[test]
fn a_whole_that_is_none_is_named() {
    let page =
        |index: &str, number: i64| format!("GetPortfolioDay/{{language:pt-br,pageNumber:{number},index:{index}}}");
    let (one, two) = (page("IBOV", 1), page("IBOV", 2));
    assert_eq!(named(&concluded(&[(&one, &PAPERS[..2]), (&two, &PAPERS[2..])])), [""; 0]);
    assert_eq!(named(&concluded(&[(&one, &PAPERS[..2])])), ["not_answered page.totalpages rejected"]);

    // The second page is the first one again.
    let repeated = concluded(&[(&one, &PAPERS[..2]), (&two, &PAPERS[..2])]);
    assert_eq!(repeated.weights.len(), 2);
    assert_eq!(
        named(&repeated),
        [
            "duplicate_row aaaa3 rejected",
            "duplicate_row bbbb4 rejected",
            "sum_mismatch header.theoricalqty noted",
            "part_sum results.part noted"
        ]
    );
    // One paper under two classes has one identity, too.
    let twice = concluded(&[(&one, &PAPERS), (&two, &[("AAAA3", "ON  EX  NM", "0,001", "5")])]);
    assert_eq!((twice.weights.len(), named(&twice)), (3, vec!["duplicate_row aaaa3 rejected".to_owned()]));

    // Two indexes of one poll are two wholes.
    let (small, small_two) = (page("SMLL", 1), page("SMLL", 2));
    let both = concluded(&[(&one, &PAPERS[..2]), (&two, &PAPERS[2..]), (&small, &PAPERS[..1])]);
    assert_eq!(named(&both), ["not_answered page.totalpages rejected"]);
    assert!(both.problems[0].detail.contains("SMLL"));
    let both =
        concluded(&[(&one, &PAPERS[..2]), (&two, &PAPERS[2..]), (&small, &PAPERS[..1]), (&small_two, &PAPERS[1..])]);
    assert_eq!((both.weights.len(), named(&both)), (6, vec![]));
}

#[test]
fn parts_add_up_to_a_hundred_within_a_thousandth() {
    for (part, problems) in [
        ("39,501", &[][..]),
        ("39,499", &[]),
        ("39,502", &["part_sum results.part noted"]),
        ("39,498", &["part_sum results.part noted"]),
    ] {
        let body = whole().replace("39,500", part);
        assert_eq!(named(&parse_at(body.as_bytes(), PORTUGUESE, RECEIVED)), problems, "{part}");
    }
    let body = whole().replace(TOTAL, "4.232.400.102");
    let parsed = parse_at(body.as_bytes(), PORTUGUESE, RECEIVED);
    assert_eq!(named(&parsed), ["sum_mismatch header.theoricalqty noted"]);
    assert!(parsed.problems[0].detail.contains("4232400101") && parsed.weights.len() == 3, "{:?}", parsed.problems);
}

#[test]
fn segments_are_told_and_their_sums_are_no_papers() {
    let with_segment = |paper, segment: &str, sum: &str| {
        row(paper)
            .replace(r#""segment":null"#, &format!("\"segment\":\"{segment}\""))
            .replace(r#""partAcum":null"#, &format!("\"partAcum\":\"{sum}\""))
    };
    let sum = |segment: &str, part: &str| {
        format!(
            r#"{{"segment":"{segment}","cod":null,"asset":null,"type":null,"part":"{part}","partAcum":"{part}","theoricalQty":null}}"#
        )
    };
    let rows = [
        with_segment(PAPERS[0], "Bens Indls / Máqs", "60,500"),
        with_segment(PAPERS[1], "Bens Indls / Máqs", "60,500"),
        sum("Bens Indls / Máqs", "60,500"),
        with_segment(PAPERS[2], "Financ e Outros", "39,500"),
        sum("Financ e Outros", "39,500"),
    ];
    let parsed = check(
        &answer(1, 1, &rows),
        &PORTUGUESE.replace("segment:1", "segment:2"),
        &[
            &format!("{} in Bens Indls / Máqs", WEIGHTS[0]),
            &format!("{} in Bens Indls / Máqs", WEIGHTS[1]),
            &format!("{} in Financ e Outros", WEIGHTS[2]),
        ],
        &[],
    );
    let id = event_id("b3", "portfolio_day", "IBOV/CCCC11/Financ e Outros", "2025-07-04");
    assert_eq!(parsed.weights[2].event_id, id);
}

#[test]
fn without_its_request_an_answer_has_no_index() {
    for request in ["", "/indexProxy/indexCall/GetPortfolioDay/", "/indexProxy/indexCall/GetPortfolioDay/AAAA"] {
        check(&whole(), request, &[], &["unknown_request  rejected"]);
    }
}

#[test]
fn an_empty_portfolio_is_a_failure_but_on_a_day_without_trading() {
    let null = r#"{"page":{"pageNumber":1,"totalPages":0},"header":null,"results":null}"#.to_owned();
    for body in [answer(1, 0, &[]), null] {
        check(&body, PORTUGUESE, &[], &["empty_answer results rejected"]);
        let parsed = parse_at(body.as_bytes(), PORTUGUESE, SATURDAY);
        assert_eq!((parsed.answered, named(&parsed)), (true, vec!["empty_answer results noted".to_owned()]));
        assert!(parsed.problems[0].detail.contains("weekend"));
    }
}

#[test]
fn other_answers_are_named_for_what_they_are() {
    let theoretical = whole().replace(r#""date":"04/07/25","#, "");
    let papers = r#"{"page":{"pageNumber":1,"totalPages":1},"header":{"update":"2025-07-04","year":2025},"results":[{"company":"A","spotlight":"ON","code":"AAAA3","indexes":"IBOV"}]}"#;
    for request in [PORTUGUESE, "", "/indexProxy/indexCall/GetTheoricalPortfolio/AAAA"] {
        check(&theoretical, request, &[], &["unsupported_shape header.date rejected"]);
        check(papers, request, &[], &["unsupported_shape header.date rejected"]);
    }
    for (body, problem) in [
        ("", "not_json  rejected"),
        ("<html><title>Attention Required!</title></html>", "not_json  rejected"),
        ("[]", "unsupported_shape  rejected"),
        ("null", "unsupported_shape  rejected"),
        ("{}", "empty_answer  rejected"),
        (r#"{"page":{},"header":{}}"#, "missing_field results rejected"),
        (r#"{"page":{},"results":"none"}"#, "wrong_type results rejected"),
        (r#"{"page":{"pageNumber":1"#, "not_json  rejected"),
        (r#"{"results":[{"cod":"AAAA3"}]}"#, "missing_field header rejected"),
        (r#"{"header":[],"results":[{"cod":"AAAA3"}]}"#, "wrong_type header rejected"),
    ] {
        check(body, PORTUGUESE, &[], &[problem]);
    }
    for day in ["31/02/25", "2025-07-04", "04/07", "0/0/0", "04/07/-5", "99/99/99", "soon", "04/07/25/1"] {
        check(&whole().replace("04/07/25", day), PORTUGUESE, &[], &["bad_time header.date rejected"]);
    }
    check(&whole().replace(r#""04/07/25""#, "null"), PORTUGUESE, &[], &["null_field header.date rejected"]);
    let long = parse_at(whole().replace("04/07/25", "04/07/2025").as_bytes(), PORTUGUESE, RECEIVED);
    assert_eq!(long.weights[0].pregao_date, date(2025, 7, 4));
}

#[test]
fn errors_tell_what_to_do() {
    for (body, refusal) in [
        (r#"{"title":"Bad Request","status":400}"#, Refusal::Configuration("400 Bad Request".to_owned())),
        (r#"{"statusCode":429,"message":"slow down"}"#, Refusal::RateLimited("429 slow down".to_owned())),
        (r#"{"message":"Endpoint request timed out"}"#, Refusal::Retry("Endpoint request timed out".to_owned())),
    ] {
        assert_eq!(check(body, PORTUGUESE, &[], &["error_answer  rejected"]).refusal, Some(refusal));
    }
}

#[test]
fn a_page_that_was_not_asked_for_is_named_and_the_next_is_the_one_after_the_asked() {
    let asked = request::portfolio_day("IBOV", Language::Portuguese);
    let second = Asked::of(&asked).for_page(2).expect("it was read");
    let parsed = parse_at(answer(1, 3, &PAPERS.map(row)).as_bytes(), &second, RECEIVED);
    assert_eq!(named(&parsed), ["not_answered page.pagenumber noted"]);
    assert_eq!(parsed.next_page.map(|next| Asked::of(&next).page), Some(Some(3)));
    let endless = parse_at(answer(1, i64::MAX, &PAPERS.map(row)).as_bytes(), &asked, RECEIVED);
    let mut whole = endless;
    B3.conclude(&mut whole);
    assert_eq!(named(&whole), ["not_answered page.totalpages rejected"]);
}

proptest! {
    #[test]
    fn mutated_answers_never_panic(several: bool, changes in mutations()) {
        let body = if several { answer(1, 3, &PAPERS.map(row)) } else { whole() };
        for request in [PORTUGUESE, ENGLISH, "GetPortfolioDay/{index:IBOV}"] {
            let mut parsed = parse_at(&mutated(&body, changes.clone()), request, RECEIVED);
            B3.conclude(&mut parsed);
            for weight in &parsed.weights {
                prop_assert!(weight.part.unscaled() <= 100 * ONE && !weight.theoretical_quantity.is_zero());
            }
        }
    }

    #[test]
    fn any_request_is_read_or_not(request in "\\PC{0,60}", parameters in "[A-Za-z0-9+/=%]{0,60}") {
        let _ = Asked::of(&request);
        let _ = Asked::of(&format!("/GetPortfolioDay/{parameters}")).for_page(2);
    }
}
