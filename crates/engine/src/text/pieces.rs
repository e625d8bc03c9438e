//! Text to id: an open-addressing table over the vocabulary's own strings, without a second copy of them.

use super::TokenType;

/// FxHash's step: multiply and rotate, eight bytes at a time. The keys are a vocabulary's own, so nothing is gained by a keyed hash: a hostile
/// file can only slow down the reading of itself.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    const K: u64 = 0x517c_c1b7_2722_0a95;
    let mut h = bytes.len() as u64;
    let mut chunks = bytes.chunks_exact(8);
    for c in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(c);
        h = (h.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(K);
    }
    for &b in chunks.remainder() {
        h = (h.rotate_left(5) ^ u64::from(b)).wrapping_mul(K);
    }
    h ^ (h >> 29)
}

/// A hasher for keys that are small integers.
#[derive(Default, Clone, Copy)]
pub(super) struct IntHasher(u64);

impl std::hash::Hasher for IntHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 ^= hash(bytes);
    }
    fn write_u64(&mut self, n: u64) {
        let h = (self.0 ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = h ^ (h >> 32);
    }
}

/// A map from integers.
pub(super) type IntMap<V> = std::collections::HashMap<u64, V, std::hash::BuildHasherDefault<IntHasher>>;

const EMPTY: u32 = u32::MAX;

/// Ids by text.
#[derive(Clone, Debug, Default)]
pub(super) struct Pieces {
    slots: Vec<u32>,
    longest: usize,
}

impl Pieces {
    /// Of all tokens of which `keep` holds. Of two with the same text the first counts.
    pub fn new(tokens: &[String], types: &[TokenType], keep: impl Fn(TokenType) -> bool) -> Pieces {
        let size = (tokens.len() * 2).next_power_of_two().max(4);
        let mut pieces = Pieces { slots: vec![EMPTY; size], longest: 0 };
        for (id, (text, kind)) in tokens.iter().zip(types).enumerate() {
            if !keep(*kind) || text.is_empty() {
                continue;
            }
            pieces.longest = pieces.longest.max(text.len());
            let mut at = hash(text.as_bytes()) as usize & (size - 1);
            loop {
                match pieces.slots[at] {
                    EMPTY => {
                        pieces.slots[at] = id as u32;
                        break;
                    }
                    other if tokens[other as usize] == *text => break,
                    _ => at = (at + 1) & (size - 1),
                }
            }
        }
        pieces
    }

    /// The id of a text. `tokens` are those that the table was made from.
    pub fn get(&self, tokens: &[String], text: &[u8]) -> Option<u32> {
        if text.len() > self.longest {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut at = hash(text) as usize & mask;
        loop {
            match self.slots[at] {
                EMPTY => return None,
                id if tokens[id as usize].as_bytes() == text => return Some(id),
                _ => at = (at + 1) & mask,
            }
        }
    }
}
