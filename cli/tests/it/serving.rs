//! `demo` and `gateway start` serve until they are interrupted, to whoever holds what `credentials.json` holds.

use std::{
    fs,
    path::Path,
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

use reqwest::StatusCode;
use serde_json::Value;

use crate::support::{code, party, stderr, vouchsafe};

/// Far more than any machine needs; only a hanging process ever waits it out.
const LONG: Duration = Duration::from_secs(300);

/// A running process that does not outlive its test.
pub(crate) struct Serving {
    child: Child,
    log: tempfile::NamedTempFile,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Either fails only when the process has ended, which is what is wanted.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Serving {
    /// Starts the binary; what it writes goes to a file, which no pipe's capacity can block.
    pub(crate) fn start(args: &[&str], home: &Path) -> Self {
        let log = tempfile::NamedTempFile::new().unwrap();
        let written = log.reopen().unwrap();
        let child = vouchsafe()
            .args(args)
            .args(["--listen", "127.0.0.1:0", "--home"])
            .arg(home)
            .stdout(written.try_clone().unwrap())
            .stderr(written)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log.path()).unwrap()).into_owned()
    }

    /// Waits until it says that it serves.
    pub(crate) async fn until_it_says(&mut self, words: &str) {
        let began = Instant::now();
        while !self.said().contains(words) {
            assert!(self.child.try_wait().unwrap().is_none(), "it ended: {}", self.said());
            assert!(began.elapsed() < LONG, "it never said {words:?}: {}", self.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits for its end by itself.
    pub(crate) async fn until_it_ends(&mut self, code: i32) {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert_eq!(status.code(), Some(code), "{}", self.said());
                return;
            }
            assert!(began.elapsed() < LONG, "it does not end: {}", self.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Sends SIGINT to this one process and waits for its end.
    pub(crate) async fn interrupted(mut self) -> ExitStatus {
        let sent = Command::new("/bin/sh").args(["-c", "kill -INT \"$0\"", &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < LONG, "it does not end: {}", self.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The base URL of a party's gateway, once that is ready.
pub(crate) async fn ready(home: &Path, name: &str) -> String {
    let base = party(home, name)["base"].as_str().unwrap().to_owned();
    let readyz = format!("{}/readyz", base.trim_end_matches("/fhir"));
    let began = Instant::now();
    loop {
        match reqwest::get(&readyz).await {
            Ok(answer) if answer.status() == StatusCode::OK => return base,
            answer => assert!(began.elapsed() < LONG, "{readyz} is not ready: {answer:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) async fn token(home: &Path, name: &str) -> String {
    let mut command = vouchsafe();
    command.args(["keys", "token", "--as", name, "--home"]).arg(home);
    // The runtime goes on meanwhile: the command is a client of a server that this test waits for.
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let token = String::from_utf8(output.stdout).unwrap();
    assert_eq!(token.lines().count(), 1, "only the token is on stdout: {token:?}");
    token.trim().to_owned()
}

pub(crate) async fn get(base: &str, path: &str, token: Option<&str>) -> (StatusCode, Value) {
    let mut request = reqwest::Client::new().get(format!("{base}/{path}"));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.unwrap();
    (answer.status(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
}

#[tokio::test]
async fn a_served_demo_answers_its_parties_until_ctrl_c() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path();
    let mut demo = Serving::start(&["demo"], home);
    demo.until_it_says("Serving until Ctrl-C").await;
    let base = ready(home, "ehr-hospital-a").await;
    let ehr = token(home, "ehr-hospital-a").await;

    let (status, body) = get(&base, "metadata", Some(&ehr)).await;
    assert_eq!((status, &body["resourceType"]), (StatusCode::OK, &"CapabilityStatement".into()));
    let lindsey = party(home, "lindsey")["fhirUser"].as_str().unwrap().to_owned();
    let (status, body) = get(&base, &lindsey, Some(&ehr)).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    assert_eq!(format!("Patient/{}", body["id"].as_str().unwrap()), lindsey);
    // The token is what opens: without one, and with another's, nothing does.
    assert_eq!(get(&base, &lindsey, None).await.0, StatusCode::UNAUTHORIZED);
    let other = token(home, "ehr-hospital-b").await;
    assert_eq!(get(&base, &lindsey, Some(&other)).await.0, StatusCode::UNAUTHORIZED);

    assert_eq!(demo.interrupted().await.code(), Some(130));
}

/// The accounts of a home by their names.
fn accounts(home: &Path) -> Vec<(String, Value)> {
    ["hospital", "authority"].map(|n| (n.to_owned(), party(home, n)["account"].clone())).into()
}

#[tokio::test]
async fn a_gateway_starts_again_as_who_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("made/on/the/first/start");
    let mut first = None;
    for _ in 0..2 {
        let mut gateway = Serving::start(&["gateway", "start"], &home);
        gateway.until_it_says("Ctrl-C ends it").await;
        let base = ready(&home, "ehr-hospital").await;
        let ehr = token(&home, "ehr-hospital").await;
        let (status, body) = get(&base, "metadata", Some(&ehr)).await;
        assert_eq!((status, &body["resourceType"]), (StatusCode::OK, &"CapabilityStatement".into()));
        let now = (accounts(&home), party(&home, "ehr-hospital")["jwks"].clone());
        assert!(now.0.iter().all(|(_, account)| account.is_string()), "{now:?}");
        assert_eq!(*first.get_or_insert_with(|| now.clone()), now, "another party after the restart");
        assert_eq!(gateway.interrupted().await.code(), Some(130));
    }
}
