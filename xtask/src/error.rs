//! What can go wrong with a chore, in words that say what to do.

use std::{fmt, io, path::Path};

/// The result of every fallible function here.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a chore did not succeed.
#[derive(Debug)]
pub(crate) enum Error {
    /// The command line was not understood.
    Usage(String),
    /// A file or a process could not be used.
    Io { what: String, source: io::Error },
    /// A file of ours does not say what it should.
    Content { file: String, what: String },
    /// The chore ran and found faults.
    Failed(String),
}

impl Error {
    pub(crate) fn usage(what: &str) -> Self {
        Self::Usage(what.to_owned())
    }

    pub(crate) fn failed(what: impl Into<String>) -> Self {
        Self::Failed(what.into())
    }

    pub(crate) fn content(file: &Path, what: impl fmt::Display) -> Self {
        Self::Content { file: file.display().to_string(), what: what.to_string() }
    }

    /// For `map_err` on a file's operation.
    pub(crate) fn io(verb: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let what = format!("cannot {verb} {}", path.display());
        move |source| Self::Io { what, source }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Io { .. } | Self::Content { .. } | Self::Failed(_) => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) => write!(f, "{what}\n\n{}", crate::USAGE),
            Self::Io { what, source } => write!(f, "{what}: {source}"),
            Self::Content { file, what } => write!(f, "{file}: {what}"),
            Self::Failed(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Usage(_) | Self::Content { .. } | Self::Failed(_) => None,
        }
    }
}
