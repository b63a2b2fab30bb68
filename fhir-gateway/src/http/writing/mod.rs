//! Every write of own records, whether one request or an entry of a Bundle: what is asked becomes an aim, by what is there
//! now; the aims become acts; the acts are one submission; what was submitted is audited and answered.
//!
//! Between the look and the submission others write. So an aim that rests on a search brings its condition along, which
//! the outbox judges under its lock, and when it is not true any more everything is looked at anew.

mod act;
mod aim;
mod answer;
mod commit;
pub(crate) mod once;

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use serde_json::Value;
use vouchsafe_types::RecordId;

use super::{Fault, Reply, call::Call};
use crate::{
    auth::Caller,
    fhir::{audit::AuditKind, json},
    gateway::Gateway,
    policy::{self, Act},
    records::{ActKind, Idempotency, Submission},
};

pub(crate) use act::{Doing, act};
pub(crate) use aim::{Aim, Aimed, Criteria, aim};
use answer::Outcome;
pub(crate) use answer::telling;
pub(crate) use commit::{Refused, commit, session_for};
pub use once::Once;
pub(crate) use once::{Kept, Part, Parts};

/// How often a request is looked at anew because somebody else was quicker.
pub(crate) const TRIES: usize = 20;

/// What is asked of one record.
pub(crate) enum What {
    /// A new one, unless there is one like it.
    Create {
        /// `If-None-Exist`
        unless: Option<Criteria>,
    },
    /// The next version of the one with this id.
    Update {
        /// The id.
        id: String,
        /// `If-Match`
        if_match: Option<u64>,
    },
    /// The next version of the one that is found, or a new one.
    UpdateWhere {
        /// How it is found.
        criteria: Criteria,
        /// `If-Match`
        if_match: Option<u64>,
    },
    /// That the one with this id is deleted.
    Delete {
        /// The id.
        id: String,
        /// `If-Match`
        if_match: Option<u64>,
    },
    /// That the one that is found is deleted.
    DeleteWhere {
        /// How it is found.
        criteria: Criteria,
    },
}

/// One write that is asked for.
pub(crate) struct Wish {
    pub(crate) resource_type: String,
    pub(crate) what: What,
    /// None of a deletion.
    pub(crate) resource: Option<Resource>,
}

/// A resource that was submitted.
pub(crate) struct Resource {
    /// The exact bytes that are sealed.
    pub(crate) sealed_form: Bytes,
    /// The same, parsed.
    pub(crate) value: Arc<Value>,
    /// The id that it came with.
    pub(crate) id: Option<String>,
}

impl Resource {
    /// Reads a resource whose bytes are strict JSON, once: it must be of this type and of R4's structure.
    ///
    /// # Errors
    /// 400 for another type, 422 for another structure.
    pub(crate) fn read(expected: &str, bytes: &[u8], mut value: Value) -> Result<Self, Fault> {
        match value.get("resourceType").map(Value::as_str) {
            Some(Some(got)) if got == expected => {}
            Some(Some(_)) => {
                return Err(Fault::malformed(format!("this address takes a {expected}")).at("resourceType"));
            }
            _ => return Err(Fault::malformed("resourceType is missing, or no string").at("resourceType")),
        }
        vouchsafe_fhir_structure::check_value(expected, &value).map_err(|e| Fault::from(&e))?;
        let id = value.get("id").and_then(Value::as_str).map(str::to_owned);
        let sealed_form = Bytes::from(json::sealed_form(bytes));
        json::strip(&mut value);
        Ok(Self { sealed_form, value: Arc::new(value), id })
    }
}

/// Serves one write by itself.
///
/// # Errors
/// Whatever R4 has for it; 409 when others were quicker too often.
pub(crate) async fn serve(call: &Call, wish: Wish) -> Result<Reply, Fault> {
    let caller = call.caller()?;
    policy::decide(caller, &Act::WriteOwn)?;
    act::same_id(&wish.resource_type, &wish.what, wish.resource.as_ref())?;
    let wish = Arc::new(wish);
    let once = call.idempotency;
    let _turn = call.gw.once.turn(once.as_ref()).await;
    for _ in 0..TRIES {
        if let Some(kept) = once.map(|once| once::recall(&call.gw, &once)).transpose()?.flatten() {
            return answer::again(call, caller, kept.first().map(|(_, kept)| kept)).await;
        }
        let (aimed, doing) = planned(call, &wish).await?;
        let patient = doing.as_ref().map(|d| d.patient);
        let session = session_for(call, patient).await?;
        let status = doing.as_ref().map_or(200, Doing::status);
        let Some(doing) = doing else {
            remember(call, &aimed.aim).await?;
            return answer::unwritten(call, caller, &aimed.aim).await;
        };
        let kind = kind_of(doing.act.kind);
        let sealed_form = doing.act.sealed_form.clone();
        let mut submission = Submission::new(vec![doing.act], session, super::interactions::actor(caller));
        submission.conditions.extend(aimed.condition);
        (submission.idempotency, submission.note) = (once, once::note(&vec![(0, Part::Act(0, status))]));
        match commit(&call.gw, caller, kind, submission).await {
            Ok(written) => {
                let one = written.into_iter().next().ok_or_else(|| Fault::internal("a write without an answer"))?;
                return answer::of_written(call, &Outcome { status, written: one, sealed_form });
            }
            Err(Refused::Raced) => {}
            Err(Refused::Act(_, fault) | Refused::Whole(fault)) => return Err(fault),
        }
    }
    Err(raced())
}

/// Keeps that there was nothing to be written, for when the request comes again.
async fn remember(call: &Call, aim: &Aim) -> Result<(), Fault> {
    let Some(once) = &call.idempotency else { return Ok(()) };
    let part = match aim {
        Aim::Found(row) => Part::Found(row.id, row.version.0),
        _ => Part::Nothing,
    };
    kept(&call.gw, once, &vec![(0, part)]).await
}

/// Keeps parts for which nothing was written.
pub(crate) async fn kept(gw: &Gateway, once: &Idempotency, parts: &Parts) -> Result<(), Fault> {
    let remembered = gw.records.remember(once, once::note(parts)).await;
    remembered.map_err(|error| error.why().into())
}

/// Looks at what is there. A search takes a while, and is off the runtime.
async fn planned(call: &Call, wish: &Arc<Wish>) -> Result<(Aimed, Option<Doing>), Fault> {
    let look = |gw: &Gateway, caller: &Caller, wish: &Wish| {
        let aimed = aim(gw, caller, &wish.resource_type, &wish.what, &HashSet::new())?;
        let Wish { resource_type, what, resource } = wish;
        let doing = act(gw, resource_type, what, resource.as_ref(), &aimed, &HashSet::new())?;
        Ok((aimed, doing))
    };
    if wish.what.criteria().is_none() {
        return look(&call.gw, call.caller()?, wish);
    }
    let (gw, caller, wish) = (Arc::clone(&call.gw), call.caller()?.clone(), Arc::clone(wish));
    let looked = tokio::task::spawn_blocking(move || look(&gw, &caller, &wish)).await;
    looked.map_err(|_| Fault::internal("the search was given up"))?
}

impl What {
    /// How its record is found, where it is not named.
    pub(crate) const fn criteria(&self) -> Option<&Criteria> {
        match self {
            Self::Create { unless: Some(criteria) }
            | Self::UpdateWhere { criteria, .. }
            | Self::DeleteWhere { criteria } => Some(criteria),
            _ => None,
        }
    }
}

/// How the audit log calls an act.
pub(crate) const fn kind_of(kind: ActKind) -> AuditKind {
    match kind {
        ActKind::Create => AuditKind::Create,
        ActKind::Update { .. } => AuditKind::Update,
        ActKind::Delete { .. } => AuditKind::Delete,
    }
}

/// 409: what the request rests on changed whenever it was looked at.
pub(crate) fn raced() -> Fault {
    let fault = Fault::new(409, "conflict", "others write what this request rests on").code("raced");
    Fault { retry_after: Some(1), ..fault }
}

/// The charts that a set of acts opens, by the Patients that it creates.
pub(crate) fn opened_by<'a>(aims: impl Iterator<Item = (&'a str, &'a Aim)>) -> HashSet<RecordId> {
    aims.filter_map(|(resource_type, aim)| match aim {
        Aim::New(id) if resource_type == "Patient" => Some(*id),
        _ => None,
    })
    .collect()
}
