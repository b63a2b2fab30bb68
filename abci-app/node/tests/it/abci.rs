//! The ABCI server as an engine and as hostile peers meet it.

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Duration,
};

use prost::Message;
use tendermint_proto::v0_38::abci::{
    Request, RequestCheckTx, RequestCommit, RequestEcho, RequestFinalizeBlock, RequestFlush, RequestInfo,
    RequestInitChain, RequestPrepareProposal, RequestProcessProposal, RequestQuery, Response, ResponseCheckTx,
    ResponseCommit, ResponseFinalizeBlock, ResponseInfo, ResponseInitChain, ResponseProcessProposal, ResponseQuery,
    request::Value as Asked, response::Value as Answered,
};
use vouchsafe_node::abci::{Address, Answer, Application, CODESPACE, Fault, INTERNAL, Server, Serving};

/// Far more than any machine needs; only a hanging server ever waits it out.
const LONG: Duration = Duration::from_secs(60);

struct Nothing;

impl Application for Nothing {}

/// Panics or fails wherever it is asked.
struct Broken;

impl Application for Broken {
    fn query(&self, _: RequestQuery) -> Answer<ResponseQuery> {
        panic!("a panic in Query")
    }

    fn check_tx(&self, request: RequestCheckTx) -> Answer<ResponseCheckTx> {
        match request.tx.first() {
            Some(b'p') => panic!("a panic in CheckTx"),
            Some(b'f') => Err(Fault::new("a secret of the operator")),
            _ => Ok(ResponseCheckTx::default()),
        }
    }

    fn init_chain(&self, _: RequestInitChain) -> Answer<ResponseInitChain> {
        Err(Fault::new("another genesis"))
    }

    fn process_proposal(&self, _: RequestProcessProposal) -> Answer<ResponseProcessProposal> {
        panic!("a panic in ProcessProposal")
    }

    fn finalize_block(&self, _: RequestFinalizeBlock) -> Answer<ResponseFinalizeBlock> {
        panic!("a panic in FinalizeBlock")
    }

    fn commit(&self, _: RequestCommit) -> Answer<ResponseCommit> {
        Err(Fault::new("the disk is full"))
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

/// A peer of the server.
struct Peer(Box<dyn ReadWrite>);

impl Peer {
    fn of(serving: &Serving) -> Self {
        Self(match serving.address() {
            Address::Unix(path) => {
                let stream = UnixStream::connect(path).unwrap();
                stream.set_read_timeout(Some(LONG)).unwrap();
                Box::new(stream)
            }
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(LONG)).unwrap();
                Box::new(stream)
            }
        })
    }

    fn send(&mut self, asked: impl IntoIterator<Item = Asked>) {
        let mut bytes = Vec::new();
        for value in asked {
            bytes.extend(Request { value: Some(value) }.encode_length_delimited_to_vec());
        }
        self.0.write_all(&bytes).unwrap();
    }

    /// The next response; `None` when the server has closed the connection.
    fn receive(&mut self) -> Option<Answered> {
        let mut length = 0u64;
        for shift in (0..).step_by(7) {
            let mut byte = [0];
            match self.0.read(&mut byte) {
                Ok(1) => {}
                Ok(_) => return None,
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(e) => panic!("no answer: {e}"),
            }
            length |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        self.0.read_exact(&mut bytes).unwrap();
        Response::decode(bytes.as_slice()).unwrap().value
    }

    fn ask(&mut self, asked: Asked) -> Option<Answered> {
        self.send([asked, Asked::Flush(RequestFlush {})]);
        let answered = self.receive();
        if answered.is_some() && !matches!(answered, Some(Answered::Exception(_))) {
            assert!(matches!(self.receive(), Some(Answered::Flush(_))));
        }
        answered
    }

    fn lives(&mut self) -> bool {
        let said = self.ask(Asked::Echo(RequestEcho { message: "here?".into() }));
        matches!(said, Some(Answered::Echo(echo)) if echo.message == "here?")
    }

    /// What the exception says after which the connection is closed.
    fn exception(&mut self) -> String {
        let Some(Answered::Exception(exception)) = self.receive() else { panic!("no exception") };
        assert!(self.receive().is_none(), "the connection is closed after an exception");
        exception.error
    }
}

fn unix(home: &tempfile::TempDir) -> Address {
    Address::Unix(home.path().join("app.sock"))
}

fn serve(app: impl Application) -> (tempfile::TempDir, Serving) {
    let home = tempfile::tempdir().unwrap();
    let serving = Server::bind(&unix(&home)).unwrap().serve(Arc::new(app)).unwrap();
    (home, serving)
}

fn every_kind() -> Vec<Asked> {
    use tendermint_proto::v0_38::abci as a;
    vec![
        Asked::Info(RequestInfo::default()),
        Asked::InitChain(RequestInitChain::default()),
        Asked::Query(RequestQuery::default()),
        Asked::CheckTx(RequestCheckTx::default()),
        Asked::Commit(RequestCommit::default()),
        Asked::ListSnapshots(a::RequestListSnapshots::default()),
        Asked::OfferSnapshot(a::RequestOfferSnapshot::default()),
        Asked::LoadSnapshotChunk(a::RequestLoadSnapshotChunk::default()),
        Asked::ApplySnapshotChunk(a::RequestApplySnapshotChunk::default()),
        Asked::PrepareProposal(RequestPrepareProposal::default()),
        Asked::ProcessProposal(RequestProcessProposal::default()),
        Asked::ExtendVote(a::RequestExtendVote::default()),
        Asked::VerifyVoteExtension(a::RequestVerifyVoteExtension::default()),
        Asked::FinalizeBlock(RequestFinalizeBlock::default()),
    ]
}

fn kind(text: &impl std::fmt::Debug) -> String {
    format!("{text:?}").split('(').next().unwrap().to_owned()
}

#[test]
fn every_request_is_answered_by_its_response_over_both_sockets() {
    let home = tempfile::tempdir().unwrap();
    for address in [unix(&home), "tcp://127.0.0.1:0".parse().unwrap()] {
        let serving = Server::bind(&address).unwrap().serve(Arc::new(Nothing)).unwrap();
        let mut peer = Peer::of(&serving);
        for asked in every_kind() {
            let expected = kind(&asked);
            assert_eq!(kind(&peer.ask(asked).unwrap()), expected, "over {address}");
        }
        assert!(peer.lives());
        serving.stop();
    }
}

#[test]
fn the_default_application_proposes_in_order_up_to_the_limit() {
    let (_home, serving) = serve(Nothing);
    let txs = vec!["aaaa".into(), "bbbb".into(), "c".into(), "dddd".into()];
    let asked = RequestPrepareProposal { max_tx_bytes: 9, txs, ..Default::default() };
    let Some(Answered::PrepareProposal(answered)) = Peer::of(&serving).ask(Asked::PrepareProposal(asked)) else {
        panic!("no proposal")
    };
    assert_eq!(answered.txs, ["aaaa", "bbbb", "c"]);
}

/// CometBFT sends many requests before it reads one response; here as many as the socket holds.
#[test]
fn requests_of_one_connection_are_answered_in_order() {
    let (_home, serving) = serve(Nothing);
    let mut peer = Peer::of(&serving);
    let echo = |n: usize| Asked::Echo(RequestEcho { message: format!("{n}-{}", "a".repeat(n % 300)) });
    peer.send((0..300).map(echo).chain([Asked::Flush(RequestFlush {})]));
    for n in 0..300 {
        let Asked::Echo(expected) = echo(n) else { unreachable!() };
        let Some(Answered::Echo(echoed)) = peer.receive() else { panic!("no echo of {n}") };
        assert_eq!(echoed.message, expected.message);
    }
    assert!(matches!(peer.receive(), Some(Answered::Flush(_))));
}

#[test]
fn four_connections_are_served_at_once() {
    struct Meeting(std::sync::Barrier);
    impl Application for Meeting {
        fn info(&self, _: RequestInfo) -> Answer<ResponseInfo> {
            self.0.wait();
            Ok(ResponseInfo::default())
        }
    }
    let (_home, serving) = serve(Meeting(std::sync::Barrier::new(4)));
    let mut peers: Vec<Peer> = (0..4).map(|_| Peer::of(&serving)).collect();
    for peer in &mut peers {
        peer.send([Asked::Info(RequestInfo::default()), Asked::Flush(RequestFlush {})]);
    }
    for peer in &mut peers {
        assert!(matches!(peer.receive(), Some(Answered::Info(_))));
    }
}

#[test]
fn a_fault_in_query_or_check_tx_ends_neither_connection_nor_server() {
    let (_home, serving) = serve(Broken);
    let mut peer = Peer::of(&serving);
    let Some(Answered::Query(query)) = peer.ask(Asked::Query(RequestQuery::default())) else { panic!("no answer") };
    assert_eq!((query.code, query.codespace.as_str()), (INTERNAL, CODESPACE));
    for tx in ["panic", "fault"] {
        let asked = RequestCheckTx { tx: tx.into(), ..Default::default() };
        let Some(Answered::CheckTx(check)) = peer.ask(Asked::CheckTx(asked)) else { panic!("no answer to {tx}") };
        assert_eq!((check.code, check.codespace.as_str()), (INTERNAL, CODESPACE));
        assert!(!check.log.contains("secret") && !check.log.contains("panic"), "{}", check.log);
    }
    let good = RequestCheckTx { tx: "good".into(), ..Default::default() };
    assert!(matches!(peer.ask(Asked::CheckTx(good)), Some(Answered::CheckTx(check)) if check.code == 0));
    assert!(peer.lives() && Peer::of(&serving).lives());
}

#[tokio::test]
async fn a_fault_about_blocks_is_told_and_ends_everything() {
    for (asked, word) in [
        (Asked::FinalizeBlock(RequestFinalizeBlock::default()), "FinalizeBlock"),
        (Asked::ProcessProposal(RequestProcessProposal::default()), "ProcessProposal"),
        (Asked::Commit(RequestCommit::default()), "the disk is full"),
        (Asked::InitChain(RequestInitChain::default()), "another genesis"),
    ] {
        let (_home, serving) = serve(Broken);
        let (mut peer, mut other) = (Peer::of(&serving), Peer::of(&serving));
        assert!(other.lives());
        peer.send([asked, Asked::Flush(RequestFlush {})]);
        let told = peer.exception();
        assert!(told.contains(word), "{told}");
        let fault = tokio::time::timeout(LONG, serving.fault()).await.unwrap();
        assert_eq!(fault.to_string(), told, "whoever runs the server is told the same");
        assert!(other.receive().is_none(), "no connection is served after a fault");
        // Another may connect, as the socket is still bound, but nobody answers.
        assert!(Peer::of(&serving).receive().is_none());
    }
}

#[test]
fn an_oversize_message_is_refused_and_the_server_lives() {
    let home = tempfile::tempdir().unwrap();
    let serving = Server::bind(&unix(&home)).unwrap().max_message(1000).serve(Arc::new(Nothing)).unwrap();
    let mut peer = Peer::of(&serving);
    peer.send([Asked::Echo(RequestEcho { message: "a".repeat(2000) })]);
    let told = peer.exception();
    assert!(told.contains("at most 1000 are read"), "{told}");
    assert!(Peer::of(&serving).lives());
}

#[test]
fn what_is_no_abci_is_refused_and_the_server_lives() {
    let (_home, serving) = serve(Nothing);
    let refused = |bytes: &[u8]| {
        let mut peer = Peer::of(&serving);
        peer.0.write_all(bytes).unwrap();
        peer.exception()
    };
    // The first byte is a length, the rest no protobuf.
    assert!(refused(&[4, 0xff, 0xff, 0xff, 0xff]).contains("not an ABCI request"));
    assert!(refused(b"\x00").contains("does not know"), "an empty request");
    // Field 99, which no request has.
    assert!(refused(&[3, 0x9a, 0x06, 0x00]).contains("does not know"));
    assert!(refused(&[0xff; 16]).contains("varint"));
    assert!(Peer::of(&serving).lives());
}

#[test]
fn a_truncated_message_ends_its_connection_alone() {
    let (_home, serving) = serve(Nothing);
    let Address::Unix(path) = serving.address() else { unreachable!() };
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(&[100, 1, 2, 3]).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut told = Vec::new();
    stream.read_to_end(&mut told).unwrap();
    assert!(String::from_utf8_lossy(&told).contains("ended within a message"));
    assert!(Peer::of(&serving).lives());
}

#[test]
fn connections_are_bounded_and_room_comes_back() {
    let (_home, serving) = serve(Nothing);
    let mut peers: Vec<Peer> = (0..16).map(|_| Peer::of(&serving)).collect();
    assert!(peers.iter_mut().all(Peer::lives));
    assert!(Peer::of(&serving).receive().is_none(), "one too many");
    peers.pop();
    let began = std::time::Instant::now();
    while !could_live(&serving) {
        assert!(began.elapsed() < LONG, "no room comes back");
    }
}

/// Like `lives`, for a connection that may be closed before it is written to.
fn could_live(serving: &Serving) -> bool {
    let mut peer = Peer::of(serving);
    let echo = Request { value: Some(Asked::Echo(RequestEcho::default())) };
    peer.0.write_all(&echo.encode_length_delimited_to_vec()).is_ok()
        && peer.0.read(&mut [0]).is_ok_and(|read| read == 1)
}

#[test]
fn only_this_machine_is_listened_to() {
    let refused = Server::bind(&"tcp://0.0.0.0:0".parse().unwrap()).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
    assert!("http://127.0.0.1:1".parse::<Address>().is_err());
}

#[test]
fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
    let home = tempfile::tempdir().unwrap();
    let path: PathBuf = home.path().join("app.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let serving = Server::bind(&unix(&home)).unwrap().serve(Arc::new(Nothing)).unwrap();
    assert_eq!(Server::bind(&unix(&home)).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    assert!(Peer::of(&serving).lives());
    let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    serving.stop();
    assert!(!path.exists());
    std::fs::write(&path, "somebody's file").unwrap();
    assert!(Server::bind(&unix(&home)).is_err());
    assert!(path.exists(), "what is no socket is nobody's to remove");
}

#[test]
fn stopping_finishes_the_request_at_hand() {
    struct Slow(Arc<AtomicBool>, mpsc::SyncSender<()>);
    impl Application for Slow {
        fn commit(&self, _: RequestCommit) -> Answer<ResponseCommit> {
            self.1.send(()).unwrap();
            std::thread::sleep(Duration::from_millis(100));
            self.0.store(true, Ordering::SeqCst);
            Ok(ResponseCommit::default())
        }
    }
    let (done, (begun, begins)) = (Arc::new(AtomicBool::new(false)), mpsc::sync_channel(1));
    let (_home, serving) = serve(Slow(Arc::clone(&done), begun));
    let mut peer = Peer::of(&serving);
    peer.send([Asked::Commit(RequestCommit {})]);
    begins.recv().unwrap();
    serving.stop();
    assert!(done.load(Ordering::SeqCst));
}
