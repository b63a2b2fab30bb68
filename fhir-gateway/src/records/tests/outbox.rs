//! Killed or cut off at any step, nothing acknowledged is lost, nothing dangles, nothing comes twice.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use async_trait::async_trait;
use vouchsafe_types::genesis::Genesis;

use crate::{
    blobs::parse_cid,
    ledger::{BlockStream, Committed, EmbeddedLedger, Head, Ledger, LedgerError, LedgerProof},
    policy::Permit,
    records::{Records, WriteError},
    testing::{Consortium, observation, patient},
};

const WELL: u8 = 0;
/// The transaction is lost, and nobody knows.
const LOST: u8 = 1;
/// The transaction is committed, and its answer is lost.
const ANSWER_LOST: u8 = 2;

/// A ledger behind a bad line.
struct Line {
    ledger: EmbeddedLedger,
    state: AtomicU8,
}

#[async_trait]
impl Ledger for Line {
    fn chain(&self) -> &str {
        self.ledger.chain()
    }

    fn genesis(&self) -> &Genesis {
        self.ledger.genesis()
    }

    fn head(&self) -> Head {
        self.ledger.head()
    }

    async fn submit(&self, tx: String) -> Result<Committed, LedgerError> {
        let cut = || LedgerError::Unavailable("the line is cut".into());
        match self.state.load(Ordering::SeqCst) {
            LOST => Err(cut()),
            ANSWER_LOST => {
                self.ledger.submit(tx).await?;
                Err(cut())
            }
            _ => self.ledger.submit(tx).await,
        }
    }

    async fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LedgerError> {
        self.ledger.get(key).await
    }

    async fn prove(&self, keys: &[Vec<u8>]) -> Result<Vec<LedgerProof>, LedgerError> {
        self.ledger.prove(keys).await
    }

    async fn subscribe(&self, from: u64) -> Result<BlockStream, LedgerError> {
        self.ledger.subscribe(from).await
    }
}

fn line(consortium: &Consortium) -> Arc<Line> {
    Arc::new(Line { ledger: consortium.ledger.clone(), state: AtomicU8::new(WELL) })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_was_lost_is_there_once() {
    let consortium = Consortium::new();
    let line = line(&consortium);
    let site = consortium.site_on(&consortium.home.path().join("a"), line.clone()).await;
    let chart = site.patient().await.id;
    for lost in [LOST, ANSWER_LOST] {
        line.state.store(lost, Ordering::SeqCst);
        let id = Records::new_id();
        let result = site.records.create_with_id(id, observation(chart, "1")).await;
        assert!(matches!(result, Err(WriteError::Unavailable(_))), "{result:?}");
        assert_eq!(site.records.row(&id, None).unwrap(), None);
        // The next write settles it first.
        line.state.store(WELL, Ordering::SeqCst);
        let next = site.observation(chart, "2").await;
        let row = site.records.row(&id, None).unwrap().unwrap();
        assert!(row.height <= next.height);
        site.records.open(&Permit::for_tests(), &row).await.unwrap();
        site.records.open(&Permit::for_tests(), &next).await.unwrap();
    }
    assert_eq!(site.records.list(&chart, None).unwrap().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_and_after_the_anchor_is_settled_at_the_restart() {
    let consortium = Consortium::new();
    let line = line(&consortium);
    let home = consortium.home.path().join("a");
    for lost in [LOST, ANSWER_LOST] {
        line.state.store(WELL, Ordering::SeqCst);
        let site = consortium.site_on(&home, line.clone()).await;
        line.state.store(lost, Ordering::SeqCst);
        let id = Records::new_id();
        assert!(site.records.create_with_id(id, patient(id)).await.is_err());
        site.stop().await;
        line.state.store(WELL, Ordering::SeqCst);
        let site = consortium.site_on(&home, line.clone()).await;
        let row = site.records.row(&id, None).unwrap().unwrap();
        site.records.open(&Permit::for_tests(), &row).await.unwrap();
        assert!(site.ground.db.keys("outbox", &[]).unwrap().is_empty());
        site.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_the_blobs_leaves_nothing() {
    let consortium = Consortium::new();
    let line = line(&consortium);
    let home = consortium.home.path().join("a");
    let site = consortium.site_on(&home, line.clone()).await;
    line.state.store(LOST, Ordering::SeqCst);
    let id = Records::new_id();
    assert!(site.records.create_with_id(id, patient(id)).await.is_err());
    // The outbox is as it is between the first step and the second.
    let (_, group) = site.ground.db.scan_prefix("outbox", &[]).unwrap().remove(0);
    let group: serde_json::Value = serde_json::from_slice(&group).unwrap();
    let cid = parse_cid(group["items"][0]["row"]["cid"].as_str().unwrap()).unwrap();
    assert!(site.ground.blobs.remove(&cid).await.unwrap());
    site.stop().await;
    line.state.store(WELL, Ordering::SeqCst);
    let site = consortium.site_on(&home, line.clone()).await;
    assert_eq!(site.records.row(&id, None).unwrap(), None);
    assert_eq!(site.charts.by_id(&id), None, "nor is there a chart without a Patient");
    assert!(site.ground.db.keys("outbox", &[]).unwrap().is_empty());
    site.patient().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_at_any_moment_of_a_load_loses_nothing_acknowledged() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let chart = site.patient().await.id;
    let mut acknowledged = Vec::new();
    for n in 0..5 {
        acknowledged.push(site.observation(chart, &n.to_string()).await);
    }
    // The last step of each write is not flushed; the copy is what a crash would leave.
    let home = consortium.crashed_copy(&site, "crashed");
    site.stop().await;
    let site = consortium.site_on(&home, Arc::new(consortium.ledger.clone())).await;
    for row in acknowledged {
        let found = site.records.row(&row.id, None).unwrap().unwrap();
        assert_eq!(found.commitment, row.commitment);
        site.records.open(&Permit::for_tests(), &found).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ledger_refuses_leaves_nothing() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let chart = site.patient().await.id;
    let mut write = observation(chart, "1");
    write.session = Some(vouchsafe_types::SessionId([1; 16]));
    let id = Records::new_id();
    let result = site.records.create_with_id(id, write).await;
    assert!(matches!(result, Err(WriteError::Rejected(_))), "{result:?}");
    assert_eq!(site.records.row(&id, None).unwrap(), None);
    assert!(site.ground.db.keys("outbox", &[]).unwrap().is_empty());
    assert_eq!(site.records.list(&chart, None).unwrap().len(), 1);
    site.observation(chart, "2").await;
}
