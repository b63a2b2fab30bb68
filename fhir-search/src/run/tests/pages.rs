//! Orders, pages and totals.

use proptest::{prelude::*, sample::select};
use serde_json::json;

use super::*;

fn page(universe: &MemoryUniverse<u32>, query: &Query, size: usize, after: Option<&Place<u32>>) -> Hits<u32> {
    let limits = Limits { page: size, ..LIMITS };
    run(universe, query, &limits, after).unwrap_or_else(|_| panic!("an answer"))
}

#[test]
fn what_is_missing_comes_last_in_both_directions() {
    let named = |id: &str, family: &str, born: Option<&str>| {
        json!({"resourceType": "Patient", "id": id, "name": [{"family": family}], "birthDate": born, "gender": "male",
            "identifier": [{"value": format!("{id}-id")}], "generalPractitioner": [{"reference": format!("Practitioner/{id}")}]})
    };
    let nobody = json!({"resourceType": "Patient", "id": "z"});
    check(
        &[
            named("a", "Österreich", Some("1980")),
            named("b", "adams", None),
            named("c", "Zucker", Some("1970-01-02")),
            nobody,
        ],
        &[
            ("Patient?_sort=family", "b a c z"),
            ("Patient?_sort=-family", "c a b z"),
            ("Patient?_sort=birthdate", "c a b z"),
            ("Patient?_sort=-birthdate", "a c b z"),
            ("Patient?_sort=gender,-birthdate,family", "a c b z"),
            ("Patient?_sort=-gender,-_id", "c b a z"),
            ("Patient?_sort=identifier", "a b c z"),
            ("Patient?_sort=-general-practitioner", "c b a z"),
            ("Patient?_sort=-_id", "z c b a"),
            ("Patient?_sort=-_lastUpdated", "z c b a"),
            ("Patient?_sort=_lastUpdated&_id=c,a", "a c"),
        ],
    );
    let weighed = |id: &str, value: f64, at: &str| observation(id, "p", "x", at, value);
    check(
        &[weighed("a", 9.5, "2020-05"), weighed("b", 10.0, "2021"), weighed("c", -1.0, "2020-05-02")],
        &[
            ("Observation?_sort=value-quantity", "c a b"),
            ("Observation?_sort=-date", "b c a"),
            ("Observation?_sort=code,date", "a c b"),
            ("?_type=Patient,Observation&_sort=-_id", "c b a"),
        ],
    );
}

#[test]
fn totals_are_told_when_asked_for_or_free() {
    let universe = universe(&(0..10).map(|n| observation(&format!("o{n}"), "p", "x", "2020", 1.0)).collect::<Vec<_>>());
    let total = |text: &str, size| {
        let query = query(Some("Observation"), text);
        let first = page(&universe, &query, size, None);
        let second = first.next.as_ref().map(|place| page(&universe, &query, size, Some(place)).total);
        (first.matches.len(), first.total, second)
    };
    assert_eq!(total("", 4), (4, None, Some(None)));
    assert_eq!(total("", 10), (10, Some(10), None));
    assert_eq!(total("_total=accurate", 4), (4, Some(10), Some(None)));
    assert_eq!(total("_total=none", 10), (10, None, None));
    assert_eq!(total("_sort=date", 4), (4, Some(10), Some(None)));
    assert_eq!(total("_sort=date&_total=none", 4), (4, None, Some(None)));
    assert_eq!(total("_count=3", 4), (3, None, Some(None)));
    assert_eq!(total("_count=0", 4), (0, Some(10), None));
    assert_eq!(total("_summary=count&code=x&_sort=date", 4), (0, Some(10), None));
    assert_eq!(total("code=y&_summary=count", 4), (0, Some(0), None));
}

#[test]
fn no_more_is_looked_at_than_may() {
    let universe = universe(&(0..10).map(|n| observation(&format!("o{n}"), "p", "x", "2020", 1.0)).collect::<Vec<_>>());
    let fault = |text: &str, limits| match run(&universe, &query(Some("Observation"), text), &limits, None) {
        Ok(_) => None,
        Err(RunError::Fault(fault)) => Some((fault.kind, fault.parameter)),
        Err(RunError::Universe(never)) => match never {},
    };
    let limits = Limits { scanned: 9, page: 4, included: 0 };
    assert_eq!(fault("date=2020", limits), None, "the first page needs no more");
    assert_eq!(fault("date=2021", limits), Some((FaultKind::TooCostly, "date".to_owned())));
    assert_eq!(fault("_total=accurate", limits), Some((FaultKind::TooCostly, "Observation".to_owned())));
    assert_eq!(fault("_sort=date", Limits { scanned: 10, ..limits }), None);
    // Many values cost more.
    let many = format!("value-quantity={}", vec!["7"; 200].join(","));
    assert_eq!(
        fault(&many, Limits { scanned: 10, ..limits }),
        Some((FaultKind::TooCostly, "value-quantity".to_owned()))
    );
}

fn event(id: u32, of: &str, day: u32, words: &str) -> Value {
    let day = format!("2020-01-{:02}", day + 1);
    match of {
        "Observation" => observation(&format!("{id}"), "p", words, &day, f64::from(id)),
        _ => json!({"resourceType": "Condition", "id": format!("{id}"), "subject": {"reference": "Patient/p"},
            "recordedDate": day, "code": {"coding": [{"code": words}]}}),
    }
}

fn changes() -> impl Strategy<Value = Vec<(u32, &'static str, u32, &'static str)>> {
    let one = (0..60_u32, select(vec!["Observation", "Condition"]), 0..5_u32, select(vec!["a", "b", "B", "ä"]));
    proptest::collection::vec(one, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// All pages together are the whole, in order, and what stays unchanged between two pages is neither missed nor shown
    /// twice, whatever becomes of the others.
    #[test]
    fn pages_follow_each_other(
        first in changes(),
        later in changes(),
        size in 1..7_usize,
        sort in select(vec!["", "_sort=code", "_sort=-code,_id", "_sort=-_id", "_sort=-_lastUpdated", "_sort=code,-_lastUpdated"]),
    ) {
        let mut universe = MemoryUniverse::default();
        let put = |universe: &mut MemoryUniverse<u32>, changes: &[(u32, &'static str, u32, &'static str)]| {
            for (id, of, day, words) in changes {
                let facts = extract(of, &event(*id, of, *day, words), BASE);
                universe.insert(*id, of, &id.to_string(), i64::from(*day), facts);
            }
        };
        put(&mut universe, &first);
        let text = if sort.is_empty() { "_type=Observation,Condition".to_owned() } else { format!("_type=Observation,Condition&{sort}") };
        let query = query(None, &text);
        let whole = page(&universe, &query, 1000, None).matches;
        let (mut paged, mut after) = (Vec::new(), None);
        let mut changed = Vec::new();
        for turn in 0.. {
            let hits = page(&universe, &query, size, after.as_ref());
            paged.extend(hits.matches);
            match hits.next {
                Some(place) => after = Some(place),
                None => break,
            }
            if turn == 1 && later.len() > 20 {
                put(&mut universe, &later);
                changed = later.iter().map(|(id, ..)| id.to_string()).collect();
                for id in changed.iter().step_by(2) {
                    universe.remove(&id.parse().unwrap());
                }
            }
        }
        let same = |hits: &[Hit<u32>]| {
            hits.iter().map(|hit| hit.id.clone()).filter(|id| !changed.contains(id)).collect::<Vec<_>>()
        };
        prop_assert_eq!(same(&paged), same(&whole));
    }
}

#[test]
fn the_keys_of_an_order_are_not_printed() {
    let universe = universe(&charts());
    let hits = page(&universe, &query(Some("Patient"), "_sort=family"), 1, None);
    let printed = format!("{:?}", hits.next.unwrap());
    assert!(!printed.to_lowercase().contains("chalmers"), "{printed}");
}
