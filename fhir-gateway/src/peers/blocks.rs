//! Blobs from other gateways, by IPFS's trustless gateway (<https://specs.ipfs.tech/http-gateways/trustless-gateway/>):
//! the address is the hash, so the holder need not be trusted.

use std::collections::HashMap;

use bytes::Bytes;
use cid::Cid;
use futures::{StreamExt, stream};
use vouchsafe_types::AccountId;

use super::{
    Message, PeerError, car,
    send::{address, ask, read_whole},
};
use crate::{
    blobs::{BlobError, cid_of, parse_cid},
    gateway::Gateway,
    http::{Fault, Reply},
};

/// The most bytes that a blob may have: a body's limit and what sealing adds.
const MAX_BLOB: usize = 20 << 20;

/// How many blobs one exchange asks for at most.
const BATCH: usize = 256;

/// An answer that has so many bytes gets no further blob.
const ENOUGH: usize = 8 << 20;

/// How many blobs of an answer are read at the same time.
const READS: usize = 16;

/// How many blobs that did not come with the others are asked for alone.
const ALONE: usize = 32;

/// Why a blob did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchFault {
    /// What came does not have the hash that the address says.
    Spoiled,
    /// Nobody answered.
    Away,
}

/// The blob of an address: from the cache, else from the custodian's gateway, its hash recomputed.
///
/// # Errors
/// `FetchFault`.
pub async fn fetch(gw: &Gateway, custodian: AccountId, cid: &Cid) -> Result<Bytes, FetchFault> {
    if let Some(blob) = gw.peers.cached(cid) {
        return Ok(blob);
    }
    let url = address(gw, custodian).await.map_err(|_| FetchFault::Away)?;
    let mut answer = gw
        .peers
        .client
        .get(format!("{url}/ipfs/{cid}?format=raw"))
        .header("accept", "application/vnd.ipld.raw")
        .send()
        .await
        .map_err(|_| FetchFault::Away)?;
    // A holder that knows its copy to be spoiled says so; that is not an absence.
    if answer.status() == reqwest::StatusCode::INTERNAL_SERVER_ERROR {
        return Err(FetchFault::Spoiled);
    }
    if !answer.status().is_success() {
        return Err(FetchFault::Away);
    }
    let blob = read_whole(&mut answer, MAX_BLOB).await.map_err(|_| FetchFault::Away)?.ok_or(FetchFault::Away)?;
    if cid_of(&blob) != *cid {
        return Err(FetchFault::Spoiled);
    }
    gw.peers.cache(*cid, &blob);
    Ok(blob)
}

/// Some of the blobs of these addresses, each hash recomputed: those in the cache, and what one exchange with the custodian's
/// gateway brings or decides. Of what is not in the answer nothing is known yet; it is asked for again. At least one is
/// decided, so whoever asks for what is left comes to an end, and holds no more than one answer at a time.
pub async fn fetch_some(gw: &Gateway, custodian: AccountId, cids: &[Cid]) -> HashMap<Cid, Result<Bytes, FetchFault>> {
    let mut decided: HashMap<Cid, Result<Bytes, FetchFault>> =
        cids.iter().take(BATCH).filter_map(|cid| Some((*cid, Ok(gw.peers.cached(cid)?)))).collect();
    if !decided.is_empty() {
        return decided;
    }
    let asked = &cids[..cids.len().min(BATCH)];
    let Ok(came) = exchange(gw, custodian, asked).await else {
        return cids.iter().map(|cid| (*cid, Err(FetchFault::Away))).collect();
    };
    // The holder answers in order and may stop early: what lies before the last that came was left out for a reason, and
    // asked for alone the holder says for which.
    let last = asked.iter().rposition(|cid| came.contains_key(cid)).map_or(asked.len(), |at| at + 1);
    let refused = asked[..last].iter().filter(|cid| !came.contains_key(cid));
    for (n, cid) in refused.enumerate() {
        let fault = if n < ALONE { fetch(gw, custodian, cid).await } else { Err(FetchFault::Away) };
        decided.insert(*cid, fault);
    }
    decided.extend(came.into_iter().map(|(cid, blob)| (cid, Ok(blob))));
    decided
}

/// The blobs of these addresses, in as many exchanges as it takes.
pub async fn fetch_all(gw: &Gateway, custodian: AccountId, cids: &[Cid]) -> HashMap<Cid, Result<Bytes, FetchFault>> {
    let mut wanted = cids.to_vec();
    let mut have = HashMap::new();
    while !wanted.is_empty() {
        have.extend(fetch_some(gw, custodian, &wanted).await);
        wanted.retain(|cid| !have.contains_key(cid));
    }
    have
}

/// One exchange: those of the blobs asked for that came and have their hash.
async fn exchange(gw: &Gateway, custodian: AccountId, cids: &[Cid]) -> Result<HashMap<Cid, Bytes>, PeerError> {
    let addresses = cids.iter().map(ToString::to_string).collect();
    let body = ask(gw, custodian, Message::Blobs(addresses)).await?;
    let came = whole(cids, car::blocks(body).ok_or(PeerError::Form)?);
    for (cid, blob) in &came {
        gw.peers.cache(*cid, blob);
    }
    Ok(came)
}

/// Of the blocks that came those that were asked for and have their hash.
fn whole(cids: &[Cid], blocks: Vec<(Cid, Bytes)>) -> HashMap<Cid, Bytes> {
    let blocks = blocks.into_iter().filter(|(cid, block)| cids.contains(cid) && cid_of(block) == *cid);
    // A block is a part of the body it came in; kept so, one block would keep the whole body.
    blocks.map(|(cid, block)| (cid, Bytes::copy_from_slice(&block))).collect()
}

/// Answers a peer that asks for several blobs: those that are here and whole, in the order asked for, as long as the answer
/// is not too large. Whoever wants the rest asks again.
///
/// # Errors
/// 422 for what is no address, and for too many.
pub(super) async fn answer(gw: &Gateway, addresses: &[String]) -> Result<Reply, Fault> {
    if addresses.len() > BATCH {
        return Err(Fault::invalid(format!("at most {BATCH} blobs are given at once")).code("too-many"));
    }
    let cids: Result<Vec<Cid>, _> = addresses.iter().map(|text| parse_cid(text)).collect();
    let cids = cids.map_err(|e| Fault::invalid(e.to_string()))?;
    let found: Vec<_> = cids.iter().map(|cid| gw.blobs.get(cid)).collect();
    let mut found = stream::iter(found).buffered(READS);
    let mut body = car::begin();
    for cid in &cids {
        match found.next().await {
            Some(Ok(Some(blob))) => car::push(&mut body, cid, &blob),
            Some(Ok(None)) => {}
            Some(Err(BlobError::Spoiled(_))) => {
                tracing::error!(%cid, "a blob does not have its hash and is not given out");
            }
            Some(Err(_)) | None => return Err(Fault::unavailable("the block store does not answer")),
        }
        if body.len() >= ENOUGH {
            break;
        }
    }
    Ok(Reply::bytes(200, body).header("content-type", car::MEDIA_TYPE))
}

/// `GET /ipfs/{cid}?format=raw`: ciphertext, for anybody who knows its address.
///
/// # Errors
/// 400 for what is no address, 404 when it is not here, 500 when what is here is spoiled.
pub async fn serve_raw(gw: &Gateway, cid: &str) -> Result<Reply, Fault> {
    let cid = parse_cid(cid).map_err(|e| Fault::new(400, "value", e.to_string()).at("cid"))?;
    match gw.blobs.get(&cid).await {
        Ok(Some(blob)) => Ok(Reply::bytes(200, blob.to_vec())
            .header("content-type", "application/vnd.ipld.raw")
            .header("cache-control", "public, max-age=29030400, immutable")
            .header("x-content-type-options", "nosniff")
            .header("etag", format!("\"{cid}.raw\""))),
        Ok(None) => Err(Fault::not_found()),
        Err(BlobError::Spoiled(_)) => {
            tracing::error!(%cid, "a blob does not have its hash and is not given out");
            Err(Fault::internal("the blob is spoiled").code("spoiled"))
        }
        Err(_) => Err(Fault::unavailable("the block store does not answer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_was_not_asked_for_or_is_not_its_address_does_not_count() {
        let blob = |text: &'static str| (cid_of(text.as_bytes()), Bytes::from_static(text.as_bytes()));
        let (good, other, missing) = (blob("good"), blob("other"), blob("missing"));
        let swapped = (missing.0, Bytes::from_static(b"swapped"));
        let came = whole(&[good.0, missing.0], vec![good.clone(), other, swapped]);
        assert_eq!(came.into_iter().collect::<Vec<_>>(), [good]);
    }
}
