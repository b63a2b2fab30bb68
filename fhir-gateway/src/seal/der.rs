//! The little DER (X.690) that RSA keys need: the integers of a PKCS#8 private key and of an X.509 public key.

/// Reads `tag length contents` from the front of `bytes`; lengths above 64 KiB are no key's.
fn read<'a>(bytes: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (&[got, first], rest) = bytes.split_first_chunk::<2>()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => rest.split_first().map(|(&len, rest)| (usize::from(len), rest))?,
        0x82 => rest.split_first_chunk::<2>().map(|(len, rest)| (usize::from(u16::from_be_bytes(*len)), rest))?,
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(len)?;
    *bytes = rest;
    (got == tag).then_some(contents)
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;

/// A positive integer without its leading zeros.
fn unsigned<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let integer = read(bytes, INTEGER)?;
    let zeros = integer.iter().take_while(|b| **b == 0).count();
    Some(&integer[zeros..])
}

/// n, e, d, p, q, d mod (p-1), d mod (q-1), 1/q mod p: in the order of RFC 8017 appendix A.1.2.
pub(super) fn rsa_private_integers(pkcs8: &[u8]) -> Option<[&[u8]; 8]> {
    let mut outer = read(&mut &*pkcs8, SEQUENCE)?;
    read(&mut outer, INTEGER)?;
    read(&mut outer, SEQUENCE)?;
    let mut key = read(&mut read(&mut outer, OCTET_STRING)?, SEQUENCE)?;
    read(&mut key, INTEGER)?;
    let mut out = [&[][..]; 8];
    for integer in &mut out {
        *integer = unsigned(&mut key)?;
    }
    key.is_empty().then_some(out)
}

/// n and e of an X.509 SubjectPublicKeyInfo.
pub(super) fn rsa_public_integers(spki: &[u8]) -> Option<[&[u8]; 2]> {
    let mut outer = read(&mut &*spki, SEQUENCE)?;
    read(&mut outer, SEQUENCE)?;
    let bits = read(&mut outer, BIT_STRING)?;
    let mut key = read(&mut bits.strip_prefix(&[0])?, SEQUENCE)?;
    Some([unsigned(&mut key)?, unsigned(&mut key)?])
}
