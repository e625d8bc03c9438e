//! The store: models made, found, copied, removed, verified; and stores that Ollama has made.

mod hub;

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use hub::{gguf, lora, split_gguf};
use nibble_store::{Convert, Create, Damage, Digest, Entry, Error, Listener, Modelfile, Name, Progress, Store, Work};

static GO_ON: AtomicBool = AtomicBool::new(false);

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn store(dir: &Path) -> Store {
    Store::open(dir.join("store")).unwrap()
}

fn create(store: &Store, base: &Path, model: &str, modelfile: &str) -> Result<Entry, Error> {
    let modelfile = Modelfile::parse(modelfile)?;
    let create = Create { modelfile: &modelfile, base, quantize: None, convert: None, link: false };
    store.create(&name(model), &create, &mut |_| {}, &GO_ON)
}

fn sound(store: &Store) -> nibble_store::Verified {
    let verified = store.verify(false, &mut |_| {}, &GO_ON).unwrap();
    assert!(verified.is_sound() && verified.unused.is_empty(), "{verified:?}");
    verified
}

fn blobs(store: &Store) -> usize {
    fs::read_dir(store.root().join("blobs")).map_or(0, |list| list.count())
}

const MODELFILE: &str = "FROM ./m.gguf\nPARAMETER temperature 0.5\nPARAMETER stop a\nPARAMETER stop b\nTEMPLATE \"\"\"{{ messages }}\"\"\"\n\
                         SYSTEM Be brief.\nMESSAGE user Hi\nMESSAGE assistant Hello.\nLICENSE MIT\nADAPTER ./lora.gguf\n";

#[test]
fn a_model_is_what_its_modelfile_says_and_goes_without_a_trace() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    assert!(store.list().unwrap().models.is_empty(), "no directory is an empty store");
    fs::write(dir.path().join("m.gguf"), gguf(1, 10_000)).unwrap();
    fs::write(dir.path().join("lora.gguf"), lora(2, 500)).unwrap();
    let made = create(&store, dir.path(), "mine", MODELFILE).unwrap();
    let entry = store.resolve(&name("MINE")).unwrap();
    assert_eq!(entry, made);
    assert_eq!(fs::read(&entry.model).unwrap(), gguf(1, 10_000));
    assert_eq!((entry.parameters.number("temperature"), entry.parameters.stop().len()), (Some(0.5), 2));
    assert_eq!((entry.template.as_deref(), entry.system.as_deref()), (Some("{{ messages }}"), Some("Be brief.")));
    assert_eq!((entry.messages.len(), entry.licenses.as_slice(), entry.adapters.len()), (2, &["MIT".to_string()][..], 1));
    assert_eq!(entry.details.parameter_size, "2K");
    let listed = &store.list().unwrap().models[0];
    assert_eq!((&listed.name, listed.digest, listed.size), (&entry.name, entry.digest, entry.size));
    // From its own Modelfile it is made again, blob for blob.
    let again = create(&store, Path::new(""), "again", &Modelfile::of(&entry).to_string()).unwrap();
    assert_eq!(again.manifest.config, entry.manifest.config);
    let digests = |entry: &Entry| entry.manifest.layers.iter().map(|layer| layer.digest).collect::<std::collections::BTreeSet<Digest>>();
    assert_eq!(digests(&again), digests(&entry));
    sound(&store);
    store.remove(&name("again")).unwrap();
    assert!(store.resolve(&name("mine")).is_ok(), "what is shared stays");
    assert!(store.remove(&name("mine")).unwrap() > 10_000);
    assert_eq!(blobs(&store), 0);
    assert_eq!(fs::read_dir(store.root().join("manifests")).unwrap().count(), 0, "no empty directories stay");
    assert_eq!(fs::read_dir(store.root().join("staging")).unwrap().count(), 0);
    assert!(matches!(store.remove(&name("mine")), Err(Error::NotFound { .. })));
}

#[test]
fn a_model_made_from_another_takes_over_what_is_not_said_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    fs::write(dir.path().join("m.gguf"), gguf(1, 10_000)).unwrap();
    fs::write(dir.path().join("lora.gguf"), lora(2, 500)).unwrap();
    let base = create(&store, dir.path(), "base", MODELFILE).unwrap();
    let child = create(&store, dir.path(), "child", "FROM base\nPARAMETER top_k 3\nPARAMETER stop c\nSYSTEM Be long.\n").unwrap();
    assert_eq!((child.model_digest, child.template.clone(), child.messages.len()), (base.model_digest, base.template, 2));
    assert_eq!(
        (child.system.as_deref(), child.parameters.stop(), child.parameters.integer("top_k")),
        (Some("Be long."), vec!["c".to_string()], Some(3))
    );
    assert_eq!(child.parameters.number("temperature"), Some(0.5));
    // From a blob, as the server's clients do.
    let digest = store.put_blob(&gguf(3, 700)[..], Some(Digest::of(&gguf(3, 700))), &GO_ON).unwrap();
    assert_eq!(create(&store, dir.path(), "blob", &format!("FROM @{digest}\n")).unwrap().model_digest, digest);
    // Made anew under its name, it gives back what only it was made of.
    create(&store, dir.path(), "blob", "FROM base").unwrap();
    assert!(!store.has_blob(&digest));
    sound(&store);
}

#[test]
fn what_a_model_cannot_be_made_from_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    fs::write(dir.path().join("m.gguf"), gguf(1, 1000)).unwrap();
    fs::write(dir.path().join("bad.gguf"), b"GGUF\x03\0\0\0").unwrap();
    fs::write(dir.path().join("short.gguf"), &gguf(1, 1000)[..900]).unwrap();
    for (modelfile, said) in [
        ("FROM none", "no model none:latest in the store"),
        ("FROM ./none.gguf", "none.gguf: cannot open"),
        ("FROM ./bad.gguf", "bad.gguf: the file ends inside"),
        ("FROM ./short.gguf", "it is cut short or damaged"),
        ("FROM ./m.gguf\nADAPTER ./none.gguf", "none.gguf"),
        ("FROM .", "several GGUF models in this directory; name one of them"),
        (&format!("FROM {}", Digest::of(b"none")), "no blob sha256:"),
    ] {
        let error = create(&store, dir.path(), "x", modelfile).unwrap_err().to_string();
        assert!(error.contains(said), "{modelfile}: {error}");
    }
    assert!(store.list().unwrap().models.is_empty());
    assert_eq!(blobs(&store), 0);
    assert_eq!(fs::read_dir(store.root().join("staging")).unwrap().count(), 0);
    let wrong = store.put_blob(&b"abc"[..], Some(Digest::of(b"abd")), &GO_ON).unwrap_err();
    assert!(matches!(wrong, Error::Mismatch { .. }));
    assert_eq!(blobs(&store), 0);
}

/// An adapter is checked against the model by who knows both; a directory becomes a file.
#[test]
fn adapters_are_handed_to_who_can_read_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    fs::write(dir.path().join("m.gguf"), gguf(1, 1000)).unwrap();
    fs::write(dir.path().join("lora.gguf"), lora(2, 500)).unwrap();
    fs::write(dir.path().join("large.gguf"), lora(2, 9000)).unwrap();
    fs::create_dir(dir.path().join("peft")).unwrap();
    let stub = Stub(Default::default());
    let make = |text: &str, convert: Option<&dyn Convert>| {
        let modelfile = Modelfile::parse(text).unwrap();
        let create = Create { modelfile: &modelfile, base: dir.path(), quantize: None, convert, link: false };
        store.create(&name("x"), &create, &mut |_| {}, &GO_ON)
    };
    let entry = make("FROM ./m.gguf\nADAPTER ./lora.gguf\nADAPTER ./peft", Some(&stub)).unwrap();
    let bytes: Vec<Vec<u8>> = entry.adapters.iter().map(|path| fs::read(path).unwrap()).collect();
    assert_eq!(bytes, [lora(2, 500), lora(7, 600)]);
    // A model made from it keeps them; one that brings its own has only that.
    assert_eq!(make("FROM x\nSYSTEM Hi", Some(&stub)).unwrap().adapters.len(), 2);
    assert_eq!(make("FROM x\nADAPTER ./lora.gguf", Some(&stub)).unwrap().adapters.len(), 1);
    for (adapter, convert, said) in [
        ("./large.gguf", Some(&stub as &dyn Convert), "ADAPTER too large"),
        ("./m.gguf", None, "m.gguf: not an adapter: it has no general.type"),
        ("./peft", None, "peft: a directory: an adapter of PEFT cannot be made into a GGUF file here"),
    ] {
        let error = make(&format!("FROM ./m.gguf\nADAPTER {adapter}"), convert).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    assert_eq!(*stub.0.lock().unwrap(), ["true lora.gguf", "true peft", "true lora.gguf", "true large.gguf"]);
    sound(&store);
}

/// Writes a GGUF file and says what it was asked for.
struct Stub(std::sync::Mutex<Vec<String>>);

impl Convert for Stub {
    fn convert(
        &self,
        input: &Path,
        kind: &str,
        out: &Path,
        listener: Listener,
        _: &AtomicBool,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.0.lock().unwrap().push(format!("{} {kind}", input.join("model.safetensors").exists() || input.is_file()));
        if kind == "NONE" {
            return Err("no such type".into());
        }
        listener(Progress::Bytes { work: Work::Quantize, file: "t".into(), digest: None, completed: 1, total: 1 });
        Ok(fs::write(out, gguf(9, 2000))?)
    }

    fn adapter(&self, base: &Path, adapter: &Path, out: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.0.lock().unwrap().push(format!("{} {}", base.exists(), adapter.file_name().unwrap().display()));
        match adapter.is_dir() {
            true => Ok(fs::write(out, lora(7, 600))?),
            false if fs::metadata(adapter)?.len() > 5000 => Err("too large".into()),
            false => Ok(()),
        }
    }
}

#[test]
fn checkpoints_are_handed_to_who_can_quantize() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    fs::write(dir.path().join("model.safetensors"), b"x").unwrap();
    fs::write(dir.path().join("m.gguf"), gguf(1, 1000)).unwrap();
    let stub = Stub(Default::default());
    let make = |from: &str, quantize: Option<&str>, convert: Option<&dyn Convert>| {
        let modelfile = Modelfile { from: from.into(), ..Modelfile::default() };
        store.create(&name("x"), &Create { modelfile: &modelfile, base: dir.path(), quantize, convert, link: false }, &mut |_| {}, &GO_ON)
    };
    assert!(matches!(make(".", None, None), Err(Error::NoConvert { .. })));
    assert!(matches!(make("./m.gguf", Some("Q4_0"), None), Err(Error::NoConvert { .. })));
    assert_eq!(make(".", None, Some(&stub)).unwrap().model_digest, Digest::of(&gguf(9, 2000)));
    make("./m.gguf", Some("Q8_0"), Some(&stub)).unwrap();
    make("x", Some("Q2_K"), Some(&stub)).unwrap();
    let error = make(".", Some("NONE"), Some(&stub)).unwrap_err().to_string();
    assert!(error.contains("cannot be quantized: no such type"), "{error}");
    assert_eq!(*stub.0.lock().unwrap(), ["true Q4_K_M", "true Q8_0", "true Q2_K", "true NONE"]);
    sound(&store);
}

#[test]
fn names_may_leave_things_out_where_it_is_clear_what_is_meant() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    fs::write(dir.path().join("m.gguf"), gguf(1, 1000)).unwrap();
    create(&store, dir.path(), "hf.co/Org/Repo:Q8_0", "FROM ./m.gguf").unwrap();
    for given in ["hf.co/Org/Repo:Q8_0", "hf.co/org/repo:q8_0", "hf.co/org/repo", "org/repo", "Org/Repo:q8_0"] {
        assert_eq!(store.find(&name(given)).unwrap().to_string(), "hf.co/Org/Repo:Q8_0", "{given}");
    }
    store.copy(&name("org/repo"), &name("hf.co/Org/Repo:Q6_K")).unwrap();
    let error = store.find(&name("org/repo")).unwrap_err().to_string();
    assert_eq!(error, "org/repo:latest is there several times: hf.co/Org/Repo:Q6_K, hf.co/Org/Repo:Q8_0");
    store.copy(&name("org/repo:q8_0"), &name("hf.co/Org/Repo:Q4_K_M")).unwrap();
    assert_eq!(store.find(&name("org/repo")).unwrap().tag(), "Q4_K_M");
    assert!(matches!(store.find(&name("repo")), Err(Error::NotFound { .. })));
    assert_eq!(blobs(&store), 2, "one model and its config under three names");
}

#[test]
fn damage_is_found_named_and_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    for (model, seed) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
        fs::write(dir.path().join("m.gguf"), gguf(seed, 5000)).unwrap();
        create(&store, dir.path(), model, "FROM ./m.gguf").unwrap();
    }
    let blob = |seed| store.blob_path(&Digest::of(&gguf(seed, 5000)));
    let mut bytes = fs::read(blob(1)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(blob(1), &bytes).unwrap();
    fs::write(blob(2), &bytes[..100]).unwrap();
    fs::remove_file(blob(3)).unwrap();
    let loose = store.put_blob(&b"loose"[..], None, &GO_ON).unwrap();
    fs::create_dir_all(store.root().join("staging/1-2")).unwrap();
    fs::write(store.root().join("staging/1-2/half"), b"half").unwrap();
    let verified = store.verify(false, &mut |_| {}, &GO_ON).unwrap();
    let found = |seed| {
        verified
            .damaged
            .iter()
            .find(|(digest, _, _)| *digest == Digest::of(&gguf(seed, 5000)))
            .map(|(_, damage, names)| (damage.clone(), names.clone()))
    };
    assert_eq!(found(1), Some((Damage::Content { found: Digest::of(&bytes) }, vec![name("a")])));
    assert_eq!(found(2), Some((Damage::Length { expected: gguf(2, 5000).len() as u64, found: 100 }, vec![name("b")])));
    assert_eq!(found(3), Some((Damage::Missing, vec![name("c")])));
    assert_eq!((verified.models.as_slice(), verified.unused.as_slice(), verified.buried), (&[name("d")][..], &[(loose, 5)][..], 4));
    assert!(
        matches!(store.resolve(&name("c")), Err(Error::NoBlob { .. })) && matches!(store.resolve(&name("b")), Err(Error::Length { .. }))
    );
    // A manifest that cannot be read is named, hides no other model, and nothing that it may need is taken away.
    fs::write(store.root().join("manifests/registry.ollama.ai/library/a/broken"), b"{").unwrap();
    let listing = store.list().unwrap();
    assert_eq!((listing.models.len(), listing.faults.len()), (4, 1));
    assert!(listing.faults[0].to_string().contains("library/a/broken: no manifest"), "{}", listing.faults[0]);
    store.verify(true, &mut |_| {}, &GO_ON).unwrap();
    assert!(store.has_blob(&loose) && !blob(1).exists() && !blob(2).exists());
    store.remove(&name("a:broken")).unwrap();
    store.verify(true, &mut |_| {}, &GO_ON).unwrap();
    assert!(!store.has_blob(&loose));
    for seed in [1, 2, 3] {
        store.put_blob(&gguf(seed, 5000)[..], None, &GO_ON).unwrap();
    }
    assert_eq!(sound(&store).models.len(), 4);
}

#[test]
fn what_a_living_process_is_making_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    fs::write(dir.path().join("m.gguf"), gguf(1, 100_000)).unwrap();
    create(&store, dir.path(), "old", "FROM ./m.gguf").unwrap();
    // While one is in the middle of taking bytes in, another removes and verifies.
    struct Slow<'a>(&'a Store, usize);
    impl std::io::Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.1 += 1;
            if self.1 == 3 {
                self.0.remove(&name("old")).unwrap();
                assert_eq!(self.0.verify(true, &mut |_| {}, &GO_ON).unwrap().buried, 0);
            }
            let n = if self.1 < 5 { buffer.len().min(1000) } else { 0 };
            buffer[..n].fill(7);
            Ok(n)
        }
    }
    let digest = store.put_blob(Slow(&store, 0), None, &GO_ON).unwrap();
    assert_eq!(fs::read(store.blob_path(&digest)).unwrap(), vec![7; 4000]);
}

#[test]
fn many_at_once_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    for seed in 0..4u64 {
        fs::write(dir.path().join(format!("{seed}.gguf")), gguf(seed, 2000)).unwrap();
    }
    // All make, copy and remove models of the same four files; every operation ends well or says that a name is not there.
    std::thread::scope(|scope| {
        for worker in 0..4u64 {
            let (store, base) = (&store, dir.path());
            scope.spawn(move || {
                for round in 0..25u64 {
                    let own = format!("own-{worker}");
                    let entry = create(store, base, &own, &format!("FROM ./{}.gguf\nSYSTEM {round}\n", (worker + round) % 4)).unwrap();
                    assert!(entry.model.is_file());
                    store.copy(&name(&own), &name(&format!("shared-{}", round % 3))).unwrap();
                    match store.remove(&name(&format!("shared-{}", (round + worker) % 3))) {
                        Ok(_) | Err(Error::NotFound { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                    if round % 4 == 3 {
                        store.remove(&name(&own)).unwrap();
                    }
                }
            });
        }
    });
    sound(&store);
}

#[test]
fn split_models_are_taken_in_with_all_their_parts() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    for (no, part) in (1..).zip(split_gguf(5, 2, 3000)) {
        fs::write(dir.path().join(format!("m-{no:05}-of-00002.gguf")), part).unwrap();
    }
    let entry = create(&store, dir.path(), "m", "FROM ./m-00002-of-00002.gguf").unwrap();
    assert_eq!(nibble_container::Checkpoint::open(&entry.model).unwrap().len(), 2);
    let again = create(&store, dir.path(), "n", "FROM .\nSYSTEM x").unwrap();
    assert_eq!(again.model, entry.model);
    sound(&store);
}

#[test]
fn a_store_that_ollama_made_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("models");
    let put = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        fs::create_dir_all(root.join("blobs")).unwrap();
        fs::write(root.join("blobs").join(digest.file_name()), bytes).unwrap();
        serde_json::json!({"mediaType": "", "digest": digest.to_string(), "size": bytes.len()})
    };
    let layer = |kind: &str, bytes: &[u8]| {
        let mut layer = put(bytes);
        layer["mediaType"] = format!("application/vnd.ollama.image.{kind}").into();
        layer
    };
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
        "config": put(br#"{"model_format":"gguf","model_family":"llama","model_families":["llama"],"model_type":"3.2B","file_type":"Q4_K_M","os":"linux"}"#),
        "layers": [
            layer("model", &gguf(1, 4000)),
            layer("template", b"{{ if .System }}<|s|>{{ .System }}{{ end }}{{ .Prompt }}"),
            layer("license", b"LLAMA 3.2"), layer("license", b"USE POLICY"),
            layer("params", br#"{"stop":["<|start|>","<|eot|>"],"num_ctx":4096}"#),
            layer("messages", br#"[{"role":"user","content":"Hi"}]"#),
        ],
    });
    let folder = root.join("manifests/registry.ollama.ai/library/llama3.2");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("3b"), manifest.to_string()).unwrap();
    fs::write(folder.join(".DS_Store"), b"x").unwrap();
    fs::write(root.join("manifests/.DS_Store"), b"x").unwrap();
    fs::write(root.join("blobs/sha256-1234-partial-0"), b"x").unwrap();
    let store = Store::open(&root).unwrap();
    let listing = store.list().unwrap();
    assert!(listing.faults.is_empty());
    assert_eq!((listing.models.len(), listing.models[0].name.to_string().as_str()), (1, "llama3.2:3b"));
    assert_eq!(
        (listing.models[0].details.parameter_size.as_str(), listing.models[0].details.quantization_level.as_str()),
        ("3.2B", "Q4_K_M")
    );
    let entry = store.resolve(&name("llama3.2")).unwrap();
    assert_eq!((entry.licenses.len(), entry.parameters.stop().len(), entry.parameters.integer("num_ctx")), (2, 2, Some(4096)));
    assert_eq!(entry.messages[0].content, "Hi");
    assert!(!root.join("lock").exists(), "reading changes nothing");
    sound(&store);
}

/// Files that came one by one, under the names by which they find each other.
#[test]
fn blobs_make_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let put = |bytes: &[u8]| store.put_blob(bytes, None, &GO_ON).unwrap();
    let (a, b) = (put(b"a"), put(b"b"));
    let bundle = store.bundle("model", [("config.json", a), ("model.safetensors", b)]).unwrap();
    let path = bundle.path().to_path_buf();
    assert_eq!(
        (fs::read(path.join("config.json")).unwrap(), fs::read(path.join("model.safetensors")).unwrap()),
        (b"a".into(), b"b".into())
    );
    drop(bundle);
    assert!(!path.exists() && store.has_blob(&a), "the links go, the blobs stay");
    for (name, file) in [("model", "../x"), ("model", "a/b"), ("model", ""), ("..", "x"), ("a/b", "x")] {
        assert!(matches!(store.bundle(name, [(file, a)]).unwrap_err(), Error::Modelfile { .. }), "{name} {file}");
    }
    assert!(matches!(store.bundle("model", [("x", Digest::of(b"none"))]).unwrap_err(), Error::NoBlob { .. }));
}
