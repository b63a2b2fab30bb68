//! `vouchsafe/endpoint`: an organisation says where its gateway is and to which key things for it are wrapped.

use vouchsafe_types::{AccountId, Code, Event, TimeMs, state::Endpoint, tx::SetEndpoint};

use super::{Handler, View};
use crate::{Delta, Outcome, StateRead, Verdict};

/// The longest address.
const MAX_URL: usize = 255;

/// An organisation's endpoint.
pub(crate) struct Facts {
    organization: AccountId,
    endpoint: Endpoint,
}

impl Handler for SetEndpoint {
    type Facts = Facts;

    fn validate<S: StateRead>(&self, view: &View<'_, S>) -> Verdict<Facts> {
        let organization = view.actor.id();
        if !view.actor.account.role.is_organization() {
            return Code::NotAllowed.refuse(format!("{organization} is not an organisation"));
        }
        if !is_base(&self.url) {
            return Code::Malformed.refuse("url must be http(s)://host[:port], at most 255 ASCII characters");
        }
        Ok(Facts { organization, endpoint: Endpoint { url: self.url.clone(), rsa: self.rsa.clone() } })
    }

    fn execute(facts: Facts, _now: TimeMs) -> Outcome {
        let Facts { organization, endpoint } = facts;
        let mut delta = Delta::default();
        delta.put_endpoint(&organization, &endpoint);
        (delta, vec![Event::EndpointSet { organization }])
    }
}

/// `http(s)://host[:port]` and nothing else: no path, query, user or control characters that a client could be led
/// astray with.
fn is_base(url: &str) -> bool {
    let Some(host) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) else { return false };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
    url.len() <= MAX_URL && !host.is_empty() && host.bytes().all(allowed)
}
