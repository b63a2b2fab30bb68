//! F, the other side: an administrator with the disk in hand alters a stored record, and is caught.

use std::path::Path;

use redb::{Database, ReadableTable, TableDefinition};
use vouchsafe_gateway::blobs::{digest_of, parse_cid};

use super::{
    register::Cast,
    story::{Story, must, wrong},
};
use crate::{
    consortium::World,
    exit::{Context, Kind, Outcome},
    wallet::client::Client,
};

/// Stops hospital A's gateway, alters one bit of a blob on its disk, starts it and reads; then mends it.
pub(super) async fn caught(story: &mut Story, world: &mut World, cast: &Cast) -> Outcome {
    let ehr = world.system("hospital-a");
    let path = cast.lindsey.record.clone();
    ehr.get(&path).await?.ok("reading before")?;
    let cid = blob_of(&ehr, &path).await?;
    story
        .step("F", "an administrator of hospital-a alters a stored record", async {
            alter(world, &cid).await?;
            Ok((format!("one bit of {cid}"), ()))
        })
        .await?;
    story
        .step("F", "the altered record is asked for", async {
            let answer = ehr.get(&path).await?;
            must(answer.status.is_server_error(), || format!("expected an error, got {}", answer.status))?;
            let family = cast.family();
            must(!String::from_utf8_lossy(&answer.bytes).contains(&family), || "the record was served".into())?;
            Ok((format!("caught, {}", answer.outcome()), ()))
        })
        .await?;
    story
        .step("F", "the administrator puts it back", async {
            alter(world, &cid).await?;
            ehr.get(&path).await?.ok("reading after")?;
            Ok(("whole again".into(), ()))
        })
        .await
}

/// The CID that the record's proof names.
async fn blob_of(ehr: &Client, path: &str) -> Outcome<String> {
    let proof = ehr.get(&format!("{path}/$proof")).await?.ok("$proof")?;
    let cid = crate::wallet::client::parameter(&proof, "cid").as_str().map(str::to_owned);
    cid.map_or_else(|| wrong(format!("no cid in {proof}")), Ok)
}

/// Flips one bit of a blob on the disk of a gateway that is stopped meanwhile; twice is as before.
async fn alter(world: &mut World, cid: &str) -> Outcome {
    let index = world.index("hospital-a");
    world.stop(index).await;
    let path = world.orgs[index].home.join("blobs.redb");
    flip(&path, cid)?;
    world.start(index).await
}

/// What an administrator can do: no key is needed to change bytes.
fn flip(path: &Path, cid: &str) -> Outcome {
    const PLACES: TableDefinition<'_, &[u8; 32], (u64, u32, u32)> = TableDefinition::new("places");
    const PACKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("packs");
    let cid = parse_cid(cid).doing(Kind::InvalidData, || cid.to_owned())?;
    let Some(digest) = digest_of(&cid) else { return wrong(format!("{cid} names no digest")) };
    let altered = || -> Result<bool, redb::Error> {
        let db = Database::open(path)?;
        let write = db.begin_write()?;
        let found = {
            let place = write.open_table(PLACES)?.get(&digest)?.map(|place| place.value());
            let mut packs = write.open_table(PACKS)?;
            let (number, from, _) = place.unwrap_or_default();
            let mut pack = packs.get(number)?.map(|pack| pack.value().to_vec()).unwrap_or_default();
            let byte = usize::try_from(from).ok().and_then(|from| pack.get_mut(from));
            let found = byte.map(|byte| *byte ^= 1).is_some();
            if found {
                packs.insert(number, pack.as_slice())?;
            }
            found
        };
        write.commit()?;
        Ok(found)
    };
    let found = altered().doing(Kind::Error, || path.display().to_string())?;
    must(found, || format!("{cid} is not in {}", path.display()))
}
