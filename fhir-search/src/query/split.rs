//! Taking a value apart at `,`, `$` and `|`, which a backslash makes plain
//! (<https://hl7.org/fhir/R4/search.html#escaping>).

/// The parts between unescaped separators, still escaped. There is at least one.
pub(super) fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let whole = rest?;
        match find(whole, separator) {
            Some(at) => {
                rest = whole.get(at + separator.len_utf8()..);
                whole.get(..at)
            }
            None => rest.take(),
        }
    })
}

/// Splits at the first unescaped separator.
pub(super) fn split_once(text: &str, separator: char) -> Option<(&str, &str)> {
    let at = find(text, separator)?;
    Some((&text[..at], &text[at + separator.len_utf8()..]))
}

/// The text that is meant: without the backslashes before `\`, `,`, `$` and `|`. Others stand for themselves.
pub(super) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.peek() {
            Some('\\' | ',' | '$' | '|') if c == '\\' => out.extend(chars.next()),
            _ => out.push(c),
        }
    }
    out
}

fn find(text: &str, separator: char) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let found = c == separator && !escaped;
        escaped = c == '\\' && !escaped;
        found.then_some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backslash_makes_a_separator_plain() {
        let parts = |text| split(text, ',').map(unescape).collect::<Vec<_>>();
        assert_eq!(parts(r"a\,b,c"), ["a,b", "c"]);
        assert_eq!(parts(r"a\\,b"), [r"a\", "b"]);
        assert_eq!(parts(r"a\\\,b"), [r"a\,b"]);
        assert_eq!(parts(""), [""]);
        assert_eq!(parts(",ä,"), ["", "ä", ""]);
        assert_eq!(unescape(r"\|\$\n\"), r"|$\n\");
        assert_eq!(split_once(r"a\|b|c|d", '|'), Some((r"a\|b", "c|d")));
        assert_eq!(split_once(r"a\|b", '|'), None);
    }
}
