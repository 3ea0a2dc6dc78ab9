//! Two refiners at once, and one that is killed again and again: silver and gold are what one undisturbed run makes.

use std::process::{Command, Stdio};
use std::time::Duration;

use pipeline::events::PriceTick;

use crate::bronze::{DAY, HOUR, Lake, MONDAY, SECOND, refine, trade};

/// Some days with late events, corrections and duplicates, in objects of two partitions; the same for each seed.
async fn fill(lake: &Lake, seed: u64, objects: std::ops::Range<u32>) {
    for object in objects {
        let mut rng = fastrand::Rng::with_seed(seed * 1000 + u64::from(object));
        let broker = MONDAY + i64::from(object) * 2 * HOUR;
        let ticks: Vec<PriceTick> = (0..20)
            .map(|n| {
                let late = if rng.u8(0..10) == 0 { DAY } else { 0 };
                let at = broker - late - rng.i64(0..3 * HOUR);
                let number = if rng.u8(0..8) == 0 { 7 } else { object * 100 + n };
                let symbol = ["BTC-USD", "BTC-BRL", "USD-BRL"][rng.usize(0..3)];
                let tick = trade(["kraken", "okx"][rng.usize(0..2)], symbol, number, &rng.u32(1..999).to_string(), at);
                PriceTick { retracted: rng.u8(0..20) == 0, ..tick }
            })
            .collect();
        lake.ticks(i32::try_from(object % 2).expect("few"), broker + SECOND, &ticks).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_refiners_at_once_make_what_one_makes() {
    let stack = stack::shared().await;
    let (alone, shared) = (Lake::new(stack, "refine-alone").await, Lake::new(stack, "refine-shared").await);
    let refiners = [shared.refiner().await, shared.refiner().await];
    let mut objects = 0;
    for _ in 0..4 {
        fill(&alone, 1, objects..objects + 6).await;
        fill(&shared, 1, objects..objects + 6).await;
        objects += 6;
        let both = refiners.clone().map(|refiner| tokio::spawn(async move { refine(&refiner).await }));
        for one in both {
            one.await.expect("no panic");
        }
    }
    refine(&refiners[0]).await;
    refine(&alone.refiner().await).await;
    assert!(alone.layers().await.len() > 20);
    assert_eq!(shared.layers().await, alone.layers().await, "the same bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_again_and_again_it_ends_with_the_same_bytes() {
    let stack = stack::shared().await;
    let (alone, killed) = (Lake::new(stack, "refine-calm").await, Lake::new(stack, "refine-killed").await);
    let command = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_refiner"));
        command.arg("once").envs(stack.env()).env("S3_PREFIX", "refine-killed").env("RUST_LOG", "warn");
        command
    };
    let kills = 6;
    let mut rng = fastrand::Rng::with_seed(5);
    for round in 0..kills {
        fill(&alone, 2, round * 4..round * 4 + 4).await;
        fill(&killed, 2, round * 4..round * 4 + 4).await;
        let mut child = command().stdout(Stdio::null()).spawn().expect("started");
        tokio::time::sleep(Duration::from_millis(rng.u64(50..900))).await;
        drop(child.kill());
        child.wait().expect("ended");
    }
    let standing = killed.layers().await.len();
    assert!(command().status().expect("ended").success());
    refine(&alone.refiner().await).await;
    let expected = alone.layers().await;
    println!("{kills} kills: {standing} of {} objects stood before the last run", expected.len());
    assert_eq!(killed.layers().await, expected, "the same bytes");
}
