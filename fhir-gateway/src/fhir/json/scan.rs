//! A strict, iterative JSON scanner (RFC 8259, with the restrictions of RFC 7493): it walks the bytes once, keeps no
//! tree and never recurses, so that nesting costs an entry of a stack and is refused past a bound.

use std::{borrow::Cow, collections::HashSet, ops::Range};

use super::{FaultKind, JsonFault, MAX_DEPTH, PRIVATE_NUMBER};

/// One step through the document. Ranges are byte offsets into it; those of strings include the quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event<'a> {
    /// `{`
    ObjectStart(usize),
    /// `}` and its offset
    ObjectEnd(usize),
    /// `[`
    ArrayStart(usize),
    /// `]` and its offset
    ArrayEnd(usize),
    /// A member's name, decoded.
    Key(Cow<'a, str>, Range<usize>),
    /// A string value.
    Text(Range<usize>),
    /// A number, `true`, `false` or `null`.
    Scalar(Range<usize>),
}

enum Frame<'a> {
    Object { seen: Names<'a>, key: Cow<'a, str>, any: bool },
    Array { index: usize, any: bool },
}

/// The names of one object. A small one is searched in order; a large one by hash, so that many names cost no square.
#[derive(Default)]
struct Names<'a> {
    few: Vec<Cow<'a, str>>,
    many: HashSet<Cow<'a, str>>,
}

impl<'a> Names<'a> {
    fn insert(&mut self, name: Cow<'a, str>) -> bool {
        if self.many.is_empty() && self.few.len() < 32 {
            if self.few.contains(&name) {
                return false;
            }
            self.few.push(name);
            return true;
        }
        self.many.extend(self.few.drain(..));
        self.many.insert(name)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Expect {
    Value,
    KeyOrEnd,
    CommaOrEnd,
    Done,
}

pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    stack: Vec<Frame<'a>>,
    expect: Expect,
    root: Option<String>,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, JsonFault> {
        let text = std::str::from_utf8(bytes).map_err(|e| {
            let at = e.valid_up_to();
            JsonFault::at(bytes, at, String::new(), FaultKind::NotUtf8)
        })?;
        if text.starts_with('\u{feff}') {
            return Err(JsonFault::at(bytes, 0, String::new(), FaultKind::Syntax("a byte order mark")));
        }
        Ok(Self { text, at: 0, stack: Vec::new(), expect: Expect::Value, root: None })
    }

    /// The next event; `None` after the end of the one value.
    pub(super) fn next(&mut self) -> Result<Option<Event<'a>>, JsonFault> {
        loop {
            self.skip_space();
            match self.expect {
                Expect::Done => {
                    return if self.at == self.text.len() {
                        Ok(None)
                    } else {
                        self.fail(FaultKind::Syntax("something after the end of the resource"))
                    };
                }
                Expect::Value => return self.value().map(Some),
                Expect::KeyOrEnd => return self.key_or_end().map(Some),
                Expect::CommaOrEnd => {
                    if let Some(end) = self.comma_or_end()? {
                        return Ok(Some(end));
                    }
                }
            }
        }
    }

    /// Where the scanner stands, as a FHIRPath.
    pub(super) fn expression(&self) -> String {
        let mut out = self.root.clone().unwrap_or_else(|| "Resource".to_owned());
        for frame in &self.stack {
            match frame {
                Frame::Object { key, .. } if key.is_empty() => {}
                Frame::Object { key, .. } => {
                    out.push('.');
                    out.extend(key.chars().take(64));
                }
                Frame::Array { index, .. } => out.push_str(&format!("[{index}]")),
            }
        }
        out
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn fail<T>(&self, kind: FaultKind) -> Result<T, JsonFault> {
        Err(JsonFault::at(self.text.as_bytes(), self.at, self.expression(), kind))
    }

    fn value(&mut self) -> Result<Event<'a>, JsonFault> {
        let start = self.at;
        match self.peek() {
            Some(b'{') => {
                self.push(Frame::Object { seen: Names::default(), key: Cow::Borrowed(""), any: false })?;
                self.expect = Expect::KeyOrEnd;
                Ok(Event::ObjectStart(start))
            }
            Some(b'[') => {
                self.push(Frame::Array { index: 0, any: false })?;
                self.expect = Expect::Value;
                Ok(Event::ArrayStart(start))
            }
            Some(b']') if matches!(self.stack.last(), Some(Frame::Array { any: false, .. })) => Ok(self.end_array()),
            Some(b'"') => {
                let range = self.string()?;
                self.note_root(&range);
                self.after_value();
                Ok(Event::Text(range))
            }
            Some(_) => {
                self.scalar()?;
                let range = start..self.at;
                self.after_value();
                Ok(Event::Scalar(range))
            }
            None => self.fail(FaultKind::Syntax("the text ends where a value should be")),
        }
    }

    fn push(&mut self, frame: Frame<'a>) -> Result<(), JsonFault> {
        if self.stack.len() == MAX_DEPTH {
            return self.fail(FaultKind::TooDeep);
        }
        self.at += 1;
        self.stack.push(frame);
        Ok(())
    }

    /// The resource's type names the root of every expression.
    fn note_root(&mut self, range: &Range<usize>) {
        if let [Frame::Object { key, .. }] = self.stack.as_slice()
            && key == "resourceType"
        {
            self.root = Some(decode(&self.text[range.clone()]).chars().take(64).collect());
        }
    }

    fn after_value(&mut self) {
        self.expect = match self.stack.last_mut() {
            None => Expect::Done,
            Some(Frame::Object { any, .. } | Frame::Array { any, .. }) => {
                *any = true;
                Expect::CommaOrEnd
            }
        };
    }

    fn key_or_end(&mut self) -> Result<Event<'a>, JsonFault> {
        match self.peek() {
            Some(b'}') if matches!(self.stack.last(), Some(Frame::Object { any: false, .. })) => Ok(self.end_object()),
            Some(b'"') => {
                let range = self.string()?;
                let name = decode(&self.text[range.clone()]);
                if name == PRIVATE_NUMBER {
                    return self.fail(FaultKind::PrivateNumber);
                }
                if let Some(Frame::Object { seen, key, .. }) = self.stack.last_mut() {
                    *key = name.clone();
                    if !seen.insert(name.clone()) {
                        self.at = range.start;
                        return self.fail(FaultKind::Duplicate);
                    }
                }
                self.skip_space();
                if self.peek() != Some(b':') {
                    return self.fail(FaultKind::Syntax("no colon after the name of a member"));
                }
                self.at += 1;
                self.expect = Expect::Value;
                Ok(Event::Key(name, range))
            }
            _ => self.fail(FaultKind::Syntax("no name of a member where one should be")),
        }
    }

    fn comma_or_end(&mut self) -> Result<Option<Event<'a>>, JsonFault> {
        match (self.peek(), self.stack.last_mut()) {
            (Some(b','), Some(Frame::Object { .. })) => {
                self.at += 1;
                self.expect = Expect::KeyOrEnd;
                Ok(None)
            }
            (Some(b','), Some(Frame::Array { index, .. })) => {
                *index += 1;
                self.at += 1;
                self.expect = Expect::Value;
                Ok(None)
            }
            (Some(b'}'), Some(Frame::Object { .. })) => Ok(Some(self.end_object())),
            (Some(b']'), Some(Frame::Array { .. })) => Ok(Some(self.end_array())),
            _ => self.fail(FaultKind::Syntax("neither a comma nor the end of the object or array")),
        }
    }

    fn end_object(&mut self) -> Event<'a> {
        let at = self.at;
        self.close();
        Event::ObjectEnd(at)
    }

    fn end_array(&mut self) -> Event<'a> {
        let at = self.at;
        self.close();
        Event::ArrayEnd(at)
    }

    fn close(&mut self) {
        self.at += 1;
        self.stack.pop();
        self.after_value();
    }

    /// Steps over a string; its range includes the quotes.
    fn string(&mut self) -> Result<Range<usize>, JsonFault> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(start..self.at);
                }
                Some(b'\\') => self.escape()?,
                Some(0) => return self.fail(FaultKind::Nul),
                Some(0x01..0x20) => return self.fail(FaultKind::Syntax("a control character in a string")),
                Some(_) => self.at += 1,
                None => return self.fail(FaultKind::Syntax("the text ends within a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonFault> {
        match self.text.as_bytes().get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => {
                let first = self.hex4(self.at + 2)?;
                match first {
                    0 => self.fail(FaultKind::Nul),
                    0xD800..0xDC00 => {
                        let bytes = self.text.as_bytes();
                        let paired = bytes.get(self.at + 6) == Some(&b'\\') && bytes.get(self.at + 7) == Some(&b'u');
                        if !paired || !(0xDC00..0xE000).contains(&self.hex4(self.at + 8)?) {
                            return self.fail(FaultKind::Syntax("half of a surrogate pair"));
                        }
                        self.at += 12;
                        Ok(())
                    }
                    0xDC00..0xE000 => self.fail(FaultKind::Syntax("half of a surrogate pair")),
                    _ => {
                        self.at += 6;
                        Ok(())
                    }
                }
            }
            _ => self.fail(FaultKind::Syntax("an escape that JSON does not have")),
        }
    }

    fn hex4(&self, at: usize) -> Result<u16, JsonFault> {
        let digits = self.text.as_bytes().get(at..at + 4).filter(|d| d.iter().all(u8::is_ascii_hexdigit));
        let parsed = digits.and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| u16::from_str_radix(d, 16).ok());
        match parsed {
            Some(n) => Ok(n),
            None => self.fail(FaultKind::Syntax("an escape without four hexadecimal digits")),
        }
    }

    fn scalar(&mut self) -> Result<(), JsonFault> {
        let rest = &self.text[self.at..];
        for word in ["true", "false", "null"] {
            if rest.starts_with(word) {
                self.at += word.len();
                return Ok(());
            }
        }
        match number_length(rest.as_bytes()) {
            Some(length) => {
                self.at += length;
                Ok(())
            }
            None => self.fail(FaultKind::Syntax("no JSON value")),
        }
    }
}

/// How long the number at the start is, by RFC 8259 section 6.
fn number_length(bytes: &[u8]) -> Option<usize> {
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    let whole = digits(at);
    if whole == 0 || (whole > 1 && bytes[at] == b'0') {
        return None;
    }
    at += whole;
    if bytes.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if fraction == 0 {
            return None;
        }
        at += 1 + fraction;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at + 1 + sign);
        if exponent == 0 {
            return None;
        }
        at += 1 + sign + exponent;
    }
    Some(at)
}

/// The text that a scanned string stands for.
pub(super) fn decode(quoted: &str) -> Cow<'_, str> {
    let inner = &quoted[1..quoted.len() - 1];
    if inner.contains('\\') {
        // The scanner accepted the string, so serde_json reads it too.
        serde_json::from_str::<String>(quoted).map_or(Cow::Borrowed(inner), Cow::Owned)
    } else {
        Cow::Borrowed(inner)
    }
}
