//! What happened, in the order of commits: one small row for each group, one more for each chart and one for each type in
//! it. What happened to one record its versions tell themselves.
//!
//! ```text
//! table "history"        key = height first-ordinal
//! table "history-chart"  key = chart height first-ordinal
//! table "history-type"   key = blinded-type height first-ordinal
//! row = form time (ordinal-difference record version)…
//! ```
//!
//! `time` is the latest `last_updated` of this row and all rows before it, so that "since" knows where to end.

use std::collections::BTreeMap;

use vouchsafe_types::RecordId;

use super::{
    Document, Index,
    codec::{Reader, misformed, number},
    stored::Stored,
};
use crate::{
    records::{HistoryCursor, HistoryPage, HistoryPart, OpenError, Scope},
    store::{StoreError, Table, WriteBatch},
};

const ALL: Table = "history";
const BY_CHART: Table = "history-chart";
const BY_TYPE: Table = "history-type";

/// The form that is written.
const FORM: u8 = 1;
/// How many rows are read at once.
const AT_ONCE: usize = 64;

/// Where the history ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct End {
    height: u64,
    /// The ordinal that the next version at this height gets.
    next: u32,
    time: u64,
}

/// Newest first: the database gives rows by ascending keys.
fn key(prefix: &[u8], height: u64, first: u32) -> Vec<u8> {
    [prefix, &(!height).to_be_bytes(), &(!first).to_be_bytes()].concat()
}

struct Entry {
    ordinal: u32,
    record: RecordId,
    version: u64,
}

struct Row {
    height: u64,
    time: u64,
    /// By ascending ordinal.
    entries: Vec<Entry>,
}

fn encode(time: u64, first: u32, entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + entries.len() * 19);
    out.push(FORM);
    number(&mut out, time);
    let mut before = first;
    for entry in entries {
        number(&mut out, (entry.ordinal - before).into());
        out.extend_from_slice(&entry.record.0);
        number(&mut out, entry.version);
        before = entry.ordinal;
    }
    out
}

fn parse(key: &[u8], bytes: &[u8]) -> Option<Row> {
    let (_, place) = key.split_last_chunk::<12>()?;
    let mut place = Reader::new(place);
    let (height, first) = (!u64::from_be_bytes(place.array()?), !u32::from_be_bytes(place.array()?));
    let mut reader = Reader::new(bytes);
    if reader.byte()? != FORM {
        return None;
    }
    let time = reader.number()?;
    let (mut entries, mut before) = (Vec::new(), first);
    while !reader.ended() {
        before = before.checked_add(reader.small()?)?;
        entries.push(Entry { ordinal: before, record: RecordId(reader.array()?), version: reader.number()? });
    }
    Some(Row { height, time, entries })
}

fn read(key: &[u8], bytes: &[u8]) -> Result<Row, OpenError> {
    parse(key, bytes).ok_or_else(|| misformed("a row of the history"))
}

impl End {
    /// Reads where the history ends.
    pub(super) fn find(db: &crate::store::Db) -> Result<Self, StoreError> {
        let last = db.scan(ALL, &[], &[], 1)?.pop();
        Ok(last.and_then(|(key, value)| parse(&key, &value)).map_or_else(Self::default, |row| Self {
            height: row.height,
            next: row.entries.last().map_or(0, |entry| entry.ordinal + 1),
            time: row.time,
        }))
    }

    /// The ordinal that the first version of a group gets, which is committed at this height.
    pub(super) fn first(&self, height: u64) -> u32 {
        // A height below the newest was read from a ledger that knew less; the versions still come after.
        if height > self.height { 0 } else { self.next }
    }

    /// The height that a group is filed under.
    pub(super) fn height(&self, height: u64) -> u64 {
        height.max(self.height)
    }
}

/// Adds a group to the history.
pub(super) fn write(
    index: &Index,
    batch: &mut WriteBatch,
    end: End,
    height: u64,
    documents: &[Document<'_>],
) -> Result<End, OpenError> {
    let (height, first) = (end.height(height), end.first(height));
    let time = documents.iter().map(|document| document.row.last_updated.0).max().unwrap_or(0).max(end.time);
    let too_many = || OpenError::Unavailable("a block commits more versions than can be counted".into());
    let count = u32::try_from(documents.len()).map_err(|_| too_many())?;
    let next = first.checked_add(count).ok_or_else(too_many)?;
    let mut charts: BTreeMap<RecordId, Vec<Entry>> = BTreeMap::new();
    let mut types: BTreeMap<&str, Vec<Entry>> = BTreeMap::new();
    let mut all = Vec::with_capacity(documents.len());
    for (ordinal, Document { row, .. }) in (first..next).zip(documents) {
        let entry = || Entry { ordinal, record: row.id, version: row.version.0 };
        charts.entry(row.chart).or_default().push(entry());
        types.entry(&row.resource_type).or_default().push(entry());
        all.push(entry());
    }
    let mut put = |table: Table, prefix: &[u8], entries: &[Entry]| {
        if let Some(first) = entries.first() {
            batch.put(table, key(prefix, height, first.ordinal), encode(time, first.ordinal, entries));
        }
    };
    put(ALL, &[], &all);
    charts.iter().for_each(|(chart, entries)| put(BY_CHART, &chart.0, entries));
    types.iter().for_each(|(name, entries)| put(BY_TYPE, &index.type_key(name), entries));
    Ok(End { height, next, time })
}

/// How many versions each table of the history names.
pub(super) fn counts(db: &crate::store::Db) -> Result<Vec<(Table, usize)>, OpenError> {
    let mut counts = Vec::new();
    for table in [ALL, BY_CHART, BY_TYPE] {
        let (mut count, mut from) = (0, Vec::new());
        loop {
            let rows = db.scan(table, &[], &from, AT_ONCE)?;
            for (key, value) in &rows {
                count += read(key, value)?.entries.len();
            }
            match rows.last() {
                Some((key, _)) => from = [key.as_slice(), &[0]].concat(),
                None => break,
            }
        }
        counts.push((table, count));
    }
    Ok(counts)
}

impl Index {
    /// One page of a history.
    pub(in crate::records) fn history(&self, scope: &Scope, part: &HistoryPart) -> Result<HistoryPage, OpenError> {
        let mut page = Page { part, page: HistoryPage::default(), last: None };
        if part.count == 0 {
            return Ok(page.page);
        }
        match scope {
            Scope::All => self.page_of(ALL, &[], &mut page)?,
            Scope::Chart(chart) => self.page_of(BY_CHART, &chart.0, &mut page)?,
            Scope::Type(name) => self.page_of(BY_TYPE, &self.type_key(name), &mut page)?,
            Scope::Record(id) => {
                let Some(latest) = self.stored(id)? else { return Ok(page.page) };
                let before = (1..latest.row.version.0).rev();
                page.take(latest);
                for version in before {
                    if page.page.next.is_some() {
                        break;
                    }
                    let missing = || OpenError::Integrity("a version of this record is missing".into());
                    page.take(self.old(id, version)?.ok_or_else(missing)?);
                }
            }
        }
        Ok(page.page)
    }

    fn page_of(&self, table: Table, prefix: &[u8], page: &mut Page<'_>) -> Result<(), OpenError> {
        let mut from = match page.part.before {
            // The row that holds the place before this one begins there or earlier.
            Some(HistoryCursor(height, 0)) => match height.checked_sub(1) {
                Some(height) => key(prefix, height, u32::MAX),
                None => return Ok(()),
            },
            Some(HistoryCursor(height, ordinal)) => key(prefix, height, ordinal - 1),
            None => prefix.to_vec(),
        };
        loop {
            let rows = self.db().scan(table, prefix, &from, AT_ONCE)?;
            let last = rows.len() < AT_ONCE;
            for (key, value) in &rows {
                let row = read(key, value)?;
                if page.part.since.is_some_and(|since| row.time < since.0) {
                    return Ok(());
                }
                for entry in row.entries.iter().rev() {
                    if page.before(HistoryCursor(row.height, entry.ordinal)) {
                        let missing = || OpenError::Integrity("the history names a version that is not there".into());
                        page.take(self.version(&entry.record, entry.version)?.ok_or_else(missing)?);
                        if page.page.next.is_some() {
                            return Ok(());
                        }
                    }
                }
            }
            match rows.last() {
                Some((key, _)) if !last => from = [key.as_slice(), &[0]].concat(),
                _ => return Ok(()),
            }
        }
    }
}

/// A page that is being filled. When it is full, one more version shows that there is another page.
struct Page<'a> {
    part: &'a HistoryPart,
    page: HistoryPage,
    /// The place of the last version on it.
    last: Option<HistoryCursor>,
}

impl Page<'_> {
    fn before(&self, place: HistoryCursor) -> bool {
        self.part.before.is_none_or(|before| place < before)
    }

    fn take(&mut self, stored: Stored) {
        let Stored { row, at, .. } = stored;
        if self.part.since.is_some_and(|since| row.last_updated < since) || !self.before(at) {
            return;
        }
        if self.page.rows.len() < self.part.count {
            self.page.rows.push(row);
            self.last = Some(at);
        } else {
            self.page.next = self.last;
        }
    }
}
