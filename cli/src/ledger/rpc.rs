//! The engine's RPC, as far as the operator of a validator needs it (<https://docs.cometbft.com/v0.38/spec/rpc/>).

use std::time::Duration;

use serde_json::Value;
use vouchsafe_node::engine::Home;

use crate::exit::{Context, Failure, Kind, Outcome};

/// The longest that the engine of this machine may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where an engine listens, as its configuration says.
pub(super) struct Listen {
    /// The RPC's URL.
    pub(super) rpc: String,
    /// The peers' HOST:PORT.
    pub(super) p2p: String,
}

impl Listen {
    /// Reads the configuration of a home.
    pub(super) fn read(home: &Home) -> Outcome<Self> {
        let path = home.engine_config();
        let text = std::fs::read_to_string(&path).doing(Kind::NotFound, || path.display().to_string())?;
        let config: toml::Table = text.parse().doing(Kind::InvalidData, || path.display().to_string())?;
        let laddr = |section: &str| {
            let text = config.get(section).and_then(|s| s.get("laddr")).and_then(|l| l.as_str());
            let address = text.and_then(|t| t.strip_prefix("tcp://")).map(ToOwned::to_owned);
            address.ok_or_else(|| {
                Failure::new(Kind::InvalidData, format!("{}: [{section}] laddr is no tcp://HOST:PORT", path.display()))
            })
        };
        // What listens everywhere is reached here.
        let rpc = laddr("rpc")?.replacen("0.0.0.0:", "127.0.0.1:", 1).replacen("[::]:", "[::1]:", 1);
        Ok(Self { rpc: format!("http://{rpc}"), p2p: laddr("p2p")? })
    }
}

/// A client of it.
pub(super) struct Rpc {
    http: reqwest::Client,
    url: String,
}

impl Rpc {
    pub(super) fn new(url: &str) -> Outcome<Self> {
        let http = reqwest::Client::builder()
            .timeout(PATIENCE)
            .no_proxy()
            .build()
            .doing(Kind::Error, || "an HTTP client".into())?;
        Ok(Self { http, url: url.to_owned() })
    }

    /// Calls a method by GET; the `result`.
    pub(super) async fn get(&self, method: &str) -> Outcome<Value> {
        let what = || format!("{}/{method}", self.url);
        let answer = self.http.get(what()).send().await.doing(Kind::Unavailable, what)?;
        let mut body: Value = answer.json().await.doing(Kind::Unavailable, what)?;
        match body.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => Err(Failure::new(Kind::Unavailable, format!("{}: {}", what(), body["error"]))),
        }
    }

    pub(super) async fn status(&self) -> Outcome<Value> {
        self.get("status").await
    }
}
