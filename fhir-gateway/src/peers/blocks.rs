//! Blobs from other gateways, by IPFS's trustless gateway (<https://specs.ipfs.tech/http-gateways/trustless-gateway/>):
//! the address is the hash, so the holder need not be trusted.

use bytes::Bytes;
use cid::Cid;
use vouchsafe_types::AccountId;

use super::send::{address, whole};
use crate::{
    blobs::{BlobError, cid_of, parse_cid},
    gateway::Gateway,
    http::{Fault, Reply},
};

/// The most bytes that a blob may have: a body's limit and what sealing adds.
const MAX_BLOB: usize = 20 << 20;

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
    let blob = whole(&mut answer, MAX_BLOB).await.map_err(|_| FetchFault::Away)?.ok_or(FetchFault::Away)?;
    if cid_of(&blob) != *cid {
        return Err(FetchFault::Spoiled);
    }
    gw.peers.cache(*cid, &blob);
    Ok(blob)
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
