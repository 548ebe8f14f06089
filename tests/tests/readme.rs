//! The README: what it shows is what happens, and what it tells to write works.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use session_tests::servers::{Process, free_port, program};
use tempfile::TempDir;

/// The root of the workspace.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const README: &str = include_str!("../../README.md");
const QUICKSTART: &str = include_str!("../../examples/quickstart/src/main.rs");

/// What the README has in a language, block by block.
fn blocks(language: &str) -> Vec<&'static str> {
    let fenced = README.split("```").skip(1).step_by(2);
    fenced
        .filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'))
        .collect()
}

/// The only block of a language that is so.
fn block(language: &str, is_it: impl Fn(&str) -> bool) -> &'static str {
    let mut found = blocks(language);
    found.retain(|block| is_it(block));
    assert_eq!(found.len(), 1, "{found:#?}");
    found[0]
}

/// Runs `cargo` with what is downloaded already, beside what is built already.
fn cargo(folder: &Path, words: &[&str]) -> String {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut command = Command::new(env!("CARGO"));
    command.args(words).arg("--offline").arg("--target-dir").arg(target);
    said(command.current_dir(folder))
}

/// What a program prints, which ends well.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let [said, errors] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(output.status.success(), "{command:?}:\n{said}{errors}");
    said
}

#[test]
fn the_quickstart_is_as_short_as_the_readme_says() {
    let lines = QUICKSTART.lines().count();
    assert!(lines <= 80, "{lines} lines");
    let says = format!("[{lines} lines](examples/quickstart/src/main.rs)");
    assert!(README.contains(&says), "the README does not say {says}");
}

#[test]
fn the_readme_is_what_happens() {
    let start = block("sh", |block| block.starts_with("cargo run -p"));
    let package = start.trim_end().strip_prefix("cargo run -p ").unwrap();
    cargo(Path::new(ROOT), &["build", "--locked", "-p", package]);
    let binary = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .with_file_name("debug")
        .join(package);

    let (folder, port) = (TempDir::new().unwrap(), free_port());
    let folder = folder.path();
    for console in blocks("console") {
        let mut application = Process::start(&binary, folder, None, |command| {
            command.current_dir(folder).env("PORT", port.to_string());
        });
        application.wait_until(|| TcpStream::connect(("localhost", port)).is_ok());
        for typed in console.split("$ ").skip(1) {
            let (command, shown) = typed.split_once('\n').unwrap();
            let here = command.replace("localhost:3000", &format!("localhost:{port}"));
            let mut words = here.split(' ');
            let curl = program(words.next().unwrap(), "curl", &[]);
            assert_eq!(
                said(Command::new(curl).args(words).current_dir(folder)),
                shown,
                "{command}"
            );
        }
    }
    // Without `PORT` it is where the README looks for it.
    assert!(QUICKSTART.contains(r#""PORT").unwrap_or_else(|_| "3000".into())"#));
    assert!(README.contains("the sessions are in `storage/framework/sessions`"));
    assert!(folder.join("storage/framework/sessions").is_dir());
}

#[test]
fn a_crate_written_from_the_readme_alone_works_the_first_time() {
    let (mut items, mut statements) = (String::new(), String::new());
    let application = block("rust", |block| block.contains("fn main()"));
    let test = block("rust", |block| block.contains("#[tokio::test]"));
    for block in blocks("rust") {
        let of_the_quickstart = block.trim_end().split("\n\n").all(|item| QUICKSTART.contains(item));
        match block {
            _ if block == application || block == test || of_the_quickstart => {}
            _ if block.starts_with("let ") => statements += block,
            _ => items += block,
        }
    }
    // A crate of its own, though it is in the folder of a workspace.
    let manifest = format!(
        "[package]\nname = \"written-from-the-readme\"\nedition = \"2024\"\n\n{}\n[workspace]\n",
        blocks("toml")
            .join("\n")
            .replace("\"../session-schema/", &format!("\"{ROOT}/"))
    );
    // What the README shows by itself, and what names it without saying where they come from.
    let source = format!(
        "#![deny(warnings)]

{application}
{test}
#[allow(dead_code)]
mod more {{
use super::*;
use axum::extract::State;
use session_schema::{{MemoryDriver as MyDriver, Session, SessionManager}};

{items}
async fn statements() -> std::result::Result<Router, Box<dyn std::error::Error>> {{
{statements}
Ok(app)
}}
}}
"
    );
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme");
    fs::create_dir_all(folder.join("src")).unwrap();
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    fs::write(folder.join("src/main.rs"), source).unwrap();
    fs::copy(Path::new(ROOT).join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    let said = cargo(&folder, &["test"]);
    assert!(said.contains("1 passed; 0 failed"), "{said}");
}
