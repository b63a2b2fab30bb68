//! How own records become answers.

use serde_json::{Value, json};

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

/// A time as HTTP writes it (RFC 9110 section 5.6.7).
pub(crate) fn http_date(ms: u64) -> String {
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    i64::try_from(ms / 1000)
        .ok()
        .and_then(|s| time::OffsetDateTime::from_unix_timestamp(s).ok()?.format(&format).ok())
        .unwrap_or_else(|| "Fri, 31 Dec 9999 23:59:59 GMT".to_owned())
}

/// An entry of a searchset.
pub(crate) struct Entry {
    pub(crate) full_url: String,
    pub(crate) resource: Vec<u8>,
}

/// A searchset. Resources go in as they are, byte for byte.
pub(crate) fn searchset(
    gw: &Gateway,
    own: &str,
    next: Option<&str>,
    total: usize,
    entries: &[Entry],
    outcomes: &[Value],
) -> Vec<u8> {
    let mut out = Vec::new();
    let mut links = vec![json!({ "relation": "self", "url": own })];
    links.extend(next.map(|url| json!({ "relation": "next", "url": url })));
    let head = json!({
        "resourceType": "Bundle",
        "id": crate::records::Records::new_id().to_string(),
        "meta": { "lastUpdated": date::instant((gw.clock)()) },
        "type": "searchset",
        "total": total,
        "link": links,
    })
    .to_string();
    out.extend(&head.as_bytes()[..head.len() - 1]);
    let mut separator = b",\"entry\":[".as_slice();
    for entry in entries {
        out.extend(separator);
        separator = b",";
        let url = Value::from(entry.full_url.as_str());
        out.extend(format!("{{\"fullUrl\":{url},\"resource\":").bytes());
        out.extend(entry.resource.trim_ascii());
        out.extend(b",\"search\":{\"mode\":\"match\"}}");
    }
    for outcome in outcomes {
        out.extend(separator);
        separator = b",";
        out.extend(json!({ "resource": outcome, "search": { "mode": "outcome" } }).to_string().bytes());
    }
    if separator == b"," {
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
    }
}
