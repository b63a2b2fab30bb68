//! `vouchsafe gateway import`: brings a data set into a running gateway.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::Args as ClapArgs;
use vouchsafe_gateway::seal::device::PartyKeys;

use crate::{
    Output,
    credentials::{self, Party},
    exit::{Context, Failure, Kind, Outcome},
    import::{Gateway, Import, Most},
    interrupt::Interrupt,
    wallet::client::{Client, ClientKey},
};

#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Bundles (Synthea's, collections, searchsets), NDJSON and single resources, gzipped or not; directories are looked
    /// through for .json, .ndjson and .jsonl.
    #[arg(required = true, value_name = "FILE_OR_DIR")]
    paths: Vec<PathBuf>,
    /// The home that holds credentials.json; the journal of what was done lies there too.
    #[arg(long, env = "VOUCHSAFE_HOME")]
    home: PathBuf,
    /// The party of credentials.json to act as; by default the only system client of an organisation with patients.
    #[arg(long = "as", value_name = "NAME")]
    party: Option<String>,
    /// The gateway's FHIR base, where it differs from what credentials.json says.
    #[arg(long, value_name = "URL")]
    base: Option<String>,
    /// Transactions under way at once.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    connections: u8,
    /// Entries in one transaction at most; a gateway takes a thousand unless it is configured otherwise.
    #[arg(long, default_value_t = 1000, value_name = "ENTRIES", value_parser = clap::value_parser!(u16).range(1..))]
    transaction: u16,
}

/// Bytes of resources in one transaction; half of what a gateway takes by default.
const BYTES: usize = 8 << 20;

/// How long one transaction may take; a gateway that is busy answers 503 long before.
const LIMIT: Duration = Duration::from_secs(120);

pub(crate) async fn run(args: Args, output: Output) -> Outcome {
    let interrupt = Interrupt::listen()?;
    let parties = credentials::read(&args.home)?;
    let party = chosen(&parties, args.party.as_deref())?;
    let missing = || Failure::new(Kind::Usage, format!("{} has no client key of its own", party.name));
    let client_id = party.client_id.as_deref().ok_or_else(missing)?;
    let key = PartyKeys::from_private_jwks(&party.jwks).ok().and_then(|k| k.es384).ok_or_else(missing)?;
    let base = args.base.as_deref().unwrap_or(&party.base).trim_end_matches('/');
    let root = base.strip_suffix("/fhir");
    let root = root.ok_or_else(|| Failure::new(Kind::Usage, format!("{base}: a gateway's FHIR base ends in /fhir")))?;
    let http = reqwest::Client::builder().timeout(LIMIT).build().doing(Kind::Error, || "an HTTP client".into())?;
    let client = Client::new(&http, root, client_id, ClientKey::System(Arc::new(key)));
    let secret = party.jwks.to_string();
    let most = Most { entries: args.transaction.into(), bytes: BYTES };
    let gateway = Gateway::new(&http, base, Some(client));
    let import = Import::new(gateway, secret.as_bytes(), Some(&args.home), usize::from(args.connections), most).await?;
    let done = tokio::select! {
        done = import.run(&args.paths) => done,
        () = import.show() => Ok(()),
        () = interrupt.wait() => {
            Err(Failure::new(Kind::Interrupted, "interrupted").hint("the same command goes on where this one ended"))
        }
    };
    import.end_of_bar();
    tell(&import, output);
    done?;
    match import.tally.refusals() {
        0 => Ok(()),
        n => Err(Failure::new(Kind::InvalidData, format!("{n} entries were refused"))),
    }
}

#[allow(clippy::print_stdout, reason = "the summary is the data that this command prints")]
fn tell(import: &Import, output: Output) {
    match output {
        Output::Text => print!("{}", import.tally.to_text()),
        Output::Json => println!("{}", import.tally.to_json()),
    }
}

/// The party that is named, or the only one that imports make sense for.
fn chosen<'a>(parties: &'a [Party], name: Option<&str>) -> Outcome<&'a Party> {
    let systems: Vec<&Party> = parties.iter().filter(|p| p.role == "system").collect();
    let names = |of: &[&Party]| of.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(name) = name {
        let found = parties.iter().find(|p| p.name == name);
        return found.ok_or_else(|| {
            Failure::new(Kind::NotFound, format!("no party is named {name:?}"))
                .hint(format!("there are: {}", names(&systems)))
        });
    }
    let is_authority = |p: &Party| parties.iter().any(|o| o.role == "authority" && o.name == p.organization);
    let custodians: Vec<&Party> = systems.into_iter().filter(|p| !is_authority(p)).collect();
    match custodians.as_slice() {
        [one] => Ok(one),
        several => Err(Failure::new(Kind::Usage, "which system's records are these?")
            .hint(format!("--as one of: {}", names(several)))),
    }
}
