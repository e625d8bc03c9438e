//! What a session takes of the system, and the refusal of what does not fit. In a program of its own: other tests' memory would count too.

mod common;

use common::{emulated, tiny, tokens};
use nibble_engine::{Error, KvType, Model, Options};

/// Anonymous memory of this process in bytes; `None` where the system does not tell.
fn anonymous() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb << 10)
}

/// A context of 100,000 tokens, 300 MB of cache when full, costs what the tokens in it cost; what is forgotten does not add up, and a second session
/// costs no more than the first (an allocator that reuses memory clears all of it).
#[test]
fn memory_grows_with_the_tokens_and_not_with_the_context() {
    if anonymous().is_none() {
        eprintln!("skipped: no RssAnon in /proc/self/status");
        return;
    }
    if emulated() {
        eprintln!("skipped: under emulation the emulator's own memory would count");
        return;
    }
    let options = Options { context: Some(100_000), threads: Some(2), memory: Some(u64::MAX), ..Options::default() };
    let model = Model::open(&tiny(), options).unwrap();
    let need = model.need();
    let ids = tokens(600, model.config().vocab);
    // What the first single token touches once, a page of a thread's stack, is nothing that a session keeps.
    model.session().unwrap().feed(&ids[..1]).unwrap();
    let before = anonymous().unwrap();
    for _ in 0..2 {
        let mut session = model.session().unwrap();
        session.feed(&ids).unwrap();
        let grown = anonymous().unwrap().saturating_sub(before);
        // Positions come in chunks of 256, hence up to 255 more than were fed; buffers are bounded by what the check before loading counts.
        let most = need.fixed + need.token * 900;
        assert!(grown > need.token * 500 && grown < most, "{grown} bytes for 600 tokens; expected up to {most}");
        assert!(most < need.token * 100_000 / 10, "the test would not see a whole context");
        session.truncate(0);
        session.feed(&ids[..1]).unwrap();
        let kept = anonymous().unwrap().saturating_sub(before);
        // The chunks are given back (the cache's own test); the allocator may keep them for the next.
        assert!(kept <= grown, "{kept} bytes after forgetting, {grown} before");
    }
}

#[test]
fn what_would_fit_is_said_before_loading() {
    let open = |kv, memory| Model::open(&tiny(), Options { context: Some(10_000), threads: Some(1), kv, memory, ..Options::default() });
    let need = open(KvType::F16, Some(u64::MAX)).unwrap().need();
    assert!(open(KvType::F16, Some(need.total(10_000))).is_ok());
    let Err(error) = open(KvType::F16, Some(need.total(10_000) - 1)) else { panic!("one byte less was enough") };
    let text = error.to_string();
    assert!(text.contains("up to 9999") && text.contains("with a q8_0 cache"), "{text}");
    // Room for half of the cache: only four bits would do.
    let Err(error) = open(KvType::F16, Some(need.total(5_000))) else { panic!("half was enough") };
    assert!(matches!(error, Error::Memory { fits: Some(5_000), kv: Some(KvType::Q4_0), .. }), "{error}");
    assert!(open(KvType::Q4_0, Some(need.total(5_000))).is_ok());
    // No room for the weights.
    let Err(error) = open(KvType::F16, Some(need.weights / 2)) else { panic!("no room was enough") };
    assert!(matches!(error, Error::Memory { fits: None, kv: None, .. }), "{error}");
}
