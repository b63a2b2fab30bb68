//! JSON in exactly one shape. serde takes an array for a struct and `{"verify":null}` for `"verify"`; a schema, and a
//! reader in another language, do not.

use serde::{Serialize, de::DeserializeOwned, de::Error};
use serde_json::Value;

/// Parses, and refuses a text that means the same as the value only to serde. A member that is `null` may be absent.
pub(crate) fn parse<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    let value: T = serde_json::from_slice(bytes)?;
    if serde_json::to_vec(&value)? == bytes {
        // Most texts are as this crate writes them; the comparison of a thousand leaves costs more than the parse.
        return Ok(value);
    }
    let said: Value = serde_json::from_slice(bytes)?;
    if !same(&said, &serde_json::to_value(&value)?) {
        return Err(serde_json::Error::custom("a struct must be an object, and a word a string"));
    }
    Ok(value)
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let absent = Value::Null;
            let keys = a.keys().chain(b.keys());
            keys.into_iter().all(|k| same(a.get(k).unwrap_or(&absent), b.get(k).unwrap_or(&absent)))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => a == b,
    }
}
