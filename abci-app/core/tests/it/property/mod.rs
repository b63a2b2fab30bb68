//! Random acts by random parties, from a seed, with everything that must always hold checked after every block.

mod acts;
mod invariants;

use proptest::prelude::*;
use vouchsafe_types::{
    jws::{Sign as _, sign_tx},
    state::Params,
};

use crate::world::{Cast, MINUTE};
use acts::Actors;
use invariants::Invariants;

/// Splitmix64: a seed gives the same acts on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let at = usize::try_from(self.below(items.len().max(1) as u64)).unwrap();
        items.get(at)
    }
}

/// What a run came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    accepted: usize,
    refused: usize,
    live: usize,
}

/// Runs blocks of random acts.
fn simulate(seed: u64, blocks: usize) -> (Cast, Tally) {
    let mut random = Random(seed);
    let params = Params { person_per_block: vouchsafe_types::Count(3), ..Params::default() };
    let mut cast = Cast::with(params);
    let mut actors = Actors::new(&cast);
    let mut invariants = Invariants::new(&cast.world);
    let mut accepted: Vec<String> = Vec::new();
    let mut tally = Tally::default();
    for _ in 0..blocks {
        cast.world.time = cast.world.time.plus(pause(&mut random));
        let mut raws = Vec::new();
        for _ in 0..random.below(4) {
            let (key, tx) = actors.act(&mut random, &mut cast.world);
            raws.push(sign_tx(&key, &cast.world.chain, &tx));
        }
        let fresh = raws.len();
        // Late ones are replays; early ones have expired.
        let late = if random.one_in(2) { &accepted[accepted.len().saturating_sub(6)..] } else { &accepted };
        raws.extend(random.pick(late).cloned());
        let said = cast.world.block(&raws);
        for (at, (raw, said)) in raws.into_iter().zip(said).enumerate() {
            match said {
                Ok(_) => {
                    assert!(at < fresh, "seed {seed}: a replay was accepted");
                    tally.accepted += 1;
                    accepted.push(raw);
                }
                Err(_) => tally.refused += 1,
            }
        }
        actors.learn(&cast.world);
        tally.live += invariants.check(&cast.world, seed);
    }
    (cast, tally)
}

/// Mostly little time passes, at times much.
fn pause(random: &mut Random) -> u64 {
    match random.below(40) {
        0 => 90 * MINUTE,
        1..=3 => 5 * MINUTE,
        _ => random.below(2000),
    }
}

#[test]
fn fixed_seeds_reach_live_sessions_and_keep_every_invariant() {
    let mut live = 0;
    for seed in 0..12 {
        let (_, tally) = simulate(seed, 300);
        assert!(tally.accepted > 80 && tally.refused > 50, "seed {seed}: {tally:?}");
        live += tally.live;
    }
    assert!(live > 100, "the acts reach too few live sessions: {live}");
}

#[test]
fn one_seed_gives_one_state() {
    let ((one, _), (two, _)) = (simulate(42, 120), simulate(42, 120));
    assert_eq!(one.world.state, two.world.state);
    assert_eq!(one.world.events, two.world.events);
    assert_eq!(one.hospital.key.public(), two.hospital.key.public());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_seed_keeps_every_invariant(seed in any::<u64>()) {
        simulate(seed, 150);
    }
}
