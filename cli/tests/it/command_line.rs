//! What the command says of itself: completions and manual pages. Neither needs a server.

use std::process::{Command, Output, Stdio};

fn tickstream(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickstream"));
    let output = command.args(arguments).stdin(Stdio::null()).env_clear().output().expect("starts");
    text(&output)
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("text")
}

#[test]
fn bash_completes_commands_and_flags() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("tickstream.bash");
    std::fs::write(&script, tickstream(&["completions", "bash"])).expect("written");
    // As bash calls it: the command, the word to complete, the one before it.
    let complete = |words: &[&str]| {
        let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let (word, before) = (&quoted[quoted.len() - 1], &quoted[quoted.len() - 2]);
        let program = format!(
            "source {}; COMP_WORDS=({}); COMP_CWORD={}; _tickstream tickstream {word} {before}; echo \"${{COMPREPLY[*]}}\"",
            script.display(),
            quoted.join(" "),
            words.len() - 1,
        );
        text(&Command::new("bash").args(["--norc", "-c", &program]).output().expect("bash"))
    };
    assert_eq!(complete(&["tickstream", "gro"]).trim(), "groups");
    let flags = complete(&["tickstream", "topics", "diff", "--"]);
    assert!(flags.contains("--output") && flags.contains("--kafka-bootstrap-servers"), "{flags}");
    assert_eq!(complete(&["tickstream", "groups", "-o", ""]).trim(), "table json csv");
}

#[test]
fn other_shells_have_their_scripts() {
    assert!(tickstream(&["completions", "zsh"]).starts_with("#compdef tickstream"));
    let fish = tickstream(&["completions", "fish"]);
    assert!(fish.contains("complete -c tickstream") && fish.contains("-a \"schema\""), "{fish}");
}

#[test]
fn each_command_has_a_page() {
    let page = tickstream(&["man", "topics", "diff"]);
    for part in [".TH tickstream-topics-diff 1", "KAFKA_BOOTSTRAP_SERVERS", "TICKSTREAM_OUTPUT", ".SH \"EXIT STATUS\""]
    {
        assert!(page.contains(part), "{part} is not in\n{page}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path().join("man1");
    let said = tickstream(&["man", "--to", folder.to_str().expect("text")]);
    let pages = std::fs::read_dir(&folder).expect("made").count();
    assert!(said.starts_with(&format!("{pages} pages: ")) && pages >= 18, "{said}");
    assert!(folder.join("tickstream-lake-accept-hole.1").exists());

    // Where groff is, it finds nothing to complain of.
    if Command::new("groff").arg("--version").output().is_ok_and(|output| output.status.success()) {
        let file = folder.join("tickstream-groups.1");
        let output = Command::new("groff").args(["-k", "-man", "-Tutf8", "-ww"]).arg(&file).output().expect("groff");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        assert!(text(&output).contains("General Commands Manual"));
    }
}

#[test]
fn a_wrong_subcommand_of_a_page_is_one_line() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickstream"));
    let output = command.args(["man", "topics", "mend"]).env_clear().output().expect("starts");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.starts_with("tickstream: tickstream-topics has no subcommand mend: one of apply, diff, list"),
        "{said}"
    );
}
