//! Other programs: started, waited for with a limit, ended by the id of their own group.

use std::{
    ffi::OsString,
    io::Read,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::error::{Error, Result};

const POLL: Duration = Duration::from_millis(20);

/// The cargo that runs us.
pub(crate) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Runs a program in a directory, its output going where ours goes, and fails when it does.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let shown = show(&command);
    eprintln!("$ {shown}");
    let status = command.status().map_err(|source| Error::Io { what: format!("cannot start `{shown}`"), source })?;
    if status.success() { Ok(()) } else { Err(Error::failed(format!("`{shown}` ended with {status}"))) }
}

/// What a program that was let run to its end, or to its limit, left behind.
pub(crate) struct Finished {
    /// How it ended; none when it was ended at its limit.
    pub(crate) status: Option<ExitStatus>,
    /// Standard output and standard error together.
    pub(crate) output: String,
}

impl Finished {
    pub(crate) fn success(&self) -> bool {
        self.status.is_some_and(|s| s.success())
    }
}

/// Runs a program in its own process group and collects what it says. At the limit the group is ended.
pub(crate) fn capture(mut command: Command, limit: Duration) -> Result<Finished> {
    let shown = show(&command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(|source| Error::Io { what: format!("cannot start `{shown}`"), source })?;
    let out = child.stdout.take().map(collect);
    let err = child.stderr.take().map(collect);
    let status = wait(&mut child, limit, |_| ())?;
    let mut output = String::new();
    for reader in [out, err].into_iter().flatten() {
        output.push_str(&reader.join().unwrap_or_default());
    }
    Ok(Finished { status, output })
}

fn collect(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // A pipe that breaks ends the text; how the program ended is judged by its status.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Waits for a child that leads its own group, calling `each` about fifty times a second. `None` when the limit came
/// first; the group is gone then.
pub(crate) fn wait(child: &mut Child, limit: Duration, mut each: impl FnMut(u32)) -> Result<Option<ExitStatus>> {
    let until = Instant::now() + limit;
    loop {
        each(child.id());
        match child.try_wait() {
            Ok(Some(status)) => return Ok(Some(status)),
            Ok(None) if Instant::now() < until => thread::sleep(POLL),
            Ok(None) => {
                end_group(child.id());
                // The status of what was just ended says nothing.
                let _ = child.wait();
                return Ok(None);
            }
            Err(source) => return Err(Error::Io { what: "cannot wait for a program".to_owned(), source }),
        }
    }
}

/// Ends a process group that we started, whatever is left of it.
pub(crate) fn end_group(leader: u32) {
    // The standard library cannot signal a group; a group that is gone already is no error.
    let _ = Command::new("bash")
        .args(["-c", &format!("kill -KILL -- -{leader}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// A command as one would type it.
fn show(command: &Command) -> String {
    let mut words = vec![Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy()];
    words.extend(command.get_args().map(|a| a.to_string_lossy()));
    words.join(" ")
}

/// How many tests passed or failed, by the lines that end each test binary's report.
pub(crate) fn tests_run(output: &str) -> usize {
    let results = output.lines().filter_map(|l| l.strip_prefix("test result: "));
    let counts = results.flat_map(|l| l.split(['.', ';'])).filter_map(|part| {
        let (count, word) = part.trim().split_once(' ')?;
        matches!(word, "passed" | "failed").then(|| count.parse::<usize>().ok()).flatten()
    });
    counts.sum()
}

/// True when the program can be found on PATH.
pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bash(script: &str) -> Command {
        let mut command = Command::new("bash");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_and_status_are_collected() {
        let done = capture(bash("echo out; echo err >&2; exit 3"), Duration::from_secs(60)).unwrap();
        assert_eq!(done.status.unwrap().code(), Some(3));
        assert!(done.output.contains("out") && done.output.contains("err"));
    }

    #[test]
    fn at_the_limit_the_whole_group_is_ended() {
        // Unless the grandchild is ended too, it holds the pipe open and this call does not come back.
        let done = capture(bash("sleep 600 & wait"), Duration::ZERO).unwrap();
        assert!(done.status.is_none() && !done.success());
    }

    #[test]
    fn a_filter_that_matches_nothing_ran_no_test() {
        let line = |n: u32| format!("test result: ok. {n} passed; 0 failed; 0 ignored; 0 measured; 7 filtered out\n");
        assert_eq!(tests_run(&line(0)), 0);
        assert_eq!(tests_run(&(line(2) + &line(1))), 3);
    }
}
