//! Files that only their owner may read.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use crate::exit::{Context, Kind, Outcome};

/// Writes a file readable by its owner alone, whole or not at all: a reader never meets half of it.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Outcome {
    let part = path.with_extension("part");
    let write = || -> std::io::Result<()> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().doing(Kind::Error, || format!("writing {}", path.display()))
}
