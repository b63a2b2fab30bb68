//! The application as consensus drives it.

use proptest::prelude::*;
use vouchsafe_core::StateRead;
use vouchsafe_node::{
    NodeError,
    app::{App, NotNow, Proposal},
    store::Store,
};
use vouchsafe_types::{Code, Hash32, TimeMs};

use crate::consortium::{BEGIN, Consortium};

fn app(c: &Consortium) -> App {
    App::open(Store::open(&c.home.path().join("app.redb")).unwrap(), &c.genesis).unwrap()
}

fn at(ms: u64) -> TimeMs {
    BEGIN.plus(ms)
}

fn raw(txs: &[&String]) -> Vec<Vec<u8>> {
    txs.iter().map(|tx| tx.as_bytes().to_vec()).collect()
}

/// Changes the last character of the signature to another that is canonical too.
fn badly_signed(tx: &str) -> String {
    let cut = tx.rfind('.').unwrap() + 1;
    let first = if tx.as_bytes()[cut] == b'A' { 'B' } else { 'A' };
    format!("{}{first}{}", &tx[..cut], &tx[cut + 1..])
}

fn refused(app: &App, txs: &[&String]) -> Option<Code> {
    match app.process_proposal(1, at(1), &raw(txs)).unwrap() {
        Proposal::Accept => None,
        Proposal::Refuse(_, rejection) => Some(rejection.code),
    }
}

#[test]
fn a_proposal_of_good_transactions_is_accepted() {
    let c = Consortium::new("app");
    assert_eq!(refused(&app(&c), &[&c.anchor(1), &c.anchor(2)]), None);
}

#[test]
fn a_proposal_with_a_malformed_transaction_is_refused() {
    let c = Consortium::new("app");
    assert_eq!(refused(&app(&c), &[&c.anchor(1), &"not a transaction".into()]), Some(Code::Malformed));
}

#[test]
fn a_proposal_with_a_transaction_of_another_chain_is_refused() {
    let (c, other) = (Consortium::new("app"), Consortium::new("other"));
    assert_eq!(refused(&app(&c), &[&other.anchor(1)]), Some(Code::WrongChain));
}

#[test]
fn a_proposal_with_a_badly_signed_transaction_is_refused() {
    let c = Consortium::new("app");
    let (good, bad) = (c.anchor(1), badly_signed(&c.anchor(2)));
    let app = app(&c);
    assert_eq!(refused(&app, &[&good, &bad]), Some(Code::BadSignature));
    assert_eq!(refused(&app, &[&bad]), Some(Code::BadSignature), "alone as well as in a batch");
    assert_eq!(refused(&app, &[&good]), None, "the good one of the batch stays good");
}

#[test]
fn a_proposal_with_an_oversize_transaction_is_refused() {
    let c = Consortium::new("app");
    let long = c.endpoint(&format!("https://{}.example", "a".repeat(140_000)));
    assert_eq!(refused(&app(&c), &[&long]), Some(Code::TooLarge));
}

#[test]
fn an_oversize_proposal_is_refused() {
    let c = Consortium::new("app");
    let many: Vec<String> =
        (0..10).map(|n| c.endpoint(&format!("https://{n}{}.example", "a".repeat(90_000)))).collect();
    let total: usize = many.iter().map(String::len).sum();
    assert!(total as u64 > c.genesis.body.params.max_block_bytes.0);
    assert_eq!(refused(&app(&c), &many.iter().collect::<Vec<_>>()), Some(Code::TooLarge));
}

#[test]
fn a_proposal_that_goes_back_in_time_is_refused() {
    let c = Consortium::new("app");
    let judged = app(&c).process_proposal(1, TimeMs(BEGIN.0 - 1), &[]).unwrap();
    assert!(matches!(judged, Proposal::Refuse(None, r) if r.code == Code::BadTimes));
}

#[test]
fn a_proposal_of_another_height_is_an_error_of_the_caller() {
    let c = Consortium::new("app");
    assert!(matches!(app(&c).process_proposal(7, at(1), &[]), Err(NodeError::Height { head: 0, got: 7 })));
}

#[test]
fn prepare_keeps_the_order_and_caps() {
    let c = Consortium::new("app");
    let txs = [c.anchor(1), c.anchor(2), c.anchor(3)];
    let [a, b, _] = &txs;
    let room = (a.len() + b.len()) as u64;
    let app = app(&c);
    let all: Vec<_> = raw(&[a, a, b, &txs[2]]);
    assert_eq!(app.prepare_proposal(all, room), raw(&[a, b]), "each once, in order, up to the cap");
    let long = "a".repeat(200_000);
    assert_eq!(app.prepare_proposal(raw(&[&long, a]), u64::MAX), raw(&[a]), "what can never fit is left out");
}

#[test]
fn finalize_twice_gives_the_same_and_writes_nothing() {
    let c = Consortium::new("app");
    let app = app(&c);
    let txs = raw(&[&c.anchor(1), &"malformed".into(), &c.endpoint("https://gateway.example")]);
    let before = app.head().unwrap();
    let first = app.finalize_block(1, at(1), &txs).unwrap();
    assert_eq!(app.head().unwrap(), before, "nothing is written before commit");
    assert!(app.store().view().unwrap().get(&c.head_key(1)).is_none());
    let second = app.finalize_block(1, at(1), &txs).unwrap();
    assert_eq!(first, second);
    assert_eq!(first.results.iter().map(|r| r.code).collect::<Vec<_>>(), [0, Code::Malformed.number(), 0]);
    let head = app.commit().unwrap();
    assert_eq!((head.height, head.app_hash), (1, first.app_hash));
    assert!(app.store().view().unwrap().get(&c.head_key(1)).is_some());
    assert!(matches!(app.commit(), Err(NodeError::NothingFinalized)));
}

#[test]
fn a_replay_is_a_result_with_its_code() {
    let c = Consortium::new("app");
    let app = app(&c);
    let tx = c.anchor(1);
    let result = app.finalize_block(1, at(1), &raw(&[&tx, &tx])).unwrap();
    assert_eq!(result.results[0].code, 0);
    assert_eq!(result.results[1].code, Code::Replayed.number());
    app.commit().unwrap();
    assert_eq!(app.check_tx(tx.as_bytes(), at(2)).unwrap().unwrap_err().code, Code::Replayed);
}

#[test]
fn finalize_checks_signatures_that_no_proposal_showed_it() {
    let c = Consortium::new("app");
    let bad = badly_signed(&c.anchor(1));
    let result = app(&c).finalize_block(1, at(1), &raw(&[&bad])).unwrap();
    assert_eq!(result.results[0].code, Code::BadSignature.number());
}

#[test]
fn admission_refuses_what_a_block_would() {
    let c = Consortium::new("app");
    let app = app(&c);
    let code = |tx: &str| app.check_tx(tx.as_bytes(), at(1)).unwrap().unwrap_err().code;
    assert_eq!(code("x"), Code::Malformed);
    assert_eq!(code(&badly_signed(&c.anchor(1))), Code::BadSignature);
    assert_eq!(code(&"a".repeat(200_000)), Code::TooLarge);
    let late = app.check_tx(c.anchor(2).as_bytes(), at(300_000)).unwrap();
    assert_eq!(late.unwrap_err().code, Code::Expired);
    let stranger = crate::consortium::SeedKey::new(77);
    let tx =
        vouchsafe_types::tx::End { nonce: c.nonce(), expires: at(1000), session: vouchsafe_types::SessionId([0; 16]) };
    assert_eq!(code(&c.sign(&stranger, tx)), Code::UnknownKey);
}

/// What the cache holds was checked against the key itself; a state that does not know the key still rejects.
#[test]
fn a_cached_signature_is_no_permission() {
    let c = Consortium::new("app");
    let app = app(&c);
    let tx = c.anchor(1);
    app.check_tx(tx.as_bytes(), at(1)).unwrap().unwrap();
    // At a time when it has expired, the cached transaction is rejected like any other.
    let result = app.finalize_block(1, at(400_000), &raw(&[&tx])).unwrap();
    assert_eq!(result.results[0].code, Code::Expired.number());
}

/// Why a transaction may not enter the mempool, by a clock.
fn rejected(app: &App, tx: &str, clock: u64) -> Code {
    match app.enter_mempool(tx.as_bytes(), at(clock)).unwrap() {
        Err(NotNow::Rejected(rejection)) => rejection.code,
        other => panic!("{other:?}"),
    }
}

/// A block between the look ahead and the check makes what was found count no more.
#[test]
fn what_was_admitted_before_a_block_is_judged_again_after_it() {
    let c = Consortium::new("app");
    let app = app(&c);
    let nonce = c.nonce();
    let (first, second) = (c.anchor_with(nonce, 1, 1, None), c.anchor_with(nonce, 2, 1, None));
    app.verify_ahead(&[second.as_bytes()], at(1));
    let done = app.finalize_block(1, at(1), &raw(&[&first])).unwrap();
    assert_eq!(done.results[0].code, 0);
    app.commit().unwrap();
    assert_eq!(rejected(&app, &second, 2), Code::Replayed);
}

/// And without one it is not, but only once: the engine may ask again much later.
#[test]
fn what_was_admitted_a_moment_ago_enters_and_lapses_all_the_same() {
    let c = Consortium::new("app");
    let app = app(&c);
    let tx = c.anchor(1);
    app.verify_ahead(&[tx.as_bytes()], at(1));
    assert_eq!(app.enter_mempool(tx.as_bytes(), at(1)).unwrap(), Ok(()));
    assert_eq!(rejected(&app, &tx, 400_000), Code::Expired);
}

/// Nor does it outlast being told to come back: room may come while the chain stands.
#[test]
fn what_is_told_to_come_back_is_judged_again_when_it_does() {
    let c = Consortium::new("app");
    let app = app(&c);
    let early: Vec<_> = (0..64).map(|n| c.anchor(n)).collect();
    app.verify_ahead(&early, at(1));
    let enters = |tx: &String| app.enter_mempool(tx.as_bytes(), at(1)).unwrap().is_ok();
    let waiting: Vec<_> = (64..3_000).map(|n| c.anchor(n)).filter(enters).collect();
    let told_back: Vec<_> = early.iter().filter(|tx| !enters(tx)).collect();
    assert!(!told_back.is_empty());
    for tx in &waiting {
        let lapsed = app.stay_in_mempool(tx.as_bytes(), at(400_000)).unwrap();
        assert_eq!(lapsed.unwrap_err().code, Code::Expired);
    }
    for tx in told_back {
        assert_eq!(rejected(&app, tx, 400_000), Code::Expired);
    }
}

#[test]
fn the_genesis_state_is_the_same_for_everyone() {
    let c = Consortium::new("app");
    let root = |file: &str| -> Hash32 {
        App::open(Store::open(&c.home.path().join(file)).unwrap(), &c.genesis).unwrap().head().unwrap().app_hash
    };
    assert_eq!(root("a.redb"), root("b.redb"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the bytes: a result with a code, no error, no panic, and no change of state.
    #[test]
    fn fuzzed_bytes_are_results(
        bytes in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..4),
        at_byte in any::<proptest::sample::Index>(),
        flip in 1u8..,
    ) {
        let c = Consortium::new("fuzz");
        let app = app(&c);
        let mut altered = c.anchor(1).into_bytes();
        let index = at_byte.index(altered.len());
        altered[index] ^= flip;
        let mut txs = bytes;
        txs.push(altered);
        for tx in &txs {
            prop_assert!(app.check_tx(tx, at(1)).unwrap().is_err());
        }
        app.process_proposal(1, at(1), &txs).unwrap();
        let before = app.head().unwrap();
        let result = app.finalize_block(1, at(1), &txs).unwrap();
        prop_assert!(result.results.iter().all(|r| r.code != 0 && r.events.is_empty() && r.data.is_empty()));
        prop_assert_eq!(result.app_hash, before.app_hash);
    }
}
