//! `vouchsafe keys`: what a party's private keys are good for, from a shell.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use vouchsafe_gateway::seal::device::{Es384Key, PartyKeys};

use crate::{
    Output, credentials,
    exit::{Context, Failure, Kind, Outcome},
    wallet::client::{Client, ClientKey, OnBehalf},
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Prints a bearer token for a party of a home, for trying things with curl.
    Token(Token),
}

#[derive(Args)]
pub(crate) struct Token {
    /// The home that holds credentials.json.
    #[arg(long, env = "VOUCHSAFE_HOME")]
    home: PathBuf,
    /// The party's name in credentials.json.
    #[arg(long = "as", value_name = "NAME")]
    party: String,
    /// For a system client: the doctor (by name) whom it acts for under a mandate (`hl7-b2b`).
    #[arg(long, value_name = "NAME")]
    on_behalf_of: Option<String>,
    /// The HL7 purpose of use stated with --on-behalf-of.
    #[arg(long, default_value = "TREAT")]
    purpose: String,
}

pub(crate) async fn run(command: Command, output: Output) -> Outcome {
    let Command::Token(args) = command;
    let parties = credentials::read(&args.home)?;
    let party = named(&parties, &args.party)?;
    let client_id = party.client_id.as_deref().ok_or_else(|| no_client(party))?;
    let key = ec_key(&party.jwks).ok_or_else(|| no_client(party))?;
    let http = reqwest::Client::builder()
        .timeout(Duration::from_secs(30))
        .build()
        .doing(Kind::Error, || "an HTTP client".into())?;
    let base = party.base.trim_end_matches("/fhir");
    let mut client = Client::new(&http, base, client_id, ClientKey::System(Arc::new(key)));
    if let Some(doctor) = &args.on_behalf_of {
        client = client.on_behalf(behalf(&parties, party, doctor, &args.purpose)?);
    }
    print(&client.token().await?, output);
    Ok(())
}

#[allow(clippy::print_stdout, reason = "the token is the data that this command prints")]
fn print(token: &str, output: Output) {
    match output {
        Output::Text => println!("{token}"),
        Output::Json => println!("{}", json!({ "access_token": token })),
    }
}

fn named<'a>(parties: &'a [credentials::Party], name: &str) -> Outcome<&'a credentials::Party> {
    parties.iter().find(|p| p.name == name).ok_or_else(|| {
        let names: Vec<&str> = parties.iter().map(|p| p.name.as_str()).collect();
        Failure::new(Kind::NotFound, format!("no party is named {name:?}"))
            .hint(format!("there are: {}", names.join(", ")))
    })
}

fn behalf(
    parties: &[credentials::Party],
    system: &credentials::Party,
    doctor: &str,
    purpose: &str,
) -> Outcome<OnBehalf> {
    let doctor = named(parties, doctor)?;
    let organization = parties
        .iter()
        .find(|p| p.name == system.organization)
        .and_then(|p| p.account.clone())
        .ok_or_else(|| Failure::new(Kind::NotFound, format!("no account of {}", system.organization)))?;
    let subject = doctor.fhir_user.clone().ok_or_else(|| no_client(doctor))?;
    Ok(OnBehalf { subject, organization, purpose: purpose.to_owned() })
}

fn no_client(party: &credentials::Party) -> Failure {
    Failure::new(Kind::Usage, format!("{} has no client key of its own and cannot ask for a token", party.name))
}

/// The ES384 key of a private JWK set.
fn ec_key(jwks: &Value) -> Option<Es384Key> {
    PartyKeys::from_private_jwks(jwks).ok()?.es384
}
