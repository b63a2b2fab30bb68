//! transaction (<https://hl7.org/fhir/R4/http.html#trules>): all entries or none. What is written is one submission, and so
//! one transaction of the ledger; deletions come before creations, those before updates, and what is read is read last.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use vouchsafe_types::{AccountId, RecordId};

use super::{
    answer::{self, Ended, MOST_BYTES},
    entries::{Entry, Task, resource},
    links::Links,
    may_write, off_the_runtime,
};
use crate::{
    auth::Caller,
    fhir::{
        audit::AuditKind,
        bundle::{Kind, Names, place},
    },
    gateway::Gateway,
    http::{
        Fault, Reply,
        call::Call,
        disclose,
        interactions::actor,
        writing::{
            self, Aim, Aimed, Doing, Part, Parts, Refused, TRIES, What, act, aim, commit,
            once::{REPLAYED, note, recall},
            session_for, telling,
        },
    },
    records::{self, Condition, RecordRow, Submission},
};

/// What becomes of an entry.
enum Step {
    /// It is this act of the submission, and has this status when it is done.
    Act { number: usize, status: u16 },
    /// It creates nothing, because this one is there.
    Found(Box<RecordRow>),
    /// It creates nothing, because an entry before creates one under the same condition.
    Like(usize),
    /// What it deletes is not there.
    Nothing,
    /// It is served after the writes.
    Later,
}

impl Step {
    /// As it is kept with an idempotency key; none for what is served anew when the request comes again.
    fn part(&self) -> Option<Part> {
        match self {
            Self::Act { number, status } => Some(Part::Act(*number, *status)),
            Self::Found(row) => Some(Part::Found(row.id, row.version.0)),
            Self::Like(other) => Some(Part::Like(*other)),
            Self::Nothing => Some(Part::Nothing),
            Self::Later => None,
        }
    }
}

/// What is to be submitted.
struct Planned {
    steps: Vec<Step>,
    acts: Vec<records::Act>,
    /// The entry of each act.
    entry_of: Vec<usize>,
    conditions: Vec<Condition>,
    patients: Vec<Option<AccountId>>,
}

/// Serves a transaction.
pub(super) async fn serve(call: &Arc<Call>, entries: Vec<Entry>) -> Result<Reply, Fault> {
    if let Some(other) = entries.iter().find(|entry| matches!(entry.task, Task::Other)) {
        let fault = Fault::new(400, "not-supported", "a transaction takes reads, creates, updates and deletes");
        return Err(fault.at(format!("{}.request", place(other.number))));
    }
    if entries.iter().any(|entry| matches!(entry.task, Task::Write { .. })) {
        may_write(call)?;
    }
    let entries = Arc::new(entries);
    let (mut ended, again) = written(call, &entries).await?;
    let mut bytes = 0;
    for entry in entries.iter().filter(|entry| matches!(entry.task, Task::Get)) {
        ended[entry.number] = read(call, entry, &mut bytes).await;
    }
    let reply = answer::bundle(call, Kind::Transaction, ended)?;
    Ok(if again { reply.header(REPLAYED, "true") } else { reply })
}

/// Serves an entry that reads, while there is room for its answer. What was written is written, so a read that fails is
/// told in its own place.
pub(super) async fn read(call: &Call, entry: &Entry, bytes: &mut usize) -> Ended {
    if *bytes >= MOST_BYTES {
        return Ended::Refused(Fault::new(413, "too-costly", "the answers before this one fill the Bundle"));
    }
    match entry.dispatch(call).await {
        Ok(reply) => {
            *bytes += reply.body.len();
            Ended::Served(reply)
        }
        Err(fault) => Ended::Refused(fault),
    }
}

/// Does everything that is written, once; true when it was done before.
async fn written(call: &Arc<Call>, entries: &Arc<Vec<Entry>>) -> Result<(Vec<Ended>, bool), Fault> {
    let caller = call.caller()?;
    let once = call.idempotency;
    let _turn = call.gw.once.turn(once.as_ref()).await;
    for _ in 0..TRIES {
        if let Some(kept) = once.map(|once| recall(&call.gw, &once)).transpose()?.flatten() {
            let mut out: Vec<Ended> = entries.iter().map(|_| Ended::Nothing).collect();
            for (number, kept) in kept {
                if let Some(place) = out.get_mut(number) {
                    *place = kept.into();
                }
            }
            return Ok((out, true));
        }
        let (looking, of) = (Arc::clone(call), Arc::clone(entries));
        let planned = off_the_runtime(move || plan(&looking.gw, looking.caller()?, &looking.body, &of)).await?;
        let Planned { steps, acts, entry_of, conditions, patients } = planned;
        let parts: Parts = steps.iter().enumerate().filter_map(|(n, step)| Some((n, step.part()?))).collect();
        if acts.is_empty() {
            if let Some(once) = &once {
                writing::kept(&call.gw, once, &parts).await?;
            }
            return Ok((ended(call, caller, &steps, &[]).await?, false));
        }
        let session = session_for(call, patients).await?;
        let forms: Vec<Bytes> = acts.iter().map(|act| act.sealed_form.clone()).collect();
        let mut submission = Submission::new(acts, session, actor(caller));
        submission.conditions = conditions;
        (submission.idempotency, submission.note) = (once, note(&parts));
        match commit(&call.gw, caller, AuditKind::Transaction, submission).await {
            Ok(written) => {
                let rows: Vec<(RecordRow, Bytes)> = written.into_iter().map(|one| one.row).zip(forms).collect();
                return Ok((ended(call, caller, &steps, &rows).await?, false));
            }
            Err(Refused::Raced) => {}
            Err(Refused::Act(number, fault)) => {
                let entry = entry_of.get(number).and_then(|n| entries.get(*n));
                return Err(entry.map_or_else(|| fault.clone(), |entry| entry.placed(fault.clone())));
            }
            Err(Refused::Whole(fault)) => return Err(fault),
        }
    }
    Err(writing::raced())
}

/// How each entry ended; those that read are not served yet.
async fn ended(call: &Call, caller: &Caller, steps: &[Step], rows: &[(RecordRow, Bytes)]) -> Result<Vec<Ended>, Fault> {
    let mut out = Vec::with_capacity(steps.len());
    for step in steps {
        // An entry like another ends as that one, which stands before it; but it created nothing.
        let (step, like) = match step {
            Step::Like(other) => (&steps[*other], true),
            step => (step, false),
        };
        out.push(match step {
            Step::Act { number, status } => match rows.get(*number) {
                Some((row, form)) => {
                    let status = if like { 200 } else { *status };
                    Ended::Row { status, row: Box::new(row.clone()), sealed_form: form.clone() }
                }
                None => return Err(Fault::internal("a write without an answer")),
            },
            Step::Found(row) => found(call, caller, row).await?,
            Step::Nothing | Step::Later | Step::Like(_) => Ended::Nothing,
        });
    }
    Ok(out)
}

/// That a record is there, and which, is told to the client, and so audited.
pub(super) async fn found(call: &Call, caller: &Caller, row: &RecordRow) -> Result<Ended, Fault> {
    let (_, deed) = telling(call, caller, row)?;
    disclose::note(&call.gw, caller, &deed).await?;
    Ok(Ended::Row { status: 200, row: Box::new(row.clone()), sealed_form: Bytes::new() })
}

/// Looks at what is there, and says what is to be done with each entry.
fn plan(gw: &Gateway, caller: &Caller, body: &Bytes, entries: &[Entry]) -> Result<Planned, Fault> {
    let (aims, gone) = aims(gw, caller, entries)?;
    distinct(entries, &aims)?;
    let names = names(entries, &aims)?;
    let opening = writing::opened_by(entries.iter().zip(&aims).filter_map(|(entry, aimed)| {
        let Task::Write { resource_type, .. } = &entry.task else { return None };
        aimed.aim().map(|aimed| (resource_type.as_str(), &aimed.aim))
    }));
    let mut links = Links::new(gw, caller, names, &gone);
    let mut out = Planned {
        steps: Vec::new(),
        acts: Vec::new(),
        entry_of: Vec::new(),
        conditions: Vec::new(),
        patients: Vec::new(),
    };
    for (entry, aimed) in entries.iter().zip(aims) {
        let step = match aimed {
            Aiming::Not => Step::Later,
            Aiming::Like(other) => Step::Like(other),
            Aiming::At(aimed) => {
                let doing = doing(gw, body, entry, &aimed, &opening, &mut links)?;
                out.conditions.extend(aimed.condition);
                match (doing, aimed.aim) {
                    (Some(doing), _) => out.add(entry.number, doing),
                    (None, Aim::Found(row)) => Step::Found(Box::new(row)),
                    (None, _) => Step::Nothing,
                }
            }
        };
        out.steps.push(step);
    }
    out.conditions.extend(links.conditions);
    Ok(out)
}

impl Planned {
    fn add(&mut self, entry: usize, doing: Doing) -> Step {
        let status = doing.status();
        self.patients.push(doing.patient);
        self.acts.push(doing.act);
        self.entry_of.push(entry);
        Step::Act { number: self.acts.len() - 1, status }
    }
}

/// The act of one entry: its resource rewritten, parsed and checked.
fn doing(
    gw: &Gateway,
    body: &Bytes,
    entry: &Entry,
    aimed: &Aimed,
    opening: &HashSet<RecordId>,
    links: &mut Links<'_>,
) -> Result<Option<Doing>, Fault> {
    let Task::Write { resource_type, what } = &entry.task else { return Ok(None) };
    let resource = match entry.bytes(body) {
        None => None,
        // What is there already stays as it is; what was sent is checked all the same.
        Some(bytes) => {
            let bytes = links.rewritten(entry, bytes)?;
            Some(resource(resource_type, &bytes).map_err(|fault| entry.placed(fault))?)
        }
    };
    act(gw, resource_type, what, resource.as_ref(), aimed, opening).map_err(|fault| entry.placed(fault))
}

/// What an entry is aimed at.
enum Aiming {
    At(Box<Aimed>),
    Like(usize),
    Not,
}

impl Aiming {
    const fn aim(&self) -> Option<&Aimed> {
        match self {
            Self::At(aimed) => Some(aimed),
            _ => None,
        }
    }
}

/// A type, and the condition under which one of it is created.
type Alike<'a> = (&'a str, &'a [(String, String)]);

/// What every entry is aimed at, deletions first, because what they delete is found no more by the others.
fn aims(gw: &Gateway, caller: &Caller, entries: &[Entry]) -> Result<(Vec<Aiming>, HashSet<RecordId>), Fault> {
    let mut aims: Vec<Aiming> = entries.iter().map(|_| Aiming::Not).collect();
    let mut gone = HashSet::new();
    let none = HashSet::new();
    let mut alike: HashMap<Alike<'_>, usize> = HashMap::new();
    for deletions in [true, false] {
        for entry in entries.iter().filter(|entry| entry.deletes() == deletions) {
            let Task::Write { resource_type, what } = &entry.task else { continue };
            if let What::Create { unless: Some(criteria) } = what {
                let key = (resource_type.as_str(), criteria.pairs.as_slice());
                if let Some(first) = alike.get(&key) {
                    aims[entry.number] = Aiming::Like(*first);
                    continue;
                }
                alike.insert(key, entry.number);
            }
            let without = if deletions { &none } else { &gone };
            let aimed = aim(gw, caller, resource_type, what, without).map_err(|fault| {
                let fault = entry.placed(Fault { outcome: fault.outcome.clone(), ..fault });
                if fault.status == 404 { fault.at(place(entry.number)) } else { fault }
            })?;
            aims[entry.number] = Aiming::At(Box::new(aimed));
        }
        if deletions {
            gone = aims.iter().filter_map(Aiming::aim).filter_map(next).collect();
        }
    }
    Ok((aims, gone))
}

fn next(aimed: &Aimed) -> Option<RecordId> {
    match &aimed.aim {
        Aim::Next(row) => Some(row.id),
        _ => None,
    }
}

/// Refuses a transaction that writes one record twice.
fn distinct(entries: &[Entry], aims: &[Aiming]) -> Result<(), Fault> {
    let mut seen = HashSet::new();
    for (entry, aimed) in entries.iter().zip(aims) {
        if let Some(id) = aimed.aim().and_then(next)
            && !seen.insert(id)
        {
            let fault = Fault::malformed("another entry writes the same record").code("twice");
            return Err(fault.at(place(entry.number)));
        }
    }
    Ok(())
}

/// By what names the entries know each other.
fn names(entries: &[Entry], aims: &[Aiming]) -> Result<Names, Fault> {
    let mut names = Names::default();
    for (entry, aimed) in entries.iter().zip(aims) {
        let (Some(full_url), Task::Write { resource_type, .. }) = (&entry.full_url, &entry.task) else { continue };
        let aimed = match aimed {
            Aiming::Like(other) => aims[*other].aim(),
            other => other.aim(),
        };
        let id = match aimed.map(|aimed| &aimed.aim) {
            Some(Aim::New(id)) => *id,
            Some(Aim::Next(row) | Aim::Found(row)) if !entry.deletes() => row.id,
            _ => continue,
        };
        names.add(entry.number, full_url, format!("{resource_type}/{id}"))?;
    }
    Ok(names)
}
