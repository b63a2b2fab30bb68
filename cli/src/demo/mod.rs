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
    chain::Engine,
    consortium::{Doors, World},
    credentials,
    exit::{Failure, Kind, Outcome},
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
pub(crate) async fn play(home: &Path, listen: SocketAddr, once: bool, engine: Engine, output: Output) -> Outcome<End> {
    let mut story = Story::new(output);
    let interrupt = Interrupt::listen()?;
    let mut world = story
        .step("A", "four organisations found a consortium", async {
            let world = World::open(home, "demo", &FOUNDERS, Doors::Open(listen), engine).await?;
            let (chain, digest) = (world.genesis.body.chain_id(), world.genesis.body.digest());
            Ok((format!("chain {chain}, genesis {digest}, {}", world.chain.described()), world))
        })
        .await?;
    let played = tokio::select! {
        played = scenes(&mut story, &mut world, home) => played,
        () = interrupt.wait() => Err(Failure::new(Kind::Interrupted, "interrupted")),
    };
    let served = match played {
        Ok(()) => {
            story.end();
            if once { Ok(()) } else { serve(&world, home).await }
        }
        failed => failed,
    };
    // Whatever happened: validators are processes of their own, which would stay.
    let ended = world.end().await;
    served?;
    ended?;
    Ok(if once { End::Played } else { End::Interrupted })
}

async fn scenes(story: &mut Story, world: &mut World, home: &Path) -> Outcome {
    let cast = register::everybody(story, world).await?;
    credentials::write(home, &cast.credentials(world)?)?;
    register::verification(story, world, &cast).await?;
    let records = register::records(story, world, &cast).await?;
    let grant = consent::ask_and_approve(story, world, &cast).await?;
    let session = access::session(story, world, &cast, &records, &grant).await?;
    audit::proof(story, world, &cast, &session).await?;
    tamper::caught(story, world, &cast).await?;
    audit::receipts(story, world, &cast, &session).await?;
    ends::end_of_session(story, world, &cast, &grant, &session).await?;
    ends::others(story, world, &cast).await
}

#[allow(clippy::print_stderr, reason = "what to try next is for the person in front of the terminal")]
async fn serve(world: &World, home: &Path) -> Outcome {
    let interrupt = Interrupt::listen()?;
    let genesis = world.genesis.body.digest();
    eprintln!("\nServing until Ctrl-C; this is {}, on synthetic patients.", world.chain.described());
    for org in &world.orgs {
        eprintln!("  {:<11} {}/fhir", org.name, org.base());
    }
    eprintln!("  the parties' keys: {}", home.join(credentials::FILE).display());
    eprintln!("  a token:           vouchsafe keys token --home {} --as ehr-hospital-a", home.display());
    eprintln!("  a proof:           vouchsafe verify --trust {genesis} FILE");
    interrupt.wait().await;
    Ok(())
}
