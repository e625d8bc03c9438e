//! Normalisation form C as the reference library does it: with an older table, in which newer characters have no properties.

use super::unicode::NFC_INERT;
use std::borrow::Cow;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// Composes `text`. Borrowed where nothing changes.
pub(super) fn nfc(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for (at, c) in text.char_indices().filter(|(_, c)| inert(*c)) {
        out.extend(text[from..at].nfc());
        out.push(c);
        from = at + c.len_utf8();
    }
    out.extend(text[from..].nfc());
    Cow::Owned(out)
}

fn inert(c: char) -> bool {
    let c = c as u32;
    c >= NFC_INERT[0].0
        && NFC_INERT
            .binary_search_by(|&(a, b)| {
                if b < c {
                    std::cmp::Ordering::Less
                } else if a > c {
                    std::cmp::Ordering::Greater
                } else {
                    std::cmp::Ordering::Equal
                }
            })
            .is_ok()
}

#[cfg(test)]
mod tests {
    use super::nfc;

    #[test]
    fn composes_but_leaves_newer_characters_alone() {
        assert_eq!(nfc("e\u{301}"), "é");
        assert_eq!(nfc("plain"), "plain");
        // U+0323 (below, class 220) is sorted before U+0301 (above, class 230) ...
        assert_eq!(nfc("q\u{301}\u{323}"), "q\u{323}\u{301}");
        // ... but not across U+1ACF, which is newer than the library's table.
        assert_eq!(nfc("q\u{301}\u{1acf}\u{323}"), "q\u{301}\u{1acf}\u{323}");
    }
}
