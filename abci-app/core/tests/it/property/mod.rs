//! Random acts by random parties, from a seed. After every block the machine's answers are compared with those of a
//! reference model, its state with the model's tables, and everything that must always hold is checked.
//!
//! `VOUCHSAFE_MODEL_SEED=S VOUCHSAFE_MODEL_SEQUENCES=N` runs N sequences from that seed on, `cargo xtask model` does so
//! by ten thousand.

mod acts;
mod invariants;
mod model;
mod spoil;

use std::collections::BTreeMap;

use vouchsafe_types::{Code, Count, jws::Sign as _, state::Params};

use crate::world::{Cast, MINUTE};
use acts::Actors;
use invariants::Invariants;
use model::Model;

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
#[derive(Debug, Default)]
struct Tally {
    accepted: usize,
    refused: BTreeMap<Code, usize>,
    /// Live sessions, summed over the blocks.
    live: usize,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.live += other.live;
        for (code, times) in other.refused {
            *self.refused.entry(code).or_default() += times;
        }
    }
}

/// Runs blocks of random acts.
fn simulate(seed: u64, blocks: usize) -> (Cast, Tally) {
    let mut random = Random(seed);
    let params = Params { person_per_block: Count(2), sponsored_per_block: Count(1), ..Params::default() };
    let mut cast = Cast::with(params.clone());
    let mut actors = Actors::new(&cast);
    let mut model = Model::new(&cast, params);
    let mut invariants = Invariants::new(&cast.world);
    let mut accepted: Vec<String> = Vec::new();
    let mut tally = Tally::default();
    for _ in 0..blocks {
        cast.world.time = cast.world.time.plus(pause(&mut random));
        // Mostly one act, so that everything is looked at after it.
        let acts = if random.one_in(4) { random.below(6) } else { 1 };
        let mut raws: Vec<String> = (0..acts).map(|_| actors.act(&mut random, &mut cast.world)).collect();
        let fresh = raws.len();
        // Late ones are replays; early ones have expired.
        let late = if random.one_in(2) { &accepted[accepted.len().saturating_sub(6)..] } else { &accepted };
        raws.extend(random.pick(late).filter(|_| random.one_in(4)).cloned());
        let said = cast.world.block(&raws);
        for (at, (raw, said)) in raws.into_iter().zip(said).enumerate() {
            match said {
                Ok(_) => {
                    assert!(at < fresh, "seed {seed}: a replay was accepted");
                    tally.accepted += 1;
                    accepted.push(raw);
                }
                Err(refused) => *tally.refused.entry(refused.code).or_default() += 1,
            }
        }
        model.follow(&cast.world, seed);
        model.same(&cast.world, seed);
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

/// A number that a variable of the environment sets.
#[allow(clippy::disallowed_methods, reason = "the seed of a run is asked of whoever runs it; the machine is not")]
fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text:?}")))
}

#[test]
#[allow(clippy::print_stdout, reason = "the seed makes the same run again")]
fn the_machine_says_what_the_model_says() {
    let seed = asked("VOUCHSAFE_MODEL_SEED").unwrap_or(1);
    let sequences = asked("VOUCHSAFE_MODEL_SEQUENCES").unwrap_or(200);
    println!("VOUCHSAFE_MODEL_SEED={seed} VOUCHSAFE_MODEL_SEQUENCES={sequences}");
    let mut all = Tally::default();
    for n in 0..sequences {
        all.add(simulate(seed.wrapping_add(n), 60).1);
        if (n + 1) % 1000 == 0 {
            println!("{} sequences, {} accepted", n + 1, all.accepted);
        }
    }
    println!("{} accepted, refused {:?}, {} live sessions seen", all.accepted, all.refused, all.live);
}

/// What no random act is refused with: nothing ends an account, and the node looks at sizes.
const NEVER: [Code; 2] = [Code::AccountEnded, Code::GrantFallen];

#[test]
fn fixed_seeds_reach_live_sessions_and_every_code() {
    let mut all = Tally::default();
    for seed in 0..60 {
        all.add(simulate(seed, 150).1);
    }
    assert!(all.live > 500, "the acts reach too few live sessions: {}", all.live);
    let missed: Vec<_> = Code::ALL.iter().filter(|code| !all.refused.contains_key(code)).collect();
    assert_eq!(missed, NEVER.iter().collect::<Vec<_>>(), "codes that no act was refused with: {:?}", all.refused);
}

#[test]
fn one_seed_gives_one_state() {
    let ((one, _), (two, _)) = (simulate(42, 120), simulate(42, 120));
    assert_eq!(one.world.state, two.world.state);
    assert_eq!(one.world.events, two.world.events);
    assert_eq!(one.hospital.key.public(), two.hospital.key.public());
}
