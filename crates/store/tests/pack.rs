//! Models packed and unpacked, and archives that are not what they should be.

mod hub;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use hub::{gguf, lora, split_gguf};
use nibble_store::{Create, Digest, Entry, Error, Modelfile, Name, Packing, Store};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

static GO_ON: AtomicBool = AtomicBool::new(false);

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn create(store: &Store, base: &Path, model: &str, modelfile: &str) -> Entry {
    let modelfile = Modelfile::parse(modelfile).unwrap();
    store
        .create(&name(model), &Create { modelfile: &modelfile, base, quantize: None, convert: None, link: false }, &mut |_| {}, &GO_ON)
        .unwrap()
}

fn pack(packing: &Packing, out: &Path) -> PathBuf {
    let bytes = packing.write(out, &mut |_| {}, &GO_ON).unwrap();
    assert_eq!(fs::metadata(out).unwrap().len(), bytes);
    out.to_path_buf()
}

fn unpack(store: &Store, archive: &Path) -> Result<Entry, Error> {
    store.unpack(archive, &name("unpacked"), &mut |_| {}, &GO_ON)
}

#[test]
fn a_model_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let here = Store::open(at("here")).unwrap();
    fs::write(at("m.gguf"), gguf(1, 300_000)).unwrap();
    fs::write(at("lora.gguf"), lora(2, 3000)).unwrap();
    let modelfile = "FROM ./m.gguf\nADAPTER ./lora.gguf\nSYSTEM Be brief.\nPARAMETER stop x\nLICENSE MIT\nMESSAGE user Hi\n";
    let entry = create(&here, dir.path(), "mine", modelfile);
    let archive = pack(&Packing::of_entry(&here, &entry), &at("mine.zip"));
    assert_eq!(fs::read(&archive).unwrap(), fs::read(pack(&Packing::of_entry(&here, &entry), &at("again.zip"))).unwrap(), "the same bytes");
    let mut zip = ZipArchive::new(File::open(&archive).unwrap()).unwrap();
    let names: Vec<String> = (0..zip.len()).map(|i| zip.by_index(i).unwrap().name().unwrap().into_owned()).collect();
    assert_eq!(names, ["README.md", "Modelfile", "mine-Q4_K_M.gguf", "adapter-1.gguf", "SHA256SUMS"]);
    let mut text = |name: &str| {
        let mut text = String::new();
        zip.by_name(name).unwrap().read_to_string(&mut text).unwrap();
        text
    };
    assert!(text("SHA256SUMS").contains(&format!("{}  mine-Q4_K_M.gguf\n", Digest::of(&gguf(1, 300_000)).hex())));
    assert!(text("README.md").contains("nibble run mine-Q4_K_M.gguf"));
    let there = Store::open(at("there")).unwrap();
    let back = unpack(&there, &archive).unwrap();
    assert_eq!(
        (back.model_digest, &back.system, &back.parameters, &back.messages),
        (entry.model_digest, &entry.system, &entry.parameters, &entry.messages)
    );
    assert_eq!((back.adapters.len(), &back.licenses, &back.details), (1, &entry.licenses, &entry.details));
    let verified = there.verify(false, &mut |_| {}, &GO_ON).unwrap();
    assert!(verified.is_sound() && verified.unused.is_empty());
}

#[test]
fn files_and_split_models_are_packed_too() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let store = Store::open(at("store")).unwrap();
    fs::write(at("my model.gguf"), gguf(1, 3000)).unwrap();
    let archive = pack(&Packing::of_gguf(&at("my model.gguf")).unwrap(), &at("one.zip"));
    assert_eq!(unpack(&store, &archive).unwrap().model_digest, Digest::of(&gguf(1, 3000)));
    for (no, part) in (1..).zip(split_gguf(5, 3, 3000)) {
        fs::write(at(&format!("s-{no:05}-of-00003.gguf")), part).unwrap();
    }
    let archive = pack(&Packing::of_gguf(&at("s-00002-of-00003.gguf")).unwrap(), &at("split.zip"));
    let entry = unpack(&store, &archive).unwrap();
    assert_eq!(nibble_container::Checkpoint::open(&entry.model).unwrap().len(), 3);
    let again = pack(&Packing::of_entry(&store, &entry), &at("again.zip"));
    assert_eq!(unpack(&store, &again).unwrap().model, entry.model);
}

/// An archive of these files, with right checksums for those whose name has no `!` before it.
fn archive(path: &Path, files: &[(&str, Vec<u8>)]) {
    let mut zip = ZipWriter::new(File::create(path).unwrap());
    let mut sums = String::new();
    for (name, bytes) in files {
        let bare = name.trim_start_matches('!');
        zip.start_file(bare, SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
        if !name.starts_with('!') {
            sums.push_str(&format!("{}  {bare}\n", Digest::of(bytes).hex()));
        }
    }
    if !files.iter().any(|(name, _)| *name == "!SHA256SUMS") {
        zip.start_file("SHA256SUMS", SimpleFileOptions::default()).unwrap();
        zip.write_all(sums.as_bytes()).unwrap();
    }
    zip.finish().unwrap();
}

#[test]
fn what_an_archive_must_not_hold_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let store = Store::open(at("store")).unwrap();
    let model = || ("m.gguf", gguf(1, 3000));
    let text = |name: &'static str, text: &str| (name, text.as_bytes().to_vec());
    fs::write(at("secret.gguf"), gguf(9, 3000)).unwrap();
    let outside = format!("FROM {}\n", at("secret.gguf").display());
    let hex = Digest::of(b"another").hex();
    for (files, said) in [
        (vec![model(), ("../evil", b"x".to_vec())], "\"../evil\" is no plain file"),
        (vec![model(), ("/evil", b"x".to_vec())], "\"/evil\" is no plain file"),
        (vec![model(), ("a/b", b"x".to_vec())], "\"a/b\" is no plain file"),
        (vec![model(), ("..\\evil", b"x".to_vec())], "is no plain file"),
        (vec![model(), text("Modelfile", &outside)], "secret.gguf\", which is not in the archive"),
        (vec![model(), text("Modelfile", "FROM llama3.2\n")], "the Modelfile names \"llama3.2\""),
        (vec![model(), text("Modelfile", "FROM ./m.gguf\nADAPTER ../lora.gguf\n")], "the Modelfile names \"../lora.gguf\""),
        (vec![model(), text("Modelfile", "FORM x\n")], "Modelfile line 1"),
        (vec![("!m.gguf", gguf(1, 3000)), text("Modelfile", "FROM ./m.gguf\n")], "SHA256SUMS says nothing of m.gguf"),
        (vec![model(), text("!SHA256SUMS", &format!("{hex}  m.gguf\n"))], "m.gguf: wrong SHA-256"),
        (vec![model(), text("!README.md", "x"), text("!SHA256SUMS", &format!("{hex}  README.md\n"))], "README.md: wrong SHA-256"),
        (vec![model(), text("!SHA256SUMS", "what\n")], "SHA256SUMS line 1: expected"),
        (vec![model(), text("!SHA256SUMS", &format!("{hex}  none\n"))], "which is not in the archive"),
        (vec![text("README.md", "x")], "no Modelfile, and 0 GGUF models"),
        (vec![("m.gguf", b"no model".to_vec())], "neither a GGUF file nor"),
        (vec![("m-00001-of-00002.gguf", gguf(1, 3000))], "m-00002-of-00002.gguf\", which is not in the archive"),
    ] {
        archive(&at("bad.zip"), &files);
        let error = unpack(&store, &at("bad.zip")).unwrap_err().to_string();
        assert!(error.contains(said), "{said}: {error}");
    }
    // Cut short, damaged in the middle of the weights, and no archive at all.
    let entry = create(&store, dir.path(), "x", "FROM ./secret.gguf");
    let good = fs::read(pack(&Packing::of_entry(&store, &entry), &at("good.zip"))).unwrap();
    store.remove(&name("x")).unwrap();
    for (bytes, said) in [
        (good[..good.len() / 2].to_vec(), "bad.zip: "),
        (good.iter().enumerate().map(|(i, byte)| if i == good.len() / 2 { !byte } else { *byte }).collect(), "x-Q4_K_M.gguf"),
        (b"hello".to_vec(), "bad.zip: "),
    ] {
        fs::write(at("bad.zip"), bytes).unwrap();
        let error = unpack(&store, &at("bad.zip")).unwrap_err().to_string();
        assert!(error.contains(said), "{said}: {error}");
    }
    assert!(store.names().unwrap().is_empty());
    for folder in ["blobs", "staging"] {
        assert_eq!(fs::read_dir(store.root().join(folder)).map_or(0, |list| list.count()), 0, "{folder}");
    }
    assert!(!at("evil").exists() && !dir.path().parent().unwrap().join("evil").exists());
}

#[test]
fn an_archive_over_four_gigabytes_has_the_fields_for_it() {
    // The weights are a hole; what is written is long all the same, so this runs only when it is asked for.
    if std::env::var_os("NIBBLE_BIG").is_none() {
        println!("skipped: NIBBLE_BIG=1 packs 4.1 GiB");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let path = dir.path().join("big.gguf");
    let declared = [nibble_container::Declared::new("blk.0.attn_q.weight", &[1_100_000, 1024], nibble_container::Dtype::F32)];
    let layout = nibble_container::gguf::Layout::new(&nibble_container::gguf::Metadata::new(), &declared).unwrap();
    let mut file = File::create(&path).unwrap();
    file.write_all(&layout.header).unwrap();
    file.set_len(layout.header.len() as u64 + 1_100_000 * 4096).unwrap();
    let archive = pack(&Packing::of_gguf(&path).unwrap(), &dir.path().join("big.zip"));
    fs::remove_file(&path).unwrap();
    assert!(unpack(&store, &archive).unwrap().size > 4 << 30);
}
