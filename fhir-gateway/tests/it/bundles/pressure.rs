//! Whoever asks for too much at a time is told so, and when to come again.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use super::{Consortium, FOUNDERS};

/// A call whose body does not come: it holds its client's turn until it is given up.
fn stalled(address: &str, token: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!(
        "POST /fhir/Location HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-type: application/fhir+json\r\ncontent-length: 10\r\n\r\n{{"
    );
    socket.write_all(head.as_bytes()).unwrap();
    socket
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_client_does_not_take_the_room_of_the_others() {
    let mut c = Consortium::of(&FOUNDERS[..2]).await;
    c.stop("hospital-a").await;
    c.limits.per_client = 4;
    c.launch("hospital-a").await;
    let (ehr, desk) = (c.system("hospital-a"), c.desk("hospital-a"));
    let token = ehr.token().await;
    let address = ehr.base.trim_start_matches("http://").to_owned();
    let mut held: Vec<TcpStream> = (0..4).map(|_| stalled(&address, &token)).collect();
    // All of them have arrived when they are being served, and the question after them is.
    let arrived = || async {
        let metrics = ehr.plain(reqwest::Method::GET, "/metrics", None, &[]).await.text();
        metrics.contains("vouchsafe_calls_in_flight 5")
    };
    for _ in 0..500 {
        if arrived().await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let refused = ehr.get("Location").await;
    assert_eq!(refused.refusal(), (429, "too-many".into()));
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(desk.get("Location").await.status, 200, "another client has its own turns");
    // A turn comes back with the end of its call.
    let mut one = held.pop().unwrap();
    one.write_all(b"\"a\":1234}").unwrap();
    let mut answer = [0; 12];
    one.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400");
    assert_eq!(ehr.get("Location").await.status, 200);
    drop(held);
    c.end().await;
}
