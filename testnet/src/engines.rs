//! The engines that a consortium runs, built from a Go module that pins them.

use std::path::PathBuf;

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Nothing builds it yet.
    #[error("no engine: {0}")]
    Missing(String),
}

/// Where CometBFT's binary lies, built when it is not there yet.
///
/// # Errors
/// `EngineError` with what to install.
pub fn cometbft() -> Result<PathBuf, EngineError> {
    Err(EngineError::Missing("name it by --cometbft or VOUCHSAFE_COMETBFT".into()))
}
