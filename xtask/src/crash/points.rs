//! Bringing a gateway down once at every failpoint, over HTTP. A point that is not reached is a fault of the chore: then
//! nothing was shown of it.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::Crashing;
use crate::{
    error::{Error, Result},
    gateway::{Gateway, Home},
    rng::Rng,
    wire::{Answer, Wire},
};

/// How long a failpoint may take to be reached, also on a machine that has much else to do.
const REACHED: Duration = Duration::from_secs(60);
/// A point under load is reached once more, at its first time, when this many times were too many.
const MOST_TIMES: u64 = 20;
/// The age at which keys go while their removal is brought down: above the time for which a client repeats a request
/// of which it knows nothing.
const SHORT: &str = "[limits]\nidempotency_seconds = 5\n";
/// The system of the identifiers by which doubles are found.
const SYSTEM: &str = "urn:example:crash-once";

/// How a point is reached.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By whatever is written.
    Load,
    /// At a start that finds something left.
    Start,
    /// By a write that the ledger refuses.
    Refusal,
    /// By load upon keys that have served their time.
    Age,
}

impl Way {
    fn to(name: &str) -> Self {
        match name.split('-').next().unwrap_or_default() {
            "recover" => Self::Start,
            "discard" => Self::Refusal,
            "once" => Self::Age,
            _ => Self::Load,
        }
    }
}

/// One request under an idempotency key, sent as often as need be.
struct Once {
    key: String,
    body: String,
}

impl Once {
    fn new(key: &str) -> Self {
        let body = format!(r#"{{"resourceType":"Patient","identifier":[{{"system":"{SYSTEM}","value":"{key}"}}]}}"#);
        Self { key: key.to_owned(), body }
    }

    /// One try over a connection of its own; an error means that nobody knows whether it was done.
    fn send(&self, home: &Home, token: &str) -> std::io::Result<Answer> {
        let bearer = format!("Bearer {token}");
        let headers = [
            ("Authorization", bearer.as_str()),
            ("Content-Type", "application/fhir+json"),
            ("Prefer", "return=representation"),
            ("Idempotency-Key", self.key.as_str()),
        ];
        Wire::new(home.addr).call("POST", "/fhir/Patient", &headers, Some(self.body.as_bytes()))
    }

    /// Sends it to a gateway that serves, twice: both answers are one, and it is found once, as it was sent.
    fn must_be_once(&self, home: &Home, before: Option<&Answer>) -> Result<()> {
        let token = home.token()?;
        let io = |source| Error::Io { what: format!("request {}", self.key), source };
        let mut known = before.map(told);
        let mut at = None;
        for _ in 0..2 {
            let answer = patiently(|| self.send(home, &token)).map_err(io)?;
            let said = told(&answer);
            at = answer.location();
            if answer.status != 201 || known.as_ref().is_some_and(|known| *known != said) {
                let known = known.map_or_else(String::new, |known| format!("; before it was {known:?}"));
                return Err(Error::failed(format!("request {} was answered by {}{known}", self.key, answer.said())));
            }
            known = Some(said);
        }
        let bearer = format!("Bearer {token}");
        let get = |path: &str| Wire::new(home.addr).call("GET", path, &[("Authorization", &bearer)], None).map_err(io);
        let found = get(&format!("/fhir/Patient?identifier={SYSTEM}%7C{}", self.key))?.json();
        let times = found["entry"].as_array().map_or(0, Vec::len);
        let at = at.ok_or_else(|| Error::failed(format!("request {} was answered without a location", self.key)))?;
        if times != 1 || found["entry"][0]["resource"]["id"].as_str() != at.split('/').nth(1) {
            return Err(Error::failed(format!(
                "what request {} made is there {times} times, or not at {at}",
                self.key
            )));
        }
        if super::work::same(self.body.as_bytes(), &get(&format!("/fhir/{at}"))?.body) {
            return Ok(());
        }
        Err(Error::failed(format!("{at} has other bytes than request {}", self.key)))
    }
}

/// The answer of a gateway that serves; while it says that it cannot just now, as before the first block after a start, it is
/// asked again.
fn patiently(mut ask: impl FnMut() -> std::io::Result<Answer>) -> std::io::Result<Answer> {
    let until = Instant::now() + REACHED;
    loop {
        let answer = ask()?;
        if !matches!(answer.status, 429 | 503) || Instant::now() > until {
            return Ok(answer);
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// What an answer tells that must be the same when the request comes again.
fn told(answer: &Answer) -> (u16, [Option<String>; 3], Vec<u8>) {
    let header = |name| answer.header(name).map(str::to_owned);
    (answer.status, [header("location"), header("etag"), header("last-modified")], answer.body.clone())
}

impl Crashing<'_> {
    /// All failpoints that the binary has.
    fn points(&self) -> Result<Vec<String>> {
        let (code, names) = self.home.ask(&["gateway", "failpoints"], &[])?;
        let names: Vec<String> = names.lines().filter_map(|l| l.split_whitespace().next()).map(str::to_owned).collect();
        if code == 0 && !names.is_empty() { Ok(names) } else { Err(Error::failed("`gateway failpoints` names none")) }
    }

    /// Brings the gateway down once at every failpoint that load and starts reach.
    pub(super) fn at_failpoints(&self, mut gateway: Gateway, rng: &mut Rng) -> Result<(Gateway, String)> {
        let mut reached = 0;
        for name in &self.points()? {
            let once = match Way::to(name) {
                Way::Refusal | Way::Age => continue,
                // Something must be left that a start recovers from.
                Way::Start => "anchor-before",
                Way::Load => name,
            };
            self.bring_down(gateway)?;
            // Under load a point is reached later as well, when more is going on.
            let many = 1 + if Way::to(name) == Way::Load { rng.next() % MOST_TIMES } else { 0 };
            let reached_it = if many > 1 { self.reach(name, many)? } else { false };
            if !reached_it {
                must(once, self.reach(once, 1)?)?;
            }
            if once != name {
                must(name, self.reach(name, 1)?)?;
            }
            reached += 1;
            self.home.check()?;
            gateway = self.serve()?;
        }
        Ok((gateway, format!("{reached} failpoints reached under load and at starts\n")))
    }

    /// At those of a write once more, with a request that meets them alone and comes again under its key; and at those that
    /// only refused writes and old keys reach. It comes when no import is left, which would take refusals for final and may
    /// need an old key.
    pub(super) fn at_failpoints_alone(&self, mut gateway: Gateway) -> Result<(Gateway, String)> {
        let (mut again, mut others) = (0, 0);
        for name in &self.points()? {
            match Way::to(name) {
                Way::Start => continue,
                Way::Load => again += 1,
                Way::Refusal | Way::Age => others += 1,
            }
            self.bring_down(gateway)?;
            let reached = match Way::to(name) {
                Way::Refusal => self.refused_at(name)?,
                Way::Age => {
                    self.home.configure(Some(SHORT))?;
                    let reached = self.reach(name, 2)?;
                    self.home.configure(None)?;
                    reached
                }
                Way::Load | Way::Start => self.repeated_at(name)?,
            };
            must(name, reached)?;
            self.home.check()?;
            gateway = self.serve()?;
        }
        let told =
            format!("{others} more by refused writes and old keys; {again} again by a request that was repeated\n");
        Ok((gateway, told))
    }

    /// Starts a gateway that ends at a failpoint under load; whether it did. Afterwards no gateway runs.
    fn reach(&self, name: &str, count: u64) -> Result<bool> {
        let Some(mut gateway) = self.home.start(Some(&format!("{name}:{count}")))? else {
            self.field.down();
            return Ok(true);
        };
        match self.home.token() {
            Ok(token) => self.field.up(&token),
            // The gateway may have ended before it gave one.
            Err(e) if !ended_at(&mut gateway, name, Duration::from_secs(1))? => return Err(e),
            Err(_) => {}
        }
        let reached = ended_at(&mut gateway, name, REACHED)?;
        if !reached {
            gateway.kill()?;
        }
        self.field.down();
        Ok(reached)
    }

    /// One request meets the failpoint, alone, and comes again under its key after the restart.
    fn repeated_at(&self, name: &str) -> Result<bool> {
        let once = Once::new(&format!("{name}-{}", self.plan.seed));
        let gateway = self.home.start(Some(&format!("{name}:1")))?;
        let mut gateway = gateway.ok_or_else(|| Error::failed(format!("nothing was left, and a start met {name}")))?;
        // Only after the last step may an answer be out already.
        let (before, reached) = self.meet(&mut gateway, name, &once, &self.home.token()?)?;
        if !reached {
            gateway.kill()?;
            return Ok(false);
        }
        self.home.check()?;
        let gateway = self.home.must_start()?;
        once.must_be_once(self.home, before.as_ref())?;
        gateway.kill()?;
        Ok(true)
    }

    /// The authority suspends the hospital, so that the ledger refuses what its gateway anchors. The request is done
    /// when it comes again after the hospital is reinstated.
    fn refused_at(&self, name: &str) -> Result<bool> {
        let once = Once::new(&format!("{name}-{}", self.plan.seed));
        let gateway = self.home.start(Some(&format!("{name}:1")))?;
        let mut gateway = gateway.ok_or_else(|| Error::failed(format!("nothing was left, and a start met {name}")))?;
        let token = self.home.token()?;
        self.judge("suspend")?;
        let (answer, reached) = self.meet(&mut gateway, name, &once, &token)?;
        if !reached {
            gateway.kill()?;
        }
        if let Some(answer) = answer {
            return Err(Error::failed(format!(
                "a write of a suspended organisation was answered by {}",
                answer.said()
            )));
        }
        let gateway = self.home.must_start()?;
        self.judge("reinstate")?;
        once.must_be_once(self.home, None)?;
        gateway.kill()?;
        Ok(reached)
    }

    /// Sends a request to a gateway that is armed until either is at its end: that it was done, if an answer says so, and
    /// whether the point was reached. A gateway that is busy, or whose ledger is, is asked again.
    fn meet(&self, gateway: &mut Gateway, name: &str, once: &Once, token: &str) -> Result<(Option<Answer>, bool)> {
        let until = Instant::now() + REACHED;
        loop {
            let done = once.send(self.home, token).ok().filter(|answer| answer.status < 300);
            let last = done.is_some() || Instant::now() > until;
            let reached = ended_at(gateway, name, if last { REACHED } else { Duration::from_secs(1) })?;
            if reached || last {
                return Ok((done, reached));
            }
        }
    }

    /// A decision of the trial authority on the hospital.
    fn judge(&self, verdict: &str) -> Result<()> {
        let bearer = format!("Bearer {}", self.home.token_of("ehr-authority")?);
        let path = format!("/fhir/Organization/{}/${verdict}", self.home.hospital()?);
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/fhir+json")];
        let body = br#"{"resourceType":"Parameters"}"#;
        let answer = patiently(|| Wire::new(self.home.authority()).call("POST", &path, &headers, Some(body)));
        let answer = answer.map_err(|source| Error::Io { what: format!("${verdict}"), source })?;
        if answer.status == 200 { Ok(()) } else { Err(Error::failed(format!("${verdict}: {}", answer.said()))) }
    }
}

/// Whether it aborts at the point it was armed at; another end is a fault.
fn ended_at(gateway: &mut Gateway, name: &str, limit: Duration) -> Result<bool> {
    match gateway.wait(limit)? {
        Some(status) if Gateway::aborted(status) => Ok(true),
        Some(status) => Err(Error::failed(format!("a gateway armed at {name} ended with {status}"))),
        None => Ok(false),
    }
}

fn must(name: &str, reached: bool) -> Result<()> {
    if reached {
        Ok(())
    } else {
        Err(Error::failed(format!("failpoint {name} was not reached, so nothing is shown of it")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_that_is_not_reached_is_a_fault() {
        assert!(must("a", true).is_ok());
        assert!(must("a", false).unwrap_err().to_string().contains("failpoint a was not reached"));
    }

    #[test]
    fn an_answer_is_told_from_another_by_status_place_version_and_bytes() {
        let answer = |status, etag, body: &str| {
            let head = format!("HTTP/1.1 {status} x\r\nETag: {etag}\r\nDate: {body}{status}\r\n\r\n");
            Answer::of(status, head, body.into())
        };
        let known = told(&answer(201, "1", "a"));
        assert_eq!(known, told(&answer(201, "1", "a")));
        for other in [answer(200, "1", "a"), answer(201, "2", "a"), answer(201, "1", "b")] {
            assert_ne!(known, told(&other));
        }
    }
}
