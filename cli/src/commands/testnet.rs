//! `vouchsafe testnet`: a real consortium on this machine, started, hurt, healed and ended.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use vouchsafe_testnet::{Door, Founding, Net, NetError, Part, Programs, Reach};
use vouchsafe_types::{
    Count,
    genesis::{Genesis, Validator},
    tx::Role,
};

use crate::{
    Output,
    consortium::{self, Org},
    credentials,
    exit::{Context, Failure, Kind, Outcome},
    interrupt::Interrupt,
    ledger::engine,
    wallet::person,
};

/// Who founds a testnet, in the order of their validators; the authority is the fourth.
const FOUNDERS: [(&str, Role); 10] = [
    ("hospital-a", Role::Hospital),
    ("hospital-b", Role::Hospital),
    ("laboratory", Role::Laboratory),
    ("authority", Role::Authority),
    ("hospital-c", Role::Hospital),
    ("hospital-d", Role::Hospital),
    ("hospital-e", Role::Hospital),
    ("hospital-f", Role::Hospital),
    ("hospital-g", Role::Hospital),
    ("hospital-h", Role::Hospital),
];

/// The founders that every testnet has, because a consortium without an authority can verify nobody.
const ALWAYS: usize = 4;

/// The name of its chain.
const CHAIN: &str = "testnet";

/// The genesis document's name in a home.
const GENESIS: &str = "genesis.json";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Founds a consortium, or starts that of the home again; returns when all answer.
    Up(Up),
    /// Finds the engine, or builds it ahead of its first use, and says where it lies.
    Engine,
    /// Ends it: no process, namespace or socket stays; data and logs do.
    Down(At),
    /// Who runs, and where each stands.
    Status(At),
    /// Kills a validator as a crash would.
    Kill(Kill),
    /// Starts a validator again and waits until it answers.
    Restart(Node),
    /// Parts the validators into groups that do not reach each other.
    Partition(Partition),
    /// Takes a partition back.
    Heal(At),
    /// Plays faults on it under load, from a seed, and checks what must hold; exit code 8 when something does not.
    Faults(super::faults::Faults),
}

#[derive(Args)]
pub(crate) struct At {
    /// Where everything of the testnet is kept.
    #[arg(long, env = "VOUCHSAFE_HOME")]
    home: PathBuf,
}

impl At {
    /// The home.
    pub(super) fn home(&self) -> &Path {
        &self.home
    }
}

#[derive(Args)]
pub(crate) struct Up {
    #[command(flatten)]
    at: At,
    /// How many validators found it.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=10))]
    validators: u8,
    /// How many hospitals and laboratories have a gateway; where any has, the authority has one too, because without it
    /// nobody could be verified.
    #[arg(long, default_value_t = 2)]
    gateways: usize,
    /// The engine, CometBFT 0.38; looked for on PATH and built when it is not there.
    #[arg(long, env = "VOUCHSAFE_COMETBFT")]
    cometbft: Option<PathBuf>,
    /// How validators reach each other: namespaces can be parted and need root; loopback needs nothing.
    #[arg(long, value_enum, default_value_t = Network::Auto)]
    network: Network,
}

#[derive(Args)]
pub(crate) struct Node {
    #[command(flatten)]
    at: At,
    /// The validator, by its number or its organisation's name.
    node: String,
}

#[derive(Args)]
pub(crate) struct Kill {
    #[command(flatten)]
    node: Node,
    /// Which half of it.
    #[arg(long, value_enum, default_value_t = Half::Both)]
    part: Half,
}

#[derive(Args)]
pub(crate) struct Partition {
    #[command(flatten)]
    at: At,
    /// The groups by the validators' numbers, such as 0,1/2,3.
    groups: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Network {
    /// Namespaces where they can be made, else loopback.
    Auto,
    /// Ports of 127.0.0.1.
    Loopback,
    /// Namespaces, or an error.
    Namespaces,
}

#[derive(Clone, Copy, ValueEnum)]
enum Half {
    /// The application.
    App,
    /// The engine.
    Engine,
    /// Both at once.
    Both,
}

pub(crate) async fn run(command: Command, output: Output) -> Outcome {
    match command {
        Command::Up(args) => up(&args, output).await,
        Command::Engine => {
            let found = json!({ "cometbft": engine::find(None)? });
            print(&found, output, |found| found["cometbft"].as_str().unwrap_or_default().to_owned());
            Ok(())
        }
        Command::Down(at) => open(&at.home)?.down().await.map_err(failure),
        Command::Status(at) => {
            let net = Net::look(&at.home).map_err(failure)?;
            let status = status(&net).await;
            print(&status, output, lines);
            Ok(())
        }
        Command::Kill(args) => {
            let mut net = open(&args.node.at.home)?;
            let node = net.state().number(&args.node.node).map_err(failure)?;
            let part = match args.part {
                Half::App => Part::App,
                Half::Engine => Part::Engine,
                Half::Both => Part::Both,
            };
            net.kill(node, part).await.map_err(failure)
        }
        Command::Restart(args) => {
            let mut net = open(&args.at.home)?;
            let node = net.state().number(&args.node).map_err(failure)?;
            net.restart(node).await.map_err(failure)
        }
        Command::Partition(args) => {
            let groups = vouchsafe_testnet::groups(&args.groups).map_err(failure)?;
            open(&args.at.home)?.partition(groups).map_err(failure)
        }
        Command::Faults(args) => super::faults::run(args, output).await,
        Command::Heal(at) => open(&at.home)?.heal().map_err(failure),
    }
}

async fn up(args: &Up, output: Output) -> Outcome {
    let home = std::path::absolute(&args.at.home).doing(Kind::Error, || args.at.home.display().to_string())?;
    let interrupt = Interrupt::listen()?;
    // Found once here and not by each validator at the same time, so that what it says is seen.
    let engine = engine::find(args.cometbft.as_deref())?;
    let genesis = home.join(GENESIS);
    let mut net = if genesis.exists() { again(&home)? } else { found(&home, args, &engine)? };
    let started = tokio::select! {
        started = net.start(&genesis) => started.map_err(failure),
        () = interrupt.wait() => Err(Failure::new(Kind::Interrupted, "interrupted")),
    };
    if let Err(failed) = started {
        net.down().await.map_err(failure)?;
        return Err(failed.hint(format!("the logs are in {}", net.logs().display())));
    }
    print(&endpoints(&net)?, output, lines);
    Ok(())
}

/// The testnet that a home has.
fn again(home: &Path) -> Outcome<Net> {
    let net = open(home)?;
    if net.up() {
        return Err(Failure::new(Kind::Conflict, format!("the testnet in {} is up", home.display()))
            .hint("`vouchsafe testnet down` ends it"));
    }
    Ok(net)
}

/// A new consortium: every organisation's keys in a home of its own, a genesis that all founders sign.
fn found(home: &Path, args: &Up, engine: &Path) -> Outcome<Net> {
    let validators = usize::from(args.validators);
    let mut orgs = consortium::founders(home, &FOUNDERS[..validators.max(ALWAYS)])?;
    let doors = doors(&orgs, args.gateways)?;
    let names: Vec<&str> = orgs.iter().map(|o| o.name).take(validators).collect();
    let mark: [u8; 16] = person::random()?;
    let mark = mark.iter().map(|b| format!("{b:02x}")).collect();
    let reach = match args.network {
        Network::Auto => Reach::Auto,
        Network::Loopback => Reach::Loopback,
        Network::Namespaces => Reach::Namespaces,
    };
    let programs = Programs { vouchsafe: &program()?, engine };
    let founding = Founding::begin(home, programs, mark, &names, &doors, reach).map_err(failure)?;
    let keys = founding.keys().iter().map(|key| Validator { ed25519: *key, power: Count(10) }).collect();
    let genesis = consortium::genesis(home, CHAIN, &orgs, keys)?;
    consortium::publish(home, &genesis)?;
    let mut parties = Vec::new();
    for door in founding.gateways() {
        let org = orgs.iter_mut().find(|o| o.name == door.name);
        let org = org.ok_or_else(|| Failure::new(Kind::Error, format!("{} is no founder", door.name)))?;
        org.place(door.listen)?;
        parties.extend(org.parties()?);
    }
    credentials::write(home, &parties)?;
    founding.finish(&home.join(GENESIS)).map_err(failure)
}

/// Who has a gateway.
fn doors(orgs: &[Org], count: usize) -> Outcome<Vec<&'static str>> {
    let (authorities, others): (Vec<&Org>, Vec<&Org>) = orgs.iter().partition(|o| o.role == Role::Authority);
    if count > others.len() {
        let said = format!("--gateways {count}: the consortium has {} hospitals and laboratories", others.len());
        return Err(Failure::new(Kind::Usage, said));
    }
    let authorities = authorities.into_iter().filter(|_| count > 0);
    Ok(others.into_iter().take(count).chain(authorities).map(|o| o.name).collect())
}

/// The testnet of a home, for this process alone.
pub(super) fn open(home: &Path) -> Outcome<Net> {
    let home = std::path::absolute(home).doing(Kind::Error, || home.display().to_string())?;
    Net::open(&home, &program()?).map_err(failure)
}

fn program() -> Outcome<PathBuf> {
    std::env::current_exe().doing(Kind::Error, || "finding this program".into())
}

/// A testnet's error with its exit code.
#[allow(clippy::needless_pass_by_value, reason = "`map_err` hands it over")]
pub(crate) fn failure(error: NetError) -> Failure {
    let kind = match error {
        NetError::Usage(_) => Kind::Usage,
        NetError::NotFound(_) => Kind::NotFound,
        NetError::NotPermitted(_) => Kind::Denied,
        NetError::Unavailable(_) => Kind::Unavailable,
        NetError::Broken(_) => Kind::VerificationFailed,
        NetError::Io { .. } => Kind::Error,
    };
    Failure::new(kind, error.to_string())
}

/// The genesis document of a home.
pub(super) fn genesis(home: &Path) -> Outcome<Genesis> {
    let path = home.join(GENESIS);
    let bytes = fs::read(&path).doing(Kind::Error, || path.display().to_string())?;
    serde_json::from_slice(&bytes).doing(Kind::InvalidData, || path.display().to_string())
}

fn endpoints(net: &Net) -> Outcome<Value> {
    let genesis = genesis(net.home())?;
    let validators = net.state().validators.iter().enumerate().map(|(number, v)| {
        let p2p = format!("{}@{}", v.node_id, v.p2p);
        json!({ "number": number, "name": v.name, "rpc": v.url(), "p2p": p2p, "home": v.home(net.home()) })
    });
    let gateways = net.state().gateways.iter().map(|g| json!({ "name": g.name, "base": format!("{}/fhir", g.base()) }));
    Ok(json!({
        "home": net.home(),
        "chain": genesis.body.chain_id(),
        "genesis": genesis.body.digest().to_string(),
        "credentials": net.home().join(credentials::FILE),
        "logs": net.logs(),
        "network": network(net),
        "validators": validators.collect::<Vec<_>>(),
        "gateways": gateways.collect::<Vec<_>>(),
    }))
}

async fn status(net: &Net) -> Value {
    let mut validators = Vec::new();
    for (number, member) in net.state().validators.iter().enumerate() {
        let (rpc, running) = (net.rpc(number), net.running(number));
        let stands = rpc.status().await.ok();
        validators.push(json!({
            "number": number,
            "name": member.name,
            "rpc": member.url(),
            "supervisor": running.supervisor,
            "app": running.app,
            "engine": running.engine,
            "height": stands.as_ref().map(|s| s.height),
            "catching_up": stands.as_ref().map(|s| s.catching_up),
            "peers": rpc.peers().await.ok(),
        }));
    }
    let door = |g: &Door| json!({ "name": g.name, "base": format!("{}/fhir", g.base()), "runs": g.process.is_some_and(|p| p.alive()) });
    json!({
        "home": net.home(),
        "network": network(net),
        "partition": net.state().partition,
        "validators": validators,
        "gateways": net.state().gateways.iter().map(door).collect::<Vec<_>>(),
    })
}

fn network(net: &Net) -> &'static str {
    if net.separate() { "namespaces" } else { "loopback" }
}

#[allow(clippy::print_stdout, reason = "where everything is, is the data that these commands print")]
fn print(value: &Value, output: Output, text: impl Fn(&Value) -> String) {
    match output {
        Output::Json => println!("{value}"),
        Output::Text => println!("{}", text(value)),
    }
}

/// One line a validator, then what is told of the whole.
fn lines(value: &Value) -> String {
    let word = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut lines = Vec::new();
    for validator in value["validators"].as_array().into_iter().flatten() {
        let members = validator.as_object().into_iter().flatten().filter(|(name, _)| *name != "number");
        let told: Vec<String> = members.map(|(name, v)| format!("{name} {}", word(v))).collect();
        lines.push(format!("validator {}: {}", validator["number"], told.join(", ")));
    }
    for gateway in value["gateways"].as_array().into_iter().flatten() {
        let runs = gateway["runs"].as_bool().map_or("", |runs| if runs { ", runs" } else { ", ended" });
        lines.push(format!("gateway {}: {}{runs}", word(&gateway["name"]), word(&gateway["base"])));
    }
    for (name, told) in value.as_object().into_iter().flatten().filter(|(_, v)| !v.is_array() || v.is_null()) {
        lines.push(format!("{name}: {}", word(told)));
    }
    lines.join("\n")
}
