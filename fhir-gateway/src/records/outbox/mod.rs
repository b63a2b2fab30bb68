//! The outbox: one writer that binds blob, anchor, directory entry and index of all writes that wait together.
//!
//! A group goes through these steps, and a crash between any two leaves nothing half done:
//!
//! 1. Rows, entries and the signed anchor lie in the outbox, durably.
//! 2. The blobs are durable. A blob that lies somewhere is thus always named by the outbox or by a row.
//! 3. The anchor is in a block. From here on the records exist.
//! 4. Rows, entries and index are visible; the outbox is empty again; callers get their answers. This step becomes
//!    durable with the next one of its kind, because a restart finds it out again from the outbox and the ledger.
//!
//! At a restart the same signed anchor is submitted again: its nonce makes it the same act, so it is committed once or found
//! to have been.

mod group;
mod job;
mod prepare;
mod settle;

use std::collections::VecDeque;

use tokio::sync::{broadcast, mpsc, oneshot};
use vouchsafe_types::{RecordId, state::Params};

use super::{Charts, Directory, RecordRow, Write, WriteError, index::Index};
use crate::{foundation::Foundation, ledger::View, store::Table};
use group::Group;
use job::{Job, take_group};

pub(super) use job::Kind;

/// group ‖ number → `group::Pending`.
const ITEMS: Table = "outbox";
/// group → `group::Anchoring`.
const ANCHORS: Table = "outbox-anchor";

/// How many writes may wait; who comes later waits to be let in.
const QUEUE: usize = 4_096;

/// Where writes are handed in. Cheap to clone.
#[derive(Clone)]
pub(super) struct Outbox {
    jobs: mpsc::Sender<Message>,
}

enum Message {
    Write(Box<Job>),
    Stop(oneshot::Sender<()>),
}

impl Outbox {
    /// Finishes what a crash left, then starts the writer.
    pub(super) async fn start(
        ground: Foundation,
        charts: Charts,
        directory: Directory,
        new: broadcast::Sender<RecordRow>,
    ) -> Result<Self, WriteError> {
        let params = View(&*ground.ledger).params().await?.unwrap_or_default();
        let index = Index::new(ground.db.clone());
        let mut writer = Writer { ground, charts, directory, index, new, params, unsettled: None };
        writer.recover().await?;
        let (jobs, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(writer.run(waiting));
        Ok(Self { jobs })
    }

    /// Writes one version; returns when its anchor is in a block, or why it will not be.
    pub(super) async fn write(&self, id: RecordId, kind: Kind, write: Write) -> Result<RecordRow, WriteError> {
        let (done, answer) = oneshot::channel();
        let gone = || WriteError::Unavailable("the gateway is stopping".into());
        self.jobs.send(Message::Write(Box::new(Job { id, kind, write, done }))).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Ends the writer after the group under way; what waits is refused.
    pub(super) async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.jobs.send(Message::Stop(done)).await.is_ok() {
            // The writer answers or has ended; stopped it is either way.
            let _ = stopped.await;
        }
    }
}

/// The one task that moves the heads of this custodian.
struct Writer {
    ground: Foundation,
    charts: Charts,
    directory: Directory,
    index: Index,
    new: broadcast::Sender<RecordRow>,
    params: Params,
    /// A group that a failure left between two steps. Nothing else is written before it is settled.
    unsettled: Option<Unsettled>,
}

/// What is still to be done with a group.
enum Unsettled {
    /// It is unknown whether its anchor was committed.
    Submit(Group),
    /// Its anchor was committed, in this block or before.
    Finish(Group, u64),
    /// It was refused.
    Discard(Group),
}

impl Writer {
    async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut waiting = VecDeque::new();
        loop {
            if waiting.is_empty() {
                match messages.recv().await {
                    Some(Message::Write(job)) => waiting.push_back(*job),
                    Some(Message::Stop(done)) => return told(done),
                    None => return,
                }
            }
            let mut stop = None;
            while stop.is_none()
                && let Ok(message) = messages.try_recv()
            {
                match message {
                    Message::Write(job) => waiting.push_back(*job),
                    Message::Stop(done) => stop = Some(done),
                }
            }
            let group = take_group(&mut waiting, &self.params, |chart| self.charts.by_id(chart).map(|c| c.handle));
            self.write_group(group).await;
            if let Some(done) = stop {
                // Jobs that still wait are dropped, and their callers told that the gateway stops.
                return told(done);
            }
        }
    }

    async fn write_group(&mut self, jobs: Vec<Job>) {
        match self.unsettled.take() {
            None => {}
            Some(Unsettled::Submit(group)) => self.submit_again(group).await,
            Some(Unsettled::Finish(group, height)) => self.finish(group, height).await,
            Some(Unsettled::Discard(group)) => {
                self.discard(group, WriteError::Unavailable("refused before".into())).await;
            }
        }
        if self.unsettled.is_some() {
            for job in jobs {
                job.answer(Err(WriteError::Unavailable("an earlier anchor is not settled".into())));
            }
            return;
        }
        let Some(group) = self.prepare(jobs).await else { return };
        if let Err(e) = self.ground.db.commit(group.to_outbox()).await {
            return self.discard(group, e.into()).await;
        }
        match self.ground.blobs.put_many(&group.blobs()).await {
            Ok(_) => self.submit(group).await,
            Err(e) => self.discard(group, e.into()).await,
        }
    }
}

/// Says that the writer has ended.
fn told(done: oneshot::Sender<()>) {
    // Who asked may have gone.
    let _ = done.send(());
}
