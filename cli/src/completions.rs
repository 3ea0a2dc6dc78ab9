//! `tickstream completions SHELL`: what a shell needs to know to complete the command's words. Made from the command line's own
//! definition, so that it never lags behind it.

use clap::{Args, Command};
use clap_complete::{Shell, generate};

use crate::output;

#[derive(Args, Debug)]
#[command(after_long_help = "Where shells look for it:
  bash  tickstream completions bash > ~/.local/share/bash-completion/completions/tickstream
  zsh   tickstream completions zsh > ~/.zfunc/_tickstream    (a folder of $fpath)
  fish  tickstream completions fish > ~/.config/fish/completions/tickstream.fish")]
pub struct CompletionsArgs {
    /// The shell to complete in.
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

pub fn run(args: &CompletionsArgs, mut command: Command) -> anyhow::Result<()> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    generate(args.shell, &mut command, name, &mut script);
    output::print(&String::from_utf8(script)?)
}
