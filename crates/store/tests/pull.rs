//! Pulling from a hub that does everything wrong that a hub can do.

mod hub;

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hub::bench::{Bench, FILE, GO_ON};
use hub::{File, gguf, split_gguf};
use nibble_store::{Convert, Digest, Entry, Error, Hub, Listener, Name, Progress, Pull, ServerFault, Source};

#[test]
fn a_file_comes_in_pieces_over_several_connections() {
    let bench = Bench::new();
    let bytes = gguf(1, 500_000);
    let digest = bench.hub.put(FILE, bytes.clone());
    let told = bench.pull("org/repo");
    assert_eq!(told.downloads.last().unwrap(), &("m-Q4_K_M.gguf".to_string(), bytes.len() as u64, bytes.len() as u64));
    let entry = told.entry();
    assert_eq!(entry.name.to_string(), "hf.co/org/repo:Q4_K_M");
    assert_eq!((entry.model_digest, entry.details.family.as_str(), entry.details.quantization_level.as_str()), (digest, "llama", "Q4_K_M"));
    assert_eq!(std::fs::read(&entry.model).unwrap(), bytes);
    // The probe, and a request for every two pieces.
    assert_eq!(bench.hub.file_requests().len() as u64, 1 + (bytes.len() as u64).div_ceil(10_000));
    assert!(bench.hub.file_requests().iter().all(|request| request.headers["accept-encoding"] == "identity"));
    bench.is_clean();
    // What is there is not fetched again.
    let before = bench.hub.file_requests().len();
    bench.pull("hf.co/org/repo:q4_k_m").entry();
    assert_eq!(bench.hub.file_requests().len(), before);
}

#[test]
fn connections_that_break_are_taken_up_where_they_broke() {
    let bench = Bench::new();
    let bytes = gguf(2, 300_000);
    bench.hub.put(FILE, bytes.clone());
    bench.hub.faults(|faults| faults.cut = Some((3_333, 200)));
    let entry = bench.pull("org/repo").entry();
    assert_eq!(std::fs::read(&entry.model).unwrap(), bytes);
    // Nothing was asked for twice: what is served beyond the file is the probe's one byte.
    assert_eq!(bench.hub.served(), bytes.len() as u64 + 1);
    bench.is_clean();
}

#[test]
fn a_pull_that_was_stopped_goes_on_with_what_is_there() {
    let bench = Bench::new();
    let bytes = gguf(3, 400_000);
    bench.hub.put(FILE, bytes.clone());
    // Slow enough that it is not over before it is stopped, whatever the machine.
    bench.hub.faults(|faults| faults.throttle = Some((2_000, Duration::from_millis(5))));
    let told = bench.pull_until("org/repo", |progress| matches!(progress, Progress::Bytes { completed, .. } if *completed > 120_000));
    assert!(matches!(told.result, Err(Error::Cancelled)));
    let verified = bench.store().verify(false, &mut |_| {}, &GO_ON).unwrap();
    let there = verified.partial[0].1;
    assert!(verified.models.is_empty() && there > 0, "{verified:?}");
    bench.hub.faults(|faults| faults.throttle = None);
    let before = bench.hub.served();
    let told = bench.pull("org/repo");
    assert_eq!(told.downloads[0].1, there, "it starts where it was");
    assert_eq!(std::fs::read(told.entry().model).unwrap(), bytes);
    assert_eq!(bench.hub.served() - before, bytes.len() as u64 - there + 1);
    bench.is_clean();
}

#[test]
fn a_server_without_ranges_is_read_from_its_beginning() {
    let bench = Bench::new();
    let bytes = gguf(4, 200_000);
    bench.hub.put(FILE, bytes.clone());
    bench.hub.faults(|faults| {
        faults.no_ranges = true;
        faults.cut = Some((77_777, 2));
    });
    assert_eq!(std::fs::read(bench.pull("org/repo").entry().model).unwrap(), bytes);
    bench.is_clean();
}

#[test]
fn a_server_without_ranges_that_always_breaks_is_given_up() {
    let bench = Bench::new();
    bench.hub.put(FILE, gguf(4, 200_000));
    bench.hub.faults(|faults| {
        faults.no_ranges = true;
        faults.cut = Some((77_777, usize::MAX));
    });
    let fault = bench.pull("org/repo").fault();
    assert!(fault.contains("m-Q4_K_M.gguf: the connection") && fault.contains("10 times without a byte between"), "{fault}");
}

#[test]
fn lengths_that_are_lies_do_no_harm() {
    for lie in [-1, -9_000, 1, 5_000] {
        let bench = Bench::new();
        let bytes = gguf(5, 150_000);
        bench.hub.put(FILE, bytes.clone());
        bench.hub.faults(|faults| faults.length_lie = Some((lie, 6)));
        assert_eq!(std::fs::read(bench.pull("org/repo").entry().model).unwrap(), bytes, "{lie}");
        // And without ranges, where the length is the whole file's.
        let bench = Bench::new();
        bench.hub.put(FILE, bytes.clone());
        bench.hub.faults(|faults| (faults.no_ranges, faults.length_lie) = (true, Some((lie, 3))));
        assert_eq!(std::fs::read(bench.pull("org/repo").entry().model).unwrap(), bytes, "{lie}");
        bench.is_clean();
    }
}

#[test]
fn a_file_of_another_length_than_listed_is_refused() {
    let bench = Bench::new();
    let bytes = gguf(6, 50_000);
    bench.hub.put(FILE, bytes.clone());
    bench.hub.change(FILE, |file| file.listed_size = Some(bytes.len() as u64 - 100));
    let fault = bench.pull("org/repo").fault();
    let said = format!("the server's file is not the one that is listed: {} bytes, expected {}", bytes.len(), bytes.len() - 100);
    assert!(fault.contains(&said), "{fault}");
    // One that says so once only was wrong once only.
    bench.hub.change(FILE, |file| file.listed_size = None);
    bench.hub.faults(|faults| faults.total_lie = Some((7, 1)));
    bench.pull("org/repo").entry();
}

#[test]
fn wrong_bytes_are_removed_and_said() {
    let bench = Bench::new();
    let bytes = gguf(7, 60_000);
    let promised = Digest::of(b"another");
    bench.hub.put(FILE, bytes.clone());
    bench.hub.change(FILE, |file| file.listed_sha256 = Some(promised));
    let told = bench.pull("org/repo");
    let found = Digest::of(&bytes);
    assert_eq!(told.fault(), format!("m-Q4_K_M.gguf (removed): wrong SHA-256: expected {promised}, got {found}"));
    let verified = bench.store().verify(false, &mut |_| {}, &GO_ON).unwrap();
    assert!(verified.partial.is_empty() && verified.unused.is_empty() && verified.models.is_empty(), "{verified:?}");
}

#[test]
fn a_file_that_is_no_model_is_named_as_people_know_it() {
    let bench = Bench::new();
    bench.hub.put(FILE, b"<html>this is no model</html>".to_vec());
    let fault = bench.pull("org/repo").fault();
    assert!(fault.contains("/org/repo/m-Q4_K_M.gguf: ") && fault.contains("GGUF"), "{fault}");
    assert!(bench.store().names().unwrap().is_empty());
    bench.is_clean();
}

#[test]
fn a_busy_server_is_asked_again() {
    let bench = Bench::new();
    let bytes = gguf(8, 80_000);
    bench.hub.put(FILE, bytes.clone());
    let busy =
        [(503, None), (429, Some("0".to_string())), (500, None), (429, None), (502, None), (408, None), (503, Some("0".to_string()))];
    bench.hub.faults(|faults| faults.statuses = busy.into());
    assert_eq!(std::fs::read(bench.pull("org/repo").entry().model).unwrap(), bytes);
    bench.is_clean();
}

#[test]
fn a_server_that_stays_busy_is_given_up_with_its_words() {
    let bench = Bench::new();
    bench.hub.put(FILE, gguf(8, 80_000));
    bench.hub.faults(|faults| faults.statuses = vec![(503, None); 1000].into());
    let fault = bench.pull("org/repo").fault();
    assert!(fault.contains("the server answered 503, 10 times without a byte between"), "{fault}");
}

#[test]
fn the_token_stays_at_its_host() {
    let mut bench = Bench::new();
    let bytes = gguf(9, 100_000);
    bench.hub.put(FILE, bytes.clone());
    let storage = hub::Hub::start();
    storage.put(FILE, bytes.clone());
    bench.hub.faults(|faults| {
        faults.token = Some("hf_secret".into());
        faults.redirect = Some(storage.endpoint());
    });
    let fault = bench.pull("org/repo").fault();
    assert_eq!(fault, "org/repo: no such repository on the hub, or one that only a token opens");
    bench.token = Some("hf_wrong".into());
    assert!(matches!(bench.pull("org/repo").result, Err(Error::Server { fault: ServerFault::Unauthorized { token: true }, .. })));
    bench.token = Some("hf_secret".into());
    assert_eq!(std::fs::read(bench.pull("org/repo").entry().model).unwrap(), bytes);
    assert!(
        bench
            .hub
            .file_requests()
            .iter()
            .any(|request| request.headers.get("authorization").is_some_and(|token| token == "Bearer hf_secret"))
    );
    let there = storage.file_requests();
    assert!(!there.is_empty() && there.iter().all(|request| !request.headers.contains_key("authorization")));
    // The redirect is asked for once, not for every piece.
    assert!(bench.hub.file_requests().len() < 4, "{}", bench.hub.file_requests().len());
}

#[test]
fn a_signature_that_runs_out_is_renewed() {
    let bench = Bench::new();
    let bytes = gguf(10, 100_000);
    bench.hub.put(FILE, bytes.clone());
    let storage = hub::Hub::start();
    storage.put(FILE, bytes.clone());
    storage.faults(|faults| faults.statuses = [(206, None), (403, None), (403, None)].into_iter().skip(1).collect());
    bench.hub.faults(|faults| faults.redirect = Some(storage.endpoint()));
    assert_eq!(std::fs::read(bench.pull("org/repo").entry().model).unwrap(), bytes);
}

#[test]
fn a_gated_repository_says_so() {
    let bench = Bench::new();
    bench.hub.put(FILE, gguf(11, 1000));
    bench.hub.faults(|faults| faults.gated = true);
    let fault = bench.pull("org/repo").fault();
    assert!(fault.contains("access is denied (403): Access to model org/repo is restricted."), "{fault}");
    assert_eq!(bench.pull("org/none").fault(), "org/none: no such repository on the hub");
}

#[test]
fn a_list_that_is_no_list_is_an_error() {
    let bench = Bench::new();
    bench.hub.put(FILE, gguf(12, 1000));
    bench.hub.faults(|faults| faults.garbage_list = true);
    let fault = bench.pull("org/repo").fault();
    assert!(fault.contains("/api/models/org/repo/revision/main: the server sent it compressed (gzip), which was not asked for"), "{fault}");
}

#[test]
fn a_file_that_comes_compressed_is_not_taken() {
    let bench = Bench::new();
    let bytes = gguf(13, 40_000);
    bench.hub.put(FILE, bytes.clone());
    bench.hub.faults(|faults| faults.garbage_files = 3);
    assert_eq!(std::fs::read(bench.pull("org/repo").entry().model).unwrap(), bytes);
}

#[test]
fn what_changed_since_the_last_run_is_begun_anew_and_said() {
    // Known by its SHA-256, and known by its ETag alone.
    for lfs in [true, false] {
        let bench = Bench::new();
        let (old, new) = (gguf(14, 300_000), gguf(15, 300_000));
        bench.hub.put(FILE, old);
        bench.hub.change(FILE, |file| file.lfs = lfs);
        bench.hub.faults(|faults| faults.throttle = Some((2_000, Duration::from_millis(5))));
        let told = bench.pull_until("org/repo", |progress| matches!(progress, Progress::Bytes { completed, .. } if *completed > 100_000));
        assert!(matches!(told.result, Err(Error::Cancelled)));
        bench.hub.put(FILE, new.clone());
        bench.hub.change(FILE, |file| file.lfs = lfs);
        bench.hub.faults(|faults| faults.throttle = None);
        let told = bench.pull("org/repo");
        assert_eq!(told.notes("has changed on the server since its download was begun: beginning anew"), 1, "{:?}", told.notes);
        assert_eq!(std::fs::read(told.entry().model).unwrap(), new);
        bench.is_clean();
    }
}

#[test]
fn what_changes_while_it_is_fetched_is_begun_anew_and_said() {
    let bench = Bench::new();
    let (old, new) = (gguf(16, 300_000), gguf(17, 300_000));
    bench.hub.put(FILE, old);
    bench.hub.change(FILE, |file| file.lfs = false);
    let file = File { bytes: new.clone(), etag: "another".into(), lfs: false, listed_sha256: None, listed_size: None };
    bench.hub.faults(|faults| faults.swap_after = Some((100_000, FILE.into(), file)));
    let told = bench.pull("org/repo");
    assert_eq!(told.notes("changed on the server while it was fetched"), 1, "{:?}", told.notes);
    assert_eq!(std::fs::read(told.entry().model).unwrap(), new);
    bench.is_clean();
}

#[test]
fn all_parts_of_a_split_model_are_fetched_and_can_be_opened() {
    let bench = Bench::new();
    let parts = split_gguf(18, 3, 30_000);
    for (no, part) in (1..).zip(&parts) {
        bench.hub.put(&format!("org/repo/Q8_0/m-Q8_0-{no:05}-of-00003.gguf"), part.clone());
    }
    let entry = bench.pull("org/repo:q8_0").entry();
    assert_eq!((entry.name.tag(), entry.details.quantization_level.as_str()), ("Q8_0", "Q8_0"));
    assert!(entry.model.ends_with("m-Q8_0-00001-of-00003.gguf"), "{}", entry.model.display());
    let checkpoint = nibble_container::Checkpoint::open(&entry.model).unwrap();
    assert_eq!((checkpoint.len(), checkpoint.files().len()), (3, 3));
    assert_eq!(entry.size - entry.manifest.config.as_ref().unwrap().size, parts.iter().map(|part| part.len() as u64).sum::<u64>());
    bench.is_clean();
    // The links are made again where somebody has removed them, and go with the model.
    std::fs::remove_dir_all(entry.model.parent().unwrap()).unwrap();
    let again = bench.store().resolve(&entry.name).unwrap();
    assert_eq!(nibble_container::Checkpoint::open(&again.model).unwrap().len(), 3);
    bench.store().remove(&entry.name).unwrap();
    assert!(!again.model.parent().unwrap().exists());
}

#[test]
fn what_does_not_fit_on_the_disk_is_said_before_anything_is_fetched() {
    let bench = Bench::new();
    bench.hub.put(FILE, gguf(19, 1000));
    bench.hub.change(FILE, |file| file.listed_size = Some(1 << 60));
    let told = bench.pull("org/repo");
    assert!(told.result.as_ref().unwrap_err().is_full_disk());
    assert!(told.fault().contains("the disk is full"), "{}", told.fault());
    assert!(bench.hub.file_requests().is_empty());
}

/// Quantizes whatever is of a type and an architecture that it knows, which are one each.
struct Picky;

impl Convert for Picky {
    fn check(&self, name: &str, config: &[u8], kind: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        match (config == b"{\"known\":1}", kind) {
            (false, _) => Err(format!("{name}: no such architecture").into()),
            (true, "Q4_K_M") => Ok(()),
            (true, _) => Err(format!("no type {kind}").into()),
        }
    }

    fn convert(&self, _: &Path, _: &str, out: &Path, _: Listener, _: &AtomicBool) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(std::fs::write(out, gguf(9, 2000))?)
    }

    fn adapter(&self, _: &Path, _: &Path, _: &Path) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }
}

#[test]
fn what_cannot_be_quantized_is_known_before_its_weights_are_fetched() {
    let bench = Bench::new();
    let hub = bench.settings();
    let pull = |text: &str| {
        let source = Source::parse(text).unwrap();
        let pull = Pull { source: &source, name: None, hub: &hub, convert: Some(&Picky), keep_checkpoint: None, link: false };
        bench.store().pull(&pull, &mut |_| {}, &GO_ON)
    };
    for (repo, config) in [("org/known", "{\"known\":1}"), ("org/strange", "{}")] {
        bench.hub.put(&format!("{repo}/config.json"), config.into());
        bench.hub.put(&format!("{repo}/model.safetensors"), vec![7; 50_000]);
        bench.hub.put(&format!("{repo}/tokenizer.json"), b"{}".to_vec());
    }
    for (text, said) in [
        ("org/strange", "org/strange: cannot be quantized: org/strange/config.json: no such architecture"),
        ("org/known:q9", "org/known: cannot be quantized: no type Q9"),
    ] {
        assert_eq!(pull(text).unwrap_err().to_string(), said);
        assert!(bench.hub.file_requests().iter().all(|request| request.path.ends_with("config.json")), "{text}: no weights");
        bench.is_clean();
    }
    pull("org/known").unwrap();
    assert!(bench.hub.file_requests().iter().any(|request| request.path.ends_with("model.safetensors")));
    bench.is_clean();
}

#[test]
fn offline_fetches_nothing() {
    let bench = Bench::new();
    let source = Source::parse("org/repo").unwrap();
    let hub = Hub { offline: true, ..bench.settings() };
    let pull = Pull { source: &source, name: None, hub: &hub, convert: None, keep_checkpoint: None, link: false };
    let error = bench.store().pull(&pull, &mut |_| {}, &GO_ON).unwrap_err();
    assert!(error.to_string().contains("offline mode is on"), "{error}");
    assert!(bench.hub.state.requests.lock().unwrap().is_empty());
}

#[test]
fn two_that_pull_the_same_at_once_share_the_work() {
    let bench = Bench::new();
    let bytes = gguf(20, 400_000);
    bench.hub.put(FILE, bytes.clone());
    bench.hub.faults(|faults| faults.throttle = Some((5_000, Duration::from_millis(2))));
    let entries: Vec<Entry> = std::thread::scope(|scope| {
        let both: Vec<_> = (0..2).map(|_| scope.spawn(|| bench.pull("org/repo").entry())).collect();
        both.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(entries[0].model, entries[1].model);
    assert!(bench.hub.served() <= bytes.len() as u64 + 2, "nothing is fetched twice: {}", bench.hub.served());
    bench.is_clean();
}

#[test]
fn a_registry_of_ollamas_kind_is_pulled_from() {
    let bench = Bench::new();
    let (model, adapter) = (gguf(21, 50_000), hub::lora(22, 4_000));
    let layer = |kind: &str, bytes: &[u8]| {
        let digest = bench.hub.put(&format!("v2/library/m/blobs/{}", Digest::of(bytes)), bytes.to_vec());
        serde_json::json!({"mediaType": format!("application/vnd.ollama.image.{kind}"), "digest": digest.to_string(), "size": bytes.len()})
    };
    let config = br#"{"model_format":"gguf","model_family":"llama","model_families":["llama"],"model_type":"1.2B","file_type":"Q4_K_M"}"#;
    let mut config = layer("x", config);
    config["mediaType"] = "application/vnd.docker.container.image.v1+json".into();
    let layers = [
        layer("model", &model),
        layer("template", b"{{ .Prompt }}"),
        layer("system", b"Be brief."),
        layer("params", br#"{"stop":["<|end|>"],"temperature":0.5}"#),
        layer("license", b"MIT"),
        layer("adapter", &adapter),
    ];
    let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": "m", "config": config, "layers": layers}).to_string();
    bench.hub.put("v2/library/m/manifests/3b", manifest.clone().into_bytes());
    let entry = bench.pull(&format!("{}/library/m:3b", bench.hub.address)).entry();
    assert_eq!(entry.digest, Digest::of(manifest.as_bytes()), "the id is the registry's");
    assert_eq!(
        (entry.system.as_deref(), entry.parameters.stop(), entry.licenses.len()),
        (Some("Be brief."), vec!["<|end|>".to_string()], 1)
    );
    assert_eq!((entry.template.as_deref(), entry.details.parameter_size.as_str()), (Some("{{ .Prompt }}"), "1.2B"));
    let adapters: Vec<Vec<u8>> = entry.adapters.iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert_eq!(adapters, [adapter], "a model comes with its adapter");
    bench.is_clean();
    let none = bench.pull(&format!("{}/library/none", bench.hub.address)).fault();
    assert!(none.contains("no such model at 127.0.0.1"), "{none}");
}

/// A GGUF file of the hub may be an adapter, which looks like a model until it is here.
#[test]
fn an_adapter_is_no_model() {
    let bench = Bench::new();
    bench.hub.put("org/lora/lora-F16.gguf", hub::lora(23, 4_000));
    let fault = bench.pull("org/lora").fault();
    assert!(fault.contains("/org/lora/lora-F16.gguf: an adapter, not a model") && fault.contains("ADAPTER in a Modelfile"), "{fault}");
    assert!(bench.store().names().unwrap().is_empty());
    bench.is_clean();
}

#[test]
fn a_file_of_this_device_is_taken_in() {
    let bench = Bench::new();
    let path = bench.dir.path().join("My model-Q4_K_M.gguf");
    std::fs::write(&path, gguf(22, 20_000)).unwrap();
    let hub = bench.settings();
    for link in [false, true] {
        let source = Source::path(&path);
        let pull = Pull { source: &source, name: None, hub: &hub, convert: None, keep_checkpoint: None, link };
        let entry = bench.store().pull(&pull, &mut |_| {}, &GO_ON).unwrap();
        assert_eq!(entry.name.to_string(), "My-model-Q4_K_M:latest");
        assert_eq!(std::fs::read(&entry.model).unwrap(), gguf(22, 20_000));
        assert_eq!(nibble_container::whole::same_file(&entry.model, &path), link);
        bench.store().remove(&entry.name).unwrap();
    }
    assert!(path.exists());
    let name: Name = "x".parse().unwrap();
    let source = Source::path(bench.dir.path());
    let pull = Pull { source: &source, name: Some(&name), hub: &hub, convert: None, keep_checkpoint: None, link: false };
    assert_eq!(bench.store().pull(&pull, &mut |_| {}, &GO_ON).unwrap().name, name, "a directory with one GGUF file stands for it");
}
