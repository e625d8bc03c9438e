//! A store beside the stand-in, and what a pull told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nibble_store::{Entry, Error, Hub, Progress, Pull, Source, Store, Work};

/// Nobody breaks it off.
pub static GO_ON: AtomicBool = AtomicBool::new(false);

/// A store of its own and a stand-in.
pub struct Bench {
    pub dir: tempfile::TempDir,
    pub hub: super::Hub,
    pub token: Option<String>,
}

/// What was told, and how it ended.
pub struct Told {
    pub result: Result<Entry, Error>,
    pub notes: Vec<String>,
    /// Bytes that each file was at, in order.
    pub downloads: Vec<(String, u64, u64)>,
}

impl Bench {
    #[allow(clippy::new_without_default, reason = "it starts a server")]
    pub fn new() -> Bench {
        Bench { dir: tempfile::tempdir().unwrap(), hub: super::Hub::start(), token: None }
    }

    pub fn store(&self) -> Store {
        Store::open(self.dir.path().join("store")).unwrap()
    }

    pub fn settings(&self) -> Hub {
        Hub {
            endpoint: self.hub.endpoint(),
            token: self.token.clone(),
            connections: 4,
            piece: 5_000,
            run: 10_000,
            backoff: Duration::from_millis(1),
            stall: Duration::from_secs(20),
            ..Hub::default()
        }
    }

    pub fn pull(&self, source: &str) -> Told {
        self.pull_until(source, |_| false)
    }

    /// Stops when the listener says so.
    pub fn pull_until(&self, source: &str, stop: impl Fn(&Progress) -> bool) -> Told {
        let source = Source::parse(source).unwrap();
        let hub = self.settings();
        let pull = Pull { source: &source, name: None, hub: &hub, convert: None, keep_checkpoint: None, link: false };
        let (mut notes, mut downloads, cancel) = (vec![], vec![], AtomicBool::new(false));
        let mut listener = |progress: Progress| {
            if stop(&progress) {
                cancel.store(true, Ordering::SeqCst);
            }
            match progress {
                Progress::Note(text) => notes.push(text),
                Progress::Bytes { work: Work::Download, file, completed, total, .. } => downloads.push((file, completed, total)),
                _ => {}
            }
        };
        let result = self.store().pull(&pull, &mut listener, &cancel);
        let told = Told { result, notes, downloads };
        told.never_backwards();
        told
    }

    /// The store is sound and holds nothing that it need not.
    pub fn is_clean(&self) {
        let verified = self.store().verify(false, &mut |_| {}, &GO_ON).unwrap();
        assert!(verified.is_sound(), "{verified:?}");
        assert!(verified.unused.is_empty() && verified.partial.is_empty(), "{verified:?}");
    }
}

impl Told {
    fn never_backwards(&self) {
        for pair in self.downloads.windows(2) {
            assert!(pair[0].0 != pair[1].0 || pair[0].1 <= pair[1].1, "{pair:?}");
            assert!(pair[1].1 <= pair[1].2, "{pair:?}");
        }
    }

    #[track_caller]
    pub fn entry(self) -> Entry {
        self.result.unwrap()
    }

    #[track_caller]
    pub fn fault(&self) -> String {
        self.result.as_ref().unwrap_err().to_string()
    }

    pub fn notes(&self, text: &str) -> usize {
        self.notes.iter().filter(|note| note.contains(text)).count()
    }
}

/// The file that most tests pull.
pub const FILE: &str = "org/repo/m-Q4_K_M.gguf";
