//! What a wrong call answers: a code that a script can rely on, and words that say what to do.

use std::{fs, net::TcpListener};

use crate::support::{code, played, run, stderr, vouchsafe};

#[test]
fn an_unknown_flag_is_a_usage_error() {
    let tried: [&[&str]; 4] =
        [&["demo", "--no-such-flag"], &["no-such-command"], &["keys", "token"], &["demo", "--listen", "nowhere"]];
    for args in tried {
        let output = run(args);
        assert_eq!(code(&output), 2, "{args:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty(), "{args:?} printed data");
    }
}

#[test]
fn the_demo_refuses_a_home_that_is_not_empty() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("mine"), "precious").unwrap();
    let output = vouchsafe().args(["demo", "--once", "--home"]).arg(home.path()).output().unwrap();
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    assert!(stderr(&output).contains("is not empty") && stderr(&output).contains("hint:"), "{}", stderr(&output));
    let left: Vec<_> = fs::read_dir(home.path()).unwrap().flatten().map(|f| f.file_name()).collect();
    assert_eq!(left, ["mine"]);
    assert_eq!(fs::read(home.path().join("mine")).unwrap(), b"precious");
}

#[test]
fn a_taken_port_is_said_with_a_hint() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    for command in [&["demo", "--once"][..], &["gateway", "start"]] {
        let home = tempfile::tempdir().unwrap();
        let output = vouchsafe().args(command).args(["--listen", &listen, "--home"]).arg(home.path()).output().unwrap();
        let said = stderr(&output);
        assert_eq!(code(&output), 7, "{command:?}: {said}");
        assert!(said.contains(&listen) && said.contains("in use"), "{command:?}: {said}");
        assert!(said.contains("hint:") && said.contains("--listen"), "{command:?}: {said}");
    }
}

#[test]
fn a_gateway_is_not_started_on_what_is_not_built_or_not_known() {
    for (flag, why) in [("--ledger", "--genesis"), ("--blobs", "embedded")] {
        let home = tempfile::tempdir().unwrap();
        let output =
            vouchsafe().args(["gateway", "start", flag, "http://x", "--home"]).arg(home.path()).output().unwrap();
        let said = stderr(&output);
        assert_eq!(code(&output), 2, "{said}");
        assert!(said.contains(why), "{flag}: {said}");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0, "something was made before the refusal");
    }
}

#[test]
fn a_token_for_nobody_lists_who_there_is() {
    let output = vouchsafe().args(["keys", "token", "--as", "nobody", "--home"]).arg(&played().home).output().unwrap();
    let said = stderr(&output);
    assert_eq!(code(&output), 3, "{said}");
    assert!(output.stdout.is_empty());
    for party in played().parties() {
        assert!(said.contains(party["name"].as_str().unwrap()), "{} is not listed: {said}", party["name"]);
    }
}

#[test]
fn a_party_without_a_client_key_says_so() {
    let output = vouchsafe().args(["keys", "token", "--as", "cedric", "--home"]).arg(&played().home).output().unwrap();
    assert_eq!(code(&output), 2, "{}", stderr(&output));
    assert!(stderr(&output).contains("no client key"), "{}", stderr(&output));
}

#[test]
fn a_home_without_credentials_is_not_found() {
    let home = tempfile::tempdir().unwrap();
    let output = vouchsafe().args(["keys", "token", "--as", "anyone", "--home"]).arg(home.path()).output().unwrap();
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    assert!(stderr(&output).contains("credentials.json"), "{}", stderr(&output));
}
