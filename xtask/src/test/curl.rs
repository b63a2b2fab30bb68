//! A stand-in for curl, for machines that have only Rust and a C compiler: the README's walk is written with curl, and is
//! executed there too. It takes the flags that the walk uses and refuses any other. Where there is a curl, that is used.

use std::{
    fs,
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

/// Longer than any answer of the walk takes.
const LIMIT: Duration = Duration::from_secs(60);
const MAX_ANSWER: u64 = 64 * 1024 * 1024;

/// What curl's manual calls its exit codes.
mod code {
    pub(super) const OK: u8 = 0;
    pub(super) const USAGE: u8 = 2;
    pub(super) const BAD_URL: u8 = 3;
    pub(super) const CANNOT_CONNECT: u8 = 7;
    pub(super) const HTTP_ERROR: u8 = 22;
    pub(super) const CANNOT_WRITE: u8 = 23;
    pub(super) const BAD_ANSWER: u8 = 56;
}

/// What went wrong: the exit code and the words.
type Fault = (u8, String);

#[derive(Default)]
struct Call {
    url: String,
    headers: Vec<String>,
    data: Option<String>,
    output: Option<String>,
    dump_header: Option<String>,
    fail: bool,
    fail_with_body: bool,
}

/// Acts as curl.
pub(crate) fn main(args: impl Iterator<Item = String>) -> u8 {
    match parse(args).and_then(|call| perform(&call)) {
        Ok(code) => code,
        Err((code, words)) => {
            eprintln!("curl: ({code}) {words}");
            code
        }
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Call, Fault> {
    let mut call = Call::default();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| (code::USAGE, format!("{arg} needs a value")));
        match arg.as_str() {
            "--silent" | "--show-error" => {}
            "--fail" => call.fail = true,
            "--fail-with-body" => call.fail_with_body = true,
            "--header" => call.headers.push(value()?),
            "--data" => call.data = Some(value()?),
            "--output" => call.output = Some(value()?),
            "--dump-header" => call.dump_header = Some(value()?),
            flag if flag.starts_with('-') => {
                return Err((code::USAGE, format!("this stand-in does not know {flag}; install curl")));
            }
            url => call.url = url.to_owned(),
        }
    }
    Ok(call)
}

fn perform(call: &Call) -> Result<u8, Fault> {
    let rest = call.url.strip_prefix("http://").ok_or((code::BAD_URL, "only http:// is known here".to_owned()))?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let mut stream = TcpStream::connect(authority).map_err(|e| (code::CANNOT_CONNECT, e.to_string()))?;
    let answer =
        exchange(&mut stream, &request(call, authority, path)).map_err(|e| (code::BAD_ANSWER, e.to_string()))?;
    let (head, body) = split(&answer)?;
    let status: u16 = head.split_whitespace().nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let body = if has_chunks(head) { unchunk(body)? } else { body.to_vec() };
    if let Some(to) = &call.dump_header {
        write(Some(to), head.as_bytes())?;
    }
    let failed = status >= 400 && (call.fail || call.fail_with_body);
    if !(status >= 400 && call.fail) {
        write(call.output.as_deref(), &body)?;
    }
    if failed { Err((code::HTTP_ERROR, format!("the answer's status is {status}"))) } else { Ok(code::OK) }
}

fn request(call: &Call, authority: &str, path: &str) -> Vec<u8> {
    let method = if call.data.is_some() { "POST" } else { "GET" };
    let path = if path.is_empty() { "/" } else { path };
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {authority}\r\nAccept: */*\r\nConnection: close\r\n");
    for header in &call.headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    let body = call.data.as_deref().unwrap_or_default();
    if call.data.is_some() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(body);
    text.into_bytes()
}

fn exchange(stream: &mut TcpStream, request: &[u8]) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(answer)
}

/// The head with its empty line, and the body.
fn split(answer: &[u8]) -> Result<(&str, &[u8]), Fault> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4);
    let (head, body) = end.and_then(|end| answer.split_at_checked(end)).ok_or_else(|| bad("no head"))?;
    Ok((std::str::from_utf8(head).map_err(|_| bad("a head that is not text"))?, body))
}

fn bad(what: &str) -> Fault {
    (code::BAD_ANSWER, format!("the answer has {what}"))
}

fn has_chunks(head: &str) -> bool {
    head.lines().any(|l| l.to_ascii_lowercase().replace(' ', "") == "transfer-encoding:chunked")
}

/// RFC 9112 section 7.1, without trailers.
fn unchunk(mut rest: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|w| w == b"\r\n").ok_or_else(|| bad("a torn chunk"))?;
        let size = std::str::from_utf8(&rest[..line]).ok().and_then(|s| s.split(';').next());
        let size =
            size.and_then(|s| usize::from_str_radix(s.trim(), 16).ok()).ok_or_else(|| bad("a chunk without size"))?;
        rest = &rest[line + 2..];
        if size == 0 {
            return Ok(body);
        }
        let (chunk, after) = rest.split_at_checked(size).ok_or_else(|| bad("a torn chunk"))?;
        body.extend_from_slice(chunk);
        rest = after.strip_prefix(b"\r\n").ok_or_else(|| bad("a torn chunk"))?;
    }
}

fn write(to: Option<&str>, bytes: &[u8]) -> Result<(), Fault> {
    let done = match to {
        None | Some("-") => io::stdout().write_all(bytes),
        Some(file) => fs::write(file, bytes),
    };
    done.map_err(|e| (code::CANNOT_WRITE, e.to_string()))
}

#[cfg(test)]
mod unit {
    use std::{net::TcpListener, thread};

    use super::*;

    /// Answers one call with the bytes given; returns the exit code, what was written, and the request.
    fn call(answer: &'static str, flags: &[&str]) -> (u8, String, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/x?y=1", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                request.push(byte[0]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        let scratch = super::super::Scratch::new("curl").unwrap();
        let file = scratch.0.join("out").display().to_string();
        let flags = flags.iter().map(|f| (*f).to_owned()).chain(["--output".to_owned(), file.clone(), url]);
        let code = main(flags);
        (code, fs::read_to_string(file).unwrap_or_default(), server.join().unwrap())
    }

    #[test]
    fn bodies_come_whole_with_and_without_chunks() {
        let (code, out, request) = call("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", &["--header", "A: b"]);
        assert_eq!((code, out.as_str()), (0, "abc"));
        assert!(request.starts_with("GET /x?y=1 HTTP/1.1\r\n") && request.contains("\r\nA: b\r\n"));
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
        assert_eq!(call(chunked, &[]).1, "abc");
    }

    #[test]
    fn failures_have_curls_codes() {
        let refused = "HTTP/1.1 401 Unauthorized\r\n\r\nwhy";
        assert_eq!(call(refused, &[]).0, 0);
        let (code, out, _) = call(refused, &["--fail"]);
        assert_eq!((code, out.as_str()), (22, ""));
        let (code, out, _) = call(refused, &["--fail-with-body"]);
        assert_eq!((code, out.as_str()), (22, "why"));
        assert_eq!(call("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nab", &[]).0, 56);
        assert_eq!(main(["--location".to_owned()].into_iter()), 2);
        assert_eq!(main(["https://127.0.0.1/".to_owned()].into_iter()), 3);
    }
}
