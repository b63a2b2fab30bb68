//! Client assertions: SMART Backend Services
//! (<https://hl7.org/fhir/smart-app-launch/client-confidential-asymmetric.html>), with the `hl7-b2b` extension of UDAP
//! (<https://hl7.org/fhir/us/udap-security/b2b.html>).

use serde::Deserialize;
use vouchsafe_types::TimeMs;

use super::TokenRefusal;

/// An assertion may end at most five minutes ahead.
const MOST_AHEAD_MS: u64 = 5 * 60_000;
/// How far a client's clock may be ahead of ours.
const SKEW_MS: u64 = 30_000;

/// What an assertion claims. Claims that mean nothing here are ignored, as RFC 7519 section 4 asks.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) sub: String,
    aud: Audience,
    exp: u64,
    nbf: Option<u64>,
    iat: Option<u64>,
    jti: String,
    extensions: Option<Extensions>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Deserialize)]
struct Extensions {
    #[serde(rename = "hl7-b2b")]
    b2b: Option<B2b>,
}

/// For whom a system acts.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct B2b {
    pub(super) version: String,
    pub(super) subject_id: Option<String>,
    pub(super) organization_id: String,
    #[serde(default)]
    pub(super) purpose_of_use: Purposes,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(untagged)]
pub(super) enum Purposes {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

impl Purposes {
    /// The first purpose's code, without its system.
    pub(super) fn code(&self) -> Option<String> {
        let text = match self {
            Self::None => return None,
            Self::One(text) => text,
            Self::Many(texts) => texts.first()?,
        };
        let code = text.rsplit(['#', '|']).next().unwrap_or_default();
        let good = (1..=32).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        good.then(|| code.to_owned())
    }
}

impl Claims {
    /// Reads claims out of bytes whose signature may not be checked yet.
    pub(super) fn parse(payload: &[u8]) -> Result<Self, TokenRefusal> {
        serde_json::from_slice(payload)
            .map_err(|_| TokenRefusal::client("the assertion's claims are not of their form (iss, sub, aud, exp, jti)"))
    }

    /// Checks what is claimed for a token endpoint at a time.
    pub(super) fn check(&self, token_url: &str, now: TimeMs) -> Result<(), TokenRefusal> {
        if self.iss != self.sub {
            return Err(TokenRefusal::client("iss and sub must both be the client_id"));
        }
        let audience = match &self.aud {
            Audience::One(one) => one == token_url,
            Audience::Many(many) => matches!(many.as_slice(), [one] if one == token_url),
        };
        if !audience {
            return Err(TokenRefusal::client("aud must be the token endpoint's address"));
        }
        if now >= self.ends() {
            return Err(TokenRefusal::client("the assertion has expired"));
        }
        if self.ends() > now.plus(MOST_AHEAD_MS + SKEW_MS) {
            return Err(TokenRefusal::client("exp is more than five minutes ahead"));
        }
        let early = |seconds: Option<u64>| seconds.is_some_and(|s| s.saturating_mul(1000) > now.0 + SKEW_MS);
        if early(self.nbf) || early(self.iat) {
            return Err(TokenRefusal::client("the assertion is not valid yet"));
        }
        if !(1..=128).contains(&self.jti.len()) {
            return Err(TokenRefusal::client("jti must have 1 to 128 bytes"));
        }
        Ok(())
    }

    /// When it ends.
    pub(super) const fn ends(&self) -> TimeMs {
        TimeMs(self.exp.saturating_mul(1000))
    }

    pub(super) fn jti(&self) -> &str {
        &self.jti
    }

    pub(super) fn b2b(&self) -> Option<&B2b> {
        self.extensions.as_ref()?.b2b.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const URL: &str = "http://a/auth/token";

    fn check(change: &dyn Fn(&mut Value)) -> Result<(), String> {
        let mut claims = json!({"iss": "c", "sub": "c", "aud": URL, "exp": 1_200, "jti": "1"});
        change(&mut claims);
        let claims = Claims::parse(claims.to_string().as_bytes()).map_err(|e| e.description)?;
        claims.check(URL, TimeMs(1_000_000)).map_err(|e| e.description)
    }

    #[test]
    fn claims_as_they_should_be() {
        assert_eq!(check(&|_| {}), Ok(()));
        assert_eq!(check(&|c| c["aud"] = json!([URL])), Ok(()));
    }

    #[test]
    fn each_wrong_claim_is_refused() {
        type Change<'a> = &'a dyn Fn(&mut Value);
        let wrong: [(&str, Change<'_>); 8] = [
            ("iss and sub", &|c| c["sub"] = json!("d")),
            ("aud must be", &|c| c["aud"] = json!("http://b/auth/token")),
            ("aud must be", &|c| c["aud"] = json!([URL, "http://b"])),
            ("has expired", &|c| c["exp"] = json!(1_000)),
            ("five minutes", &|c| c["exp"] = json!(1_331)),
            ("not valid yet", &|c| c["nbf"] = json!(1_100)),
            ("jti must", &|c| c["jti"] = json!("")),
            ("not of their form", &|c| {
                c.as_object_mut().unwrap().remove("jti");
            }),
        ];
        for (expected, change) in wrong {
            let got = check(change).unwrap_err();
            assert!(got.contains(expected), "{got}");
        }
    }

    #[test]
    fn a_purpose_loses_its_system() {
        assert_eq!(Purposes::One("urn:oid:2.16.840.1.113883.5.8#TREAT".into()).code().as_deref(), Some("TREAT"));
        assert_eq!(Purposes::Many(vec!["ETREAT".into()]).code().as_deref(), Some("ETREAT"));
        assert_eq!(Purposes::One("a b".into()).code(), None);
    }
}
