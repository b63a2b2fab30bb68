//! A chain in a file: what an engine keeps of it, for whoever wants to replay it without that engine.
//!
//! The file is a sequence of protobuf messages, each preceded by its length as an unsigned varint: from height 1 on, for
//! each height, the `tendermint.types.Block` and then the `tendermint.types.Commit` for it
//! (<https://docs.cometbft.com/v0.38/spec/core/encoding>), byte for byte as the engine hashes and signs them. Nothing
//! else is in it: the genesis document, without which no block can be judged, is a file of its own.

use std::io::{self, BufRead, Read, Write};

use prost::Message;
use serde_json::Value;
use tendermint::block::Commit;
use tendermint_proto::v0_38;

use crate::{NodeError, replay::StoredBlock};

/// No block of this chain is larger; a file that says so is not read.
const MAX_MESSAGE: u64 = 64 * 1024 * 1024;

/// Writes a block and its commit.
///
/// # Errors
/// What the writer says.
pub fn write(to: &mut impl Write, stored: &StoredBlock) -> io::Result<()> {
    for message in [&stored.block, &stored.commit] {
        let mut length = prost::bytes::BytesMut::new();
        prost::encoding::encode_varint(message.len() as u64, &mut length);
        to.write_all(&length)?;
        to.write_all(message)?;
    }
    Ok(())
}

/// The blocks of a file, from height 1 on, without looking into them.
pub fn read<R: BufRead>(from: R) -> impl Iterator<Item = Result<StoredBlock, NodeError>> {
    let mut file = File { from, height: 0, ended: false };
    std::iter::from_fn(move || file.next())
}

struct File<R> {
    from: R,
    height: u64,
    ended: bool,
}

impl<R: BufRead> File<R> {
    fn next(&mut self) -> Option<Result<StoredBlock, NodeError>> {
        if self.ended {
            return None;
        }
        self.height += 1;
        let next = self.block().map_err(|why| NodeError::Damaged { height: self.height, what: why.to_string() });
        // What follows a fault would be read at the wrong place.
        self.ended = !matches!(next, Ok(Some(_)));
        next.transpose()
    }

    fn block(&mut self) -> io::Result<Option<StoredBlock>> {
        if self.from.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let (block, commit) = (self.message()?, self.message()?);
        Ok(Some(StoredBlock { block, commit }))
    }

    fn message(&mut self) -> io::Result<Vec<u8>> {
        let length = self.length()?;
        if length > MAX_MESSAGE {
            return Err(io::Error::other(format!("a message of {length} bytes; at most {MAX_MESSAGE} are read")));
        }
        let mut bytes = Vec::new();
        self.from.by_ref().take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != length {
            return Err(io::Error::other("the file ends within a message"));
        }
        Ok(bytes)
    }

    fn length(&mut self) -> io::Result<u64> {
        let mut length = 0u64;
        for shift in (0..63).step_by(7) {
            let mut byte = [0];
            self.from.read_exact(&mut byte)?;
            length |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                return Ok(length);
            }
        }
        Err(io::Error::other("a length that is no varint"))
    }
}

/// A block and its commit out of what an engine's `/block` and `/commit` answer (their `block`, and the `commit` of their
/// `signed_header`). That the bytes are those which the engine hashed and signed, a replay sees by their hashes.
///
/// # Errors
/// `Comet` when the JSON is not of CometBFT's form.
pub fn of_json(block: &Value, commit: &Value) -> Result<StoredBlock, NodeError> {
    let unreadable = |e: serde_json::Error| NodeError::Comet(format!("not readable: {e}"));
    let block: tendermint::Block = serde_json::from_value(block.clone()).map_err(unreadable)?;
    let commit: Commit = serde_json::from_value(commit.clone()).map_err(unreadable)?;
    let mut block = v0_38::types::Block::from(block);
    // CometBFT's first block carries an empty commit, which the JSON's reader takes for none.
    block.last_commit.get_or_insert_with(|| Commit::default().into());
    if let Some(header) = &mut block.header {
        // The same is true of the id of the block before it.
        header.last_block_id.get_or_insert_with(|| v0_38::types::BlockId {
            hash: Vec::new(),
            part_set_header: Some(v0_38::types::PartSetHeader::default()),
        });
    }
    let commit = v0_38::types::Commit::from(commit);
    Ok(StoredBlock { block: block.encode_to_vec(), commit: commit.encode_to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(n: usize) -> StoredBlock {
        StoredBlock { block: vec![1; n], commit: vec![2; 3 * n] }
    }

    #[test]
    fn what_is_written_is_read() {
        let all = [stored(1), stored(0), stored(300)];
        let mut file = Vec::new();
        for block in &all {
            write(&mut file, block).unwrap();
        }
        let found: Result<Vec<_>, _> = read(file.as_slice()).collect();
        assert_eq!(found.unwrap(), all);
    }

    #[test]
    fn a_file_that_was_cut_says_at_which_height() {
        let mut file = Vec::new();
        for block in [stored(5), stored(300)] {
            write(&mut file, &block).unwrap();
        }
        // The first block takes 22 bytes, after which the file may end.
        for cut in [file.len() - 1, 24, 23] {
            let mut blocks = read(&file[..cut]);
            blocks.next().unwrap().unwrap();
            let error = blocks.next().unwrap().unwrap_err();
            assert!(matches!(error, NodeError::Damaged { height: 2, .. }), "{cut}: {error}");
            assert!(blocks.next().is_none(), "nothing is read after a fault");
        }
    }

    #[test]
    fn a_length_beyond_any_block_is_not_believed() {
        let mut length = prost::bytes::BytesMut::new();
        prost::encoding::encode_varint(u64::MAX >> 1, &mut length);
        assert!(read(length.as_ref()).next().unwrap().is_err());
        assert!(read([0xff; 12].as_slice()).next().unwrap().is_err());
    }
}
