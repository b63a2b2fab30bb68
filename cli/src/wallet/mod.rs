//! What a person's own software does, outside any gateway: makes keys, enrols, checks what is to be signed, signs,
//! seals, opens, verifies. It trusts no gateway with a private key and no gateway's word for what a payload says.

pub(crate) mod client;
pub(crate) mod consent;
pub(crate) mod files;
pub(crate) mod person;
pub(crate) mod proof;
pub(crate) mod records;
