//! The accept loop and its connections: threads that block, because an engine opens four connections and each is
//! served in order.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, BufReader, BufWriter, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    str::FromStr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use prost::bytes::Bytes;
use tendermint_proto::v0_38::abci::{
    Request, Response, ResponseFlush, request::Value as Asked, response::Value as Answered,
};
use tokio::sync::watch;

use super::{
    Application, Fault, MAX_MESSAGE,
    codec::{ReadError, is_whole, read_request, write_response},
    dispatch::{self, Next, answer, exception},
};

/// An engine opens four; a few more leave room for one that comes again before its old ones are gone.
const MAX_CONNECTIONS: usize = 16;

/// As many checks are looked at together, at most: a batch of signatures gains little beyond it.
const MAX_AHEAD: usize = 128;

/// Most blocks' messages fit, so that reading one is few calls.
const BUFFER: usize = 64 * 1024;

/// Where a server listens, written as CometBFT's `proxy_app` takes it: `unix:///path` or `tcp://127.0.0.1:26658`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket; only this user's processes reach it.
    Unix(PathBuf),
    /// A port of this machine. ABCI knows no passwords, so no other machine may reach it.
    Tcp(SocketAddr),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix://") {
            return Ok(Self::Unix(path.into()));
        }
        let Some(address) = text.strip_prefix("tcp://") else {
            return Err(format!("{text:?} is neither unix://PATH nor tcp://HOST:PORT"));
        };
        let address: SocketAddr = address.parse().map_err(|e| format!("{text:?}: {e}"))?;
        Ok(Self::Tcp(address))
    }
}

#[derive(Debug)]
enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

/// A bound socket that nobody serves yet.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    address: Address,
    max_message: u64,
}

impl Server {
    /// Binds a socket. A Unix socket that a dead process left is replaced.
    ///
    /// # Errors
    /// What the system says; `InvalidInput` for a TCP address that is not of this machine alone; `AddrInUse` for a
    /// Unix socket on which somebody listens.
    pub fn bind(address: &Address) -> io::Result<Self> {
        let (listener, address) = match address {
            Address::Unix(path) => (Listener::Unix(bind_unix(path)?), address.clone()),
            Address::Tcp(at) if !at.ip().is_loopback() => {
                let why = format!("{at} can be reached by other machines, and ABCI has no passwords");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
            Address::Tcp(at) => {
                let listener = TcpListener::bind(at)?;
                let address = Address::Tcp(listener.local_addr()?);
                (Listener::Tcp(listener), address)
            }
        };
        Ok(Self { listener, address, max_message: MAX_MESSAGE })
    }

    /// Where it listens; the port is the real one.
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Reads no longer messages than this; `MAX_MESSAGE` by default.
    #[must_use]
    pub const fn max_message(mut self, bytes: u64) -> Self {
        self.max_message = bytes;
        self
    }

    /// Serves until it is stopped, dropped or meets a fault.
    ///
    /// # Errors
    /// What the system says when there can be no thread.
    pub fn serve(self, app: Arc<dyn Application>) -> io::Result<Serving> {
        let shared = Arc::new(Shared {
            app,
            max_message: self.max_message,
            ending: AtomicBool::new(false),
            connections: Mutex::default(),
            next: AtomicU64::new(0),
            fault: watch::Sender::new(None),
        });
        let (accepting, listener) = (Arc::clone(&shared), self.listener);
        let thread =
            std::thread::Builder::new().name("abci-accept".into()).spawn(move || accepting.accept(&listener))?;
        Ok(Serving { shared, address: self.address, thread: Some(thread) })
    }
}

/// Removes what a dead process left, but never a living one's socket nor a file of another kind.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    if let Ok(found) = path.symlink_metadata() {
        if !found.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} is no socket", path.display())));
        }
        if UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("{} is in use", path.display())));
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// A server at work; dropping it closes all connections and waits for the request at hand.
#[derive(Debug)]
pub struct Serving {
    shared: Arc<Shared>,
    address: Address,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    /// Where it listens.
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Waits until the application has met a fault after which it must not go on.
    pub async fn fault(&self) -> Fault {
        let mut seen = self.shared.fault.subscribe();
        loop {
            if let Some(fault) = seen.borrow_and_update().clone() {
                return fault;
            }
            if seen.changed().await.is_err() {
                // The sender is in `shared`, which this holds.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Stops: no new connection, the open ones closed, the requests at hand finished.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.shared.end();
        // Wakes the accept loop, which looks at `ending` after each connection.
        match &self.address {
            Address::Unix(path) => drop(UnixStream::connect(path)),
            Address::Tcp(address) => drop(TcpStream::connect(address)),
        }
        // It catches what it can; its panic was told.
        let _ = thread.join();
        for connection in std::mem::take(&mut *self.shared.lock()) {
            let _ = connection.thread.map(JoinHandle::join);
        }
        if let Address::Unix(path) = &self.address {
            // Gone is what is wanted.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.end();
    }
}

struct Shared {
    app: Arc<dyn Application>,
    max_message: u64,
    ending: AtomicBool,
    connections: Mutex<Vec<Connection>>,
    next: AtomicU64,
    fault: watch::Sender<Option<Fault>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

struct Connection {
    stream: Stream,
    thread: Option<JoinHandle<()>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Vec<Connection>> {
        // Every change is one push or one removal.
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.ending.store(true, Ordering::SeqCst);
        for connection in self.lock().iter() {
            connection.stream.close();
        }
    }

    fn accept(self: &Arc<Self>, listener: &Listener) {
        while !self.ending.load(Ordering::SeqCst) {
            let accepted = match listener {
                Listener::Unix(listener) => listener.accept().map(|(stream, _)| Stream::Unix(stream)),
                Listener::Tcp(listener) => listener.accept().and_then(|(stream, _)| {
                    // A response is small and waited for: without this it would wait for the next one's company.
                    stream.set_nodelay(true)?;
                    Ok(Stream::Tcp(stream))
                }),
            };
            if let Err(e) = accepted.and_then(|stream| self.admit(stream)) {
                tracing::warn!(error = %e, "an ABCI connection was not taken");
                // Out of descriptors, for one: asking again at once would only burn the processor.
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: Stream) -> io::Result<()> {
        let mut connections = self.lock();
        connections.retain(|c| !c.thread.as_ref().is_none_or(JoinHandle::is_finished));
        if connections.len() >= MAX_CONNECTIONS || self.ending.load(Ordering::SeqCst) {
            stream.close();
            return if self.ending.load(Ordering::SeqCst) {
                Ok(())
            } else {
                Err(io::Error::other(format!("{MAX_CONNECTIONS} are open")))
            };
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (shared, mine) = (Arc::clone(self), stream.try_clone()?);
        let thread = std::thread::Builder::new().name(format!("abci-{id}")).spawn(move || shared.serve(id, &mine))?;
        connections.push(Connection { stream, thread: Some(thread) });
        Ok(())
    }

    fn serve(&self, id: u64, stream: &Stream) {
        match self.converse(stream) {
            Ok(()) => tracing::debug!(connection = id, "an ABCI connection was closed"),
            Err(e) => tracing::warn!(connection = id, error = %e, "an ABCI connection ended"),
        }
        stream.close();
    }

    /// Reads a request and, when it is a `CheckTx`, those that have come whole behind it, and tells the application.
    fn read_ahead(&self, from: &mut BufReader<&Stream>) -> VecDeque<Result<Option<Request>, ReadError>> {
        let mut read = VecDeque::from([read_request(from, self.max_message)]);
        while read.len() < MAX_AHEAD && read.back().and_then(checked).is_some() && is_whole(from.buffer()) {
            read.push_back(read_request(from, self.max_message));
        }
        let txs: Vec<Bytes> = read.iter().filter_map(checked).collect();
        if txs.len() > 1 {
            dispatch::ahead(&*self.app, &txs);
        }
        read
    }

    fn converse(&self, stream: &Stream) -> io::Result<()> {
        let mut requests = BufReader::with_capacity(BUFFER, stream);
        let mut responses = BufWriter::with_capacity(BUFFER, stream);
        let mut ahead = VecDeque::new();
        loop {
            if ahead.is_empty() {
                ahead = self.read_ahead(&mut requests);
            }
            let request = match ahead.pop_front().unwrap_or(Ok(None)) {
                Ok(Some(request)) => request,
                Ok(None) => return Ok(()),
                Err(e) => return refuse(&mut responses, &Fault::new(e.to_string())),
            };
            // Nothing is begun once the node is ending: what another connection met may have made the state doubtful.
            if self.ending.load(Ordering::SeqCst) {
                return Ok(());
            }
            match answer(&*self.app, request) {
                Next::Answer(answered) => {
                    write_response(&mut responses, &Response { value: Some(answered) })?;
                    // A peer that has sent all it has may be waiting without having asked for a flush.
                    if ahead.is_empty() && requests.buffer().is_empty() {
                        responses.flush()?;
                    }
                }
                Next::Flush => {
                    write_response(&mut responses, &Response { value: Some(Answered::Flush(ResponseFlush {})) })?;
                    responses.flush()?;
                }
                Next::Close(fault) => return refuse(&mut responses, &fault),
                Next::Stop(fault) => {
                    tracing::error!(error = %fault, "the node stops");
                    let told = refuse(&mut responses, &fault);
                    self.fault.send_if_modified(|first| first.is_none() && first.replace(fault).is_none());
                    self.end();
                    return told;
                }
            }
        }
    }
}

/// The transaction that a `CheckTx` asks about.
fn checked(read: &Result<Option<Request>, ReadError>) -> Option<Bytes> {
    match read {
        Ok(Some(Request { value: Some(Asked::CheckTx(check)) })) => Some(check.tx.clone()),
        _ => None,
    }
}

/// Tells the peer why nothing more is answered.
fn refuse(responses: &mut impl Write, fault: &Fault) -> io::Result<()> {
    // A peer that is gone needs no word.
    let _ = write_response(responses, &exception(fault)).and_then(|()| responses.flush());
    Err(io::Error::other(fault.to_string()))
}

#[derive(Debug)]
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    fn close(&self) {
        // It fails when the peer was faster.
        let _ = match self {
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
        };
    }

    fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Unix(stream) => stream.try_clone().map(Self::Unix),
            Self::Tcp(stream) => stream.try_clone().map(Self::Tcp),
        }
    }
}

impl Read for &Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => (&*stream).read(buf),
            Stream::Tcp(stream) => (&*stream).read(buf),
        }
    }
}

impl Write for &Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Unix(stream) => (&*stream).write(buf),
            Stream::Tcp(stream) => (&*stream).write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
