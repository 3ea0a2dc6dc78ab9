//! The one connection to Postgres: how it is opened, what is asked of the server, and the schema's version. There is no pool:
//! a writer writes one batch at a time, and a connection whose call failed, timed out or was dropped is thrown away
//! with its transaction, so no half-used one can come back. Must never happen here: the URL or its password in a message.

use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::Context;
use pipeline::misconfigured;
use secrecy::{ExposeSecret, SecretString};
use sqlx::migrate::{AppliedMigration, Migrate, MigrateError, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection, Row};

use crate::refusal::{database_error, describe};

const CHECK_SERVER: &str = include_str!("sql/check_server.sql");
const LIMIT_LOCK_WAITS: &str = include_str!("sql/limit_lock_waits.sql");
const LIMIT_WAITS: &str = include_str!("sql/limit_waits.sql");
const CREATE_ROLES: &str = include_str!("sql/create_roles.sql");
const BECOME_MIGRATOR: &str = include_str!("sql/become_migrator.sql");
const GRANT_RIGHTS: &str = include_str!("sql/grant_rights.sql");
const CREATE_STAGING: &str = include_str!("sql/create_staging.sql");

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");
const MIGRATIONS_TABLE: &str = "_sqlx_migrations";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a migration waits, turn by turn, for whoever holds a table.
const MIGRATION_PATIENCE: Duration = Duration::from_secs(600);
const MIGRATION_PAUSE: Duration = Duration::from_secs(1);
/// Of Postgres 14: a partition that is detached without blocking its readers.
const OLDEST_VERSION: i32 = 140_000;

/// Where the database is. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    options: PgConnectOptions,
}

impl Database {
    /// # Errors
    /// [`pipeline::Misconfigured`] when the URL cannot be read.
    pub fn new(url: &SecretString) -> anyhow::Result<Self> {
        let url = url.expose_secret();
        let known_scheme = url.starts_with("postgres://") || url.starts_with("postgresql://");
        if !known_scheme {
            return Err(bad_url("it does not start with postgres://"));
        }
        let options = PgConnectOptions::from_str(url).map_err(|error| bad_url(&error.to_string()))?;
        pipeline::secrets::note_postgres(url);
        let options = options.application_name("consumer-db").disable_statement_logging();
        Ok(Self { options })
    }

    /// The same database, where what has no schema to its name is made, read and written in `schema` alone.
    #[must_use]
    pub fn in_schema(mut self, schema: &str) -> Self {
        self.options = self.options.options([("search_path", schema)]);
        self
    }

    /// Where it is, without user and password.
    pub fn place(&self) -> String {
        let name = self.options.get_database().unwrap_or_else(|| self.options.get_username());
        match self.options.get_socket() {
            Some(socket) => format!("{name} at {}", socket.display()),
            None => format!("{name} at {}:{}", self.options.get_host(), self.options.get_port()),
        }
    }

    /// # Errors
    /// When the server cannot be reached in time or refuses.
    pub async fn connect(&self) -> Result<PgConnection, sqlx::Error> {
        // A time limit around connecting is harmless: nothing is reused of what it drops.
        tokio::time::timeout(CONNECT_TIMEOUT, self.options.connect()).await.unwrap_or_else(|_| Err(no_answer()))
    }

    /// As [`Self::connect`], for what goes on beside other writers: no statement and no lock is waited for without end.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_to_write(&self) -> Result<PgConnection, sqlx::Error> {
        let mut connection = self.connect().await?;
        let limited = tokio::time::timeout(CONNECT_TIMEOUT, sqlx::query(LIMIT_WAITS).execute(&mut connection)).await;
        limited.unwrap_or_else(|_| Err(no_answer()))?;
        Ok(connection)
    }

    /// The first connection of the process. Whatever is wrong now is for the user to mend.
    ///
    /// # Errors
    /// [`pipeline::Misconfigured`] when the server is not reached, refuses, or is not one this can work with.
    pub async fn first_connection(&self) -> anyhow::Result<PgConnection> {
        let mut connection = self.connect().await.map_err(|error| {
            let reason = database_error(&error).map_or_else(|| error.to_string(), describe);
            misconfigured(format!(
                "cannot use database {}, set by --database-url (DATABASE_URL): {reason}",
                self.place()
            ))
        })?;
        let server =
            sqlx::query(CHECK_SERVER).fetch_one(&mut connection).await.context("asking for the server's version")?;
        let (version, encoding): (i32, String) = (server.try_get("version")?, server.try_get("encoding")?);
        if version < OLDEST_VERSION {
            return Err(misconfigured(format!(
                "database {}, set by --database-url (DATABASE_URL), is Postgres {}; {} or newer is needed",
                self.place(),
                version / 10_000,
                OLDEST_VERSION / 10_000
            )));
        }
        if encoding != "UTF8" {
            return Err(misconfigured(format!(
                "database {}, set by --database-url (DATABASE_URL), has encoding {encoding}; create it with encoding UTF8",
                self.place()
            )));
        }
        Ok(connection)
    }

    /// Brings the schema up to date and says what each role may do. One at a time: sqlx takes an advisory lock. A lock that
    /// others hold is waited for in short turns, because whoever wants to read waits behind it.
    ///
    /// # Errors
    /// [`pipeline::Misconfigured`] when the schema is not ours to change, else what the server said.
    pub async fn migrate(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let mut connection = self.first_connection().await?;
            match self.migrate_through(&mut connection).await {
                Ok(()) => {
                    tracing::info!(database = self.place(), "schema up to date in database {}", self.place());
                    return connection.close().await.context("closing the migration's connection");
                }
                Err(error) if is_in_use(&error) && begun.elapsed() < MIGRATION_PATIENCE => {
                    tracing::info!("somebody holds what the migration needs in database {}: waiting", self.place());
                }
                Err(error) => return Err(self.explain(error)),
            }
            // Ends its transaction and its locks.
            drop(connection);
            tokio::time::sleep(MIGRATION_PAUSE).await;
        }
    }

    async fn migrate_through(&self, connection: &mut PgConnection) -> Result<(), MigrateError> {
        let applied = applied(connection).await?;
        if let Some(unknown) = applied.iter().find(|applied| !MIGRATIONS.version_exists(applied.version)) {
            return Err(MigrateError::VersionMissing(unknown.version));
        }
        sqlx::query(LIMIT_LOCK_WAITS).execute(&mut *connection).await?;
        let roles = sqlx::raw_sql(CREATE_ROLES).execute(&mut *connection).await;
        sqlx::raw_sql(BECOME_MIGRATOR).execute(&mut *connection).await?;
        MIGRATIONS.run(&mut *connection).await?;
        let granted = match roles {
            Ok(_) => sqlx::raw_sql(GRANT_RIGHTS).execute(&mut *connection).await,
            Err(error) => Err(error),
        };
        match granted {
            Ok(_) => Ok(()),
            Err(error) if database_error(&error).is_some_and(|e| e.code() == "42501") => {
                let reason = database_error(&error).map_or_else(String::new, describe);
                tracing::warn!(
                    "database {}: the roles tickstream_migrator, tickstream_writer and tickstream_reader are left out: {reason}; \
                     let an administrator run CREATE ROLE for the three, and the tables' owner `consumer-db migrate` again",
                    self.place()
                );
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// As [`Self::migrate`], where there is anything to do.
    ///
    /// # Errors
    /// As [`Self::migrate`].
    pub async fn bring_up_to_date(&self) -> anyhow::Result<()> {
        let mut connection = self.first_connection().await?;
        let applied = applied(&mut connection).await.map_err(|error| self.explain(error))?;
        connection.close().await.context("closing the schema check's connection")?;
        if applied.len() < MIGRATIONS.iter().count() { self.migrate().await } else { self.check_schema().await }
    }

    /// Refuses a schema that is not the one this binary was made with.
    ///
    /// # Errors
    /// [`pipeline::Misconfigured`], saying what to run.
    pub async fn check_schema(&self) -> anyhow::Result<()> {
        let mut connection = self.first_connection().await?;
        let applied = applied(&mut connection).await.map_err(|error| self.explain(error))?;
        let newest = newest_version();
        if let Some(unknown) = applied.iter().find(|applied| !MIGRATIONS.version_exists(applied.version)) {
            return Err(self.explain(MigrateError::VersionMissing(unknown.version)));
        }
        if applied.len() < MIGRATIONS.iter().count() {
            return Err(misconfigured(format!(
                "the schema of database {} is older than version {newest}, which this consumer-db needs; run `consumer-db migrate`",
                self.place()
            )));
        }
        connection.close().await.context("closing the schema check's connection")
    }

    fn explain(&self, error: MigrateError) -> anyhow::Error {
        let place = self.place();
        match &error {
            MigrateError::VersionMissing(version) => misconfigured(format!(
                "the schema of database {place} is newer than this consumer-db: it has migration {version}; run the newer consumer-db"
            )),
            MigrateError::VersionMismatch(version) => misconfigured(format!(
                "migration {version} of database {place} is not the one of this consumer-db: that schema was made by another build"
            )),
            MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => {
                let reason = database_error(cause).map_or_else(|| cause.to_string(), describe);
                misconfigured(format!(
                    "cannot migrate database {place}, set by --database-url (DATABASE_URL): {reason}; \
                     migrate as the owner of the schema, or start with --no-migrate"
                ))
            }
            _ => anyhow::Error::new(error).context(format!("migrating database {place}")),
        }
    }
}

/// The schema's version that this binary was made with.
pub fn newest_version() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default()
}

fn no_answer() -> sqlx::Error {
    let reason = format!("no answer within {CONNECT_TIMEOUT:?}");
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, reason))
}

/// The migrations that the database has seen; none where it has not even their table.
async fn applied(connection: &mut PgConnection) -> Result<Vec<AppliedMigration>, MigrateError> {
    match connection.list_applied_migrations(MIGRATIONS_TABLE).await {
        Err(MigrateError::Execute(error)) if database_error(&error).is_some_and(|e| e.code() == "42P01") => {
            Ok(Vec::new())
        }
        listed => listed,
    }
}

/// Whether a lock was not to be had in time, or was given to somebody else.
fn is_in_use(error: &MigrateError) -> bool {
    let (MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _)) = error else { return false };
    database_error(cause).is_some_and(|cause| matches!(cause.code(), "55P03" | "40P01"))
}

fn bad_url(reason: &str) -> anyhow::Error {
    misconfigured(format!(
        "--database-url (DATABASE_URL) cannot be read: {reason}; expected postgres://user:password@host:5432/database"
    ))
}

/// Makes this connection's staging table.
///
/// # Errors
/// What the server said.
pub async fn create_staging(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(CREATE_STAGING).execute(connection).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        let refused = Database::new(&SecretString::from(url)).err().map(|error| error.to_string());
        refused.unwrap_or_else(|| panic!("{url} was taken"))
    }

    #[test]
    fn a_wrong_url_is_named_without_its_password() {
        for url in ["", "mysql://u:hunter2@h/d", "u:hunter2@h/d", "postgres://u:hunter2@h:port/d"] {
            let message = refused(url);
            assert!(message.contains("DATABASE_URL") && !message.contains("hunter2"), "{message}");
        }
        let database = Database::new(&SecretString::from("postgres://u:hunter2@h:1/d")).expect("a good URL");
        assert_eq!(database.place(), "d at h:1");
    }
}
