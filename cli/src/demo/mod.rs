//! The story A to H between an authority, two hospitals, a laboratory, an insurer, doctors and patients, in one process
//! and through real HTTP only. Every step is checked; the first that is not as it must be ends the demo with an error.

pub(crate) mod access;
mod audit;
pub(crate) mod consent;
mod ends;
mod load;
pub(crate) mod register;
mod story;
mod tamper;

use std::{net::SocketAddr, path::Path};

use crate::{
    Output,
    consortium::{Doors, World},
    credentials,
    exit::Outcome,
    interrupt::Interrupt,
};
use story::Story;
use vouchsafe_types::tx::Role;

/// Who founds the demo's consortium, in the order of their ports.
const FOUNDERS: [(&str, Role); 4] = [
    ("hospital-a", Role::Hospital),
    ("hospital-b", Role::Hospital),
    ("laboratory", Role::Laboratory),
    ("authority", Role::Authority),
];

/// How the demo ended.
pub(crate) enum End {
    /// The story was played, and that was all that was asked for.
    Played,
    /// It served until it was interrupted.
    Interrupted,
}

/// Plays the story in `home`, then serves unless `once`.
pub(crate) async fn play(home: &Path, listen: SocketAddr, once: bool, output: Output) -> Outcome<End> {
    let mut story = Story::new(output);
    let mut world = story
        .step("A", "four organisations found a consortium", async {
            let world = World::open(home, "demo", &FOUNDERS, Doors::Open(listen)).await?;
            Ok((format!("chain {}, genesis {}", world.genesis.body.chain_id(), world.genesis.body.digest()), world))
        })
        .await?;
    let cast = register::everybody(&mut story, &world).await?;
    credentials::write(home, &cast.credentials(&world)?)?;
    register::verification(&mut story, &world, &cast).await?;
    let records = register::records(&mut story, &world, &cast).await?;
    let grant = consent::ask_and_approve(&mut story, &world, &cast).await?;
    let session = access::session(&mut story, &world, &cast, &records, &grant).await?;
    audit::proof(&mut story, &world, &cast, &session).await?;
    tamper::caught(&mut story, &mut world, &cast).await?;
    audit::receipts(&mut story, &world, &cast, &session).await?;
    ends::end_of_session(&mut story, &world, &cast, &grant, &session).await?;
    ends::others(&mut story, &world, &cast).await?;
    story.end();
    if !once {
        serve(&world, home).await?;
    }
    world.end().await;
    Ok(if once { End::Played } else { End::Interrupted })
}

#[allow(clippy::print_stderr, reason = "what to try next is for the person in front of the terminal")]
async fn serve(world: &World, home: &Path) -> Outcome {
    let interrupt = Interrupt::listen()?;
    let genesis = world.genesis.body.digest();
    eprintln!("\nServing until Ctrl-C; this is one embedded node without fault tolerance, on synthetic patients.");
    for org in &world.orgs {
        eprintln!("  {:<11} {}/fhir", org.name, org.base());
    }
    eprintln!("  the parties' keys: {}", home.join(credentials::FILE).display());
    eprintln!("  a token:           vouchsafe keys token --home {} --as ehr-hospital-a", home.display());
    eprintln!("  a proof:           vouchsafe verify --trust {genesis} FILE");
    interrupt.wait().await;
    Ok(())
}
