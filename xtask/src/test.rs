//! `cargo xtask test`: fmt, tidy, clippy, every test, the README's and the tutorial's commands, the licences, the page in a
//! browser, the official clients, and the kernels under emulation: older x86 CPUs, and ARM.
//!
//! `cargo xtask test STEP...` runs only the named steps. A step that cannot run on this machine (no cargo-deny, no emulator, no ARM
//! toolchain) is said so and skipped; with NIBBLE_REQUIRE_ALL=1, as `.ci/run` sets it, that is a failure.

use crate::{clients, readme, root, shown, tidy, words, x86};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

struct Step {
    name: &'static str,
    run: fn(&mut Count) -> Result<()>,
}

const STEPS: &[Step] = &[
    Step { name: "fmt", run: |_| shown(cargo().args(["fmt", "--all", "--", "--check"])) },
    Step { name: "tidy", run: |_| tidy::run(&[]) },
    Step { name: "clippy", run: |_| shown(cargo().args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])) },
    Step { name: "unit", run: unit },
    Step { name: "doc", run: |_| shown(cargo().args(["doc", "--quiet", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings")) },
    Step { name: "readme", run: |_| readme::run(&[]) },
    Step { name: "deny", run: deny },
    Step { name: "web", run: web },
    Step { name: "clients", run: clients::run },
    Step { name: "x86", run: x86::run },
    Step { name: "arm", run: arm },
];

/// What the test runners counted.
#[derive(Default)]
pub struct Count {
    passed: u64,
    failed: u64,
    ignored: u64,
}

pub fn run(only: &[String]) -> Result<()> {
    if let Some(unknown) = only.iter().find(|name| STEPS.iter().all(|step| step.name != **name)) {
        bail!("no step `{unknown}`; the steps are: {}", STEPS.iter().map(|step| step.name).collect::<Vec<_>>().join(", "));
    }
    let mut count = Count::default();
    let mut faults = Vec::new();
    for step in STEPS.iter().filter(|step| only.is_empty() || only.iter().any(|name| name == step.name)) {
        let start = std::time::Instant::now();
        eprintln!("\nxtask: == {}", step.name);
        if let Err(error) = (step.run)(&mut count) {
            eprintln!("xtask: {} failed: {error:#}", step.name);
            faults.push(step.name);
            count.failed = count.failed.max(1);
        }
        eprintln!("xtask: == {} took {:.0} s", step.name, start.elapsed().as_secs_f64());
    }
    println!("\nxtask: {} passed, {} failed, {} skipped", count.passed, count.failed, count.ignored);
    if faults.is_empty() { Ok(()) } else { bail!("failed: {}", faults.join(", ")) }
}

pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Whether a step that cannot run is a failure.
fn strict() -> bool {
    std::env::var_os("NIBBLE_REQUIRE_ALL").is_some_and(|value| value == "1")
}

pub fn skip(what: &str) -> Result<()> {
    if strict() {
        bail!("{what}, and NIBBLE_REQUIRE_ALL=1 says that nothing may be skipped");
    }
    eprintln!("xtask: skipped: {what}");
    Ok(())
}

/// Runs tests with their output shown, and adds up the closing lines of their runners.
pub fn counted(command: &mut Command, count: &mut Count) -> Result<()> {
    let words = words(command);
    eprintln!("xtask: {words}");
    let mut child = command.current_dir(root()).stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start `{words}`"))?;
    let lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
    let before = count.passed;
    for line in lines {
        let line = line?;
        println!("{line}");
        if let Some((_, figures)) = line.split_once("test result: ") {
            let figure = |name: &str| {
                let words: Vec<&str> = figures.split([' ', ';']).collect();
                words.windows(2).find(|pair| pair[1] == name).and_then(|pair| pair[0].parse::<u64>().ok()).unwrap_or(0)
            };
            count.passed += figure("passed");
            count.failed += figure("failed");
            count.ignored += figure("ignored");
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("`{words}` failed: {status}");
    }
    if count.passed == before {
        bail!("`{words}` ran no test");
    }
    Ok(())
}

/// Every test. Without the examples, which a plain `cargo test` builds too: clippy has read them, and making ten more programs takes a minute.
fn unit(count: &mut Count) -> Result<()> {
    let own = counted(tests().args(["--no-fail-fast", "--lib", "--bins", "--tests"]), count);
    // What stands in documentation, whatever the others have given.
    own.and(counted(tests().args(["--no-fail-fast", "--doc"]), count))
}

/// `cargo test` as every step calls it: of the whole workspace, whichever part is asked for. Of one package alone cargo would choose other features for what it
/// depends on, and build that and all above it once more.
pub fn tests() -> Command {
    let mut command = cargo();
    command.args(["test", "--quiet", "--workspace"]);
    command
}

/// The program as the tests run it, built if it is not there.
pub fn program() -> Result<PathBuf> {
    // An integration test of the program is what makes cargo build the program itself with the features that tests have.
    crate::shown(tests().args(["--no-run", "--test", "run"]))?;
    Ok(crate::target_dir().join("debug/nibble"))
}

/// Licences, advisories and sources of the dependencies, as deny.toml wants them. The advisories need a database that is fetched from
/// the network, so they are left to those who have one: `cargo deny check advisories`.
fn deny(_: &mut Count) -> Result<()> {
    let there =
        cargo().args(["deny", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !there {
        return skip("cargo-deny is not installed (`cargo install cargo-deny --locked`)");
    }
    shown(cargo().args(["deny", "--log-level", "error", "check", "licenses", "bans", "sources"]))
}

/// The page: its parts by node alone, and every way through it in Chromium, against a stand-in for the server.
fn web(count: &mut Count) -> Result<()> {
    let node = Command::new("node").arg("--version").output().ok().filter(|output| output.status.success());
    let major =
        node.and_then(|output| String::from_utf8_lossy(&output.stdout).trim_start_matches('v').split('.').next()?.parse::<u32>().ok());
    if major.is_none_or(|major| major < 18) {
        return skip("node 18 or later is not installed, so the page is not tested (`bash .ci/clients.sh FOLDER` installs it)");
    }
    counted(Command::new("node").arg("crates/serve/tests/web/run.mjs"), count)
}

/// A CPU that is emulated.
struct Emulated {
    /// The name QEMU gives it.
    cpu: &'static str,
    /// Instruction sets whose kernels must run.
    isas: &'static str,
    /// Arguments of `cargo test`: which tests.
    tests: &'static str,
}

/// One CPU for each set of instructions that the kernels distinguish.
const EMULATED: &[Emulated] = &[
    // Plain NEON only: an unguarded later instruction dies here.
    Emulated { cpu: "cortex-a53", isas: "neon", tests: "-p nibble-kernels -p nibble-engine --lib --tests" },
    // Phones since 2018.
    Emulated { cpu: "cortex-a76", isas: "neon,dotprod", tests: "-p nibble-kernels --test conformance" },
    // Everything that QEMU knows: the older ones have no name for a CPU with i8mm.
    Emulated { cpu: "max", isas: "neon,dotprod,i8mm", tests: "-p nibble-kernels --test conformance" },
];

/// The kernels' and the engine's tests as aarch64 code under QEMU. NIBBLE_ARM names the folder that `.ci/arm.sh FOLDER` filled.
fn arm(count: &mut Count) -> Result<()> {
    let Some(folder) = std::env::var_os("NIBBLE_ARM") else {
        return skip("NIBBLE_ARM is not set (`bash .ci/arm.sh FOLDER` makes the toolchain, then NIBBLE_ARM=FOLDER)");
    };
    let env = Path::new(&folder).join("env");
    if !env.is_file() {
        bail!("NIBBLE_ARM: {} is not there: run `bash .ci/arm.sh {}`", env.display(), folder.to_string_lossy());
    }
    for emulated in EMULATED {
        let script = format!(
            "set -e; . \"$NIBBLE_ARM/env\"; unset RUSTUP_TOOLCHAIN CARGO RUSTC RUSTDOC RUSTFLAGS; export CARGO_TARGET_DIR=\"$NIBBLE_ARM_TARGET\"; \
             exec cargo test --quiet --target aarch64-unknown-linux-gnu {}",
            emulated.tests
        );
        let mut command = Command::new("bash");
        command.args(["-c", &script]).env("NIBBLE_ARM_TARGET", crate::target_dir().join("arm"));
        command.env("QEMU_CPU", emulated.cpu).env("NIBBLE_EMULATED", "1").env("NIBBLE_REQUIRE_ISA", emulated.isas);
        counted(&mut command, count)?;
    }
    Ok(())
}
