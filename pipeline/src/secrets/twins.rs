//! The `_FILE` twin of every variable that holds a secret: `DATABASE_URL_FILE=/run/secrets/url` says where `DATABASE_URL` is read.
//! Which arguments those are is said once, where the argument is: by `hide_env_values`.

use std::ffi::OsString;
use std::path::Path;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{Command, CommandFactory, FromArgMatches};

/// `P::parse()`, secrets from files included.
pub fn parse<P: CommandFactory + FromArgMatches>() -> P {
    parse_from(std::env::args_os())
}

/// `P::parse_from(arguments)`, secrets from files included.
pub fn parse_from<P: CommandFactory + FromArgMatches>(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> P {
    let mut matches = with_files(P::command()).get_matches_from(arguments);
    P::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.format(&mut P::command()).exit())
}

/// The command, its secrets from the files that the environment names. A mistake ends the process with exit code 2.
pub fn with_files(command: Command) -> Command {
    let mut mistake = None;
    let mut command = from_files(command, &|name| std::env::var_os(name), &mut mistake);
    match mistake {
        Some(mistake) => command.error(ErrorKind::ValueValidation, mistake).exit(),
        None => command,
    }
}

fn from_files(
    mut command: Command,
    variable: &dyn Fn(&str) -> Option<OsString>,
    mistake: &mut Option<String>,
) -> Command {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let secrets: Vec<(String, String)> = command
        .get_arguments()
        .filter(|argument| argument.is_hide_env_values_set())
        .filter_map(|argument| Some((argument.get_id().to_string(), argument.get_env()?.to_str()?.to_owned())))
        .collect();
    for (id, name) in secrets {
        let Some(file) = set(&format!("{name}_FILE")) else { continue };
        if set(&name).is_some() {
            *mistake = Some(format!("{name} and {name}_FILE are two ways to say the same: leave one out"));
            continue;
        }
        let path = Path::new(&file);
        match super::read(path).map(|text| text.trim_end_matches(['\r', '\n']).to_owned()) {
            // A variable that is set to nothing would count more than a default.
            Ok(text) if !text.is_empty() => {
                command = command.mut_arg(id, |argument| {
                    argument.env(Resettable::Reset).default_value(text).hide_default_value(true).required(false)
                });
            }
            Ok(_) => *mistake = Some(format!("{}, set by {name}_FILE, is empty", path.display())),
            Err(error) => *mistake = Some(format!("cannot read {}, set by {name}_FILE: {error}", path.display())),
        }
    }
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names {
        command = command.mut_subcommand(name, |sub| from_files(sub, variable, mistake));
    }
    command
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    /// A program whose settings have names that no program reads.
    fn program() -> Command {
        let secret = |id: &'static str, name: &'static str| Arg::new(id).long(id).env(name).hide_env_values(true);
        let place = Arg::new("place").long("place").env("A_PLACE");
        let run = Command::new("run").arg(secret("key", "A_KEY")).arg(place);
        Command::new("program").arg(secret("url", "A_URL").global(true).default_value("default")).subcommand(run)
    }

    fn told(variables: &[(&str, &str)], arguments: &[&str]) -> Result<(String, Option<String>), String> {
        let mut mistake = None;
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value));
        let command = from_files(program(), &variable, &mut mistake);
        if let Some(mistake) = mistake {
            return Err(mistake);
        }
        let matches = command.try_get_matches_from([&["program", "run"], arguments].concat());
        let matches = matches.map_err(|error| error.to_string())?;
        let (_, run) = matches.subcommand().expect("run");
        assert!(!run.contains_id("place"), "a place is no secret");
        let text = |id: &str| run.get_one::<String>(id).cloned();
        Ok((text("url").expect("a default"), text("key")))
    }

    #[test]
    fn a_secret_may_stand_in_a_file_whatever_command_it_is_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            path.display().to_string()
        };
        let (url, key, empty) = (write("url", "postgres://h\n"), write("key", " k,1 \r\n"), write("empty", "\n"));
        let both = [("A_URL_FILE", url.as_str()), ("A_KEY_FILE", &key), ("A_PLACE_FILE", &key), ("A_URL", "")];
        assert_eq!(told(&both, &[]), Ok(("postgres://h".to_owned(), Some(" k,1 ".to_owned()))));
        assert_eq!(told(&both, &["--url", "flag"]).map(|(url, _)| url), Ok("flag".to_owned()));
        assert_eq!(told(&[], &[]), Ok(("default".to_owned(), None)));
        for (variables, said) in [
            (vec![("A_URL_FILE", url.as_str()), ("A_URL", "hunter2")], "A_URL and A_URL_FILE"),
            (vec![("A_KEY_FILE", &empty)], "A_KEY_FILE, is empty"),
            (vec![("A_KEY_FILE", "/gone")], "cannot read /gone, set by A_KEY_FILE"),
        ] {
            let refused = told(&variables, &[]).expect_err("a mistake");
            assert!(refused.contains(said) && !refused.contains("hunter2"), "{refused}");
        }
    }
}
