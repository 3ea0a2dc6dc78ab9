//! Whatever comes late, once it is read again every candle is what all ticks come to.

use std::collections::BTreeMap;

use pipeline::events::PriceTick;
use proptest::prelude::*;

use super::tests::{NOW, tick};
use super::*;

const HOUR: i64 = 3_600_000_000;

/// Where all ticks are: each event in its highest revision.
#[derive(Default)]
struct Store(BTreeMap<u32, PriceTick>);

impl Store {
    fn put(&mut self, number: u32, tick: &PriceTick) {
        self.0.insert(number, tick.clone());
    }

    fn reread(&self, tf: Timeframe, start: i64) -> Reread {
        let mut reread = Reread::default();
        for tick in self.0.values().filter(|tick| !tick.retracted && tf.bucket(tick.event_time) == start) {
            let place = Place { event_time: tick.event_time, event_id: tick.event_id };
            reread.put(tf, place, tick.price, tick.quantity);
        }
        reread
    }
}

/// What one step does.
#[derive(Clone, Debug)]
enum Step {
    /// A tick so many minutes ago.
    Put(i64),
    /// One of the events at another price, and some moved by so many minutes.
    Correct(u32, Option<i64>),
    Retract(u32),
    Repeat(u32),
    /// Minutes pass.
    Pass(i64),
    Seal,
    Mend,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let minutes_ago = prop_oneof![0..10_i64, 0..120_i64, 1490..1510_i64, 0..5000_i64];
    let step = prop_oneof![
        8 => minutes_ago.clone().prop_map(Step::Put),
        4 => (0..100_u32, prop::option::of(minutes_ago)).prop_map(|(which, by)| Step::Correct(which, by)),
        2 => (0..100_u32).prop_map(Step::Retract),
        2 => (0..100_u32).prop_map(Step::Repeat),
        2 => prop_oneof![1..7_i64, 100..1600_i64].prop_map(Step::Pass),
        1 => Just(Step::Seal),
        2 => Just(Step::Mend),
    ];
    prop::collection::vec(step, 1..80)
}

struct World {
    live: Live,
    store: Store,
    now: i64,
    offset: i64,
}

impl World {
    fn tell(&mut self, number: u32, tick: &PriceTick) {
        self.offset += 1;
        self.live.put_tick(&Told::of(tick, self.now, Position { partition: 0, offset: self.offset }));
        self.store.put(number, tick);
    }

    fn mend(&mut self) {
        loop {
            let found = self.live.spoilt(7, |_| true);
            for spoilt in &found {
                let reread = self.store.reread(spoilt.bucket.tf, spoilt.start_us());
                // A narrower one of the same round may have mended it.
                self.live.replace(spoilt, &reread);
            }
            if found.is_empty() {
                return;
            }
        }
    }

    fn step(&mut self, step: &Step) {
        let count = self.store.0.len() as u32;
        let known = |which: u32| (count > 0).then(|| which % count);
        match *step {
            Step::Put(minutes_ago) => {
                let event_time = self.now - minutes_ago * MINUTE_US - i64::from(count) * 1_700_000;
                self.tell(count, &tick("BTC-USD", &count.to_string(), &format!("{}", 100 + count), event_time));
            }
            Step::Correct(which, minutes_ago) => {
                let Some(number) = known(which) else { return };
                let before = self.store.0[&number].clone();
                let event_time =
                    minutes_ago.map_or(before.event_time, |ago| self.now - ago * MINUTE_US - i64::from(number));
                let corrected = PriceTick {
                    revision: before.revision + 1,
                    retracted: false,
                    price: format!("{}", 500 + self.offset).parse().expect("a price"),
                    previous_event_time: Some(before.event_time),
                    event_time,
                    ..before
                };
                self.tell(number, &corrected);
            }
            Step::Retract(which) => {
                let Some(number) = known(which) else { return };
                let before = self.store.0[&number].clone();
                self.tell(
                    number,
                    &PriceTick { revision: before.revision + 1, retracted: true, previous_event_time: None, ..before },
                );
            }
            Step::Repeat(which) => {
                if let Some(number) = known(which) {
                    let same = self.store.0[&number].clone();
                    self.tell(number, &same);
                }
            }
            Step::Pass(minutes) => {
                self.now += minutes * MINUTE_US;
                self.live.advance(self.now);
            }
            Step::Seal => {
                self.live.budget.max_seen = 0;
                self.live.seal_oldest();
                self.live.budget.max_seen = MAX_SEEN;
            }
            Step::Mend => self.mend(),
        }
    }
}

fn world() -> World {
    let mut live = Live::new(24 * HOUR, 10, NOW);
    live.set_whole_from(NOW - 100 * 24 * HOUR, false);
    World { live, store: Store::default(), now: NOW, offset: 0 }
}

#[test]
fn what_moves_within_its_minute_leaves_the_second_that_it_stood_in() {
    let mut world = world();
    for number in 0..3 {
        world.step(&Step::Put(2));
        world.step(&Step::Correct(number, Some(2)));
        check(&world).expect("no candle of a second that is empty now");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn what_is_read_again_is_what_all_ticks_come_to(steps in steps()) {
        let mut world = world();
        for step in &steps {
            world.step(step);
            // What is not spoilt is right at any time.
            check(&world)?;
        }
        world.mend();
        check(&world)?;
        for tf in &Timeframe::ALL[1..] {
            let chart = world.live.symbols.values().flatten().flat_map(|series| &series.charts).next();
            let all = chart.into_iter().flat_map(|chart| chart.line(*tf).iter());
            prop_assert!(all.clone().all(|bucket| bucket.spoilt == 0), "{tf:?}");
        }
    }
}

fn check(world: &World) -> Result<(), TestCaseError> {
    let Some(chart) = world.live.symbols.values().flatten().flat_map(|series| &series.charts).next() else {
        return Ok(());
    };
    for tf in Timeframe::ALL {
        let kept_from = world.now - tf.kept_us();
        let mut expected: BTreeMap<i64, Fold> = BTreeMap::new();
        for tick in world.store.0.values().filter(|tick| !tick.retracted && tf.bucket(tick.event_time) >= kept_from) {
            let place = Place { event_time: tick.event_time, event_id: tick.event_id };
            let fold = Fold::of(place, tick.price, tick.quantity);
            let bucket = expected.entry(tf.bucket(tick.event_time));
            bucket.and_modify(|known| known.merge(&fold)).or_insert(fold);
        }
        for bucket in chart.line(tf).iter().filter(|bucket| bucket.spoilt == 0 && bucket.start >= kept_from) {
            prop_assert_eq!(Some(&bucket.fold), expected.get(&bucket.start), "{:?} {}", tf, bucket.start);
        }
        for start in expected.keys() {
            prop_assert!(chart.line(tf).get(*start).is_some(), "{tf:?} {start} is missing");
        }
    }
    Ok(())
}
