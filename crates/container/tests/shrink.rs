//! A mapped file that becomes shorter: the process ends with a message and a code, not with a bare signal.
#![cfg(any(target_os = "linux", target_os = "android"))]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

use nibble_container::whole::{AtomicDir, AtomicFile};
use nibble_container::{Fault, Map, SHRUNK_EXIT_CODE};

const LEN: usize = 1 << 20;

fn file(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("model.gguf");
    fs::write(&path, vec![7; LEN]).unwrap();
    path
}

fn shorten(path: &Path, len: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

/// Runs the test `victim` of this program as a process of its own, which knows by the variable that it is meant.
fn run(what: &str, folder: &Path) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "victim", "--nocapture"]).env("NIBBLE_TEST_VICTIM", what).env("NIBBLE_TEST_FOLDER", folder).output().unwrap()
}

/// What the child processes do. Without the variable this is an empty test.
#[test]
fn victim() {
    let Some(what) = std::env::var_os("NIBBLE_TEST_VICTIM") else { return };
    let folder = std::path::PathBuf::from(std::env::var_os("NIBBLE_TEST_FOLDER").unwrap());
    let path = file(&folder);
    let map = Map::open(&path).unwrap();
    let other = Map::open(std::env::current_exe().unwrap()).unwrap();
    assert_eq!((map[LEN - 1], other[1]), (7, b'E'));
    let mut output = AtomicFile::create(folder.join("out.gguf")).unwrap();
    output.write_all(b"half").unwrap();
    let mut directory = AtomicDir::create(folder.join("out")).unwrap();
    directory.file("model.safetensors").unwrap();
    match what.to_str().unwrap() {
        "mapped" => {
            shorten(&path, 4096);
            assert_eq!(map[4095], 7, "what is left can be read");
            println!("{}", map[LEN - 1]);
        }
        "in a thread" => {
            shorten(&path, 0);
            std::thread::spawn(move || println!("{}", map.iter().map(|&b| u32::from(b)).sum::<u32>())).join().unwrap();
        }
        "elsewhere" => {
            // A mapping that is not in the table.
            let file = fs::File::open(&path).unwrap();
            // SAFETY: read-only; that it shrinks is what is tested.
            let strange = unsafe { memmap2::Mmap::map(&file).unwrap() };
            shorten(&path, 0);
            println!("{}", strange[LEN - 1]);
        }
        "dropped" => {
            drop(map);
            let file = fs::File::open(&path).unwrap();
            // SAFETY: as above; it most likely lies where the dropped one lay.
            let strange = unsafe { memmap2::Mmap::map(&file).unwrap() };
            shorten(&path, 0);
            println!("{}", strange[LEN - 1]);
        }
        other => panic!("{other}"),
    }
    panic!("the read went well");
}

#[test]
fn a_file_that_shrinks_ends_the_process_with_its_name() {
    for what in ["mapped", "in a thread"] {
        let folder = tempfile::tempdir().unwrap();
        let output = run(what, folder.path());
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(SHRUNK_EXIT_CODE), "{what}: {text}");
        let expected = format!("error: {}: the file became shorter while it was being read", folder.path().join("model.gguf").display());
        assert!(text.contains(&expected), "{text}");
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["model.gguf"], "unfinished outputs are removed");
    }
}

#[test]
fn a_fault_elsewhere_is_left_to_the_handler_before() {
    use std::os::unix::process::ExitStatusExt;
    for what in ["elsewhere", "dropped"] {
        let folder = tempfile::tempdir().unwrap();
        let output = run(what, folder.path());
        assert_eq!(output.status.signal(), Some(libc::SIGBUS), "{what}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_length_can_be_checked_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    let map = Map::open(&path).unwrap();
    assert_eq!(map.check(), Ok(()));
    shorten(&path, 10);
    assert_eq!(map.check(), Err(Fault::Shrunk { expected: LEN as u64, found: 10 }.at(&path)));
}

#[test]
fn what_is_released_can_be_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let map = Map::open(file(folder.path())).unwrap();
    map.release(1..LEN);
    map.release(0..LEN * 2);
    map.release(LEN * 2..LEN * 3);
    assert!(map.iter().all(|&byte| byte == 7));
}

#[test]
fn an_empty_file_can_be_mapped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty");
    fs::write(&path, b"").unwrap();
    assert!(Map::open(&path).unwrap().is_empty());
}
