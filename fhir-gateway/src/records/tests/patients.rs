//! What a patient's device can open, and what it was never given.

use vouchsafe_types::{
    AccountId, Hash32, TimeMs, Tx, b64,
    jws::{self, Sign},
    tx::{Enrolment, Register, Role},
};

use crate::{
    blobs::parse_cid,
    policy::Permit,
    records::{Header, WriteError},
    seal::{Aad, DeviceKeys, GrantKey, KeyWrapping, PatientKey, oaep, record},
    testing::{Consortium, Site, observation},
};

async fn register(site: &Site, device: &DeviceKeys) -> AccountId {
    use crate::seal::RsaUnwrap;
    let account = AccountId::of_key(device.ed25519().public().bytes());
    let head = site.ground.ledger.head();
    let enrolment = Enrolment {
        account,
        sponsor: site.ground.org,
        role: Role::Patient,
        rsa: device.rsa().public().kid(),
        custodial: false,
        affiliate: false,
        expires: TimeMs(head.time.0 + 60_000),
    };
    let enrolment = jws::sign_statement(device.ed25519(), site.ground.ledger.chain(), Enrolment::TYP, &enrolment);
    let make = |nonce, expires| {
        Tx::from(Register {
            nonce,
            expires,
            account,
            role: Role::Patient,
            ed25519: device.ed25519().public(),
            rsa: device.rsa().public(),
            custodial: false,
            identity: Hash32([0; 32]),
            credential: None,
            enrolment,
        })
    };
    site.ground.signer().submit("org", make).await.unwrap();
    account
}

#[tokio::test(flavor = "multi_thread")]
async fn a_linked_patient_opens_their_records_with_their_own_key() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let device = DeviceKeys::generate().unwrap();
    let account = register(&site, &device).await;
    let chart = site.patient().await.id;
    let row = site.observation(chart, "1").await;
    let handle = row.handle;
    assert_eq!(site.directory.key_entry(&site.ground.org, &handle).unwrap(), None);
    let linked = site.charts.link(&chart, account).await.unwrap();
    assert_eq!((linked.account, linked.custodial), (Some(account), false));
    assert_eq!(site.charts.by_account(&account), [linked]);
    let other = register(&site, &DeviceKeys::generate().unwrap()).await;
    let again = site.charts.link(&chart, other).await;
    assert!(matches!(again, Err(WriteError::NotTheSame)), "a chart passes to nobody else: {again:?}");

    let keys = site.directory.key_entry(&site.ground.org, &handle).unwrap().unwrap();
    let key: PatientKey = oaep::unwrap_with(device.rsa(), &keys.wraps[0]).unwrap();
    let entry = site.directory.entry(&site.ground.org, &handle, &row.id, 1).unwrap().unwrap();
    let data = key.unwrap(&entry.patient_wrap.unwrap()).unwrap();
    let aad = Aad {
        chain: site.ground.ledger.chain(),
        custodian: site.ground.org,
        handle,
        record: row.id,
        resource_type: Header::TYPE,
        version: 1,
    };
    let header = record::open_meta(&data, &aad, &b64::decode(&entry.meta).unwrap()).unwrap();
    let header: Header = serde_json::from_slice(&header).unwrap();
    assert_eq!((header.resource_type.as_str(), header.category), ("Observation", row.category()));
    let blob = site.ground.blobs.get(&parse_cid(&entry.cid).unwrap()).await.unwrap().unwrap();
    let aad = Aad { resource_type: "Observation", ..aad };
    let text = record::open(&Permit::for_tests(), &data, &aad, None, &entry.commitment, &blob).unwrap();
    assert_eq!(*text, *observation(chart, "1").sealed_form);

    site.charts.unlink(&chart).await.unwrap();
    assert!(site.charts.by_account(&account).is_empty());
    let keys = site.directory.key_entry(&site.ground.org, &handle).unwrap().unwrap();
    assert_eq!((keys.seq.0, keys.wraps.len()), (2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_patient_is_linked_and_only_to_a_patients_chart() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let device = DeviceKeys::generate().unwrap();
    let account = register(&site, &device).await;
    let chart = site.patient().await.id;
    let hospital = consortium.account("b");
    for (chart, account) in
        [(chart, hospital), (chart, AccountId([9; 16])), (site.charts.organization_chart().id, account)]
    {
        assert!(matches!(site.charts.link(&chart, account).await, Err(WriteError::NotFound)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_the_organisation_is_wrapped_for_no_patient() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let chart = site.charts.organization_chart();
    let value = serde_json::json!({ "resourceType": "Organization", "name": "A" });
    let row = site.records.create(crate::testing::write("Organization", chart.id, &value)).await.unwrap();
    let entry = site.directory.entry(&site.ground.org, &chart.handle, &row.id, 1).unwrap().unwrap();
    assert_eq!(entry.patient_wrap, None);
    site.records.open(&Permit::for_tests(), &row).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grants_key_opens_the_version_that_it_was_wrapped_for() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let chart = site.patient().await.id;
    let (one, other) = (site.observation(chart, "1").await, site.observation(chart, "2").await);
    let grant = GrantKey::generate();
    let wrapped = site.records.data_key_for_grant(&one, &grant).unwrap();
    let data = grant.unwrap(&wrapped).unwrap();
    let open = |row: &crate::records::RecordRow, blob: &[u8]| {
        let aad = Aad {
            chain: site.ground.ledger.chain(),
            custodian: site.ground.org,
            handle: row.handle,
            record: row.id,
            resource_type: "Observation",
            version: 1,
        };
        record::open(&Permit::for_tests(), &data, &aad, None, &row.commitment, blob)
    };
    let blobs = &site.ground.blobs;
    let blob = blobs.get(&parse_cid(&one.cid).unwrap()).await.unwrap().unwrap();
    assert!(open(&one, &blob).is_ok());
    let blob = blobs.get(&parse_cid(&other.cid).unwrap()).await.unwrap().unwrap();
    assert!(open(&other, &blob).is_err());
    assert!(GrantKey::generate().unwrap(&wrapped).is_err());
}
