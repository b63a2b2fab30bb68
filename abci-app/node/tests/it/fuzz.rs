//! Transactions and queries that nobody means well by, from a seed: the application answers each with a code, meets no
//! fault, and a block of them computed twice gives one hash.
//!
//! `cargo xtask fuzz --only ledger` runs a million.

use tendermint_proto::{
    google::protobuf::Timestamp,
    v0_38::abci::{RequestCheckTx, RequestCommit, RequestFinalizeBlock, RequestProcessProposal, RequestQuery},
};
use vouchsafe_node::{
    abci::{Application, INTERNAL, VouchsafeAbci},
    app::App,
    store::Store,
};
use vouchsafe_types::{Code, b64, jws::Sign};

use crate::consortium::{BEGIN, Consortium};

/// Transactions of a block.
const BLOCK: usize = 50;

/// Splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n.max(1) as u64).unwrap()
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most)).map(|_| u8::try_from(self.next() & 0xff).unwrap()).collect()
    }

    /// Bytes with some of them changed, taken out, doubled or put elsewhere.
    fn bent(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bent = bytes.to_vec();
        for _ in 0..1 + self.below(4) {
            let at = self.below(bent.len());
            match self.below(6) {
                _ if bent.is_empty() => bent.push(b'x'),
                0 => bent[at] ^= 1 << self.below(8),
                1 => drop(bent.remove(at)),
                2 => bent.insert(at, *b"{}[]\",:.0-=\xff".get(self.below(12)).unwrap()),
                3 => bent.truncate(at),
                4 => {
                    let end = (at + self.below(40)).min(bent.len());
                    let part = bent[at..end].to_vec();
                    let into = self.below(bent.len());
                    bent.splice(into..into, part);
                }
                _ => bent[at] = u8::try_from(self.next() & 0x7f).unwrap(),
            }
        }
        bent
    }
}

const WORDS: [&str; 14] = [
    "null",
    "[]",
    "{}",
    "-1",
    "1e400",
    "9007199254740993",
    "0.1",
    "\"\"",
    "true",
    r#"{"$serde_json::private::Number":"7"}"#,
    r#"{"$serde_json::private::RawValue":"7"}"#,
    "\"\\ud800\"",
    "\"\\u0000\"",
    "18446744073709551616",
];

/// A transaction that is right, or was, in one of many ways.
fn transaction(random: &mut Random, c: &Consortium) -> Vec<u8> {
    let chart = random.next() % 5;
    let good = if random.below(4) == 0 { c.endpoint("https://a.example") } else { c.anchor(chart) };
    match random.below(8) {
        0 => random.bytes(600),
        1 | 2 => random.bent(good.as_bytes()),
        3 => good.into_bytes(),
        _ => signed_anew(random, c, &good),
    }
}

/// The header or the payload bent, and truly signed again, so that the signature does not hide what is behind it.
fn signed_anew(random: &mut Random, c: &Consortium, good: &str) -> Vec<u8> {
    let parts: Vec<&str> = good.split('.').collect();
    let mut texts = [b64::decode(parts[0]).unwrap(), b64::decode(parts[1]).unwrap()];
    let part = usize::from(random.below(4) != 0);
    texts[part] = if random.below(2) == 0 {
        random.bent(&texts[part])
    } else {
        let text = String::from_utf8(texts[part].clone()).unwrap();
        let members: Vec<&str> = text.split(',').collect();
        let at = random.below(members.len());
        let mut members: Vec<String> = members.into_iter().map(str::to_owned).collect();
        match members[at].clone().split_once(':') {
            Some((name, _)) if random.below(3) != 0 => {
                members[at] = format!("{name}:{}", WORDS[random.below(WORDS.len())]);
            }
            _ => members.insert(at, members[random.below(members.len())].clone()),
        }
        members.join(",").into_bytes()
    };
    let input = format!("{}.{}", b64::encode(&texts[0]), b64::encode(&texts[1]));
    let signature = c.hospital.sign(input.as_bytes());
    format!("{input}.{}", b64::encode(signature)).into_bytes()
}

fn query(random: &mut Random, c: &Consortium) -> RequestQuery {
    let paths = ["/key", "/head", "/misbehaviour", "", "/", "/key/", "/KEY", "key"];
    let mut path = paths[random.below(paths.len())].to_owned();
    if random.below(6) == 0 {
        path = String::from_utf8_lossy(&random.bytes(300)).into_owned();
    }
    let known = [c.head_key(1), b"params".to_vec(), b"genesis".to_vec()];
    let key = &known[random.below(3)];
    let data = match random.below(3) {
        0 => random.bytes(400),
        1 => random.bent(key),
        _ => key.clone(),
    };
    let heights = [0, 1, 2, -1, i64::MAX, i64::MIN, 1 << 40];
    let height = heights[random.below(heights.len())];
    RequestQuery { data: data.into(), path, height, prove: random.below(2) == 0 }
}

fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text:?}")))
}

#[test]
#[allow(clippy::print_stdout, reason = "the seed makes the same run again")]
fn whatever_is_sent_is_answered_with_a_code() {
    let seed = asked("VOUCHSAFE_FUZZ_SEED").unwrap_or(1);
    let count = asked("VOUCHSAFE_FUZZ_COUNT").unwrap_or(4000);
    println!("VOUCHSAFE_FUZZ_SEED={seed} VOUCHSAFE_FUZZ_COUNT={count}");
    let mut random = Random(seed);
    let c = Consortium::new("fuzz");
    let store = Store::open(&c.home.path().join("fuzz.redb")).unwrap();
    let app = VouchsafeAbci::new(App::open(store, &c.genesis).unwrap(), c.genesis.clone());
    let (mut height, mut done) = (0, 0);
    let mut seen = std::collections::BTreeMap::<u32, u64>::new();
    while done < count {
        height += 1;
        let txs: Vec<_> = (0..BLOCK).map(|_| transaction(&mut random, &c).into()).collect();
        done += 2 * BLOCK as u64;
        app.check_txs_ahead(&txs);
        for tx in &txs {
            let said =
                app.check_tx(RequestCheckTx { tx: tx.clone(), r#type: i32::from(random.below(8) == 0) }).unwrap();
            assert!(known(said.code), "seed {seed}: {said:?}");
        }
        for _ in 0..BLOCK {
            let said = app.query(query(&mut random, &c)).unwrap();
            assert_ne!(said.code, INTERNAL, "seed {seed}");
        }
        let ms = i64::try_from(BEGIN.0).unwrap() + height * 10;
        let time = Some(Timestamp { seconds: ms / 1000, nanos: i32::try_from(ms % 1000 * 1_000_000).unwrap() });
        let proposal = RequestProcessProposal { txs: txs.clone(), height, time, ..Default::default() };
        app.process_proposal(proposal).unwrap();
        let block = RequestFinalizeBlock { txs, height, time, ..Default::default() };
        let one = app.finalize_block(block.clone()).unwrap();
        assert_eq!(one, app.finalize_block(block).unwrap(), "seed {seed}: a block computed twice");
        for result in &one.tx_results {
            assert!(known(result.code), "seed {seed}: {result:?}");
            *seen.entry(result.code).or_default() += 1;
        }
        app.commit(RequestCommit {}).unwrap();
    }
    println!("{done} transactions and queries, codes in blocks {seen:?}");
    let reached = [0, Code::Malformed.number(), Code::BadSignature.number(), Code::StaleHead.number()];
    assert!(reached.iter().all(|code| seen.contains_key(code)), "too little was reached: {seen:?}");
}

fn known(code: u32) -> bool {
    code == 0 || code == vouchsafe_node::abci::BUSY || Code::ALL.iter().any(|known| known.number() == code)
}
