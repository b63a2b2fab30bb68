//! How fast searches are served: a measurement, printed and never asserted, because a busy machine is not a broken one.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use crate::support::{Consortium, FOUNDERS, observation};

const CONNECTIONS: usize = 8;

/// Asks for one address over one connection until the time is over; how often it was answered.
fn ask(address: &str, path: &str, token: &str, until: Instant) -> usize {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_nodelay(true).unwrap();
    let request = format!("GET /fhir/{path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
    let (mut answered, mut buffer, mut held) = (0, vec![0; 256 << 10], Vec::new());
    while Instant::now() < until {
        socket.write_all(request.as_bytes()).unwrap();
        held.clear();
        loop {
            let n = socket.read(&mut buffer).unwrap();
            assert!(n > 0, "the server closed");
            held.extend_from_slice(&buffer[..n]);
            let Some(end) = held.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&held[..end]).to_ascii_lowercase();
            assert!(head.starts_with("http/1.1 200"), "{head}");
            let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
            if held.len() >= end + 4 + length.parse::<usize>().unwrap() {
                break;
            }
        }
        answered += 1;
    }
    answered
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout, reason = "the figures are what this tells")]
async fn searches_a_second() {
    let c = Consortium::of(&FOUNDERS[..2]).await;
    let ehr = c.system("hospital-a");
    let mut charts = Vec::new();
    for n in 0..20 {
        charts.push(c.chart("hospital-a", &format!("Speed{n}")).await);
    }
    for chart in &charts {
        for n in 1..=30 {
            ehr.post("Observation", &observation(chart, "4548-4", &format!("2026-01-{n:02}"))).await.created();
        }
    }
    let token = ehr.token().await;
    let address = ehr.base.strip_prefix("http://").unwrap().to_owned();
    let one = &charts[3];
    for (name, path) in [
        ("a read", format!("Patient/{one}")),
        ("by patient and date, a page of 10", format!("Observation?patient={one}&date=ge2026-01-05&_count=10")),
        ("by patient and date, 10 found", format!("Observation?patient={one}&date=gt2026-01-20&_count=10")),
        ("by code, a page of 10", "Observation?code=http://loinc.org|4548-4&_count=10".to_owned()),
    ] {
        let seconds = Duration::from_secs(4);
        let until = Instant::now() + seconds;
        let asked: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                let (address, path, token) = (address.clone(), path.clone(), token.clone());
                tokio::task::spawn_blocking(move || ask(&address, &path, &token, until))
            })
            .collect();
        let mut answered = 0;
        for one in asked {
            answered += one.await.unwrap();
        }
        println!("{name}: {:.0}/s with {CONNECTIONS} connections", answered as f64 / seconds.as_secs_f64());
    }
    c.end().await;
}
