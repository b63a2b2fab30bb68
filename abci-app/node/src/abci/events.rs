//! The machine's events as ABCI carries them.

use serde_json::Value;
use tendermint_proto::v0_38::abci;
use vouchsafe_types::Event;

use crate::app::Misbehaviour;

/// The attribute that holds the whole event as JSON, for programs; the others are for an engine's index and for people.
pub const EVENT_JSON: &str = "event";

/// The type of an event of the machine begins with this; its kind follows.
pub const EVENT_PREFIX: &str = "vouchsafe.";

/// The type of the event that tells of a validator's misbehaviour.
pub const MISBEHAVIOUR: &str = "validator.misbehaviour";

/// Members by which an engine indexes. Handles are not among them: an anchor touches up to a thousand charts, and who
/// follows charts follows blocks.
const INDEXED: &[&str] =
    &["account", "subject", "organization", "custodian", "patient", "doctor", "request", "grant", "session"];

/// An event as ABCI carries it: its type, one attribute with all of it, one for each member that is a plain text.
pub(super) fn abci_event(event: &Event) -> abci::Event {
    let json = serde_json::to_value(event).expect("an event is plain data");
    let mut attributes = vec![attribute(EVENT_JSON, json.to_string(), false)];
    if let Value::Object(members) = &json {
        let texts = members.iter().filter(|(name, _)| *name != "type").filter_map(|(n, v)| Some((n, v.as_str()?)));
        attributes.extend(texts.map(|(name, text)| attribute(name, text.into(), INDEXED.contains(&name.as_str()))));
    }
    let kind = json["type"].as_str().unwrap_or_default();
    abci::Event { r#type: format!("{EVENT_PREFIX}{kind}"), attributes }
}

/// What tells listeners of a block with evidence.
pub(super) fn misbehaviour_event(offence: &Misbehaviour) -> abci::Event {
    let attributes = vec![
        attribute("validator", offence.validator.clone(), true),
        attribute("kind", offence.kind.clone(), true),
        attribute("height", offence.height.to_string(), false),
    ];
    abci::Event { r#type: MISBEHAVIOUR.into(), attributes }
}

fn attribute(key: &str, value: String, index: bool) -> abci::EventAttribute {
    abci::EventAttribute { key: key.into(), value, index }
}

#[cfg(test)]
mod tests {
    use vouchsafe_types::{AccountId, Handle, SessionId};

    use super::*;

    #[test]
    fn an_event_comes_back_out_of_its_attribute() {
        let event = Event::Anchored {
            custodian: AccountId([1; 16]),
            handles: vec![Handle([2; 16]); 3],
            leaves: 7,
            session: Some(SessionId([3; 16])),
        };
        let carried = abci_event(&event);
        assert_eq!(carried.r#type, "vouchsafe.anchored");
        assert_eq!(serde_json::from_str::<Event>(&carried.attributes[0].value).unwrap(), event);
        let indexed: Vec<_> = carried.attributes.iter().filter(|a| a.index).map(|a| a.key.as_str()).collect();
        assert_eq!(indexed, ["custodian", "session"]);
        assert_eq!(carried.attributes[1].value, AccountId([1; 16]).to_string());
    }
}
