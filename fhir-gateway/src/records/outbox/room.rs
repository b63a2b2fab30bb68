//! How much may wait: what waits is memory, and an answer that comes too late is worse than one that says so at once.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::records::WriteError;

/// So many submissions may wait.
const MOST: usize = 4_096;
/// So many bytes of records may wait.
const MOST_BYTES: usize = 64 << 20;

#[derive(Clone, Copy, Default)]
struct Load {
    count: usize,
    bytes: usize,
}

#[derive(Default)]
struct State {
    all: Load,
    by_client: HashMap<String, Load>,
}

/// The bounded room before the writer. Cheap to clone.
#[derive(Clone)]
pub(super) struct Room {
    state: Arc<Mutex<State>>,
    most: Load,
}

impl Default for Room {
    fn default() -> Self {
        Self::of(MOST, MOST_BYTES)
    }
}

impl Room {
    pub(super) fn of(count: usize, bytes: usize) -> Self {
        Self { state: Arc::default(), most: Load { count, bytes } }
    }

    /// Lets a submission in, if there is room for it; one client gets half of the room at most. What is larger than the room
    /// is let in alone.
    pub(super) fn enter(&self, client: &str, bytes: usize) -> Result<Place, WriteError> {
        let Load { count: most, bytes: most_bytes } = self.most;
        let mut state = lock(&self.state);
        let fits = |load: &Load, share: usize| {
            load.count == 0 || (load.count < most / share && load.bytes + bytes <= most_bytes / share)
        };
        if !fits(&state.all, 1) {
            return Err(WriteError::Busy);
        }
        if state.by_client.get(client).is_some_and(|load| !fits(load, 2)) {
            return Err(WriteError::TooMany);
        }
        state.all.count += 1;
        state.all.bytes += bytes;
        let of_client = state.by_client.entry(client.to_owned()).or_default();
        of_client.count += 1;
        of_client.bytes += bytes;
        Ok(Place { room: self.clone(), client: client.to_owned(), bytes })
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Counts are added to and taken from together; a panic between the two cannot be.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place in the room; it is left when this is dropped.
pub(super) struct Place {
    room: Room,
    client: String,
    bytes: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = lock(&self.room.state);
        state.all.count -= 1;
        state.all.bytes -= self.bytes;
        if let Some(load) = state.by_client.get_mut(&self.client) {
            load.count -= 1;
            load.bytes -= self.bytes;
            if load.count == 0 {
                state.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_is_bounded_in_number_and_in_bytes_and_one_client_gets_half() {
        let room = Room::of(8, 1_000);
        let mut places: Vec<Place> = (0..4).map(|_| room.enter("one", 1).unwrap()).collect();
        assert!(matches!(room.enter("one", 1), Err(WriteError::TooMany)));
        places.extend((0..4).map(|_| room.enter("other", 1).unwrap()));
        assert!(matches!(room.enter("third", 1), Err(WriteError::Busy)));
        places.clear();
        assert!(lock(&room.state).by_client.is_empty());
        let one = room.enter("one", 400).unwrap();
        assert!(matches!(room.enter("one", 200), Err(WriteError::TooMany)));
        let other = room.enter("other", 500).unwrap();
        assert!(matches!(room.enter("third", 200), Err(WriteError::Busy)));
        drop((one, other));
        let large = room.enter("one", 5_000).unwrap();
        assert!(matches!(room.enter("other", 1), Err(WriteError::Busy)));
        drop(large);
        room.enter("other", 1).unwrap();
    }
}
