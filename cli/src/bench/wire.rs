//! A small HTTP/1.1 client with keep-alive for making load: the generator shares the machine's cores with the server it
//! measures, so it parses of an answer only what it needs.

use std::{io, net::SocketAddr};

use tokio::net::TcpStream;

/// No FHIR answer of a bench is larger; a server that sends more is not what is measured.
const MAX_ANSWER: usize = 64 << 20;
/// Bytes that are asked for at once.
const READ: usize = 16 << 10;

/// A kept connection to one server.
pub(crate) struct Connection {
    addr: SocketAddr,
    stream: Option<TcpStream>,
    /// What was read and not yet used.
    buffer: Vec<u8>,
}

/// One answer; its parts lie in the connection's buffer until the next request.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) head: &'a str,
    pub(crate) body: &'a [u8],
}

impl Answer<'_> {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(self.head, name)
    }
}

impl Connection {
    /// A connection that is made when it is first used, and again whenever the server has closed it.
    pub(crate) const fn new(addr: SocketAddr) -> Self {
        Self { addr, stream: None, buffer: Vec::new() }
    }

    /// Sends a whole request and reads its answer.
    ///
    /// # Errors
    /// When the connection cannot be made or breaks, or the answer is not HTTP.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        let kept = self.stream.is_some();
        let parts = match self.attempt(request).await {
            // A server may close a kept connection at any time before it has read anything of the next request.
            Err(error) if kept && closed(&error) => self.attempt(request).await,
            done => done,
        };
        let Parts { status, head, body, close } = parts.inspect_err(|_| self.stream = None)?;
        if close {
            self.stream = None;
        }
        let head = std::str::from_utf8(&self.buffer[..head]).map_err(|_| bad("a head that is not text"))?;
        Ok(Answer { status, head, body: &self.buffer[body.0..body.1] })
    }

    async fn attempt(&mut self, request: &[u8]) -> io::Result<Parts> {
        self.buffer.clear();
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.addr).await?;
                stream.set_nodelay(true)?;
                stream
            }
        };
        send(&mut stream, request).await?;
        let parts = self.receive(&mut stream).await?;
        self.stream = Some(stream);
        Ok(parts)
    }

    async fn receive(&mut self, stream: &mut TcpStream) -> io::Result<Parts> {
        let mut searched = 0;
        let head = loop {
            let from = searched;
            if let Some(at) = self.buffer[from..].windows(4).position(|w| w == b"\r\n\r\n") {
                break from + at + 4;
            }
            searched = self.buffer.len().saturating_sub(3);
            self.fill(stream).await?;
        };
        let text = std::str::from_utf8(&self.buffer[..head]).map_err(|_| bad("a head that is not text"))?;
        let status = text.get(9..12).and_then(|s| s.parse().ok()).ok_or_else(|| bad("no status"))?;
        let close = header(text, "connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
        let chunked = header(text, "transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked"));
        let length = header(text, "content-length").and_then(|v| v.parse::<usize>().ok());
        let end = match length {
            _ if chunked => self.unchunk(stream, head).await?,
            // Nothing says how long the body is, so it has none (204, 304).
            None => head,
            Some(length) if length > MAX_ANSWER => return Err(bad("too large a body")),
            Some(length) => {
                while self.buffer.len() < head + length {
                    self.fill(stream).await?;
                }
                head + length
            }
        };
        Ok(Parts { status, head, body: (head, end), close })
    }

    /// Takes the chunks' frames out in place (RFC 9112 section 7.1); returns where the body ends.
    async fn unchunk(&mut self, stream: &mut TcpStream, head: usize) -> io::Result<usize> {
        let (mut read, mut written) = (head, head);
        loop {
            let line = loop {
                match self.buffer[read..].windows(2).position(|w| w == b"\r\n") {
                    Some(at) => break at,
                    None => self.fill(stream).await?,
                }
            };
            let size = std::str::from_utf8(&self.buffer[read..read + line]).ok();
            let size = size.and_then(|s| usize::from_str_radix(s.split(';').next()?.trim(), 16).ok());
            let size = size.filter(|s| *s <= MAX_ANSWER).ok_or_else(|| bad("a chunk without size"))?;
            read += line + 2;
            while self.buffer.len() < read + size + 2 {
                self.fill(stream).await?;
            }
            self.buffer.copy_within(read..read + size, written);
            (read, written) = (read + size + 2, written + size);
            if size == 0 {
                return Ok(written);
            }
        }
    }

    async fn fill(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        if self.buffer.len() > MAX_ANSWER {
            return Err(bad("too large an answer"));
        }
        let had = self.buffer.len();
        self.buffer.resize(had + READ, 0);
        let read = loop {
            stream.readable().await?;
            match stream.try_read(&mut self.buffer[had..]) {
                Ok(0) => break Err(io::ErrorKind::UnexpectedEof.into()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                done => break done,
            }
        };
        self.buffer.truncate(had + read.as_ref().map_or(0, |n| *n));
        read.map(|_| ())
    }
}

struct Parts {
    status: u16,
    head: usize,
    body: (usize, usize),
    close: bool,
}

async fn send(stream: &mut TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the answer has {what}"))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.split("\r\n").skip(1);
    let mut found = lines.filter_map(|l| l.split_once(':')).filter(|(n, _)| n.eq_ignore_ascii_case(name));
    found.next().map(|(_, v)| v.trim())
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
    };

    use super::*;

    /// Answers each connection's requests with the texts, then closes it.
    fn server(connections: Vec<Vec<&'static str>>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for answers in connections {
                let (mut stream, _) = listener.accept().unwrap();
                for answer in answers {
                    let mut request = [0; 3];
                    stream.read_exact(&mut request).unwrap();
                    assert_eq!(&request, b"ask");
                    for piece in answer.as_bytes().chunks(7) {
                        stream.write_all(piece).unwrap();
                    }
                }
            }
        });
        addr
    }

    async fn ask(connection: &mut Connection) -> (u16, String) {
        let answer = connection.exchange(b"ask").await.unwrap();
        (answer.status, String::from_utf8(answer.body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn bodies_come_whole_over_kept_and_remade_connections() {
        let plain = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: x\r\n\r\nhello";
        let chunked =
            "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n";
        let none = "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
        let addr = server(vec![vec![plain, chunked, none], vec![plain], vec![plain]]);
        let mut connection = Connection::new(addr);
        assert_eq!(ask(&mut connection).await, (200, "hello".to_owned()));
        assert_eq!(ask(&mut connection).await, (201, "abc0123456789".to_owned()));
        assert_eq!(ask(&mut connection).await, (204, String::new()));
        assert_eq!(connection.exchange(b"ask").await.unwrap().header("etag"), Some("x"));
        // The server closed the second connection without saying so; the request goes over a third.
        assert_eq!(ask(&mut connection).await, (200, "hello".to_owned()));
    }

    #[tokio::test]
    async fn what_is_not_http_is_an_error() {
        let addr = server(vec![vec!["HTTP/1.1 abc\r\n\r\n"]]);
        assert!(Connection::new(addr).exchange(b"ask").await.is_err());
    }
}
