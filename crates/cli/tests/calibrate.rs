//! `nibble calibrate`, and `nibble quantize` with what it writes and with methods that run a text.

mod common;

use common::{arg, command, files_below, nibble, tiny};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::Stdio;
use std::time::{Duration, Instant};

#[test]
fn an_importance_matrix_is_made_and_used() {
    let dir = tempfile::tempdir().unwrap();
    let [stats, old, text, out, new] = ["stats.gguf", "stats.dat", "text.txt", "out.gguf", "new.gguf"].map(|n| dir.path().join(n));
    let tiny = tiny();
    let summary = nibble(&["calibrate", arg(&tiny), "-o", arg(&stats), "--ctx", "64", "--chunks", "3", "--json"]).exits(0).json();
    assert_eq!((&summary["chunks"], &summary["tokens"], &summary["entries"]), (&3.into(), &192.into(), &42.into()));
    nibble(&["calibrate", arg(&tiny), "-o", arg(&stats)]).exits(1).says(&["exists already", "--force"]);
    std::fs::write(&text, "A text of one's own, read again and again. ".repeat(40)).unwrap();
    nibble(&["calibrate", arg(&tiny), arg(&text), "-o", arg(&old), "--ctx", "64"]).exits(0).prints(&["42 matrices", "text.txt"]);
    assert_ne!(&std::fs::read(&old).unwrap()[..4], b"GGUF");
    assert_eq!(files_below(dir.path()), ["stats.dat", "stats.gguf", "text.txt"], "nothing is left of what was saved on the way");
    for stats in [&stats, &old] {
        let summary = nibble(&["quantize", arg(&tiny), "--imatrix", arg(stats), "-o", arg(&out), "--force", "--json"]).exits(0).json();
        assert_eq!(summary["method"], "imatrix");
        let report = nibble(&["inspect", arg(&out), "--json"]).exits(0).json();
        assert_eq!(report["declared_type"], "Q4_K_M", "{report}");
    }
    // The matrix of another model, a file that is none, and options that do not go together.
    nibble(&["quantize", arg(&tiny), "--imatrix", arg(&out), "-o", arg(&stats), "--force"])
        .exits(1)
        .says(&["no importance matrix", "try: "]);
    nibble(&["quantize", arg(&tiny), "--imatrix", arg(&text), "-o", arg(&out), "--force"]).exits(1).says(&["text.txt", "try: "]);
    nibble(&["quantize", arg(&tiny), "--method", "imatrix", "-o", arg(&new)]).exits(2).says(&["needs --imatrix", "nibble calibrate"]);
    nibble(&["quantize", arg(&tiny), "--method", "rtn", "--imatrix", arg(&stats), "-o", arg(&new)]).exits(2).says(&["does without"]);
    nibble(&["quantize", arg(&tiny), "--calibration", arg(&text), "-o", arg(&new)]).exits(2).says(&["--calibration", "gptq"]);
    nibble(&["quantize", arg(&tiny), "--method", "gpqt", "-o", arg(&new)]).exits(2).says(&["gpqt", "gptq"]);
}

#[test]
fn gptq_reads_a_text_and_says_what_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let [text, out, nf4] = ["text.txt", "out.gguf", "nf4"].map(|n| dir.path().join(n));
    let tiny = tiny();
    std::fs::write(&text, "Too short").unwrap();
    let line = ["quantize", arg(&tiny), "--method", "gptq", "--calibration", arg(&text), "-o", arg(&out)];
    nibble(&line).exits(1).says(&["not one chunk of 512", "try: "]);
    std::fs::write(&text, "It was a long text about a rabbit, a river and the rain. ".repeat(60)).unwrap();
    nibble(&line).exits(0).prints(&["Q4_K_M, gptq"]);
    let words = nibble(&["run", arg(&out), "--raw", "--temp", "0", "-n", "4", "Once upon a time"]).exits(0).stdout;
    assert!(!words.trim().is_empty());
    nibble(&["quantize", arg(&tiny), "-t", "nf4", "--method", "gptq", "--calibration", arg(&text), "-o", arg(&nf4)]).exits(0);
    nibble(&["run", arg(&nf4), "--raw", "--temp", "0", "-n", "2", "Once"]).exits(0);
}

/// Texts as they come: none of them is read wrongly, and what cannot be read is named with a way out.
#[test]
fn any_text_is_read_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let [text, out] = ["text.txt", "out.gguf"].map(|n| dir.path().join(n));
    let tiny = tiny();
    let words = "The rain fell on the river and the river rose. ";
    let calibrate = ["calibrate", arg(&tiny), arg(&text), "-o", arg(&out), "--ctx", "32", "--chunks", "2", "--force"];
    for good in [
        words.repeat(60),
        format!("\u{feff}{}", words.repeat(20)),
        words.repeat(20).replace(". ", ".\r\n"),
        "\0".repeat(200),
        "a".repeat(5000),
    ] {
        std::fs::write(&text, good).unwrap();
        nibble(&calibrate).exits(0).prints(&["64 tokens", "2 chunks"]);
    }
    let latin = [words.repeat(20).as_bytes(), b"caf\xe9"].concat();
    let nothing: [(&[u8], &str); 4] =
        [(b"", "not one chunk of 32"), (b"\n", "not one chunk"), (b"short", "not one chunk"), (&latin, "not UTF-8 text (byte 943)")];
    std::fs::remove_file(&out).unwrap();
    for (bytes, wanted) in nothing {
        std::fs::write(&text, bytes).unwrap();
        nibble(&calibrate).exits(1).says(&["text.txt", wanted, "try: "]);
        nibble(&["quantize", arg(&tiny), "--method", "awq", "--calibration", arg(&text), "-o", arg(&out)])
            .exits(1)
            .says(&["text.txt", "try: "]);
        assert_eq!(files_below(dir.path()), ["text.txt"]);
    }
}

#[test]
fn ctrl_c_leaves_no_output() {
    let dir = tempfile::tempdir().unwrap();
    for args in [vec!["calibrate"], vec!["quantize", "--method", "gptq"]] {
        let (tiny, out) = (tiny(), dir.path().join("out.gguf"));
        let mut line = args.clone();
        line.extend([arg(&tiny), "-o", arg(&out)]);
        let mut child = command(&line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Both take longer than this with the whole text that ships; the one that writes as it goes has begun by then.
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(300) {
            assert!(child.try_wait().unwrap().is_none(), "{line:?} ended by itself");
            std::thread::sleep(Duration::from_millis(20));
        }
        kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{line:?}");
        assert!(files_below(dir.path()).is_empty(), "{line:?}: {:?}", files_below(dir.path()));
    }
}

#[test]
fn second_moments_stand_for_a_text() {
    let dir = tempfile::tempdir().unwrap();
    let [moments, some, out, text] = ["moments.gguf", "some.gguf", "out.gguf", "text.txt"].map(|n| dir.path().join(n));
    let tiny = tiny();
    let gather = ["calibrate", arg(&tiny), "--ctx", "64", "--chunks", "3", "--second-moments", "-o"];
    let made = nibble(&[&gather[..], &[arg(&moments), "--json"]].concat()).exits(0).says(&["second moments of 25 inputs", "MiB"]).json();
    assert_eq!((&made["entries"], &made["bytes"]), (&25.into(), &std::fs::metadata(&moments).unwrap().len().into()));
    nibble(&[&gather[..], &[arg(&some), "--only", "blk.0.,ffn_down"]].concat()).exits(0).prints(&["9 inputs"]);
    assert_eq!(files_below(dir.path()), ["moments.gguf", "some.gguf"]);

    let quantize = ["quantize", arg(&tiny), "-o", arg(&out), "--force", "--second-moments"];
    let summary = nibble(&[&quantize[..], &[arg(&moments), "--method", "gptq", "--json"]].concat()).exits(0).json();
    assert_eq!(summary["method"], "gptq");
    assert!(summary["seconds"].as_f64().unwrap() > 0.0 && summary["peak_resident_bytes"].as_u64().unwrap() > 0);
    nibble(&[&quantize[..], &[arg(&some), "--method", "gptq"]].concat()).exits(0).says(&["say nothing of 31 matrices"]);

    // What does not go together, and files that are none.
    for more in [&["--method", "awq"][..], &["--method", "best"], &["--method", "rtn"], &[]] {
        nibble(&[&quantize[..], &[arg(&moments)], more].concat()).exits(2).says(&["--second-moments", "try: "]);
    }
    std::fs::write(&text, "no moments").unwrap();
    nibble(&[&quantize[..], &[arg(&text), "--method", "gptq"]].concat()).exits(1).says(&["text.txt"]);
    nibble(&[&quantize[..], &[arg(&out), "--method", "gptq"]].concat()).exits(1).says(&["no file of second moments", "try: "]);
    nibble(&[&gather[..], &[arg(&text), "--force", "--only", "ffn_dwon"]].concat()).exits(1).says(&["ffn_dwon", "try: "]);
    nibble(&[&gather[..], &[arg(&dir.path().join("a.dat"))]].concat()).exits(2).says(&["GGUF"]);
}
