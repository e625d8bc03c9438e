//! A model's bytes as they come, as whole characters, up to a stop string.

/// What a stream gives for one more token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Text that is now certain. May be empty.
    pub text: String,
    /// A stop string was reached; it is not part of any text, and nothing comes after it.
    pub stopped: bool,
}

/// Gathers bytes and gives text.
///
/// A token may end within a character: the rest is held until it is whole. Bytes that can no longer become a character are given as U+FFFD, one
/// for each as long a part as could have begun one, as everywhere in Rust. Where stop strings are set, text that may be the beginning of one is
/// held back until it is clear that it is not.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    stops: Vec<String>,
    /// The beginning of a character.
    bytes: Vec<u8>,
    /// The possible beginning of a stop string.
    held: String,
    stopped: bool,
}

impl Stream {
    /// A stream that ends at any of `stops`; empty ones are passed over.
    pub fn new(stops: impl IntoIterator<Item = String>) -> Stream {
        Stream { stops: stops.into_iter().filter(|s| !s.is_empty()).collect(), ..Stream::default() }
    }

    /// Takes the bytes of one token.
    pub fn push(&mut self, bytes: &[u8]) -> Chunk {
        if self.stopped {
            return Chunk { text: String::new(), stopped: true };
        }
        self.bytes.extend_from_slice(bytes);
        let whole = self.take_whole();
        self.held.push_str(&whole);
        self.release()
    }

    /// What is left at the end: text that was held back, and U+FFFD for half a character.
    pub fn finish(&mut self) -> String {
        if self.stopped {
            return String::new();
        }
        let rest = String::from_utf8_lossy(&std::mem::take(&mut self.bytes)).into_owned();
        let mut text = std::mem::take(&mut self.held);
        text.push_str(&rest);
        text
    }

    /// Takes the characters that are whole off the bytes.
    fn take_whole(&mut self) -> String {
        let mut out = String::new();
        let mut used = 0;
        for chunk in self.bytes.utf8_chunks() {
            out.push_str(chunk.valid());
            used += chunk.valid().len();
            let bad = chunk.invalid();
            if bad.is_empty() {
                continue;
            }
            // Only the last chunk can be a character that is not finished.
            if used + bad.len() == self.bytes.len() && begins_character(bad) {
                break;
            }
            out.push(char::REPLACEMENT_CHARACTER);
            used += bad.len();
        }
        self.bytes.drain(..used);
        out
    }

    /// Splits `held` into what is certain and what may begin a stop string.
    fn release(&mut self) -> Chunk {
        if let Some(at) = self.stops.iter().filter_map(|s| self.held.find(s.as_str())).min() {
            self.stopped = true;
            self.held.truncate(at);
            self.bytes.clear();
            return Chunk { text: std::mem::take(&mut self.held), stopped: true };
        }
        let begins = |at: &usize| self.stops.iter().any(|s| s.as_bytes().starts_with(&self.held.as_bytes()[*at..]));
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let from = self.held.len().saturating_sub(longest);
        let keep = (from..self.held.len()).find(|at| self.held.is_char_boundary(*at) && begins(at)).unwrap_or(self.held.len());
        let rest = self.held.split_off(keep);
        Chunk { text: std::mem::replace(&mut self.held, rest), stopped: false }
    }
}

/// Whether more bytes could make a character of these.
fn begins_character(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|e| e.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that a stream gives for these pushes, and whether it stopped.
    fn run(stops: &[&str], pushes: &[&[u8]]) -> (Vec<String>, bool) {
        let mut stream = Stream::new(stops.iter().map(|s| s.to_string()));
        let mut out = Vec::new();
        let mut stopped = false;
        for bytes in pushes {
            let chunk = stream.push(bytes);
            out.push(chunk.text);
            stopped |= chunk.stopped;
        }
        out.push(stream.finish());
        (out, stopped)
    }

    #[test]
    fn characters_come_whole() {
        assert_eq!(run(&[], &[b"a\xf0", b"\x9f", b"\xa6", b"\x99b"]).0, ["a", "", "", "🦙b", ""]);
        // What can no longer become a character is replaced as soon as that is certain, each part once.
        assert_eq!(run(&[], &[b"\xff", b"\xf0\x9f", b"x"]).0, ["\u{fffd}", "", "\u{fffd}x", ""]);
        assert_eq!(run(&[], &[b"\xe2\x82"]).0, ["", "\u{fffd}"]);
        assert_eq!(run(&[], &[b"\xed", b"\xa0\x80"]).0, ["", "\u{fffd}\u{fffd}\u{fffd}", ""]);
    }

    #[test]
    fn stop_strings_are_never_begun() {
        assert_eq!(run(&["<end>"], &[b"a<", b"en", b"d>b"]), (vec!["a".into(), "".into(), "".into(), "".into()], true));
        assert_eq!(run(&["<end>"], &[b"a<", b"ex"]), (vec!["a".into(), "<ex".into(), "".into()], false));
        assert_eq!(run(&["<end>"], &[b"a<e"]), (vec!["a".into(), "<e".into()], false));
        // Of overlapping beginnings the longest is held.
        assert_eq!(run(&["aab"], &[b"a", b"a", b"a", b"b"]), (vec!["".into(), "".into(), "a".into(), "".into(), "".into()], true));
        assert_eq!(run(&["\n\n", "User:"], &[b"x\nUs", b"er: y"]), (vec!["x\n".into(), "".into(), "".into()], true));
        assert_eq!(run(&["", "é"], &[b"\xc3", b"\xa9", b"z"]), (vec!["".into(), "".into(), "".into(), "".into()], true));
    }
}
