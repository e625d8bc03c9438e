//! The step `x86` of `cargo xtask test`: never an illegal instruction, whatever the processor.
//!
//! One program holds the kernels of every instruction set and asks the CPU which of them it may run. This machine's CPU has most of them,
//! so a question that is forgotten would not be noticed here. An emulated older CPU stops at the first instruction that it lacks, as the
//! real one would. On each the kernels must give the bits that they always give, and the program must write the file and the text that it
//! writes without emulation.

use crate::test::{Count, counted, program, skip, tests};
use crate::{root, target_dir, words};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};

/// A CPU that is emulated.
struct Emulated {
    /// The name QEMU gives it; what its emulation lacks is switched off, or each process would say so.
    cpu: &'static str,
    /// Instruction sets whose kernels must run.
    isas: &'static str,
    /// One whose kernels must not.
    lacks: &'static str,
}

/// The steps by which x86-64 grew. QEMU does not emulate AVX-512 or AVX-VNNI: those run where the CPU has them.
const EMULATED: &[Emulated] = &[
    // 2003, the first: nothing but SSE2.
    Emulated { cpu: "Opteron_G1", isas: "", lacks: "avx2" },
    // 2008: SSE4.2.
    Emulated { cpu: "Nehalem", isas: "", lacks: "avx2" },
    // 2011: AVX, and neither AVX2 nor F16C.
    Emulated { cpu: "SandyBridge,-x2apic,-tsc-deadline", isas: "", lacks: "avx2" },
    // 2013: AVX2 and F16C.
    Emulated { cpu: "Haswell,-pcid,-x2apic,-tsc-deadline,-invpcid,-hle,-rtm", isas: "avx2", lacks: "avxvnni" },
];

const QEMU: &str = "qemu-x86_64";

pub fn run(count: &mut Count) -> Result<()> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return skip("older x86 CPUs are emulated on x86-64 Linux only");
    }
    let there = Command::new(QEMU).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    if !there {
        return skip("qemu-x86_64 is not installed (Debian: qemu-user), so no older x86 CPU was tried");
    }
    let program = program()?;
    let folder = target_dir().join("x86");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // Two files: the text is of four bits and six, whose kernels differ most; encoding that under emulation would take minutes, so eight
    // bits are.
    let model = folder.join("model.gguf");
    quantize(Command::new(&program), "q4_k_m", &model)?;
    let file = quantize(Command::new(&program), "q8_0", &folder.join("native.gguf"))?;
    let text = answer(Command::new(&program), &model)?;
    if text.trim().is_empty() {
        bail!("the model says nothing");
    }
    for emulated in EMULATED {
        let mut test = conformance(emulated, emulated.isas);
        counted(&mut test, count)?;
        // If the emulator were another CPU than asked for, all of this would prove nothing.
        let output = conformance(emulated, emulated.lacks).arg("bad_weights").current_dir(root()).output()?;
        if output.status.success() || !String::from_utf8_lossy(&output.stdout).contains("is required and cannot run here") {
            bail!("{} has {}: it is not emulated as asked", emulated.cpu, emulated.lacks);
        }
        let emulator = || {
            let mut command = Command::new(QEMU);
            command.args(["-cpu", emulated.cpu]).arg(&program);
            command
        };
        if quantize(emulator(), "q8_0", &folder.join("emulated.gguf"))? != file {
            bail!("{} writes another file", emulated.cpu);
        }
        let said = answer(emulator(), &model)?;
        if said != text {
            bail!("{} says {said:?} and not {text:?}", emulated.cpu);
        }
    }
    Ok(())
}

/// The kernels' conformance test on an emulated CPU, with kernels that must run.
fn conformance(emulated: &Emulated, isas: &str) -> Command {
    let mut command = tests();
    command.args(["--test", "conformance", "--"]);
    command.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER", QEMU).env("QEMU_CPU", emulated.cpu);
    command.env("NIBBLE_EMULATED", "1").env("NIBBLE_REQUIRE_ISA", isas);
    command
}

/// The bytes that the program makes of models/tiny.
fn quantize(mut program: Command, format: &str, to: &Path) -> Result<Vec<u8>> {
    program.args(["--quiet", "quantize", "models/tiny", "--force", "--type", format, "--output"]).arg(to);
    said(&mut program)?;
    std::fs::read(to).with_context(|| format!("cannot read {}", to.display()))
}

/// What the model answers. A prompt of more than eight tokens and an answer: the kernels for many tokens and for one.
fn answer(mut program: Command, model: &Path) -> Result<String> {
    let prompt = "Once upon a time, a little fox met a big brown bear in the dark forest and";
    program.arg("--quiet").arg("run").arg(model).args(["--raw", "-n", "12", "--temp", "0", prompt]);
    said(&mut program)
}

/// What a command prints on stdout; a failure names the command.
fn said(command: &mut Command) -> Result<String> {
    let words = words(command);
    eprintln!("xtask: {words}");
    let output = command.current_dir(root()).stderr(Stdio::inherit()).output().with_context(|| format!("cannot start `{words}`"))?;
    if !output.status.success() {
        bail!("`{words}` failed: {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{words}` prints what is no text"))
}
