//! The demo page in Debian's chromium: two pages chat through the real program, as `browser/run.mjs` has it.
//! Screenshots are kept in `target/artifacts/`. `cargo xtask test` installs what this needs.

mod node;

#[test]
fn two_pages_chat_with_our_own_client() {
    node::run("browser", &["fanfare"]);
}

#[test]
fn two_pages_chat_with_the_phoenix_client() {
    node::run("browser", &["phoenix"]);
}
