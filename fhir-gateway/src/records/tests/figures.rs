//! Figures, printed and not judged: `cargo test --release -p vouchsafe-gateway --lib figures -- --nocapture`.

use std::time::Instant;

use futures::{StreamExt, stream};

use crate::{
    policy::Permit,
    testing::{Consortium, observation},
};

fn say(what: &str, count: usize, begin: Instant) {
    let seconds = begin.elapsed().as_secs_f64();
    let line =
        format!("{what}: {:.0}/s ({count} in {seconds:.2} s)\n", f64::from(u32::try_from(count).unwrap()) / seconds);
    std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn figures() {
    let consortium = Consortium::new();
    let site = consortium.site("a").await;
    let chart = site.patient().await.id;
    let mut rows = Vec::new();
    for (clients, count) in [(1, 20), (16, 200), (64, 1_000)] {
        let begin = Instant::now();
        let writes = stream::iter(0..count).map(|n| site.records.create(observation(chart, &format!("{n:01500}"))));
        let done: Vec<_> = writes.buffer_unordered(clients).collect().await;
        say(&format!("create, {clients} clients"), count, begin);
        rows.extend(done.into_iter().map(Result::unwrap));
    }
    let permit = Permit::for_tests();
    for clients in [1, 8] {
        let begin = Instant::now();
        let reads = stream::iter(&rows).map(|row| async {
            let slot = site.audit.reserve().await.unwrap();
            let row = site.records.row(&row.id, None).unwrap().unwrap();
            site.records.open(&permit, &row).await.unwrap();
            slot.release();
        });
        reads.buffer_unordered(clients).collect::<Vec<()>>().await;
        say(&format!("read, {clients} clients"), rows.len(), begin);
    }
    let begin = Instant::now();
    let listed = site.records.list(&chart, Some("Observation")).unwrap().len();
    say("rows listed", listed, begin);
}
