//! Starting, killing and ending processes.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{GRACE, Net, POLL, Part, READY, founding::socket_files, gateway_mark, state::State, tail, validator_mark};
use crate::{
    error::{NetError, Result, io_at},
    process::{Process, Role, spawn},
};

impl Net {
    /// Starts every validator that does not run, and waits until all answer.
    ///
    /// # Errors
    /// `Unavailable` with the end of the log of one that does not.
    pub async fn start(&mut self, genesis: &Path) -> Result<()> {
        if self.state.separate && self.state.network.is_none() {
            self.state.lay_network()?;
            self.state.write(&self.home)?;
            // The network may have got other addresses than last time.
            self.set_up(genesis)?;
        }
        for node in 0..self.size() {
            if !self.running(node).supervisor {
                self.launch(node).await?;
            }
        }
        for node in 0..self.size() {
            self.ready(node).await?;
        }
        for gateway in 0..self.state.gateways.len() {
            self.launch_gateway(gateway, genesis)?;
        }
        for gateway in 0..self.state.gateways.len() {
            self.gateway_ready(gateway).await?;
        }
        Ok(())
    }

    /// Starts a gateway, which prefers its own organisation's validator.
    fn launch_gateway(&mut self, gateway: usize, genesis: &Path) -> Result<()> {
        let logs = self.logs();
        let door = &self.state.gateways[gateway];
        let own = self.state.validators.iter().position(|v| v.name == door.name);
        let mut urls: Vec<String> = self.state.validators.iter().map(super::state::Member::url).collect();
        urls.rotate_left(own.unwrap_or_default());
        let mut command = Command::new(&self.program);
        command.args(["gateway", "start", "--output", "json", "--ledger", &urls.join(",")]);
        // Another organisation's validator is believed only as far as it proves what it says.
        command.args(["--own-nodes", if own.is_some() { "1" } else { "0" }]);
        command.arg("--home").arg(door.home(&self.home)).arg("--genesis").arg(genesis);
        command.args(["--listen", &door.listen.to_string()]);
        let name = gateway_mark(&door.name);
        let ready = logs.join(format!("{name}.ready"));
        let process = spawn(command, &self.state.mark, &name, &ready, &self.log(&name))?;
        self.state.gateways[gateway].process = Some(process);
        self.state.write(&self.home)
    }

    /// Waits until a gateway says where it is.
    async fn gateway_ready(&self, gateway: usize) -> Result<()> {
        let door = &self.state.gateways[gateway];
        let name = gateway_mark(&door.name);
        let (ready, until) = (self.logs().join(format!("{name}.ready")), Instant::now() + READY);
        while fs::read(&ready).map_err(io_at("cannot read", &ready))?.last() != Some(&b'\n') {
            let alive = door.process.is_some_and(|p| p.alive());
            if !alive || Instant::now() >= until {
                let why = if alive { "does not serve" } else { "ended" };
                let log = tail(&self.log(&name));
                return Err(NetError::Unavailable(format!("the gateway of {} {why}:\n{log}", door.name)));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Starts one validator, whatever is left of its processes ended before; it need not answer yet.
    ///
    /// # Errors
    /// `Io` when it cannot be started.
    pub async fn launch(&mut self, node: usize) -> Result<()> {
        self.end(node).await?;
        let member = &self.state.validators[node];
        let command = match &self.state.network {
            Some(network) => network.inside(node, &self.program),
            None => Command::new(&self.program),
        };
        let (name, home) = (validator_mark(&member.name), member.home(&self.home));
        let process = launch(command, &self.state, &home, &name, &self.logs())?;
        self.state.validators[node].process = Some(process);
        self.state.write(&self.home)
    }

    /// Starts one validator again and waits until it answers.
    ///
    /// # Errors
    /// `Unavailable` with the end of its log.
    pub async fn restart(&mut self, node: usize) -> Result<()> {
        self.launch(node).await?;
        self.ready(node).await
    }

    /// Kills a validator or one half of it, as a crash would.
    ///
    /// # Errors
    /// `Io` when a process may not be signalled.
    pub async fn kill(&mut self, node: usize, part: Part) -> Result<()> {
        let meant = |role| match part {
            Part::App => role == Role::Application,
            Part::Engine => role == Role::Engine,
            Part::Both => true,
        };
        let mut victims = self.processes(node);
        // The supervisor first, so that it starts nothing again.
        victims.sort_by_key(|m| m.role != Role::Supervisor);
        let victims: Vec<Process> = victims.into_iter().filter(|m| meant(m.role)).map(|m| m.process).collect();
        for victim in &victims {
            victim.signal(Signal::KILL)?;
        }
        self.kill_all(victims).await
    }

    /// Ends what is left of a validator's processes: asks what supervises them, and after a while does not ask any more.
    async fn end(&self, node: usize) -> Result<()> {
        let supervisors = self.processes(node).into_iter().filter(|m| m.role == Role::Supervisor);
        end_all(supervisors.map(|m| m.process).collect()).await?;
        self.kill_all(self.processes(node).into_iter().map(|m| m.process).collect()).await
    }

    async fn kill_all(&self, processes: Vec<Process>) -> Result<()> {
        for process in processes {
            process.kill().await?;
        }
        Ok(())
    }

    /// Ends the testnet: afterwards there is no process, no namespace and no socket of it. Data and logs stay.
    ///
    /// # Errors
    /// `Unavailable` with what is left.
    pub async fn down(&mut self) -> Result<()> {
        let asked = self.everything().into_iter().filter(|m| m.role == Role::Supervisor);
        end_all(asked.map(|m| m.process).collect()).await?;
        self.kill_all(self.everything().into_iter().map(|m| m.process).collect()).await?;
        let mut left: Vec<String> = self.everything().iter().map(|m| format!("process {}", m.process.pid)).collect();
        if let Some(network) = &self.state.network {
            network.remove();
            left.extend(network.remains().into_iter().map(|name| format!("network namespace {name}")));
        }
        for socket in socket_files(&self.home) {
            fs::remove_file(&socket).map_err(io_at("cannot remove", &socket))?;
        }
        if !left.is_empty() {
            return Err(NetError::Unavailable(format!("left over: {}", left.join(", "))));
        }
        self.state.network = None;
        self.state.partition = None;
        self.state.validators.iter_mut().for_each(|v| v.process = None);
        self.state.gateways.iter_mut().for_each(|g| g.process = None);
        self.state.write(&self.home)
    }
}

/// Starts the validator of a home; `program` is `vouchsafe` at the place where it is to run.
pub(super) fn launch(mut program: Command, state: &State, home: &Path, name: &str, logs: &Path) -> Result<Process> {
    fs::create_dir_all(logs).map_err(io_at("cannot make", logs))?;
    program.args(["ledger", "start", "--cometbft"]).arg(&state.engine).arg("--home").arg(home);
    // The engine's log lies in its home; here is where everything is looked for.
    link(&home.join("comet.log"), &logs.join(format!("{name}-engine.log")))?;
    let (ready, log) = (logs.join(format!("{name}.ready")), logs.join(format!("{name}.log")));
    spawn(program, &state.mark, name, &ready, &log)
}

fn link(file: &Path, at: &Path) -> Result<()> {
    match std::os::unix::fs::symlink(file, at) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(io_at("cannot make", at)(e)),
        _ => Ok(()),
    }
}

/// Asks processes to end, and kills those that do not.
pub(super) async fn end_all(processes: Vec<Process>) -> Result<()> {
    for process in &processes {
        process.signal(Signal::INT)?;
    }
    let until = Instant::now() + GRACE;
    for process in processes {
        if !process.ended(until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))).await {
            process.kill().await?;
        }
    }
    Ok(())
}
