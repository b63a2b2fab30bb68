//! A small HTTP/1.1 client with keep-alive for the chores that put load on a gateway.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Longer than any answer takes that comes at all.
const LIMIT: Duration = Duration::from_secs(60);

/// A kept connection.
pub(crate) struct Wire {
    addr: SocketAddr,
    stream: Option<TcpStream>,
}

/// One answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// An answer that nobody gave.
    #[cfg(test)]
    pub(crate) fn of(status: u16, head: String, body: Vec<u8>) -> Self {
        Self { status, head, body }
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.split("\r\n").skip(1).filter_map(|l| l.split_once(':'));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim()).next()
    }

    /// The version that the entity tag names.
    pub(crate) fn version(&self) -> Option<u64> {
        self.header("etag")?.trim_start_matches("W/").trim_matches('"').parse().ok()
    }

    /// `Type/id` of the location.
    pub(crate) fn location(&self) -> Option<String> {
        located(self.header("location")?)
    }

    /// The body as JSON, null when it is none.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// What it says, for a message.
    pub(crate) fn said(&self) -> String {
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(300)]);
        format!("{} {body}", self.status)
    }
}

/// `Type/id` of a versioned address.
pub(crate) fn located(address: &str) -> Option<String> {
    let mut parts = address.split("/_history/").next()?.rsplit('/');
    let (id, kind) = (parts.next()?, parts.next()?);
    Some(format!("{kind}/{id}"))
}

impl Wire {
    pub(crate) const fn new(addr: SocketAddr) -> Self {
        Self { addr, stream: None }
    }

    /// One request. An error means that nobody knows whether it was done.
    pub(crate) fn call(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> io::Result<Answer> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.addr);
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = body {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body.unwrap_or_default());
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect_timeout(&self.addr, LIMIT)?;
                stream.set_read_timeout(Some(LIMIT))?;
                stream.set_nodelay(true)?;
                stream
            }
        };
        // A server that refuses a body unread answers and closes: the answer counts, not the write that broke off.
        let sent = stream.write_all(&bytes);
        let answer = match receive(&mut stream) {
            Ok(answer) => answer,
            Err(error) => return Err(sent.err().unwrap_or(error)),
        };
        if sent.is_ok() && !answer.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close")) {
            self.stream = Some(stream);
        }
        Ok(answer)
    }
}

fn receive(stream: &mut TcpStream) -> io::Result<Answer> {
    let mut buffer = Vec::new();
    let head = loop {
        if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        fill(stream, &mut buffer)?;
    };
    let text = String::from_utf8_lossy(&buffer[..head]).into_owned();
    let status = text.get(9..12).and_then(|s| s.parse().ok()).ok_or_else(|| bad("no status"))?;
    let mut answer = Answer { status, head: text, body: Vec::new() };
    let mut rest = buffer.split_off(head);
    if answer.header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        answer.body = unchunk(stream, rest)?;
        return Ok(answer);
    }
    let length = answer.header("content-length").map_or(Ok(0), str::parse).map_err(|_| bad("no length"))?;
    while rest.len() < length {
        fill(stream, &mut rest)?;
    }
    answer.body = rest;
    Ok(answer)
}

/// RFC 9112 section 7.1, without trailers.
fn unchunk(stream: &mut TcpStream, mut rest: Vec<u8>) -> io::Result<Vec<u8>> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let line = loop {
            match rest[at..].windows(2).position(|w| w == b"\r\n") {
                Some(line) => break line,
                None => fill(stream, &mut rest)?,
            }
        };
        let size = std::str::from_utf8(&rest[at..at + line]).ok();
        let size = size.and_then(|s| usize::from_str_radix(s.split(';').next()?.trim(), 16).ok());
        let size = size.ok_or_else(|| bad("a chunk without size"))?;
        at += line + 2;
        while rest.len() < at + size + 2 {
            fill(stream, &mut rest)?;
        }
        body.extend_from_slice(&rest[at..at + size]);
        at += size + 2;
        if size == 0 {
            return Ok(body);
        }
    }
}

fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<()> {
    let mut part = [0; 16 << 10];
    match stream.read(&mut part)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        n => {
            buffer.extend_from_slice(&part[..n]);
            Ok(())
        }
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the answer has {what}"))
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    #[test]
    fn answers_come_whole_over_one_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let plain = "HTTP/1.1 201 Created\r\nContent-Length: 3\r\nETag: W/\"7\"\r\nLocation: http://x/fhir/A/b/_history/7\r\n\r\nabc";
            let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
            for answer in [plain, chunked] {
                let mut request = Vec::new();
                while !request.ends_with(b"body") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    request.push(byte[0]);
                }
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let mut wire = Wire::new(addr);
        let answer = wire.call("POST", "/x", &[("A", "b")], Some(b"body")).unwrap();
        assert_eq!((answer.status, answer.version(), answer.location().as_deref()), (201, Some(7), Some("A/b")));
        assert_eq!(wire.call("POST", "/x", &[], Some(b"body")).unwrap().body, b"abc");
        server.join().unwrap();
        assert!(wire.call("POST", "/x", &[], Some(b"body")).is_err());
    }
}
