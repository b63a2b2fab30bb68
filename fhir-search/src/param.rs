//! One search parameter, as HL7 defines it.

/// How a parameter's values are compared (<https://hl7.org/fhir/R4/search.html#ptypes>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A number.
    Number,
    /// A date or a time.
    Date,
    /// Text.
    String,
    /// A code, an identifier, a boolean.
    Token,
    /// A reference to another resource.
    Reference,
    /// Two or more others, of one element.
    Composite,
    /// A number with a unit.
    Quantity,
    /// An address, compared whole.
    Uri,
    /// One with rules of its own, such as `near`.
    Special,
}

/// One search parameter of one resource type. Every type has those of Resource and DomainResource as well.
#[derive(Debug)]
pub struct Param {
    /// Its number in the table, the same for all types that share the definition; what facts are filed under.
    pub number: u16,
    /// Its name in a query, such as `birthdate`.
    pub code: &'static str,
    /// How it is compared.
    pub kind: Kind,
    /// The canonical address of HL7's definition.
    pub url: &'static str,
    /// The types that a reference may lead to; empty when any.
    pub targets: &'static [&'static str],
    /// The code system that R4 requires its codes to be of, when its elements are plain codes, which cannot say it themselves:
    /// `system|code` with this system means what `|code` means (<https://hl7.org/fhir/R4/search.html#token>).
    pub code_system: Option<&'static str>,
    /// The parameters that a composite is made of, in their order.
    pub components: &'static [&'static Param],
}
