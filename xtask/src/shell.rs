//! Starting programs: where the repository is, how `cargo` is called, how a failure is reported.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Why a command of xtask did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Printed by `main` as the last thing.
    Message(String),
    /// Everything there is to say has been printed already.
    Reported,
}

/// What a command of xtask comes to.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Message(message)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Message(message) => f.write_str(message),
            Self::Reported => f.write_str("failed, see above"),
        }
    }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().expect("xtask lies in the root of the repository").to_path_buf()
}

/// The folder of the build that is called `name`, apart from the everyday one: builds with other flags would otherwise
/// throw each other's results away.
pub(crate) fn target_dir(name: &str) -> PathBuf {
    let base = env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    root().join(base).join(name)
}

/// `cargo` with `arguments`, in the root, of the toolchain that runs xtask.
pub(crate) fn cargo<const N: usize>(arguments: [&str; N]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(arguments);
    command
}

/// RUSTFLAGS of the caller with `flags` added.
pub(crate) fn rustflags(flags: &str) -> String {
    match env::var("RUSTFLAGS") {
        Ok(of_caller) if !of_caller.is_empty() => format!("{of_caller} {flags}"),
        _ => flags.to_owned(),
    }
}

/// Makes the release profile of `command` cheap to build: link-time optimisation costs more than it brings to a run of
/// seconds. Debug assertions are on, since such a run exists to find faults.
pub(crate) fn quick_release(command: &mut Command) -> &mut Command {
    command
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
}

/// The line that a person would type for `command`, with the variables that were set for it.
pub(crate) fn line_of(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(name, value)| {
        let value = value?.to_string_lossy();
        let quote = if value.contains(' ') { "\"" } else { "" };
        Some(format!("{}={quote}{value}{quote}", name.to_string_lossy()))
    });
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy().into_owned());
    variables.chain([program]).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// Says what is about to run, as a shell's trace would.
pub(crate) fn announce(command: &Command) {
    eprintln!("+ {}", line_of(command));
}

/// Runs `command` with the terminal as its own; anything but success is a failure.
pub(crate) fn run(command: &mut Command) -> Outcome {
    announce(command);
    let status = command.status().map_err(|error| format!("cannot start `{}`: {error}", line_of(command)))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` failed: {status}", line_of(command)).into()) }
}

/// Whether `command` starts and succeeds; its output is thrown away.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// What `command` prints to its standard output.
pub(crate) fn output_of(command: &mut Command) -> Outcome<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot start `{}`: {error}", line_of(command)))?;
    if !output.status.success() {
        return Err(format!("`{}` failed: {}", line_of(command), output.status).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The files of `folder` whose name ends in `.rs`, as (name without the ending, path), sorted. A missing folder is
/// empty.
pub(crate) fn rust_files(folder: &Path) -> Outcome<Vec<(String, PathBuf)>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let unreadable = |error| format!("cannot read {}: {error}", folder.display());
    let mut files = Vec::new();
    for entry in folder.read_dir().map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if let (Some("rs"), Some(stem)) = (path.extension().and_then(|e| e.to_str()), path.file_stem()) {
            files.push((stem.to_string_lossy().into_owned(), path));
        }
    }
    files.sort();
    Ok(files)
}

/// The text of the file at `path`.
pub(crate) fn read(path: &Path) -> Outcome<String> {
    Ok(std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?)
}

/// Arguments as `main` has them.
#[cfg(test)]
pub(crate) fn owned(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|&argument| argument.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_with_its_variables() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["test", "--release"]).env("RUSTFLAGS", "--cfg x").env_remove("GONE");
        assert_eq!(line_of(&command), "RUSTFLAGS=\"--cfg x\" cargo test --release");
    }

    #[test]
    fn a_program_that_fails_is_a_failure() {
        assert!(run(&mut Command::new("false")).is_err());
        assert!(run(&mut Command::new("true")).is_ok());
        assert!(!succeeds(&mut Command::new("no-such-program-anywhere")));
    }
}
