//! Which records a grant admits: pure, and the only place where a custodian decides it.

use vouchsafe_types::{RequestId, state::Request, tx::Terms};

use crate::{
    consents::SealedDetail,
    fhir::{
        category::Category,
        consent::{ConsentDetail, tag},
        date::DateRange,
    },
};

/// A grant whose committed detail was checked against the ledger, so that its names and dates can be relied on.
#[derive(Clone, Debug)]
pub struct Admission {
    detail: ConsentDetail,
    categories: Vec<Category>,
}

impl Admission {
    /// Joins what the ledger holds with the detail that the patient sealed to this custodian. None when the grant was
    /// not given, or the detail is not the one that the ledger commits to: then nothing is released.
    pub fn of(id: RequestId, request: &Request, sealed: &SealedDetail) -> Option<Self> {
        let terms = request.decision.as_ref()?.granted.as_ref()?;
        if sealed.request != id || sealed.commitment() != terms.detail {
            return None;
        }
        let categories = admitted_categories(sealed, terms);
        Some(Self { detail: sealed.detail.clone(), categories })
    }

    /// True when a record of this category and clinical date may be released.
    pub fn admits(&self, category: Category, date: Option<DateRange>) -> bool {
        self.categories.contains(&category) && self.detail.admits(category, date)
    }
}

/// The categories that the detail names and does not exclude, each with its tag among those that the machine checked
/// against the request.
fn admitted_categories(sealed: &SealedDetail, terms: &Terms) -> Vec<Category> {
    let named = |category: &Category| {
        terms.tags.contains(&tag(&sealed.salt.0, *category)) && !sealed.detail.excluded.contains(category)
    };
    sealed.detail.categories.iter().copied().filter(named).collect()
}
