//! Which foreign instances a person was served before: for these a refusal may say that there is no session, because it
//! tells nothing new; for all others it says that there is no such thing.

use vouchsafe_types::AccountId;

use super::Foreign;
use crate::{gateway::Gateway, http::Fault, store::WriteBatch};

const TABLE: &str = "served";

fn key(gw: &Gateway, doctor: AccountId, resource_type: &str, id: &str) -> [u8; 32] {
    gw.db.blind(TABLE, format!("{doctor}/{resource_type}/{id}").as_bytes())
}

/// Remembers what is about to be served.
pub(super) async fn remember(
    gw: &Gateway,
    doctor: AccountId,
    resources: impl Iterator<Item = &Foreign>,
) -> Result<(), Fault> {
    let mut batch = WriteBatch::new();
    for one in resources {
        let key = key(gw, doctor, &one.resource_type, &one.id);
        if !matches!(gw.db.get(TABLE, &key), Ok(Some(_))) {
            batch.put(TABLE, key, Vec::new());
        }
    }
    gw.db.commit_lazily(batch).await.map_err(|_| Fault::unavailable("the store cannot write"))
}

/// True when this person was served this instance before.
pub(super) fn was_served(gw: &Gateway, doctor: AccountId, resource_type: &str, id: &str) -> Result<bool, Fault> {
    let row = gw.db.get(TABLE, &key(gw, doctor, resource_type, id));
    row.map(|row| row.is_some()).map_err(|_| Fault::internal("the store is not readable"))
}
