//! Consent (<https://hl7.org/fhir/R4/consent.html>): what is asked for and granted, as FHIR says it, as it is sealed,
//! and as the chain sees it.
//!
//! `parse` reads a request or a decision strictly: a restriction that Vouchsafe does not enforce is refused, never
//! ignored, because a grant read more widely than it was meant is the worst that can happen here.

mod parse;
mod render;

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};
use vouchsafe_types::{Count, Hash32, Tag, TimeMs, state::TAGS};

use super::{
    Coding, Fault,
    category::Category,
    compartment::Reference,
    date::{DateRange, instant},
};

pub use parse::{parse_decision, parse_request};
pub use render::{ConsentView, render, status};

/// What of a request or grant travels sealed. Debug shows none of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConsentDetail {
    /// HL7 purposes of use.
    pub purpose: Vec<Coding>,
    /// The doctor's words.
    pub reason: Option<String>,
    /// The categories by name; "all" does not exist.
    pub categories: Vec<Category>,
    /// Categories taken out by a nested `deny`.
    pub excluded: Vec<Category>,
    /// When what the records tell of must have happened.
    pub data_period: Option<DateRange>,
    /// May reports be written?
    pub write: bool,
}

impl fmt::Debug for ConsentDetail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConsentDetail(sealed)")
    }
}

impl ConsentDetail {
    /// The same detail in the one order that commitments are made over.
    #[must_use]
    pub fn normalized(mut self) -> Self {
        self.purpose.sort();
        self.purpose.dedup();
        self.categories.sort();
        self.categories.dedup();
        self.excluded.sort();
        self.excluded.dedup();
        self
    }

    /// The categories that are left after the exclusions.
    pub fn effective(&self) -> Vec<Category> {
        self.categories.iter().copied().filter(|c| !self.excluded.contains(c)).collect()
    }

    /// May a record of this category and clinical date be released? A record without such a date counts with the day on
    /// which it was written, so that nothing undated escapes a range.
    pub fn admits(&self, category: Category, date: Option<DateRange>, written: TimeMs) -> bool {
        let day = || instant(written).get(..10).and_then(DateRange::parse);
        let in_time = self.data_period.is_none_or(|period| date.or_else(day).is_some_and(|at| period.overlaps(&at)));
        in_time && self.categories.contains(&category) && !self.excluded.contains(&category)
    }

    /// What the chain holds of it: SHA-256 over a random salt and the normalized JSON.
    pub fn commitment(&self, salt: &[u8; 32]) -> Hash32 {
        let json = serde_json::to_vec(&self.clone().normalized()).expect("a detail is plain data");
        Hash32::of("vouchsafe/consent-detail", &[salt, &json])
    }

    /// Refuses a granted detail that gives more than was asked for.
    ///
    /// # Errors
    /// 422 with the element that is wider.
    pub fn check_within(&self, asked: &Self) -> Result<(), Fault> {
        let wider = |element: &str, what: &str| {
            Err(Fault::invalid(format!("Consent.provision.{element}"), format!("The grant has {what}.")))
        };
        let asked_categories = asked.effective();
        if self.effective().iter().any(|c| !asked_categories.contains(c)) {
            return wider("class", "a category that was not asked for");
        }
        let same = |a: &Coding, b: &Coding| a.system == b.system && a.code == b.code;
        if self.purpose.iter().any(|p| !asked.purpose.iter().any(|a| same(a, p))) {
            return wider("purpose", "a purpose that was not asked for");
        }
        if let Some(outer) = &asked.data_period
            && !self.data_period.is_some_and(|inner| outer.contains(&inner))
        {
            return wider("dataPeriod", "a longer range of records than was asked for");
        }
        if self.write && !asked.write {
            return wider("action", "writing, which was not asked for");
        }
        if self.reason.is_some() && self.reason != asked.reason {
            return wider("extension", "another reason than was asked with");
        }
        Ok(())
    }
}

/// The tag of a category under a request's salt.
pub fn tag(salt: &[u8; 32], category: Category) -> Tag {
    let hash = Hash32::of("vouchsafe/tag", &[salt, category.code().as_bytes()]);
    let mut out = [0; 16];
    out.copy_from_slice(&hash.0[..16]);
    Tag(out)
}

/// The sixteen sorted tags of a request: those of the categories, the rest dummies from `random`, which must give
/// fresh random bytes each time.
///
/// # Errors
/// 422 for no category, or more than sixteen.
pub fn tags(salt: &[u8; 32], categories: &[Category], mut random: impl FnMut() -> [u8; 16]) -> Result<Vec<Tag>, Fault> {
    let mut all: BTreeSet<Tag> = categories.iter().map(|c| tag(salt, *c)).collect();
    if all.is_empty() || all.len() > TAGS {
        return Err(Fault::invalid("Consent.provision.class", format!("A request names one to {TAGS} categories.")));
    }
    while all.len() < TAGS {
        all.insert(Tag(random()));
    }
    Ok(all.into_iter().collect())
}

/// The tags of a grant: the request's without those of the categories that were not granted. The dummies stay, so
/// that their number does not tell how many categories were granted.
pub fn granted_tags(asked_tags: &[Tag], salt: &[u8; 32], asked: &[Category], granted: &[Category]) -> Vec<Tag> {
    let dropped: Vec<Tag> = asked.iter().filter(|c| !granted.contains(c)).map(|c| tag(salt, *c)).collect();
    asked_tags.iter().copied().filter(|t| !dropped.contains(t)).collect()
}

/// A request for access, or the decision on one, as its Consent says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedConsent {
    /// The patient.
    pub patient: Reference,
    /// Who is to have access: the actor with the role IRCP.
    pub practitioner: Reference,
    /// For which organisation, when the Consent says it.
    pub organization: Option<Reference>,
    /// What is sealed.
    pub detail: ConsentDetail,
    /// When the grant runs out: `provision.period.end`.
    pub valid_until: TimeMs,
    /// Until when the patient may answer.
    pub answer_by: Option<TimeMs>,
    /// How long a session may last, in milliseconds.
    pub session_ms: Option<Count>,
    /// Whether the grant stays until revoked.
    pub standing: bool,
}

/// Refuses a decision that gives more than was asked for.
///
/// # Errors
/// 422 with the element that is wider.
pub fn narrower(asked: &ParsedConsent, granted: &ParsedConsent) -> Result<(), Fault> {
    let refuse = |element: &str, what: &str| Err(Fault::invalid(format!("Consent.{element}"), what));
    if granted.patient.id != asked.patient.id {
        return refuse("patient", "The grant is for another patient.");
    }
    if granted.practitioner.id != asked.practitioner.id {
        return refuse("provision.actor", "The grant is for another practitioner.");
    }
    if granted.organization.is_some()
        && granted.organization.as_ref().map(|o| &o.id) != asked.organization.as_ref().map(|o| &o.id)
    {
        return refuse("organization", "The grant is for another organisation.");
    }
    if granted.valid_until > asked.valid_until {
        return refuse("provision.period.end", "The grant is valid for longer than was asked for.");
    }
    if asked.session_ms.is_some_and(|asked| granted.session_ms.is_none_or(|g| g > asked)) {
        return refuse("extension", "The grant's sessions are longer than was asked for.");
    }
    if granted.standing && !asked.standing {
        return refuse("extension", "A standing grant was not asked for.");
    }
    granted.detail.check_within(&asked.detail)
}

#[cfg(test)]
mod tests;
