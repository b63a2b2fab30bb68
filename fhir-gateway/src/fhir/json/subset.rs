//! A part of a resource, as `_summary` and `_elements` ask for: whole members left out, every other byte as it was.

use serde_json::json;

use super::splice::{Level, level};

/// The tag that says that not all of a resource is shown (<https://hl7.org/fhir/R4/search.html#summary>).
const SUBSETTED: (&str, &str) = ("http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "SUBSETTED");

/// The resource with those of its own members that are kept, marked as a part. `resourceType`, `id` and `meta` always
/// stay; the extensions of a primitive (`_birthDate`) go with it. Bytes that are no JSON object come back as they are.
pub fn subset(bytes: &[u8], keep: &dyn Fn(&str) -> bool) -> Vec<u8> {
    let Some(top) = level(bytes, &(0..bytes.len())) else { return bytes.to_vec() };
    let stays =
        |name: &str| matches!(name, "resourceType" | "id" | "meta") || keep(name.strip_prefix('_').unwrap_or(name));
    let mut out = bytes[..top.open].to_vec();
    let kept = top.map(bytes, |item| stays(&item.name).then(|| bytes[item.whole.clone()].to_vec()));
    out.extend(kept.unwrap_or_else(|| b"{}".to_vec()));
    out.extend(&bytes[top.close + 1..]);
    tagged(&out)
}

/// The resource with the tag in its `meta`.
fn tagged(bytes: &[u8]) -> Vec<u8> {
    let tag = json!({ "system": SUBSETTED.0, "code": SUBSETTED.1 }).to_string();
    let insert = |at: usize, text: String| [&bytes[..at], text.as_bytes(), &bytes[at..]].concat();
    let into = |level: &Level, text: String| {
        let (at, after) = level.end();
        insert(at, format!("{}{text}", if after { "," } else { "" }))
    };
    let Some(top) = level(bytes, &(0..bytes.len())) else { return bytes.to_vec() };
    let Some(meta) = top.find("meta") else { return into(&top, format!("\"meta\":{{\"tag\":[{tag}]}}")) };
    // A meta or a tag of another form is no FHIR; a second one would make it no JSON either.
    let Some(meta) = level(bytes, &meta.value) else { return bytes.to_vec() };
    let Some(tags) = meta.find("tag") else { return into(&meta, format!("\"tag\":[{tag}]")) };
    match level(bytes, &tags.value) {
        Some(tags) => into(&tags, tag),
        None => bytes.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: &str = r#"{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"SUBSETTED"}"#;

    fn of(text: &str, kept: &[&str]) -> String {
        String::from_utf8(subset(text.as_bytes(), &|name| kept.contains(&name))).unwrap()
    }

    #[test]
    fn whole_members_go_and_every_other_byte_stays() {
        let text = "{ \"resourceType\" : \"Patient\",\"id\":\"1\",\"meta\":{\"versionId\":\"1\"},\n \"active\":true, \
            \"name\": [ {\"family\":\"\\u00e4\" } ],\"_birthDate\":{\"id\":\"b\"},\"birthDate\":\"1970\" }";
        assert_eq!(
            of(text, &["name"]),
            format!(
                "{{ \"resourceType\" : \"Patient\",\"id\":\"1\",\"meta\":{{\"versionId\":\"1\",\"tag\":[{TAG}]}}, \
                \"name\": [ {{\"family\":\"\\u00e4\" }} ] }}"
            )
        );
        let dates = of(text, &["birthDate"]);
        assert!(dates.contains("\"_birthDate\":{\"id\":\"b\"},\"birthDate\":\"1970\" }"), "{dates}");
    }

    #[test]
    fn the_tag_joins_those_that_are_there() {
        let of = |meta: &str| of(&format!("{{\"resourceType\":\"Basic\"{meta}}}"), &[]);
        assert_eq!(of(""), format!("{{\"resourceType\":\"Basic\",\"meta\":{{\"tag\":[{TAG}]}}}}"));
        assert_eq!(of(",\"meta\":{}"), format!("{{\"resourceType\":\"Basic\",\"meta\":{{\"tag\":[{TAG}]}}}}"));
        let had = of(",\"meta\":{\"tag\":[{\"code\":\"x\"}]}");
        assert_eq!(had, format!("{{\"resourceType\":\"Basic\",\"meta\":{{\"tag\":[{{\"code\":\"x\"}},{TAG}]}}}}"));
        assert_eq!(subset(b"no", &|_| false), b"no");
    }
}
