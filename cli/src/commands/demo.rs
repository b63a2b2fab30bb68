//! `vouchsafe demo`: the whole story on one machine.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args as ClapArgs;

use crate::{
    Output,
    chain::Engine,
    demo,
    exit::{Failure, Kind, Outcome},
};

#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Where everything is kept; must be empty or not exist. Without it a new directory under the system's temporary
    /// one, which `--once` removes at the end.
    #[arg(long, env = "VOUCHSAFE_HOME")]
    home: Option<PathBuf>,
    /// Where the first hospital's gateway listens; the others take the ports after it. Port 0 takes free ones.
    #[arg(long, default_value = "127.0.0.1:8080", env = "VOUCHSAFE_LISTEN")]
    listen: SocketAddr,
    /// Ends after the story instead of serving.
    #[arg(long)]
    once: bool,
    /// Plays on so many CometBFT validators, each a pair of processes, instead of the embedded engine.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=4))]
    validators: Option<u8>,
}

pub(crate) async fn run(args: Args, output: Output) -> Outcome {
    let (home, temporary) = match args.home {
        Some(home) => (home, false),
        None => (std::env::temp_dir().join(format!("vouchsafe-demo-{}", std::process::id())), true),
    };
    let taken = home.read_dir().is_ok_and(|mut d| d.next().is_some());
    if taken {
        return Err(Failure::new(Kind::Usage, format!("{} is not empty", home.display()))
            .hint("the demo begins from nothing: name another directory, or remove this one"));
    }
    let engine = args.validators.map_or(Engine::Embedded, |count| Engine::Validators(count.into()));
    let played = demo::play(&home, args.listen, args.once, engine, output).await;
    if temporary && args.once {
        // Best effort: what stays is test data under the system's temporary directory.
        drop(std::fs::remove_dir_all(&home));
    }
    match played {
        Ok(demo::End::Played) => Ok(()),
        Ok(demo::End::Interrupted) => Err(Failure::new(Kind::Interrupted, "interrupted")),
        Err(failure) => Err(failure),
    }
}
