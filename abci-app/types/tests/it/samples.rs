//! One valid payload or more of each transaction, and what is wrong with each invalid one.

use serde_json::{Value, json};
use vouchsafe_types::{
    AccountId, Count, CredentialId, Handle, Hash32, Nonce, OkpJwk, RequestId, RsaJwk, SessionId, Tag, TimeMs, Tx,
    state::HeadMove,
    tx::{
        AddCredential, AddDevice, Affiliate, Anchor, AnchorAudit, Ask, Decide, End, EndAffiliation, EndKey, Judge,
        Mandate, NewCredential, Open, Register, Revoke, Role, SetEndpoint, Terms, Verdict,
    },
};

pub(crate) const NONCE: Nonce = Nonce([7; 16]);
pub(crate) const EXPIRES: TimeMs = TimeMs(1_800_000_300_000);

const ACCOUNT: AccountId = AccountId([0xa1; 16]);
const OTHER: AccountId = AccountId([0xb2; 16]);
const REQUEST: RequestId = RequestId([0xc3; 16]);
const SESSION: SessionId = SessionId([0xd4; 16]);
const HASH: Hash32 = Hash32([0x11; 32]);

fn okp() -> OkpJwk {
    OkpJwk::new([0x22; 32])
}

fn rsa(bytes: usize) -> RsaJwk {
    RsaJwk::new(vec![0xe3; bytes]).unwrap()
}

fn credential() -> NewCredential {
    NewCredential { id: CredentialId([0xe5; 16]), commitment: HASH }
}

fn terms(tags: u8) -> Terms {
    Terms {
        tags: (1..=tags).map(|n| Tag([n; 16])).collect(),
        write: true,
        detail: HASH,
        valid_until: TimeMs(1_800_600_000_000),
        session_ms: Count(3_600_000),
        standing: false,
    }
}

fn statement(typ: &str) -> String {
    format!("the compact JWS of type {typ}")
}

/// The valid payloads, each under its name.
pub(crate) fn valid() -> Vec<(&'static str, Tx)> {
    let (nonce, expires) = (NONCE, EXPIRES);
    let mut all = people();
    let head = HeadMove { handle: Handle([1; 16]), seq: Count(1), old: None, new: HASH };
    let next = HeadMove { handle: Handle([2; 16]), seq: Count(9), old: Some(HASH), new: Hash32([0x12; 32]) };
    let (grant, session) = (REQUEST, SESSION);
    all.extend([
        ("approved", Decide { nonce, expires, request: REQUEST, granted: Some(terms(3)) }.into()),
        ("denied", Decide { nonce, expires, request: REQUEST, granted: None }.into()),
        ("with-3072-bits", Open { nonce, expires, grant, recipient: rsa(384) }.into()),
        ("with-4096-bits", Open { nonce, expires, grant, recipient: rsa(512) }.into()),
        ("plain", End { nonce, expires, session }.into()),
        ("plain", Revoke { nonce, expires, grant }.into()),
        ("own-chart", Anchor { nonce, expires, leaves: vec![HASH], heads: vec![head.clone()], session: None }.into()),
        (
            "in-a-session",
            Anchor { nonce, expires, leaves: vec![HASH; 3], heads: vec![head, next], session: Some(session) }.into(),
        ),
        ("first", AnchorAudit { nonce, expires, first: Count(0), last: Count(4), old: None, new: HASH }.into()),
        ("next", AnchorAudit { nonce, expires, first: Count(5), last: Count(5), old: Some(HASH), new: HASH }.into()),
    ]);
    all
}

fn people() -> Vec<(&'static str, Tx)> {
    let (nonce, expires, doctor, organization) = (NONCE, EXPIRES, ACCOUNT, OTHER);
    let register = |role, custodial, credential| Register {
        nonce,
        expires,
        account: ACCOUNT,
        role,
        ed25519: okp(),
        rsa: rsa(384),
        custodial,
        identity: HASH,
        credential,
        enrolment: statement("vouchsafe/enrolment"),
    };
    let judge = |verdict, valid_until| Judge {
        nonce,
        expires,
        subject: ACCOUNT,
        credential: CredentialId([0xe5; 16]),
        verdict,
        valid_until,
    };
    vec![
        ("doctor", register(Role::Doctor, false, Some(credential())).into()),
        ("custodial-patient", register(Role::Patient, true, None).into()),
        ("plain", AddCredential { nonce, expires, credential: credential() }.into()),
        ("verify", judge(Verdict::Verify, Some(TimeMs(1_900_000_000_000))).into()),
        ("suspend", judge(Verdict::Suspend, None).into()),
        ("plain", Affiliate { nonce, expires, doctor, acceptance: statement("vouchsafe/acceptance") }.into()),
        ("plain", EndAffiliation { nonce, expires, doctor, organization }.into()),
        (
            "plain",
            AddDevice { nonce, expires, ed25519: okp(), rsa: rsa(384), acceptance: statement("vouchsafe/acceptance") }
                .into(),
        ),
        ("plain", EndKey { nonce, expires, kid: HASH }.into()),
        ("plain", Mandate { nonce, expires, agent: okp(), organization, until: TimeMs(1_800_040_000_000) }.into()),
        ("plain", SetEndpoint { nonce, expires, url: "https://gateway.example".into(), rsa: rsa(384) }.into()),
        (
            "plain",
            Ask {
                nonce,
                expires,
                organization,
                patient: ACCOUNT,
                credential: CredentialId([0xe5; 16]),
                terms: terms(16),
                answer_by: TimeMs(1_800_003_600_000),
            }
            .into(),
        ),
    ]
}

/// A fault: its name, where in the payload it is (a JSON pointer), and what stands there instead; none takes the
/// member away.
type Fault = (&'static str, &'static str, Option<Value>);

/// Faults that every transaction can have.
fn general() -> Vec<Fault> {
    vec![
        ("missing-nonce", "/nonce", None),
        ("missing-expires", "/expires", None),
        ("unknown-member", "/extra", Some(json!(1))),
        ("nonce-with-padding", "/nonce", Some(json!("BwcHBwcHBwcHBwcHBwcHBw=="))),
        ("nonce-with-trailing-bits", "/nonce", Some(json!("BwcHBwcHBwcHBwcHBwcHBx"))),
        ("nonce-too-short", "/nonce", Some(json!("BwcHBwcHBwcHBwcHBwcH"))),
        ("expires-as-text", "/expires", Some(json!("1800000300000"))),
        ("expires-negative", "/expires", Some(json!(-1))),
        ("expires-above-2-to-53", "/expires", Some(json!(9_007_199_254_740_992_u64))),
        ("expires-with-fraction", "/expires", Some(json!(1.5))),
    ]
}

/// Faults of one transaction, beyond the general ones.
fn special(name: &str) -> Vec<Fault> {
    match name {
        "register" => vec![
            ("account-in-upper-case", "/account", Some(json!("A1".repeat(16)))),
            ("role-unknown", "/role", Some(json!("nurse"))),
            ("role-as-object", "/role", Some(json!({"doctor": null}))),
            ("key-with-a-private-member", "/ed25519/d", Some(json!("AA"))),
            ("key-as-array", "/ed25519", Some(json!(["Ed25519", "OKP", okp().kid().to_string()]))),
            ("key-of-another-curve", "/ed25519/crv", Some(json!("X25519"))),
            ("rsa-of-2048-bits", "/rsa/n", Some(json!("4".repeat(342)))),
            ("rsa-with-another-exponent", "/rsa/e", Some(json!("Aw"))),
            ("custodial-as-text", "/custodial", Some(json!("false"))),
            ("missing-enrolment", "/enrolment", None),
        ],
        "credential" => vec![
            ("missing-credential", "/credential", None),
            ("credential-with-an-unknown-member", "/credential/name", Some(json!("x"))),
            ("credential-as-array", "/credential", Some(json!(["e5".repeat(16), HASH]))),
        ],
        "verdict" => vec![
            ("verdict-unknown", "/verdict", Some(json!("approve"))),
            ("verdict-as-object", "/verdict", Some(json!({"verify": null}))),
            ("subject-too-long", "/subject", Some(json!("a1".repeat(17)))),
        ],
        "affiliation" => vec![("acceptance-as-object", "/acceptance", Some(json!({})))],
        "affiliation-end" => vec![("doctor-with-a-path", "/doctor", Some(json!("../../../../../../../../../../..")))],
        "device" => vec![("missing-key", "/ed25519", None)],
        "key-end" => vec![("kid-too-short", "/kid", Some(json!("EREREREREREREREREREREREREREREREREREREREREQ")))],
        "mandate" => vec![("missing-until", "/until", None)],
        "endpoint" => vec![("url-as-number", "/url", Some(json!(8080)))],
        "request" => vec![
            ("tags-as-object", "/terms/tags", Some(json!({}))),
            ("tag-too-long", "/terms/tags/0", Some(json!(HASH))),
            ("terms-with-an-unknown-member", "/terms/purpose", Some(json!("TREAT"))),
            ("terms-without-detail", "/terms/detail", None),
            ("patient-with-nul", "/patient", Some(json!("a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1\u{0}\u{0}"))),
        ],
        "decision" => vec![
            ("granted-as-false", "/granted", Some(json!(false))),
            ("granted-without-write", "/granted/write", None),
        ],
        "open" => vec![("recipient-of-2048-bits", "/recipient/n", Some(json!("4".repeat(342))))],
        "end" => vec![("session-as-number", "/session", Some(json!(1)))],
        "revoke" => vec![("grant-empty", "/grant", Some(json!("")))],
        "anchor" => vec![
            ("leaf-too-short", "/leaves/0", Some(json!("EQ"))),
            ("head-without-a-new-root", "/heads/0/new", None),
            ("head-as-array", "/heads/0", Some(json!(["01".repeat(16), 1, null, HASH]))),
            ("sequence-negative", "/heads/0/seq", Some(json!(-1))),
        ],
        "audit" => vec![
            ("missing-new", "/new", None),
            ("old-of-another-length", "/old", Some(json!("BwcHBwcHBwcHBwcHBwcHBw"))),
        ],
        other => panic!("no faults for {other}"),
    }
}

/// The invalid payloads of a transaction, each under its fault, made from its first valid one; and one that is no
/// object at all.
pub(crate) fn invalid(name: &str, valid: &Value) -> Vec<(String, Value)> {
    let mut all: Vec<(String, Value)> = general()
        .into_iter()
        .chain(special(name))
        .map(|(fault, pointer, instead)| (fault.to_owned(), spoiled(valid, pointer, instead)))
        .collect();
    let members = valid.as_object().unwrap().values().cloned().collect();
    all.push(("an-array-of-the-members".into(), Value::Array(members)));
    all
}

fn spoiled(valid: &Value, pointer: &str, instead: Option<Value>) -> Value {
    let mut payload = valid.clone();
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    match payload.pointer_mut(parent).unwrap() {
        Value::Array(items) => items[member.parse::<usize>().unwrap()] = instead.unwrap(),
        Value::Object(members) => match instead {
            Some(value) => drop(members.insert(member.into(), value)),
            None => drop(members.shift_remove(member).unwrap()),
        },
        other => panic!("{pointer} is in {other}"),
    }
    payload
}
