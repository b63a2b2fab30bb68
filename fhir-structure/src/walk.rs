//! The walk through the JSON by the table.

use std::fmt::Write;

use serde_json::{Map, Value};

use crate::{
    StructureError, primitive,
    table::{Element, Kind, table},
};

type Outcome = Result<(), StructureError>;

/// The parts that every element has, a primitive's `_name` too.
const ELEMENT: &str = "Element";

pub(crate) fn check(resource: &Value) -> Outcome {
    Walk { at: String::new() }.resource(resource)
}

struct Walk {
    /// The FHIRPath of where the walk is.
    at: String,
}

impl Walk {
    fn fail(&self, what: impl Into<String>) -> Outcome {
        Err(StructureError { expression: self.at.clone(), diagnostics: what.into() })
    }

    /// Runs `step` one element deeper.
    fn within(&mut self, suffix: std::fmt::Arguments<'_>, step: impl FnOnce(&mut Self) -> Outcome) -> Outcome {
        let length = self.at.len();
        // Writing to a String does not fail.
        let _ = self.at.write_fmt(suffix);
        step(self)?;
        self.at.truncate(length);
        Ok(())
    }

    fn resource(&mut self, value: &Value) -> Outcome {
        let Some(members) = value.as_object() else { return self.fail("must be a resource") };
        let name = members.get("resourceType").and_then(Value::as_str).filter(|n| crate::is_resource_type(n));
        let Some(name) = name else {
            return self.within(format_args!(".resourceType"), |w| w.fail("must be a resource type of R4"));
        };
        // The root is called by its type; one within a resource by the element that holds it.
        if self.at.is_empty() {
            self.at.push_str(name);
        }
        self.block(name, members)
    }

    fn block(&mut self, name: &str, members: &Map<String, Value>) -> Outcome {
        let Some(elements) = table().block(name) else { return self.fail("is of a type that R4 does not have") };
        for (key, value) in members {
            if key == "resourceType" && crate::is_resource_type(name) {
                continue;
            }
            self.within(format_args!(".{key}"), |w| w.member(elements, key, value, members))?;
        }
        elements.iter().try_for_each(|element| self.presence(element, members))
    }

    /// What must be there is there, and a choice is made once.
    fn presence(&mut self, element: &Element, members: &Map<String, Value>) -> Outcome {
        let mut found =
            members.keys().map(|key| key.strip_prefix('_').unwrap_or(key)).filter(|key| element.kind_of(key).is_some());
        let first = found.next();
        if first.is_none() && element.required {
            return self.within(format_args!(".{}", element.name), |w| w.fail("is missing"));
        }
        if found.any(|other| Some(other) != first) {
            return self.within(format_args!(".{}", element.name), |w| w.fail("may stand here only once"));
        }
        Ok(())
    }

    fn member(&mut self, elements: &[Element], key: &str, value: &Value, beside: &Map<String, Value>) -> Outcome {
        let plain = key.strip_prefix('_');
        let name = plain.unwrap_or(key);
        let Some((element, kind)) = elements.iter().find_map(|e| Some((e, e.kind_of(name)?))) else {
            return self.fail("is not an element of R4 here");
        };
        if plain.is_some() && !matches!(kind, Kind::Primitive(_)) {
            return self.fail("only a primitive has such a member");
        }
        let twin = if plain.is_some() { beside.get(name) } else { beside.get(&format!("_{name}")) };
        if !element.many {
            return self.value(kind, plain.is_some(), value);
        }
        let Some(items) = value.as_array() else { return self.fail("must be an array") };
        if items.is_empty() {
            return self.fail("must not be empty");
        }
        let twin = twin.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for (n, item) in items.iter().enumerate() {
            // A primitive and its extensions lie in two arrays, where null keeps the other's place.
            let placeholder = item.is_null() && twin.get(n).is_some_and(|t| !t.is_null());
            if !placeholder {
                self.within(format_args!("[{n}]"), |w| w.value(kind, plain.is_some(), item))?;
            }
        }
        Ok(())
    }

    fn value(&mut self, kind: Kind, extends: bool, value: &Value) -> Outcome {
        match kind {
            Kind::Primitive(_) if extends => self.object(ELEMENT, value),
            Kind::Primitive(name) => primitive::fault(name, value).map_or(Ok(()), |what| self.fail(what)),
            Kind::Resource => self.resource(value),
            Kind::Block(name) => self.object(name, value),
        }
    }

    fn object(&mut self, name: &str, value: &Value) -> Outcome {
        let Some(members) = value.as_object() else { return self.fail("must be an object") };
        if members.is_empty() {
            return self.fail("must not be empty");
        }
        self.block(name, members)
    }
}
