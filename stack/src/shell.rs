//! What a person at a shell needs to reach the stack with tools that do not know tickstream's own variables.

use std::collections::BTreeMap;

use crate::Stack;

/// [`Stack::env`], plus the names that psql, the AWS command line and DuckDB read.
pub fn shell_variables(stack: &Stack) -> BTreeMap<&'static str, String> {
    let mut variables = stack.env();
    variables.insert("AWS_ENDPOINT_URL", stack.s3.endpoint_url.clone());
    variables.insert("AWS_DEFAULT_REGION", stack.s3.region.clone());
    // DuckDB wants the endpoint without its scheme: CREATE SECRET (TYPE s3, ENDPOINT getenv('S3_ENDPOINT'), …).
    if let Some((_, host)) = stack.s3.endpoint_url.split_once("://") {
        variables.insert("S3_ENDPOINT", host.trim_end_matches('/').to_owned());
    }
    if let Some(postgres) = stack.postgres() {
        variables.extend(postgres.libpq_variables());
    }
    variables
}

/// A connection URL as it may be shown.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let Some((login, host)) = rest.rsplit_once('@') else { return url.to_owned() };
    let user = login.split_once(':').map_or(login, |(user, _)| user);
    format!("{scheme}://{user}@{host}")
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn a_shown_url_has_no_password() {
        let check = |url: &str, expected: &str| assert_eq!(without_password(url), expected);
        check("postgres://me:se:cr@t@127.0.0.1:5432/db", "postgres://me@127.0.0.1:5432/db");
        check("postgres://me@host/db", "postgres://me@host/db");
        check("postgres://host/db", "postgres://host/db");
    }
}
