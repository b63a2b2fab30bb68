//! Sealing: keys and how they are wrapped, records and how they are committed to, envelopes, and the keystore.
//!
//! **Architecture invariant:** this module knows nothing of networks, of the ledger or of FHIR; it takes bytes and keys.
//! Every private key stays behind `Keystore`, or in a wallet's `DeviceKeys`.

pub mod device;
pub mod jose;
pub mod jwe;
pub mod keys;
pub mod keystore;
pub mod oaep;
pub mod record;
pub mod store;

mod der;
mod primitives;

pub use device::DeviceKeys;
pub use keys::{
    CustodyKey, CustodyRoot, DataKey, GrantKey, KeyWrapping, PatientKey, StoreKey, UnwrapError, WrappedKey,
};
pub use keystore::{FileKeystore, Keystore, KeystoreError};
pub use oaep::{RsaUnwrap, WrappedToRsa};
pub use record::{Aad, OpenError, Sealed, SealedRecord};
pub use store::StoreSeal;
