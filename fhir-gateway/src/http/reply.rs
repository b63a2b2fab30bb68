//! A success, before it becomes bytes on the wire.

use serde_json::Value;

/// The media type of everything FHIR.
pub const FHIR_JSON: &str = "application/fhir+json; charset=utf-8";

/// An answer that is a success.
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Further headers; the media type is added when the body is not empty and none is given.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// A resource that the gateway itself made.
    pub fn resource(status: u16, resource: &Value) -> Self {
        Self::bytes(status, resource.to_string().into_bytes())
    }

    /// Bytes as they are, such as a record whose every byte is the submitter's.
    pub const fn bytes(status: u16, body: Vec<u8>) -> Self {
        Self { status, headers: Vec::new(), body }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}
