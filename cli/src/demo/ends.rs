//! H and what is around it: the end of a session, a denial, a custodial account, a mandate, revocation, expiry.

use std::time::{Duration, Instant};

use super::{
    access::{Session, found_within, session_of, within},
    consent::{self, Ask, refused, requested},
    register::{Cast, of_type},
    story::{Story, must, wrong},
};
use crate::{
    consortium::World,
    exit::Outcome,
    wallet::client::{Answer, Client, OnBehalf, parameters},
};

const HOUR: u64 = 3_600_000;

/// The doctor ends the visit; nothing of it can be read again.
pub(super) async fn end_of_session(
    story: &mut Story,
    world: &World,
    cast: &Cast,
    grant: &str,
    session: &Session,
) -> Outcome {
    let at_b = cast.bauer.at(world, "hospital-b");
    story
        .step("H", "dr-bauer ends the session", async {
            let path = format!("Consent/{grant}/$end-session");
            let answer = cast.bauer.person.act(&at_b, &path, &parameters(Vec::new()), of_type("vouchsafe/end")).await?;
            let body = answer.ok("$end-session")?;
            must(body["status"] == "inactive", || format!("not inactive: {body}"))?;
            Ok((format!("Consent/{grant} inactive"), ()))
        })
        .await?;
    story
        .step("H", "the laboratory's result is asked for again", async {
            let named = within(&at_b, &session.result, &session.id).await?;
            refused(&named, 403, "session-not-live")?;
            let unnamed = at_b.get(&session.result).await?;
            must(unnamed.status.as_u16() == 403, || format!("expected 403, got {}", unnamed.outcome()))?;
            Ok(("refused, with and without naming the session".into(), ()))
        })
        .await?;
    story
        .step("H", "the visit is spent: a second session is refused", async {
            let path = format!("Consent/{grant}/$open-session");
            let answer =
                cast.bauer.person.act(&at_b, &path, &parameters(Vec::new()), of_type("vouchsafe/open")).await?;
            Ok((refused(&answer, 403, "grant-spent")?, ()))
        })
        .await
}

/// Everything else that ends, or never begins.
pub(super) async fn others(story: &mut Story, world: &World, cast: &Cast) -> Outcome {
    denial(story, world, cast).await?;
    custodial(story, world, cast).await?;
    mandate(story, world, cast).await?;
    expiry(story, world, cast).await
}

async fn denial(story: &mut Story, world: &World, cast: &Cast) -> Outcome {
    let at_b = cast.bauer.at(world, "hospital-b");
    let asked = visit(&cast.nicholas_at_b, &cast.bauer.record);
    story
        .step("D", "nicholas denies a request", async {
            let id = requested(&consent::ask(&cast.bauer, &at_b, &asked).await?)?;
            let home = cast.nicholas.at(world, "hospital-a");
            consent::arrived(&home, &id).await?;
            let path = format!("Consent/{id}/$deny");
            let answer =
                cast.nicholas.person.act(&home, &path, &parameters(Vec::new()), of_type("vouchsafe/decision")).await?;
            let body = answer.ok("$deny")?;
            must(body["status"] == "rejected", || format!("not rejected: {body}"))?;
            Ok((format!("Consent/{id} rejected"), ()))
        })
        .await
}

/// Cedric's organisation decides for him, openly, but not for its own doctors.
async fn custodial(story: &mut Story, world: &World, cast: &Cast) -> Outcome {
    let ehr = world.system("hospital-a");
    story
        .step("D", "hospital-a decides for cedric, for a doctor of its own", async {
            let verdict = super::register::judge(world, "Practitioner", cast.diaz.person.account, "reinstate");
            verdict.await?;
            let at_a = cast.diaz.at(world, "hospital-a");
            let id =
                requested(&consent::ask(&cast.diaz, &at_a, &visit(&cast.cedric_record, &cast.diaz.record)).await?)?;
            let answer = ehr.post(&format!("Consent/{id}/$approve"), &parameters(Vec::new())).await?;
            Ok((refused(&answer, 403, "own-doctor")?, ()))
        })
        .await
}

/// Dr Chen mandates the hospital's agent for the day and works through its system.
async fn mandate(story: &mut Story, world: &World, cast: &Cast) -> Outcome {
    let system = world.system("hospital-b");
    let hospital = world.org("hospital-b").account.to_string();
    let behalf = OnBehalf { subject: cast.chen.record.clone(), organization: hospital, purpose: "TREAT".into() };
    let asked = Ask { standing: true, ..visit(&cast.lindsey_at_b, &cast.chen.record) };
    story
        .step("C", "hospital-b's system acts for dr-chen without a mandate", async {
            let answer = system.on_behalf(behalf.clone()).post("Consent", &asked.consent()).await?;
            Ok((refused(&answer, 403, "no-mandate")?, ()))
        })
        .await?;
    let at_b = cast.chen.at(world, "hospital-b");
    story
        .step("C", "dr-chen mandates the hospital's agent", async {
            let path = format!("{}/$mandate", cast.chen.record);
            let answer =
                cast.chen.person.act(&at_b, &path, &parameters(Vec::new()), of_type("vouchsafe/mandate")).await?;
            answer.ok("$mandate")?;
            Ok(("for twelve hours at most".into(), ()))
        })
        .await?;
    let agent = system.on_behalf(behalf);
    let grant = story
        .step("C", "the system asks for lindsey's consent to a standing grant, as dr-chen's agent", async {
            let id = requested(&agent.post("Consent", &asked.consent()).await?)?;
            Ok((format!("Consent/{id}"), id))
        })
        .await?;
    standing(story, world, cast, &agent, &grant).await
}

async fn standing(story: &mut Story, world: &World, cast: &Cast, agent: &Client, grant: &str) -> Outcome {
    let home = cast.lindsey.at(world, "hospital-a");
    let began = Instant::now();
    story
        .step("D", "lindsey approves the standing grant", async {
            consent::arrived(&home, grant).await?;
            cast.lindsey.person.approve(&home, grant, None).await?.ok("$approve")?;
            world.abreast().await?;
            Ok((format!("Consent/{grant} active"), ()))
        })
        .await?;
    let session = story
        .step("E", "the system opens a session for dr-chen and reads", async {
            let session = open(agent.post(&format!("Consent/{grant}/$open-session"), &parameters(Vec::new())).await?)?;
            let path = format!("Observation?patient={}&code=http://loinc.org|4548-4", cast.lindsey_at_b);
            let found = found_within(agent, &path, &session, 1).await?;
            Ok((format!("{} result of the laboratory", found.len()), session))
        })
        .await?;
    story.figure("approval_to_first_foreign_record", began.elapsed().as_secs_f64(), "s");
    story
        .step("H", "lindsey revokes the standing grant while the session is open", async {
            let path = format!("Consent/{grant}/$revoke");
            let answer =
                cast.lindsey.person.act(&home, &path, &parameters(Vec::new()), of_type("vouchsafe/revoke")).await?;
            answer.ok("$revoke")?;
            world.abreast().await?;
            let path = format!("Observation?patient={}", cast.lindsey_at_b);
            Ok((refused(&within(agent, &path, &session).await?, 403, "grant-revoked")?, ()))
        })
        .await
}

/// A session ends by itself, on a chain where nobody does anything.
async fn expiry(story: &mut Story, world: &World, cast: &Cast) -> Outcome {
    const SECONDS: u64 = 4;
    let at_b = cast.bauer.at(world, "hospital-b");
    let asked = Ask { session_ms: SECONDS * 1000, ..visit(&cast.lindsey_at_b, &cast.bauer.record) };
    story
        .step("H", "a session of four seconds runs out on an idle chain", async {
            let id = requested(&consent::ask(&cast.bauer, &at_b, &asked).await?)?;
            let home = cast.lindsey.at(world, "hospital-a");
            consent::arrived(&home, &id).await?;
            cast.lindsey.person.approve(&home, &id, None).await?.ok("$approve")?;
            world.abreast().await?;
            let path = format!("Consent/{id}/$open-session");
            let none = parameters(Vec::new());
            let session = open(cast.bauer.person.act(&at_b, &path, &none, of_type("vouchsafe/open")).await?)?;
            let path = format!("Observation?patient={}&code=http://loinc.org|4548-4", cast.lindsey_at_b);
            let began = Instant::now();
            found_within(&at_b, &path, &session, 1).await?;
            loop {
                let answer = within(&at_b, &path, &session).await?;
                if !answer.status.is_success() {
                    refused(&answer, 403, "session-not-live")?;
                    return Ok((format!("refused after {:.1} s", began.elapsed().as_secs_f64()), ()));
                }
                if began.elapsed() > Duration::from_secs(3 * SECONDS) {
                    return wrong("still readable long after its end");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await
}

fn visit<'a>(patient: &'a str, doctor: &'a str) -> Ask<'a> {
    Ask { patient, doctor, categories: &["laboratory", "problems"], write: false, standing: false, session_ms: HOUR }
}

/// The id of a session that must have been opened.
fn open(answer: Answer) -> Outcome<String> {
    let body = answer.ok("$open-session")?;
    let id = session_of(&body);
    id.map_or_else(|| wrong(format!("no session in {body}")), Ok)
}
