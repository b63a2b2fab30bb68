//! How the matches of one type are found: what is judged on the document itself, what asks for others, and where to look.
//!
//! A chain or a `_has` is answered from its far end when the near end is not narrowed down already: the Patients of a name
//! are few, and their Observations are found by reference. Else the few documents of the near end are followed one by one.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap, HashSet},
    ops::ControlFlow::{self, Break, Continue},
};

use super::{ONE_SCAN, RunError, Session};
use crate::{
    Need, Seen, Term, Universe,
    query::{Clause, Part, Test, narrows, need_of, refers_to, targets},
    term,
};

/// How many documents may be asked for one by one instead of looking through their type.
const FEW: usize = 1000;

/// How many ids are kept at once, some megabytes; few in tests, so that they meet it.
const MOST_KEPT: usize = if cfg!(test) { 1_500 } else { 100_000 };
/// How many bytes of facts are compared with a value for the cost of one document: those of several documents.
const BYTES_AT_ONCE: usize = 8 * 1024;

pub(super) struct Plan<'q> {
    resource_type: &'static str,
    clauses: &'q [Clause],
    remote: Vec<Remote<'q>>,
    need: Vec<Vec<Term>>,
    /// Matches have one of these ids.
    ids: Option<BTreeSet<Box<str>>>,
    /// Matches have this id or refer to it.
    around: Option<&'q str>,
    /// Whom to name when it costs too much.
    parameter: &'q str,
    /// How many values a document is compared with.
    values: usize,
}

/// A condition that looks at other documents.
enum Remote<'q> {
    /// A reference leads to one of these.
    LeadsTo { number: u16, found: Vec<(&'static str, HashSet<Box<str>>)> },
    /// Its id is one of these.
    Among(HashSet<Box<str>>),
    /// A reference leads to a document that meets a plan.
    Follow { number: u16, targets: Vec<Plan<'q>>, known: Vec<RefCell<HashMap<Box<str>, bool>>> },
    /// A document that meets a plan refers to it.
    Referred { number: u16, plan: Plan<'q> },
}

type Outcome<T, U> = Result<T, RunError<<U as Universe>::Error>>;

impl<'q> Plan<'q> {
    pub(super) fn new<U: Universe>(
        session: &Session<'_, U>,
        resource_type: &'static str,
        part: &'q Part,
    ) -> Outcome<Self, U> {
        let parameter = part.clauses.first().map_or(resource_type, |clause| &clause.parameter);
        Self::make(session, resource_type, &part.clauses, parameter, false)
    }

    fn make<U: Universe>(
        session: &Session<'_, U>,
        resource_type: &'static str,
        clauses: &'q [Clause],
        parameter: &'q str,
        narrowed: bool,
    ) -> Outcome<Self, U> {
        let narrowed = narrowed || clauses.iter().any(|clause| narrows(&clause.test));
        let mut plan = Self {
            resource_type,
            clauses,
            remote: Vec::new(),
            need: need_of(clauses),
            ids: None,
            around: None,
            parameter,
            values: clauses.iter().map(|clause| clause.test.values()).sum(),
        };
        for clause in clauses {
            match &clause.test {
                Test::Id(ids) => {
                    let ids = ids.iter().cloned().collect();
                    plan.ids = Some(match plan.ids {
                        Some(before) => &before & &ids,
                        None => ids,
                    });
                }
                Test::Compartment { id, own: true, .. } => plan.around = Some(id),
                Test::Chain { number, targets } => plan.chain(session, clause, *number, targets, narrowed)?,
                Test::Has { resource_type: from, number, clause: inner } => {
                    let inner = std::slice::from_ref(&**inner);
                    let inner = Self::make(session, from, inner, &clause.parameter, narrowed)?;
                    plan.has(session, *number, inner, narrowed)?;
                }
                _ => {}
            }
        }
        Ok(plan)
    }

    fn chain<U: Universe>(
        &mut self,
        session: &Session<'_, U>,
        clause: &'q Clause,
        number: u16,
        targets: &'q [(&'static str, Clause)],
        narrowed: bool,
    ) -> Outcome<(), U> {
        let inner = |(name, inner): &'q (&'static str, Clause)| {
            Self::make(session, name, std::slice::from_ref(inner), &clause.parameter, narrowed)
        };
        let plans = targets.iter().map(inner).collect::<Result<Vec<_>, _>>()?;
        if !narrowed && plans.iter().all(Self::is_narrow) {
            let (mut found, mut few) = (Vec::new(), 0);
            for plan in &plans {
                session.look(&clause.parameter, ONE_SCAN)?;
                let mut ids = HashSet::<Box<str>>::new();
                plan.matches(session, None, &mut |seen| {
                    ids.insert(seen.id.into());
                    few += 1;
                    if few > FEW { Break(()) } else { Continue(()) }
                })?;
                found.push((plan.resource_type, ids));
            }
            if few <= FEW {
                let terms = found.iter().flat_map(|(_, ids)| ids.iter().map(|id| term::local(id))).collect();
                self.need.push(term::or_overflow(terms));
                self.remote.push(Remote::LeadsTo { number, found });
                return Ok(());
            }
        }
        let known = plans.iter().map(|_| RefCell::default()).collect();
        self.remote.push(Remote::Follow { number, targets: plans, known });
        Ok(())
    }

    fn has<U: Universe>(
        &mut self,
        session: &Session<'_, U>,
        number: u16,
        inner: Self,
        narrowed: bool,
    ) -> Outcome<(), U> {
        // What has no narrow far end is asked for document by document: the first that refers ends the question.
        if narrowed || !inner.is_narrow() {
            self.remote.push(Remote::Referred { number, plan: inner });
            return Ok(());
        }
        session.look(inner.parameter, ONE_SCAN)?;
        let mut found = HashSet::<Box<str>>::new();
        inner.matches(session, None, &mut |seen| {
            if found.len() > MOST_KEPT {
                return Break(());
            }
            let here = targets(seen.facts, number).filter(|(of, _)| of.is_none_or(|of| of == self.resource_type));
            for (_, id) in here {
                if !found.contains(id) {
                    found.insert(id.into());
                }
            }
            Continue(())
        })?;
        if found.len() > MOST_KEPT {
            self.remote.push(Remote::Referred { number, plan: inner });
            return Ok(());
        }
        if self.ids.is_none() && self.need.is_empty() && found.len() <= FEW {
            self.ids = Some(found.iter().cloned().collect());
        }
        self.remote.push(Remote::Among(found));
        Ok(())
    }

    /// True when its matches are found without looking through all of the type.
    fn is_narrow(&self) -> bool {
        self.ids.is_some() || !self.need.is_empty()
    }

    /// Shows the matches after `after`, in the order of their keys.
    pub(super) fn matches<U: Universe>(
        &self,
        session: &Session<'_, U>,
        after: Option<&U::Key>,
        each: &mut dyn FnMut(&Seen<'_, U::Key>) -> ControlFlow<()>,
    ) -> Outcome<(), U> {
        self.matches_with(session, &self.need, after, each)
    }

    fn matches_with<U: Universe>(
        &self,
        session: &Session<'_, U>,
        need: &Need,
        after: Option<&U::Key>,
        each: &mut dyn FnMut(&Seen<'_, U::Key>) -> ControlFlow<()>,
    ) -> Outcome<(), U> {
        let mut result = Ok(());
        let mut judge = |seen: &Seen<'_, U::Key>| match self.meets(session, seen) {
            Ok(true) => each(seen),
            Ok(false) => Continue(()),
            Err(error) => {
                result = Err(error);
                Break(())
            }
        };
        match (&self.ids, self.around) {
            (None, None) => {
                session
                    .universe
                    .scan(self.resource_type, need, after, &mut |seen| judge(&seen))
                    .map_err(RunError::Universe)?;
            }
            (ids, around) => {
                for id in self.in_order(session, ids.as_ref(), around, need, after)? {
                    let mut flow = Continue(());
                    let show = &mut |seen: Seen<'_, U::Key>| flow = judge(&seen);
                    session.universe.get(self.resource_type, &id, show).map_err(RunError::Universe)?;
                    if flow.is_break() {
                        break;
                    }
                }
            }
        }
        result
    }

    /// The ids that matches may have, in the order of the documents' keys.
    fn in_order<U: Universe>(
        &self,
        session: &Session<'_, U>,
        ids: Option<&BTreeSet<Box<str>>>,
        around: Option<&str>,
        need: &Need,
        after: Option<&U::Key>,
    ) -> Outcome<Vec<Box<str>>, U> {
        let mut places = Vec::new();
        let mut note = |seen: Seen<'_, U::Key>| {
            if after.is_none_or(|after| seen.key > after) {
                places.push((seen.key.clone(), Box::from(seen.id)));
            }
        };
        let own = around.filter(|_| ids.is_none());
        for id in ids.into_iter().flatten().map(|id| &**id).chain(own) {
            session.look(self.parameter, 1)?;
            session.universe.get(self.resource_type, id, &mut note).map_err(RunError::Universe)?;
        }
        if let Some(id) = own {
            let need = need.iter().cloned().chain([term::or_overflow(vec![term::local(id)])]).collect::<Vec<_>>();
            let mut result = Ok(());
            let show = &mut |seen: Seen<'_, U::Key>| {
                result = session.look(self.parameter, 1);
                note(seen);
                if result.is_ok() { Continue(()) } else { Break(()) }
            };
            session.universe.scan(self.resource_type, &need, after, show).map_err(RunError::Universe)?;
            result?;
        }
        places.sort_unstable();
        places.dedup();
        Ok(places.into_iter().map(|(_, id)| id).collect())
    }

    /// Whether a document meets all conditions; it counts as looked at, and as several when there is much to compare.
    #[inline]
    fn meets<U: Universe>(&self, session: &Session<'_, U>, seen: &Seen<'_, U::Key>) -> Outcome<bool, U> {
        session.look(self.parameter, 1 + self.values * seen.facts.bytes().len() / BYTES_AT_ONCE)?;
        if !self.clauses.iter().all(|clause| clause.test.holds(seen)) {
            return Ok(false);
        }
        for remote in &self.remote {
            if !remote.holds(session, self.resource_type, seen)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Remote<'_> {
    fn holds<U: Universe>(
        &self,
        session: &Session<'_, U>,
        resource_type: &str,
        seen: &Seen<'_, U::Key>,
    ) -> Outcome<bool, U> {
        match self {
            Self::LeadsTo { number, found } => Ok(targets(seen.facts, *number)
                .any(|(of, id)| found.iter().any(|(name, ids)| of.is_none_or(|of| of == *name) && ids.contains(id)))),
            Self::Among(ids) => Ok(ids.contains(seen.id)),
            Self::Follow { number, targets: plans, known } => {
                for (of, id) in targets(seen.facts, *number) {
                    for (plan, known) in plans.iter().zip(known) {
                        if of.is_none_or(|of| of == plan.resource_type) && follow(session, plan, known, id)? {
                            return Ok(true);
                        }
                    }
                }
                Ok(false)
            }
            Self::Referred { number, plan } => {
                session.look(plan.parameter, ONE_SCAN)?;
                let need = plan.need.iter().cloned().chain([term::or_overflow(vec![term::local(seen.id)])]);
                let mut found = false;
                plan.matches_with(session, &need.collect::<Vec<_>>(), None, &mut |other| {
                    found = refers_to(other.facts, *number, resource_type, seen.id);
                    if found { Break(()) } else { Continue(()) }
                })?;
                Ok(found)
            }
        }
    }
}

/// Whether the document with this id meets a plan; many documents refer to few, so the answer is kept.
fn follow<U: Universe>(
    session: &Session<'_, U>,
    plan: &Plan<'_>,
    known: &RefCell<HashMap<Box<str>, bool>>,
    id: &str,
) -> Outcome<bool, U> {
    if let Some(met) = known.borrow().get(id) {
        return Ok(*met);
    }
    session.look(plan.parameter, 1)?;
    let mut met = Ok(false);
    let show = &mut |seen: Seen<'_, U::Key>| met = plan.meets(session, &seen);
    session.universe.get(plan.resource_type, id, show).map_err(RunError::Universe)?;
    let met = met?;
    let mut known = known.borrow_mut();
    if known.len() >= MOST_KEPT {
        known.clear();
    }
    known.insert(id.into(), met);
    Ok(met)
}
