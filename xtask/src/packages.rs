//! The npm packages of the Node projects below `cli/tests/`, installed exactly as their lockfiles say.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::shell::{Outcome, read, root, run};

const PROJECTS: [&str; 2] = ["cli/tests/phoenix", "cli/tests/browser"];
/// Beside the packages: the lockfile that they were installed from.
const INSTALLED: &str = "node_modules/.installed-lock.json";

/// Runs `npm ci` in each project whose packages are not those of its lockfile.
pub(crate) fn install() -> Outcome {
    PROJECTS.iter().try_for_each(|project| install_in(&root().join(project), &["npm", "ci"]))
}

fn install_in(folder: &Path, line: &[&str]) -> Outcome {
    let lock = read(&folder.join("package-lock.json"))?;
    let installed = folder.join(INSTALLED);
    if fs::read_to_string(&installed).is_ok_and(|of_installed| of_installed == lock) {
        return Ok(());
    }
    run(Command::new(line[0]).current_dir(folder).args(&line[1..]))?;
    fs::write(&installed, lock).map_err(|error| format!("cannot write {}: {error}", installed.display()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_installed_once_for_each_lockfile() {
        let folder = std::env::temp_dir().join(format!("fanfare-xtask-packages-{}", std::process::id()));
        fs::create_dir_all(folder.join("node_modules")).unwrap();
        let lock_and_install = |lock: &str, line: &[&str]| {
            fs::write(folder.join("package-lock.json"), lock).unwrap();
            install_in(&folder, line)
        };
        assert!(lock_and_install("{}", &["false"]).is_err());
        assert!(lock_and_install("{}", &["true"]).is_ok());
        assert!(lock_and_install("{}", &["false"]).is_ok(), "they were there already");
        assert!(lock_and_install("{ }", &["false"]).is_err(), "another lockfile, other packages");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_lockfile_names_no_registry() {
        for project in PROJECTS {
            let lock = read(&root().join(project).join("package-lock.json")).unwrap();
            assert!(lock.contains("\"integrity\""), "{project}: nothing is pinned");
            assert!(!lock.contains("\"resolved\""), "{project}: strip `resolved`, as the project's .npmrc does");
        }
    }
}
