//! What becomes of files that were fetched whole and then make no model.
//!
//! They are what the server has, so fetching them again changes nothing, and a later version may take them. Small ones go; large ones stay where the
//! next pull finds them, and it is said.

use super::download::Fetched;
use crate::error::size;
use crate::{Error, Listener, Progress};

/// From so many bytes on files stay: some seconds of a good connection.
const WORTH_KEEPING: u64 = 64 << 20;

/// Removes what was fetched, or says that it stays, where `error` is a refusal of the files themselves. What else may have happened (a full disk, an
/// interrupt) leaves them as a download that was broken off.
pub(super) fn refused(error: &Error, fetched: Vec<Fetched>, listener: Listener) {
    let unreadable = matches!(error, Error::Container(error) if !matches!(error.fault, nibble_container::Fault::Io { .. }));
    let failed = matches!(error, Error::Convert { .. });
    if fetched.is_empty() || !(unreadable || failed || matches!(error, Error::Source { .. })) {
        return;
    }
    let bytes = fetched.iter().map(|file| file.ready.size).sum();
    // Quantizing may fail for want of memory or room too.
    if bytes < WORTH_KEEPING && !failed {
        return fetched.into_iter().for_each(Fetched::done);
    }
    let path = match &fetched[..] {
        [one] => Some(one.ready.path.as_path()),
        several => several[0].ready.path.parent(),
    };
    let at = path.map_or_else(String::new, |path| path.display().to_string());
    listener(Progress::Note(format!("what was fetched, {}, stays for the next pull of it: {at}", size(bytes))));
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::Digest;
    use crate::blobs::Ready;
    use crate::lock::Lock;

    fn fetched(folder: &Path, name: &str, size: u64) -> Fetched {
        let (path, journal) = (folder.join(name), folder.join(format!("{name}.log")));
        fs::write(&path, "x").unwrap();
        fs::write(&journal, "x").unwrap();
        let lock = Lock::exclusive(&folder.join(format!("{name}.lock"))).unwrap();
        Fetched { ready: Ready { path, digest: Digest::of(b"x"), size }, journal, lock }
    }

    #[test]
    fn what_is_refused_goes_or_is_told() {
        let no_model = || Error::Source { what: "m.gguf".into(), message: "an adapter".into(), choices: vec![] };
        let failed = || Error::Convert { path: "m".into(), error: "no such architecture".into() };
        let full = || Error::Space { path: "m".into(), need: 2, free: 1 };
        for (error, size, stays, told) in [
            (no_model(), WORTH_KEEPING - 1, false, false),
            (no_model(), 3 << 30, true, true),
            (failed(), 5, true, true),
            (full(), 5, true, false),
            (Error::Cancelled, 5, true, false),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let mut notes = vec![];
            refused(&error, vec![fetched(dir.path(), "a", size)], &mut |told| notes.push(told));
            assert_eq!(dir.path().join("a").exists(), stays, "{error} {size}");
            assert_eq!(dir.path().join("a.log").exists(), stays, "{error} {size}");
            assert!(!stays || Lock::try_exclusive(&dir.path().join("a.lock")).unwrap().is_some(), "the next pull has to have it");
            let text = notes.iter().map(|note| format!("{note:?}")).collect::<String>();
            assert_eq!(text.contains(&dir.path().join("a").display().to_string()), told, "{error} {size}: {text}");
        }
    }
}
