//! The embedded block store.

use std::{path::Path, sync::Arc};

use proptest::prelude::*;
use redb::{Database, ReadableTable, TableDefinition};
use tempfile::TempDir;
use vouchsafe_gateway::{
    blobs::{BadCid, BlobError, BlobStore, EmbeddedBlobs, cid_of, digest_of, parse_cid},
    seal::{Aad, DataKey, Sealed, record},
};
use vouchsafe_types::{AccountId, Handle, RecordId};

fn sealed(plaintext: &[u8]) -> Sealed {
    let aad = Aad {
        chain: "test",
        custodian: AccountId([1; 16]),
        handle: Handle([2; 16]),
        record: RecordId([3; 16]),
        resource_type: "Binary",
        version: 1,
    };
    record::seal(&DataKey::generate(), &aad, None, plaintext).blob
}

fn store(dir: &Path) -> EmbeddedBlobs {
    EmbeddedBlobs::open(&dir.join("blobs.redb")).unwrap()
}

#[tokio::test]
async fn keeps_gives_and_forgets() {
    let dir = TempDir::new().unwrap();
    let store = store(dir.path());
    let blob = sealed(b"one");
    let cid = store.put(&blob).await.unwrap();
    assert_eq!(cid, blob.cid());
    assert_eq!(store.put(&blob).await.unwrap(), cid);
    assert_eq!(store.get(&cid).await.unwrap().as_ref(), Some(blob.bytes()));
    assert!(store.has(&cid).await.unwrap());
    assert!(store.remove(&cid).await.unwrap());
    assert!(!store.remove(&cid).await.unwrap());
    assert!(!store.has(&cid).await.unwrap());
    assert_eq!(store.get(&cid).await.unwrap(), None);
}

#[tokio::test]
async fn keeps_several_at_once_and_none() {
    let dir = TempDir::new().unwrap();
    let store = store(dir.path());
    let blobs: Vec<Sealed> = (0..300_u16).map(|n| sealed(&n.to_be_bytes())).collect();
    store.put_many(&blobs).await.unwrap();
    for blob in &blobs {
        assert_eq!(store.get(&blob.cid()).await.unwrap().as_ref(), Some(blob.bytes()));
    }
    store.put_many(&[]).await.unwrap();
    assert_eq!(store.count().await.unwrap(), 300);
}

#[tokio::test]
async fn what_was_put_after_a_mark_is_found_and_nothing_else() {
    let dir = TempDir::new().unwrap();
    let store = store(dir.path());
    let before: Vec<Sealed> = (0..9_u16).map(|n| sealed(&n.to_be_bytes())).collect();
    let mark = store.put_many(&before).await.unwrap();
    assert!(store.after(mark).await.unwrap().is_empty());
    // Small ones share packs, and one is larger than a pack.
    let sizes = [0, 1, 20_000, 9_000, 9_000, 1];
    let later: Vec<Sealed> = sizes.iter().map(|len| sealed(&vec![7; *len])).collect();
    store.put_many(&later).await.unwrap();
    store.remove(&later[1].cid()).await.unwrap();
    let found = store.after(mark).await.unwrap();
    let expected: Vec<_> = later.iter().enumerate().filter(|(at, _)| *at != 1).map(|(_, blob)| blob.cid()).collect();
    assert_eq!(found.iter().map(|(_, cid)| *cid).collect::<Vec<_>>(), expected);
    assert!(found.windows(2).all(|w| w[0].0 <= w[1].0) && found[0].0 > mark);
    for blob in &later {
        store.remove(&blob.cid()).await.unwrap();
    }
    assert!(store.after(mark).await.unwrap().is_empty());
    // A mark is never given twice, though the newest are gone.
    let again = store.put_many(&[sealed(b"again")]).await.unwrap();
    assert!(again > found.last().unwrap().0);
    for blob in &before {
        assert_eq!(store.get(&blob.cid()).await.unwrap().as_ref(), Some(blob.bytes()));
    }
}

#[tokio::test]
async fn a_blob_that_is_forgotten_does_not_lie_in_its_pack_any_more() {
    let dir = TempDir::new().unwrap();
    let store = store(dir.path());
    let blobs: Vec<Sealed> = (0..3_u16).map(|n| sealed(&[u8::try_from(n).unwrap(); 100])).collect();
    store.put_many(&blobs).await.unwrap();
    store.remove(&blobs[1].cid()).await.unwrap();
    store.close().await;
    let db = Database::create(dir.path().join("blobs.redb")).unwrap();
    let packs: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("packs");
    let read = redb::ReadableDatabase::begin_read(&db).unwrap().open_table(packs).unwrap();
    let pack = read.get(1).unwrap().unwrap().value().to_vec();
    assert!(pack.windows(128).any(|w| w == &blobs[0].bytes()[..]));
    assert!(!pack.windows(128).any(|w| w == &blobs[1].bytes()[..]));
}

#[tokio::test]
async fn what_was_put_is_there_after_reopening() {
    let dir = TempDir::new().unwrap();
    let blob = sealed(&[7; 2_000]);
    let first = store(dir.path());
    let cid = first.put(&blob).await.unwrap();
    first.close().await;
    assert_eq!(store(dir.path()).get(&cid).await.unwrap().as_ref(), Some(blob.bytes()));
}

#[tokio::test]
async fn a_closed_store_takes_nothing_more() {
    let dir = TempDir::new().unwrap();
    let first = store(dir.path());
    let clone = first.clone();
    first.close().await;
    assert!(matches!(clone.put(&sealed(b"late")).await, Err(BlobError::Closed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_share_their_commits() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(store(dir.path()));
    let tasks: Vec<_> = (0..512_u16)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.put(&sealed(&n.to_be_bytes())).await.unwrap() })
        })
        .collect();
    for task in tasks {
        let cid = task.await.unwrap();
        assert!(store.has(&cid).await.unwrap());
    }
    assert!(store.commits() < 512, "{} commits for 512 puts", store.commits());
}

/// Writes over a blob as somebody does who has the disk.
fn tamper(dir: &Path, digest: &[u8; 32], change: impl FnOnce(&mut Vec<u8>)) {
    const PLACES: TableDefinition<'_, &[u8; 32], (u64, u32, u32)> = TableDefinition::new("places");
    const PACKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("packs");
    let db = Database::create(dir.join("blobs.redb")).unwrap();
    let transaction = db.begin_write().unwrap();
    {
        let mut places = transaction.open_table(PLACES).unwrap();
        let mut packs = transaction.open_table(PACKS).unwrap();
        let (number, from, len) = places.get(digest).unwrap().unwrap().value();
        let mut pack = packs.get(number).unwrap().unwrap().value().to_vec();
        let mut bytes = pack.split_off(from as usize);
        assert_eq!(bytes.len(), len as usize);
        change(&mut bytes);
        places.insert(digest, (number, from, u32::try_from(bytes.len()).unwrap())).unwrap();
        pack.append(&mut bytes);
        packs.insert(number, pack.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
}

#[tokio::test]
async fn an_altered_blob_is_an_error_and_never_served() {
    let changes: [fn(&mut Vec<u8>); 4] = [|b| b[20] ^= 1, Vec::clear, |b| b.truncate(10), |b| b.push(0)];
    for change in changes {
        let dir = TempDir::new().unwrap();
        let first = store(dir.path());
        let blob = sealed(b"a record");
        let cid = first.put(&blob).await.unwrap();
        first.close().await;
        tamper(dir.path(), blob.digest(), change);
        let got = store(dir.path()).get(&cid).await;
        assert!(matches!(got, Err(BlobError::Spoiled(at)) if at == cid), "{got:?}");
    }
}

/// CIDv1, raw, SHA-256, computed apart from this code (Python's hashlib and base32) after the CID specification.
#[test]
fn addresses_are_those_of_the_specification() {
    for (bytes, address) in [
        (&b""[..], "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"),
        (b"hello world", "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"),
    ] {
        assert_eq!(cid_of(bytes).to_string(), address);
        assert_eq!(parse_cid(address).unwrap(), cid_of(bytes));
    }
}

#[test]
fn other_addresses_are_refused() {
    for text in [
        "",
        // Version 0.
        "QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR",
        // dag-pb.
        "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi",
        // Upper case, another base, a cut, a longer one, another alphabet.
        "BAFKREIHDWDCEFGH4DQKJV67UZCMW7OJEE6XEDZDETOJUZJEVTENXQUVYKU",
        "zb2rhe5P4gXftAwvA4eXQ5HJwsER2owDyS9sKaQRRVQPn93bA",
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyk",
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvykua",
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyk1",
        "../../etc/passwd",
    ] {
        assert_eq!(parse_cid(text), Err(BadCid), "{text}");
    }
}

proptest! {
    #[test]
    fn one_blob_has_one_text(bytes in any::<[u8; 32]>(), at in 0usize..59, other in "[a-zA-Z0-9=]") {
        let text = cid_of(&bytes).to_string();
        prop_assert_eq!(&parse_cid(&text).unwrap().to_string(), &text);
        let mut changed = text;
        changed.replace_range(at..=at, &other);
        if let Ok(cid) = parse_cid(&changed) {
            prop_assert_eq!(cid.to_string(), changed);
            prop_assert!(digest_of(&cid).is_some());
        }
    }

    #[test]
    fn any_text_read_as_an_address_never_panics(text in ".{0,80}") {
        let _ = parse_cid(&text);
    }
}

/// Prints blobs a second; nothing is asserted of time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout, reason = "it is there to print")]
async fn measure_puts_of_64_clients() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(store(dir.path()));
    let start = std::time::Instant::now();
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for _ in 0..100 {
                    store.put(&sealed(&[7; 2_048])).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    println!("{:.0} puts/s of 2 KiB, {} commits", 6_400.0 / start.elapsed().as_secs_f64(), store.commits());
}
