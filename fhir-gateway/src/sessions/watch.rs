//! Listens to the ledger and tells each part of the gateway what concerns it.

use std::sync::{Arc, Weak};

use tokio::{sync::broadcast, task::JoinHandle};
use vouchsafe_types::Event;

use super::{custodian, grantee};
use crate::{consents, gateway::Gateway, ledger::BlockEvents, store::WriteBatch};

const TABLE: &str = "watch";
const CURSOR: &[u8] = b"cursor";

/// How many new records are told of at once.
const TOGETHER: usize = 500;

/// Starts listening; the tasks end when they are aborted or the gateway is gone.
pub(super) fn spawn(gw: &Arc<Gateway>) -> Vec<JoinHandle<()>> {
    vec![tokio::spawn(follow(Arc::downgrade(gw))), tokio::spawn(tell_of_records(gw))]
}

async fn follow(weak: Weak<Gateway>) {
    let Some(gw) = weak.upgrade() else { return };
    // From the beginning each time: which peers there are, and which requests concern this organisation, is told by the
    // events alone, and what ended is recognised by the ledger's state, so that replaying does nothing twice.
    let blocks = gw.ledger.subscribe(1).await;
    // Patients' keys are wrapped to new devices once; which blocks were taken is remembered for that.
    let taken: u64 = gw.db.get_json(TABLE, CURSOR).ok().flatten().unwrap_or_default();
    drop(gw);
    let mut blocks = match blocks {
        Ok(blocks) => blocks,
        Err(error) => {
            tracing::error!(%error, "the ledger's blocks cannot be followed");
            return;
        }
    };
    while let Some(block) = blocks.next().await {
        let Some(gw) = weak.upgrade() else { return };
        take(&gw, block, taken).await;
    }
}

async fn take(gw: &Arc<Gateway>, block: BlockEvents, taken: u64) {
    for (_, event) in &block.events {
        on_event(gw, event).await;
        if let Event::KeyAdded { account, .. } | Event::KeyEnded { account, .. } = event
            && block.height > taken
        {
            rewrap(gw, *account);
        }
    }
    if !block.events.is_empty() && block.height > taken {
        let mut batch = WriteBatch::new();
        batch.put_json(TABLE, CURSOR, &block.height);
        if let Err(error) = gw.db.commit_lazily(batch).await {
            tracing::warn!(%error, "which blocks were taken is not remembered");
        }
    }
    // Only the newest block is worth a sweep: while old ones are replayed, nothing is held yet.
    if block.height >= gw.ledger.head().height {
        custodian::sweep(gw).await;
        grantee::sweep(gw).await;
    }
}

async fn on_event(gw: &Arc<Gateway>, event: &Event) {
    match event {
        Event::EndpointSet { organization } => gw.peers.learn(*organization),
        Event::Requested { request, doctor, organization, patient } => {
            consents::note(gw, *request, *doctor, *organization, *patient).await;
        }
        Event::Granted { request, .. } => in_background({
            let (gw, request) = (Arc::clone(gw), *request);
            async move { custodian::granted(&gw, request).await }
        }),
        Event::Opened { session, grant, organization, .. } => in_background({
            let (gw, session, grant, organization) = (Arc::clone(gw), *session, *grant, *organization);
            async move { custodian::opened(&gw, session, grant, organization).await }
        }),
        Event::Revoked { request, .. } | Event::GrantExpired { request } => {
            custodian::revoked(gw, *request);
            gw.sessions.grantee.forget_grant(request);
        }
        Event::Ended { session, .. } | Event::SessionExpired { session } => {
            gw.sessions.custodian.forget_session(session);
            gw.sessions.grantee.forget(session);
        }
        _ => {}
    }
}

/// Blocks are followed on while one event's work goes on.
fn in_background(work: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(work);
}

/// A patient's devices changed: their charts' keys are wrapped to those that there are now.
fn rewrap(gw: &Arc<Gateway>, account: vouchsafe_types::AccountId) {
    if gw.charts.by_account(&account).is_empty() {
        return;
    }
    let gw = Arc::clone(gw);
    tokio::spawn(async move {
        if let Err(error) = gw.charts.rewrap(&account).await {
            tracing::warn!(%error, "a patient's keys were not wrapped to the new list of devices");
        }
    });
}

fn tell_of_records(gw: &Arc<Gateway>) -> impl Future<Output = ()> + use<> {
    let mut new = gw.records.on_new();
    let gw = Arc::downgrade(gw);
    async move {
        loop {
            let (first, mut lost) = match new.recv().await {
                Ok(row) => (Some(row), false),
                Err(broadcast::error::RecvError::Lagged(_)) => (None, true),
                Err(broadcast::error::RecvError::Closed) => return,
            };
            // Many that were written together cost a session one message, not one each.
            let mut rows: Vec<_> = first.into_iter().collect();
            while rows.len() < TOGETHER {
                match new.try_recv() {
                    Ok(row) => rows.push(row),
                    Err(broadcast::error::TryRecvError::Lagged(_)) => lost = true,
                    Err(_) => break,
                }
            }
            let Some(gw) = gw.upgrade() else { return };
            if lost {
                tracing::warn!("new records went by unseen; grants are prepared anew");
                custodian::lost(&gw).await;
            } else {
                custodian::written(&gw, &rows).await;
            }
        }
    }
}
