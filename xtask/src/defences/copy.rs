//! A copy of the checkout in which defences are taken out. Only files that differ are written, so that cargo, which
//! goes by the time of modification, builds again only what changed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, Result},
    tree,
};

/// The copy.
pub(crate) struct Copy {
    /// Where it lies.
    pub(crate) root: PathBuf,
}

impl Copy {
    /// Makes the copy, or brings it up to date.
    pub(crate) fn of(checkout: &Path) -> Result<Self> {
        let root = checkout.join("target/defences");
        fs::create_dir_all(&root).map_err(Error::io("make", &root))?;
        let wanted = tree::files(checkout)?;
        for stale in tree::files(&root)?.iter().filter(|f| wanted.binary_search(f).is_err()) {
            let path = root.join(stale);
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
        for file in &wanted {
            let from = checkout.join(file);
            write_if_other(&root.join(file), &fs::read(&from).map_err(Error::io("read", &from))?)?;
        }
        Ok(Self { root })
    }

    /// Writes a file of the copy.
    pub(crate) fn write(&self, file: &Path, text: &str) -> Result<()> {
        write_if_other(&self.root.join(file), text.as_bytes())
    }
}

fn write_if_other(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(Error::io("make", dir))?;
    }
    fs::write(path, bytes).map_err(Error::io("write", path))
}
