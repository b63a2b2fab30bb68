//! The codec on arbitrary input.

use proptest::prelude::*;
use vouchsafe_types::{
    Hash32, RequestId, Tx, b64,
    jws::{Sign, Unverified, sign_tx},
    tx::{Decide, Terms},
};

use crate::{keys::key, samples};

fn sample() -> impl Strategy<Value = Tx> {
    let all: Vec<Tx> = samples::valid().into_iter().map(|(_, tx)| tx).collect();
    proptest::sample::select(all)
}

fn terms() -> impl Strategy<Value = Terms> {
    use vouchsafe_types::{Count, Tag, TimeMs};
    let exact = 0..=(1u64 << 53) - 1;
    let tags = proptest::collection::vec(any::<[u8; 16]>().prop_map(Tag), 0..20);
    (tags, any::<bool>(), any::<[u8; 32]>(), exact.clone(), exact, any::<bool>()).prop_map(
        |(tags, write, detail, valid_until, session_ms, standing)| Terms {
            tags,
            write,
            detail: Hash32(detail),
            valid_until: TimeMs(valid_until),
            session_ms: Count(session_ms),
            standing,
        },
    )
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_read_and_never_a_panic(raw in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Unverified::parse(&raw, "chain").is_err());
    }

    #[test]
    fn any_three_segments_are_never_a_panic(header in ".{0,80}", payload in ".{0,80}", signature in any::<[u8; 64]>()) {
        let text = format!("{}.{}.{}", b64::encode(header), b64::encode(payload), b64::encode(signature));
        prop_assert!(Unverified::parse(text.as_bytes(), "chain").is_err());
    }

    #[test]
    fn what_is_signed_comes_back(
        terms in proptest::option::of(terms()), request in any::<[u8; 16]>(), nonce in any::<[u8; 16]>(),
    ) {
        let tx: Tx = Decide {
            nonce: vouchsafe_types::Nonce(nonce),
            expires: samples::EXPIRES,
            request: RequestId(request),
            granted: terms,
        }.into();
        let raw = sign_tx(&key(), "chain", &tx);
        let read = Unverified::parse(raw.as_bytes(), "chain").unwrap().verify(&key().public()).unwrap();
        prop_assert_eq!(read.tx(), &tx);
        prop_assert_eq!(read.kid(), key().public().kid());
    }

    #[test]
    fn no_other_bytes_carry_the_signature(tx in sample(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut raw = sign_tx(&key(), "chain", &tx).into_bytes();
        let at = at.index(raw.len());
        raw[at] ^= 1 << bit;
        let read = Unverified::parse(&raw, "chain").and_then(|u| u.verify(&key().public()));
        prop_assert!(read.is_err());
    }

    #[test]
    fn base64url_has_one_text_for_one_value(text in "[A-Za-z0-9_=+/-]{0,50}") {
        if let Some(bytes) = b64::decode(&text) {
            prop_assert_eq!(b64::encode(bytes), text);
        }
    }

    #[test]
    fn identifiers_have_one_text(text in "[0-9a-fA-F]{30,34}") {
        if let Ok(id) = text.parse::<RequestId>() {
            prop_assert_eq!(id.to_string(), text);
        }
    }
}
