//! The two halves of a validator live and die together.

use super::validator::{Validator, lives, signal};
use crate::support::{code, run};

/// Kills one half; waits until a new pair serves.
async fn kill(validator: &mut Validator, part: &str) {
    let before = ["application", "engine"].map(|p| validator.process(p));
    signal("KILL", validator.process(part));
    let path = validator.home().join("processes.json");
    validator
        .until("there is a new pair", async || {
            let now: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
            let new = ["application", "engine"].map(|p| now[p].as_u64().unwrap_or_default());
            (new[0] != before[0] && new[1] != before[1]).then_some(())
        })
        .await;
    assert!(!before.iter().any(|pid| lives(*pid)), "a half lingers");
    let rpc = validator.rpc.clone();
    validator.until("it answers", async || rpc.status().await.ok()).await;
}

#[tokio::test]
async fn a_pair_comes_back_by_itself_and_loses_nothing() {
    let mut validator = Validator::new();
    validator.start().await;
    let mut keys = validator.commit(5).await;
    for part in ["application", "engine", "application", "engine"] {
        kill(&mut validator, part).await;
        for key in &keys {
            assert!(validator.rpc.value("/key", key).await.unwrap().is_some(), "lost after the {part} was killed");
        }
        keys.extend(validator.commit(3).await);
    }
    assert_eq!(validator.signalled("INT").await.code(), Some(130));
}

#[tokio::test]
async fn nothing_lingers_when_the_supervisor_is_killed() {
    let mut validator = Validator::new();
    validator.start().await;
    let pids = ["application", "engine"].map(|part| validator.process(part));
    assert!(pids.iter().all(|pid| lives(*pid)));
    let second = run(["ledger", "start", "--home", validator.home().to_str().unwrap()]);
    assert_eq!(code(&second), 5, "one supervisor per home");
    validator.signalled("KILL").await;
    validator.until("both halves end", async || (!pids.iter().any(|pid| lives(*pid))).then_some(())).await;
    // What a killed one left is no hindrance.
    validator.start().await;
    validator.commit(1).await;
    let pids = ["application", "engine"].map(|part| validator.process(part));
    assert_eq!(validator.signalled("TERM").await.code(), Some(0));
    assert!(!pids.iter().any(|pid| lives(*pid)), "both have ended before the supervisor");
}

/// An application that cannot open its store does not come up by being started again for ever.
#[tokio::test]
async fn a_pair_that_cannot_run_ends_with_a_word() {
    let mut validator = Validator::new();
    validator.start().await;
    assert_eq!(validator.signalled("TERM").await.code(), Some(0));
    let store = validator.home().join("app/ledger.redb");
    std::fs::remove_file(&store).unwrap();
    std::fs::create_dir(&store).unwrap();
    let ended = run(["ledger", "start", "--home", validator.home().to_str().unwrap()]);
    assert_eq!(code(&ended), 7);
    let said = crate::support::stderr(&ended);
    assert!(said.contains("starting both again does not help"), "{said}");
}
