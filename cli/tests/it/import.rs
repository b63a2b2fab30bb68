//! A real gateway: what is imported is there, once; what a check finds whole is whole, and what it does not is not.

use std::path::Path;

use redb::{Database, ReadableTable, TableDefinition};
use serde_json::Value;

use crate::{
    serving::Serving,
    support::{code, files, run, stderr},
};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../demo-data");

/// Imports the demo's patients; how it ended and what it told.
async fn import(home: &Path) -> (i32, Value) {
    let home = home.to_owned();
    let args = ["gateway", "import", "--output", "json", "--home"];
    let output = tokio::task::spawn_blocking(move || {
        let args = args.iter().map(|a| a.into()).chain([home.into_os_string(), DATA.into()]);
        run::<std::ffi::OsString>(args)
    });
    let output = output.await.unwrap();
    (code(&output), serde_json::from_slice(&output.stdout).unwrap())
}

fn check(home: &Path) -> (i32, String) {
    let output = run(["gateway".as_ref(), "check".as_ref(), "--home".as_ref(), home.as_os_str()]);
    (code(&output), String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output))
}

/// What anybody can do who reaches the disk: no key is needed to change bytes.
fn flip_a_byte(home: &Path) {
    const PACKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("packs");
    let path = files(home).into_iter().find(|f| f.ends_with("hospital/blobs.redb")).unwrap();
    let write = Database::open(path).unwrap().begin_write().unwrap();
    {
        let mut packs = write.open_table(PACKS).unwrap();
        let (number, mut pack) = {
            let (number, pack) = packs.first().unwrap().unwrap();
            (number.value(), pack.value().to_vec())
        };
        let middle = pack.len() / 2;
        pack[middle] ^= 1;
        packs.insert(number, pack.as_slice()).unwrap();
    }
    write.commit().unwrap();
}

#[tokio::test]
async fn the_demo_data_is_imported_once_and_a_check_tells_whole_from_altered() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let mut gateway = Serving::start(&["gateway", "start"], home);
    gateway.until_it_says("Ctrl-C ends it").await;
    let (code, told) = import(home).await;
    assert_eq!((code, &told["refused"]), (0, &0.into()), "{told}");
    let stored = told["stored"].as_u64().unwrap();
    assert!(stored > 400, "{told}");
    let (code, told) = import(home).await;
    assert_eq!((code, &told["stored"], told["already_there"].as_u64()), (0, &0.into(), Some(stored)), "{told}");
    assert_eq!(gateway.interrupted().await.code(), Some(130));

    let (code, said) = check(home);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("{stored} records")) && said.contains(" 0 faults"), "{said}");
    flip_a_byte(home);
    let (code, said) = check(home);
    assert_eq!(code, 8, "{said}");
    assert!(said.contains("record "), "the record is named: {said}");
}

#[tokio::test]
async fn an_import_without_a_gateway_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let gateway = {
        let mut gateway = Serving::start(&["gateway", "start"], home);
        gateway.until_it_says("Ctrl-C ends it").await;
        gateway
    };
    assert_eq!(gateway.interrupted().await.code(), Some(130));
    let began = std::time::Instant::now();
    let output = run(["gateway".as_ref(), "import".as_ref(), DATA.as_ref(), "--home".as_ref(), home.as_os_str()]);
    assert_eq!(code(&output), 7, "{}", stderr(&output));
    assert!(began.elapsed().as_secs() < 60, "a slip in an address is told soon");
    let output = run(["gateway", "import", "no-such-file", "--home", home.to_str().unwrap()]);
    assert_eq!(code(&output), 7, "the gateway is asked first: {}", stderr(&output));
}

#[test]
fn a_check_of_nothing_founds_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (code, said) = check(home.path());
    assert_eq!(code, 3, "{said}");
    assert!(files(home.path()).is_empty());
}
