//! Which charts may hold a term: Bloom filters in memory, one for each type and each of 4,096 parts of all charts, made of
//! the lists of terms when a search first asks and added to with every commit. They say "no" for certain and "yes" perhaps,
//! so a search over all charts looks at the lists of a handful of charts only.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError, RwLock},
};

use vouchsafe_types::RecordId;

use super::terms::{Needed, TermList, hash};

/// So many bytes of filters are kept. When that is not enough, the type that takes most gives way, and of it all parts say
/// "perhaps" to everything.
const MOST: usize = 12 << 20;
/// A part begins with room for so many terms; each further slab has twice the room of the one before.
const FIRST: usize = 16;
/// Bits for each term; with six probes about one "yes" of a full slab in a thousand is wrong.
const BITS: usize = 16;
const PROBES: u32 = 6;

/// Into so many parts all charts fall; of a million records, a hundred in each chart, two or three charts in each.
const PARTS: usize = 1 << 12;

/// A part of all charts. An id begins with its time, which the charts of one year nearly share, so all of it counts.
pub(super) fn part_of(chart: &RecordId) -> u16 {
    let mixed = hash(&chart.0);
    u16::try_from(mixed >> 20).unwrap_or_default()
}

struct Slab {
    bits: Box<[u64]>,
    room: usize,
}

impl Slab {
    fn new(terms: usize) -> Self {
        Self { bits: vec![0; (terms * BITS).div_ceil(64)].into(), room: terms }
    }

    /// The bits of a hash.
    fn places(&self, hash: u32) -> impl Iterator<Item = (usize, u64)> + '_ {
        // Two independent halves give as many places as are wanted (Kirsch and Mitzenmacher).
        let spread = (u64::from(hash) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let (one, other) = (spread >> 32, spread & 0xffff_ffff | 1);
        let all = self.bits.len() as u64 * 64;
        (0..u64::from(PROBES)).map(move |n| {
            let bit = one.wrapping_add(n.wrapping_mul(other)) % all;
            (usize::try_from(bit / 64).unwrap_or(0), 1 << (bit % 64))
        })
    }

    fn may_hold(&self, hash: u32) -> bool {
        self.places(hash).all(|(at, bit)| self.bits[at] & bit != 0)
    }

    fn add(&mut self, hash: u32) {
        let places: Vec<(usize, u64)> = self.places(hash).collect();
        places.into_iter().for_each(|(at, bit)| self.bits[at] |= bit);
        self.room -= 1;
    }
}

#[derive(Default)]
struct Part {
    slabs: Vec<Slab>,
    /// True when something could not be added.
    lost: bool,
}

impl Part {
    fn may_hold(&self, hash: u32) -> bool {
        self.lost || self.slabs.iter().any(|slab| slab.may_hold(hash))
    }
}

/// The filters of one type, one for each part of all charts.
struct OfType {
    /// None when they gave way.
    parts: Option<Vec<Part>>,
    bytes: usize,
}

impl OfType {
    fn new() -> Self {
        let mut parts = Vec::new();
        parts.resize_with(PARTS, Part::default);
        Self { parts: Some(parts), bytes: 0 }
    }
}

struct Filters {
    of_type: HashMap<String, OfType>,
    bytes: usize,
    most: usize,
}

impl Filters {
    fn new(most: usize) -> Self {
        Self { of_type: HashMap::new(), bytes: 0, most }
    }

    /// The type whose filters take most gives way. A thousand Observations take the room of the Patient that they are
    /// about, and it is patients that are looked for over all charts, by identifier or by name.
    fn give_way(&mut self) {
        if let Some(most) = self.of_type.values_mut().max_by_key(|of_type| of_type.bytes) {
            self.bytes -= most.bytes;
            *most = OfType { parts: None, bytes: 0 };
        }
    }

    fn add(&mut self, addition: &Addition) {
        let at = usize::from(addition.part);
        let of_type = self.of_type.entry(addition.name.clone()).or_insert_with(OfType::new);
        let Some(part) = of_type.parts.as_mut().map(|parts| &mut parts[at]) else { return };
        let Some(hashes) = &addition.terms.hashes else {
            part.lost = true;
            return;
        };
        for hash in hashes.iter() {
            if part.may_hold(*hash) {
                continue;
            }
            if part.slabs.last().is_none_or(|slab| slab.room == 0) {
                let slab = Slab::new(FIRST << part.slabs.len().min(24));
                let bytes = slab.bits.len() * 8;
                self.bytes += bytes;
                of_type.bytes += bytes;
                part.slabs.push(slab);
            }
            if let Some(slab) = part.slabs.last_mut() {
                slab.add(*hash);
            }
        }
        while self.bytes > self.most {
            self.give_way();
        }
    }
}

/// A list of terms that was written.
pub(super) struct Addition {
    pub(super) name: String,
    pub(super) part: u16,
    pub(super) terms: TermList,
}

enum State {
    Unasked,
    /// The lists are being read; what is written meanwhile waits.
    Reading(Vec<Addition>),
    Ready(Filters),
}

/// Which charts may hold what.
pub(super) struct Summary {
    state: RwLock<State>,
    /// Held while the lists are read.
    reading: Mutex<()>,
    most: usize,
}

impl Default for Summary {
    fn default() -> Self {
        Self::with(MOST)
    }
}

impl Summary {
    fn with(most: usize) -> Self {
        Self { state: RwLock::new(State::Unasked), reading: Mutex::new(()), most }
    }

    /// Takes the lists that a committed batch wrote.
    pub(super) fn filed(&self, additions: Vec<Addition>) {
        match &mut *self.state.write().unwrap_or_else(PoisonError::into_inner) {
            // They will be read.
            State::Unasked => {}
            State::Reading(waiting) => waiting.extend(additions),
            State::Ready(filters) => additions.iter().for_each(|addition| filters.add(addition)),
        }
    }

    /// Which parts of all charts may hold documents of a type that have what is needed; `read` gives all lists when they
    /// were not read yet.
    pub(super) fn parts<E>(
        &self,
        name: &str,
        needed: &Needed,
        read: impl FnOnce(&mut dyn FnMut(Addition)) -> Result<(), E>,
    ) -> Result<Vec<bool>, E> {
        if let Some(parts) = self.ready(name, needed) {
            return Ok(parts);
        }
        let _reading: MutexGuard<'_, ()> = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(parts) = self.ready(name, needed) {
            return Ok(parts);
        }
        self.set(State::Reading(Vec::new()));
        let mut filters = Filters::new(self.most);
        if let Err(e) = read(&mut |addition| filters.add(&addition)) {
            self.set(State::Unasked);
            return Err(e);
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let State::Reading(waiting) = &*state {
            waiting.iter().for_each(|addition| filters.add(addition));
        }
        *state = State::Ready(filters);
        drop(state);
        Ok(self.ready(name, needed).unwrap_or_else(|| vec![true; PARTS]))
    }

    fn set(&self, new: State) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    fn ready(&self, name: &str, needed: &Needed) -> Option<Vec<bool>> {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Ready(filters) => Some(match filters.of_type.get(name) {
                None => vec![false; PARTS],
                Some(OfType { parts: None, .. }) => vec![true; PARTS],
                Some(OfType { parts: Some(parts), .. }) => {
                    parts.iter().map(|part| needed.met(|hash| part.may_hold(hash))).collect()
                }
            }),
            _ => None,
        }
    }

    /// How many bytes it keeps.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Ready(filters) => filters.bytes,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vouchsafe_fhir_search::Term;

    fn addition(part: u16, hashes: impl Iterator<Item = u32>) -> Addition {
        let terms = TermList { turn: 1, hashes: Some(hashes.collect()) };
        Addition { name: "Observation".into(), part, terms }
    }

    fn hashes(from: u32, count: u32) -> impl Iterator<Item = u32> {
        (from..from + count).map(|n| hash(&n.to_be_bytes()))
    }

    fn needed(n: u32) -> Needed {
        Needed::of(&[vec![Term(n.to_be_bytes().to_vec())]])
    }

    #[test]
    fn what_was_added_is_found_and_little_else() {
        let summary = Summary::default();
        let parts = summary.parts::<()>("Observation", &needed(7), |add| {
            (0..=255).for_each(|part| add(addition(part, hashes(u32::from(part) * 1_000, 1_000))));
            Ok(())
        });
        assert!(parts.unwrap()[0]);
        let never = |_: &mut dyn FnMut(Addition)| Err(());
        let mut wrong = 0;
        for n in 0..1_000 {
            let parts = summary.parts("Observation", &needed(n * 256), never).unwrap();
            assert!(parts[usize::try_from(n * 256 / 1_000).unwrap()]);
            wrong += parts.iter().filter(|may| **may).count() - 1;
        }
        // 255,000 questions to which "no" is right, each put to seven slabs.
        assert!(wrong < 2_500, "{wrong}");
        assert!(summary.parts("Patient", &needed(7), never).unwrap().iter().all(|may| !may));
        summary.filed(vec![addition(3, hashes(9_000_000, 1))]);
        assert!(summary.parts("Observation", &needed(9_000_000), never).unwrap()[3]);
    }

    #[test]
    fn a_list_that_says_nothing_makes_its_part_say_perhaps() {
        let summary = Summary::default();
        let silent = Addition { terms: TermList { turn: 1, hashes: None }, ..addition(9, std::iter::empty()) };
        let parts = summary.parts::<()>("Observation", &needed(1), |add| {
            add(silent);
            Ok(())
        });
        assert_eq!(parts.unwrap().iter().filter(|may| **may).count(), 1);
    }

    #[test]
    fn the_type_that_takes_most_gives_way_and_is_never_denied() {
        let summary = Summary::with(8_000);
        let patients =
            |part| Addition { name: "Patient".into(), ..addition(part, hashes(u32::from(part) * 1_000, 50)) };
        let parts = summary.parts::<()>("Observation", &needed(10), |add| {
            add(patients(0));
            (0..=9).for_each(|part| add(addition(part, hashes(u32::from(part) * 1_000, 300))));
            add(patients(7));
            Ok(())
        });
        assert!(parts.unwrap().iter().all(|may| *may), "nothing is known of Observations any more");
        summary.filed(vec![addition(3, hashes(0, 900))]);
        let never = |_: &mut dyn FnMut(Addition)| Err(());
        for part in [0, 7] {
            let parts = summary.parts("Patient", &needed(part * 1_000 + 7), never).unwrap();
            assert!(parts.iter().enumerate().all(|(at, may)| *may == (at == part as usize)));
        }
        assert!(summary.bytes() <= 8_000);
    }

    #[test]
    fn charts_that_came_in_one_hour_fall_into_many_parts() {
        let charts = (0..1_000).map(|_| crate::records::Records::new_id());
        let parts: std::collections::BTreeSet<u16> = charts.map(|chart| part_of(&chart)).collect();
        // A thousand balls in 4,096 boxes lie in 887.
        assert!((800..950).contains(&parts.len()), "{}", parts.len());
        assert!(parts.iter().all(|part| usize::from(*part) < PARTS));
    }
}
