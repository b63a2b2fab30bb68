//! What the gateway's parts promise to each other and to the outside, tested through their public faces.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics, helpers included")]

mod blobs;
mod bundles;
mod fhir;
mod http;
mod seal;
mod sessions;
mod support;
