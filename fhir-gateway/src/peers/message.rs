//! What gateways say to each other: a compact JWS by the sender's organisation key over one message.
//!
//! TLS would only say which machine speaks. The signature says which organisation does, to whom, and the ledger says
//! whether that organisation may still speak.

use serde::{Deserialize, Serialize};
use vouchsafe_types::{AccountId, Code, Handle, OkpJwk, RecordId, Rejection, RequestId, TimeMs, jws};

/// The `typ` of a message's JWS.
pub const TYP: &str = "vouchsafe/peer";

/// How long a message may be under way. Longer, and a recorded message could be played back much later.
pub const VALID_MS: u64 = 60_000;

/// The most bytes that one message may have.
pub const MAX_BYTES: usize = 32 * 1024 * 1024;

/// One message with its sender and receiver.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// The organisation that speaks.
    pub from: AccountId,
    /// The organisation spoken to; a message for another is refused, so that nobody can pass it on as meant for them.
    pub to: AccountId,
    /// From when on it is refused.
    pub expires: TimeMs,
    /// What is said.
    pub message: Message,
}

/// What is said. Each kind may arrive twice, or late: all of them add, none of them counts.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "kind", content = "body", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Message {
    /// Directory and key entries, each a JWS of its custodian.
    Directory(Vec<String>),
    /// Sealed details of a request.
    Sealed {
        /// The request, whose id is the grant's too.
        request: RequestId,
        /// JWEs, each for several recipients that it does not name.
        jwes: Vec<String>,
    },
    /// What a session may open, as a JWE to the receiver.
    Manifest(String),
    /// A receipt for the patient, as a JWE to the receiver and the patient's devices.
    Receipt(String),
    /// Asks the custodian for all entries of one chart; the answer is a `Directory` body.
    Pull {
        /// Whose chart.
        custodian: AccountId,
        /// Which chart.
        handle: Handle,
    },
    /// Asks a custodian what a chart's map says of these records; the answer is an `Evidence`.
    Leaves {
        /// Which of its charts.
        handle: Handle,
        /// Which records.
        records: Vec<RecordId>,
    },
    /// Asks for the blobs of these addresses; the answer is a CAR with those that are there.
    Blobs(Vec<String>),
}

impl Message {
    /// Its kind, for logs and counters.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Directory(_) => "directory",
            Self::Sealed { .. } => "sealed",
            Self::Manifest(_) => "manifest",
            Self::Receipt(_) => "receipt",
            Self::Pull { .. } => "pull",
            Self::Leaves { .. } => "leaves",
            Self::Blobs(_) => "blobs",
        }
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Message({})", self.kind())
    }
}

/// Signs a message.
pub fn sign(key: &dyn jws::Sign, chain: &str, envelope: &Envelope) -> String {
    jws::sign_statement(key, chain, TYP, envelope)
}

/// Opens a message of an organisation whose key is known, for `to`, at `now`.
///
/// # Errors
/// What `open_statement` says; `Expired` when it is too old, `NotAllowed` when it is meant for another or says that
/// another organisation speaks than the one that signed.
pub fn open(
    text: &str,
    chain: &str,
    key: &OkpJwk,
    from: AccountId,
    to: AccountId,
    now: TimeMs,
) -> Result<Message, Rejection> {
    let envelope: Envelope = jws::open_statement(text, chain, TYP, key)?;
    if envelope.from != from {
        return Code::NotAllowed.refuse(format!("signed by {from}, but says that {} speaks", envelope.from));
    }
    if envelope.to != to {
        return Code::NotAllowed.refuse(format!("meant for {}, this is {to}", envelope.to));
    }
    if now >= envelope.expires {
        return Code::Expired.refuse(format!("expired at {}, it is {now}", envelope.expires));
    }
    if envelope.expires > now.plus(2 * VALID_MS) {
        return Code::TooFarAhead.refuse(format!("expires at {}, it is {now}", envelope.expires));
    }
    Ok(envelope.message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::device::Ed25519Key;

    const A: AccountId = AccountId([1; 16]);
    const B: AccountId = AccountId([2; 16]);
    const C: AccountId = AccountId([3; 16]);

    fn envelope(from: AccountId, to: AccountId, expires: u64) -> Envelope {
        Envelope { from, to, expires: TimeMs(expires), message: Message::Directory(vec!["x".to_owned()]) }
    }

    fn refusal(text: &str, key: &OkpJwk) -> Code {
        open(text, "chain", key, A, B, TimeMs(1_000)).unwrap_err().code
    }

    #[test]
    fn a_message_opens_for_whom_it_is_meant() {
        let key = Ed25519Key::generate();
        let public = jws::Sign::public(&key);
        let text = sign(&key, "chain", &envelope(A, B, 1_001));
        assert_eq!(open(&text, "chain", &public, A, B, TimeMs(1_000)).unwrap().kind(), "directory");
    }

    #[test]
    fn a_message_of_another_to_another_or_out_of_time_is_refused() {
        let key = Ed25519Key::generate();
        let public = jws::Sign::public(&key);
        assert_eq!(refusal(&sign(&key, "chain", &envelope(C, B, 1_001)), &public), Code::NotAllowed);
        assert_eq!(refusal(&sign(&key, "chain", &envelope(A, C, 1_001)), &public), Code::NotAllowed);
        assert_eq!(refusal(&sign(&key, "chain", &envelope(A, B, 1_000)), &public), Code::Expired);
        assert_eq!(refusal(&sign(&key, "chain", &envelope(A, B, 1_000_000)), &public), Code::TooFarAhead);
        assert_eq!(refusal(&sign(&key, "other", &envelope(A, B, 1_001)), &public), Code::WrongChain);
        let other = Ed25519Key::generate();
        assert_eq!(refusal(&sign(&other, "chain", &envelope(A, B, 1_001)), &public), Code::UnknownKey);
    }
}
