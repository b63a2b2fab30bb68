//! `Prefer` (<https://hl7.org/fhir/R4/http.html#ops>, RFC 7240): how a client would like to be answered.

use super::{Fault, call::Call};

/// What of a written record is sent back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Return {
    /// The record as it is now.
    #[default]
    Representation,
    /// Nothing.
    Minimal,
    /// An OperationOutcome that says how it went.
    Outcome,
}

/// What a client prefers; what is not known is passed over, as RFC 7240 has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prefer {
    /// `return`, when it is said.
    pub(crate) answer: Option<Return>,
    /// `respond-async`
    pub(crate) respond_async: bool,
}

impl Prefer {
    /// Reads every `Prefer` header of a call.
    ///
    /// # Errors
    /// 400 when one is not visible ASCII.
    pub(crate) fn of(call: &Call) -> Result<Self, Fault> {
        let mut out = Self::default();
        for value in call.headers.get_all("prefer") {
            let text = value.to_str().map_err(|_| Fault::malformed("header prefer is not visible ASCII"))?;
            out.read(text);
        }
        Ok(out)
    }

    fn read(&mut self, text: &str) {
        for one in text.split([',', ';']) {
            let (name, value) = one.split_once('=').unwrap_or((one, ""));
            let value = value.trim().trim_matches('"');
            if name.trim().eq_ignore_ascii_case("respond-async") {
                self.respond_async = true;
            } else if name.trim().eq_ignore_ascii_case("return") && self.answer.is_none() {
                // The first of several counts.
                self.answer = match value {
                    "minimal" => Some(Return::Minimal),
                    "representation" => Some(Return::Representation),
                    "OperationOutcome" => Some(Return::Outcome),
                    _ => None,
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_are_read_in_every_form() {
        for (text, answer, respond_async) in [
            ("return=minimal", Some(Return::Minimal), false),
            ("respond-async, return=representation", Some(Return::Representation), true),
            ("respond-async; return=\"OperationOutcome\"", Some(Return::Outcome), true),
            ("Return = minimal", Some(Return::Minimal), false),
            ("return=minimal, return=representation", Some(Return::Minimal), false),
            ("handling=strict, wait=10", None, false),
            ("return=everything", None, false),
            ("", None, false),
        ] {
            let mut prefer = Prefer::default();
            prefer.read(text);
            assert_eq!(prefer, Prefer { answer, respond_async }, "{text}");
        }
    }
}
