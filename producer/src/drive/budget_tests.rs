use proptest::prelude::*;

use super::*;

/// 2026-03-31T23:00:00Z: an hour before a new day and a new month.
const LATE: i64 = 1_774_998_000_000_000;
const HOUR: i64 = 60 * MINUTE;

fn plan(text: &str) -> Plan {
    text.parse().expect("a plan")
}

#[test]
fn a_plan_is_read_and_printed() {
    for text in ["minute=30,month=10000", "day=333", "unlimited"] {
        assert_eq!(plan(text).to_string(), text);
    }
    for text in ["", "30", "minute=0", "minute=-1", "hour=5", "day=1,day=2", "minute=30;day=2"] {
        assert!(text.parse::<Plan>().is_err(), "{text}");
    }
}

#[test]
fn a_minutes_calls_are_those_of_the_last_sixty_seconds() {
    let mut budget = Budget::in_memory(plan("minute=2"), LATE);
    assert!(budget.spend(1, LATE) && budget.spend(1, LATE + 10));
    assert!(!budget.spend(1, LATE + 20));
    assert_eq!(budget.next_at(1, LATE + 20), LATE + MINUTE);
    assert!(budget.spend(1, LATE + MINUTE));
    assert_eq!(budget.next_at(1, LATE + MINUTE), LATE + 10 + MINUTE);
}

#[test]
fn days_and_months_begin_anew_in_utc() {
    let mut budget = Budget::in_memory(plan("day=1,month=60"), LATE);
    assert!(budget.spend(1, LATE));
    assert_eq!(budget.next_at(1, LATE), LATE + HOUR);
    assert_eq!(budget.left(LATE).least(), Some(0));
    assert_eq!(budget.left(LATE + HOUR).month, Some(60));
    // A call a day is a call every 24 hours, whenever the day begins.
    assert_eq!(budget.next_at(1, LATE + HOUR), LATE + 24 * HOUR);
    assert!(!budget.spend(1, LATE + HOUR) && budget.spend(1, LATE + 24 * HOUR));
}

#[test]
fn what_is_left_is_spread_over_the_day() {
    // Two hours of a day, and two calls.
    let mut budget = Budget::in_memory(plan("day=3"), LATE - HOUR);
    assert!(budget.spend(1, LATE - HOUR));
    assert_eq!(budget.next_at(1, LATE - HOUR), LATE);
}

#[test]
fn the_pace_is_that_of_whole_polls_and_the_limits_are_those_of_calls() {
    let mut budget = Budget::in_memory(plan("minute=3,day=24"), LATE - 23 * HOUR);
    let now = LATE - 23 * HOUR;
    let further = Call { cost: 1, begins: None };
    assert!(budget.spend_call(Call { cost: 1, begins: Some(3) }, now));
    assert!(budget.spend_call(further, now) && budget.spend_call(further, now), "a poll is not torn apart");
    assert_eq!(budget.call_at(further, now), now + MINUTE, "the minute is full");
    // Twenty-one calls for a day: seven polls of three.
    assert_eq!(budget.next_at(3, now), now + 24 * HOUR / 21 * 3);
    let mut last = Budget::in_memory(plan("day=1"), LATE);
    assert!(last.spend(1, LATE));
    assert_eq!(last.call_at(further, LATE), LATE + HOUR, "a further call has the day's limit, too");
}

#[test]
fn a_plan_says_how_often_a_poll_may_be() {
    assert_eq!(plan("minute=30,month=10000").shortest_interval(1), Duration::from_secs(268));
    assert_eq!(plan("minute=30,month=10000").shortest_interval(2), Duration::from_secs(536));
    assert_eq!(plan("minute=5").shortest_interval(1), Duration::from_secs(12));
    assert_eq!(plan("unlimited").shortest_interval(9), Duration::ZERO);
}

#[test]
fn a_clock_that_was_set_back_is_not_waited_for() {
    let mut budget = Budget::in_memory(plan("minute=1"), LATE);
    assert!(budget.spend(1, LATE));
    assert_eq!(budget.next_at(1, LATE - HOUR), LATE - HOUR + MINUTE);
}

#[test]
fn the_source_is_believed_over_our_own_sum() {
    let mut budget = Budget::in_memory(plan("month=100"), LATE);
    assert!(budget.spend(1, LATE));
    budget.correct(1, 7, LATE);
    assert_eq!(budget.left(LATE).month, Some(93));
    budget.exhausted(true, LATE);
    assert_eq!(budget.next_at(1, LATE), LATE + HOUR);
}

#[test]
fn an_account_outlives_the_process_and_moves_to_another() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut budget = Budget::open(plan("day=5"), dir.path(), "here", LATE);
    assert!(budget.spend(2, LATE));
    let again = Budget::open(plan("day=5"), dir.path(), "here", LATE + 1);
    assert_eq!(again.left(LATE + 1).day, Some(3));
    assert_eq!(Budget::open(plan("day=5"), dir.path(), "here", LATE + HOUR).left(LATE + HOUR).day, Some(5));
    let mut elsewhere = Budget::in_memory(plan("day=5,month=50"), LATE);
    elsewhere.spent_elsewhere(4, 44, LATE, LATE + 1);
    assert_eq!((elsewhere.left(LATE).day, elsewhere.left(LATE).month), (Some(1), Some(6)));
    let mut tomorrow = Budget::in_memory(plan("day=5,month=50"), LATE + HOUR);
    tomorrow.spent_elsewhere(4, 44, LATE, LATE + HOUR);
    assert_eq!((tomorrow.left(LATE + HOUR).day, tomorrow.left(LATE + HOUR).month), (Some(5), Some(50)));
    std::fs::write(dir.path().join("budget-here.json"), "{").expect("writable");
    assert_eq!(Budget::open(plan("day=5"), dir.path(), "here", LATE).left(LATE).day, Some(5));
}

proptest! {
    /// Whoever calls as often as it is let never calls more than the plan allows, in any minute, day or month.
    #[test]
    fn no_caller_gets_more_than_the_plan(
        minute in 1_u32..20, day in 1_u32..60, month in 1_u32..400,
        waits in proptest::collection::vec(0_i64..3 * HOUR, 1..400),
    ) {
        let most = Plan { minute: Some(minute), day: Some(day), month: Some(month) };
        let mut budget = Budget::in_memory(most, LATE - 200 * HOUR);
        let mut now = LATE - 200 * HOUR;
        let mut calls: Vec<i64> = Vec::new();
        for wait in waits {
            now += if wait % 3 == 0 { 0 } else { wait / 7 };
            if wait % 2 == 0 {
                now = budget.next_at(1, now);
            }
            if budget.spend(1, now) {
                calls.push(now);
            }
        }
        for at in &calls {
            let since = |from: i64| calls.iter().filter(|call| **call >= from && **call <= *at).count() as u32;
            prop_assert!(since(at - MINUTE + 1) <= minute);
            let same_day = calls.iter().filter(|call| utc_day(**call) == utc_day(*at)).count() as u32;
            prop_assert!(same_day <= day);
            let same_month = calls.iter().filter(|call| utc_day(**call).first_of_month() == utc_day(*at).first_of_month()).count() as u32;
            prop_assert!(same_month <= month);
        }
    }

    /// Waiting for `next_at` always helps: a call is allowed then.
    #[test]
    fn whoever_waits_is_served(minute in 1_u32..20, day in 1_u32..60, month in 30_u32..400, tries in 1..80) {
        let most = Plan { minute: Some(minute), day: Some(day), month: Some(month) };
        let mut now = LATE - 100 * HOUR;
        let mut budget = Budget::in_memory(most, now);
        for _ in 0..tries {
            let mut waits = 0;
            while !budget.spend(1, now) {
                let at = budget.next_at(1, now);
                prop_assert!(at > now);
                now = at;
                waits += 1;
                prop_assert!(waits < 40, "never served: {budget:?}");
            }
        }
    }
}
