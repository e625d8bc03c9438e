//! Prompt lookup: what followed the last few tokens when they stood in the text before is likely to follow again.
//!
//! Code that is edited, a document that is summarised, a list that goes on, a model that repeats itself: the continuation often stands in the prompt or in
//! the answer already (Saxena, "Prompt Lookup Decoding", 2023). The search is that of LZ77: the longest earlier match of the text's end, the latest
//! among equals, and the draft is what came after it.
//!
//! The index is deflate's: a table from each pair of tokens to the last place behind one, and for each place the place before it with the same
//! pair. One entry a token, made as the text grows. A search follows the chain for at most [`CHAIN`] places and compares at most [`LONGEST`] tokens
//! at each, so that no text makes it slow.

use super::{Ask, Drafter};
use crate::Error;
use std::collections::HashMap;

/// Places that a search looks at. Of a pair as frequent as a comma and a blank, the latest places are the likeliest to be like this one.
const CHAIN: usize = 64;
/// A match is not measured further than this: longer ones promise no more.
const LONGEST: usize = 32;
/// Tokens of the shortest match.
const PAIR: usize = 2;
/// No earlier place.
const NONE: u32 = u32::MAX;

/// Drafts from the text itself.
#[derive(Debug, Default)]
pub struct Lookup {
    /// The latest place behind each pair: the position of the token that came after it.
    latest: HashMap<[u32; PAIR], u32>,
    /// For each position of the text, the one before it that stands behind the same pair.
    before: Vec<u32>,
}

impl Lookup {
    /// An empty index.
    pub fn new() -> Lookup {
        Lookup::default()
    }

    /// Enters every position of the text that is not entered yet. Positions behind a pair, and with a token: the end has none to draft.
    fn index(&mut self, text: &[u32]) {
        for position in self.before.len()..text.len() {
            let earlier = match pair_before(text, position) {
                Some(pair) => self.latest.insert(pair, position as u32).unwrap_or(NONE),
                None => NONE,
            };
            self.before.push(earlier);
        }
    }

    /// The position behind the longest earlier match of the text's end, and the match's length.
    fn find(&self, text: &[u32]) -> Option<(usize, usize)> {
        let mut place = *self.latest.get(&pair_before(text, text.len())?)?;
        let mut best = None;
        for _ in 0..CHAIN {
            if place == NONE {
                break;
            }
            let earlier = &text[..place as usize];
            let length = text.iter().rev().zip(earlier.iter().rev()).take(LONGEST).take_while(|(a, b)| a == b).count();
            if best.is_none_or(|(_, most)| length > most) {
                best = Some((place as usize, length));
            }
            if length == LONGEST {
                break;
            }
            place = self.before[place as usize];
        }
        best
    }
}

/// The pair in front of a position.
fn pair_before(text: &[u32], position: usize) -> Option<[u32; PAIR]> {
    text.get(position.checked_sub(PAIR)?..position)?.try_into().ok()
}

impl Drafter for Lookup {
    fn begin(&mut self, text: &[u32], _: &dyn Fn() -> bool) -> Result<(), Error> {
        self.latest.clear();
        self.before.clear();
        self.index(text);
        Ok(())
    }

    fn draft(&mut self, ask: &Ask, out: &mut Vec<u32>) -> Result<usize, Error> {
        self.index(ask.text);
        let Some((from, length)) = self.find(ask.text) else { return Ok(0) };
        for i in 0..ask.most {
            // Past the end of the text the draft goes on with itself: what repeats with a period goes on with that period.
            let token = ask.text.get(from + i).or_else(|| out.get(from + i - ask.text.len()));
            out.push(*token.expect("a place behind a match is in the text, so the draft is there before it is read"));
        }
        Ok(length)
    }

    fn free(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::{Sampler, Sampling};
    use proptest::prelude::*;

    fn draft(lookup: &mut Lookup, text: &[u32], most: usize) -> (usize, Vec<u32>) {
        let sampler = Sampler::new(Sampling::default()).unwrap();
        let mut out = Vec::new();
        let length = lookup.draft(&Ask { text, most, sampler: &sampler, go_on: &|| true }, &mut out).unwrap();
        (length, out)
    }

    fn fresh(text: &[u32], most: usize) -> (usize, Vec<u32>) {
        draft(&mut Lookup::new(), text, most)
    }

    #[test]
    fn the_longest_match_wins_and_the_latest_of_equals() {
        assert_eq!(fresh(&[1, 2, 3, 9, 7, 2, 3, 8, 1, 2, 3], 2), (3, vec![9, 7]));
        assert_eq!(fresh(&[2, 3, 9, 7, 2, 3, 8, 5, 2, 3], 2), (2, vec![8, 5]));
        // One token alone is no match, nor is a text without any repetition.
        assert_eq!(fresh(&[3, 9, 7, 3], 2), (0, vec![]));
        assert_eq!(fresh(&[1, 2, 3, 4], 2), (0, vec![]));
        for short in [&[][..], &[1], &[1, 1]] {
            assert_eq!(fresh(short, 2), (0, vec![]), "{short:?}");
        }
    }

    #[test]
    fn what_repeats_goes_on_past_the_end_of_the_text() {
        assert_eq!(fresh(&[1, 2, 3, 1, 2, 3, 1, 2], 7), (5, vec![3, 1, 2, 3, 1, 2, 3]));
        assert_eq!(fresh(&[7, 7, 7], 3), (2, vec![7, 7, 7]));
    }

    #[test]
    fn a_new_answer_forgets_the_old_text() {
        let mut lookup = Lookup::new();
        lookup.begin(&[1, 2, 3, 4, 5, 6], &|| true).unwrap();
        lookup.begin(&[8, 1, 2], &|| true).unwrap();
        assert_eq!(draft(&mut lookup, &[8, 1, 2], 2), (0, vec![]));
    }

    proptest! {
        /// Against a search of every place. Few different tokens, so that there is much to find; texts shorter than the chain, so that all is looked at.
        #[test]
        fn finds_what_a_plain_search_finds(text in prop::collection::vec(0u32..4, 0..60), step in 1usize..7, most in 1usize..9) {
            let mut lookup = Lookup::new();
            lookup.begin(&text[..text.len().min(step)], &|| true).unwrap();
            for end in (0..=text.len()).step_by(step) {
                let text = &text[..end.max(text.len().min(step))];
                let n = text.len();
                let mut best: Option<(usize, usize)> = None;
                for place in (2..n).rev() {
                    let length = (0..place.min(LONGEST)).take_while(|i| text[place - 1 - i] == text[n - 1 - i]).count();
                    if length >= 2 && best.is_none_or(|(_, most)| length > most) {
                        best = Some((place, length));
                    }
                }
                let mut long = text.to_vec();
                if let Some((place, _)) = best {
                    (0..most).for_each(|i| long.push(long[place + i]));
                }
                prop_assert_eq!(draft(&mut lookup, text, most), (best.map_or(0, |b| b.1), long[n..].to_vec()));
            }
        }
    }
}
