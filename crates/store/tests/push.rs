//! Pushing to a registry that does everything wrong that a registry can do.

mod hub;
mod registry;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hub::gguf;
use nibble_store::{Create, Digest, Error, Hub, Login, Modelfile, Name, Progress, Pull, Pushed, ServerFault, Source, Step, Store, Work};
use registry::{Door, Registry};

static GO_ON: AtomicBool = AtomicBool::new(false);

/// Bytes of the model's file, about.
const BYTES: usize = 100_000;
/// Bytes of a piece.
const PIECE: u64 = 10_000;

/// A store with a model, and a registry that its name begins with.
struct Bench {
    dir: tempfile::TempDir,
    registry: Registry,
    hub: Hub,
}

/// What was told, and how it ended.
struct Told {
    result: Result<Pushed, Error>,
    uploads: Vec<(String, u64, u64)>,
    status: Vec<String>,
}

impl Bench {
    fn new() -> Bench {
        Bench::with(BYTES)
    }

    fn with(bytes: usize) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let hub = Hub { run: PIECE, backoff: Duration::from_millis(1), stall: Duration::from_secs(20), ..Hub::default() };
        let bench = Bench { dir, registry: Registry::start(), hub };
        std::fs::write(bench.dir.path().join("m.gguf"), gguf(1, bytes)).unwrap();
        let modelfile = Modelfile::parse("FROM ./m.gguf\nSYSTEM Be brief.\nPARAMETER temperature 0.5\nLICENSE MIT\n").unwrap();
        let create = Create { modelfile: &modelfile, base: bench.dir.path(), quantize: None, convert: None, link: false };
        bench.store().create(&bench.name(), &create, &mut |_| {}, &GO_ON).unwrap();
        bench
    }

    fn store(&self) -> Store {
        Store::open(self.dir.path().join("store")).unwrap()
    }

    fn name(&self) -> Name {
        format!("{}/me/m", self.registry.address).parse().unwrap()
    }

    fn size(&self) -> usize {
        self.store().resolve(&self.name()).unwrap().size as usize
    }

    /// The file of the model's own blob.
    fn blob(&self) -> std::path::PathBuf {
        self.store().resolve(&self.name()).unwrap().model
    }

    fn push(&self) -> Told {
        let (mut uploads, mut status) = (vec![], vec![]);
        let mut listener = |progress: Progress| {
            status.push(progress.status());
            if let Progress::Bytes { work: Work::Upload, file, completed, total, .. } = progress {
                uploads.push((file, completed, total));
            }
        };
        let result = self.store().push(&self.name(), &self.hub, &mut listener, &GO_ON);
        for pair in uploads.windows(2) {
            assert!(pair[0].0 != pair[1].0 || pair[0].1 <= pair[1].1, "it ran backwards: {pair:?}");
        }
        Told { result, uploads, status }
    }

    /// Into a store of its own, of which it is then the only model.
    fn pull(&self, hub: &Hub) -> Result<nibble_store::Entry, Error> {
        let store = Store::open(self.dir.path().join("other")).unwrap();
        let source = Source::Registry(self.name());
        let pull = Pull { source: &source, name: None, hub, convert: None, keep_checkpoint: None, link: false };
        store.pull(&pull, &mut |_| {}, &GO_ON)
    }

    /// What is published is what is stored, byte for byte.
    #[track_caller]
    fn is_published(&self) {
        let here = self.store().resolve(&self.name()).unwrap();
        let manifests = self.registry.state.manifests.lock().unwrap();
        assert_eq!(Digest::of(&manifests["me/m/latest"].0), here.digest);
        let blobs = self.registry.state.blobs.lock().unwrap();
        for layer in here.manifest.all() {
            assert_eq!(blobs[&layer.digest.to_string()], std::fs::read(self.store().blob_path(&layer.digest)).unwrap());
        }
    }

    /// The push fails with these words, and nothing can be seen of it.
    #[track_caller]
    fn fails(&self, words: &[&str]) -> Error {
        let error = self.push().result.unwrap_err();
        for words in words {
            assert!(error.to_string().contains(words), "{words:?} not in: {error}");
        }
        assert!(self.registry.is_empty());
        error
    }
}

#[test]
fn a_model_goes_out_and_comes_back_the_same() {
    let bench = Bench::new();
    let here = bench.store().resolve(&bench.name()).unwrap();
    let told = bench.push();
    let blobs = here.manifest.all().count();
    let pushed = told.result.unwrap();
    assert_eq!((&pushed.name, pushed.digest, pushed.size), (&bench.name(), here.digest, here.size));
    assert_eq!((pushed.blobs, pushed.sent, pushed.sent_bytes), (blobs, blobs, here.size));
    bench.is_published();
    let first = told.uploads.iter().find(|(file, ..)| file == "m:latest").unwrap();
    assert_eq!(first.2, std::fs::metadata(&here.model).unwrap().len());
    assert!(told.uploads.iter().any(|(file, completed, total)| file == "config" && completed == total), "{:?}", told.uploads);
    assert_eq!(told.status[0], "retrieving manifest");
    assert!(told.status.contains(&format!("pushing {}", here.model_digest.short())), "{:?}", told.status);
    assert_eq!(told.status[told.status.len() - 2..], ["pushing manifest", "success"]);
    // Each byte once, in pieces, and the manifest after all of them.
    assert_eq!(bench.registry.uploaded(), bench.size());
    let patches = bench.registry.requests("PATCH");
    let of_model: Vec<_> = patches.iter().filter(|request| request.body as u64 == PIECE).collect();
    assert_eq!(of_model.len() as u64, first.2 / PIECE);
    assert_eq!(of_model[1].headers["content-range"], "10000-19999");
    assert!(bench.registry.requests("POST").iter().all(|request| request.headers["content-length"] == "0"));
    let all = bench.registry.state.requests.lock().unwrap().clone();
    assert!(all.last().unwrap().path.ends_with("/manifests/latest") && all.last().unwrap().method == "PUT");
    assert!(all.iter().all(|request| !request.headers.contains_key("authorization")));

    let there = bench.pull(&bench.hub).unwrap();
    assert_eq!((there.digest, &there.name, there.size), (here.digest, &here.name, here.size));
    assert_eq!(std::fs::read(&there.model).unwrap(), gguf(1, BYTES));
    assert_eq!((there.system, there.licenses, there.parameters), (here.system, here.licenses, here.parameters));
}

#[test]
fn what_is_there_is_not_sent_again() {
    let bench = Bench::new();
    bench.push().result.unwrap();
    let before = bench.registry.uploaded();
    let told = bench.push();
    let pushed = told.result.unwrap();
    assert_eq!((pushed.sent, pushed.sent_bytes), (0, 0));
    assert_eq!(bench.registry.uploaded(), before);
    assert!(told.uploads.iter().all(|(_, completed, total)| completed == total));
    // Under another tag only the manifest is new.
    let other: Name = format!("{}:other", bench.name().to_string().trim_end_matches(":latest")).parse().unwrap();
    bench.store().copy(&bench.name(), &other).unwrap();
    let pushed = bench.store().push(&other, &bench.hub, &mut |_| {}, &GO_ON).unwrap();
    assert_eq!((pushed.sent, pushed.name), (0, other));
    assert!(bench.registry.state.manifests.lock().unwrap().contains_key("me/m/other"));
}

#[test]
fn connections_that_break_are_taken_up_where_they_broke() {
    for absolute in [false, true] {
        let bench = Bench::new();
        bench.registry.faults(|faults| (faults.cut, faults.absolute) = (Some((3_333, 30)), absolute));
        bench.push().result.unwrap();
        bench.is_published();
        assert_eq!(bench.registry.uploaded(), bench.size(), "nothing was sent twice");
        assert!(bench.registry.requests("GET").len() >= 29, "{}", bench.registry.requests("GET").len());
    }
}

#[test]
fn an_upload_that_is_forgotten_is_begun_anew() {
    let bench = Bench::new();
    bench.registry.faults(|faults| (faults.cut, faults.forgets) = (Some((5_000, 3)), true));
    let told = bench.push();
    told.result.unwrap();
    bench.is_published();
    assert!(bench.registry.requests("POST").len() > 3);
}

#[test]
fn a_registry_that_always_breaks_is_given_up() {
    let bench = Bench::new();
    bench.registry.faults(|faults| (faults.cut, faults.forgets) = (Some((5_000, usize::MAX)), true));
    bench.fails(&["/v2/me/m/blobs/sha256:", "10 times without a byte between"]);
    // It keeps what comes, but never anything of it.
    let bench = Bench::new();
    bench.registry.faults(|faults| faults.cut = Some((0, usize::MAX)));
    bench.fails(&["10 times without a byte between"]);
}

#[test]
fn a_registry_is_opened_with_user_and_password() {
    let mut bench = Bench::new();
    let (login, wrong) = (Login::new("me", "pass:word"), Login::new("me", "wrong"));
    bench.registry.door(Door::Basic("Basic bWU6cGFzczp3b3Jk".into()));
    let host = bench.registry.address.to_string();
    let credentials = |error: &Error| match error {
        Error::Server { fault: ServerFault::Credentials { given }, .. } => *given,
        other => panic!("{other}"),
    };
    assert!(!credentials(&bench.fails(&["the registry wants a user and password (401)"])));
    bench.hub.logins.add("another.example", login.clone());
    assert!(!credentials(&bench.fails(&[])));
    bench.hub.logins.add(&host, wrong);
    assert!(credentials(&bench.fails(&["does not accept the user and password given for it (401)"])));
    assert!(credentials(&bench.pull(&bench.hub).unwrap_err()));
    bench.hub.logins.add(&host, login);
    let before = bench.registry.uploaded();
    bench.push().result.unwrap();
    bench.is_published();
    assert_eq!(bench.registry.uploaded() - before, bench.size(), "no body was sent without the password");
    // What is pulled needs it as well.
    assert!(!credentials(&bench.pull(&Hub { logins: Default::default(), ..bench.hub.clone() }).unwrap_err()));
    assert_eq!(bench.pull(&bench.hub).unwrap().digest, bench.store().resolve(&bench.name()).unwrap().digest);
    let all = bench.registry.state.requests.lock().unwrap();
    let texts = all.iter().filter_map(|request| request.headers.get("authorization"));
    assert!(texts.clone().count() > 10 && texts.clone().all(|text| text.starts_with("Basic ")));
}

#[test]
fn tokens_are_fetched_where_the_registry_says() {
    // At the registry itself, and at another host.
    for own in [true, false] {
        let mut bench = Bench::new();
        let giver = bench.registry.storage();
        let realm = format!("{}/token", if own { bench.registry.endpoint() } else { giver.endpoint() });
        bench.registry.door(Door::Bearer { realm, login: Some("Basic bWU6cHc=".into()) });
        bench.fails(&["the registry wants a user and password (401)"]);
        bench.hub.logins.add(&bench.registry.address.to_string(), Login::new("me", "wrong"));
        bench.fails(&["does not accept the user and password"]);
        bench.hub.logins.add(&bench.registry.address.to_string(), Login::new("me", "pw"));
        // A token is good for three requests: a body may be refused, and is then sent again.
        bench.registry.faults(|faults| faults.token_uses = Some(3));
        bench.push().result.unwrap();
        bench.is_published();
        bench.pull(&bench.hub).unwrap();
        let all = bench.registry.state.requests.lock().unwrap().clone();
        let asked: Vec<_> = all.iter().filter(|request| request.path.starts_with("/token")).collect();
        assert!(asked.len() > 5, "{}", asked.len());
        let push = "service=stand-in&scope=repository%3Ame/m%3Apull%2Cpush";
        assert!(asked[0].path.contains(push), "{}", asked[0].path);
        assert!(asked.last().unwrap().path.contains("scope=repository%3Ame/m%3Apull&account=me"), "{}", asked.last().unwrap().path);
        // The password is for the giver alone.
        for request in all.iter().filter(|request| !request.path.starts_with("/token")) {
            assert!(request.headers.get("authorization").is_none_or(|text| text.starts_with("Bearer token-")), "{request:?}");
        }
    }
}

#[test]
fn a_registry_that_gives_everybody_tokens_needs_no_password() {
    let bench = Bench::new();
    bench.registry.door(Door::Bearer { realm: format!("{}/token", bench.registry.endpoint()), login: None });
    bench.push().result.unwrap();
    bench.is_published();
    bench.pull(&bench.hub).unwrap();
    // A giver that knows nothing of it, and an address that is none.
    let storage = bench.registry.storage();
    for (realm, why) in [(format!("{}/none", storage.endpoint()), "which answered 404"), ("token".into(), "which is no https address")] {
        let bench = Bench::new();
        bench.registry.door(Door::Bearer { realm: realm.clone(), login: None });
        bench.fails(&[&format!("tokens for it are given at {realm}, {why}")]);
    }
}

#[test]
fn what_opens_the_registry_stays_there() {
    for way in ["location", "redirect"] {
        for door in ["basic", "bearer"] {
            let mut bench = Bench::new();
            let storage = bench.registry.storage();
            bench.hub.logins.add(&bench.registry.address.to_string(), Login::new("me", "pw"));
            bench.registry.door(match door {
                "basic" => Door::Basic("Basic bWU6cHc=".into()),
                _ => Door::Bearer { realm: format!("{}/token", bench.registry.endpoint()), login: Some("Basic bWU6cHc=".into()) },
            });
            bench.registry.faults(|faults| match way {
                "location" => faults.elsewhere = Some(storage.endpoint()),
                _ => faults.redirect = Some(storage.endpoint()),
            });
            bench.push().result.unwrap();
            bench.is_published();
            let there: Vec<_> = ["PATCH", "PUT"].iter().flat_map(|method| storage.requests(method)).collect();
            assert!(there.len() > 10, "{way} {door}: {}", there.len());
            assert!(there.iter().all(|request| !request.headers.contains_key("authorization")), "{way} {door}");
            assert!(bench.registry.requests("POST").iter().any(|request| request.headers.contains_key("authorization")));
        }
    }
}

#[test]
fn a_busy_registry_is_asked_again() {
    let bench = Bench::new();
    let wait = || vec![("Retry-After", "0".to_string())];
    bench.registry.faults(|faults| {
        faults.answers = [
            ("HEAD", "/blobs/", 500, vec![], ""),
            ("HEAD", "/blobs/", 429, wait(), ""),
            ("POST", "/uploads/", 503, vec![], ""),
            ("POST", "/uploads/", 429, wait(), "{}"),
            ("PATCH", "/uploads/", 500, vec![], ""),
            ("GET", "/uploads/", 502, vec![], ""),
            ("PATCH", "/uploads/", 429, wait(), ""),
            ("PUT", "/uploads/", 500, vec![], ""),
            ("PUT", "/uploads/", 429, wait(), ""),
            ("PUT", "/manifests/", 500, vec![], ""),
            ("PUT", "/manifests/", 429, wait(), ""),
        ]
        .into();
    });
    bench.push().result.unwrap();
    bench.is_published();
    assert!(bench.registry.state.faults.lock().unwrap().answers.is_empty());
    // Pieces were refused, and ends; but nothing that had arrived was sent again.
    let refused: usize = 2 * PIECE as usize;
    assert!(bench.registry.uploaded() <= bench.size() + refused, "{}", bench.registry.uploaded());
}

#[test]
fn an_end_that_nobody_answered_is_looked_for() {
    let bench = Bench::new();
    bench.registry.faults(|faults| faults.silent_ends = 1);
    let pushed = bench.push().result.unwrap();
    assert_eq!(pushed.sent, pushed.blobs);
    assert_eq!(bench.registry.uploaded(), bench.size());
    bench.is_published();
}

#[test]
fn refusals_are_told_in_the_registrys_words() {
    let refuse = |answer| {
        let bench = Bench::new();
        bench.registry.faults(|faults| faults.answers = [answer].into());
        bench.fails(&[]).to_string()
    };
    let denied = r#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#;
    let said = refuse(("POST", "/uploads/", 403, vec![], denied));
    assert!(said.contains("the registry does not allow it (403): requested access to the resource is denied (DENIED)"), "{said}");
    let said = refuse(("HEAD", "/blobs/", 403, vec![], ""));
    assert!(said.contains("the registry does not allow it (403)"), "{said}");
    let unknown = r#"{"errors":[{"code":"NAME_UNKNOWN","message":"project me not found"}]}"#;
    let said = refuse(("POST", "/uploads/", 404, vec![], unknown));
    assert!(said.contains("the server answered 404: project me not found (NAME_UNKNOWN)"), "{said}");
    let said = refuse(("POST", "/uploads/", 202, vec![], ""));
    assert!(said.contains("does not say where to upload to (no Location)"), "{said}");
    let said = refuse(("PUT", "/manifests/", 400, vec![], r#"{"errors":[{"code":"MANIFEST_INVALID"}]}"#));
    assert!(said.contains("/manifests/latest: the server answered 400: MANIFEST_INVALID"), "{said}");
    let said = refuse(("PUT", "/manifests/", 405, vec![], "read only"));
    assert!(said.contains("/manifests/latest: the server answered 405: read only"), "{said}");
}

#[test]
fn pieces_become_as_small_as_the_way_wants_them() {
    // By an answer, and by hanging up before one.
    for hangs_up in [false, true] {
        let mut bench = Bench::with(1_500_000);
        bench.hub.run = 2 << 20;
        bench.registry.faults(|faults| faults.largest = Some((300_000, hangs_up)));
        bench.push().result.unwrap();
        bench.is_published();
        // Tried again and again they would not get through.
        let patches = bench.registry.requests("PATCH").len();
        assert!(patches < 20, "{patches}");
    }
    let mut bench = Bench::with(1_500_000);
    bench.hub.run = 2 << 20;
    bench.registry.faults(|faults| faults.largest = Some((100_000, false)));
    bench.fails(&["the server answered 413"]);
}

#[test]
fn pieces_that_get_through_grow_again() {
    let mut bench = Bench::with(8_000_000);
    bench.hub.run = 1 << 20;
    bench.registry.faults(|faults| (faults.cut, faults.forgets) = (Some((600_000, 2)), true));
    bench.push().result.unwrap();
    bench.is_published();
    let sizes: Vec<usize> = bench.registry.requests("PATCH").iter().map(|request| request.body).collect();
    let smallest = sizes.iter().position(|size| *size == 256 << 10).unwrap();
    assert!(sizes[smallest..].contains(&(512 << 10)), "{sizes:?}");
}

#[test]
fn pieces_are_as_large_as_the_registry_wants_them() {
    let bench = Bench::new();
    bench.registry.faults(|faults| faults.least = Some(30_000));
    bench.push().result.unwrap();
    bench.is_published();
    let sizes: Vec<usize> = bench.registry.requests("PATCH").iter().map(|request| request.body).collect();
    assert_eq!(sizes.iter().filter(|size| **size == 30_000).count(), BYTES / 30_000, "{sizes:?}");
}

#[test]
fn a_registry_without_pieces_gets_all_at_once() {
    let bench = Bench::new();
    bench.registry.faults(|faults| faults.no_patch = true);
    bench.push().result.unwrap();
    bench.is_published();
    let longest = bench.registry.requests("PUT").iter().map(|request| request.body).max();
    assert_eq!(longest, Some(std::fs::metadata(bench.blob()).unwrap().len() as usize));
    // Which breaks now and then.
    let bench = Bench::new();
    bench.registry.faults(|faults| (faults.no_patch, faults.cut) = (true, Some((50_000, 2))));
    bench.push().result.unwrap();
    bench.is_published();
}

#[test]
fn a_registry_that_says_nothing_of_ranges_is_believed() {
    let bench = Bench::new();
    bench.registry.faults(|faults| faults.no_range = true);
    bench.push().result.unwrap();
    bench.is_published();
    assert_eq!(bench.registry.uploaded(), bench.size());
}

#[test]
fn ranges_that_are_lies_do_no_harm() {
    // More than was sent, nonsense, and less than is there.
    for lie in ["0-99999999", "5-9", "all of it", "0-4999", "0-0"] {
        let bench = Bench::new();
        bench.registry.faults(|faults| faults.ranges = vec![lie.to_string(); 2].into());
        bench.push().result.unwrap_or_else(|error| panic!("{lie}: {error}"));
        bench.is_published();
        let bench = Bench::new();
        bench.registry.faults(|faults| faults.ranges = vec![lie.to_string(); 10_000].into());
        bench.fails(&["/blobs/sha256:"]);
    }
}

#[test]
fn bytes_that_changed_on_the_way_are_sent_again() {
    let bench = Bench::new();
    bench.registry.faults(|faults| faults.damage = 1);
    bench.push().result.unwrap();
    bench.is_published();
    let bench = Bench::new();
    bench.registry.faults(|faults| faults.damage = usize::MAX);
    bench.fails(&["the server answered 400: provided digest did not match uploaded content (DIGEST_INVALID)"]);
}

#[test]
fn a_registry_that_has_understood_something_else_is_not_believed() {
    let bench = Bench::new();
    let other = Digest::of(b"another");
    bench.registry.faults(|faults| faults.digest = Some(other.to_string()));
    bench.fails(&[&format!("the registry says that it is {other}, and not sha256:")]);
    // A digest of another kind says nothing.
    let bench = Bench::new();
    bench.registry.faults(|faults| faults.digest = Some("sha512:00".into()));
    bench.push().result.unwrap();
    // A blob of another length is none of ours.
    let bench = Bench::new();
    bench.push().result.unwrap();
    bench.registry.faults(|faults| faults.length = Some(17));
    let pushed = bench.push().result.unwrap();
    assert_eq!(pushed.sent, pushed.blobs);
    bench.is_published();
}

#[test]
fn a_damaged_blob_is_named_and_published_nowhere() {
    for no_patch in [false, true] {
        let bench = Bench::new();
        let blob = bench.blob();
        let mut bytes = std::fs::read(&blob).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&blob, &bytes).unwrap();
        bench.registry.faults(|faults| faults.no_patch = no_patch);
        let error = bench.fails(&[&blob.display().to_string(), "wrong SHA-256"]);
        assert!(matches!(error, Error::Mismatch { found, .. } if found == Digest::of(&bytes)), "{error}");
        // Not whole, it cannot have been ended; and the registry need not keep what it has.
        assert!(!bench.registry.state.blobs.lock().unwrap().values().any(|there| there.len() == bytes.len()));
        assert_eq!(bench.registry.requests("DELETE").len(), 1);
        // One that is shorter, or not there, is found before anything is asked for.
        let before = bench.registry.state.requests.lock().unwrap().len();
        std::fs::write(&blob, &bytes[..last]).unwrap();
        bench.fails(&[&blob.display().to_string(), "bytes, expected"]);
        std::fs::remove_file(&blob).unwrap();
        bench.fails(&["no blob sha256:", "is made of it"]);
        assert_eq!(bench.registry.state.requests.lock().unwrap().len(), before);
    }
}

#[test]
fn who_stops_it_need_not_wait_for_the_registry() {
    let bench = Bench::new();
    bench.registry.hold();
    let cancel = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let push = scope.spawn(|| bench.store().push(&bench.name(), &bench.hub, &mut |_| {}, &cancel));
        bench.registry.wait_for_held();
        cancel.store(true, Ordering::SeqCst);
        assert!(matches!(push.join().unwrap(), Err(Error::Cancelled)));
    });
    // It is still held: nobody has answered.
    assert_eq!(bench.registry.uploaded(), 0);
    bench.registry.release();
    assert!(bench.registry.is_empty());
    bench.push().result.unwrap();
    bench.is_published();
}

#[test]
fn what_cannot_be_pushed_says_so_before_anything_is_asked() {
    let bench = Bench::new();
    let push = |text: &str, hub: &Hub| {
        let name: Name = text.parse().unwrap();
        bench.store().copy(&bench.name(), &name).unwrap();
        bench.store().push(&name, hub, &mut |_| {}, &GO_ON).unwrap_err()
    };
    for (name, why) in [
        ("m", "registry.ollama.ai, which takes only what the key"),
        ("me/m:x", "which takes only what the key"),
        ("hf.co/org/repo:Q8_0", "its own tools"),
    ] {
        let error = push(name, &bench.hub);
        assert!(matches!(error, Error::NoPush { .. }) && error.to_string().contains(why), "{error}");
    }
    let offline = Hub { offline: true, ..bench.hub.clone() };
    assert!(bench.store().push(&bench.name(), &offline, &mut |_| {}, &GO_ON).unwrap_err().to_string().contains("offline mode is on"));
    let absent: Name = format!("{}/me/none", bench.registry.address).parse().unwrap();
    assert!(matches!(bench.store().push(&absent, &bench.hub, &mut |_| {}, &GO_ON), Err(Error::NotFound { .. })));
    assert!(bench.registry.state.requests.lock().unwrap().is_empty());
    // A host that is not there is asked a few times.
    let error = push("127.0.0.1:1/me/m", &bench.hub).to_string();
    assert!(error.starts_with("http://127.0.0.1:1/v2/me/m/blobs/sha256:") && error.ends_with("5 times without a byte between"), "{error}");
    let mut told = vec![];
    let _ = bench.store().push(&absent, &bench.hub, &mut |progress| told.push(progress), &GO_ON);
    assert_eq!(told, [Progress::Step(Step::Retrieving)]);
}

#[cfg(unix)]
#[test]
fn what_does_not_speak_tls_says_so() {
    let bench = Bench::new();
    // An address that leads to this device and is not known to do so.
    let name: Name = format!("0.0.0.0:{}/me/m", bench.registry.address.port()).parse().unwrap();
    bench.store().copy(&bench.name(), &name).unwrap();
    let error = bench.store().push(&name, &bench.hub, &mut |_| {}, &GO_ON).unwrap_err();
    assert!(matches!(error, Error::Server { fault: ServerFault::NoTls, .. }), "{error}");
    let insecure = Hub { insecure: true, ..bench.hub.clone() };
    bench.store().push(&name, &insecure, &mut |_| {}, &GO_ON).unwrap();
    bench.is_published();
}
