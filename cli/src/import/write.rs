//! Writing the entries of a set: in transactions, in an order in which what is referred to comes first. When a transaction is
//! refused because of one entry, that entry is set aside with what depends on it, and the rest goes in.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;

use super::{
    Import, Weight,
    gateway::{Refusal, Sent, reason},
    plan::{Chunk, plan},
    set::{Fate, Set},
};
use crate::{
    bench::named,
    exit::{Failure, Kind, Outcome},
};

/// So often entries are set aside from one transaction; then it is halved, because many of its entries may be wrong.
const ROUNDS: u32 = 3;

/// Why what refers to a refused entry is not stored either.
const DEPENDS: &str = "refers to an entry that was not stored";

/// Entries that stay together, in an order in which they depend on each other.
type Groups = Vec<Vec<u32>>;

impl Import {
    /// Writes all entries of a set that are not stored.
    pub(super) async fn write(&self, set: &Set) -> Outcome {
        self.leave_out(set);
        let waiting: Vec<u32> = self.waiting(set);
        let bytes: usize = waiting.iter().map(|e| set.bytes(*e)).sum();
        if waiting.len() <= self.most.entries && bytes <= self.most.bytes {
            // What fits into one transaction needs no order.
            return self.chunk(set, waiting.into_iter().map(|e| vec![e]).collect()).await;
        }
        let chunks = plan(set.edges(), |e| set.bytes(e), self.most);
        for wave in waves(&chunks) {
            let writes = wave.into_iter().map(|number| self.chunk(set, chunks[number].groups.clone()));
            stream::iter(writes).buffer_unordered(self.connections).try_for_each(|()| async { Ok(()) }).await?;
        }
        Ok(())
    }

    /// Notes in the journal that all of a file is stored, when it is.
    pub(super) fn note_whole(&self, set: &Set) -> Outcome {
        let fates: Vec<Fate> = (0..set.entries.len()).map(|e| set.fate(index(e))).collect();
        let stored = fates.iter().filter(|f| matches!(f, Fate::Stored(_))).count();
        let left_out = fates.iter().filter(|f| matches!(f, Fate::LeftOut)).count();
        match set.files.first() {
            Some(file) if stored + left_out == set.entries.len() => self.journal.whole(&file.name, index(stored)),
            _ => Ok(()),
        }
    }

    fn waiting(&self, set: &Set) -> Vec<u32> {
        (0..set.entries.len()).map(index).filter(|e| set.fate(*e) == Fate::Waiting).collect()
    }

    fn takes(&self, kind: &str) -> bool {
        self.creatable.as_ref().is_none_or(|types| types.contains(kind))
    }

    /// Sets aside what the gateway does not take from a client.
    fn leave_out(&self, set: &Set) {
        for entry in self.waiting(set) {
            let kind = &set.entries[entry as usize].kind;
            if !self.takes(kind) {
                let reason = format!("{kind}: the gateway makes it itself, or does not store it");
                self.tally.not_stored(Weight::LeftOut, &reason, set.place(entry), String::new());
                set.became(entry, Fate::LeftOut);
            }
        }
    }

    /// Writes entries in one transaction, or in as many as it takes when some are refused.
    async fn chunk(&self, set: &Set, groups: Groups) -> Outcome {
        let (first, again) = self.apart(set, groups);
        self.rounds(set, first).await?;
        self.rounds(set, again).await
    }

    async fn rounds(&self, set: &Set, groups: Groups) -> Outcome {
        let mut work: Vec<(Groups, u32)> = vec![(groups, 0)];
        while let Some((groups, rounds)) = work.pop() {
            let groups = self.standing(set, groups)?;
            if groups.is_empty() {
                continue;
            }
            let sent: Vec<u32> = groups.iter().flatten().copied().collect();
            let Some(refusal) = self.send(set, &sent).await? else { continue };
            let bad = self.set_aside(set, &sent, &refusal)?;
            let rest = self.standing(set, in_order(set, &sent))?;
            match rest.as_slice() {
                [] => {}
                // Nothing says what is wrong, and there is nothing left to halve.
                [alone] if bad == 0 => self.refuse_all(set, alone, &refusal)?,
                [_, ..] if bad > 0 && rounds + 1 < ROUNDS => work.push((rest, rounds + 1)),
                _ => {
                    let (front, back) = rest.split_at(rest.len().div_ceil(2));
                    work.push((back.to_vec(), 0));
                    work.push((front.to_vec(), 0));
                }
            }
        }
        Ok(())
    }

    /// What is to be written of the groups, apart from what an earlier import noted as refused: a transaction that was
    /// under way when that import ended was without those, and is sent again as it was.
    fn apart(&self, set: &Set, groups: Groups) -> (Groups, Groups) {
        let files: BTreeSet<u32> = groups.iter().flatten().map(|e| set.entries[*e as usize].file).collect();
        let mut refused = BTreeSet::new();
        for file in files {
            let known = self.journal.refused_of(&set.files[file as usize].name);
            refused.extend(known.into_iter().map(|number| (file, number)));
        }
        let was_refused = |e: &u32| {
            let entry = &set.entries[*e as usize];
            refused.contains(&(entry.file, entry.number))
        };
        groups.into_iter().partition(|group| !group.iter().any(was_refused))
    }

    /// What is still to be written, without what refers to something that was refused.
    fn standing(&self, set: &Set, groups: Groups) -> Outcome<Groups> {
        let mut depending = Vec::new();
        if set.any_refused() {
            let gone = |e: &u32| set.edges().of(*e).iter().any(|t| set.fate(*t) == Fate::Refused);
            for group in groups.iter().filter(|g| g.iter().any(gone)) {
                for entry in group.iter().filter(|e| set.fate(**e) == Fate::Waiting) {
                    self.refuse(set, *entry, DEPENDS, set.place(*entry), String::new());
                    depending.push(*entry);
                }
            }
        }
        self.note_refused(set, &depending)?;
        let open = groups.into_iter().map(|g| g.into_iter().filter(|e| set.fate(*e) == Fate::Waiting).collect());
        Ok(open.filter(|g: &Vec<u32>| !g.is_empty()).collect())
    }

    /// Sends one transaction; none when it was done.
    async fn send(&self, set: &Set, entries: &[u32]) -> Outcome<Option<Refusal>> {
        let _permit = self.sending.acquire().await.map_err(|e| Failure::new(Kind::Error, e.to_string()))?;
        let mut body = br#"{"resourceType":"Bundle","type":"transaction","entry":["#.to_vec();
        for (n, entry) in entries.iter().enumerate() {
            if n > 0 {
                body.push(b',');
            }
            set.write(*entry, &mut body)?;
        }
        body.extend(b"]}");
        let file = &set.files[set.entries[entries[0] as usize].file as usize].name;
        let key = self.blind.request(file, &body);
        match self.gateway.transaction(body.into(), &key).await? {
            Sent::Refused(refusal) => Ok(Some(refusal)),
            Sent::Done(answers) => self.done(set, entries, &answers).map(|()| None),
        }
    }

    fn done(&self, set: &Set, entries: &[u32], answers: &[Value]) -> Outcome {
        if answers.len() != entries.len() {
            let what = format!("a transaction of {} entries was answered with {}", entries.len(), answers.len());
            return Err(Failure::new(Kind::Error, what));
        }
        let mut noted: BTreeMap<u32, Vec<(u32, String)>> = BTreeMap::new();
        let mut already = 0;
        for (entry, answer) in entries.iter().zip(answers) {
            let response = &answer["response"];
            let name = response["location"].as_str().and_then(named).unwrap_or_default();
            let id = name.split_once('/').map_or("", |(_, id)| id);
            let at = &set.entries[*entry as usize];
            let is_old = response["status"].as_str().is_some_and(|s| s.starts_with("200"));
            already += u64::from(is_old && at.asks_if_none_exist());
            set.became(*entry, Fate::Stored(id.into()));
            noted.entry(at.file).or_default().push((at.number, id.to_owned()));
        }
        for (file, list) in noted {
            self.journal.stored(&set.files[file as usize].name, list)?;
        }
        self.tally.already(already);
        self.tally.stored(entries.len() as u64 - already);
        Ok(())
    }

    /// Sets aside the entries that a refusal names, by their numbers in the transaction that was sent; says how many.
    fn set_aside(&self, set: &Set, sent: &[u32], refusal: &Refusal) -> Outcome<usize> {
        let mut bad = Vec::new();
        for issue in &refusal.issues {
            let Some((number, rest)) = numbered(&issue.expression) else { continue };
            let Some(entry) = sent.get(number).copied().filter(|e| set.fate(*e) == Fate::Waiting) else { continue };
            let why = format!("{} {}", refusal.status, issue.code);
            self.refuse(set, entry, &why, format!("{}{rest}", set.place(entry)), issue.text.clone());
            bad.push(entry);
        }
        self.note_refused(set, &bad)?;
        Ok(bad.len())
    }

    /// Sets aside what was refused without a word about which entry it is.
    fn refuse_all(&self, set: &Set, entries: &[u32], refusal: &Refusal) -> Outcome {
        let issue = refusal.issues.first().cloned().unwrap_or_default();
        let code = if issue.code.is_empty() { reason(refusal.status).to_owned() } else { issue.code };
        for entry in entries {
            let place = format!("{} {}", set.place(*entry), issue.expression).trim_end().to_owned();
            self.refuse(set, *entry, &format!("{} {code}", refusal.status), place, issue.text.clone());
        }
        self.note_refused(set, entries)
    }

    fn refuse(&self, set: &Set, entry: u32, why: &str, place: String, text: String) {
        self.tally.not_stored(Weight::Refused, why, place, text);
        set.became(entry, Fate::Refused);
    }

    /// Notes what was set aside before what is left is tried, so that an import that goes on tries the same.
    fn note_refused(&self, set: &Set, entries: &[u32]) -> Outcome {
        let mut by_file: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for entry in entries {
            let at = &set.entries[*entry as usize];
            by_file.entry(at.file).or_default().push(at.number);
        }
        by_file.into_iter().try_for_each(|(file, list)| self.journal.refused(&set.files[file as usize].name, list))
    }
}

fn index(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Entries as circles of references in an order in which each comes after what it refers to.
fn in_order(set: &Set, entries: &[u32]) -> Groups {
    let ranks = set.ranks();
    let mut sorted = entries.to_vec();
    sorted.sort_by_key(|e| ranks[*e as usize]);
    sorted.chunk_by(|a, b| ranks[*a as usize] == ranks[*b as usize]).map(<[u32]>::to_vec).collect()
}

/// The chunks in waves: those of a wave refer only to earlier waves, and are written side by side.
fn waves(chunks: &[Chunk]) -> Vec<Vec<usize>> {
    let mut wave_of: Vec<usize> = Vec::new();
    let mut waves: Vec<Vec<usize>> = Vec::new();
    for (number, chunk) in chunks.iter().enumerate() {
        let wave = chunk.after.iter().map(|c| wave_of[*c] + 1).max().unwrap_or(0);
        wave_of.push(wave);
        if waves.len() <= wave {
            waves.resize_with(wave + 1, Vec::new);
        }
        waves[wave].push(number);
    }
    waves
}

/// The number of the entry in an expression such as `Bundle.entry[17].resource.status`, and what follows it.
fn numbered(expression: &str) -> Option<(usize, &str)> {
    let (number, rest) = expression.strip_prefix("Bundle.entry[")?.split_once(']')?;
    Some((number.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_written_side_by_side_unless_they_refer_to_each_other() {
        let chunk = |after: &[usize]| Chunk { groups: Vec::new(), after: after.to_vec() };
        let chunks = [chunk(&[]), chunk(&[]), chunk(&[1]), chunk(&[0, 2]), chunk(&[0])];
        assert_eq!(waves(&chunks), [vec![0, 1], vec![2, 4], vec![3]]);
    }

    #[test]
    fn an_expression_names_its_entry() {
        assert_eq!(numbered("Bundle.entry[17].resource.status"), Some((17, ".resource.status")));
        assert_eq!(numbered("Bundle.entry[0]"), Some((0, "")));
        assert_eq!(numbered("Bundle.entry"), None);
        assert_eq!(numbered("Patient.name[0]"), None);
    }
}
