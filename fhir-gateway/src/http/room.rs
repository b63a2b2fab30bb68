//! How many calls are served at the same time, in all and of one client. Whoever finds no room is told so at once or after
//! some seconds, and when to come again: a queue without a bound is slow for everybody.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::Fault;

/// How long a call waits for a place. A burst is over by then; what is not is more than this gateway can do.
const PATIENCE: Duration = Duration::from_secs(5);

/// Places for calls.
pub(crate) struct Room {
    places: Semaphore,
    /// Of those who wait for a place.
    waiting: Semaphore,
    per_client: usize,
    clients: Arc<Mutex<HashMap<String, usize>>>,
    patience: Duration,
}

/// One of the calls that a client may have at the same time, while it is held.
pub(crate) struct Turn {
    clients: Arc<Mutex<HashMap<String, usize>>>,
    client: String,
}

impl Room {
    pub(crate) fn new(places: usize, per_client: usize) -> Self {
        Self {
            places: Semaphore::new(places),
            waiting: Semaphore::new(places),
            per_client,
            clients: Arc::default(),
            patience: PATIENCE,
        }
    }

    /// A place for a call, whoever makes it.
    ///
    /// # Errors
    /// 503 when there is none and as many wait already, or none becomes free in time.
    pub(crate) async fn place(&self) -> Result<SemaphorePermit<'_>, Fault> {
        let busy = || Fault { retry_after: Some(1), ..Fault::unavailable("the gateway is busy") };
        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        let _waits = self.waiting.try_acquire().map_err(|_| busy())?;
        let place = tokio::time::timeout(self.patience, self.places.acquire()).await.map_err(|_| busy())?;
        place.map_err(|_| Fault::unavailable("the gateway is stopping"))
    }

    /// A client's turn, before its body is read.
    ///
    /// # Errors
    /// 429 when it has as many as it may.
    pub(crate) fn turn(&self, client: String) -> Result<Turn, Fault> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = clients.entry(client.clone()).or_default();
        if *mine >= self.per_client {
            let fault = Fault::new(429, "throttled", "too many calls of this client are being served").code("too-many");
            return Err(Fault { retry_after: Some(1), ..fault });
        }
        *mine += 1;
        drop(clients);
        Ok(Turn { clients: Arc::clone(&self.clients), client })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mine) = clients.get_mut(&self.client) {
            *mine -= 1;
            if *mine == 0 {
                clients.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_client_has_so_many_turns_and_leaves_nothing_behind() {
        let room = Room::new(10, 2);
        let first = room.turn("a".into()).unwrap();
        let second = room.turn("a".into()).unwrap();
        let refused = room.turn("a".into()).err().unwrap();
        assert_eq!((refused.status, refused.retry_after), (429, Some(1)));
        let other = room.turn("b".into()).unwrap();
        drop(first);
        let third = room.turn("a".into()).unwrap();
        drop((second, third, other));
        assert!(room.clients.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn nobody_waits_without_a_bound() {
        let room = Room { patience: Duration::from_secs(3_600), ..Room::new(1, 1) };
        let place = room.place().await.unwrap();
        let mut waits = std::pin::pin!(room.place());
        assert!(futures::poll!(waits.as_mut()).is_pending());
        // There is one place to wait at, and it is taken.
        let refused = room.place().now_or_never().unwrap().err().unwrap();
        assert_eq!((refused.status, refused.retry_after), (503, Some(1)));
        drop(place);
        assert!(waits.await.is_ok());

        let room = Room { patience: Duration::from_millis(1), ..Room::new(1, 1) };
        let _place = room.place().await.unwrap();
        assert_eq!(room.place().await.err().unwrap().status, 503);
    }
}
