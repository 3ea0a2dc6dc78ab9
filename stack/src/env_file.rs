//! The file that tells a shell where the stack is: `export NAME='value'` lines, for `source`. It holds passwords, so only
//! its owner may read it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes `variables` so that a reader sees the old file or the new one, never a half.
pub fn write(path: &Path, variables: &BTreeMap<&str, String>) -> anyhow::Result<()> {
    let problem =
        |err: std::io::Error| pipeline::misconfigured(format!("cannot write env file {}: {err}", path.display()));
    let new = path.with_extension("new");
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(problem)?;
    }
    // Left over from a run that was cut short, it may have other permissions.
    drop(fs::remove_file(&new));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(problem)?;
    for (name, value) in variables {
        writeln!(file, "export {name}={}", quoted(value)).map_err(problem)?;
    }
    fs::rename(&new, path).map_err(problem)
}

/// One word for a POSIX shell.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/env");
        let value = "it's $HOME `x` \"y\" \\ a b".to_owned();
        write(&path, &BTreeMap::from([("TRICKY", value.clone())])).unwrap();
        let shell = std::process::Command::new("sh")
            .args(["-c", ". \"$1\"; printf %s \"$TRICKY\"", "sh"])
            .arg(&path)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(shell.stdout).unwrap(), value);
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
}
