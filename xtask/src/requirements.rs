//! What the commands need beyond a bare Debian with rustup: how to see that it is there, how to install it.

use std::process::Command;

use crate::shell::{Outcome, announce, run, succeeds};

/// A program that a command needs.
#[derive(Debug)]
pub(crate) struct Requirement {
    /// The name to tell a person.
    what: &'static str,
    /// It is there when this command line succeeds.
    detect: &'static [&'static str],
    /// Run one after the other when it is not.
    install: &'static [&'static [&'static str]],
}

const CLIPPY: Requirement = Requirement {
    what: "clippy",
    detect: &["cargo", "clippy", "--version"],
    install: &[&["rustup", "component", "add", "clippy"]],
};

const RUSTFMT: Requirement = Requirement {
    what: "rustfmt",
    detect: &["cargo", "fmt", "--version"],
    install: &[&["rustup", "component", "add", "rustfmt"]],
};

const CARGO_FUZZ: Requirement = Requirement {
    what: "cargo-fuzz",
    detect: &["cargo", "fuzz", "--version"],
    install: &[&["cargo", "install", "cargo-fuzz", "--version", "0.13.2", "--locked"]],
};

/// libFuzzer is C++ and comes as source.
const CXX: Requirement = Requirement {
    what: "g++",
    detect: &["g++", "--version"],
    install: &[&["apt-get", "update"], &["apt-get", "install", "-y", "g++"]],
};

/// Runs the clients that the server is tested with.
const NODE: Requirement = Requirement {
    what: "Node 18 or newer",
    detect: &["node", "-e", "process.exit(parseInt(process.versions.node) >= 18 ? 0 : 1)"],
    install: &[&["apt-get", "update"], &["apt-get", "install", "-y", "--no-install-recommends", "nodejs"]],
};

const NPM: Requirement = Requirement {
    what: "npm",
    detect: &["npm", "--version"],
    install: &[&["apt-get", "update"], &["apt-get", "install", "-y", "--no-install-recommends", "npm"]],
};

/// The demo page is tested in it.
const CHROMIUM: Requirement = Requirement {
    what: "chromium",
    detect: &["/usr/bin/chromium", "--version"],
    install: &[&["apt-get", "update"], &["apt-get", "install", "-y", "--no-install-recommends", "chromium"]],
};

/// The Autobahn suite is ported by lib2to3, which left Python with 3.13.
const PYTHON: Requirement = Requirement {
    what: "Python with venv and lib2to3",
    detect: &[
        "sh",
        "-c",
        "for python in python3.11 python3; do
             $python -W ignore -c 'import ensurepip, lib2to3, venv' && exit 0
         done
         exit 1",
    ],
    install: &[
        &["apt-get", "update"],
        &["apt-get", "install", "-y", "--no-install-recommends", "python3-venv", "python3-lib2to3"],
    ],
};

/// Nodes meet there in the tests. Debian puts it where only an administrator looks for programs.
const NATS: Requirement = Requirement {
    what: "nats-server",
    detect: &["sh", "-c", "PATH=$PATH:/usr/sbin nats-server --version"],
    install: &[&["apt-get", "update"], &["apt-get", "install", "-y", "--no-install-recommends", "nats-server"]],
};

/// Counts instructions.
const VALGRIND: Requirement = Requirement {
    what: "valgrind",
    detect: &["valgrind", "--version"],
    install: &[&["apt-get", "update"], &["apt-get", "install", "-y", "--no-install-recommends", "valgrind"]],
};

/// Needed by `test`; besides the packages of [`crate::packages`].
pub(crate) const TEST: &[Requirement] = &[NODE, NPM, CHROMIUM, NATS];
/// Needed by `soak`.
pub(crate) const SOAK: &[Requirement] = &[NATS];
/// Needed by `perf`, which sees to the toolchain itself: the file of figures names it.
pub(crate) const PERF: &[Requirement] = &[VALGRIND];
/// Needed by `conformance`.
pub(crate) const CONFORMANCE: &[Requirement] = &[PYTHON];
/// Needed by `loom`.
pub(crate) const LOOM: &[Requirement] = &[];
/// Needed by `lint`; clippy also builds the fuzz targets' dependencies.
pub(crate) const LINT: &[Requirement] = &[CLIPPY, RUSTFMT, CXX];
/// Needed by `fuzz`.
pub(crate) const FUZZ: &[Requirement] = &[CXX, CARGO_FUZZ];

/// Installs those of `requirements` that are missing, and makes sure that they are there then.
pub(crate) fn install(requirements: &[Requirement]) -> Outcome {
    for requirement in requirements {
        if is_met(requirement) {
            continue;
        }
        eprintln!("{} is missing: installing it", requirement.what);
        for line in requirement.install {
            run(&mut command(line))?;
        }
        if !is_met(requirement) {
            announce(&command(requirement.detect));
            return Err(format!("{} was installed, and is still not found", requirement.what).into());
        }
    }
    Ok(())
}

fn is_met(requirement: &Requirement) -> bool {
    succeeds(&mut command(requirement.detect))
}

fn command(line: &[&str]) -> Command {
    let (program, arguments) = line.split_first().expect("a command line names its program");
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_not_installed() {
        let there = Requirement { what: "true", detect: &["true"], install: &[&["false"]] };
        assert!(install(&[there]).is_ok());
    }

    #[test]
    fn an_installation_that_fails_is_a_failure() {
        let broken = Requirement { what: "false", detect: &["false"], install: &[&["false"]] };
        assert!(install(&[broken]).is_err());
    }

    #[test]
    fn an_installation_without_effect_is_a_failure() {
        let vain = Requirement { what: "false", detect: &["false"], install: &[&["true"]] };
        assert!(install(&[vain]).unwrap_err().to_string().contains("still not found"));
    }
}
