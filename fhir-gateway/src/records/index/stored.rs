//! A row as it lies in the database.
//!
//! ```text
//! row = form flags version type chart handle last-updated commitment [previous] plaintext-hash cid category [start end]
//!       client [account] [agent] [session] height later-by ordinal wrap [place]
//! ```

use vouchsafe_types::{AccountId, Count, Handle, Hash32, RecordId, SessionId, TimeMs};

use super::codec::{Reader, misformed, number, prefixed, signed};
use crate::{
    fhir::date::DateRange,
    records::{Actor, HistoryCursor, OpenError, RecordRow},
    seal::WrappedKey,
};

/// The form that is written.
const FORM: u8 = 1;

const TOMBSTONE: u8 = 1;
const PREVIOUS: u8 = 2;
const DATE: u8 = 4;
const ACCOUNT: u8 = 8;
const AGENT: u8 = 16;
const SESSION: u8 = 32;
const PLACE: u8 = 64;

/// A row, with what only the index knows of it.
pub(super) struct Stored {
    pub(super) row: RecordRow,
    /// Its place in the history.
    pub(super) at: HistoryCursor,
    /// The number of its document; none of an old version or a deleted record.
    pub(super) place: Option<u32>,
}

/// A row's bytes.
pub(super) fn encode(row: &RecordRow, at: HistoryCursor, place: Option<u32>) -> Vec<u8> {
    let mut out = Vec::with_capacity(320);
    out.push(FORM);
    let flag = |is: bool, flag: u8| if is { flag } else { 0 };
    out.push(
        flag(row.tombstone, TOMBSTONE)
            | flag(row.previous.is_some(), PREVIOUS)
            | flag(row.date().is_some(), DATE)
            | flag(row.by.account.is_some(), ACCOUNT)
            | flag(row.by.agent.is_some(), AGENT)
            | flag(row.session.is_some(), SESSION)
            | flag(place.is_some(), PLACE),
    );
    number(&mut out, row.version.0);
    prefixed(&mut out, row.resource_type.as_bytes());
    out.extend_from_slice(&row.chart.0);
    out.extend_from_slice(&row.handle.0);
    number(&mut out, row.last_updated.0);
    out.extend_from_slice(&row.commitment.0);
    if let Some(previous) = &row.previous {
        out.extend_from_slice(&previous.0);
    }
    out.extend_from_slice(&row.plaintext_hash.0);
    prefixed(&mut out, row.cid.as_bytes());
    prefixed(&mut out, row.category().code().as_bytes());
    if let Some(DateRange { start, end }) = row.date() {
        signed(&mut out, start);
        signed(&mut out, end - start);
    }
    prefixed(&mut out, row.by.client.as_bytes());
    if let Some(account) = &row.by.account {
        out.extend_from_slice(&account.0);
    }
    if let Some(agent) = &row.by.agent {
        out.extend_from_slice(&agent.0);
    }
    if let Some(session) = &row.session {
        out.extend_from_slice(&session.0);
    }
    number(&mut out, row.height.0);
    number(&mut out, at.0.saturating_sub(row.height.0));
    number(&mut out, at.1.into());
    out.extend_from_slice(row.custody_wrap.bytes());
    if let Some(place) = place {
        number(&mut out, place.into());
    }
    out
}

impl Stored {
    /// Reads the row of a record.
    pub(super) fn read(id: &RecordId, bytes: &[u8]) -> Result<Self, OpenError> {
        parse(id, bytes).ok_or_else(|| misformed("a row"))
    }
}

fn parse(id: &RecordId, bytes: &[u8]) -> Option<Stored> {
    let mut reader = Reader::new(bytes);
    if reader.byte()? != FORM {
        return None;
    }
    let flags = reader.byte()?;
    let has = |flag: u8| flags & flag != 0;
    let version = Count(reader.number()?);
    let resource_type = reader.text()?.to_owned();
    let (chart, handle) = (RecordId(reader.array()?), Handle(reader.array()?));
    let last_updated = TimeMs(reader.number()?);
    let commitment = Hash32(reader.array()?);
    let previous = if has(PREVIOUS) { Some(Hash32(reader.array()?)) } else { None };
    let plaintext_hash = Hash32(reader.array()?);
    let cid = reader.text()?.to_owned();
    let category = reader.text()?.parse().ok()?;
    let date = if has(DATE) {
        let start = reader.signed()?;
        Some(DateRange { start, end: start.checked_add(reader.signed()?)? })
    } else {
        None
    };
    let client = reader.text()?.to_owned();
    let account = if has(ACCOUNT) { Some(AccountId(reader.array()?)) } else { None };
    let agent = if has(AGENT) { Some(Hash32(reader.array()?)) } else { None };
    let session = if has(SESSION) { Some(SessionId(reader.array()?)) } else { None };
    let height = Count(reader.number()?);
    let at = HistoryCursor(height.0.checked_add(reader.number()?)?, reader.small()?);
    let custody_wrap = WrappedKey::from_bytes(reader.array()?);
    let place = if has(PLACE) { Some(reader.small()?) } else { None };
    reader.ended().then_some(())?;
    let by = Actor { client, account, agent };
    let row = RecordRow {
        id: *id,
        version,
        resource_type,
        chart,
        handle,
        last_updated,
        commitment,
        previous,
        plaintext_hash,
        cid,
        category,
        date,
        by,
        session,
        height,
        tombstone: has(TOMBSTONE),
        custody_wrap,
    };
    Some(Stored { row, at, place })
}
