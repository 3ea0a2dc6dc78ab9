//! The database as the command reads it: one connection, plain sentences when it cannot be had. Must never happen here: a
//! password in a message, or a statement that writes.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use pipeline::misconfigured;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};

const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Args, Clone, Debug)]
pub struct DatabaseArgs {
    /// The Postgres database that consumer-db writes, `postgres://user:password@host:port/name`.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<SecretString>,
}

impl DatabaseArgs {
    /// Whether a database is named at all.
    pub fn is_named(&self) -> bool {
        self.database_url.as_ref().is_some_and(|url| !url.expose_secret().is_empty())
    }

    /// # Errors
    /// [`pipeline::Misconfigured`] when no URL is set or it makes no sense.
    pub fn options(&self) -> anyhow::Result<PgConnectOptions> {
        let url = self.database_url.as_ref().filter(|url| !url.expose_secret().is_empty()).ok_or_else(|| {
            misconfigured("no database is named: set --database-url or DATABASE_URL, such as postgres://user@host:5432/tickstream")
        })?;
        Ok(PgConnectOptions::from_str(url.expose_secret())
            .map_err(|error| misconfigured(format!("--database-url (DATABASE_URL) is no Postgres URL: {error}")))?
            .application_name("tickstream")
            .disable_statement_logging())
    }

    /// # Errors
    /// As [`Self::options`], and when the server does not let us in.
    pub async fn connect(&self) -> anyhow::Result<PgConnection> {
        let options = self.options()?;
        let place = format!("{}:{}", options.get_host(), options.get_port());
        match tokio::time::timeout(TIMEOUT, options.connect()).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(sqlx::Error::Database(error))) => Err(misconfigured(format!(
                "the database at {place}, set by --database-url (DATABASE_URL), refuses: {}",
                error.message()
            ))),
            Ok(Err(error)) => Err(misconfigured(format!(
                "no database answers at {place}, set by --database-url (DATABASE_URL): {error}"
            ))),
            Err(_) => Err(misconfigured(format!(
                "no database answers at {place}, set by --database-url (DATABASE_URL), within {TIMEOUT:?}"
            ))),
        }
    }
}

/// A table that is not there or may not be read is a matter of set-up; anything else is a failure.
pub fn explain(error: sqlx::Error) -> anyhow::Error {
    let refusal = error.as_database_error();
    let code = refusal.and_then(|refusal| refusal.code());
    let message = refusal.map_or("", |refusal| refusal.message());
    match code.as_deref() {
        Some("42P01" | "42703") => misconfigured(format!(
            "the database named by --database-url (DATABASE_URL) has not the tables of this version ({message}): start consumer-db once, it makes them"
        )),
        Some("42501") => {
            misconfigured(format!("the user in --database-url (DATABASE_URL) may not read what is asked ({message})"))
        }
        _ => anyhow::Error::from(error).context("reading the database"),
    }
}
