//! The known name that a mistyped one was meant for.

/// The known name with the fewest edits to `word`, if that is near enough to be what was meant: one in three letters may be wrong, one in any case, but not
/// all. Case and `-`/`_` do not count.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A name of this length was not mistyped, and comparing it takes its length times that of every known one.
    if word.len() > 256 {
        return None;
    }
    let word = fold(word);
    known
        .into_iter()
        .map(|name| (edits(&word, &fold(name)), name))
        .min_by_key(|&(distance, _)| distance)
        .filter(|&(distance, _)| distance <= (word.len() / 3).max(1) && distance < word.len())
        .map(|(_, name)| name)
}

/// What a message says after a name that there is not: the known one that is near, or all of them.
pub(crate) fn instead(word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("there are {}", known.join(", ")),
    }
}

fn fold(word: &str) -> Vec<char> {
    word.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect()
}

/// The distance of Damerau and Levenshtein, in which two letters that changed places count once, one row of the table at a time.
fn edits(a: &[char], b: &[char]) -> usize {
    let mut before = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            row[j] = (above[j - 1] + usize::from(a[i - 1] != b[j - 1])).min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        (before, above) = (above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        let count = |a: &str, b: &str| edits(&fold(a), &fold(b));
        for (a, b, edits) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("form", "from", 1),
            ("kitten", "sitting", 3),
            ("ca", "abc", 3),
            ("abcd", "badc", 2),
        ] {
            assert_eq!((count(a, b), count(b, a)), (edits, edits), "{a} {b}");
        }
    }

    #[test]
    fn the_nearest_name_is_offered_only_when_it_is_near() {
        let known = ["q4_0", "q4_k_m", "q4_k_s", "q8_0", "iq4_xs", "bf16"];
        assert_eq!(nearest("Q4KM", known), Some("q4_k_m"));
        assert_eq!(nearest("q4-k-m", known), Some("q4_k_m"));
        assert_eq!(nearest("iq4x", known), Some("iq4_xs"));
        assert_eq!(nearest("q4_mk", known), Some("q4_k_m"));
        assert_eq!((nearest("zstd", known), nearest("x", ["y"]), nearest("", ["y"])), (None, None, None));
        assert_eq!(nearest(&"q4_0".repeat(100), known), None);
    }
}
