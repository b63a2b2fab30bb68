//! Pushing messages to peers, and asking them.

use std::{
    sync::{Arc, PoisonError, Weak},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    task::JoinHandle,
    time::{sleep, timeout},
};
use vouchsafe_types::{AccountId, Handle};

use super::message::{self, Envelope, Message};
use crate::{
    gateway::Gateway,
    ledger::View,
    records::{New, Refresh},
};

/// How many messages wait for one peer at most; what comes beyond is dropped, and pulled by the peer when it needs it.
const QUEUE: usize = 4_096;

/// How often a message is tried.
const TRIES: u32 = 12;

/// How many directory entries travel in one message.
const BATCH: usize = 500;

/// The most bytes of an answer: the entries of one chart, some hundred thousand of them.
const ANSWER: usize = 64 << 20;

/// A peer could not be told, or did not answer.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The ledger names no address for it.
    #[error("organisation {0} has no endpoint on the ledger")]
    NoEndpoint(AccountId),
    /// The ledger does not answer.
    #[error("the ledger does not answer")]
    Ledger,
    /// The own organisation key is not in the keystore.
    #[error("the organisation's key is not in the keystore")]
    Key,
    /// The exchange failed.
    #[error("no exchange with the peer: {0}")]
    Exchange(#[from] reqwest::Error),
    /// The peer refused.
    #[error("the peer answered {0}")]
    Refused(u16),
    /// The peer's answer is not of its form.
    #[error("the peer's answer is not of its form")]
    Form,
}

/// One message under way.
struct Job {
    message: Message,
    done: Option<oneshot::Sender<()>>,
}

/// A queue to one peer and the task that empties it.
pub(super) struct Lane {
    queue: mpsc::Sender<Job>,
    task: JoinHandle<()>,
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Queues a message for a peer.
pub fn send(gw: &Arc<Gateway>, to: AccountId, message: Message) {
    enqueue(gw, to, Job { message, done: None });
}

/// Queues a message and waits, at most as long as said, until the peer has it. It stays queued when the wait ends.
pub async fn deliver(gw: &Arc<Gateway>, to: AccountId, message: Message, wait: Duration) -> bool {
    let (done, delivered) = oneshot::channel();
    enqueue(gw, to, Job { message, done: Some(done) });
    matches!(timeout(wait, delivered).await, Ok(Ok(())))
}

/// Delivers to every peer; a peer that is away gets it later.
pub async fn broadcast(gw: &Arc<Gateway>, message: &Message, wait: Duration) {
    let others = gw.peers.known().into_iter().filter(|org| *org != gw.org);
    futures::future::join_all(others.map(|org| deliver(gw, org, message.clone(), wait))).await;
}

/// Asks a custodian for all entries of one chart.
///
/// # Errors
/// When the custodian is away or answers something else.
pub async fn pull(gw: &Gateway, custodian: AccountId, handle: Handle) -> Result<Vec<String>, PeerError> {
    let answer = ask(gw, custodian, Message::Pull { custodian, handle }).await?;
    serde_json::from_slice(&answer).map_err(|_| PeerError::Form)
}

/// Asks an organisation, and gives its answer as it came.
///
/// # Errors
/// When it is away or refuses.
pub async fn ask(gw: &Gateway, of: AccountId, message: Message) -> Result<bytes::Bytes, PeerError> {
    post(gw, of, message).await
}

/// The address of an organisation's gateway.
pub(super) async fn address(gw: &Gateway, org: AccountId) -> Result<String, PeerError> {
    if let Some(peer) = gw.config.peers.iter().find(|p| p.organization == org) {
        return Ok(peer.url.clone());
    }
    let endpoint = View(&*gw.ledger).endpoint(&org).await.map_err(|_| PeerError::Ledger)?;
    endpoint.map(|e| e.url).ok_or(PeerError::NoEndpoint(org))
}

fn enqueue(gw: &Arc<Gateway>, to: AccountId, job: Job) {
    // Bulk has a lane of its own, so that a manifest does not wait behind an import's directory entries.
    let bulk = matches!(job.message, Message::Directory(_));
    let mut lanes = gw.peers.lanes.lock().unwrap_or_else(PoisonError::into_inner);
    let lane = lanes.entry((to, bulk)).or_insert_with(|| {
        let (queue, jobs) = mpsc::channel(QUEUE);
        Lane { queue, task: tokio::spawn(empty(Arc::downgrade(gw), to, jobs)) }
    });
    if let Err(mpsc::error::TrySendError::Full(job)) = lane.queue.try_send(job) {
        tracing::warn!(kind = job.message.kind(), peer = %to, "the queue to a peer is full, a message is dropped");
    }
}

async fn empty(gw: Weak<Gateway>, to: AccountId, mut jobs: mpsc::Receiver<Job>) {
    let mut held = None;
    loop {
        let Some(job) = (match held.take() {
            Some(job) => Some(job),
            None => jobs.recv().await,
        }) else {
            return;
        };
        let job = merge(job, &mut jobs, &mut held);
        let mut pause = Duration::from_millis(50);
        for attempt in 1..=TRIES {
            let Some(gateway) = gw.upgrade() else { return };
            let outcome = post(&gateway, to, job.message.clone()).await;
            drop(gateway);
            match outcome {
                Ok(_) => {
                    if let Some(done) = job.done {
                        let _ = done.send(());
                    }
                    break;
                }
                Err(error @ PeerError::Refused(400..=499)) => {
                    tracing::warn!(kind = job.message.kind(), peer = %to, %error, "a peer refuses a message");
                    break;
                }
                Err(error) => {
                    tracing::debug!(kind = job.message.kind(), peer = %to, attempt, %error, "a peer is away");
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(20));
        }
    }
}

/// Puts directory messages that wait into one, so that an import costs a peer few exchanges.
fn merge(job: Job, jobs: &mut mpsc::Receiver<Job>, held: &mut Option<Job>) -> Job {
    let Job { message: Message::Directory(mut entries), done } = job else { return job };
    while entries.len() < BATCH {
        match jobs.try_recv() {
            Ok(Job { message: Message::Directory(mut more), done: None }) => entries.append(&mut more),
            Ok(other) => {
                *held = Some(other);
                break;
            }
            Err(_) => break,
        }
    }
    Job { message: Message::Directory(entries), done }
}

async fn post(gw: &Gateway, to: AccountId, message: Message) -> Result<bytes::Bytes, PeerError> {
    let url = address(gw, to).await?;
    let body = {
        let key = gw.keystore.ed25519("org").map_err(|_| PeerError::Key)?;
        let expires = gw.ledger.head().time.max((gw.clock)()).plus(message::VALID_MS);
        message::sign(&*key, &gw.chain, &Envelope { from: gw.org, to, expires, message })
    };
    let mut answer = gw
        .peers
        .client
        .post(format!("{url}/peer"))
        .header("content-type", "application/jose")
        .body(body)
        .send()
        .await?;
    let status = answer.status();
    if !status.is_success() {
        return Err(PeerError::Refused(status.as_u16()));
    }
    read_whole(&mut answer, ANSWER).await?.ok_or(PeerError::Form)
}

/// Reads an answer as it comes, and stops when it is longer than it may be: what it says of its own length is the
/// peer's word. None when it is too long.
pub(super) async fn read_whole(
    answer: &mut reqwest::Response,
    limit: usize,
) -> Result<Option<bytes::Bytes>, reqwest::Error> {
    let mut body = bytes::BytesMut::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body.freeze()))
}

/// Tells every peer of own directory entries as they are committed, and names who brings missing ones.
pub(super) fn spawn_replication(gw: &Arc<Gateway>) -> JoinHandle<()> {
    gw.directory.set_refresh(Arc::new(PullMissing(Arc::downgrade(gw))));
    let mut new = gw.directory.on_new();
    let gw = Arc::downgrade(gw);
    tokio::spawn(async move {
        loop {
            let jws = match new.recv().await {
                Ok(New::Entry { jws, .. } | New::Key { jws, .. }) => jws,
                // What was lost is pulled by whoever needs it.
                Err(broadcast::error::RecvError::Lagged(lost)) => {
                    tracing::info!(lost, "directory entries were not pushed to peers");
                    continue;
                }
                Err(broadcast::error::RecvError::Closed) => return,
            };
            let Some(gw) = gw.upgrade() else { return };
            for peer in gw.peers.known().into_iter().filter(|org| *org != gw.org) {
                send(&gw, peer, Message::Directory(vec![jws.clone()]));
            }
        }
    })
}

/// Brings the entries of a chart from its custodian.
struct PullMissing(Weak<Gateway>);

#[async_trait]
impl Refresh for PullMissing {
    async fn refresh(&self, custodian: AccountId, handle: Handle) -> Result<(), String> {
        let Some(gw) = self.0.upgrade() else { return Err("the gateway stops".to_owned()) };
        if custodian == gw.org {
            return Err("the own directory cannot be asked of others".to_owned());
        }
        let entries = pull(&gw, custodian, handle).await.map_err(|e| e.to_string())?;
        let refused = gw.directory.put_all(&entries).await.map_err(|e| e.to_string())?;
        refused.into_iter().next().map_or(Ok(()), |fault| Err(fault.to_string()))
    }
}
