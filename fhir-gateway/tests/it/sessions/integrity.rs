//! What is detected and never served.

use redb::ReadableTable;
use reqwest::Method;
use serde_json::json;
use vouchsafe_gateway::{
    audit::{AuditEntry, EventText},
    gateway::Gateway,
    peers::{
        Message,
        message::{self, Envelope},
    },
    records::DirectoryEntry,
    seal::{GrantKey, RsaUnwrap, device::RsaKey, jwe, oaep},
    sessions::{
        manifest::{self, Manifest},
        receipts::{Receipt, TYP},
    },
};
use vouchsafe_types::{AccountId, Count, Hash32, RecordId, b64, jws};

use super::{
    refusals::shown_as,
    steps::{Visit, Wish, nothing},
};
use crate::support::{Answer, observation, parameter};

type Places = redb::TableDefinition<'static, &'static [u8; 32], (u64, u32, u32)>;
type Packs = redb::TableDefinition<'static, u64, &'static [u8]>;
const PLACES: Places = redb::TableDefinition::new("places");
const PACKS: Packs = redb::TableDefinition::new("packs");

/// Where a record's blob lies at hospital A.
fn digest(v: &Visit, record: &str) -> [u8; 32] {
    let row = v.c.gateway("hospital-a").records.row(&record.parse().unwrap(), None).unwrap().unwrap();
    let cid = vouchsafe_gateway::blobs::parse_cid(&row.cid).unwrap();
    vouchsafe_gateway::blobs::digest_of(&cid).unwrap()
}

/// What an administrator of hospital A does to its block store while the gateway is stopped.
async fn tamper(v: &mut Visit, with: impl FnOnce(&redb::WriteTransaction)) {
    v.c.stop("hospital-a").await;
    let db = redb::Database::open(v.c.org("hospital-a").home.join("blobs.redb")).unwrap();
    let write = db.begin_write().unwrap();
    with(&write);
    write.commit().unwrap();
    drop(db);
    v.c.launch("hospital-a").await;
}

async fn not_served(v: &Visit, session: &str, record: &str) {
    let read = v.read(session, &format!("Observation/{}", shown_as(v, record))).await;
    assert_eq!(read.refusal(), (502, "integrity".into()));
    let search = format!("Observation?patient={}", v.at_b);
    let bundle = v.read(session, &search).await.expect(200).to_string();
    assert!(bundle.contains("not-verified"), "{bundle}");
    assert!(!bundle.contains(&shown_as(v, record)), "{bundle}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_and_swapped_blobs_are_found_out() {
    let mut v = Visit::start().await;
    let mut records = Vec::new();
    for code in ["4548-4", "718-7", "2345-7", "1742-6"] {
        records.push(v.observed(code, "2024-05-01").await);
    }
    let (_, session) = v.session(&Wish::default()).await;
    let [flipped, one, two] = [0, 1, 2].map(|n| digest(&v, &records[n]));
    tamper(&mut v, |write| {
        let mut places = write.open_table(PLACES).unwrap();
        let mut packs = write.open_table(PACKS).unwrap();
        let [at, a, b] = [&flipped, &one, &two].map(|digest| places.get(digest).unwrap().unwrap().value());
        let mut pack = packs.get(at.0).unwrap().unwrap().value().to_vec();
        pack[at.1 as usize + at.2 as usize / 2] ^= 1;
        packs.insert(at.0, pack.as_slice()).unwrap();
        places.insert(&one, b).unwrap();
        places.insert(&two, a).unwrap();
    })
    .await;
    // What was fetched and verified before stays whole; here all of it is fetched anew.
    v.rested(&session).await;
    v.c.gateway("hospital-b").peers.forget_blobs();
    for record in &records[..3] {
        not_served(&v, &session, record).await;
    }
    // The rest of the chart is still there.
    v.read(&session, &format!("Observation/{}", shown_as(&v, &records[3]))).await.expect(200);
    v.c.end().await;
}

/// The new version lies outside what was granted, so that its key never comes; the old one, whose key did, is not shown
/// in its place.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_version_is_not_served_in_place_of_the_new() {
    let v = Visit::start().await;
    let record = v.observed("4548-4", "2024-05-01").await;
    let (_, session) = v.session(&Wish { period: Some(("2024", "2024")), ..Wish::default() }).await;
    let path = format!("Observation/{}", shown_as(&v, &record));
    v.read(&session, &path).await.expect(200);
    let mut corrected = observation(&v.at_a, "4548-4", "2019-05-01");
    corrected["id"] = record.as_str().into();
    let system = v.c.system("hospital-a");
    system.put(&format!("Observation/{record}"), &corrected, &[("if-match", "W/\"1\"")]).await.expect(200);
    let answer = v.read(&session, &path).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(v.found(&session, &format!("Observation?patient={}", v.at_b)).await.is_empty());
    v.c.end().await;
}

/// Posts a message to a gateway in the name of an organisation, signed by its key.
async fn tell(v: &Visit, from: &str, to: &str, message: Message) -> Answer {
    let (sender, receiver) = (v.c.gateway(from), v.c.org(to).account);
    let expires = v.c.clock.now().plus(message::VALID_MS);
    let envelope = Envelope { from: sender.org, to: receiver, expires, message };
    let text = message::sign(&*sender.keystore.ed25519("org").unwrap(), &sender.chain, &envelope);
    v.c.nobody(to).plain(Method::POST, "/peer", Some(text.into_bytes()), &[("content-type", "application/jose")]).await
}

fn entry(gw: &Gateway, custodian: AccountId, record: RecordId) -> DirectoryEntry {
    let handle = gw.records.row(&record, None).unwrap().unwrap().handle;
    gw.directory.entry(&custodian, &handle, &record, 1).unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_directory_entry_changes_nothing() {
    let v = Visit::start().await;
    let record = v.observed("4548-4", "2024-05-01").await;
    let (_, session) = v.session(&Wish::default()).await;
    let path = format!("Observation/{}", shown_as(&v, &record));
    let a = v.c.gateway("hospital-a");
    let true_one = entry(&a, a.org, record.parse().unwrap());
    let forged = DirectoryEntry {
        version: Count(2),
        previous: Some(true_one.commitment),
        commitment: Hash32([7; 32]),
        ..true_one.clone()
    };
    // By another organisation's key; and by the custodian's own, which the ledger's head then contradicts.
    for signer in ["authority", "hospital-a"] {
        let gw = v.c.gateway(signer);
        let text = jws::sign_statement(&*gw.keystore.ed25519("org").unwrap(), &gw.chain, DirectoryEntry::TYP, &forged);
        tell(&v, signer, "hospital-b", Message::Directory(vec![text])).await;
        let b = v.c.gateway("hospital-b");
        let known = b.directory.entry(&a.org, &true_one.handle, &true_one.record, 2).unwrap();
        assert!(signer == "hospital-a" || known.is_none(), "an entry by another's key is not even kept");
        let read = v.read(&session, &path).await;
        let whole = read.status == 200 && read.json()["meta"]["versionId"] == "1";
        assert!(whole || read.status >= 500, "{} {}", read.status, read.text());
    }
    // A speaker whom nobody verified is not listened to, nor a message meant for another.
    let (sender, key) = (v.doctor.account, v.doctor.keys.ed25519());
    let expires = v.c.clock.now().plus(message::VALID_MS);
    let envelope =
        Envelope { from: sender, to: v.c.org("hospital-b").account, expires, message: Message::Directory(Vec::new()) };
    let text = message::sign(key, &a.chain, &envelope);
    let answer = v.c.nobody("hospital-b").plain(Method::POST, "/peer", Some(text.into_bytes()), &[]).await;
    assert_eq!(answer.status, 401);
    v.c.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_substituted_recipient_key_opens_nothing() {
    let v = Visit::start().await;
    v.observed("4548-4", "2024-05-01").await;
    let id = v.ask(&Wish::default()).await;
    v.approve(&id, None).await.expect(200);
    // The opening names another key than the gateway's.
    let path = format!("Consent/{id}/$open-session");
    let mut prepared = v.doctors().post(&format!("{path}/$prepare"), &nothing()).await.expect(200);
    let other = RsaKey::generate().unwrap();
    let mut payload: serde_json::Value =
        serde_json::from_str(parameter(&prepared, "payload").as_str().unwrap()).unwrap();
    payload["recipient"] = json!(RsaUnwrap::public(&other));
    let all = prepared["parameter"].as_array_mut().unwrap();
    all.iter_mut().find(|p| p["name"] == "payload").unwrap()["valueString"] = payload.to_string().into();
    let tx = v.doctor.sign(&prepared);
    let answer = v.doctors().post_with(&path, &nothing(), &[("vouchsafe-tx", &tx)]).await;
    assert_eq!(answer.refusal(), (422, "substituted-key".into()));

    let opened = v.open(&id).await;
    opened.expect(200);
    let session = opened.header("vouchsafe-session").to_owned();
    v.handed(&session).await;
    // A hand-over whose key is wrapped to another key, and one in another custodian's name.
    let b = v.c.gateway("hospital-b");
    let endpoint = b.keystore.rsa("org").unwrap().public();
    let manifest = |custodian: AccountId, to| Manifest {
        custodian,
        session: session.parse().unwrap(),
        grant: id.parse().unwrap(),
        part: Count(1),
        parts: Count(1),
        height: Count(1),
        key: oaep::wrap_to(to, &GrantKey::generate()).unwrap(),
        rows: Vec::new(),
    };
    let others = RsaUnwrap::public(&other);
    let seal = |m: &Manifest| jwe::encrypt_compact(manifest::TYP, &serde_json::to_vec(m).unwrap(), &endpoint).unwrap();
    let a = v.c.org("hospital-a").account;
    let wrong = seal(&manifest(a, &others));
    let answer = tell(&v, "hospital-a", "hospital-b", Message::Manifest(wrong)).await;
    assert_eq!(answer.refusal(), (422, "substituted-key".into()));
    let anothers = seal(&manifest(a, &others));
    let answer = tell(&v, "authority", "hospital-b", Message::Manifest(anothers)).await;
    assert_eq!(answer.refusal(), (422, "wrong-custodian".into()));
    let beyond = Manifest { part: Count(2), ..manifest(a, &others) };
    let answer = tell(&v, "hospital-a", "hospital-b", Message::Manifest(seal(&beyond))).await;
    assert_eq!(answer.refusal(), (422, "too-many".into()));
    // What was handed over rightly still opens.
    assert_eq!(v.found(&session, &format!("Observation?patient={}", v.at_b)).await.len(), 1);
    v.c.end().await;
}

/// A receipt shows the patient what the log of the sender has, under its leaf, or it is not taken; and it may come twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_is_the_entry_that_its_leaf_hashes() {
    let v = Visit::start().await;
    let (_, session) = v.session(&Wish::default()).await;
    let a = v.c.gateway("hospital-a").keystore.rsa("org").unwrap().public();
    let organization = v.c.org("hospital-b").account;
    let entry = |by: AccountId| {
        let event = json!({
            "resourceType": "AuditEvent", "source": { "observer": { "reference": format!("Organization/{by}") } },
        });
        AuditEntry {
            index: Count(7),
            slot: Count(7),
            slots: Count(1),
            id: RecordId([1; 16]),
            at: v.c.clock.now(),
            chart: None,
            account: Some(v.patient.account),
            session: None,
            caller: None,
            event: EventText::new(event.to_string()),
        }
    };
    let receipt = |entry: &AuditEntry, leaf: Hash32| {
        let receipt = Receipt {
            organization,
            patient: v.patient.account,
            session: session.parse().unwrap(),
            index: Count(7),
            leaf,
            entry: b64::encode(entry.bytes()),
        };
        Message::Receipt(jwe::encrypt(TYP, &serde_json::to_vec(&receipt).unwrap(), std::slice::from_ref(&a)).unwrap())
    };
    let (own, others) = (entry(organization), entry(v.c.org("authority").account));
    for wrong in [receipt(&own, Hash32([7; 32])), receipt(&others, others.leaf())] {
        let answer = tell(&v, "hospital-b", "hospital-a", wrong).await;
        assert_eq!(answer.refusal(), (422, "integrity".into()));
    }
    for _ in 0..2 {
        tell(&v, "hospital-b", "hospital-a", receipt(&own, own.leaf())).await.expect(200);
    }
    v.c.end().await;
}
