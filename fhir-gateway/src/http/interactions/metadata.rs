//! `GET /metadata` (<https://hl7.org/fhir/R4/http.html#capabilities>), made from the route table.

use crate::{
    fhir::{
        capability::{self, Server},
        date,
    },
    gateway::Gateway,
    http::{Fault, Reply, call::Call, routes},
};

/// Says what this server does: more than a megabyte that is the same until the next start, so it is made once.
pub(crate) async fn metadata(call: Call) -> Result<Reply, Fault> {
    Ok(Reply::bytes(200, call.gw.statement.get_or_init(|| statement(&call.gw)).clone()))
}

fn statement(gw: &Gateway) -> Vec<u8> {
    let server = Server {
        base: &gw.fhir_base(),
        version: env!("CARGO_PKG_VERSION"),
        date: &date::instant(gw.started),
        organization: &gw.org.to_string(),
    };
    capability::statement(&server, &routes::rows()).to_string().into_bytes()
}
