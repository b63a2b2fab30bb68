//! What one search may know of: own records, and in a session those of other custodians behind them.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use vouchsafe_fhir_search::{Need, Seen, Universe};

use crate::{
    records::{OpenError, OwnKey, OwnUniverse},
    sessions::{ForeignKey, ForeignUniverse},
};

/// Where a record is: the own ones come before those of others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Key {
    Own(OwnKey),
    Foreign(ForeignKey),
}

/// Both as one, so that a search has one way through them.
#[derive(Clone)]
pub(super) struct Joined {
    pub(super) own: OwnUniverse,
    pub(super) foreign: Option<ForeignUniverse>,
}

fn seen<'a, K>(one: &Seen<'a, K>, key: &'a Key) -> Seen<'a, Key> {
    let Seen { resource_type, id, last_updated, facts, .. } = *one;
    Seen { key, resource_type, id, last_updated, facts }
}

impl Universe for Joined {
    type Key = Key;
    type Error = OpenError;

    fn scan(
        &self,
        resource_type: &str,
        need: &Need,
        after: Option<&Key>,
        each: &mut dyn FnMut(Seen<'_, Key>) -> ControlFlow<()>,
    ) -> Result<(), OpenError> {
        let mut flow = ControlFlow::Continue(());
        let (own, foreign) = match after {
            None => (Some(None), None),
            Some(Key::Own(key)) => (Some(Some(key)), None),
            Some(Key::Foreign(key)) => (None, Some(key)),
        };
        if let Some(after) = own {
            self.own.scan(resource_type, need, after, &mut |one| {
                flow = each(seen(&one, &Key::Own(*one.key)));
                flow
            })?;
        }
        let Some(others) = self.foreign.as_ref().filter(|_| flow.is_continue()) else { return Ok(()) };
        let Ok(()) = others.scan(resource_type, need, foreign, &mut |one| each(seen(&one, &Key::Foreign(*one.key))));
        Ok(())
    }

    fn get(&self, resource_type: &str, id: &str, each: &mut dyn FnMut(Seen<'_, Key>)) -> Result<(), OpenError> {
        self.own.get(resource_type, id, &mut |one| each(seen(&one, &Key::Own(*one.key))))?;
        if let Some(others) = &self.foreign {
            let Ok(()) = others.get(resource_type, id, &mut |one| each(seen(&one, &Key::Foreign(*one.key))));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use vouchsafe_fhir_search::{Context, Handling, Limits, Query, includes, run};
    use vouchsafe_types::RecordId;

    use super::*;
    use crate::testing::{Consortium, Site, observation};

    /// Counts what a search is shown and what it asks for: what time could tell of.
    struct Counted<'a> {
        universe: &'a Joined,
        shown: Cell<usize>,
        asked: Cell<usize>,
    }

    impl Universe for Counted<'_> {
        type Key = Key;
        type Error = OpenError;

        fn scan(
            &self,
            resource_type: &str,
            need: &Need,
            after: Option<&Key>,
            each: &mut dyn FnMut(Seen<'_, Key>) -> ControlFlow<()>,
        ) -> Result<(), OpenError> {
            self.asked.set(self.asked.get() + 1);
            self.universe.scan(resource_type, need, after, &mut |seen| {
                self.shown.set(self.shown.get() + 1);
                each(seen)
            })
        }

        fn get(&self, resource_type: &str, id: &str, each: &mut dyn FnMut(Seen<'_, Key>)) -> Result<(), OpenError> {
            self.asked.set(self.asked.get() + 1);
            self.universe.get(resource_type, id, &mut |seen| {
                self.shown.set(self.shown.get() + 1);
                each(seen);
            })
        }
    }

    /// How much is looked at, and how many matches are found, by each search within a chart.
    fn cost(site: &Site, chart: RecordId) -> Vec<(usize, usize, usize)> {
        let universe = Joined { own: site.records.universe(Some(vec![chart])), foreign: None };
        let searches: [&[(&str, &str)]; 7] = [
            &[],
            &[("code", "718-7")],
            &[("_total", "accurate"), ("_count", "1")],
            &[("_sort", "-date"), ("_count", "1")],
            &[("subject:Patient.family", "Zwiebelhofer")],
            &[("subject:Patient._has:Observation:patient:code", "718-7")],
            &[("_include", "Observation:subject"), ("_revinclude", "Observation:has-member")],
        ];
        let limits = Limits { scanned: 10_000, page: 50, included: 50 };
        let context = Context { base: "http://localhost/fhir", now: 0 };
        let mut out = Vec::new();
        for search in searches {
            let pairs: Vec<_> = search.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            let query = Query::parse(Some("Observation"), &pairs, &context, Handling::Strict).unwrap();
            let counted = Counted { universe: &universe, shown: Cell::new(0), asked: Cell::new(0) };
            let found = run(&counted, &query, &limits, None).ok().unwrap();
            let along = includes(&counted, &query, &found.matches, &limits).ok().unwrap();
            out.push((counted.shown.get(), counted.asked.get(), found.matches.len() + along.len()));
        }
        out
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_hidden_is_not_even_looked_at() {
        let consortium = Consortium::new();
        let site = consortium.site("a").await;
        let (mine, other) = (site.patient().await, site.patient().await);
        for n in 0..5 {
            site.observation(mine.id, &n.to_string()).await;
        }
        let before = cost(&site, mine.id);
        assert!(before[0].2 == 5 && before.iter().all(|(shown, _, _)| *shown > 0), "{before:?}");
        let writes = (0..20).map(|n| site.records.create(observation(other.id, &n.to_string())));
        for written in futures::future::join_all(writes).await {
            written.unwrap();
        }
        assert_eq!(cost(&site, mine.id), before);
        site.stop().await;
    }
}
