//! batch (<https://hl7.org/fhir/R4/http.html#brules>): each entry by itself, with a status of its own.
//!
//! Writes that have nothing to do with each other are submitted together, because a transaction of the ledger costs the
//! same for one as for a thousand. When one of them cannot be, the others are submitted without it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use vouchsafe_types::{AccountId, Hash32, RecordId, SessionId};

use super::{
    answer::{self, Ended},
    entries::{Entry, Task, resource},
    may_write, off_the_runtime,
    transaction::{found, read},
};
use crate::{
    auth::Caller,
    fhir::{audit::AuditKind, bundle::Kind},
    gateway::Gateway,
    http::{
        Fault, Reply,
        call::Call,
        interactions::actor,
        writing::{
            self, Aim, Part, Parts, Refused, TRIES, What, act, aim, commit,
            once::{REPLAYED, note, recall},
            session_for,
        },
    },
    records::{self, Condition, Idempotency, RecordRow, Submission},
};

type Entries = Vec<Result<Entry, Fault>>;

/// A write that can be submitted.
struct Ready {
    entry: usize,
    act: records::Act,
    status: u16,
    condition: Option<Condition>,
    patient: Option<AccountId>,
}

/// What a look at the entries that wait found.
#[derive(Default)]
struct Round {
    ready: Vec<Ready>,
    found: Vec<(usize, RecordRow)>,
    nothing: Vec<usize>,
    refused: Vec<(usize, Fault)>,
    /// What touches the same as one that is ready.
    waits: Vec<usize>,
}

/// Serves a batch.
pub(super) async fn serve(call: &Arc<Call>, entries: Entries) -> Result<Reply, Fault> {
    let mut ended: Vec<Option<Ended>> = entries.iter().map(|_| None).collect();
    let allowed = may_write(call);
    let mut writes = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        match (entry, &allowed) {
            (Err(fault), _) => ended[number] = Some(Ended::Refused(fault.clone())),
            (Ok(Entry { task: Task::Write { .. }, .. }), Err(fault)) => {
                ended[number] = Some(Ended::Refused(fault.clone()));
            }
            (Ok(Entry { task: Task::Write { .. }, .. }), Ok(())) => writes.push(number),
            (Ok(_), _) => {}
        }
    }
    let entries = Arc::new(entries);
    let _turn = call.gw.once.turn(call.idempotency.as_ref()).await;
    let again = write(call, &entries, writes, &mut ended).await?;
    let mut bytes = 0;
    // Reads come last, as in a transaction.
    for reads in [false, true] {
        for entry in entries.iter().flatten() {
            let wanted = if reads { matches!(entry.task, Task::Get) } else { matches!(entry.task, Task::Other) };
            if wanted {
                ended[entry.number] = Some(read(call, entry, &mut bytes).await);
            }
        }
    }
    let ended = ended.into_iter().map(|one| one.unwrap_or(Ended::Nothing)).collect();
    let reply = answer::bundle(call, Kind::Batch, ended)?;
    Ok(if again { reply.header(REPLAYED, "true") } else { reply })
}

/// The names of a batch's submissions: each has its own, made of the batch's and a number, and when the batch comes again
/// its submissions are found in this order.
struct Naming {
    whole: Option<Idempotency>,
    number: u64,
}

impl Naming {
    fn next(&self) -> Option<Idempotency> {
        let whole = self.whole?;
        let mut hash = Sha256::new();
        hash.update(whole.key.0);
        hash.update(self.number.to_be_bytes());
        Some(Idempotency { key: Hash32(hash.finalize().into()), ..whole })
    }

    /// Takes out of the entries that wait what earlier attempts did; true when there was any.
    fn recall(&mut self, gw: &Gateway, waiting: &mut Vec<usize>, ended: &mut [Option<Ended>]) -> Result<bool, Fault> {
        let mut any = false;
        while let Some(kept) = self.next().map(|once| recall(gw, &once)).transpose()?.flatten() {
            self.number += 1;
            any = true;
            for (number, kept) in kept {
                waiting.retain(|waits| *waits != number);
                if let Some(place) = ended.get_mut(number) {
                    *place = Some(kept.into());
                }
            }
        }
        Ok(any)
    }
}

/// Does the writes: those that can go together at once, then those that had to wait for them. True when some were done
/// before.
async fn write(
    call: &Arc<Call>,
    entries: &Arc<Entries>,
    mut waiting: Vec<usize>,
    ended: &mut [Option<Ended>],
) -> Result<bool, Fault> {
    let caller = call.caller()?;
    let mut naming = Naming { whole: call.idempotency, number: 0 };
    let mut sessions = Sessions::default();
    let (mut tries, mut again) = (0, false);
    loop {
        again |= naming.recall(&call.gw, &mut waiting, ended)?;
        if waiting.is_empty() {
            return Ok(again);
        }
        let (looking, of) = (Arc::clone(call), Arc::clone(entries));
        let round = off_the_runtime(move || Ok(look(&looking.gw, looking.caller()?, &looking.body, &of, waiting)));
        let Round { ready, found: there, nothing, refused, waits } = round.await?;
        waiting = waits;
        for (number, fault) in refused {
            ended[number] = Some(Ended::Refused(fault));
        }
        let unwritten: Parts = nothing
            .iter()
            .map(|number| (*number, Part::Nothing))
            .chain(there.iter().map(|(number, row)| (*number, Part::Found(row.id, row.version.0))))
            .collect();
        if let Some(once) = naming.next().filter(|_| !unwritten.is_empty()) {
            writing::kept(&call.gw, &once, &unwritten).await?;
            naming.number += 1;
        }
        for number in nothing {
            ended[number] = Some(Ended::Nothing);
        }
        for (number, row) in there {
            ended[number] = Some(found(call, caller, &row).await.unwrap_or_else(Ended::Refused));
        }
        let mut allowed = Vec::new();
        let mut session = None;
        for one in ready {
            match sessions.of(call, one.patient).await {
                Ok(named) => {
                    session = named;
                    allowed.push(one);
                }
                Err(fault) => ended[one.entry] = Some(Ended::Refused(fault)),
            }
        }
        let raced = match submit(call, entries, session, allowed, &mut naming, ended).await? {
            Submitted::Raced(raced) => raced,
            // It is not known what became of a submission, so none comes after it under a name that it may have taken.
            Submitted::Unknown(fault) => {
                waiting.iter().for_each(|number| ended[*number] = Some(Ended::Refused(fault.clone())));
                return Ok(again);
            }
        };
        if !raced.is_empty() {
            tries += 1;
        }
        if tries < TRIES {
            waiting.extend(raced);
        } else {
            raced.into_iter().for_each(|number| ended[number] = Some(Ended::Refused(writing::raced())));
        }
    }
}

/// The session that the batch names, judged once for each patient.
#[derive(Default)]
struct Sessions {
    judged: HashMap<Option<AccountId>, Result<Option<SessionId>, Fault>>,
}

impl Sessions {
    async fn of(&mut self, call: &Call, patient: Option<AccountId>) -> Result<Option<SessionId>, Fault> {
        if let Some(judged) = self.judged.get(&patient) {
            return judged.clone();
        }
        let judged = session_for(call, [patient]).await;
        self.judged.insert(patient, judged.clone());
        judged
    }
}

/// What submitting came to.
enum Submitted {
    /// These have to be looked at anew.
    Raced(Vec<usize>),
    /// Something is away.
    Unknown(Fault),
}

/// Submits what is ready.
async fn submit(
    call: &Arc<Call>,
    entries: &Entries,
    session: Option<SessionId>,
    ready: Vec<Ready>,
    naming: &mut Naming,
    ended: &mut [Option<Ended>],
) -> Result<Submitted, Fault> {
    let caller = call.caller()?;
    let mut raced = Vec::new();
    let mut parts_left = vec![ready];
    while let Some(mut part) = parts_left.pop() {
        if part.is_empty() {
            continue;
        }
        let mut submission = Submission::new(part.iter().map(|one| one.act.clone()).collect(), session, actor(caller));
        submission.conditions = part.iter().filter_map(|one| one.condition.clone()).collect();
        let parts: Parts = part.iter().enumerate().map(|(n, one)| (one.entry, Part::Act(n, one.status))).collect();
        (submission.idempotency, submission.note) = (naming.next(), note(&parts));
        match commit(&call.gw, caller, AuditKind::Batch, submission).await {
            Ok(written) => {
                naming.number += 1;
                for (one, written) in part.into_iter().zip(written) {
                    let row = Box::new(written.row);
                    let sealed_form = one.act.sealed_form;
                    ended[one.entry] = Some(Ended::Row { status: one.status, row, sealed_form });
                }
            }
            Err(Refused::Raced) => raced.extend(part.iter().map(|one| one.entry)),
            Err(Refused::Act(number, fault)) if number < part.len() => {
                let one = part.remove(number);
                let fault = entries[one.entry].as_ref().map_or(fault.clone(), |entry| entry.placed(fault.clone()));
                ended[one.entry] = Some(Ended::Refused(fault));
                parts_left.push(part);
            }
            // One transaction of the ledger takes so many charts.
            Err(Refused::Whole(fault)) if fault.status == 413 && part.len() > 1 => {
                let rest = part.split_off(part.len() / 2);
                parts_left.extend([part, rest]);
            }
            Err(Refused::Act(_, fault) | Refused::Whole(fault)) => {
                let left = parts_left.iter().flatten().chain(&part);
                left.for_each(|one| ended[one.entry] = Some(Ended::Refused(fault.clone())));
                raced.iter().for_each(|number| ended[*number] = Some(Ended::Refused(fault.clone())));
                return Ok(Submitted::Unknown(fault));
            }
        }
    }
    Ok(Submitted::Raced(raced))
}

/// Looks at what the entries that wait are aimed at, and takes those of which no two touch the same.
fn look(gw: &Gateway, caller: &Caller, body: &Bytes, entries: &Entries, waiting: Vec<usize>) -> Round {
    let mut round = Round::default();
    let mut touched: HashSet<RecordId> = HashSet::new();
    let mut asked: HashSet<(&str, &[(String, String)])> = HashSet::new();
    for number in waiting {
        let Ok(entry) = &entries[number] else { continue };
        let Task::Write { resource_type, what } = &entry.task else { continue };
        // Of two with one condition the second is to see what the first did.
        if let Some(criteria) = what.criteria()
            && !asked.insert((resource_type, &criteria.pairs))
        {
            round.waits.push(number);
            continue;
        }
        match one(gw, caller, body, entry, resource_type, what, &mut touched) {
            Ok(One::Ready(ready)) => round.ready.push(*ready),
            Ok(One::Found(row)) => round.found.push((number, *row)),
            Ok(One::Nothing) => round.nothing.push(number),
            Ok(One::Waits) => round.waits.push(number),
            Err(fault) => round.refused.push((number, entry.placed(fault))),
        }
    }
    round
}

enum One {
    Ready(Box<Ready>),
    Found(Box<RecordRow>),
    Nothing,
    Waits,
}

fn one(
    gw: &Gateway,
    caller: &Caller,
    body: &Bytes,
    entry: &Entry,
    resource_type: &str,
    what: &What,
    touched: &mut HashSet<RecordId>,
) -> Result<One, Fault> {
    // What is written in this round is to be seen by what comes after it, and so is its version by `If-Match`.
    if let What::Update { id, .. } | What::Delete { id, .. } = what
        && id.parse().is_ok_and(|id| touched.contains(&id))
    {
        return Ok(One::Waits);
    }
    let none = HashSet::new();
    let aimed = aim(gw, caller, resource_type, what, &none)?;
    match &aimed.aim {
        Aim::Next(row) if touched.contains(&row.id) => return Ok(One::Waits),
        Aim::Found(row) => return Ok(One::Found(Box::new(row.clone()))),
        Aim::Nothing => return Ok(One::Nothing),
        Aim::Next(_) | Aim::New(_) => {}
    }
    let resource = entry.bytes(body).map(|bytes| resource(resource_type, bytes)).transpose()?;
    let Some(doing) = act(gw, resource_type, what, resource.as_ref(), &aimed, &none)? else { return Ok(One::Nothing) };
    touched.insert(doing.act.id);
    let (status, patient) = (doing.status(), doing.patient);
    let ready = Ready { entry: entry.number, act: doing.act, status, condition: aimed.condition, patient };
    Ok(One::Ready(Box::new(ready)))
}
