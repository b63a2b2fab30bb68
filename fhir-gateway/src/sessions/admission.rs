//! Which records a grant admits: pure, and the only place where a custodian decides it.

use vouchsafe_types::{RequestId, TimeMs, state::Request, tx::Terms};

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

    /// True when the grant names this category, whatever the dates.
    pub fn names(&self, category: Category) -> bool {
        self.categories.contains(&category)
    }

    /// True when a record of this category and clinical date may be released; one without such a date by the day on which
    /// it was written.
    pub fn admits(&self, category: Category, date: Option<DateRange>, written: TimeMs) -> bool {
        self.categories.contains(&category) && self.detail.admits(category, date, written)
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

#[cfg(test)]
pub(super) mod tests {
    use vouchsafe_types::{
        AccountId, Count, CredentialId, Hash32,
        state::{Decision, Signer},
    };

    use super::*;
    use crate::fhir::{Coding, consent::tags};

    /// In June 2020, within the range that is granted.
    const NOW: TimeMs = TimeMs(1_592_000_000_000);
    pub(in crate::sessions) const ID: RequestId = RequestId([9; 16]);

    fn sealed(categories: &[Category], excluded: &[Category]) -> SealedDetail {
        SealedDetail {
            request: ID,
            detail: ConsentDetail {
                purpose: vec![Coding::new("http://terminology.hl7.org/CodeSystem/v3-ActReason", "TREAT")],
                reason: None,
                categories: categories.to_vec(),
                excluded: excluded.to_vec(),
                data_period: DateRange::of_period(Some("2020"), Some("2021")),
                write: false,
            },
            salt: Hash32([7; 32]),
            custodians: None,
        }
    }

    fn granted(detail: &SealedDetail, tagged: &[Category]) -> Request {
        let mut dummy = 0;
        let random = || {
            dummy += 1;
            [dummy; 16]
        };
        let terms = Terms {
            tags: tags(&detail.salt.0, tagged, random).unwrap(),
            write: false,
            detail: detail.commitment(),
            valid_until: TimeMs(1_000),
            session_ms: Count(10),
            standing: false,
        };
        let by = Signer { kid: Hash32([0; 32]), agent: false };
        Request {
            doctor: AccountId([1; 16]),
            organization: AccountId([2; 16]),
            patient: AccountId([3; 16]),
            credential: CredentialId([4; 16]),
            asked: terms.clone(),
            answer_by: TimeMs(500),
            at: TimeMs(1),
            by: by.clone(),
            decision: Some(Decision {
                at: TimeMs(2),
                by,
                custodial: false,
                granted: Some(terms),
                generation: Count(0),
                revoked: None,
                session: None,
                spent: false,
            }),
        }
    }

    /// A request that was granted, and what it admits.
    pub(in crate::sessions) fn request() -> (Request, Admission) {
        let detail = sealed(&[Category::Laboratory], &[]);
        let request = granted(&detail, &detail.detail.categories);
        let admission = Admission::of(ID, &request, &detail).unwrap();
        (request, admission)
    }

    #[test]
    fn only_what_is_named_is_admitted() {
        let detail = sealed(&[Category::Laboratory, Category::Allergies], &[Category::Allergies]);
        let request = granted(&detail, &detail.detail.categories);
        let admission = Admission::of(ID, &request, &detail).unwrap();
        let within = DateRange::parse("2020-06-01");
        assert!(admission.admits(Category::Laboratory, within, NOW));
        assert!(!admission.admits(Category::Allergies, within, NOW), "excluded");
        assert!(!admission.admits(Category::Imaging, within, NOW), "not named");
        assert!(!admission.admits(Category::Laboratory, DateRange::parse("2019-12-31"), NOW), "before the range");
        assert!(!admission.admits(Category::Laboratory, DateRange::parse("2022-01-01"), NOW), "after the range");
    }

    #[test]
    fn an_undated_record_counts_with_the_day_it_was_written() {
        let detail = sealed(&[Category::Laboratory], &[]);
        let request = granted(&detail, &detail.detail.categories);
        let admission = Admission::of(ID, &request, &detail).unwrap();
        assert!(admission.admits(Category::Laboratory, None, NOW));
        assert!(!admission.admits(Category::Laboratory, None, TimeMs(1_700_000_000_000)), "after the range");
        assert!(!admission.admits(Category::Laboratory, None, TimeMs(0)), "before the range");
    }

    #[test]
    fn a_detail_that_the_ledger_does_not_commit_to_admits_nothing() {
        let detail = sealed(&[Category::Laboratory], &[]);
        let request = granted(&detail, &detail.detail.categories);
        let wider = sealed(&[Category::Laboratory, Category::Imaging], &[]);
        assert!(Admission::of(ID, &request, &wider).is_none());
        let moved = SealedDetail { request: RequestId([8; 16]), ..detail.clone() };
        assert!(Admission::of(ID, &request, &moved).is_none());
        assert!(Admission::of(RequestId([8; 16]), &request, &detail).is_none());
        let undecided = Request { decision: None, ..request };
        assert!(Admission::of(ID, &undecided, &detail).is_none());
    }

    /// A patient could commit to more than was asked; the machine checked the tags only, so the tags decide.
    #[test]
    fn a_category_without_its_tag_is_not_admitted() {
        let detail = sealed(&[Category::Laboratory, Category::Imaging], &[]);
        let request = granted(&detail, &[Category::Laboratory]);
        let admission = Admission::of(ID, &request, &detail).unwrap();
        assert!(admission.admits(Category::Laboratory, None, NOW));
        assert!(!admission.admits(Category::Imaging, None, NOW));
    }
}
