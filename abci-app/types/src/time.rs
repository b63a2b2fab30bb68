//! Block time and counts as JSON integers that every JSON reader holds exactly (RFC 7493 section 2.2: up to 2^53 - 1).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de::Error};

const MAX_EXACT: u64 = (1 << 53) - 1;

macro_rules! exact_integer {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let n = u64::deserialize(d)?;
                if n > MAX_EXACT {
                    return Err(D::Error::custom(format_args!("{n} is above 2^53 - 1")));
                }
                Ok(Self(n))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

exact_integer! {
    /// Milliseconds since 1970-01-01T00:00:00Z, of block time unless said otherwise.
    TimeMs
}
exact_integer! {
    /// A count, a sequence number, a generation or a duration in milliseconds.
    Count
}

impl TimeMs {
    /// The time `ms` milliseconds later.
    pub const fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// The minute that this time lies in; nonces are grouped by it.
    pub const fn minute(self) -> u64 {
        self.0 / 60_000
    }
}

impl Count {
    /// The next count.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
