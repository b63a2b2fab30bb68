//! Links to further pages. A link carries what it needs, sealed under a key that only this process has: it names nobody,
//! opens for nobody but the caller who got it, and no number of searches makes the gateway forget one of them.

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use vouchsafe_fhir_search::{Place, SortedAt};
use vouchsafe_types::{SessionId, TimeMs, b64};

use super::{asked::Asked, universe::Key};
use crate::{
    auth::{Caller, Who},
    http::Fault,
    seal::{StoreKey, StoreSeal},
};

/// So long a link may lie about.
const LIFE_MS: u64 = 3_600_000;
/// Searches that look through much run so many at a time; the others wait, and those that know where to look pass them.
const HEAVY: usize = 2;

/// What makes links to further pages and reads them, and lets few searches at a time look through everything.
pub struct Pages {
    seal: StoreSeal,
    pub(super) heavy: std::sync::Arc<Semaphore>,
}

impl Default for Pages {
    fn default() -> Self {
        Self { seal: StoreSeal::new(&StoreKey::generate()), heavy: std::sync::Arc::new(Semaphore::new(HEAVY)) }
    }
}

/// The rest of a search.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rest {
    pub(super) asked: Asked,
    /// The session that the first page was found in.
    pub(super) session: Option<SessionId>,
    /// True when the first page said that other organisations' records are limited by consent.
    pub(super) limited: bool,
    /// The number of all matches, as the first page told it.
    pub(super) total: Option<usize>,
    /// What the last page ended with.
    after: (String, Key, SortedAt),
}

#[derive(Serialize, Deserialize)]
struct Written {
    rest: Rest,
    at: TimeMs,
}

impl Rest {
    pub(super) fn new(
        asked: Asked,
        session: Option<SessionId>,
        limited: bool,
        total: Option<usize>,
        after: &Place<Key>,
    ) -> Self {
        Self {
            asked,
            session,
            limited,
            total,
            after: (after.resource_type.to_owned(), after.key, after.sorted_at.clone()),
        }
    }

    /// After which place the page begins.
    pub(super) fn after(&self) -> Option<Place<Key>> {
        let names = vouchsafe_fhir_structure::RESOURCE_TYPES;
        let at = names.binary_search(&self.after.0.as_str()).ok()?;
        Some(Place { resource_type: names[at], key: self.after.1, sorted_at: self.after.2.clone() })
    }
}

impl Pages {
    /// The text by which a link names the rest of a search.
    pub(super) fn write(&self, caller: &Caller, rest: Rest, now: TimeMs) -> String {
        let plain = serde_json::to_vec(&Written { rest, at: now }).expect("a search is plain data");
        b64::encode(self.seal.seal_value("page", &holder(caller), &plain))
    }

    /// The rest of a search that a link names.
    ///
    /// # Errors
    /// 410, the same for whatever a link is not: another caller's, an old one, one from before a restart, none at all.
    pub(super) fn read(&self, caller: &Caller, text: &str, now: TimeMs) -> Result<Rest, Fault> {
        let read = || {
            let sealed = b64::decode(text)?;
            let plain = self.seal.open_value("page", &holder(caller), &sealed).ok()?;
            serde_json::from_slice::<Written>(&plain).ok()
        };
        let written = read().filter(|written| now < written.at.plus(LIFE_MS));
        written.map(|written| written.rest).ok_or_else(gone)
    }
}

fn gone() -> Fault {
    let text = "this page is not there any more; search again";
    Fault::new(410, "not-found", text).code("page-gone").at_parameter("_page")
}

/// Whose a link is.
fn holder(caller: &Caller) -> Vec<u8> {
    let who = match &caller.who {
        Who::System => "system".to_owned(),
        Who::Authority { account } => format!("authority {account}"),
        Who::Practitioner { account, agent, .. } => {
            format!("practitioner {account} {}", agent.map(|kid| kid.to_string()).unwrap_or_default())
        }
        Who::Patient { account } => format!("patient {account}"),
    };
    format!("{who}\n{}", caller.client_id).into_bytes()
}
