//! `demo --once` plays every part of the story and says how it went.

use std::collections::BTreeSet;

use crate::support::played;

#[test]
fn every_part_is_played_and_every_step_holds() {
    let told = played().told();
    let steps = told["steps"].as_array().unwrap();
    let parts: BTreeSet<&str> = steps.iter().map(|s| s["part"].as_str().unwrap()).collect();
    for part in ["A", "B", "C", "D", "E", "F", "G", "H"] {
        assert!(parts.contains(part), "{part} was not played: {parts:?}");
    }
    for step in steps {
        assert_eq!(step["ok"], true, "{step}");
        assert!(step["seconds"].as_f64().unwrap() >= 0.0, "{step}");
        assert!(!step["what"].as_str().unwrap().is_empty(), "{step}");
    }
}

#[test]
fn figures_are_told() {
    let told = played().told();
    let figures = told["figures"].as_array().unwrap();
    let names: BTreeSet<&str> = figures.iter().map(|f| f["name"].as_str().unwrap()).collect();
    for name in ["total", "peak_resident"] {
        assert!(names.contains(name), "{name} is missing: {names:?}");
    }
    for figure in figures {
        assert!(figure["value"].as_f64().unwrap() > 0.0, "{figure}");
        assert!(!figure["unit"].as_str().unwrap().is_empty(), "{figure}");
    }
}

#[test]
fn an_alteration_is_caught_and_a_result_is_found_before_it_is_ordered_again() {
    let told = played().told();
    let said = told["steps"].to_string().to_lowercase();
    for words in ["an administrator of hospital-a alters", "is found before it is ordered again"] {
        assert!(said.contains(words), "no step says {words:?}");
    }
}
