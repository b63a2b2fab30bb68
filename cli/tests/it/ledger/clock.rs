//! A validator whose own clock is wrong. libfaketime shifts what the application reads; the engine, which is a Go program and
//! asks the kernel itself, keeps the true time.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use vouchsafe_types::{
    Code, Hash32, Nonce, TimeMs,
    jws::sign_tx,
    time::Count,
    tx::{AnchorAudit, Tx},
};

use super::validator::{Validator, now};

const MINUTE: i64 = 60_000;

fn library() -> PathBuf {
    let places = fs::read_dir("/usr/lib").unwrap().flatten().map(|e| e.path().join("faketime/libfaketime.so.1"));
    let found = places.into_iter().find(|path| path.exists());
    found.expect("libfaketime is missing: it gives a validator a wrong clock. On Debian: apt-get install faketime")
}

/// The environment of a process whose clock is off by so many minutes; what it measures time by is not.
fn off_by(minutes: i64) -> Vec<(&'static str, String)> {
    vec![
        ("LD_PRELOAD", library().to_str().unwrap().to_owned()),
        ("FAKETIME", format!("{minutes:+}m")),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
    ]
}

/// That the clock is what it is meant to be, for a program and for the application that runs.
fn is_off_by(minutes: i64, validator: &Validator) {
    let date = Command::new("date").arg("+%s").envs(off_by(minutes)).output().unwrap();
    let told: i64 = String::from_utf8(date.stdout).unwrap().trim().parse().unwrap();
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    assert!((told - now - minutes * 60).abs() < 60, "{told} and {now}");
    let maps = fs::read_to_string(format!("/proc/{}/maps", validator.process("application"))).unwrap();
    assert!(maps.contains("libfaketime.so.1"), "the application has the true clock");
}

/// The height that the application has committed.
async fn committed(validator: &mut Validator, least: u64) -> u64 {
    let info = format!("{}/abci_info", validator.rpc.url());
    let look = async || {
        let answer: serde_json::Value = reqwest::get(&info).await.ok()?.json().await.ok()?;
        let height = answer["result"]["response"]["last_block_height"].as_str()?.parse().ok()?;
        Some(height).filter(|height| *height >= least)
    };
    validator.until("a block", look).await
}

/// What expires in so many minutes, or did.
fn expiring(validator: &Validator, nonce: u8, minutes: i64) -> String {
    let tx = AnchorAudit {
        nonce: Nonce([nonce; 16]),
        expires: TimeMs(now().0.checked_add_signed(minutes * MINUTE).unwrap()),
        first: Count(0),
        last: Count(0),
        old: None,
        new: Hash32([nonce; 32]),
    };
    sign_tx(&validator.hospital, &validator.genesis.body.chain_id(), &Tx::from(tx))
}

#[tokio::test]
async fn a_validator_with_a_wrong_clock_admits_and_proposes_what_the_others_do() {
    let mut validator = Validator::new();
    let mut height = 0;
    for minutes in [90, -90] {
        validator.start_in(&off_by(minutes)).await;
        is_off_by(minutes, &validator);
        // A chain tells an application no time that has seen none of its blocks come.
        let before = committed(&mut validator, 0).await;
        committed(&mut validator, before + 1).await;
        validator.commit(3).await;

        // What is over by the true time, and what the chain does not take yet, are refused by whichever of both clocks.
        let nonce = if minutes > 0 { 1 } else { 2 };
        let over = expiring(&validator, nonce, -1);
        assert_eq!(validator.rpc.broadcast(over.as_bytes()).await.unwrap().code, Code::Expired.number());
        let ahead = expiring(&validator, nonce, 60);
        let refused = validator.rpc.broadcast(ahead.as_bytes()).await.unwrap().code;
        assert!([Code::Expired, Code::TooFarAhead].map(Code::number).contains(&refused), "{refused}");

        // A clock that is ahead may take for the end of a standstill what nobody else takes. It is proposed to nobody.
        let far = expiring(&validator, nonce, 95);
        let waits = validator.rpc.broadcast(far.as_bytes()).await.unwrap().code;
        assert_eq!(waits, if minutes > 0 { 0 } else { Code::TooFarAhead.number() });
        validator.commit(3).await;
        let last = validator.rpc.status().await.unwrap().height;
        for number in height + 1..=last {
            let block = validator.rpc.block(number).await.unwrap();
            assert!(!block.txs.contains(&far.clone().into_bytes()), "block {number} holds it");
        }
        // The newest may be a moment from having been executed.
        for number in height + 1..last {
            assert!(validator.rpc.results(number).await.unwrap().iter().all(|code| *code == 0), "block {number}");
        }
        assert_eq!(validator.signalled("TERM").await.code(), Some(0));
        height = last;
    }
}
