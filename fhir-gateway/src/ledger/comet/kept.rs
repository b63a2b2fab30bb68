//! What a gateway keeps of the chain between two starts: the genesis document, and the newest header it believed.

use std::path::{Path, PathBuf};

use vouchsafe_node::verify::Checkpoint;
use vouchsafe_types::{Hash32, genesis::Genesis};

const GENESIS: &str = "genesis.json";
const CHECKPOINT: &str = "checkpoint.json";

/// Why the kept trust is not usable.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is not of its form.
    #[error("{path}: {source}")]
    Form {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// There was no start before, and no genesis document was given.
    #[error("no genesis document: the first start needs one")]
    NoGenesis,
    /// The home belongs to another chain.
    #[error("the home is of the chain whose genesis digest is {kept}, the document given has {given}")]
    OtherGenesis {
        /// The digest of the first start.
        kept: Hash32,
        /// The document's.
        given: Hash32,
    },
}

/// The genesis document of this home. The first one given is kept, and another one refused ever after: what a gateway trusts
/// is decided once, by whoever starts it first.
///
/// # Errors
/// `KeptError`.
pub fn genesis(home: &Path, given: Option<Genesis>) -> Result<Genesis, KeptError> {
    let path = home.join(GENESIS);
    let kept: Option<Genesis> = read(&path)?;
    match (kept, given) {
        (None, None) => Err(KeptError::NoGenesis),
        (Some(kept), None) => Ok(kept),
        (Some(kept), Some(given)) if kept.body.digest() == given.body.digest() => Ok(kept),
        (Some(kept), Some(given)) => {
            Err(KeptError::OtherGenesis { kept: kept.body.digest(), given: given.body.digest() })
        }
        (None, Some(given)) => {
            write(&path, &given)?;
            Ok(given)
        }
    }
}

pub(super) fn checkpoint(home: &Path) -> Result<Option<Checkpoint>, KeptError> {
    read(&home.join(CHECKPOINT))
}

pub(super) fn keep(home: &Path, checkpoint: &Checkpoint) -> Result<(), KeptError> {
    write(&home.join(CHECKPOINT), checkpoint)
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, KeptError> {
    match std::fs::read(path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map(Some).map_err(|source| KeptError::Form { path: path.to_owned(), source })
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(KeptError::File { path: path.to_owned(), source }),
    }
}

/// Whole or not at all.
fn write(path: &Path, value: &impl serde::Serialize) -> Result<(), KeptError> {
    let failed = |source| KeptError::File { path: path.to_owned(), source };
    let text = serde_json::to_vec(value).map_err(|source| KeptError::Form { path: path.to_owned(), source })?;
    if let Some(home) = path.parent() {
        std::fs::create_dir_all(home).map_err(failed)?;
    }
    let beside = path.with_extension("new");
    let put = || {
        let mut file = std::fs::File::create(&beside)?;
        std::io::Write::write_all(&mut file, &text)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    };
    put().map_err(failed)
}
