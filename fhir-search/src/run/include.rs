//! `_include` and `_revinclude` (<https://hl7.org/fhir/R4/search.html#include>).

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    ops::ControlFlow::{Break, Continue},
};

use super::{Hit, Limits, Mode, ONE_SCAN, RunError, Session, hit, order::SortedAt, too_costly};
use crate::{
    FactsRef, Kind, Param, Query, Universe,
    query::{Include, known_type, targets},
    table, term,
};

/// What `_include` and `_revinclude` add to a page: each document once, and none that is on the page.
///
/// # Errors
/// When there are more than may be, or when they cannot be had.
pub fn includes<U: Universe>(
    universe: &U,
    query: &Query,
    page: &[Hit<U::Key>],
    limits: &Limits,
) -> Result<Vec<Hit<U::Key>>, RunError<U::Error>> {
    let mut added = Added {
        session: Session::new(universe, limits),
        most: limits.included,
        known: page.iter().map(|hit| (hit.place.resource_type, hit.id.clone())).collect(),
        hits: Vec::new(),
    };
    let mut asked = query.included().iter().collect::<Vec<_>>();
    let mut from = by_type(page);
    while !from.is_empty() && !asked.is_empty() {
        let before = added.hits.len();
        for include in &asked {
            if include.reverse { added.referring(include, &from)? } else { added.referred(include, &from)? }
        }
        // Only what was found in this round leads on, so that circles of references end.
        from = by_type(&added.hits[before..]);
        asked.retain(|include| include.iterate);
    }
    Ok(added.hits)
}

/// Ids by type.
type Ids = BTreeMap<&'static str, BTreeSet<String>>;

fn by_type<K>(hits: &[Hit<K>]) -> Ids {
    let mut ids = Ids::new();
    for hit in hits {
        ids.entry(hit.place.resource_type).or_default().insert(hit.id.clone());
    }
    ids
}

struct Added<'u, U: Universe> {
    session: Session<'u, U>,
    most: usize,
    known: HashSet<(&'static str, String)>,
    hits: Vec<Hit<U::Key>>,
}

impl<U: Universe> Added<'_, U> {
    /// Adds what the documents refer to.
    fn referred(&mut self, include: &Include, from: &Ids) -> Result<(), RunError<U::Error>> {
        for (source, ids) in from.iter().filter(|(name, _)| include.source.is_none_or(|source| source == **name)) {
            let params = references(include, source);
            let mut wanted = BTreeSet::new();
            for id in ids {
                let mut looked = Ok(());
                let collect = &mut |seen: crate::Seen<'_, U::Key>| {
                    looked = self.session.look(&include.parameter, 1);
                    wanted.extend(params.iter().flat_map(|param| leading(include, param, seen.facts)));
                };
                self.session.universe.get(source, id, collect).map_err(RunError::Universe)?;
                looked?;
            }
            for (resource_type, id) in wanted {
                self.add(include, resource_type, &id)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, include: &Include, resource_type: &'static str, id: &str) -> Result<(), RunError<U::Error>> {
        if self.known.contains(&(resource_type, id.to_owned())) {
            return Ok(());
        }
        self.session.look(&include.parameter, 1)?;
        let mut found = None;
        let show = &mut |seen: crate::Seen<'_, U::Key>| found = Some(hit(resource_type, &seen, SortedAt::default()));
        self.session.universe.get(resource_type, id, show).map_err(RunError::Universe)?;
        found.map_or(Ok(()), |hit| self.push(include, hit))
    }

    fn push(&mut self, include: &Include, hit: Hit<U::Key>) -> Result<(), RunError<U::Error>> {
        if self.hits.len() >= self.most {
            return Err(too_costly(&include.parameter, "more documents would come along than one page may have"));
        }
        self.known.insert((hit.place.resource_type, hit.id.clone()));
        self.hits.push(Hit { mode: Mode::Include, ..hit });
        Ok(())
    }

    /// Adds what refers to the documents.
    fn referring(&mut self, include: &Include, to: &Ids) -> Result<(), RunError<U::Error>> {
        let to = to.iter().filter(|(name, _)| include.target.is_none_or(|target| target == **name)).collect::<Vec<_>>();
        if to.is_empty() {
            return Ok(());
        }
        let need = [term::or_overflow(to.iter().flat_map(|(_, ids)| ids.iter().map(|id| term::local(id))).collect())];
        let here = |of: &str, id: &str| to.iter().any(|(name, ids)| **name == of && ids.contains(id));
        let sources = match include.source {
            Some(source) => vec![source],
            None => vouchsafe_fhir_structure::RESOURCE_TYPES.to_vec(),
        };
        for source in sources {
            self.session.look(&include.parameter, ONE_SCAN)?;
            let params = references(include, source);
            let (mut found, mut result) = (Vec::new(), Ok(()));
            let room = self.most - self.hits.len();
            let show = &mut |seen: crate::Seen<'_, U::Key>| {
                result = self.session.look(&include.parameter, 1);
                let mut refers = params.iter().flat_map(|param| leading(include, param, seen.facts));
                if refers.any(|(of, id)| here(of, &id)) && !self.known.contains(&(source, seen.id.to_owned())) {
                    found.push(hit(source, &seen, SortedAt::default()));
                }
                // One more than there is room for is enough to refuse.
                if result.is_ok() && found.len() <= room { Continue(()) } else { Break(()) }
            };
            self.session.universe.scan(source, &need, None, show).map_err(RunError::Universe)?;
            result?;
            for hit in found {
                self.push(include, hit)?;
            }
        }
        Ok(())
    }
}

/// The parameters of a type that are asked for.
fn references(include: &Include, source: &str) -> Vec<&'static Param> {
    match include.param {
        Some(param) => vec![param],
        None => table::params(source).iter().copied().filter(|param| param.kind == Kind::Reference).collect(),
    }
}

/// What the references of a parameter lead to, as far as it is of the type that is asked for.
fn leading(include: &Include, param: &Param, facts: FactsRef<'_>) -> Vec<(&'static str, String)> {
    let found = targets(facts, param.number).filter_map(|(of, id)| Some((known_type(of?)?, id.to_owned())));
    found.filter(|(of, _)| include.target.is_none_or(|target| target == *of)).collect()
}
