//! Several blobs in one body: a CAR of version 1 (<https://ipld.io/specs/transport/car/carv1/>), each block beside its
//! address. What is not there is left out.

use bytes::Bytes;
use cid::Cid;

/// The header, in DAG-CBOR: no roots, version 1.
const HEADER: &[u8] = b"\xa2\x65roots\x80\x67version\x01";

/// What media type such a body has.
pub(super) const MEDIA_TYPE: &str = "application/vnd.ipld.car; version=1";

/// A body that holds no block yet.
pub(super) fn begin() -> Vec<u8> {
    let mut out = Vec::new();
    push_varint(&mut out, HEADER.len());
    out.extend(HEADER);
    out
}

/// Adds a block.
pub(super) fn push(out: &mut Vec<u8>, cid: &Cid, block: &[u8]) {
    let address = cid.to_bytes();
    push_varint(out, address.len() + block.len());
    out.extend(address);
    out.extend(block);
}

/// The blocks of a body, each with the address that it says; none when it is not of this form. Nothing is copied.
pub(super) fn blocks(mut body: Bytes) -> Option<Vec<(Cid, Bytes)>> {
    let header = take(&mut body)?;
    if header != HEADER {
        return None;
    }
    let mut out = Vec::new();
    while !body.is_empty() {
        let section = take(&mut body)?;
        let mut rest: &[u8] = &section;
        let cid = Cid::read_bytes(&mut rest).ok()?;
        let block = section.slice(section.len() - rest.len()..);
        out.push((cid, block));
    }
    Some(out)
}

/// Takes what the length before it says.
fn take(body: &mut Bytes) -> Option<Bytes> {
    let mut length = 0_usize;
    for at in 0..5 {
        let byte = *body.get(at)?;
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let _ = body.split_to(at + 1);
            return (length <= body.len()).then(|| body.split_to(length));
        }
    }
    None
}

fn push_varint(out: &mut Vec<u8>, mut number: usize) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::blobs::cid_of;

    proptest! {
        #[test]
        fn what_was_put_in_comes_out(all in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 0..8)) {
            let mut body = begin();
            for block in &all {
                push(&mut body, &cid_of(block), block);
            }
            let out = blocks(body.into()).unwrap();
            let expected: Vec<_> = all.iter().map(|block| (cid_of(block), Bytes::copy_from_slice(block))).collect();
            prop_assert_eq!(out, expected);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(tail: Vec<u8>) {
            let _ = blocks(tail.clone().into());
            let _ = blocks([begin(), tail].concat().into());
        }
    }
}
