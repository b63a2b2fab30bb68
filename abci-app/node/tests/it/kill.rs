//! A ledger that is killed keeps what it acknowledged.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use vouchsafe_core::StateRead;
use vouchsafe_node::{replay, store::Store};

use crate::consortium::Consortium;

const HOME: &str = "VOUCHSAFE_TEST_KILL_HOME";

/// Not a test: what the test below runs in a process of its own, until that is killed.
#[tokio::test]
#[ignore = "run by a_killed_ledger_keeps_what_it_acknowledged"]
#[allow(clippy::print_stdout, reason = "the parent reads what was acknowledged")]
async fn anchors_until_killed() {
    let home = std::env::var(HOME).unwrap();
    let c = Consortium::at("kill", home.into());
    let ledger = c.open().unwrap();
    for n in 0.. {
        ledger.submit(c.anchor(n)).await.unwrap();
        println!("acknowledged {n}");
    }
}

#[tokio::test]
async fn a_killed_ledger_keeps_what_it_acknowledged() {
    let c = Consortium::new("kill");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "kill::anchors_until_killed"])
        .env(HOME, c.home.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = None;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some((_, n)) = line.split_once("acknowledged ") {
            acknowledged = Some(n.parse::<u64>().unwrap());
        }
        if acknowledged == Some(25) {
            break;
        }
    }
    // SIGKILL: no destructor runs.
    child.kill().unwrap();
    child.wait().unwrap();
    let last = acknowledged.unwrap();
    let ledger = c.open().unwrap();
    let view = ledger.view().unwrap();
    assert!((0..=last).all(|n| view.get(&c.head_key(n)).is_some()), "something acknowledged is gone");
    drop(view);
    drop(ledger);
    let store = Store::open(&c.home.path().join("ledger/ledger.redb")).unwrap();
    replay::replay(&store, &c.genesis, &c.home.path().join("again.redb")).unwrap();
}
