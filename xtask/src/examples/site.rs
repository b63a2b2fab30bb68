//! A gateway of a chore's own, in use: its token, its counters, its memory.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    error::{Error, Result},
    gateway::{Gateway, Home},
    wire::Wire,
};

/// Bearer tokens live five minutes; one is replaced well before.
const TOKEN_LIFE: Duration = Duration::from_secs(200);

/// A running gateway.
pub(crate) struct Site {
    home: Home,
    gateway: Gateway,
    token: Mutex<Option<(String, Instant)>>,
}

impl Site {
    /// Starts one with a new home in this directory.
    pub(crate) fn start(binary: &Path, dir: &Path) -> Result<Self> {
        let home = Home::new(binary.to_owned(), PathBuf::from(dir))?;
        let gateway = home.must_start()?;
        Ok(Self { home, gateway, token: Mutex::default() })
    }

    /// A connection to it.
    pub(crate) fn wire(&self) -> Wire {
        Wire::new(self.home.addr)
    }

    /// The value of an `Authorization` header of the organisation's EHR.
    pub(crate) fn bearer(&self) -> Result<String> {
        let mut held = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((token, made)) = held.as_ref()
            && made.elapsed() < TOKEN_LIFE
        {
            return Ok(format!("Bearer {token}"));
        }
        let token = self.home.token()?;
        *held = Some((token.clone(), Instant::now()));
        Ok(format!("Bearer {token}"))
    }

    /// Fails when it has ended, or when a call ended in a panic.
    pub(crate) fn sound(&mut self) -> Result<()> {
        if let Some(status) = self.gateway.wait(Duration::ZERO)? {
            return Err(Error::failed(format!("the gateway has ended: {status}")));
        }
        match self.metric("vouchsafe_panics_total")? {
            0 => Ok(()),
            n => Err(Error::failed(format!("the gateway has panicked {n} times"))),
        }
    }

    fn metric(&self, name: &str) -> Result<u64> {
        let answer = self.wire().call("GET", "/metrics", &[], None);
        let answer = answer.map_err(|source| Error::Io { what: "cannot read /metrics".to_owned(), source })?;
        let text = String::from_utf8_lossy(&answer.body);
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok());
        value.ok_or_else(|| Error::failed(format!("/metrics does not give {name}")))
    }

    /// The most KiB of memory that it has held so far.
    pub(crate) fn most_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.gateway.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.and_then(|line| line.split_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or(0)
    }
}
