//! Load in a closed loop: so many connections, each sending its next request when the last is answered.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    data::Rng,
    server::Server,
    wire::{Answer, Connection},
};
use crate::exit::{Context, Failure, Kind, Outcome};

/// Writes the next request; the generator's own randomness comes from the printed seed.
pub(crate) type Request = Arc<dyn Fn(&mut Rng, &mut Vec<u8>) + Send + Sync>;

/// Whether an answer is the one expected.
pub(crate) type Judge = fn(&Answer<'_>) -> bool;

/// One kind of load.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) connections: u64,
    /// Before anything is counted.
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
    pub(crate) seed: u64,
    pub(crate) request: Request,
    pub(crate) judge: Judge,
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) answered: usize,
    pub(crate) seconds: f64,
    /// Seconds within which half, and nineteen of twenty, were answered.
    pub(crate) p50: f64,
    pub(crate) p95: f64,
}

impl Measured {
    /// Answers per second.
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    pub(crate) fn rate(&self) -> f64 {
        self.answered as f64 / self.seconds
    }
}

/// Puts the load on a server. The generator has a thread of its own, so that whatever else this process does is not measured.
///
/// # Errors
/// When any answer is not the one expected: a figure over failures is no figure.
pub(crate) async fn run(server: &Server, load: Load) -> Outcome<Measured> {
    let addr = server.addr;
    let (send, receive) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let done = runtime.doing(Kind::Error, || "a runtime".into()).and_then(|r| r.block_on(generate(addr, &load)));
        // Whoever waited may have gone.
        drop(send.send(done));
    });
    receive.await.doing(Kind::Error, || "the load generator".into())?
}

async fn generate(addr: std::net::SocketAddr, load: &Load) -> Outcome<Measured> {
    let begin = Instant::now() + load.warm_up;
    let end = begin + load.measured;
    let lanes = (0..load.connections).map(|n| lane(addr, load, n, begin, end));
    let mut took: Vec<Duration> = Vec::new();
    for lane in futures::future::join_all(lanes).await {
        took.extend(lane?);
    }
    took.sort_unstable();
    let at = |percent: usize| took.get(took.len() * percent / 100).map_or(0.0, Duration::as_secs_f64);
    Ok(Measured { answered: took.len(), seconds: load.measured.as_secs_f64(), p50: at(50), p95: at(95) })
}

/// One connection. What was answered between `begin` and `end` counts.
async fn lane(
    addr: std::net::SocketAddr,
    load: &Load,
    number: u64,
    begin: Instant,
    end: Instant,
) -> Outcome<Vec<Duration>> {
    let mut rng = Rng::new(load.seed ^ (number << 32));
    let mut connection = Connection::new(addr);
    let mut request = Vec::new();
    let mut took = Vec::new();
    loop {
        request.clear();
        (load.request)(&mut rng, &mut request);
        let sent = Instant::now();
        if sent >= end {
            return Ok(took);
        }
        let answer = connection.exchange(&request).await.doing(Kind::Unavailable, || addr.to_string())?;
        let answered = Instant::now();
        if !(load.judge)(&answer) {
            return Err(unexpected(&answer));
        }
        if answered >= begin && answered < end {
            took.push(answered - sent);
        }
    }
}

/// What an answer that was not expected says; the data of a bench are synthetic.
pub(crate) fn unexpected(answer: &Answer<'_>) -> Failure {
    let body = String::from_utf8_lossy(&answer.body[..answer.body.len().min(400)]);
    Failure::new(Kind::Error, format!("an answer that was not expected, {}: {body}", answer.status))
}
