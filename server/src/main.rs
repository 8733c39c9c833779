//! The conclave binary. `conclave serve` is told in five steps in [`server::serve`].

use std::{io::IsTerminal, path::Path, process::ExitCode};

use anyhow::Context;
use clap::Parser;
use protocol::token::{Grant, Keys, VideoGrant, sign};
use server::{
    cli::{Cli, Command, CreateToken, Serve, Token},
    config::{Config, DEV_KEY, DEV_SECRET},
    tls::Certificates,
};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(options) => serve(options),
        Command::Token(Token::Create(options)) => create_token(options),
        Command::CheckConfig { file } => check_config(&file),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("conclave: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn check_config(file: &Path) -> anyhow::Result<()> {
    let config = Config::load(Some(file), std::env::vars())?;
    config.check_secrets()?;
    EnvFilter::try_new(&config.log.filter).context("log.filter")?;
    if config.tls.is_enabled() {
        Certificates::load(&config.tls)?;
    }
    println!("{config:#?}");
    Ok(())
}

fn serve(options: Serve) -> anyhow::Result<()> {
    let mut config = Config::load(options.config.as_deref(), std::env::vars())?;
    match (options.dev, options.bind) {
        (true, bind) => config = config.into_dev(bind),
        (false, Some(bind)) => config.http.bind = vec![bind],
        (false, None) => {}
    }
    if !config.dev {
        config.check_secrets()?;
    }
    let filter = EnvFilter::try_new(&config.log.filter).context("log.filter")?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    tracing::info!(?config, version = env!("CARGO_PKG_VERSION"), "starting");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("edge")
        .build()?;
    let result = runtime.block_on(server::serve::serve(config));
    // Tasks that are still running have had their time.
    runtime.shutdown_background();
    result
}

/// The secret of the named key, from a file or from the environment.
fn api_secret(options: &CreateToken) -> anyhow::Result<Option<String>> {
    let secret = match &options.api_secret_file {
        Some(file) => {
            let reading = || format!("cannot read {}", file.display());
            Some(std::fs::read_to_string(file).with_context(reading)?)
        }
        None if options.config.is_some() => None,
        None => std::env::var("CONCLAVE_API_SECRET").ok(),
    };
    let secret = secret.map(|secret| secret.trim().to_owned());
    anyhow::ensure!(secret.as_deref() != Some(""), "the API secret is empty");
    Ok(secret)
}

fn create_token(options: CreateToken) -> anyhow::Result<()> {
    let mut keys = match (&options.api_key, api_secret(&options)?) {
        (Some(key), Some(secret)) => Keys::new([(key.as_str(), secret)]),
        _ => Config::load(options.config.as_deref(), std::env::vars())?.keys,
    };
    if keys.is_empty() && options.config.is_none() {
        keys = Keys::new([(DEV_KEY, DEV_SECRET)]);
    }
    let api_key = options
        .api_key
        .or_else(|| keys.ids().next().map(str::to_owned));
    let grant = Grant {
        api_key: api_key.context("the configuration has no API key")?,
        identity: options.identity,
        name: options.name,
        video: Some(VideoGrant {
            room_join: true,
            room_admin: options.admin,
            room: options.room,
            ..VideoGrant::default()
        }),
        ..Grant::default()
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    println!(
        "{}",
        sign(&grant, &keys, now.as_secs(), Some(options.valid_for))?
    );
    Ok(())
}
