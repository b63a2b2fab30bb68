//! Reading a request's body without ever holding more of it than is allowed.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, header},
};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Fault;

/// KiB of bodies that all calls together may hold; who comes later waits.
const BUDGET_KIB: u32 = 128 << 10;
/// A client that sends slower than this holds memory that others need.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads bodies within one limit each and one budget for all.
pub(crate) struct Bodies {
    limit: usize,
    budget: Arc<Semaphore>,
}

/// A body, and its share of the budget while it is held.
pub(crate) struct Held {
    pub(crate) bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

impl Bodies {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, budget: Arc::new(Semaphore::new(BUDGET_KIB as usize)) }
    }

    /// Reads a body. One that announces too much is refused unread, one that turns out too long at the limit.
    ///
    /// # Errors
    /// 413 above the limit, 408 when it does not arrive, 400 when it breaks off, 503 when others hold the budget.
    pub(crate) async fn read(&self, headers: &HeaderMap, body: Body) -> Result<Held, Fault> {
        let announced = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        if announced == Some(0) || (announced.is_none() && !headers.contains_key(header::TRANSFER_ENCODING)) {
            return Ok(self.none());
        }
        let most = announced.map_or(self.limit, |n| usize::try_from(n).unwrap_or(usize::MAX));
        if most > self.limit {
            return Err(self.too_large());
        }
        let kib = u32::try_from(most / 1024 + 1).unwrap_or(BUDGET_KIB).min(BUDGET_KIB);
        let share = tokio::time::timeout(PATIENCE, Arc::clone(&self.budget).acquire_many_owned(kib)).await;
        let share = share.map_err(|_| Fault::unavailable("too many bodies are being sent"))?;
        let share = share.map_err(|_| Fault::unavailable("the gateway is stopping"))?;
        let read = tokio::time::timeout(PATIENCE, to_bytes(body, self.limit)).await;
        let bytes = match read {
            Err(_) => return Err(Fault::new(408, "timeout", "the body did not arrive in time")),
            Ok(Ok(bytes)) => bytes,
            // The limit is the one error of ours; whatever else there is comes from the connection.
            Ok(Err(e)) if is_limit(&e) => return Err(self.too_large()),
            Ok(Err(_)) => return Err(Fault::malformed("the body broke off")),
        };
        Ok(Held { bytes, _share: Some(share) })
    }

    /// The body of a call that has none; what a client sends all the same is not read.
    pub(crate) fn none(&self) -> Held {
        Held { bytes: Bytes::new(), _share: None }
    }

    fn too_large(&self) -> Fault {
        Fault::new(413, "too-long", format!("a body may have at most {} bytes", self.limit)).code("too-large")
    }
}

fn is_limit(error: &axum::Error) -> bool {
    // axum keeps http-body-util's LengthLimitError as the source; its text is what tells it from a broken connection.
    std::error::Error::source(error).is_some_and(|s| s.to_string().contains("length limit exceeded"))
}

/// Checks the media type of a body with FHIR in it.
///
/// # Errors
/// 415 for any other than JSON in UTF-8.
pub(crate) fn fhir_json(headers: &HeaderMap) -> Result<(), Fault> {
    let given = headers.get(header::CONTENT_TYPE).map(|v| v.to_str().unwrap_or_default().to_ascii_lowercase());
    let given = given.unwrap_or_default();
    let mut parts = given.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let utf8 = parts.all(|p| !p.starts_with("charset=") || matches!(p, "charset=utf-8" | "charset=\"utf-8\""));
    if matches!(media, "application/fhir+json" | "application/json") && utf8 {
        return Ok(());
    }
    Err(Fault::new(415, "not-supported", "the body must be application/fhir+json in UTF-8").at("Content-Type"))
}

/// Checks the media type of a form; a search whose parameters are all in the address needs none.
///
/// # Errors
/// 415 for any other.
pub(crate) fn form(headers: &HeaderMap, empty: bool) -> Result<(), Fault> {
    let given = headers.get(header::CONTENT_TYPE).map(|v| v.to_str().unwrap_or_default().to_ascii_lowercase());
    let media = given.as_deref().and_then(|given| given.split(';').next()).unwrap_or_default().trim();
    if media == "application/x-www-form-urlencoded" || empty {
        return Ok(());
    }
    Err(Fault::new(415, "not-supported", "the body must be application/x-www-form-urlencoded").at("http.content-type"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (n.clone(), v.parse().unwrap())).collect()
    }

    #[tokio::test]
    async fn a_body_that_announces_too_much_is_refused_unread() {
        let bodies = Bodies::new(10);
        let stream = futures::stream::poll_fn(|_| -> std::task::Poll<Option<Result<Bytes, std::io::Error>>> {
            panic!("the body was read")
        });
        let read = bodies.read(&headers(&[(header::CONTENT_LENGTH, "11")]), Body::from_stream(stream)).await;
        assert_eq!(read.err().map(|f| f.status), Some(413));
    }

    #[tokio::test]
    async fn a_body_without_length_is_cut_at_the_limit() {
        let bodies = Bodies::new(10);
        let pieces = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let seen = Arc::clone(&pieces);
        let endless = futures::stream::repeat_with(move || {
            seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok::<_, std::io::Error>(Bytes::from_static(b"1234567"))
        });
        let read = bodies.read(&headers(&[(header::TRANSFER_ENCODING, "chunked")]), Body::from_stream(endless)).await;
        assert_eq!(read.err().map(|f| f.status), Some(413));
        assert!(pieces.load(std::sync::atomic::Ordering::Relaxed) <= 3);
    }

    #[test]
    fn only_json_in_utf8() {
        for good in ["application/fhir+json", "application/json; charset=UTF-8", "Application/FHIR+JSON;charset=utf-8"]
        {
            assert!(fhir_json(&headers(&[(header::CONTENT_TYPE, good)])).is_ok(), "{good}");
        }
        for bad in ["text/plain", "application/fhir+xml", "application/json; charset=latin1", ""] {
            assert_eq!(fhir_json(&headers(&[(header::CONTENT_TYPE, bad)])).unwrap_err().status, 415, "{bad}");
        }
        assert_eq!(fhir_json(&HeaderMap::new()).unwrap_err().status, 415);
    }
}
