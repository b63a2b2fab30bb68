//! Parameters (<https://hl7.org/fhir/R4/parameters.html>) in and out.

use serde_json::{Value, json};

use crate::http::{Fault, call::Call};

/// The parameters of an operation's body, which may be empty.
pub(crate) struct Given(Value);

impl Given {
    /// Reads a call's body.
    ///
    /// # Errors
    /// 400 when it is no Parameters, or has one that is not among `known`, or one twice.
    pub(crate) fn read(call: &Call, known: &[&str]) -> Result<Self, Fault> {
        let document = call.parameters()?;
        if document.resource_type() != Some("Parameters") {
            return Err(Fault::malformed("an operation takes a Parameters resource").at("resourceType"));
        }
        vouchsafe_fhir_structure::check("Parameters", document.bytes()).map_err(|e| Fault::from(&e))?;
        let value = document.value().clone();
        let mut seen: Vec<&str> = Vec::new();
        for (i, parameter) in value["parameter"].as_array().into_iter().flatten().enumerate() {
            let name = parameter["name"].as_str().unwrap_or_default();
            if !known.contains(&name) || seen.contains(&name) {
                return Err(Fault::malformed(format!("the parameters are {}, each once", known.join(", ")))
                    .at(format!("Parameters.parameter[{i}].name")));
            }
            seen.push(name);
        }
        Ok(Self(value))
    }

    fn value(&self, name: &str) -> Option<&Value> {
        let one = self.0["parameter"].as_array()?.iter().find(|p| p["name"] == name)?;
        one.as_object()?.iter().find(|(k, _)| k.starts_with("value")).map(|(_, v)| v)
    }

    /// A parameter's text, of whatever string-like type.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.value(name)?.as_str()
    }

    /// A parameter that says yes or no.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.value(name).and_then(Value::as_bool).unwrap_or(false)
    }
}

/// Parameters of strings.
pub(crate) fn strings(pairs: &[(&str, String)]) -> Value {
    let list: Vec<Value> = pairs.iter().map(|(name, value)| json!({ "name": name, "valueString": value })).collect();
    json!({ "resourceType": "Parameters", "parameter": list })
}
