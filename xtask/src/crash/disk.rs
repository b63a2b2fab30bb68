//! `cargo xtask disk-full`: a gateway on a small file system is loaded until that is full. It must end by itself with the
//! code of something unavailable, and be whole again, with all that was acknowledged, when there is room.

use std::{
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use super::{field::Field, work::Worker};
use crate::{
    error::{Error, Result},
    gateway::Home,
    process,
    test::Scratch,
};

/// The file system's size, and what it grows to.
const SMALL: &str = "size=40m";
const LARGE: &str = "size=400m";
/// The exit code that scripts rely on.
const UNAVAILABLE: i32 = 7;
/// How long filling may take.
const FULL: Duration = Duration::from_secs(300);

/// A mounted tmpfs that goes away with this value.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(dir: &'a Path) -> Result<Self> {
        std::fs::create_dir_all(dir).map_err(Error::io("make", dir))?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", SMALL, "tmpfs"]).arg(dir);
        process::run(mount).map_err(|e| {
            Error::failed(format!(
                "a small file system cannot be mounted, which takes root and a kernel that permits it: {e}"
            ))
        })?;
        Ok(Self(dir))
    }

    fn enlarge(&self) -> Result<()> {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,{LARGE}")]).arg(self.0);
        process::run(mount)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // What is left is memory of this machine until the next reboot.
        let _ = process::run({
            let mut umount = Command::new("umount");
            umount.arg(self.0);
            umount
        });
    }
}

/// The chore.
pub(crate) fn chore(binary: &Path, seed: u64) -> Result<()> {
    println!("seed {seed}");
    let scratch = Scratch::new("disk-full")?;
    let dir = scratch.0.join("small");
    let mounted = Mounted::new(&dir)?;
    let home = Home::new(binary.to_owned(), dir.join("home"))?;
    let field = Field::new(home.addr, seed);
    let (filled, counts) = thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|number| {
                let field = &field;
                scope.spawn(move || {
                    let mut worker = Worker::new(field, number, seed);
                    worker.run().map(|()| worker.counts)
                })
            })
            .collect();
        let filled = fill(&home, &field, &mounted);
        if filled.is_err() {
            field.give_up();
        } else {
            field.close();
        }
        let counts: Vec<_> = workers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        (filled, counts)
    });
    let gateway = filled?;
    let mut acknowledged = 0;
    for counts in counts {
        acknowledged += counts.map_err(|_| Error::failed("a worker panicked"))??.acknowledged;
    }
    gateway.kill()?;
    let checked = home.check()?;
    println!("full: ended with {UNAVAILABLE}; with room again: {acknowledged} writes acknowledged, 0 lost, 0 doubled");
    println!("{}", checked.trim_end());
    Ok(())
}

/// Loads the gateway until it ends, makes room and starts it again.
fn fill(home: &Home, field: &Field, mounted: &Mounted<'_>) -> Result<crate::gateway::Gateway> {
    let mut gateway = home.must_start()?;
    field.up(&home.token()?);
    let began = Instant::now();
    let ended = gateway.wait(FULL)?;
    field.down();
    let Some(status) = ended else {
        return Err(Error::failed("the gateway did not end although its disk is full"));
    };
    println!("full after {:.1} s", began.elapsed().as_secs_f64());
    if status.code() != Some(UNAVAILABLE) {
        return Err(Error::failed(format!("on a full disk the gateway ended with {status}, not {UNAVAILABLE}")));
    }
    mounted.enlarge()?;
    let gateway = home.must_start()?;
    field.up(&home.token()?);
    // The workers bring what was under way to its end, and write some more.
    thread::sleep(Duration::from_secs(2));
    Ok(gateway)
}
