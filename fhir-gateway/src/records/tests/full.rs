//! A disk that takes nothing more: writes are refused, whoever runs the gateway hears it, and with room all is whole again.

use std::{path::Path, process::Command, sync::Arc};

use super::submitting::{create, family, once, submission, whole};
use crate::{
    records::{SubmitError, WriteError},
    testing::{Consortium, copy_dir, observation},
};

/// A small file system of its own; gone with this value.
struct Disk<'a>(&'a Path);

impl<'a> Disk<'a> {
    fn of(at: &'a Path, megabytes: u32) -> Self {
        std::fs::create_dir_all(at).unwrap();
        run("mount", &["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs", at.to_str().unwrap()]);
        Self(at)
    }

    fn grow(&self, megabytes: u32) {
        run("mount", &["-o", &format!("remount,size={megabytes}m"), self.0.to_str().unwrap()]);
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        // Lazily, because a failed test may still hold files there.
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

fn run(program: &str, args: &[&str]) {
    let done =
        Command::new(program).args(args).status().expect("needs mount(8) and root, to have a disk that fills up");
    assert!(done.success(), "{program} {args:?}: needs root, to have a disk that fills up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_writing_and_all_is_whole_when_there_is_room() {
    let consortium = Consortium::new();
    let at = consortium.home.path().join("small");
    let disk = Disk::of(&at, 12);
    let home = at.join("a");
    copy_dir(&consortium.home.path().join("a"), &home);
    let ledger = Arc::new(consortium.ledger.clone());
    let site = consortium.site_on(&home, ledger.clone()).await;
    let (chart, acts) = family(3);
    let mut acknowledged = site.records.submit(once(acts, 1, 1)).await.unwrap();
    let text = "x".repeat(20_000);
    let refused = loop {
        match site.records.submit(submission((0..20).map(|_| create(observation(chart, &text))).collect())).await {
            Ok(written) => acknowledged.extend(written),
            Err(e) => break e,
        }
    };
    assert!(matches!(refused, SubmitError::Whole(WriteError::Unavailable(_))), "{refused:?}");
    assert_eq!(site.ground.fatal.wait().await, "the disk is full");
    // Nothing more is even tried.
    let later = site.records.submit(submission(vec![create(observation(chart, "1"))])).await;
    assert!(matches!(later, Err(SubmitError::Whole(WriteError::Unavailable(why))) if why == "the disk is full"));
    site.stop().await;

    disk.grow(200);
    let site = consortium.site_on(&home, ledger).await;
    whole(&site).await;
    for written in &acknowledged {
        assert_eq!(site.records.row(&written.row.id, None).unwrap().unwrap().commitment, written.row.commitment);
    }
    assert!(site.records.submit(once(family(3).1, 1, 1)).await.unwrap()[0].replayed);
    site.observation(chart, "2").await;
    whole(&site).await;
    site.stop().await;
}
