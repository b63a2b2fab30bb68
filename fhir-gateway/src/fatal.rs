//! What ends a gateway's service: a disk that takes nothing more. Whoever meets it says so here, once; writes are refused
//! from then on, and whoever runs the gateway hears it and stops cleanly, so that everything is whole when there is room.

use std::{error::Error, io, sync::Arc};

use tokio::sync::watch;

/// Where the end is told. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Fatal {
    told: Arc<watch::Sender<Option<String>>>,
}

impl Default for Fatal {
    fn default() -> Self {
        Self { told: Arc::new(watch::Sender::new(None)) }
    }
}

impl Fatal {
    /// Says why no more can be written. The first word stays; what fails afterwards fails because of it.
    pub fn tell(&self, why: impl Into<String>) {
        let why = why.into();
        self.told.send_if_modified(|told| {
            let first = told.is_none();
            if first {
                tracing::error!("the gateway stops taking writes: {why}");
                *told = Some(why);
            }
            first
        });
    }

    /// Says so if the cause of an error is that the disk does not take what is written.
    pub fn tell_of(&self, error: &(dyn Error + 'static)) {
        if let Some(why) = of_the_disk(error) {
            self.tell(why);
        }
    }

    /// Why no more can be written; none while all is well.
    pub fn told(&self) -> Option<String> {
        self.told.borrow().clone()
    }

    /// Waits until no more can be written.
    pub async fn wait(&self) -> String {
        let mut told = self.told.subscribe();
        loop {
            let why = told.borrow_and_update().clone();
            if let Some(why) = why {
                return why;
            }
            if told.changed().await.is_err() {
                // The sender is kept by this very value.
                std::future::pending::<()>().await;
            }
        }
    }
}

/// What an error says of the disk, if it, or what caused it, is an I/O error; redb, once it met one, says of every later
/// write only that there was one.
fn of_the_disk(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<io::Error>().or_else(|| match error.downcast_ref::<redb::Error>() {
            Some(redb::Error::Io(io)) => Some(io),
            _ => None,
        });
        match io {
            Some(io) if matches!(io.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                return Some("the disk is full".into());
            }
            Some(io) => return Some(format!("the disk does not take what is written: {io}")),
            None if matches!(error.downcast_ref::<redb::Error>(), Some(redb::Error::PreviousIo)) => {
                return Some("the disk did not take what was written before".into());
            }
            None => next = error.source(),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_disk_is_told_once_and_to_everybody() {
        let fatal = Fatal::default();
        fatal.tell_of(&redb::Error::Corrupted("not the disk's fault".into()));
        assert_eq!(fatal.told(), None);
        let waiting = tokio::spawn({
            let fatal = fatal.clone();
            async move { fatal.wait().await }
        });
        fatal.tell_of(&redb::Error::Io(io::Error::from(io::ErrorKind::StorageFull)));
        fatal.tell_of(&redb::Error::PreviousIo);
        assert_eq!(waiting.await.unwrap(), "the disk is full");
        assert_eq!(fatal.told().unwrap(), "the disk is full");
    }
}
