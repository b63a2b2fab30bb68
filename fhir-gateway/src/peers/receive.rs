//! What peers say: who may speak is judged before anything of it is looked at.

use std::sync::Arc;

use vouchsafe_types::{
    AccountId, Code, RequestId,
    jws::kid_of,
    state::{CredentialStatus, KeyRole},
};

use super::{
    blocks,
    message::{self, MAX_BYTES, Message},
};
use crate::{
    consents::{self, ledger_fault},
    gateway::Gateway,
    http::{Fault, Reply},
    ledger::{self, View},
    sessions,
};

/// Takes one message of a peer, as it was posted to `/peer`.
///
/// # Errors
/// 401 when the speaker is not a verified organisation; 400 and 422 when the message is not of its form; 503 when the
/// ledger does not answer.
pub async fn receive(gw: &Arc<Gateway>, body: &[u8]) -> Result<Reply, Fault> {
    if body.len() > MAX_BYTES {
        return Err(Fault::new(413, "too-long", format!("a message has at most {MAX_BYTES} bytes")));
    }
    let text = std::str::from_utf8(body).map_err(|_| Fault::malformed("a message is a compact JWS"))?;
    let (from, message) = open(gw, text).await?;
    act(gw, from, message).await
}

async fn open(gw: &Gateway, text: &str) -> Result<(AccountId, Message), Fault> {
    let view = View(&*gw.ledger);
    let kid = kid_of(text)?;
    let Some(key) = view.key(&kid).await.map_err(ledger_fault)? else {
        return Err(Fault::unauthenticated("the ledger knows no key of this kid"));
    };
    if key.role != KeyRole::Device || key.ended.is_some() {
        return Err(Fault::unauthenticated("the key is not an organisation's live key"));
    }
    let now = ledger::now(&*gw.ledger, &gw.clock);
    let organization = view.account(&key.account).await.map_err(ledger_fault)?;
    let Some(organization) = organization.filter(|a| a.role.is_organization()) else {
        return Err(Fault::unauthenticated("the key is not an organisation's"));
    };
    let credential = match organization.credential {
        Some(id) => view.credential(&key.account, &id).await.map_err(ledger_fault)?,
        None => None,
    };
    let verified = credential
        .is_some_and(|c| c.status == CredentialStatus::Verified && c.valid_until.is_none_or(|until| now < until));
    if !verified {
        return Err(
            Fault::unauthenticated("the organisation is not verified").code(Code::OrganizationNotVerified.name())
        );
    }
    let message = message::open(text, &gw.chain, &key.ed25519, key.account, gw.org, now)?;
    Ok((key.account, message))
}

async fn act(gw: &Arc<Gateway>, from: AccountId, message: Message) -> Result<Reply, Fault> {
    match message {
        Message::Directory(entries) => directory(gw, entries).await,
        Message::Sealed { request, jwes } => sealed(gw, from, request, jwes).await,
        Message::Manifest(jwe) => sessions::grantee::take_manifest(gw, from, &jwe).await,
        // Taking it again stores the same, so that a receipt that could not be taken may come again.
        Message::Receipt(jwe) => sessions::receipts::take(gw, from, &jwe).await,
        Message::Pull { custodian, handle } => return answer_pull(gw, custodian, handle).await,
        Message::Leaves { handle, records } => return sessions::evidence::answer(gw, handle, &records),
        Message::Blobs(addresses) => return blocks::answer(gw, &addresses).await,
    }?;
    Ok(Reply::bytes(200, b"{}".to_vec()).header("content-type", "application/json"))
}

async fn directory(gw: &Arc<Gateway>, entries: Vec<String>) -> Result<(), Fault> {
    // One bad entry must not keep the good ones away; the directory checks each custodian's signature.
    match gw.directory.put_all(&entries).await {
        Ok(refused) => {
            for error in refused {
                tracing::warn!(%error, "a replicated directory entry is refused");
            }
        }
        Err(error) => tracing::warn!(%error, "replicated directory entries are not kept"),
    }
    Ok(())
}

async fn sealed(gw: &Arc<Gateway>, from: AccountId, request: RequestId, jwes: Vec<String>) -> Result<(), Fault> {
    consents::keep_sealed(gw, from, request, jwes).await?;
    sessions::custodian::detail_came(gw, request);
    Ok(())
}

async fn answer_pull(gw: &Gateway, custodian: AccountId, handle: vouchsafe_types::Handle) -> Result<Reply, Fault> {
    if custodian != gw.org {
        return Err(Fault::not_found());
    }
    let entries =
        gw.directory.entries(&custodian, &handle).map_err(|_| Fault::internal("the directory is not readable"))?;
    let body = serde_json::to_vec(&entries).map_err(|_| Fault::internal("entries are text"))?;
    Ok(Reply::bytes(200, body).header("content-type", "application/json"))
}
