//! Runs the Node projects beside these tests against the program that this build has made.

use std::path::Path;
use std::process::Command;

/// Runs `tests/PROJECT/run.mjs` with `arguments`; anything but success fails the test, with all that it has printed.
pub(crate) fn run(project: &str, arguments: &[&str]) {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = package.join("tests").join(project);
    assert!(
        folder.join("node_modules").is_dir(),
        "the packages of cli/tests/{project} are not installed: run `cargo xtask test`, or `npm ci` there"
    );
    let output = Command::new("node")
        .current_dir(&folder)
        .arg("run.mjs")
        .args(arguments)
        .env("FANFARE_BIN", env!("CARGO_BIN_EXE_fanfare"))
        .env("FANFARE_ARTIFACTS", package.join("../target/artifacts"))
        .output()
        .unwrap_or_else(|error| panic!("cannot run node: {error}; `cargo xtask test` installs it"));
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cli/tests/{project}: {}\n{printed}\n{errors}", output.status);
    // What was measured on the way: seen with --nocapture.
    println!("{printed}");
    assert!(
        printed.lines().any(|line| line.starts_with("ok ")),
        "cli/tests/{project} ran nothing: {printed}\n{errors}"
    );
}
