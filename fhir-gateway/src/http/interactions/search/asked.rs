//! What a search asks for, as it came over HTTP (<https://hl7.org/fhir/R4/http.html#search>): in the address, in a form, or
//! in both.

use serde::{Deserialize, Serialize};
use vouchsafe_fhir_search::Handling;

use crate::http::{
    Fault,
    call::{self, Call},
    ids,
};

/// So many bytes may names and values have together. A link to the next page carries them all, and an address of more than
/// 64 KiB is refused before it gets here.
const MOST_BYTES: usize = 16 << 10;

/// A search, as it was asked for. It is health data, so no Debug.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    /// The type searched; none for all types, or for those of `_type`.
    pub(super) resource_type: Option<String>,
    /// The compartment searched: its type, and the id of whose it is.
    pub(super) compartment: Option<(String, String)>,
    /// The parameters of the address, then those of the form, in their order.
    pub(super) pairs: Vec<(String, String)>,
    /// True when unknown parameters are left out rather than refused (`Prefer: handling=lenient`).
    lenient: bool,
}

impl Asked {
    /// Reads a call.
    ///
    /// # Errors
    /// 400 for what is no form, and for more than a search may have.
    pub(super) fn read(call: &Call) -> Result<Self, Fault> {
        let pairs = pairs(call)?;
        let mut bytes = 0;
        for (name, value) in &pairs {
            bytes += name.len() + value.len();
            if bytes > MOST_BYTES {
                let text = format!("the parameters of a search may have {MOST_BYTES} bytes together");
                return Err(Fault::new(400, "too-long", text).code("too-costly").at_parameter(name));
            }
        }
        let compartment = match call.param("compartment") {
            "" => None,
            name => Some((name.to_owned(), call.id()?.to_owned())),
        };
        let resource_type = Some(call.param("type")).filter(|name| !name.is_empty()).map(str::to_owned);
        Ok(Self { resource_type, compartment, pairs, lenient: lenient(call) })
    }

    /// What becomes of unknown parameters.
    pub(super) const fn handling(&self) -> Handling {
        if self.lenient { Handling::Lenient } else { Handling::Strict }
    }

    /// The address below the FHIR base that asks for the same, with these of its parameters.
    pub(super) fn address<'a>(&self, pairs: impl Iterator<Item = &'a (String, String)>) -> String {
        let mut out = self.path();
        let mut separator = '?';
        for (name, value) in pairs {
            out.push(separator);
            separator = '&';
            encode(name, &mut out);
            out.push('=');
            encode(value, &mut out);
        }
        out
    }

    /// The path below the FHIR base.
    fn path(&self) -> String {
        let name = self.resource_type.as_deref();
        match &self.compartment {
            None => name.unwrap_or_default().to_owned(),
            Some((compartment, id)) => format!("{compartment}/{id}/{}", name.unwrap_or("*")),
        }
    }

    /// What the audit log keeps of it. Where the charts of several patients are in the answer, each of them sees the query
    /// of the own chart's event: then it shows the values only of what cannot name anybody.
    pub(super) fn text(&self, of_several: bool) -> String {
        let path = if of_several && self.compartment.is_some() {
            self.resource_type.clone().unwrap_or_default()
        } else {
            self.path()
        };
        let shown = |(name, value): &(String, String)| {
            let value = if of_several && !NAMES_NOBODY.contains(&name.as_str()) { "" } else { value.as_str() };
            format!("{name}={value}")
        };
        let pairs: Vec<String> = self.pairs.iter().map(shown).collect();
        format!("{path}?{}", pairs.join("&"))
    }
}

/// Parameters whose values cannot name a person.
const NAMES_NOBODY: &[&str] = &[
    "_count",
    "_elements",
    "_include",
    "_include:iterate",
    "_lastUpdated",
    "_revinclude",
    "_revinclude:iterate",
    "_sort",
    "_summary",
    "_total",
    "_type",
    "category",
    "code",
    "date",
    "status",
];

/// The parameters of the address and of the form.
///
/// # Errors
/// 400 when the form is none.
pub(crate) fn pairs(call: &Call) -> Result<Vec<(String, String)>, Fault> {
    let mut pairs = call.query.clone();
    if !call.body.is_empty() {
        let text = std::str::from_utf8(&call.body).map_err(|_| Fault::malformed("the form is not UTF-8"))?;
        pairs.extend(call::without_format(ids::pairs(text)?)?);
        if let Some((name, _)) = pairs.get(ids::MOST_PAIRS) {
            return Err(ids::too_many(name));
        }
    }
    Ok(pairs)
}

/// RFC 7240's `Prefer: handling=lenient`; what else is preferred is others' to read.
fn lenient(call: &Call) -> bool {
    let values = call.headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split([',', ';'])).any(|one| one.trim().eq_ignore_ascii_case("handling=lenient"))
}

/// Percent-encodes what has a meaning in an address, and leaves what makes a search readable.
fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/,|".contains(&byte) {
            out.push(char::from(byte));
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(compartment: Option<(&str, &str)>, pairs: &[(&str, &str)]) -> Asked {
        Asked {
            resource_type: Some("Observation".into()),
            compartment: compartment.map(|(name, id)| (name.into(), id.into())),
            pairs: pairs.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect(),
            lenient: false,
        }
    }

    #[test]
    fn an_address_is_percent_encoded_where_it_must_be() {
        let asked = asked(None, &[("code", "http://loinc.org|1&2"), ("value-string", "ä +%")]);
        assert_eq!(
            asked.address(asked.pairs.iter()),
            "Observation?code=http://loinc.org|1%262&value-string=%C3%A4%20%2B%25"
        );
        let decoded = ids::pairs(asked.address(asked.pairs.iter()).split_once('?').unwrap().1).unwrap();
        assert_eq!(decoded, asked.pairs);
    }

    #[test]
    fn what_several_patients_see_of_a_query_names_none_of_them() {
        let pairs = [("patient", "Patient/1"), ("code", "x|1"), ("subject:Patient.name", "Meier"), ("_count", "2")];
        let asked = asked(Some(("Patient", "7")), &pairs);
        assert_eq!(
            asked.text(false),
            "Patient/7/Observation?patient=Patient/1&code=x|1&subject:Patient.name=Meier&_count=2"
        );
        assert_eq!(asked.text(true), "Observation?patient=&code=x|1&subject:Patient.name=&_count=2");
    }
}
