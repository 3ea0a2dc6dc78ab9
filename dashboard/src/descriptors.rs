//! How many files and connections the process may hold: as many as the system lets it, for a shell's own limit is far below what
//! the connections need that are promised.

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// For the log, the brokers, the database, and what is being accepted.
const BESIDE_CONNECTIONS: u64 = 256;

/// Raises the limit, and says so where it stays below what `connections` need.
pub fn allow(connections: u64) {
    let needed = connections + BESIDE_CONNECTIONS;
    match raise(needed) {
        Ok(limit) if limit < needed => tracing::warn!(
            limit,
            needed,
            "no more than {limit} files and connections are allowed, and {needed} may be needed: raise the hard limit \
             (`ulimit -Hn`, LimitNOFILE= of systemd, --ulimit nofile of docker), or lower --max-connections \
             (DASHBOARD_MAX_CONNECTIONS)"
        ),
        Ok(limit) => tracing::debug!(limit, "files and connections that are allowed"),
        Err(error) => tracing::warn!("the limit of open files is not known: {error}"),
    }
}

/// Gives what is allowed now: at least what was allowed before.
fn raise(needed: rlim_t) -> nix::Result<rlim_t> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = needed.min(hard);
    if soft >= wanted {
        return Ok(soft);
    }
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)?;
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_it_may_be_and_never_lowered() {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("limits");
        assert_eq!(raise(1), Ok(soft));
        let more = (soft + 1).min(hard);
        assert_eq!(raise(more), Ok(more));
        assert_eq!(raise(rlim_t::MAX), Ok(hard), "no further than the hard limit");
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE), Ok((hard, hard)));
    }
}
