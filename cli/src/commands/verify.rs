//! `vouchsafe verify`: checks a proof without trusting a gateway.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use vouchsafe_types::Hash32;

use crate::{
    Output,
    exit::{Context, Failure, Kind, Outcome},
    wallet::proof,
};

#[derive(ClapArgs)]
pub(crate) struct Args {
    /// The digest of the genesis document that is trusted: 43 characters of base64url, told by the consortium.
    #[arg(long, value_name = "GENESIS_DIGEST", env = "VOUCHSAFE_TRUST")]
    trust: Hash32,
    /// What `$proof` answered.
    file: PathBuf,
}

pub(crate) fn run(args: &Args, output: Output) -> Outcome {
    let bytes = std::fs::read(&args.file).doing(Kind::NotFound, || args.file.display().to_string())?;
    let parameters = serde_json::from_slice(&bytes)
        .map_err(|e| Failure::new(Kind::InvalidData, format!("{}: {e}", args.file.display())))?;
    let claim = proof::verify_against(&parameters, args.trust)?;
    print(&claim, output);
    Ok(())
}

#[allow(clippy::print_stdout, reason = "what was verified is the data that this command prints")]
fn print(claim: &proof::Claim, output: Output) {
    match output {
        Output::Json => println!("{}", claim.said()),
        Output::Text => {
            println!("verified");
            for (name, value) in claim.said().as_object().into_iter().flatten() {
                println!("  {name}: {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            }
        }
    }
}
