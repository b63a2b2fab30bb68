//! F and G: a proof that needs no trust in a gateway, and the receipts that doctor and patient both get.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{
    access::{Session, matches},
    register::Cast,
    story::{Story, must, wrong},
};
use crate::{
    consortium::World,
    exit::{Context, Kind, Outcome},
    wallet::{
        client::Client,
        files::write_private,
        proof::{self, Claim},
        records,
    },
};

/// Audit entries are anchored every five seconds; a receipt follows at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// The uploaded report is proved, and the proof stands by itself.
pub(super) async fn proof(story: &mut Story, world: &World, cast: &Cast, session: &Session) -> Outcome {
    let trust = world.trust()?;
    let at_b = cast.bauer.at(world, "hospital-b");
    let file = world.home.join("proofs/report.json");
    story
        .step("F", "the report's $proof is verified as `verify` does it", async {
            let proof = at_b.get(&format!("{}/$proof", session.report)).await?.ok("$proof")?;
            let claim = proof::verify(&proof, &trust)?;
            let Claim::Record { height, .. } = claim else { return wrong("not a record's proof") };
            let kept = proof::without_content(&proof);
            write_private(&file, &serde_json::to_vec_pretty(&kept).doing(Kind::Error, || "a proof".into())?)?;
            Ok((format!("anchored, header of height {height} signed by the consortium's validators"), ()))
        })
        .await?;
    story
        .step("F", "lindsey opens his records with his own keys", async {
            let home = cast.lindsey.at(world, "hospital-a");
            let opened = records::open_own(&cast.lindsey.person, &home, &cast.lindsey.record).await?;
            let mine = opened.iter().any(|r| r["name"][0]["family"] == cast.family());
            must(mine, || "his own Patient record is not among them".into())?;
            Ok((format!("{} records of hospital-a, decrypted in his wallet", opened.len()), ()))
        })
        .await
}

/// Both sides see the access and the upload.
pub(super) async fn receipts(story: &mut Story, world: &World, cast: &Cast, session: &Session) -> Outcome {
    let at_b = cast.bauer.at(world, "hospital-b");
    story
        .step("G", "dr-bauer sees the receipts of access and upload", async {
            let found = events(&at_b, &cast.lindsey_at_b, 2).await?;
            Ok((format!("{} audit events", found.len()), ()))
        })
        .await?;
    let home = cast.lindsey.at(world, "hospital-a");
    let event = story
        .step("G", "lindsey sees who read what, at his own hospital", async {
            let found = of_other(&home, &cast.lindsey.record, world.org("hospital-b").account.to_string()).await?;
            let id = found[0]["id"].as_str().unwrap_or_default().to_owned();
            Ok((format!("{} of hospital-b's audit events", found.len()), id))
        })
        .await?;
    let trust = world.trust()?;
    story
        .step("G", "an audit event is proved to be in the anchored log", async {
            let own = events(&at_b, &cast.lindsey_at_b, 1).await?;
            let id = own[0]["id"].as_str().unwrap_or_default();
            let proof = anchored(&at_b, &format!("AuditEvent/{id}/$proof")).await?;
            let claim = proof::verify(&proof, &trust)?;
            must(matches!(claim, Claim::AuditEvent { .. }), || "not an audit event's proof".into())?;
            Ok((format!("AuditEvent/{event} and its like hold"), ()))
        })
        .await?;
    story
        .step("G", "the report's Provenance names doctor and session", async {
            let found = at_b.get(&format!("Provenance?target={}", session.report)).await?.ok("Provenance")?;
            let provenance = matches(&found);
            must(provenance.len() == 1, || format!("{} Provenance", provenance.len()))?;
            let text = provenance[0].to_string();
            must(text.contains(&session.id), || "the session is not named".into())?;
            Ok(("one".into(), ()))
        })
        .await
}

async fn events(at: &Client, patient: &str, least: usize) -> Outcome<Vec<Value>> {
    wait(|| async {
        let found = matches(&at.get(&format!("AuditEvent?patient={patient}")).await?.ok("AuditEvent")?);
        Ok((found.len() >= least).then_some(found))
    })
    .await
}

/// The events that another organisation's gateway recorded.
async fn of_other(at: &Client, patient: &str, organization: String) -> Outcome<Vec<Value>> {
    wait(|| async {
        let found = matches(&at.get(&format!("AuditEvent?patient={patient}")).await?.ok("AuditEvent")?);
        let theirs: Vec<Value> =
            found.into_iter().filter(|e| e["source"].to_string().contains(&organization)).collect();
        Ok((!theirs.is_empty()).then_some(theirs))
    })
    .await
}

async fn anchored(at: &Client, path: &str) -> Outcome<Value> {
    wait(|| async {
        let answer = at.get(path).await?;
        Ok(answer.status.is_success().then(|| answer.json()))
    })
    .await
}

/// Asks again until there is an answer.
pub(super) async fn wait<T, F: Future<Output = Outcome<Option<T>>>>(ask: impl Fn() -> F) -> Outcome<T> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask().await? {
            return Ok(found);
        }
        if Instant::now() > until {
            return wrong(format!("nothing within {PATIENCE:?}"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
