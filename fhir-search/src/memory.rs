//! Documents in memory: the foreign records of a session, and tests.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    convert::Infallible,
    hash::{BuildHasher, RandomState},
    ops::ControlFlow,
};

use crate::{Facts, FactsRef, Need, Seen, Term, Universe, terms};

/// Documents in memory. What they can be found by is zeroed when it is dropped, and the index over it holds keyed hashes
/// alone; so no Debug either.
#[derive(Clone)]
pub struct MemoryUniverse<K> {
    types: HashMap<Box<str>, Documents<K>>,
    places: HashMap<K, Box<str>>,
    hasher: RandomState,
}

/// The documents of one type.
#[derive(Clone)]
struct Documents<K> {
    by_key: BTreeMap<K, Document>,
    by_id: HashMap<Box<str>, K>,
    /// Which documents have a term. Two terms of one hash only cost a second look.
    by_term: HashMap<u64, BTreeSet<K>>,
}

#[derive(Clone)]
struct Document {
    id: Box<str>,
    last_updated: i64,
    facts: Facts,
}

impl<K> Default for MemoryUniverse<K> {
    fn default() -> Self {
        Self { types: HashMap::new(), places: HashMap::new(), hasher: RandomState::new() }
    }
}

impl<K> Default for Documents<K> {
    fn default() -> Self {
        Self { by_key: BTreeMap::new(), by_id: HashMap::new(), by_term: HashMap::new() }
    }
}

impl<K: Clone + Ord + std::hash::Hash> MemoryUniverse<K> {
    /// Adds a document. One that has its key, or its type and id, is replaced.
    pub fn insert(&mut self, key: K, resource_type: &str, id: &str, last_updated: i64, facts: Facts) {
        let before = self.types.get(resource_type).and_then(|documents| documents.by_id.get(id)).cloned();
        for key in before.iter().chain([&key]) {
            self.remove(key);
        }
        let documents = self.types.entry(resource_type.into()).or_default();
        for term in terms(facts.as_ref()) {
            documents.by_term.entry(self.hasher.hash_one(term)).or_default().insert(key.clone());
        }
        self.places.insert(key.clone(), resource_type.into());
        documents.by_id.insert(id.into(), key.clone());
        documents.by_key.insert(key, Document { id: id.into(), last_updated, facts });
    }

    /// Takes a document away; false when there is none of this key.
    pub fn remove(&mut self, key: &K) -> bool {
        let Some(documents) = self.places.remove(key).and_then(|name| self.types.get_mut(&name)) else { return false };
        let Some(document) = documents.by_key.remove(key) else { return false };
        documents.by_id.remove(&document.id);
        for term in terms(document.facts.as_ref()) {
            let hash = self.hasher.hash_one(term);
            if let Some(keys) = documents.by_term.get_mut(&hash) {
                keys.remove(key);
                if keys.is_empty() {
                    documents.by_term.remove(&hash);
                }
            }
        }
        true
    }

    /// How many documents there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// What a document of this key can be found by.
    pub fn facts(&self, key: &K) -> Option<FactsRef<'_>> {
        let documents = self.types.get(self.places.get(key)?)?;
        documents.by_key.get(key).map(|document| document.facts.as_ref())
    }

    /// The keys that have one of the terms of the list that finds fewest; None when nothing is needed.
    fn found(&self, documents: &Documents<K>, need: &Need) -> Option<BTreeSet<K>> {
        let sets = |list: &Vec<Term>| {
            list.iter().filter_map(|term| documents.by_term.get(&self.hasher.hash_one(term))).collect::<Vec<_>>()
        };
        let fewest = need.iter().map(sets).min_by_key(|sets| sets.iter().map(|keys| keys.len()).sum::<usize>())?;
        Some(fewest.into_iter().flatten().cloned().collect())
    }
}

impl Document {
    fn seen<'a, K>(&'a self, key: &'a K, resource_type: &'a str) -> Seen<'a, K> {
        Seen { key, resource_type, id: &self.id, last_updated: self.last_updated, facts: self.facts.as_ref() }
    }
}

impl<K: Clone + Ord + std::hash::Hash> Universe for MemoryUniverse<K> {
    type Key = K;
    type Error = Infallible;

    fn scan(
        &self,
        resource_type: &str,
        need: &Need,
        after: Option<&K>,
        each: &mut dyn FnMut(Seen<'_, K>) -> ControlFlow<()>,
    ) -> Result<(), Infallible> {
        use std::ops::Bound::{Excluded, Unbounded};
        let Some(documents) = self.types.get(resource_type) else { return Ok(()) };
        let beyond = (after.map_or(Unbounded, Excluded), Unbounded);
        let mut show = |(key, document): (_, &Document)| each(document.seen(key, resource_type));
        let _ = match self.found(documents, need) {
            None => documents.by_key.range::<K, _>(beyond).try_for_each(show),
            Some(keys) => {
                let found = keys.range::<K, _>(beyond).filter_map(|key| documents.by_key.get_key_value(key));
                found.into_iter().try_for_each(&mut show)
            }
        };
        Ok(())
    }

    fn get(&self, resource_type: &str, id: &str, each: &mut dyn FnMut(Seen<'_, K>)) -> Result<(), Infallible> {
        let Some(documents) = self.types.get(resource_type) else { return Ok(()) };
        if let Some((key, document)) = documents.by_id.get(id).and_then(|key| documents.by_key.get_key_value(key)) {
            each(document.seen(key, resource_type));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fact, FactsBuilder, term};

    fn facts(id: &str) -> Facts {
        let mut facts = FactsBuilder::default();
        let url = format!("Patient/{id}");
        facts.push(u16::MAX, Fact::Reference { resource_type: Some("Patient"), id: Some(id), url: &url });
        facts.finish()
    }

    fn found(universe: &MemoryUniverse<u32>, need: &Need, after: Option<u32>) -> Vec<(u32, String)> {
        let mut found = Vec::new();
        let _ = universe.scan("Basic", need, after.as_ref(), &mut |seen| {
            found.push((*seen.key, seen.id.to_owned()));
            ControlFlow::Continue(())
        });
        found
    }

    #[test]
    fn documents_are_replaced_by_key_and_by_id() {
        let mut universe = MemoryUniverse::default();
        for (key, id) in [(3, "c"), (1, "a"), (2, "b")] {
            universe.insert(key, "Basic", id, 0, facts("p"));
        }
        assert_eq!(found(&universe, &[], None), [(1, "a".into()), (2, "b".into()), (3, "c".into())]);
        universe.insert(5, "Basic", "a", 0, facts("q"));
        universe.insert(2, "Basic", "d", 0, facts("q"));
        assert_eq!(found(&universe, &[], None), [(2, "d".into()), (3, "c".into()), (5, "a".into())]);
        assert_eq!(found(&universe, &[vec![term::local("q")]], None), [(2, "d".into()), (5, "a".into())]);
        assert_eq!(found(&universe, &[vec![term::local("q")], vec![term::local("p")]], Some(5)), []);
        assert_eq!(found(&universe, &[vec![term::local("p")]], Some(2)), [(3, "c".into())]);
        let mut seen = 0;
        let _ = universe.get("Basic", "b", &mut |_| seen += 1);
        let _ = universe.get("Basic", "d", &mut |found| seen += *found.key);
        assert_eq!((seen, universe.len()), (2, 3));
        assert!(universe.remove(&2) && !universe.remove(&2) && universe.facts(&2).is_none());
        assert!(universe.remove(&3) && universe.remove(&5) && universe.is_empty());
        assert!(universe.types.values().all(|documents| documents.by_term.is_empty() && documents.by_id.is_empty()));
    }
}
