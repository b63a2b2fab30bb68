//! The few primitives that the rest is made of, from aws-lc-rs.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, MAX_TAG_LEN, NONCE_LEN, Nonce, UnboundKey},
    hkdf, hmac, rand,
};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Bytes that AES-GCM adds: the nonce before and the tag after.
pub(super) const OVERHEAD: usize = NONCE_LEN + MAX_TAG_LEN;

/// Random bytes. AWS-LC's generator aborts the process rather than hand out bytes that are not random.
pub(super) fn fill_random(out: &mut [u8]) {
    rand::fill(out).expect("AWS-LC's generator does not fail");
}

/// 32 random bytes.
pub(super) fn random_32() -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    fill_random(out.as_mut_slice());
    out
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Appends each part after its length (u64, big-endian), so that the split of the parts is part of what is read.
pub(super) fn push_prefixed(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(&(part.len() as u64).to_be_bytes());
        out.extend_from_slice(part);
    }
}

/// HKDF-SHA256 (RFC 5869) without salt: the input keys here are uniformly random, which is all that a salt is for.
pub(super) fn hkdf_32(key: &[u8; 32], info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, &[])
        .extract(key)
        .expand(info, hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(out.as_mut_slice()))
        .expect("32 bytes are within HKDF-SHA256's reach");
    out
}

/// HMAC-SHA256 over length-prefixed parts.
pub(super) fn hmac_parts(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut context = hmac::Context::with_key(&key);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.sign().as_ref());
    out
}

fn gcm(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("an AES-256 key has 32 bytes"))
}

/// AES-256-GCM under a nonce that this key never met: `ciphertext ‖ tag` goes to the end of `out`.
pub(super) fn gcm_append(key: &[u8; 32], nonce: [u8; NONCE_LEN], aad: &[u8], plaintext: &[u8], out: &mut Vec<u8>) {
    out.reserve_exact(plaintext.len() + MAX_TAG_LEN);
    let from = out.len();
    out.extend_from_slice(plaintext);
    let tag = gcm(key)
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut out[from..])
        .expect("AES-GCM takes up to 64 GiB");
    out.extend_from_slice(tag.as_ref());
}

/// AES-256-GCM under a random nonce: `nonce ‖ ciphertext ‖ tag`.
pub(super) fn gcm_seal(key: &[u8; 32], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let mut nonce = [0; NONCE_LEN];
    fill_random(&mut nonce);
    let mut out = Vec::with_capacity(plaintext.len() + OVERHEAD);
    out.extend_from_slice(&nonce);
    gcm_append(key, nonce, aad, plaintext, &mut out);
    out
}

/// Opens `ciphertext ‖ tag`; `None` when anything was altered. What was decrypted before the tag was seen to be wrong
/// is wiped.
pub(super) fn gcm_open_detached(
    key: &[u8; 32],
    nonce: [u8; NONCE_LEN],
    aad: &[u8],
    sealed: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let mut buffer = Zeroizing::new(sealed.to_vec());
    let len = gcm(key).open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut buffer).ok()?.len();
    buffer.truncate(len);
    Some(buffer)
}

/// Opens `nonce ‖ ciphertext ‖ tag`; `None` when anything was altered.
pub(super) fn gcm_open(key: &[u8; 32], aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>()?;
    gcm_open_detached(key, *nonce, aad, rest)
}
