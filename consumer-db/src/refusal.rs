//! Why Postgres did not take a batch, and so what happens next. The two that must never be mixed up: a row that no database
//! would take (a dead letter, the rest goes on) and a database that takes nothing now (a pause, nothing is skipped). Only
//! the statements that carry rows can blame a row.

use std::error::Error as _;

use sqlx::postgres::PgDatabaseError;

use crate::rows::Row;

#[derive(Debug)]
pub enum Refusal {
    /// A value among the rows is refused (SQLSTATE class 22 or 23).
    Row(String),
    /// A row of the batch is refused, and the error names it.
    This(Box<Row>, String),
    /// A place of the batch, or what a further unique index guards, is taken.
    Taken(String),
    /// The day's partition is gone: somebody dropped or detached it since it was made.
    MissingDay,
    /// Another transaction was in the way (class 40): the same again may work.
    Again(anyhow::Error),
    /// Anything else: connection, authentication, disk, read-only, schema.
    Outage(anyhow::Error),
}

impl Refusal {
    /// Of a COPY of `rows`, in their order.
    pub fn of_copy(error: sqlx::Error, rows: &[Row]) -> Self {
        let line = database_error(&error).and_then(PgDatabaseError::r#where).and_then(line);
        match (Self::of_rows(error), line.and_then(|line| rows.get(line.checked_sub(1)?))) {
            (Self::Row(reason), Some(row)) => Self::This(Box::new(*row), reason),
            (refusal, _) => refusal,
        }
    }

    /// Of a statement that carries rows.
    pub fn of_rows(error: sqlx::Error) -> Self {
        let Some(database) = database_error(&error) else {
            return Self::of_statement(error);
        };
        match database.code().get(..2) {
            // A missing partition is reported as a check violation of no constraint. So is what a trigger raises by that
            // name, but it names no table.
            Some("23")
                if database.code() == "23514"
                    && database.constraint().is_none()
                    && database.table() == Some("ticks") =>
            {
                Self::MissingDay
            }
            Some("23") if database.code() == "23505" => Self::Taken(describe(database)),
            Some("22" | "23") => Self::Row(describe(database)),
            _ => Self::of_statement(error),
        }
    }

    /// Of a statement that carries none.
    pub fn of_statement(error: sqlx::Error) -> Self {
        let Some(database) = database_error(&error) else {
            return Self::Outage(no_answer(&error));
        };
        let reason = anyhow::anyhow!("Postgres: {}", describe(database));
        match database.code() {
            code if code.starts_with("40") => Self::Again(reason),
            "42P01" | "42703" | "42883" => {
                Self::Outage(reason.context("the schema is not the one this version needs; run `consumer-db migrate`"))
            }
            _ => Self::Outage(reason),
        }
    }
}

/// The line that COPY names in an error's context, its last line: "COPY ticks, line 12, column price".
fn line(context: &str) -> Option<usize> {
    let copy = context.lines().last()?.strip_prefix("COPY ")?;
    let (_, rest) = copy.split_once(", line ")?;
    rest.split(',').next()?.parse().ok()
}

/// An error of the connection, in one line.
pub fn no_answer(error: &sqlx::Error) -> anyhow::Error {
    match error.source() {
        // The outer text repeats the source's.
        Some(_) => anyhow::anyhow!("{error}"),
        None => anyhow::anyhow!("Postgres: {error}"),
    }
}

pub fn database_error(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    match error {
        sqlx::Error::Database(error) => error.try_downcast_ref(),
        _ => None,
    }
}

/// Message, detail and SQLSTATE in one line. Values of a row may be in the detail: prices and symbols, no secrets.
pub fn describe(error: &PgDatabaseError) -> String {
    let mut text = format!("{} (SQLSTATE {}", error.message(), error.code());
    if let Some(constraint) = error.constraint() {
        text += &format!(", constraint {constraint}");
    }
    if let Some(column) = error.column() {
        text += &format!(", column {column}");
    }
    text.push(')');
    if let Some(hint) = error.hint() {
        text += &format!(": {hint}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn the_line_that_copy_names() {
        assert_eq!(line("COPY ticks, line 12"), Some(12));
        assert_eq!(line("COPY ticks_staging, line 3, column price"), Some(3));
        assert_eq!(line("PL/pgSQL function check_price() line 3 at RAISE\nCOPY ticks, line 5"), Some(5));
        assert_eq!(line("COPY ticks, line 5\nSQL statement \"insert …\""), None);
        assert_eq!(line("PL/pgSQL function f() line 3 at RAISE"), None);
    }
}
