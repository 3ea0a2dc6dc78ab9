//! The local disk is full: played by a bound on how large a file may grow, which needs no rights, and which a running process
//! can be freed from. What is said is one line, what stands is whole, and with room again comes what an undisturbed run makes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pipeline::events::PriceTick;
use stack::Stack;

use crate::bronze::{DAY, HOUR, Lake, MONDAY, SECOND, refine, trade};

/// The refiner with files of at most `kib` KiB.
fn cramped(stack: &Stack, prefix: &str, kib: u32, args: &[&str]) -> Command {
    let mut command = Command::new("sh");
    // The shell counts in blocks of 512 bytes. Only the soft limit: it may be raised again.
    let script = format!("trap '' XFSZ; ulimit -S -f {}; exec \"$0\" \"$@\"", 2 * kib);
    command.args(["-c", &script, env!("CARGO_BIN_EXE_refiner")]).args(args);
    command.envs(stack.env()).env("S3_PREFIX", prefix).env("RUST_LOG", "info");
    command
}

fn wave(objects: std::ops::Range<u32>, ticks: u32) -> Vec<(i64, Vec<PriceTick>)> {
    let object = |object: u32| {
        let at = MONDAY + i64::from(object % 3) * HOUR;
        let number = |n: u32| object * 10_000 + n;
        let tick = |n: u32| {
            trade(
                "kraken",
                "BTC-USD",
                number(n),
                &format!("{}.{n:04}", fastrand::Rng::with_seed(number(n).into()).u64(..1 << 50)),
                at + i64::from(n) * SECOND,
            )
        };
        (at + HOUR, (0..ticks).map(tick).collect())
    };
    objects.map(object).collect()
}

async fn fill(lakes: [&Lake; 2], wave: &[(i64, Vec<PriceTick>)]) {
    for lake in lakes {
        for (at, ticks) in wave {
            lake.ticks(0, *at, ticks).await;
        }
    }
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn readiness(port: u16) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
        drop(stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").and_then(|()| stream.read_to_string(&mut answer)));
    }
    answer
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_waits_for_room_and_goes_on_by_itself() {
    let stack = stack::shared().await;
    let prefix = "refine-no-room";
    let (calm, cramped_lake) = (Lake::new(stack, "refine-room").await, Lake::new(stack, prefix).await);
    fill([&calm, &cramped_lake], &wave(0..3, 20)).await;
    refine(&calm.refiner().await).await;
    refine(&cramped_lake.refiner().await).await;
    // A move to a time that cannot be and the one after it: what is overlooked here is overlooked for good.
    let first = trade("kraken", "BTC-USD", 0, "5", MONDAY);
    let refused =
        PriceTick { revision: 1, event_time: MONDAY + 400 * DAY, previous_event_time: Some(MONDAY), ..first.clone() };
    let moved = PriceTick {
        revision: 2,
        event_time: MONDAY + 5 * HOUR,
        previous_event_time: Some(refused.event_time),
        ..first.clone()
    };
    fill([&calm, &cramped_lake], &[(MONDAY + 6 * HOUR, vec![refused]), (MONDAY + 7 * HOUR, vec![moved])]).await;
    let (before, state) = (cramped_lake.layers().await, cramped_lake.etags("silver/_refiner/").await);

    let [port] = stack::free_ports().expect("a free port");
    let admin = format!("127.0.0.1:{port}");
    let args = ["run", "--every", "1s", "--open-every", "1s", "--admin-addr", &admin];
    let running = Running(cramped(stack, prefix, 1, &args).stderr(Stdio::null()).spawn().expect("started"));
    wait_for("the reason", || readiness(port).contains("is full: give it room"));
    assert!(readiness(port).contains("503 "), "{}", readiness(port));
    assert_eq!(cramped_lake.layers().await, before, "no object has changed");
    assert_eq!(cramped_lake.etags("silver/_refiner/").await, state, "nothing counts as looked at");

    let pid = running.0.id().to_string();
    let freed = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited"]).status();
    assert!(freed.expect("util-linux is there").success());
    wait_for("it to go on", || readiness(port).contains("200 OK"));
    refine(&calm.refiner().await).await;
    assert_eq!(cramped_lake.layers().await, calm.layers().await, "the same bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_run_that_fills_the_disk_ends_with_one_line_and_the_next_one_goes_on() {
    let stack = stack::shared().await;
    let prefix = "refine-half-room";
    let (calm, cramped_lake) = (Lake::new(stack, "refine-whole-room").await, Lake::new(stack, prefix).await);
    fill([&calm, &cramped_lake], &wave(0..3, 20)).await;
    refine(&calm.refiner().await).await;
    refine(&cramped_lake.refiner().await).await;
    // Each object of bronze has room, and the hours of silver that gold is made of have none.
    fill([&calm, &cramped_lake], &wave(3..27, 200)).await;
    let before = cramped_lake.layers().await;

    let ended = cramped(stack, prefix, 24, &["once"]).output().expect("ended");
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(1), "{told}");
    let last = told.trim_end().lines().last().expect("a line");
    println!("{last}");
    assert!(last.contains("could not be made") && last.contains("is full: give it room"), "{told}");
    assert_eq!(told.matches("stays pending").count(), 1, "of many that failed for one reason one is told: {told}");
    let half = cramped_lake.layers().await;
    let changed: Vec<&String> = half.keys().filter(|key| half.get(*key) != before.get(*key)).collect();
    assert!(changed.len() >= 3 && changed.iter().all(|key| key.starts_with("silver/")), "{changed:?}");
    for key in half.keys() {
        cramped_lake.rows(key).await;
    }

    let ended = cramped(stack, prefix, 1 << 20, &["once"]).output().expect("ended");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    refine(&calm.refiner().await).await;
    assert_eq!(cramped_lake.layers().await, calm.layers().await, "the same bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_not_there_is_a_mistake_of_the_users() {
    let stack = stack::shared().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_refiner"));
    command.args(["once", "--temp-dir", "/nowhere"]).envs(stack.env()).env("S3_PREFIX", "refine-nowhere");
    let ended = command.output().expect("ended");
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.code() == Some(2) && told.contains("nothing can be kept in /nowhere, set by"), "{told}");
}
