//! The outbox: one writer that binds blob, anchor, directory entry and index of all submissions that wait together.
//!
//! A group goes through these steps, and a crash between any two leaves nothing half done:
//!
//! 1. Rows, entries and the signed anchor lie in the outbox, durably.
//! 2. The blobs are durable. This and the step before are done side by side: a start removes blobs that the outbox does not
//!    know and that were put after the last group that was settled.
//! 3. The anchor is in a block. From here on the records exist.
//! 4. Rows, entries and index are visible; the outbox is empty again; callers get their answers. This step becomes
//!    durable with the next one of its kind, because a restart finds it out again from the outbox and the ledger.
//!
//! While a group is in steps 3 and 4, the next one is judged, sealed and made durable: it builds on the maps as they will be,
//! and is taken back and done anew should the one before be refused. It is submitted only when the one before is settled.
//!
//! At a restart the same signed anchors are submitted again, in their order: an anchor's nonce makes it the same act, so it is
//! committed once or found to have been.

mod group;
mod job;
mod judge;
mod once;
mod prepare;
mod recover;
mod room;
mod settle;

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use tokio::{
    sync::{broadcast, mpsc, oneshot},
    task::JoinHandle,
};
use vouchsafe_types::state::{Head, Params};

use super::{
    Charts, Directory, Idempotency, RecordRow, Records, Repeated, Submission, SubmitError, WriteError, Written,
    index::Index,
};
use crate::{
    failpoint::{self, Crashed},
    foundation::Foundation,
    ledger::View,
    store::{StoreError, Table, WriteBatch},
};
use group::Group;
use job::{Draft, Held, Job, take_group};
use once::{Before, Kept};
use prepare::Ahead;
use room::Room;
use settle::{End, Settler, Unsettled};

/// number → `group::Lying`.
pub(super) const GROUPS: Table = "outbox";
/// nothing → the mark in the block store up to which everything belongs to a record.
const SETTLED: Table = "outbox-settled";

/// How often idempotency keys are pruned; in tests, after every group.
const PRUNING: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 60 });

/// Where submissions are handed in. Cheap to clone.
#[derive(Clone)]
pub(super) struct Outbox {
    jobs: mpsc::UnboundedSender<Message>,
    room: Room,
    limits: Limits,
    ground: Foundation,
}

/// What one anchor takes.
#[derive(Clone, Copy)]
struct Limits {
    leaves: usize,
    heads: usize,
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
        index: Index,
        new: broadcast::Sender<RecordRow>,
    ) -> Result<Self, WriteError> {
        let params = View(&*ground.ledger).params().await?.unwrap_or_default();
        let settler = Settler {
            ground: ground.clone(),
            charts: charts.clone(),
            directory: directory.clone(),
            index: index.clone(),
            new,
        };
        settler.recover().await?;
        let limits = Limits {
            leaves: usize::try_from(params.max_leaves.0).unwrap_or(usize::MAX),
            heads: usize::try_from(params.max_heads.0).unwrap_or(usize::MAX),
        };
        let prune_at = Instant::now() + PRUNING.min(ground.keys_kept);
        let writer = Writer {
            ground: ground.clone(),
            charts,
            directory,
            index,
            settler,
            params,
            number: 0,
            under_way: None,
            unsettled: None,
            prune_at,
        };
        // What waits is bounded by the room, whose places the jobs hold.
        let (jobs, waiting) = mpsc::unbounded_channel();
        tokio::spawn(writer.run(waiting));
        Ok(Self { jobs, room: Room::default(), limits, ground })
    }

    /// Does a submission; returns when its anchor is in a block, or why it will not be. `finder` is where its conditions are
    /// looked for.
    pub(super) async fn submit(&self, submission: Submission, finder: &Records) -> Result<Vec<Written>, SubmitError> {
        self.check(&submission)?;
        if let Some(why) = self.ground.fatal.told() {
            return Err(WriteError::Unavailable(why).into());
        }
        let place = self.room.enter(&submission.by.client, submission.bytes())?;
        let Submission { acts, conditions, idempotency, note, session, by } = submission;
        let (done, answer) = oneshot::channel();
        let finder = (!conditions.is_empty()).then(|| finder.clone());
        let drafts = acts.into_iter().map(|act| Draft::of(act, &self.ground.base)).collect();
        let job = Job { drafts, conditions, finder, once: idempotency, note, session, by, done, _place: place };
        let gone = || WriteError::Unavailable("the gateway is stopping".into());
        self.jobs.send(Message::Write(Box::new(job))).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// What was done under a key before.
    pub(super) fn before(&self, once: &Idempotency, index: &Index) -> Result<Option<Repeated>, SubmitError> {
        match once::before(&self.ground.db, index, once)? {
            Before::Nothing => Ok(None),
            Before::Other => Err(SubmitError::KeyReused),
            Before::Same(repeated) => Ok(Some(repeated)),
        }
    }

    /// Keeps a key of a request for which nothing had to be written.
    pub(super) async fn remember(&self, once: &Idempotency, note: String) -> Result<(), StoreError> {
        let mut batch = WriteBatch::new();
        Kept::new(once, self.ground.now(), Vec::new(), note).write(&mut batch);
        self.ground.db.commit(batch).await
    }

    /// True when something lies in it.
    pub(super) fn holds(&self) -> Result<bool, StoreError> {
        Ok(!self.ground.db.keys_from(GROUPS, &[], 1)?.is_empty())
    }

    /// What can be said without looking at what was written.
    fn check(&self, submission: &Submission) -> Result<(), SubmitError> {
        let acts = &submission.acts;
        if acts.len() > self.limits.leaves {
            return Err(WriteError::TooLarge("more acts than one ledger transaction takes").into());
        }
        let mut charts: Vec<_> = acts.iter().map(|act| act.chart).collect();
        charts.sort_unstable();
        charts.dedup();
        if charts.len() > self.limits.heads {
            return Err(WriteError::TooLarge("more charts than one ledger transaction takes").into());
        }
        let mut records = std::collections::HashSet::new();
        match acts.iter().position(|act| !records.insert(act.id)) {
            Some(number) => Err(SubmitError::Act { number, why: WriteError::Twice }),
            None => Ok(()),
        }
    }

    /// Ends the writer after the group under way; what waits is refused.
    pub(super) async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.jobs.send(Message::Stop(done)).is_ok() {
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
    settler: Settler,
    params: Params,
    /// The number of the newest group.
    number: u64,
    under_way: Option<UnderWay>,
    /// A group that a failure left between two steps. Nothing else is written before it is settled.
    unsettled: Option<Box<Unsettled>>,
    /// When idempotency keys are pruned next.
    prune_at: Instant,
}

/// A group in steps 3 and 4.
struct UnderWay {
    task: JoinHandle<Result<End, Crashed>>,
    /// What it takes hold of.
    held: Held,
    /// Heads and maps as it makes them.
    ahead: Ahead,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        // Dropped before it ended only when a test plays a crash.
        self.task.abort();
    }
}

type Messages = mpsc::UnboundedReceiver<Message>;

impl Writer {
    async fn run(mut self, mut messages: Messages) {
        // A crash that a test plays ends the writer as it would end the process: at once, and nobody is answered.
        if let Ok(stopped) = self.serve(&mut messages).await {
            drop(self);
            if let Some(done) = stopped {
                // Who asked may have gone.
                let _ = done.send(());
            }
        }
    }

    /// Serves until it is asked to stop, by whom it returns.
    async fn serve(&mut self, messages: &mut Messages) -> Result<Option<oneshot::Sender<()>>, Crashed> {
        let mut waiting = VecDeque::new();
        loop {
            while let Ok(message) = messages.try_recv() {
                match message {
                    Message::Write(job) => waiting.push_back(*job),
                    Message::Stop(done) => {
                        // Jobs that still wait are dropped, and their callers told that the gateway stops.
                        self.land().await?;
                        return Ok(Some(done));
                    }
                }
            }
            if self.turn(&mut waiting).await? {
                continue;
            }
            let under_way = self.under_way.as_mut();
            let landed = async {
                match under_way {
                    Some(under_way) => (&mut under_way.task).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                message = messages.recv() => match message {
                    Some(Message::Write(job)) => waiting.push_back(*job),
                    Some(Message::Stop(done)) => {
                        self.land().await?;
                        return Ok(Some(done));
                    }
                    None => {
                        self.land().await?;
                        return Ok(None);
                    }
                },
                end = landed => {
                    self.under_way = None;
                    self.landed(end.unwrap_or(Err(Crashed))?);
                }
            }
        }
    }

    /// Brings the next group on its way; false when there is nothing to do before something comes or the group under way is
    /// settled.
    async fn turn(&mut self, waiting: &mut VecDeque<Job>) -> Result<bool, Crashed> {
        if waiting.is_empty() {
            return Ok(false);
        }
        if self.under_way.is_none() && !self.settle_first(waiting).await? {
            return Ok(true);
        }
        let nothing = (Held::default(), Ahead::new());
        let (held, ahead) = self.under_way.as_ref().map_or((&nothing.0, &nothing.1), |u| (&u.held, &u.ahead));
        let jobs = take_group(waiting, &self.params, held);
        if jobs.is_empty() {
            return Ok(false);
        }
        self.ground.failpoints.hit(failpoint::TAKEN)?;
        let ahead = ahead.clone();
        let Some(group) = self.prepare(jobs, &ahead).await else { return Ok(true) };
        self.ground.failpoints.hit(failpoint::SEALED)?;
        let group = match self.make_durable(group).await? {
            Ok(group) => group,
            Err((group, error)) => {
                self.land().await?;
                let end = self.settler.discard(group, error).await?;
                self.landed(end);
                return Ok(true);
            }
        };
        if !self.land().await? {
            // What it builds on will not be, or is not known to be: it is done anew.
            match self.settler.withdraw(group).await? {
                Ok(group) => group.parts.into_iter().rev().for_each(|part| waiting.push_front(part.job)),
                Err(unsettled) => self.unsettled = self.unsettled.take().or(Some(unsettled)),
            }
            return Ok(true);
        }
        self.send_off(group);
        self.prune().await?;
        Ok(true)
    }

    /// Steps 1 and 2, side by side.
    async fn make_durable(&self, mut group: Group) -> Result<Result<Group, (Group, WriteError)>, Crashed> {
        let points = &self.ground.failpoints;
        let outbox = async {
            let written = self.ground.db.commit(group.to_outbox()).await.map_err(WriteError::from);
            points.hit(failpoint::IN_OUTBOX).map(|()| written)
        };
        let blobs = async {
            let put = self.ground.blobs.put_many(&group.blobs).await.map_err(WriteError::from);
            points.hit(failpoint::BLOBS).map(|()| put)
        };
        let (outbox, blobs) = tokio::join!(outbox, blobs);
        Ok(match (outbox?, blobs?) {
            (Ok(()), Ok(mark)) => {
                group.mark = Some(mark);
                group.blobs = Vec::new();
                Ok(group)
            }
            (Err(e), _) | (_, Err(e)) => Err((group, e)),
        })
    }

    fn send_off(&mut self, group: Group) {
        let held = Held::by(group.parts.iter().map(|part| &part.job));
        let heads: HashMap<_, _> =
            group.lying.moves.iter().map(|m| (m.handle, Head { seq: m.seq, root: m.new })).collect();
        let maps = group.maps.iter();
        let ahead =
            maps.filter_map(|(handle, map)| Some((*handle, (heads.get(handle)?.clone(), map.clone())))).collect();
        let task = tokio::spawn(self.settler.clone().submit(group));
        self.under_way = Some(UnderWay { task, held, ahead });
    }

    /// Waits for the group under way; false when what builds on it is not to be.
    async fn land(&mut self) -> Result<bool, Crashed> {
        let Some(mut under_way) = self.under_way.take() else { return Ok(true) };
        let end = (&mut under_way.task).await.unwrap_or(Err(Crashed))?;
        Ok(self.landed(end))
    }

    fn landed(&mut self, end: End) -> bool {
        match end {
            End::Written => true,
            End::Refused => false,
            End::Open(unsettled) => {
                self.unsettled = Some(unsettled);
                false
            }
        }
    }

    /// Settles what a failure left; when that cannot be, who waits is told so.
    async fn settle_first(&mut self, waiting: &mut VecDeque<Job>) -> Result<bool, Crashed> {
        let Some(unsettled) = self.unsettled.take() else { return Ok(true) };
        let end = self.settler.go_on(*unsettled).await?;
        self.landed(end);
        if self.unsettled.is_none() {
            return Ok(true);
        }
        for job in waiting.drain(..) {
            job.answer(Err(WriteError::Unavailable("an earlier anchor is not settled".into()).into()));
        }
        Ok(false)
    }

    /// Removes idempotency keys that have served their time, now and then; while there are more, after every group.
    async fn prune(&mut self) -> Result<(), Crashed> {
        let (now, kept) = (Instant::now(), self.ground.keys_kept);
        if now < self.prune_at {
            return Ok(());
        }
        self.prune_at = now + PRUNING.min(kept);
        match once::prune(&self.ground.db, self.ground.now(), kept) {
            Ok((batch, more)) => {
                match self.ground.db.commit_lazily(batch).await {
                    Ok(()) if more => self.prune_at = now,
                    Ok(()) => {}
                    // What is not removed now is removed later.
                    Err(e) => tracing::warn!("idempotency keys were not pruned: {e}"),
                }
                self.ground.failpoints.hit(failpoint::PRUNED)
            }
            Err(e) => {
                tracing::warn!("idempotency keys were not pruned: {e}");
                Ok(())
            }
        }
    }
}
