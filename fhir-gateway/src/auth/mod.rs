//! Bearer tokens: who may have one, and who a token's bearer is.
//!
//! Whether a bearer may do what they ask is not judged here but at each use, against the ledger as it stands then.

mod assertion;
mod caller;
pub(crate) mod enrolments;
mod parties;
mod replay;
pub(crate) mod tokens;

use std::{collections::HashMap, sync::Arc};

use axum::http::{HeaderMap, header};
use serde_json::{Value, json};
use vouchsafe_types::{AccountId, Hash32, Kid, RecordId, TimeMs, tx::Role};

use self::{
    assertion::{B2b, Claims},
    enrolments::Enrolments,
    replay::Replays,
    tokens::Tokens,
};
use crate::{
    config::{ClientConfig, ClientRole},
    http::Fault,
    seal::{Keystore, jose},
    store::{Db, StoreError},
};

pub use caller::{Caller, Who};
use parties::PersonKey;
pub use parties::{Parties, Party};

/// The assertion type that RFC 7523 names.
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The key that no mandate made: what a doctor without an agent key here acts by, and it may do nothing.
const NO_KEY: Kid = Hash32([0; 32]);

/// A token request that is refused, as RFC 6749 section 5.2 says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRefusal {
    /// The HTTP status.
    pub status: u16,
    /// The `error` member.
    pub error: &'static str,
    /// The `error_description` member.
    pub description: String,
}

impl TokenRefusal {
    fn client(description: impl Into<String>) -> Self {
        Self { status: 401, error: "invalid_client", description: description.into() }
    }

    fn request(description: impl Into<String>) -> Self {
        Self { status: 400, error: "invalid_request", description: description.into() }
    }

    fn grant(description: impl Into<String>) -> Self {
        Self { status: 400, error: "invalid_grant", description: description.into() }
    }

    fn server() -> Self {
        Self {
            status: 503,
            error: "temporarily_unavailable",
            description: "the gateway's store is not readable".into(),
        }
    }

    /// The body.
    pub fn body(&self) -> Value {
        json!({ "error": self.error, "error_description": self.description })
    }
}

impl From<StoreError> for TokenRefusal {
    fn from(_: StoreError) -> Self {
        Self::server()
    }
}

/// A configured client's keys are not of their form.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The JWK set.
    #[error("the jwks of client {client:?}: {source}")]
    Keys {
        /// The client.
        client: String,
        /// What is wrong.
        #[source]
        source: jose::JoseError,
    },
    /// Two clients of one name, or one that is named like an account.
    #[error("client_id {0:?} is given twice, or has the form of an account")]
    Name(String),
    /// An authority's client at a gateway that is not an authority's.
    #[error("client {0:?} has the role of an authority, this organisation has not")]
    NotAnAuthority(String),
}

/// Whose keys they are that an assertion is checked with.
enum Signs {
    /// A configured client.
    Client(ClientRole),
    /// A person, with the device to which each of the keys, by its name, belongs.
    Person { account: AccountId, role: Role, devices: Vec<(String, Kid)> },
}

/// What makes tokens and knows them.
pub struct Auth {
    org: AccountId,
    token_url: String,
    keystore: Arc<dyn Keystore>,
    token_seconds: u64,
    configured: HashMap<String, (ClientRole, Vec<jose::ClientJwk>)>,
    tokens: Tokens,
    replays: Replays,
    /// Resources and sign-ins of accounts.
    pub parties: Parties,
    pub(crate) enrolments: Enrolments,
}

/// What `Auth` is made of.
pub(crate) struct Parts<'a> {
    pub(crate) org: AccountId,
    pub(crate) role: Role,
    pub(crate) base: &'a str,
    pub(crate) keystore: Arc<dyn Keystore>,
    pub(crate) db: Db,
    pub(crate) clients: &'a [ClientConfig],
    pub(crate) token_seconds: u64,
}

impl Auth {
    pub(crate) fn new(parts: Parts<'_>) -> Result<Self, AuthError> {
        let mut configured = HashMap::new();
        for client in parts.clients {
            let name = &client.client_id;
            if client.role == ClientRole::Authority && parts.role != Role::Authority {
                return Err(AuthError::NotAnAuthority(name.clone()));
            }
            let keys = jose::ClientJwk::parse_set(&client.jwks)
                .map_err(|source| AuthError::Keys { client: name.clone(), source })?;
            if name.parse::<AccountId>().is_ok() || configured.insert(name.clone(), (client.role, keys)).is_some() {
                return Err(AuthError::Name(name.clone()));
            }
        }
        Ok(Self {
            org: parts.org,
            token_url: format!("{}/auth/token", parts.base),
            keystore: parts.keystore,
            token_seconds: parts.token_seconds,
            configured,
            tokens: Tokens::default(),
            replays: Replays::default(),
            parties: Parties::new(parts.db),
            enrolments: Enrolments::default(),
        })
    }

    /// Answers a token request: its form parameters, at a time.
    ///
    /// # Errors
    /// As RFC 6749 section 5.2.
    pub fn token(&self, form: &[(String, String)], now: TimeMs) -> Result<Value, TokenRefusal> {
        let one = |name: &str| {
            let mut values = form.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str());
            match (values.next(), values.next()) {
                (Some(value), None) => Ok(value),
                (None, _) => Err(TokenRefusal::request(format!("{name} is missing"))),
                (Some(_), Some(_)) => Err(TokenRefusal::request(format!("{name} is given twice"))),
            }
        };
        if one("grant_type")? != "client_credentials" {
            let description = "grant_type must be client_credentials".into();
            return Err(TokenRefusal { status: 400, error: "unsupported_grant_type", description });
        }
        if one("client_assertion_type")? != JWT_BEARER {
            return Err(TokenRefusal::request(format!("client_assertion_type must be {JWT_BEARER}")));
        }
        let caller = self.recognise(one("client_assertion")?, now)?;
        let scope = match caller.who {
            Who::System | Who::Authority { .. } => "system/*.cruds",
            Who::Practitioner { .. } => "user/*.cruds",
            Who::Patient { .. } => "patient/*.rs",
        };
        let token = self.tokens.issue(caller, now, self.token_seconds).map_err(|_| TokenRefusal::server())?;
        Ok(json!({
            "access_token": token, "token_type": "bearer", "expires_in": self.token_seconds, "scope": scope,
        }))
    }

    /// Who signed an assertion. Nothing that it claims is believed before its signature was checked.
    fn recognise(&self, assertion: &str, now: TimeMs) -> Result<Caller, TokenRefusal> {
        let refused = |e: jose::JoseError| TokenRefusal::client(e.to_string());
        let said = Claims::parse(&jose::unverified_payload(assertion).map_err(refused)?)?;
        let (keys, signs) = self.keys_of(&said.iss)?;
        let verified = jose::verify(assertion, &keys).map_err(refused)?;
        let claims = Claims::parse(verified.payload())?;
        claims.check(&self.token_url, now)?;
        if !self.replays.first_use(&claims.iss, claims.jti(), claims.ends(), now) {
            return Err(TokenRefusal::client("an assertion with this jti was used before"));
        }
        let client_id = claims.iss.clone();
        let purpose = claims.b2b().and_then(|b| b.purpose_of_use.code());
        let (who, device) = match (signs, claims.b2b()) {
            (Signs::Person { account, role, devices }, None) => {
                let device = devices.iter().find(|(name, _)| name == verified.kid()).map(|(_, device)| *device);
                let device = device.ok_or_else(|| TokenRefusal::client("the key is no device's"))?;
                (self.person(account, role)?, Some(device))
            }
            (Signs::Person { .. }, Some(_)) => {
                return Err(TokenRefusal::grant("a person acts for nobody else by hl7-b2b"));
            }
            (Signs::Client(_), Some(b2b)) => (self.on_behalf(b2b)?, None),
            (Signs::Client(ClientRole::Authority), None) => (Who::Authority { account: self.org }, None),
            (Signs::Client(ClientRole::System), None) => (Who::System, None),
        };
        Ok(Caller { client_id, who, purpose, device })
    }

    fn keys_of(&self, client: &str) -> Result<(Vec<jose::ClientJwk>, Signs), TokenRefusal> {
        // One answer for a client that is unknown and one whose key does not verify would be nicer to the shy; SMART
        // names both invalid_client, and client ids are no secret.
        if let Some((role, keys)) = self.configured.get(client) {
            return Ok((keys.clone(), Signs::Client(*role)));
        }
        let unknown = || TokenRefusal::client("no such client");
        let account: AccountId = client.parse().map_err(|_| unknown())?;
        let known = self.parties.client(&account)?.ok_or_else(unknown)?;
        let (mut keys, mut devices) = (Vec::new(), Vec::new());
        for one in known.keys {
            keys.push(jose::ClientJwk::parse(&one.jwk).map_err(|_| TokenRefusal::server())?);
            devices.push((one.name, one.device));
        }
        Ok((keys, Signs::Person { account, role: known.role, devices }))
    }

    fn person(&self, account: AccountId, role: Role) -> Result<Who, TokenRefusal> {
        match role {
            Role::Doctor => Ok(Who::Practitioner { account, record: self.practitioner(&account)?, agent: None }),
            Role::Patient => Ok(Who::Patient { account }),
            _ => Err(TokenRefusal::grant("an organisation's own account does not sign in")),
        }
    }

    /// The doctor for whom one of the organisation's systems acts. Whether a mandate covers it is judged at each use.
    fn on_behalf(&self, b2b: &B2b) -> Result<Who, TokenRefusal> {
        if b2b.version != "1" {
            return Err(TokenRefusal::grant("hl7-b2b: version must be \"1\""));
        }
        if account_in(&b2b.organization_id) != Some(self.org) {
            return Err(TokenRefusal::grant("hl7-b2b: organization_id is not this gateway's organisation"));
        }
        let Some(subject) = &b2b.subject_id else {
            return Err(TokenRefusal::grant("hl7-b2b: subject_id is missing"));
        };
        let account = match subject.rsplit_once("Practitioner/") {
            Some((_, id)) => {
                let id: Option<RecordId> = id.parse().ok();
                id.map(|id| self.parties.by_record(&id)).transpose()?.flatten().map(|p| p.account)
            }
            None => account_in(subject),
        };
        let account =
            account.ok_or_else(|| TokenRefusal::grant("hl7-b2b: subject_id names no doctor with an account"))?;
        let agent = self.keystore.ed25519(&format!("agent/{account}")).map_or(NO_KEY, |key| key.public().kid());
        Ok(Who::Practitioner { account, record: self.practitioner(&account)?, agent: Some(agent) })
    }

    fn practitioner(&self, account: &AccountId) -> Result<Option<RecordId>, StoreError> {
        Ok(self.parties.by_account(account)?.filter(|p| p.resource_type == "Practitioner").map(|p| p.record))
    }

    /// The caller whom a request's bearer token stands for.
    ///
    /// # Errors
    /// 401 without a token, and for one that was never given out or has ended; the two are not told apart.
    pub fn authenticate(&self, headers: &HeaderMap, now: TimeMs) -> Result<Caller, Fault> {
        let given = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        let Some(given) = given else {
            return Err(Fault::unauthenticated("this call needs a bearer token, see /.well-known/smart-configuration"));
        };
        let (scheme, token) = given.split_once(' ').unwrap_or((given, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Fault::unauthenticated("the Authorization header must be of scheme Bearer"));
        }
        self.tokens
            .caller(token.trim(), now)
            .ok_or_else(|| Fault::unauthenticated("the token is not valid, or no longer"))
    }

    /// Lets a person sign in with a P-384 key of a device, as enrolment does; for as long as the ledger has the device.
    ///
    /// # Errors
    /// 400 for a key that is not of its form, 503 when the store cannot write.
    pub(crate) async fn admit_person(
        &self,
        account: &AccountId,
        role: Role,
        device: Kid,
        jwk: Value,
    ) -> Result<(), Fault> {
        let parsed = jose::ClientJwk::parse(&jwk).map_err(|e| Fault::malformed(e.to_string()).at("client"))?;
        let key = PersonKey { name: parsed.kid().to_owned(), device, jwk };
        self.parties.add_client(account, role, key).await.map_err(|e| Fault::unavailable(e.to_string()))
    }
}

/// An account out of its bare id, `system|id`, or an address that ends in it.
fn account_in(text: &str) -> Option<AccountId> {
    text.rsplit(['|', '/', ':']).next()?.parse().ok()
}
