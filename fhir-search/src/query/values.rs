//! Reading the values of a parameter by its kind.

use super::{
    clause::{Reader, Trouble, resource_type},
    near::Near,
    prefix::{DateTest, NumberTest, Prefix},
    split::{split, split_once, unescape},
    value::{Compare, Compass, Reference, System, Value},
};
use crate::{DateRange, FaultKind, Kind, Param, fold};

/// How many values one parameter may list.
const MAX_VALUES: usize = 200;
/// How many bytes one value may have.
const MAX_LENGTH: usize = 2048;
/// How many bytes the values of one parameter may have.
const MAX_LIST: usize = 32 * 1024;

impl Reader<'_> {
    /// The values between commas, still escaped; none is empty.
    pub(super) fn parts<'v>(&mut self, text: &'v str) -> Result<Vec<&'v str>, Trouble> {
        if text.len() > MAX_LIST {
            return Err(self.fault(FaultKind::TooCostly, format!("the values have more than {MAX_LIST} bytes")));
        }
        let parts = split(text, ',').take(MAX_VALUES + 1).collect::<Vec<_>>();
        if parts.len() > MAX_VALUES {
            return Err(self.fault(FaultKind::TooCostly, format!("there are more than {MAX_VALUES} values")));
        }
        if parts.iter().any(|part| part.len() > MAX_LENGTH) {
            return Err(self.fault(FaultKind::TooCostly, format!("a value has more than {MAX_LENGTH} bytes")));
        }
        if parts.iter().any(|part| part.is_empty()) {
            return Err(self.invalid("a value is empty"));
        }
        self.spend(parts.len())?;
        Ok(parts)
    }

    /// The values of a parameter, with a modifier other than `:missing` and `:not`.
    pub(super) fn values(
        &mut self,
        param: &'static Param,
        modifier: Option<&str>,
        text: &str,
    ) -> Result<Box<[Value]>, Trouble> {
        let parts = self.parts(text)?;
        parts.into_iter().map(|part| self.value(param, modifier, part)).collect()
    }

    fn value(&mut self, param: &'static Param, modifier: Option<&str>, text: &str) -> Result<Value, Trouble> {
        match (param.kind, modifier) {
            (Kind::Token, None) => self.token(param, text),
            (Kind::Token, Some("text")) => Ok(Value::TokenText(self.folded(text)?)),
            (Kind::Token, Some("of-type")) => self.of_type(text),
            (Kind::String, None) => Ok(Value::String { text: self.folded(text)?, compare: Compare::Begins }),
            (Kind::String, Some("contains")) => {
                Ok(Value::String { text: self.folded(text)?, compare: Compare::Contains })
            }
            (Kind::String, Some("exact")) => Ok(Value::String { text: unescape(text).into(), compare: Compare::Exact }),
            (Kind::Reference, Some("identifier")) => {
                let (system, value) = self.system_and_code(text)?;
                Ok(Value::Logical { system, value })
            }
            (Kind::Reference, modifier) => self.reference_value(param, modifier, text),
            (Kind::Date, None) => Ok(Value::Date(self.date(text)?)),
            (Kind::Number, None) => Ok(Value::Number(self.number(text)?)),
            (Kind::Quantity, None) => self.quantity(text),
            (Kind::Uri, None) => Ok(Value::Uri { text: unescape(text).into(), compass: Compass::Is }),
            (Kind::Uri, Some("below")) => Ok(Value::Uri { text: unescape(text).into(), compass: Compass::Below }),
            (Kind::Uri, Some("above")) => Ok(Value::Uri { text: unescape(text).into(), compass: Compass::Above }),
            (Kind::Composite, None) => self.composite(param, text),
            (Kind::Special, None) if param.code == "near" => {
                Near::parse(text).map(Value::Near).ok_or_else(|| self.invalid("is latitude|longitude|distance|units"))
            }
            (Kind::Special, None) => Err(self.fault(FaultKind::NotSupported, "is not supported")),
            (_, Some(_)) => Err(self.unsupported_modifier()),
        }
    }

    /// <https://hl7.org/fhir/R4/search.html#token>
    fn token(&self, param: &Param, text: &str) -> Result<Value, Trouble> {
        let (system, code) = self.system_and_code(text)?;
        let system = match system {
            // An element of type code cannot say the one system that R4 requires of it, so it is found without.
            System::Is(name) if param.code_system == Some(&*name) => System::Absent,
            other => other,
        };
        Ok(Value::Token { system, code, cased: param.code == "identifier" })
    }

    fn system_and_code(&self, text: &str) -> Result<(System, Option<Box<str>>), Trouble> {
        let Some((system, code)) = split_once(text, '|') else {
            return Ok((System::Any, Some(unescape(text).into())));
        };
        if split_once(code, '|').is_some() {
            return Err(self.invalid("is system|code"));
        }
        match (system, code) {
            ("", "") => Err(self.invalid("neither a system nor a code is given")),
            ("", code) => Ok((System::Absent, Some(unescape(code).into()))),
            (system, code) => {
                let code = Some(unescape(code).into()).filter(|_| !code.is_empty());
                Ok((System::Is(unescape(system).into()), code))
            }
        }
    }

    fn of_type(&self, text: &str) -> Result<Value, Trouble> {
        let parts = split(text, '|').map(unescape).collect::<Vec<_>>();
        match <[String; 3]>::try_from(parts) {
            Ok(parts) if parts.iter().all(|part| !part.is_empty()) => {
                let [system, code, value] = parts.map(String::into_boxed_str);
                Ok(Value::OfType { system, code, value })
            }
            _ => Err(self.invalid("is system|code|value, of the identifier's type and the identifier")),
        }
    }

    /// Without case and accents. A text of accents alone would be found in everything.
    fn folded(&self, text: &str) -> Result<Box<str>, Trouble> {
        let folded = fold(&unescape(text)).collect::<String>();
        match folded.is_empty() {
            true => Err(self.invalid("there is nothing to search for")),
            false => Ok(folded.into()),
        }
    }

    /// <https://hl7.org/fhir/R4/search.html#reference>: `1`, `Patient/1`, an absolute address.
    fn reference_value(&mut self, param: &'static Param, modifier: Option<&str>, text: &str) -> Result<Value, Trouble> {
        let of_type = match modifier {
            Some(name) if name.starts_with(|c: char| c.is_ascii_uppercase()) => Some(self.resource_type(name)?),
            Some(_) => return Err(self.unsupported_modifier()),
            None => None,
        };
        let url = unescape(text);
        let (named, id) = local(&url, self.context.base);
        if of_type.is_some() && named.is_some() && of_type != named {
            return Err(self.invalid("the value is of another type than the modifier says"));
        }
        let resource_type = of_type.or(named);
        if let Some(id) = id
            && resource_type.map_or_else(|| super::clause::leads_to(param, "Patient"), |name| name == "Patient")
        {
            self.patients.insert(id.into());
        }
        let id = id.map(Into::into);
        Ok(Value::Reference(Reference { resource_type, targets: param.targets, id, url: url.into() }))
    }

    pub(super) fn dates(&mut self, text: &str) -> Result<Box<[DateTest]>, Trouble> {
        self.parts(text)?.into_iter().map(|part| self.date(part)).collect()
    }

    /// <https://hl7.org/fhir/R4/search.html#date>
    fn date(&self, text: &str) -> Result<DateTest, Trouble> {
        let (prefix, text) = self.prefix(text)?;
        // A `+` in an address is a space unless it is escaped, and zones are often written without the escape.
        let text = unescape(text).replace(' ', "+");
        let range = DateRange::parse(&text).ok_or_else(|| self.invalid("is not a date"))?;
        Ok(DateTest::new(prefix, range, self.context.now))
    }

    fn prefix<'v>(&self, text: &'v str) -> Result<(Prefix, &'v str), Trouble> {
        Prefix::take(text).ok_or_else(|| self.invalid("the prefix is none of eq, ne, gt, lt, ge, le, sa, eb, ap"))
    }

    /// <https://hl7.org/fhir/R4/search.html#number>
    fn number(&self, text: &str) -> Result<NumberTest, Trouble> {
        let (prefix, text) = self.prefix(text)?;
        NumberTest::parse(prefix, text).ok_or_else(|| self.invalid("is not a number"))
    }

    /// <https://hl7.org/fhir/R4/search.html#quantity>: `5.4`, `5.4|system|code`, `5.4||unit`.
    fn quantity(&self, text: &str) -> Result<Value, Trouble> {
        let parts = split(text, '|').collect::<Vec<_>>();
        let number = self.number(parts[0])?;
        let (system, unit) = match parts[1..] {
            [] => (System::Any, None),
            [system, code] => {
                let system = if system.is_empty() { System::Any } else { System::Is(unescape(system).into()) };
                (system, Some(unescape(code).into()).filter(|_| !code.is_empty()))
            }
            _ => return Err(self.invalid("is number|system|code")),
        };
        Ok(Value::Quantity { number, system, unit })
    }

    /// <https://hl7.org/fhir/R4/search.html#composite>
    fn composite(&mut self, param: &'static Param, text: &str) -> Result<Value, Trouble> {
        let parts = split(text, '$').collect::<Vec<_>>();
        if parts.len() != param.components.len() {
            return Err(self.invalid(format!("has {} values, with $ between them", param.components.len())));
        }
        if parts.iter().any(|part| part.is_empty()) {
            return Err(self.invalid("a value is empty"));
        }
        let values = parts.into_iter().zip(param.components).map(|(part, param)| self.value(param, None, part));
        Ok(Value::Composite(values.collect::<Result<_, _>>()?))
    }
}

/// The type and the id of a reference that may be to this server: relative, or below its base. A version is passed over.
/// What is no id of R4's, such as a URN, is an address.
fn local<'t>(url: &'t str, base: &str) -> (Option<&'static str>, Option<&'t str>) {
    let relative = url.strip_prefix(base.trim_end_matches('/')).and_then(|rest| rest.strip_prefix('/'));
    let mut parts = relative.unwrap_or(url).split('/');
    match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(id), None, ..) if relative.is_none() && is_id(id) => (None, Some(id)),
        (Some(name), Some(id), None | Some("_history"), _, None) if is_id(id) => match resource_type(name) {
            Some(name) => (Some(name), Some(id)),
            None => (None, None),
        },
        _ => (None, None),
    }
}

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}
