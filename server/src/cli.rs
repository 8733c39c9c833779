//! The command line.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

/// Videoconferences on your own server, for every LiveKit client.
#[derive(Debug, Parser)]
#[command(name = "conclave", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server.
    Serve(Serve),
    /// Access tokens for participants.
    #[command(subcommand)]
    Token(Token),
    /// Check a configuration file and print what it amounts to, without secrets.
    CheckConfig {
        /// The file.
        file: PathBuf,
    },
}

/// Run the server.
#[derive(Debug, Args)]
pub struct Serve {
    /// The configuration file. Without one, everything has its default.
    #[arg(long, conflicts_with = "dev")]
    pub config: Option<PathBuf>,
    /// Development mode: API key `devkey` with secret `secret`, on this machine only, and tokens for whoever asks.
    #[arg(long)]
    pub dev: bool,
    /// Listen on this address instead.
    #[arg(long)]
    pub bind: Option<IpAddr>,
}

/// Access tokens for participants.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// Print a token with which one participant may join one room.
    Create(CreateToken),
}

/// Print a token with which one participant may join one room.
#[derive(Debug, Args)]
pub struct CreateToken {
    /// The room.
    #[arg(long)]
    pub room: String,
    /// Who: unique in the room.
    #[arg(long)]
    pub identity: String,
    /// The name that others see.
    #[arg(long, default_value = "")]
    pub name: String,
    /// How long it is good for joining: numbers with units, like 90s, 6h or 1d 12h.
    #[arg(long, default_value = "6h", value_parser = duration)]
    pub valid_for: Duration,
    /// May moderate the room.
    #[arg(long)]
    pub admin: bool,
    /// Take the key from this configuration file (the first one, or that of --api-key).
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// The API key. Without it and without --config: the one of the development mode.
    #[arg(long)]
    pub api_key: Option<String>,
    /// A file with its secret. Or else the secret is in the environment variable CONCLAVE_API_SECRET: other users of
    /// this machine can read arguments.
    #[arg(long, requires = "api_key", conflicts_with = "config")]
    pub api_secret_file: Option<PathBuf>,
}

/// A time span. A number alone is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed = match text.parse() {
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text),
    };
    let duration = parsed.map_err(|error| error.to_string())?;
    // Tokens count in seconds.
    if duration < Duration::from_secs(1) {
        return Err("expected a second at least, for example 6h".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_have_units() {
        for (text, seconds) in [
            ("90", 90),
            ("90s", 90),
            ("5m", 300),
            ("6h", 21_600),
            ("2d", 172_800),
            ("1h 30m", 5_400),
            ("1.5h", 5_400),
            ("1w", 604_800),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "h",
            "-1h",
            "1x",
            "0",
            "0s",
            "500ms",
            "99999999999999999999d",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
        let message = duration("6x").unwrap_err();
        assert!(message.contains("\"x\""), "{message}");
    }
}
