//! Messages on the wire: a length as an unsigned varint, then protobuf
//! (<https://docs.cometbft.com/v0.38/spec/abci/abci++_client_server>).

use std::io::{self, BufRead, Read, Write};

use prost::{Message, bytes::Bytes};
use tendermint_proto::v0_38::abci::{Request, Response};

/// The longest message that is read. The longest that an engine sends holds a block's transactions, of which this
/// chain caps the bytes at a few MiB, or the genesis document.
pub const MAX_MESSAGE: u64 = 32 * 1024 * 1024;

/// A varint of 64 bits has at most ten bytes.
const MAX_VARINT: usize = 10;

/// How much is reserved for a message before its bytes have come: a block's transactions, so that they are not moved as
/// they come. Memory that nothing is written to costs nothing.
const FIRST: u64 = 2 * 1024 * 1024;

/// Why no request was read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The peer said more than is read.
    #[error("a message of {length} bytes; at most {max} are read")]
    TooLong {
        /// What the peer said.
        length: u64,
        /// What is read.
        max: u64,
    },
    /// The length is no varint.
    #[error("a message's length is not a varint of at most 64 bits")]
    BadLength,
    /// The stream ended within a message.
    #[error("the stream ended within a message")]
    Truncated,
    /// The bytes are no request.
    #[error("a message is not an ABCI request: {0}")]
    NotARequest(#[from] prost::DecodeError),
    /// The stream failed.
    #[error("the stream: {0}")]
    Stream(#[from] io::Error),
}

/// Reads a request; `None` where the stream ends between two.
pub(super) fn read_request(from: &mut impl BufRead, max: u64) -> Result<Option<Request>, ReadError> {
    let Some(length) = read_length(from)? else { return Ok(None) };
    if length > max {
        return Err(ReadError::TooLong { length, max });
    }
    let mut bytes = Vec::new();
    bytes.try_reserve(usize::try_from(length.min(FIRST)).unwrap_or(0)).map_err(io::Error::other)?;
    // Grows as bytes come, because a length alone costs its sender nothing.
    from.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != length {
        return Err(ReadError::Truncated);
    }
    Ok(Some(Request::decode(Bytes::from(bytes))?))
}

/// True when a whole message lies in a buffer, so that reading it waits for nobody.
pub(super) fn is_whole(mut buffer: &[u8]) -> bool {
    let length = read_length(&mut buffer).ok().flatten();
    length.is_some_and(|length| length <= buffer.len() as u64)
}

fn read_length(from: &mut impl BufRead) -> Result<Option<u64>, ReadError> {
    let mut length: u64 = 0;
    for index in 0..MAX_VARINT {
        let mut byte = [0];
        if from.read(&mut byte)? == 0 {
            return if index == 0 { Ok(None) } else { Err(ReadError::Truncated) };
        }
        let seven = u64::from(byte[0] & 0x7f);
        let shift = 7 * u32::try_from(index).map_err(|_| ReadError::BadLength)?;
        if seven << shift >> shift != seven {
            return Err(ReadError::BadLength);
        }
        length |= seven << shift;
        if byte[0] & 0x80 == 0 {
            return Ok(Some(length));
        }
    }
    Err(ReadError::BadLength)
}

/// Writes a response.
pub(super) fn write_response(to: &mut impl Write, response: &Response) -> io::Result<()> {
    to.write_all(&response.encode_length_delimited_to_vec())
}

#[cfg(test)]
mod tests {
    use tendermint_proto::v0_38::abci::{RequestEcho, request::Value};

    use super::*;

    fn echo(text: &str) -> Request {
        Request { value: Some(Value::Echo(RequestEcho { message: text.into() })) }
    }

    #[test]
    fn what_is_written_is_read_one_after_the_other() {
        let mut stream = echo("one").encode_length_delimited_to_vec();
        stream.extend(echo(&"two".repeat(1000)).encode_length_delimited_to_vec());
        let mut from = stream.as_slice();
        assert_eq!(read_request(&mut from, MAX_MESSAGE).unwrap(), Some(echo("one")));
        assert_eq!(read_request(&mut from, MAX_MESSAGE).unwrap(), Some(echo(&"two".repeat(1000))));
        assert_eq!(read_request(&mut from, MAX_MESSAGE).unwrap(), None);
    }

    #[test]
    fn the_longest_message_is_read_and_one_byte_more_is_not() {
        let stream = echo(&"a".repeat(1000)).encode_length_delimited_to_vec();
        let length = stream.len() as u64 - 2;
        assert!(read_request(&mut stream.as_slice(), length).unwrap().is_some());
        let refused = read_request(&mut stream.as_slice(), length - 1).unwrap_err();
        assert!(matches!(refused, ReadError::TooLong { length: l, max } if l == length && max == length - 1));
    }

    #[test]
    fn a_message_is_whole_when_its_last_byte_is_there() {
        let stream = echo(&"a".repeat(300)).encode_length_delimited_to_vec();
        assert!(is_whole(&stream));
        assert!((0..stream.len()).all(|cut| !is_whole(&stream[..cut])));
    }

    /// Only as much memory as bytes that came: a peer that promises a gigabyte and sends ten bytes costs ten bytes.
    #[test]
    fn a_length_alone_reserves_little() {
        let mut stream = prost::bytes::BytesMut::new();
        prost::encoding::encode_varint(u64::MAX >> 1, &mut stream);
        stream.extend_from_slice(b"ten bytes.");
        assert!(matches!(read_request(&mut stream.as_ref(), u64::MAX), Err(ReadError::Truncated)));
    }

    #[test]
    fn hostile_lengths_are_refused() {
        let overlong = [0xff; 11];
        assert!(matches!(read_request(&mut overlong.as_slice(), MAX_MESSAGE), Err(ReadError::BadLength)));
        let mut beyond = [0xff; 10];
        beyond[9] = 0x02;
        assert!(matches!(read_request(&mut beyond.as_slice(), MAX_MESSAGE), Err(ReadError::BadLength)));
        assert!(matches!(read_request(&mut [0x80].as_slice(), MAX_MESSAGE), Err(ReadError::Truncated)));
        assert!(matches!(read_request(&mut [5, 1].as_slice(), MAX_MESSAGE), Err(ReadError::Truncated)));
        let garbage = [3, 0xff, 0xff, 0xff];
        assert!(matches!(read_request(&mut garbage.as_slice(), MAX_MESSAGE), Err(ReadError::NotARequest(_))));
    }
}
