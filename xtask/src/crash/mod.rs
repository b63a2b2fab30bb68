//! `cargo xtask crash`: a real gateway under mixed load is killed at random times, or at every failpoint, and started again.
//! Whatever was acknowledged must be there, once, with its bytes; nothing may dangle.

pub(crate) mod disk;
mod field;
mod intake;
mod points;
mod work;

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::{
    error::{Error, Result},
    gateway::{Gateway, Home},
    rng::Rng,
    test::Scratch,
};
use field::Field;
use intake::Intake;
use work::{Counts, Worker};

/// Clients that write at the same time.
const WORKERS: u64 = 6;
/// The longest that a gateway is left alone before it is killed.
const LONGEST_MS: u64 = 1500;
/// Everything that is stored is gone through after so many crashes, and at the end.
const CHECK_EVERY: u64 = 10;

/// How a gateway is brought down.
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// How often it is killed at a random time.
    pub(crate) rounds: u64,
    /// Whether it is brought down once at every failpoint.
    pub(crate) failpoints: bool,
}

/// The chore.
pub(crate) fn chore(binary: &Path, plan: &Plan) -> Result<()> {
    println!("seed {}, {} rounds, failpoints: {}", plan.seed, plan.rounds, plan.failpoints);
    let scratch = Scratch::new("crash")?;
    let home = Home::new(binary.to_owned(), scratch.0.join("home"))?;
    let field = Field::new(home.addr, plan.seed);
    let began = Instant::now();
    let outcome = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|number| {
                let field = &field;
                scope.spawn(move || {
                    let mut worker = Worker::new(field, number, plan.seed);
                    let done = worker.run();
                    if done.is_err() {
                        // One fault is enough; the others need not go on.
                        field.close();
                    }
                    done.map(|()| worker.counts)
                })
            })
            .collect();
        let crashed = Crashing { home: &home, field: &field, plan }.run(&scratch.0);
        if crashed.is_err() {
            field.give_up();
        } else {
            field.close();
        }
        let counts: Vec<Result<Counts>> =
            workers.into_iter().map(|w| w.join().unwrap_or_else(|_| Err(Error::failed("a worker panicked")))).collect();
        (crashed, counts)
    });
    let (crashed, counts) = outcome;
    let faults: Vec<String> = counts.iter().filter_map(|c| c.as_ref().err()).map(ToString::to_string).collect();
    let crashed = crashed.map_err(|e| Error::failed(format!("{e}\n{}\nseed {}", faults.join("\n"), plan.seed)))?;
    let mut sum = Counts::default();
    for counts in counts {
        let counts = counts.map_err(|e| Error::failed(format!("{e}\nseed {}", plan.seed)))?;
        sum.acknowledged += counts.acknowledged;
        sum.retried += counts.retried;
        sum.compared += counts.compared;
    }
    let (gateway, told) = crashed;
    // The workers have looked at everything; now nothing writes.
    gateway.kill()?;
    let checked = home.check()?;
    println!(
        "{} crashes in {:.0} s: {} writes acknowledged, {} of them at a second try, {} comparisons; 0 lost, 0 doubled, 0 dangling",
        field.crashes(),
        began.elapsed().as_secs_f64(),
        sum.acknowledged,
        sum.retried,
        sum.compared
    );
    println!("{told}\n{}", checked.trim_end());
    Ok(())
}

struct Crashing<'a> {
    home: &'a Home,
    field: &'a Field,
    plan: &'a Plan,
}

impl Crashing<'_> {
    /// Kills and starts until the plan is done; the gateway that then runs, and what to tell.
    fn run(&self, scratch: &Path) -> Result<(Gateway, String)> {
        let mut rng = Rng::new(self.plan.seed);
        let mut gateway = self.serve()?;
        let mut intake = Intake::begin(self.home, &scratch.join("data"), &mut rng)?;
        for round in 1..=self.plan.rounds {
            thread::sleep(Duration::from_millis(rng.next() % LONGEST_MS));
            if !self.field.is_open() {
                break;
            }
            self.bring_down(gateway)?;
            intake.after_crash(self.home, &mut rng)?;
            if round % CHECK_EVERY == 0 {
                self.home.check()?;
            }
            gateway = self.serve()?;
        }
        let mut told = String::new();
        if self.plan.failpoints {
            (gateway, told) = self.at_failpoints(gateway, &mut rng)?;
        }
        let imported = intake.end(self.home, self.field)?;
        if self.plan.failpoints {
            let (after, more) = self.at_failpoints_alone(gateway)?;
            gateway = after;
            told.push_str(&more);
        }
        Ok((gateway, format!("{told}{imported}")))
    }

    fn serve(&self) -> Result<Gateway> {
        let gateway = self.home.must_start()?;
        self.field.up(&self.home.token()?);
        Ok(gateway)
    }

    fn bring_down(&self, gateway: Gateway) -> Result<()> {
        gateway.kill()?;
        self.field.down();
        Ok(())
    }
}
