//! The web page: its files, built into the program as they stand in `crates/serve/web`. There is no build step, so what is read there is what is served.
//!
//! | path | what |
//! |---|---|
//! | `/` | the page, for browsers (`wants_page`); other clients get what Ollama answers there |
//! | `/ui/…` | its scripts, styles and icons |
//! | `/sw.js` | the service worker, at the root because it may only keep what lies below it |
//! | `/manifest.webmanifest` | what an installed page is called and looks like |
//!
//! These answers hold nothing of anybody's, so they need no API key: the page must be there for the key to be typed in. It sends the key to `/api` as any
//! client does. Where `/api/show` says `"compare": "/compare/NAME"` (`--compare`), the page links there, unless a key is in use: links carry none.

use std::sync::LazyLock;

/// What the page may do: load from this server only, run no script and no style that stands in the HTML, be put into no other page. With the last two
/// rules text cannot become markup or a script's address at all, except by the one policy of `app.js`, which knows one address.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; manifest-src 'self'; \
                          worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
                          trusted-types nibble";

/// The headers that go with every file of the page, beside its type and tag. `no-cache` has the browser ask each time whether the tag still holds: a page
/// whose files are of two versions does not work, and asking the machine next to it costs nothing.
pub const HEADERS: &[(&str, &str)] = &[
    ("content-security-policy", POLICY),
    ("cache-control", "no-cache"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// A file of the page.
#[derive(Debug)]
pub struct Asset {
    /// Where it is served.
    pub path: &'static str,
    /// Its `Content-Type`.
    pub content_type: &'static str,
    /// Its bytes.
    pub bytes: &'static [u8],
    /// Its `ETag`, with the quotation marks.
    pub etag: String,
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// A row of the table: path, type, bytes of `crates/serve/web/FILE`.
macro_rules! row {
    ($path:literal, $kind:expr, $file:literal) => {
        ($path, $kind, include_bytes!(concat!("../web/", $file)).as_slice())
    };
    ($file:literal, $kind:expr) => {
        (concat!("/ui/", $file), $kind, include_bytes!(concat!("../web/", $file)).as_slice())
    };
}

static FILES: &[(&str, &str, &[u8])] = &[
    row!("/", HTML, "index.html"),
    row!("/manifest.webmanifest", "application/manifest+json", "manifest.webmanifest"),
    row!("/sw.js", SCRIPT, "sw.js"),
    row!("answers.js", SCRIPT),
    row!("api.js", SCRIPT),
    row!("app.js", SCRIPT),
    row!("bus.js", SCRIPT),
    row!("chats.js", SCRIPT),
    row!("composer.js", SCRIPT),
    row!("connection.js", SCRIPT),
    row!("dom.js", SCRIPT),
    row!("drawer.js", SCRIPT),
    row!("errors.js", SCRIPT),
    row!("highlight.js", SCRIPT),
    row!("icon-192.png", "image/png"),
    row!("icon-512.png", "image/png"),
    row!("icon-maskable-512.png", "image/png"),
    row!("icon.svg", "image/svg+xml"),
    row!("inline.js", SCRIPT),
    row!("markdown.js", SCRIPT),
    row!("messages.js", SCRIPT),
    row!("models.js", SCRIPT),
    row!("ndjson.js", SCRIPT),
    row!("options.js", SCRIPT),
    row!("render.js", SCRIPT),
    row!("settings.js", SCRIPT),
    row!("store.js", SCRIPT),
    row!("style.css", STYLE),
    row!("text.css", STYLE),
    row!("theme.js", SCRIPT),
    row!("think.js", SCRIPT),
    row!("tree.js", SCRIPT),
];

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    FILES
        .iter()
        .map(|&(path, content_type, bytes)| Asset { path, content_type, bytes, etag: format!("\"{:016x}\"", fnv1a(bytes)) })
        .collect()
});

/// All files of the page.
pub fn assets() -> &'static [Asset] {
    &ASSETS
}

/// The file at `path`, which begins with `/`; `None` if the page has none there.
pub fn find(path: &str) -> Option<&'static Asset> {
    assets().iter().find(|asset| asset.path == path)
}

/// Whether who asks for `/` with this `Accept` is a browser that opens a page. Programs that look whether Ollama is there send `*/*` or nothing.
pub fn wants_page(accept: Option<&str>) -> bool {
    accept.is_some_and(|kinds| {
        kinds.split(',').any(|kind| kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/html"))
    })
}

/// Whether the browser has this file already: `if_none_match` is the header's value, one tag, several or `*`.
pub fn is_known(asset: &Asset, if_none_match: Option<&str>) -> bool {
    if_none_match
        .is_some_and(|tags| tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == asset.etag))
}

/// FNV-1a over 64 bits: tells one version of a file from another; nobody gains by a collision.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The most that a phone has to load the first time, in bytes; ARCHITECTURE.md says it.
    const MOST: usize = 150_000;

    fn text(path: &str) -> &'static str {
        std::str::from_utf8(find(path).expect(path).bytes).expect(path)
    }

    #[test]
    fn every_file_of_the_folder_is_served_and_no_other() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("web");
        let there: BTreeSet<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        let served = FILES.iter().map(|(path, ..)| match *path {
            "/" => "index.html".to_string(),
            path => path.trim_start_matches("/ui/").trim_start_matches('/').to_string(),
        });
        assert_eq!(served.collect::<BTreeSet<_>>(), there);
    }

    #[test]
    fn the_service_worker_keeps_every_file_but_itself() {
        let list = text("/sw.js").split("const FILES = [").nth(1).unwrap().split("];").next().unwrap();
        let kept: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
        let all: Vec<String> = assets().iter().filter(|asset| asset.path != "/sw.js").map(|asset| format!(".{}", asset.path)).collect();
        assert_eq!(kept, all);
    }

    #[test]
    fn what_files_ask_for_is_served() {
        // Paths in the HTML and the manifest, and the modules that modules import.
        for (path, base) in [("/", "/"), ("/manifest.webmanifest", "/")] {
            for word in text(path).split('"').filter(|word| word.starts_with("./") && word.len() > 2) {
                assert!(find(&format!("{base}{}", &word[2..])).is_some(), "{path}: {word} is not served");
            }
        }
        for asset in assets().iter().filter(|asset| asset.content_type == SCRIPT && asset.path != "/sw.js") {
            for line in text(asset.path).lines().filter(|line| line.starts_with("import ")) {
                let module = line.split('"').nth(1).expect(line);
                assert!(find(&format!("/ui/{}", &module[2..])).is_some(), "{}: {module} is not served", asset.path);
            }
        }
    }

    #[test]
    fn nothing_comes_from_elsewhere() {
        // The policy would stop it in the browser; here it is not even written. The name spaces of SVG are names, not addresses.
        for asset in assets().iter().filter(|asset| asset.content_type != "image/png") {
            let text = text(asset.path).replace("http://www.w3.org/2000/svg", "");
            for word in ["http://", "https://", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
                let mentions = text.matches(word).count();
                // The renderer knows what an address looks like.
                assert!(mentions == 0 || asset.path == "/ui/inline.js" && word.starts_with("http"), "{}: {word}", asset.path);
            }
        }
        let html = text("/");
        let inline: Vec<&str> =
            html.split_whitespace().filter(|word| word.starts_with("style=") || word.starts_with("on") && word.contains('=')).collect();
        assert!(inline.is_empty(), "styles and handlers in the HTML, which the policy forbids: {inline:?}");
        assert_eq!(
            html.matches("<script").count(),
            html.matches("<script src=").count() + html.matches("<script type=\"module\" src=").count()
        );
    }

    #[test]
    fn the_page_is_small() {
        let total: usize = assets().iter().map(|asset| asset.bytes.len()).sum();
        assert!(total <= MOST, "{total} bytes, and {MOST} is the most");
    }

    #[test]
    fn files_are_short_enough_to_read() {
        for asset in assets().iter().filter(|asset| asset.content_type == SCRIPT || asset.content_type == STYLE) {
            let text = text(asset.path);
            assert!(text.lines().count() <= 420, "{}: {} lines", asset.path, text.lines().count());
            assert!(text.starts_with("//") || text.starts_with("/*"), "{}: opens with what it is for", asset.path);
        }
    }

    #[test]
    fn browsers_are_told_from_programs() {
        assert!(wants_page(Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")));
        assert!(wants_page(Some("text/html, */*")));
        for program in [None, Some("*/*"), Some("application/json"), Some("")] {
            assert!(!wants_page(program), "{program:?}");
        }
    }

    #[test]
    fn tags_differ_and_are_known_again() {
        let tags: BTreeSet<&str> = assets().iter().map(|asset| asset.etag.as_str()).collect();
        assert_eq!(tags.len(), assets().len());
        let page = find("/").unwrap();
        assert!(is_known(page, Some(&page.etag)));
        assert!(is_known(page, Some(&format!("\"x\", W/{}", page.etag))));
        assert!(is_known(page, Some("*")));
        assert!(!is_known(page, Some("\"x\"")) && !is_known(page, None));
        assert!(find("/ui/nothing.js").is_none() && find("/ui/../api").is_none());
    }
}
