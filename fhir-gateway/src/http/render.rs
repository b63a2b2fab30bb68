//! How own records become answers.

use serde_json::{Value, json};
use vouchsafe_types::TimeMs;

use super::Reply;
use crate::{
    fhir::{
        date,
        json::{Splice, splice},
    },
    gateway::Gateway,
    records::Opened,
};

/// The bytes that are served: those submitted, with what the server says about them.
pub(crate) fn bytes(opened: &Opened) -> &[u8] {
    opened.served(|| {
        let row = &opened.row;
        splice(
            opened.sealed_form(),
            &Splice {
                id: &row.id.to_string(),
                version: &row.version.to_string(),
                last_updated: &date::instant(row.last_updated),
                labels: &[row.category().code()],
                source: None,
            },
        )
    })
}

/// One record as an answer.
pub(crate) fn reply(status: u16, opened: &Opened) -> Reply {
    let row = &opened.row;
    Reply::bytes(status, bytes(opened).to_vec())
        .header("etag", etag(row.version.0))
        .header("last-modified", http_date(row.last_updated.0))
}

/// A weak entity tag, as FHIR has it.
pub(crate) fn etag(version: u64) -> String {
    format!("W/\"{version}\"")
}

/// The version that `If-Match` names: `W/"3"` or `"3"`.
pub(crate) fn version_in_etag(text: &str) -> Option<u64> {
    text.trim().trim_start_matches("W/").strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

/// A time as HTTP writes it (RFC 9110 section 5.6.7), the one form that is to be written.
const HTTP_DATE: &[time::format_description::BorrowedFormatItem<'_>] = time::macros::format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// A time of HTTP; None when it is none in that form.
pub(crate) fn parse_http_date(text: &str) -> Option<TimeMs> {
    let time = time::PrimitiveDateTime::parse(text.trim(), HTTP_DATE).ok()?.assume_utc();
    u64::try_from(time.unix_timestamp()).ok()?.checked_mul(1000).map(TimeMs)
}

/// What an entry of a Bundle says of an answer over HTTP (<https://hl7.org/fhir/R4/bundle-definitions.html#Bundle.entry.response>).
pub(crate) fn entry_response<'a>(status: &str, headers: impl Iterator<Item = (&'a str, &'a str)>) -> Value {
    let mut response = json!({ "status": status });
    for (name, value) in headers {
        match name {
            "etag" => response["etag"] = value.into(),
            "location" => response["location"] = value.into(),
            "last-modified" => {
                if let Some(at) = parse_http_date(value) {
                    response["lastModified"] = date::instant(at).into();
                }
            }
            _ => {}
        }
    }
    response
}

/// A time as HTTP writes it.
pub(crate) fn http_date(ms: u64) -> String {
    i64::try_from(ms / 1000)
        .ok()
        .and_then(|s| time::OffsetDateTime::from_unix_timestamp(s).ok()?.format(HTTP_DATE).ok())
        .unwrap_or_else(|| "Fri, 31 Dec 9999 23:59:59 GMT".to_owned())
}

/// A Bundle of entries, each with its resource byte for byte.
pub(crate) fn bundle(head: &Value, entries: impl Iterator<Item = (Value, Option<Vec<u8>>)>) -> Vec<u8> {
    let head = head.to_string();
    let mut out = head.as_bytes()[..head.len() - 1].to_vec();
    let mut separator = b",\"entry\":[".as_slice();
    for (entry, resource) in entries {
        out.extend(separator);
        separator = b",";
        let entry = entry.to_string();
        out.extend(&entry.as_bytes()[..entry.len() - 1]);
        if let Some(resource) = resource {
            out.extend(b",\"resource\":");
            out.extend(resource.trim_ascii());
        }
        out.push(b'}');
    }
    if separator == b"," {
        out.push(b']');
    }
    out.push(b'}');
    out
}

/// A resource in a searchset.
pub(crate) struct Entry {
    /// Its type and id, as they are in its address.
    pub(crate) resource_type: String,
    pub(crate) id: String,
    pub(crate) body: Body,
    /// True when it is what was asked for, false when it comes along by `_include`.
    pub(crate) is_match: bool,
}

/// The bytes of a resource.
pub(crate) enum Body {
    /// An own record, whole; its bytes are shared with others who read it.
    Opened(Opened),
    /// Bytes of this answer alone.
    Bytes(Vec<u8>),
}

impl Body {
    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Opened(opened) => bytes(opened),
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl Entry {
    /// A match that the gateway itself made.
    pub(crate) fn made(resource_type: &str, id: String, resource: &Value) -> Self {
        let body = Body::Bytes(resource.to_string().into_bytes());
        Self { resource_type: resource_type.to_owned(), id, body, is_match: true }
    }
}

/// A searchset (<https://hl7.org/fhir/R4/bundle.html#searchset>). Resources go in as they are, byte for byte.
pub(crate) fn searchset(
    gw: &Gateway,
    own: &str,
    next: Option<&str>,
    total: Option<usize>,
    entries: &[Entry],
    outcomes: &[Value],
) -> Vec<u8> {
    let mut links = vec![json!({ "relation": "self", "url": own })];
    links.extend(next.map(|url| json!({ "relation": "next", "url": url })));
    let mut head = json!({
        "resourceType": "Bundle",
        "id": crate::records::Records::new_id().to_string(),
        "meta": { "lastUpdated": date::instant((gw.clock)()) },
        "type": "searchset",
        "link": links,
    });
    if let Some(total) = total {
        head["total"] = total.into();
    }
    let head = head.to_string();
    let base = Value::from(gw.fhir_base()).to_string();
    let base = &base[..base.len() - 1];
    let bodies: usize = entries.iter().map(|entry| entry.body.as_bytes().len() + base.len() + 160).sum();
    let mut out = Vec::with_capacity(head.len() + bodies + 512 * outcomes.len() + 16);
    out.extend_from_slice(&head.as_bytes()[..head.len() - 1]);
    let mut separator = ",\"entry\":[";
    for entry in entries {
        let Entry { resource_type, id, body, is_match } = entry;
        for text in [separator, "{\"fullUrl\":", base, "/", resource_type, "/", id, "\",\"resource\":"] {
            out.extend_from_slice(text.as_bytes());
        }
        separator = ",";
        out.extend_from_slice(body.as_bytes().trim_ascii());
        let mode = if *is_match { "match" } else { "include" };
        for text in [",\"search\":{\"mode\":\"", mode, "\"}}"] {
            out.extend_from_slice(text.as_bytes());
        }
    }
    for outcome in outcomes {
        let entry = json!({ "resource": outcome, "search": { "mode": "outcome" } }).to_string();
        out.extend_from_slice(separator.as_bytes());
        out.extend_from_slice(entry.as_bytes());
        separator = ",";
    }
    if separator == "," {
        out.push(b']');
    }
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entity_tags_are_read_in_both_forms() {
        assert_eq!(version_in_etag("W/\"3\""), Some(3));
        assert_eq!(version_in_etag("\"12\""), Some(12));
        for bad in ["3", "W/3", "*", "\"x\"", "\"1\", \"2\""] {
            assert_eq!(version_in_etag(bad), None, "{bad}");
        }
    }

    #[test]
    fn dates_are_as_http_writes_them() {
        assert_eq!(http_date(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(TimeMs(784_111_777_000)));
        for bad in ["", "1994-11-06", "Sun, 06 Nov 1994 08:49:37", "Thu, 01 Jan 1900 00:00:00 GMT"] {
            assert_eq!(parse_http_date(bad), None, "{bad}");
        }
    }
}
