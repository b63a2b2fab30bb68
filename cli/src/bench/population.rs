//! What a server holds before it is measured: patients, each with observations.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use tokio::sync::Mutex;

use super::{
    data::{self, Rng},
    load::unexpected,
    server::{Server, Writer},
    wire::Connection,
};
use crate::exit::{Context, Failure, Kind, Outcome};

/// What was created, as `Type/id`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Population {
    pub(crate) patients: Vec<String>,
    pub(crate) observations: Vec<String>,
    /// The patients' identifiers.
    pub(crate) identifiers: Vec<String>,
}

/// How many connections fill a server.
const CONNECTIONS: usize = 16;
/// Observations in one transaction.
const TOGETHER: usize = 200;

/// Fills a server with patients of a seed, each with so many observations.
pub(crate) async fn fill(server: &Server, seed: u64, patients: usize, each: usize) -> Outcome<Population> {
    let filler = Filler { lanes: lanes(server), writer: server.writer().await? };
    let mut rng = Rng::new(seed);
    let (identifiers, bodies) = (0..patients).map(|_| data::identified(&mut rng)).unzip();
    let patients = filler.create("Patient", bodies).await?;
    let mut bodies = Vec::new();
    for patient in &patients {
        bodies.extend((0..each).map(|_| data::observation(&mut rng, patient)));
    }
    let observations = match filler.transactions(&bodies).await? {
        Some(created) => created,
        None => filler.create("Observation", bodies).await?,
    };
    Ok(Population { patients, observations, identifiers })
}

type Lanes = Vec<Arc<Mutex<Connection>>>;

fn lanes(server: &Server) -> Lanes {
    (0..CONNECTIONS).map(|_| Arc::new(Mutex::new(Connection::new(server.addr)))).collect()
}

struct Filler {
    lanes: Lanes,
    writer: Writer,
}

impl Filler {
    async fn create(&self, kind: &str, bodies: Vec<String>) -> Outcome<Vec<String>> {
        let path = format!("/{kind}");
        let created = bodies.iter().enumerate().map(|(n, body)| {
            let lane = Arc::clone(&self.lanes[n % CONNECTIONS]);
            let path = &path;
            async move {
                let mut request = Vec::new();
                self.writer.post(&mut request, path, body);
                let mut lane = lane.lock().await;
                let answer = lane.exchange(&request).await.doing(Kind::Unavailable, || "filling a server".into())?;
                match (answer.status, answer.header("location").and_then(named)) {
                    (201, Some(name)) => Ok(name),
                    _ => Err(unexpected(&answer)),
                }
            }
        });
        stream::iter(created).buffered(CONNECTIONS).try_collect().await
    }

    /// The same in transactions; none when the server takes no transactions.
    async fn transactions(&self, bodies: &[String]) -> Outcome<Option<Vec<String>>> {
        let created = bodies.chunks(TOGETHER).enumerate().map(|(n, chunk)| {
            let lane = Arc::clone(&self.lanes[n % CONNECTIONS]);
            async move {
                let mut request = Vec::new();
                self.writer.post(&mut request, "", &bundle(chunk));
                let mut lane = lane.lock().await;
                let answer = lane.exchange(&request).await.doing(Kind::Unavailable, || "filling a server".into())?;
                match answer.status {
                    200 => answered(answer.body).map(Some),
                    404 | 405 | 501 => Ok(None),
                    _ => Err(unexpected(&answer)),
                }
            }
        });
        // Half the connections: a transaction is large, and a server may refuse to hold many.
        let all: Vec<Option<Vec<String>>> = stream::iter(created).buffered(CONNECTIONS / 4).try_collect().await?;
        Ok(all.into_iter().collect::<Option<Vec<_>>>().map(|chunks| chunks.concat()))
    }
}

fn bundle(resources: &[String]) -> String {
    let entries: Vec<String> = resources
        .iter()
        .map(|r| format!(r#"{{"resource":{r},"request":{{"method":"POST","url":"Observation"}}}}"#))
        .collect();
    format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{}]}}"#, entries.join(","))
}

/// The names of what a transaction created.
fn answered(body: &[u8]) -> Outcome<Vec<String>> {
    let bundle: Value = serde_json::from_slice(body).doing(Kind::InvalidData, || "a transaction's answer".into())?;
    let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
    let names: Option<Vec<_>> = entries.iter().map(|e| named(e["response"]["location"].as_str()?)).collect();
    names.ok_or_else(|| Failure::new(Kind::InvalidData, "a transaction's answer does not name what was created"))
}

/// `Type/id` of a location.
pub(crate) fn named(location: &str) -> Option<String> {
    let path = location.split("/_history/").next()?;
    let mut parts = path.rsplit('/');
    let (id, kind) = (parts.next()?, parts.next()?);
    Some(format!("{kind}/{id}"))
}
