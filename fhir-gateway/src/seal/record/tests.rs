//! Hostile blobs and swapped contexts; the independent oracle is the `aes-gcm` crate.

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
    aes::{Aes256, cipher::BlockEncrypt},
};
use proptest::prelude::*;

use super::*;

const CHAIN: &str = "test-00112233445566778899aabbccddeeff";

fn aad() -> Aad<'static> {
    Aad {
        chain: CHAIN,
        custodian: AccountId([1; 16]),
        handle: Handle([2; 16]),
        record: RecordId([3; 16]),
        resource_type: "Observation",
        version: 2,
    }
}

const PREVIOUS: Option<Hash32> = Some(Hash32([7; 32]));

fn open_as(key: &DataKey, aad: &Aad<'_>, sealed: &SealedRecord, blob: &[u8]) -> Result<Vec<u8>, OpenError> {
    open(&Permit::for_tests(), key, aad, PREVIOUS, &sealed.commitment, blob).map(|plain| plain.to_vec())
}

/// Seals, and expects that it does not open in a context that differs.
fn refused_in(differs: impl FnOnce(&mut Aad<'static>)) {
    let key = DataKey::generate();
    let sealed = seal(&key, &aad(), PREVIOUS, b"{}");
    let mut other = aad();
    differs(&mut other);
    assert_eq!(open_as(&key, &other, &sealed, sealed.blob.bytes()), Err(OpenError::Forged));
    assert_eq!(open_as(&key, &aad(), &sealed, sealed.blob.bytes()), Ok(b"{}".to_vec()));
}

#[test]
fn refused_on_another_chain() {
    refused_in(|aad| aad.chain = "other-00112233445566778899aabbccddeeff");
}

#[test]
fn refused_of_another_custodian() {
    refused_in(|aad| aad.custodian = AccountId([9; 16]));
}

#[test]
fn refused_in_another_chart() {
    refused_in(|aad| aad.handle = Handle([9; 16]));
}

#[test]
fn refused_as_another_record() {
    refused_in(|aad| aad.record = RecordId([9; 16]));
}

#[test]
fn refused_as_another_type() {
    refused_in(|aad| aad.resource_type = "Condition");
}

#[test]
fn refused_as_another_version() {
    refused_in(|aad| aad.version = 3);
}

proptest! {
    #[test]
    fn opens_as_sealed(plaintext in prop::collection::vec(any::<u8>(), 0..5_000)) {
        let key = DataKey::generate();
        let sealed = seal(&key, &aad(), PREVIOUS, &plaintext);
        prop_assert_eq!(sealed.blob.bytes().len(), plaintext.len() + BLOB_OVERHEAD);
        prop_assert_eq!(open_as(&key, &aad(), &sealed, sealed.blob.bytes()), Ok(plaintext));
    }

    #[test]
    fn a_blob_cut_or_grown_does_not_open(cut in 0usize..128, grow in prop::collection::vec(any::<u8>(), 1..20)) {
        let key = DataKey::generate();
        let sealed = seal(&key, &aad(), PREVIOUS, &[5; 100]);
        let blob = sealed.blob.bytes();
        prop_assert_eq!(open_as(&key, &aad(), &sealed, &blob[..cut]), Err(OpenError::Forged));
        let grown = [blob.as_ref(), &grow].concat();
        prop_assert_eq!(open_as(&key, &aad(), &sealed, &grown), Err(OpenError::Forged));
    }
}

#[test]
fn a_bit_flipped_anywhere_does_not_open() {
    let key = DataKey::generate();
    let sealed = seal(&key, &aad(), PREVIOUS, br#"{"resourceType":"Observation"}"#);
    for bit in 0..sealed.blob.bytes().len() * 8 {
        let mut blob = sealed.blob.bytes().to_vec();
        blob[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open_as(&key, &aad(), &sealed, &blob), Err(OpenError::Forged), "bit {bit}");
    }
}

#[test]
fn swapped_blobs_do_not_open() {
    let (one, other) = (DataKey::generate(), DataKey::generate());
    let sealed = seal(&one, &aad(), PREVIOUS, b"one");
    let swapped = seal(&other, &aad(), PREVIOUS, b"other");
    assert_eq!(open_as(&one, &aad(), &sealed, swapped.blob.bytes()), Err(OpenError::Forged));
    // With the other's key and blob, but this one's anchor.
    assert_eq!(open_as(&other, &aad(), &sealed, swapped.blob.bytes()), Err(OpenError::NotAnchored));
}

/// The custodian rewrites a version, key, blob and all, in place of what it anchored.
#[test]
fn what_was_not_anchored_is_not_given_out() {
    let key = DataKey::generate();
    let anchored = seal(&key, &aad(), PREVIOUS, b"{\"value\":1}");
    let rewritten = seal(&key, &aad(), PREVIOUS, b"{\"value\":2}");
    assert_eq!(open_as(&key, &aad(), &anchored, rewritten.blob.bytes()), Err(OpenError::NotAnchored));
}

#[test]
fn a_wrong_predecessor_is_noticed() {
    let key = DataKey::generate();
    let sealed = seal(&key, &aad(), PREVIOUS, b"{}");
    for previous in [None, Some(Hash32([8; 32]))] {
        let opened = open(&Permit::for_tests(), &key, &aad(), previous, &sealed.commitment, sealed.blob.bytes());
        assert_eq!(opened.map(|_| ()), Err(OpenError::NotAnchored));
    }
}

#[test]
fn a_first_version_has_no_predecessor() {
    let key = DataKey::generate();
    let sealed = seal(&key, &aad(), None, b"{}");
    assert!(open(&Permit::for_tests(), &key, &aad(), None, &sealed.commitment, sealed.blob.bytes()).is_ok());
    assert_eq!(open_as(&key, &aad(), &sealed, sealed.blob.bytes()), Err(OpenError::NotAnchored));
}

#[test]
fn equal_texts_have_unequal_blobs_and_commitments() {
    let key = DataKey::generate();
    let (one, other) = (seal(&key, &aad(), None, b"same"), seal(&key, &aad(), None, b"same"));
    assert_ne!(one.blob.bytes(), other.blob.bytes());
    assert_ne!(one.commitment, other.commitment);
    assert_eq!(one.plaintext_hash, other.plaintext_hash);
}

#[test]
fn the_commitment_is_checked_with_its_own_key_alone() {
    let key = DataKey::generate();
    let sealed = seal(&key, &aad(), PREVIOUS, b"{}");
    let k_com = commitment_key(&key);
    let again = |hash: &Hash32| {
        commitment(&k_com, &aad().record, 2, PREVIOUS.as_ref(), hash, &sealed.ciphertext_hash) == sealed.commitment
    };
    assert!(again(&sealed.plaintext_hash));
    assert!(!again(&Hash32([0; 32])));
    assert_ne!(&k_com, key.secret(Within::HERE));
    assert_ne!(k_com, *encryption_key(&key));
    assert_ne!(k_com, *meta_key(&key));
    assert_ne!(*encryption_key(&key), *meta_key(&key));
}

#[test]
fn the_blob_s_address_is_its_hash() {
    let sealed = seal(&DataKey::generate(), &aad(), None, b"{}");
    assert_eq!(sealed.blob.cid(), crate::blobs::cid_of(sealed.blob.bytes()));
    assert_eq!(sealed.blob.digest(), &sealed.ciphertext_hash.0);
}

#[test]
fn a_header_opens_at_its_place_only_and_is_no_record() {
    let key = DataKey::generate();
    let header = seal_meta(&key, &aad(), b"laboratory");
    assert_eq!(open_meta(&key, &aad(), &header).unwrap().as_slice(), b"laboratory");
    assert_eq!(open_meta(&key, &Aad { version: 9, ..aad() }, &header).map(|_| ()), Err(OpenError::Forged));
    assert_eq!(open_meta(&DataKey::generate(), &aad(), &header).map(|_| ()), Err(OpenError::Forged));
    let sealed = seal(&key, &aad(), None, b"laboratory");
    assert_eq!(open_meta(&key, &aad(), sealed.blob.bytes()).map(|_| ()), Err(OpenError::Forged));
}

#[test]
fn aes_gcm_the_crate_opens_what_is_sealed_and_seals_what_opens() {
    let key = DataKey::generate();
    let cipher = Aes256Gcm::new(encryption_key(&key).as_slice().into());
    let context = aad().bytes(RECORD);

    let sealed = seal(&key, &aad(), PREVIOUS, b"text");
    let (nonce, rest) = sealed.blob.bytes().split_at(12);
    let payload = Payload { msg: rest, aad: &context };
    assert_eq!(cipher.decrypt(nonce.into(), payload).unwrap(), b"text");

    let nonce = [6; 12];
    let theirs = cipher.encrypt(&nonce.into(), Payload { msg: b"text", aad: &context }).unwrap();
    let blob = [nonce.as_slice(), &theirs].concat();
    assert_eq!(gcm_open(&encryption_key(&key), &context, &blob).unwrap().as_slice(), b"text");
}

/// Nothing of a key or of a text shows in what may reach a log.
#[test]
fn debug_shows_nothing_secret() {
    let key = DataKey::generate();
    let bytes = format!("{:?}", key.secret(Within::HERE));
    let shown =
        format!("{:?} {:?} {:?} {:?}", key, aad(), seal(&key, &aad(), None, b"secret").blob, Permit::for_tests());
    assert!(!shown.contains(&bytes) && !shown.contains("secret") && !shown.contains(&aad().handle.to_string()));
    assert_eq!(format!("{key:?}"), "DataKey(..)");
}

/// Multiplies in GCM's field (NIST SP 800-38D section 6.3).
fn multiply(x: u128, y: u128) -> u128 {
    let (mut z, mut v) = (0, x);
    for bit in (0..128).rev() {
        if y >> bit & 1 == 1 {
            z ^= v;
        }
        v = if v & 1 == 1 { (v >> 1) ^ (0xe1 << 120) } else { v >> 1 };
    }
    z
}

/// 1/x = x^(2^128 - 2).
fn invert(x: u128) -> u128 {
    let (mut power, mut out) = (x, 1 << 127);
    for _ in 1..128 {
        power = multiply(power, power);
        out = multiply(out, power);
    }
    out
}

/// What of GCM depends on the key: H, and the mask of the tag.
fn hash_key_and_mask(key: &[u8; 32], nonce: [u8; 12]) -> (u128, u128) {
    let cipher = Aes256::new(key.into());
    let encrypt = |block: u128| {
        let mut block = block.to_be_bytes().into();
        cipher.encrypt_block(&mut block);
        u128::from_be_bytes(block.into())
    };
    let mut counter = [0; 16];
    counter[..12].copy_from_slice(&nonce);
    counter[15] = 1;
    (encrypt(0), encrypt(u128::from_be_bytes(counter)))
}

/// A ciphertext of two blocks whose tag is right under two keys (Dodis and others 2018, "Fast Message Franking").
fn salamander(one: &[u8; 32], other: &[u8; 32], aad: &[u8]) -> Vec<u8> {
    let (nonce, first) = ([4; 12], 0x5555_u128);
    let lengths = (aad.len() as u128 * 8) << 64 | 256;
    let masked = |key: &[u8; 32], second: u128| {
        let (h, mask) = hash_key_and_mask(key, nonce);
        let mut hash = 0;
        let blocks = aad.chunks(16).map(|chunk| {
            let mut block = [0; 16];
            block[..chunk.len()].copy_from_slice(chunk);
            u128::from_be_bytes(block)
        });
        for block in blocks.chain([first, second, lengths]) {
            hash = multiply(hash ^ block, h);
        }
        (hash ^ mask, multiply(h, h))
    };
    let ((tag_one, square_one), (tag_other, square_other)) = (masked(one, 0), masked(other, 0));
    // The second block enters either tag times H²; solve for the block that makes the tags equal.
    let second = multiply(tag_one ^ tag_other, invert(square_one ^ square_other));
    let tag = masked(one, second).0;
    [&nonce[..], &first.to_be_bytes(), &second.to_be_bytes(), &tag.to_be_bytes()].concat()
}

/// AES-GCM alone lets one blob open to two texts, one for each of two recipients. The commitment does not.
#[test]
fn one_blob_does_not_open_under_two_keys() {
    let (one, other) = (DataKey::generate(), DataKey::generate());
    let context = aad().bytes(RECORD);
    let blob = salamander(&encryption_key(&one), &encryption_key(&other), &context);
    let texts = [&one, &other].map(|key| gcm_open(&encryption_key(key), &context, &blob).unwrap());
    assert_ne!(texts[0], texts[1], "the attack works on AES-GCM alone");

    let anchor = commitment(
        &commitment_key(&one),
        &aad().record,
        aad().version,
        PREVIOUS.as_ref(),
        &Hash32(sha256(&texts[0])),
        &Hash32(sha256(&blob)),
    );
    let opened = |key| open(&Permit::for_tests(), key, &aad(), PREVIOUS, &anchor, &blob).map(|_| ());
    assert_eq!(opened(&one), Ok(()));
    assert_eq!(opened(&other), Err(OpenError::NotAnchored));
}

/// Prints what opening costs; nothing is asserted of time.
#[test]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout, reason = "it is there to print")]
fn measure_opening() {
    let key = DataKey::generate();
    let sealed = seal(&key, &aad(), PREVIOUS, &[b'x'; 2_048]);
    let start = std::time::Instant::now();
    for _ in 0..50_000 {
        open_as(&key, &aad(), &sealed, sealed.blob.bytes()).unwrap();
    }
    println!("open 2 KiB: {:.0}/s", 50_000.0 / start.elapsed().as_secs_f64());
}
