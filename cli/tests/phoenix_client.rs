//! The unmodified `phoenix` package from npm, and the demo page's own client, in Node against the real program:
//! `phoenix/cases.mjs` has the cases. `cargo xtask test` installs the packages.

mod node;

#[test]
fn phoenix_1_7_works_unchanged() {
    node::run("phoenix", &["1.7"]);
}

#[test]
fn phoenix_1_8_works_unchanged() {
    node::run("phoenix", &["1.8"]);
}

#[test]
fn the_client_of_the_demo_page_does_the_same() {
    node::run("phoenix", &["own"]);
}
