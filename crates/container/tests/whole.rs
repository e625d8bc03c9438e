//! Outputs are complete or absent, and never take the place of something that was there.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;

use nibble_container::Fault;
use nibble_container::whole::{AtomicDir, AtomicFile, abandon_all, buried, bury, same_file};

/// `abandon_all` means all, so the tests that have something unfinished take turns.
static TURN: Mutex<()> = Mutex::new(());

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_appears_when_it_is_committed() {
    let _turn = TURN.lock();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, b"old").unwrap();
    let mut file = AtomicFile::create(&path).unwrap();
    file.write_all(b"new").unwrap();
    file.flush().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"old");
    let list = names(folder.path());
    assert!(list.len() == 2 && list[1].starts_with("model.gguf.partial-"), "{list:?}");
    assert_eq!(file.path(), path);
    file.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(names(folder.path()), ["model.gguf"]);
}

#[test]
fn a_file_that_is_dropped_leaves_nothing() {
    let _turn = TURN.lock();
    let folder = tempfile::tempdir().unwrap();
    let mut file = AtomicFile::create(folder.path().join("a")).unwrap();
    file.write_all(b"half").unwrap();
    drop(file);
    assert!(names(folder.path()).is_empty());
}

#[test]
fn a_directory_appears_when_it_is_committed() {
    let _turn = TURN.lock();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    fs::write(folder.path().join("config.json"), b"{}").unwrap();
    fs::create_dir(&path).unwrap();
    let mut directory = AtomicDir::create(&path).unwrap();
    directory.file("model.safetensors").unwrap().write_all(b"data").unwrap();
    directory.copy(&folder.path().join("config.json"), "config.json").unwrap();
    assert!(directory.file("config.json").is_err(), "no file twice");
    assert!(names(&path).is_empty());
    directory.commit().unwrap();
    assert_eq!(names(&path), ["config.json", "model.safetensors"]);
    assert_eq!(names(folder.path()), ["config.json", "model"]);
}

#[test]
fn a_directory_that_is_dropped_leaves_nothing() {
    let _turn = TURN.lock();
    let folder = tempfile::tempdir().unwrap();
    let mut directory = AtomicDir::create(folder.path().join("model")).unwrap();
    directory.file("a").unwrap();
    fs::write(directory.unfinished().join("b"), b"by other means").unwrap();
    drop(directory);
    assert!(names(folder.path()).is_empty());
}

#[test]
fn what_is_there_is_not_replaced() {
    let _turn = TURN.lock();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("precious"), b"").unwrap();
    assert_eq!(AtomicDir::create(&path).unwrap_err(), Fault::NotEmpty.at(&path));
    assert_eq!(AtomicFile::create(&path).unwrap_err(), Fault::NotAFile.at(&path));
    let file = path.join("precious");
    assert!(matches!(AtomicDir::create(&file).unwrap_err().fault, Fault::Io { .. }));
    // What comes between the beginning and the end is not replaced either.
    let late = folder.path().join("late");
    let directory = AtomicDir::create(&late).unwrap();
    fs::create_dir(&late).unwrap();
    fs::write(late.join("precious"), b"").unwrap();
    assert_eq!(directory.commit().unwrap_err().file, late);
    assert_eq!(names(folder.path()), ["late", "model"]);
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("no/such/model.gguf");
    let error = AtomicFile::create(&path).unwrap_err();
    assert!(matches!(error.fault, Fault::Io { doing: "create", kind: std::io::ErrorKind::NotFound, .. }), "{error}");
    assert_eq!(error.file, path);
    assert!(AtomicFile::create("/").is_err() && AtomicDir::create("..").is_err());
}

#[test]
fn everything_unfinished_can_be_abandoned() {
    let _turn = TURN.lock();
    let folder = tempfile::tempdir().unwrap();
    let kept = AtomicFile::create(folder.path().join("kept")).unwrap();
    kept.commit().unwrap();
    let file = AtomicFile::create(folder.path().join("a")).unwrap();
    let mut directory = AtomicDir::create(folder.path().join("b")).unwrap();
    directory.file("c").unwrap();
    assert_eq!(names(folder.path()).len(), 3);
    abandon_all();
    assert_eq!(names(folder.path()), ["kept"]);
    assert!(file.commit().is_err(), "it cannot be finished any more");
    assert!(directory.commit().is_err());
    assert_eq!(names(folder.path()), ["kept"]);
}

/// What a process that was killed has left is removed by the next output to the same path, and nothing else is.
#[test]
fn what_the_dead_have_left_is_removed() {
    let _turn = TURN.lock();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let alive = AtomicFile::create(at("m.gguf")).unwrap();
    let others =
        ["m.gguf.partial-1", "m.gguf.partial-1-x", "m.gguf.partial-1-2-3", "m.gguf.partial--", "n.gguf.partial-1-0", "am.gguf.partial-1-0"];
    for name in others {
        fs::write(at(name), b"x").unwrap();
    }
    fs::create_dir(at("m.gguf.partial-12-0")).unwrap();
    fs::write(at("m.gguf.partial-12-0/model.safetensors"), [0; 100]).unwrap();
    fs::write(at("m.gguf.partial-4000000000-17"), [0; 11]).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(at("n.gguf.partial-1-0"), at("m.gguf.partial-5-5")).unwrap();
    let before = names(folder.path()).len();
    buried();
    bury(&at("m.gguf"));
    assert_eq!(buried(), (2, 111));
    assert_eq!(names(folder.path()).len(), before - 2, "{:?}", names(folder.path()));
    for name in others {
        assert!(at(name).exists(), "{name}");
    }
    // Beginning an output does the same; and who is at work is not disturbed, be it a file or a directory.
    fs::write(at("m.gguf.partial-77-1"), b"x").unwrap();
    let directory = AtomicDir::create(at("d")).unwrap();
    drop(AtomicFile::create(at("m.gguf")).unwrap());
    drop(AtomicDir::create(at("d")).unwrap());
    assert_eq!((buried(), at("m.gguf.partial-77-1").exists()), ((1, 1), false));
    alive.commit().unwrap();
    directory.commit().unwrap();
    assert!(at("m.gguf").is_file() && at("d").is_dir());
}

#[test]
fn one_file_by_two_paths() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b, link) = (folder.path().join("a"), folder.path().join("b"), folder.path().join("link"));
    fs::write(&a, b"").unwrap();
    fs::write(&b, b"").unwrap();
    assert!(same_file(&a, &a) && same_file(&a, folder.path().join("./a")));
    assert!(!same_file(&a, &b) && !same_file(folder.path().join("no"), folder.path().join("no")));
    fs::hard_link(&a, &link).unwrap();
    assert!(same_file(&a, &link));
}

/// A disk that is full after so many bytes.
#[derive(Debug)]
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if bytes.len() > self.0 {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.0 -= bytes.len();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_a_fault_with_its_kind() {
    use nibble_container::gguf::{GgufWriter, Metadata};
    use nibble_container::{Declared, Dtype};
    let declared = [Declared::new("a", &[64], Dtype::F32)];
    let mut writer = GgufWriter::start(Full(200), &Metadata::new(), &declared).unwrap();
    let fault = writer.tensor("a", &[0; 256]).unwrap_err();
    assert!(matches!(fault, Fault::Io { doing: "write", kind: std::io::ErrorKind::StorageFull, .. }), "{fault}");
    assert_eq!(fault.clone().at("/data/m.gguf").to_string(), format!("/data/m.gguf: {fault}"));
}
