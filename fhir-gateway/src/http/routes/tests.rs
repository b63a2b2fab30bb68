//! The table against itself, and against who may use it.

use vouchsafe_types::AccountId;

use super::*;
use crate::{
    auth::{Caller, Who},
    http::router,
    policy::may_use,
};

fn callers() -> [(&'static str, Caller); 4] {
    let account = AccountId([1; 16]);
    let caller = |who| Caller { client_id: "c".into(), who, purpose: None, device: None };
    [
        ("system", caller(Who::System)),
        ("authority", caller(Who::Authority { account })),
        ("doctor", caller(Who::Practitioner { account, record: None, agent: None })),
        ("patient", caller(Who::Patient { account })),
    ]
}

/// Who may use each route at all. A route without its line here, or with another, fails this test.
const AUTHORIZATION: &str = include_str!("authorization.txt");

#[test]
fn every_route_has_its_authorization_case() {
    let mut got = String::new();
    for route in TABLE {
        let row = &route.row;
        let may: Vec<&str> = if row.permission == Permission::Public {
            vec!["everybody"]
        } else {
            callers().iter().filter(|(_, c)| may_use(row.permission, c).is_ok()).map(|(name, _)| *name).collect()
        };
        let types = match row.types {
            TypeSet::Only(types) if row.path.starts_with("/{type}") => format!(" [{}]", types.join(", ")),
            _ => String::new(),
        };
        got += &format!("{} {}{types}: {}\n", router::name(row.method), row.path, may.join(", "));
    }
    assert_eq!(got, AUTHORIZATION, "the table is:\n{got}");
}

#[test]
fn literal_rows_are_not_hidden_by_those_of_any_type() {
    let find = |method, path: &str| {
        router::find(TABLE, Some(method), path).map(|f| f.route.row.path).map_err(|(f, _)| f.status)
    };
    assert_eq!(find(Method::Post, "/Consent"), Ok("/Consent"));
    assert_eq!(find(Method::Post, "/Consent/$prepare"), Ok("/Consent/$prepare"));
    assert_eq!(find(Method::Get, "/Consent/1"), Ok("/Consent/{id}"));
    assert_eq!(find(Method::Put, "/Consent/1"), Err(405));
    assert_eq!(find(Method::Get, "/AuditEvent"), Ok("/AuditEvent"));
    assert_eq!(find(Method::Post, "/AuditEvent"), Err(405));
    assert_eq!(find(Method::Get, "/Observation/1/_history/2"), Ok("/{type}/{id}/_history/{vid}"));
    assert_eq!(find(Method::Get, "/Observation/_history"), Ok("/{type}/_history"));
    assert_eq!(find(Method::Get, "/Observation/1/_history"), Ok("/{type}/{id}/_history"));
    assert_eq!(find(Method::Get, "/_history"), Ok("/_history"));
    assert_eq!(find(Method::Post, ""), Ok("/"));
    assert_eq!(find(Method::Post, "/"), Ok("/"));
    assert_eq!(find(Method::Put, "/"), Err(405));
    assert_eq!(find(Method::Get, "/AuditEvent/1/_history"), Err(404));
    assert_eq!(find(Method::Post, "/Patient/1/$register"), Ok("/{type}/{id}/$register"));
    assert_eq!(find(Method::Post, "/Patient/1/$verify"), Err(404));
    assert_eq!(find(Method::Get, "/Nothing/1"), Err(404));
    assert_eq!(find(Method::Get, "/Observation/a%2Fb"), Ok("/{type}/{id}"));
    assert_eq!(find(Method::Get, "/Observation/%00"), Err(400));
    assert_eq!(find(Method::Get, "/Observation/%ff"), Err(400));
    assert_eq!(find(Method::Get, &format!("/Observation/{}", "a".repeat(600))), Err(400));
    assert_eq!(find(Method::Delete, "/Observation/1"), Ok("/{type}/{id}"));
    assert_eq!(find(Method::Delete, "/Consent/1"), Err(405));
    assert_eq!(find(Method::Put, "/AuditEvent"), Err(405));
    assert_eq!(find(Method::Patch, "/Observation/1"), Err(405));
}

#[test]
fn every_operation_says_its_name() {
    for route in TABLE {
        let named = route.row.path.rsplit('/').next().filter(|s| s.starts_with('$'));
        assert_eq!(route.row.operation, named, "{}", route.row.path);
        assert_eq!(route.row.interaction == Interaction::Operation, named.is_some(), "{}", route.row.path);
    }
}
