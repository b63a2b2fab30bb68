//! The directory of another gateway: believed by signature and by the ledger's head.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use vouchsafe_types::{AccountId, Handle, RequestId, jws};

use crate::{
    records::{Directory, DirectoryEntry, DirectoryFault, KeyEntry, Refresh},
    testing::{Consortium, observation},
};

/// Brings entries from the custodian's directory into another's.
struct Bring {
    from: Directory,
    to: Directory,
    asked: AtomicUsize,
}

#[async_trait]
impl Refresh for Bring {
    async fn refresh(&self, custodian: AccountId, handle: Handle) -> Result<(), String> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        for entry in self.from.entries(&custodian, &handle).map_err(|e| e.to_string())? {
            self.to.put(&entry).await.map_err(|e| e.to_string())?;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_believed_only_under_the_ledgers_head() {
    let consortium = Consortium::new();
    let (a, b) = (consortium.site("a").await, consortium.site("b").await);
    let org = a.ground.org;
    let chart = a.patient().await.id;
    let row = a.observation(chart, "1").await;
    for entry in a.directory.entries(&org, &row.handle).unwrap() {
        b.directory.put(&entry).await.unwrap();
    }
    let (entry, proof, head) = b.directory.verify_leaf(&org, &row.handle, &row.id).await.unwrap();
    assert_eq!(entry.commitment, row.commitment);
    assert_eq!(proof.verify(&head.root, &row.id).flatten().unwrap().version.0, 1);

    // The new version is not here, and the old one is not the latest any more.
    let newer = a.records.update(row.id, None, observation(chart, "2")).await.unwrap();
    let stale = b.directory.verify_leaf(&org, &row.handle, &row.id).await;
    assert_eq!(stale.unwrap_err(), DirectoryFault::NotTheHead);
    let bring = Arc::new(Bring { from: a.directory.clone(), to: b.directory.clone(), asked: AtomicUsize::new(0) });
    b.directory.set_refresh(Arc::clone(&bring) as Arc<dyn Refresh>);
    let (entry, _, _) = b.directory.verify_leaf(&org, &row.handle, &row.id).await.unwrap();
    assert_eq!((entry.version, entry.commitment), (newer.version, newer.commitment));
    assert_eq!(bring.asked.load(Ordering::SeqCst), 1);
    // What is known to be whole is not asked for again.
    b.directory.verify_leaf(&org, &row.handle, &row.id).await.unwrap();
    assert_eq!(bring.asked.load(Ordering::SeqCst), 1);
    let absent = b.directory.verify_leaf(&org, &row.handle, &chart_of_nobody()).await;
    assert_eq!(absent.unwrap_err(), DirectoryFault::Absent);
}

fn chart_of_nobody() -> vouchsafe_types::RecordId {
    vouchsafe_types::RecordId([7; 16])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_entry_is_refused() {
    let consortium = Consortium::new();
    let (a, b) = (consortium.site("a").await, consortium.site("b").await);
    let authority = consortium.site("authority").await;
    let org = a.ground.org;
    let row = a.patient().await;
    let entry = a.directory.entry(&org, &row.handle, &row.id, 1).unwrap().unwrap();
    let chain = b.ground.ledger.chain();
    let sign = |key: &dyn jws::Sign, typ: &str| jws::sign_statement(key, chain, typ, &entry);

    let other = authority.ground.org_key().unwrap();
    let own = a.ground.org_key().unwrap();
    let stranger = crate::seal::device::Ed25519Key::generate();
    let mut flipped = sign(&*own, DirectoryEntry::TYP).into_bytes();
    let middle = flipped.len() - 40;
    flipped[middle] = if flipped[middle] == b'A' { b'B' } else { b'A' };
    let forged = [
        ("by another organisation", sign(&*other, DirectoryEntry::TYP)),
        ("by a key that the ledger does not know", sign(&stranger, DirectoryEntry::TYP)),
        ("of another type", sign(&*own, KeyEntry::TYP)),
        ("of a type that is none", sign(&*own, "vouchsafe/else")),
        ("for another chain", jws::sign_statement(&*own, "other", DirectoryEntry::TYP, &entry)),
        ("with another signature", String::from_utf8(flipped).unwrap()),
        ("not a JWS", "…".into()),
    ];
    for (what, text) in forged {
        let result = b.directory.put(&text).await;
        assert!(matches!(result, Err(DirectoryFault::Forged(_))), "{what}: {result:?}");
    }
    assert!(b.directory.entries(&org, &row.handle).unwrap().is_empty(), "nothing of it is kept");
    // The custodian itself cannot say two things of one version.
    b.directory.put(&sign(&*own, DirectoryEntry::TYP)).await.unwrap();
    let mut second = entry.clone();
    second.commitment.0[0] ^= 1;
    let text = jws::sign_statement(&*own, chain, DirectoryEntry::TYP, &second);
    let result = b.directory.put(&text).await;
    assert!(matches!(result, Err(DirectoryFault::Contradiction(_))), "{result:?}");
    // Own entries come from nobody else, whoever signed them.
    let result = a.directory.put(&sign(&*own, DirectoryEntry::TYP)).await;
    assert!(matches!(result, Err(DirectoryFault::Forged(_))), "{result:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_details_are_kept_once_and_bounded() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let request = RequestId([1; 16]);
    site.directory.put_sealed(&request, vec!["one".into(), "two".into()]).await.unwrap();
    site.directory.put_sealed(&request, vec!["two".into(), "three".into()]).await.unwrap();
    assert_eq!(site.directory.sealed(&request).unwrap(), ["one", "two", "three"]);
    let many = (0..1_000).map(|n| n.to_string()).collect();
    assert!(site.directory.put_sealed(&request, many).await.is_err());
    assert_eq!(site.directory.sealed(&request).unwrap().len(), 3);
}
