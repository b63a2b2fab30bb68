//! `GET /metadata` (<https://hl7.org/fhir/R4/http.html#capabilities>), made from the route table.

use crate::{
    fhir::{
        capability::{self, Server},
        date,
    },
    http::{Fault, Reply, call::Call, routes},
};

/// Says what this server does.
pub(crate) async fn metadata(call: Call) -> Result<Reply, Fault> {
    let gw = &call.gw;
    let server = Server {
        base: &gw.fhir_base(),
        version: env!("CARGO_PKG_VERSION"),
        date: &date::instant(gw.started),
        organization: &gw.org.to_string(),
    };
    Ok(Reply::resource(200, &capability::statement(&server, &routes::rows())))
}
