//! The transactions of a run: real anchors, signed before anything is measured, the same bytes for every application.
//!
//! Sixteen organisations anchor; each lane of the generator has charts of its own and moves their heads in its own order,
//! so that every compare-and-swap holds although lanes overtake each other.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use vouchsafe_types::{
    AccountId, Count, CredentialId, Handle, Hash32, Nonce, OkpJwk, RsaJwk, TimeMs,
    genesis::{Founder, Genesis, GenesisBody, Validator},
    jws::{Sign, sign_tx},
    state::{HeadMove, Params},
    tx::{Anchor, Role},
};

use crate::{
    bench::data::Rng,
    exit::{Failure, Kind, Outcome},
};

/// Organisations that sign; one may have a thousand transactions in a block.
const ORGANIZATIONS: u64 = 16;
/// How long the transactions of a run are good for: just less than the ledger allows.
const GOOD_FOR_MS: u64 = 590_000;

/// An organisation's key, made from the seed.
pub(crate) struct Signer(Ed25519KeyPair);

impl Signer {
    fn new(seed: u64, number: u64) -> Outcome<Self> {
        let secret = Hash32::of("bench key", &[&seed.to_be_bytes(), &number.to_be_bytes()]);
        let pair = Ed25519KeyPair::from_seed_unchecked(&secret.0);
        pair.map(Self).map_err(|_| Failure::new(Kind::Error, "a key could not be made"))
    }

    fn account(&self) -> AccountId {
        AccountId::of_key(self.public().bytes())
    }
}

impl Sign for Signer {
    fn public(&self) -> OkpJwk {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        OkpJwk::new(bytes)
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.0.sign(message).as_ref());
        bytes
    }
}

/// The organisations of a bench, and the document that their chain begins with.
pub(crate) struct Consortium {
    pub(crate) genesis: Genesis,
    signers: Vec<Signer>,
}

impl Consortium {
    /// Founds a chain with these validators; the organisations' keys come from the seed.
    pub(crate) fn found(seed: u64, validators: Vec<OkpJwk>, now: TimeMs) -> Outcome<Self> {
        let mut signers = (0..ORGANIZATIONS).map(|n| Signer::new(seed, n)).collect::<Outcome<Vec<_>>>()?;
        signers.sort_by_key(Signer::account);
        let founders = signers.iter().enumerate().map(|(n, signer)| founder(n, signer)).collect::<Outcome<Vec<_>>>()?;
        let body = GenesisBody {
            name: "bench".into(),
            time: now,
            founders,
            validators: validators.into_iter().map(|ed25519| Validator { ed25519, power: Count(10) }).collect(),
            params: Params { max_block_bytes: Count(2 << 20), ..Params::default() },
        };
        let signatures = signers.iter().map(|signer| body.endorse(signer)).collect();
        Ok(Self { genesis: Genesis { body, signatures }, signers })
    }

    /// So many anchors for so many lanes; number `i` is for lane `i % lanes`.
    pub(crate) fn anchors(&self, seed: u64, plan: &Anchors, now: TimeMs) -> Vec<String> {
        let chain = self.genesis.body.chain_id();
        let mut rng = Rng::new(seed);
        let mut charts = Charts::new(plan);
        let expires = now.plus(GOOD_FOR_MS);
        (0..plan.count)
            .map(|i| {
                let lane = i % plan.lanes;
                let heads = charts.moves(lane, plan.heads);
                let leaves = (0..plan.leaves).map(|_| hash(&mut rng)).collect();
                let tx = Anchor { nonce: nonce(&mut rng), expires, leaves, heads, session: None };
                sign_tx(&self.signers[lane % self.signers.len()], &chain, &tx.into())
            })
            .collect()
    }
}

/// How `bench ledger --scale` fills a state and moves in it.
impl Consortium {
    /// Anchors that each make the heads of so many charts.
    pub(crate) fn fill(&self, seed: u64, field: &mut Field, txs: usize, heads: usize, now: TimeMs) -> Vec<String> {
        let mut rng = Rng::new(seed);
        let mut sign = |heads: Vec<HeadMove>, owner: usize| self.sign(&mut rng, owner, heads, now);
        (0..txs)
            .map(|_| {
                let owner = field.seqs.len() / heads % self.signers.len();
                let mut moves: Vec<HeadMove> = (0..heads).map(|_| field.make()).collect();
                moves.sort_unstable_by_key(|head| head.handle);
                sign(moves, owner)
            })
            .collect()
    }

    /// Anchors that each move one head that there is, anywhere.
    pub(crate) fn moves(&self, seed: u64, field: &mut Field, txs: usize, heads: usize, now: TimeMs) -> Vec<String> {
        let mut rng = Rng::new(seed);
        (0..txs)
            .map(|_| {
                let chart = usize::try_from(rng.below(field.seqs.len() as u64)).unwrap_or(0);
                let (owner, head) = (chart / heads % self.signers.len(), field.advance(chart));
                self.sign(&mut rng, owner, vec![head], now)
            })
            .collect()
    }

    fn sign(&self, rng: &mut Rng, owner: usize, heads: Vec<HeadMove>, now: TimeMs) -> String {
        let (nonce, leaves) = (nonce(rng), vec![hash(rng)]);
        let tx = Anchor { nonce, expires: now.plus(GOOD_FOR_MS), leaves, heads, session: None };
        sign_tx(&self.signers[owner], &self.genesis.body.chain_id(), &tx.into())
    }
}

/// Very many charts, of which only the number of moves is kept: a million of them must not be what is measured.
#[derive(Debug, Default)]
pub(crate) struct Field {
    seqs: Vec<u16>,
}

impl Field {
    /// How many charts have a head.
    pub(crate) fn made(&self) -> usize {
        self.seqs.len()
    }

    fn make(&mut self) -> HeadMove {
        self.seqs.push(0);
        self.advance(self.seqs.len() - 1)
    }

    fn advance(&mut self, chart: usize) -> HeadMove {
        let name = Hash32::of("bench chart", &[&chart.to_be_bytes()]);
        let mut handle = [0; 16];
        handle.copy_from_slice(&name.0[..16]);
        let root = |seq: u16| Hash32::of("bench root", &[&handle, &seq.to_be_bytes()]);
        let before = self.seqs[chart];
        let seq = before.saturating_add(1);
        self.seqs[chart] = seq;
        let old = (before > 0).then(|| root(before));
        HeadMove { handle: Handle(handle), seq: Count(u64::from(seq)), old, new: root(seq) }
    }
}

/// What anchors are like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Anchors {
    pub(crate) count: usize,
    pub(crate) lanes: usize,
    /// Charts of each lane, moved in turn.
    pub(crate) charts: usize,
    pub(crate) leaves: usize,
    pub(crate) heads: usize,
}

/// Where each chart's head is.
struct Charts {
    lanes: Vec<Lane>,
}

#[derive(Clone)]
struct Lane {
    heads: Vec<(Handle, u64, Option<Hash32>)>,
    next: usize,
}

impl Charts {
    fn new(plan: &Anchors) -> Self {
        let lane = |lane: usize| {
            let mut heads: Vec<_> = (0..plan.charts.max(plan.heads))
                .map(|chart| {
                    let name = Hash32::of("bench chart", &[&lane.to_be_bytes(), &chart.to_be_bytes()]);
                    let mut handle = [0; 16];
                    handle.copy_from_slice(&name.0[..16]);
                    (Handle(handle), 0, None)
                })
                .collect();
            heads.sort_unstable_by_key(|head| head.0);
            Lane { heads, next: 0 }
        };
        Self { lanes: (0..plan.lanes).map(lane).collect() }
    }

    /// Moves the next heads of a lane, handles ascending.
    fn moves(&mut self, lane: usize, count: usize) -> Vec<HeadMove> {
        let Lane { heads, next } = &mut self.lanes[lane];
        if *next + count > heads.len() {
            *next = 0;
        }
        let moved = heads[*next..*next + count].iter_mut().map(|(handle, seq, root)| {
            *seq += 1;
            let new = Hash32::of("bench root", &[&handle.0, &seq.to_be_bytes()]);
            HeadMove { handle: *handle, seq: Count(*seq), old: root.replace(new), new }
        });
        let moved = moved.collect();
        *next += count;
        moved
    }
}

fn founder(number: usize, signer: &Signer) -> Outcome<Founder> {
    let mut modulus = vec![0x81; 384];
    modulus[1..9].copy_from_slice(&number.to_be_bytes());
    let rsa = RsaJwk::new(modulus).ok_or_else(|| Failure::new(Kind::Error, "a modulus that is none"))?;
    let role = if number == 0 { Role::Authority } else { Role::Hospital };
    let credential = CredentialId([u8::try_from(number).unwrap_or(0); 16]);
    let (account, ed25519) = (signer.account(), signer.public());
    Ok(Founder { account, role, ed25519, rsa, credential, identity: Hash32([1; 32]) })
}

fn hash(rng: &mut Rng) -> Hash32 {
    let mut bytes = [0; 32];
    for part in bytes.chunks_mut(8) {
        part.copy_from_slice(&rng.next().to_be_bytes());
    }
    Hash32(bytes)
}

fn nonce(rng: &mut Rng) -> Nonce {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash(rng).0[..16]);
    Nonce(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_bytes_and_every_head_moves_on_from_where_it_was() {
        let now = TimeMs(1_800_000_000_000);
        let consortium = Consortium::found(7, vec![OkpJwk::new([1; 32])], now).unwrap();
        consortium.genesis.check().unwrap();
        let plan = Anchors { count: 60, lanes: 3, charts: 4, leaves: 1, heads: 2 };
        let made = consortium.anchors(1, &plan, now);
        assert_eq!(made, consortium.anchors(1, &plan, now));
        assert_ne!(made, consortium.anchors(2, &plan, now));
        let mut charts = Charts::new(&plan);
        let mut before = std::collections::BTreeMap::new();
        for _ in 0..10 {
            let moves = charts.moves(1, 2);
            assert!(moves[0].handle < moves[1].handle);
            for HeadMove { handle, seq, old, new } in moves {
                let (at, root) = before.insert(handle, (seq.0, new)).map_or((0, None), |(at, root)| (at, Some(root)));
                assert_eq!((seq.0, old), (at + 1, root));
            }
        }
    }
}
