//! A FHIR server under load: one that the bench starts as a process of its own, or any at a given address.

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, ToSocketAddrs},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use serde_json::Value;
use vouchsafe_gateway::seal::device::PartyKeys;

use crate::{
    credentials,
    exit::{Context, Failure, Kind, Outcome},
    wallet::client::{Client, ClientKey},
};

/// Where a server is and how to be let in.
pub(crate) struct Server {
    /// What it is called in the figures.
    pub(crate) name: String,
    pub(crate) addr: SocketAddr,
    /// Its FHIR base, without a trailing slash.
    pub(crate) base: String,
    host: String,
    path: String,
    /// Who asks for tokens, where they are needed.
    pub(crate) client: Option<Client>,
    process: Option<Process>,
}

impl Server {
    /// Whatever serves FHIR at an address, without authentication.
    pub(crate) fn at(name: &str, base: &str) -> Outcome<Self> {
        let usage = |what: &str| Failure::new(Kind::Usage, format!("{base}: {what}"));
        let base = base.trim_end_matches('/');
        let rest = base.strip_prefix("http://").ok_or_else(|| usage("the load generator speaks http:// only"))?;
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let with_port = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
        let addr = with_port.to_socket_addrs().doing(Kind::Unavailable, || base.to_owned())?.next();
        Ok(Self {
            name: name.to_owned(),
            addr: addr.ok_or_else(|| usage("the name has no address"))?,
            base: base.to_owned(),
            host: host.to_owned(),
            path: path.to_owned(),
            client: None,
            process: None,
        })
    }

    /// The plain store of `bench`, in a process of its own.
    pub(crate) fn plain(home: &Path) -> Outcome<Self> {
        let mut process = Process::start(&["bench", "plain-store"], home)?;
        let said = process.said()?;
        let base = said["base"].as_str().unwrap_or_default();
        Ok(Self { process: Some(process), ..Self::at("plain store", base)? })
    }

    /// A gateway on an embedded ledger, in a process of its own.
    pub(crate) fn gateway(home: &Path, http: &reqwest::Client) -> Outcome<Self> {
        let mut process = Process::start(&["gateway", "start"], home)?;
        process.said()?;
        let parties = credentials::read(home)?;
        let system = parties.iter().find(|p| p.role == "system");
        let system = system.ok_or_else(|| Failure::new(Kind::Error, "the gateway has no system client"))?;
        let client = client_of(http, system)?;
        Ok(Self { client: Some(client), process: Some(process), ..Self::at("vouchsafe", &system.base)? })
    }

    /// What writes requests to it, with a fresh token where one is needed.
    pub(crate) async fn writer(&self) -> Outcome<Writer> {
        let authorization = match &self.client {
            Some(client) => format!("Authorization: Bearer {}\r\n", client.fresh_token().await?),
            None => String::new(),
        };
        let rest = format!("Host: {}\r\n{authorization}Accept: application/fhir+json\r\n", self.host);
        Ok(Writer { path: self.path.clone(), rest })
    }

    /// Bytes of memory that its process holds now; none for a server that was not started here.
    pub(crate) fn resident(&self) -> Option<u64> {
        let id = self.process.as_ref()?.0.id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let line = status.lines().find(|l| l.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
    }
}

/// A client of a party's own gateway, with its key.
fn client_of(http: &reqwest::Client, party: &credentials::Party) -> Outcome<Client> {
    let missing = || Failure::new(Kind::Usage, format!("{} has no client key of its own", party.name));
    let client_id = party.client_id.as_deref().ok_or_else(missing)?;
    let key = PartyKeys::from_private_jwks(&party.jwks).ok().and_then(|k| k.es384).ok_or_else(missing)?;
    let base = party.base.trim_end_matches("/fhir");
    Ok(Client::new(http, base, client_id, ClientKey::System(Arc::new(key))))
}

/// Writes the bytes of requests.
#[derive(Clone)]
pub(crate) struct Writer {
    path: String,
    /// The headers that every request has.
    rest: String,
}

impl Writer {
    /// A GET below the base; the path begins with a slash.
    pub(crate) fn get(&self, out: &mut Vec<u8>, path: &str) {
        for part in ["GET ", &self.path, path, " HTTP/1.1\r\n", &self.rest, "\r\n"] {
            out.extend(part.as_bytes());
        }
    }

    /// A POST below the base.
    pub(crate) fn post(&self, out: &mut Vec<u8>, path: &str, body: &str) {
        let length = body.len().to_string();
        for part in [
            "POST ",
            &self.path,
            path,
            " HTTP/1.1\r\n",
            &self.rest,
            "Content-Type: application/fhir+json\r\nContent-Length: ",
            &length,
            "\r\n\r\n",
            body,
        ] {
            out.extend(part.as_bytes());
        }
    }
}

/// A process that does not outlive this value.
struct Process(Child);

impl Process {
    /// Starts this program with the arguments, on a free port, in a home.
    fn start(args: &[&str], home: &Path) -> Outcome<Self> {
        let program = std::env::current_exe().doing(Kind::Error, || "this program".into())?;
        let mut command = Command::new(program);
        command.args(args).args(["--output", "json", "--listen", "127.0.0.1:0", "--home"]).arg(home);
        if std::env::var_os("VOUCHSAFE_LOG").is_none() {
            // What a gateway warns of under load is not what a figure is about.
            command.env("VOUCHSAFE_LOG", "error");
        }
        // A Ctrl-C in the terminal is for the bench, which then ends what it started.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        child.map(Self).doing(Kind::Error, || format!("starting {}", args.join(" ")))
    }

    /// The line that it prints when it serves.
    fn said(&mut self) -> Outcome<Value> {
        let mut line = String::new();
        if let Some(out) = self.0.stdout.take() {
            BufReader::new(out).read_line(&mut line).doing(Kind::Error, || "a server of the bench".into())?;
        }
        let ended = || Failure::new(Kind::Unavailable, "a server of the bench ended before it served");
        serde_json::from_str(&line).map_err(|_| ended())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Either fails only when the process has ended, which is what is wanted.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
