//! The one binary, `vouchsafe`. Data goes to stdout, logs and progress to stderr.

mod bench;
mod chain;
mod commands;
mod consortium;
mod credentials;
mod demo;
mod exit;
mod import;
mod interrupt;
mod ledger;
mod wallet;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// Patients' records follow the patient: a consent ledger and a sealing FHIR gateway.
#[derive(Parser)]
#[command(name = "vouchsafe", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// How data is printed on stdout.
    #[arg(long, global = true, value_enum, default_value_t = Output::Text, env = "VOUCHSAFE_OUTPUT")]
    output: Output,
}

/// The form of printed data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Measures, each figure beside its baseline of the same run.
    #[command(subcommand)]
    Bench(commands::bench::Command),
    /// Plays the whole story A to H on this machine, every step checked, then serves.
    Demo(commands::demo::Args),
    /// One organisation's gateway.
    #[command(subcommand)]
    Gateway(commands::gateway::Command),
    /// Keys and tokens.
    #[command(subcommand)]
    Keys(commands::keys::Command),
    /// A real consortium on this machine, and the faults that are played on it.
    #[command(subcommand)]
    Testnet(commands::testnet::Command),
    /// One validator: the engine and the application as a pair.
    #[command(subcommand)]
    Ledger(commands::ledger::Command),
    /// Checks a proof without trusting a gateway; exit code 8 when it does not hold.
    Verify(commands::verify::Args),
}

/// Answers are made of many small pieces; glibc's allocator took a fifth of a read's time, and its threads waited for each other.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // clap ends the process with 2 on a usage error, which is the code promised for it.
    let cli = Cli::parse();
    // The demo tells its own story; that a tampered record is reported as such is part of it, not of its output.
    start_logging(if matches!(cli.command, Command::Demo(_)) { "off" } else { "warn" });
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(r) => r,
        Err(e) => return report(&exit::Failure::new(exit::Kind::Unavailable, format!("no runtime: {e}"))),
    };
    let done = runtime.block_on(async {
        match cli.command {
            Command::Bench(command) => commands::bench::run(command, cli.output).await,
            Command::Demo(args) => commands::demo::run(args, cli.output).await,
            Command::Gateway(command) => commands::gateway::run(command, cli.output).await,
            Command::Ledger(command) => commands::ledger::run(command, cli.output).await,
            Command::Keys(command) => commands::keys::run(command, cli.output).await,
            Command::Testnet(command) => commands::testnet::run(command, cli.output).await,
            Command::Verify(args) => commands::verify::run(&args, cli.output),
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

#[allow(clippy::print_stderr, reason = "an error's place is stderr, and logging may be off")]
fn report(failure: &exit::Failure) -> ExitCode {
    eprintln!("vouchsafe: {failure}");
    failure.code()
}

/// Logs go to stderr; `VOUCHSAFE_LOG` filters them, `NO_COLOR` is honoured.
fn start_logging(by_default: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("VOUCHSAFE_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(by_default));
    let colour = std::env::var_os("NO_COLOR").is_none() && std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(std::io::stderr).init();
}
