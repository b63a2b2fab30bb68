//! Rows that were parsed already.

use std::{any::Any, cell::RefCell, collections::BTreeMap, fmt};

/// Values of rows as they were parsed, so that a block of a thousand acts of sixteen organisations parses sixteen
/// accounts. It shows in nothing but time: whoever changes a row forgets what was parsed of it.
#[derive(Default)]
pub struct Memo {
    rows: RefCell<BTreeMap<Vec<u8>, Parsed>>,
}

/// What was parsed of a row, which may be read as several types.
type Parsed = Vec<Box<dyn Any>>;

impl Memo {
    /// What was parsed of a row as a `T`, or else what `read` gives, which is kept; absence is a value too.
    pub(crate) fn get_or<T: Clone + 'static>(&self, key: &[u8], read: impl FnOnce() -> Option<T>) -> Option<T> {
        if let Some(parsed) = self.rows.borrow().get(key)
            && let Some(value) = parsed.iter().find_map(|value| value.downcast_ref::<Option<T>>())
        {
            return value.clone();
        }
        let value = read();
        self.rows.borrow_mut().entry(key.to_vec()).or_default().push(Box::new(value.clone()));
        value
    }

    /// Forgets what was parsed of a row.
    pub(crate) fn forget(&mut self, key: &[u8]) {
        self.rows.get_mut().remove(key);
    }
}

impl fmt::Debug for Memo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memo")
    }
}
