//! Ids and paths as they come from outside.

use super::Fault;

/// Checks an id against R4's form (<https://hl7.org/fhir/R4/datatypes.html#id>): 1 to 64 of `A-Z a-z 0-9 - .`.
///
/// # Errors
/// 400, naming the parameter; the id itself is not repeated, because it may be anything.
pub(crate) fn check<'a>(id: &'a str, what: &str) -> Result<&'a str, Fault> {
    let good = (1..=64).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        && id.bytes().any(|b| b != b'.');
    if good {
        Ok(id)
    } else {
        Err(Fault::new(400, "value", "an id is 1 to 64 letters, digits, hyphens and dots").at(what))
    }
}

/// Undoes percent-encoding; `None` for a broken escape or what is not UTF-8.
pub(crate) fn percent_decode(text: &str, plus_is_space: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        match b {
            b'%' => {
                let (high, low) = (bytes.next()?, bytes.next()?);
                let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
                out.push(digit(high)? * 16 + digit(low)?);
            }
            b'+' if plus_is_space => out.push(b' '),
            _ => out.push(b),
        }
    }
    String::from_utf8(out).ok()
}

/// Percent-encodes everything that is not unreserved (RFC 3986 section 2.3).
pub(crate) fn percent_encode(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect()
}

/// So many parameters may be in one address or form; the longest search in use has some tens.
pub(crate) const MOST_PAIRS: usize = 200;

/// A form or query string as pairs, in the order given.
///
/// # Errors
/// 400 for a broken escape, for text that is not UTF-8, for NUL, and for more than [`MOST_PAIRS`] pairs.
pub(crate) fn pairs(text: &str) -> Result<Vec<(String, String)>, Fault> {
    let bad = || Fault::malformed("the parameters are not percent-encoded UTF-8 without NUL");
    let mut out = Vec::new();
    for pair in text.split('&').filter(|p| !p.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = percent_decode(name, true).ok_or_else(bad)?;
        let value = percent_decode(value, true).ok_or_else(bad)?;
        if name.contains('\0') || value.contains('\0') {
            return Err(bad());
        }
        if out.len() == MOST_PAIRS {
            return Err(too_many(&name));
        }
        out.push((name, value));
    }
    Ok(out)
}

/// The fault of the first parameter that is one too many.
pub(crate) fn too_many(name: &str) -> Fault {
    let text = format!("at most {MOST_PAIRS} parameters are read");
    Fault::new(400, "too-costly", text).code("too-costly").at_parameter(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_r4s_form_only() {
        for good in ["a", "A-1.b", "0123456789abcdef0123456789abcdef"] {
            assert!(check(good, "id").is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "../x", "a/b", "a\0", "ä", "a b", "%2e", &"a".repeat(65)] {
            assert_eq!(check(bad, "id").unwrap_err().status, 400, "{bad:?}");
        }
    }

    #[test]
    fn broken_escapes_are_refused() {
        assert_eq!(percent_decode("a%20b", false).as_deref(), Some("a b"));
        assert_eq!(percent_decode(&percent_encode("ä +&=%"), true).as_deref(), Some("ä +&=%"));
        assert_eq!(percent_decode("a+b", true).as_deref(), Some("a b"));
        for bad in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(percent_decode(bad, false), None, "{bad}");
        }
        assert!(pairs("a=1&b=%00").is_err());
        assert_eq!(pairs("a=1&b").unwrap(), [("a".into(), "1".into()), ("b".into(), String::new())]);
    }
}
