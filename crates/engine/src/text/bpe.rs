//! The merge loops of byte-pair encoding.
//!
//! Both kinds, merges by rank and SentencePiece's by score, repeat one step: of all neighbours that may merge, merge the best, the leftmost of
//! equals. Short words do it by scanning; anything longer keeps the candidates in a heap, so that a text without spaces costs n log n.

use super::pieces::IntMap;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// No token has this text.
pub(super) const NONE: u32 = u32::MAX;

/// Two neighbours and what they would become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Lower merges first.
    pub key: u32,
    /// The token that results.
    pub id: u32,
}

/// A part of the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symbol {
    /// Its bytes in the text.
    pub start: u32,
    /// End of its bytes. An empty symbol is one that a neighbour took.
    pub end: u32,
    /// Its token, or [`NONE`].
    pub id: u32,
    prev: u32,
    next: u32,
}

impl Symbol {
    pub fn new(start: usize, end: usize, id: u32) -> Symbol {
        Symbol { start: start as u32, end: end as u32, id, prev: NONE, next: NONE }
    }
}

/// Scanning is quicker than a heap up to this many symbols.
const SHORT: usize = 24;

/// Merges `symbols` in place until nothing merges. `candidate(left, right)` says what two neighbours would become.
pub(super) fn merge(symbols: &mut Vec<Symbol>, mut candidate: impl FnMut(&Symbol, &Symbol) -> Option<Candidate>) {
    if symbols.len() <= SHORT { merge_short(symbols, &mut candidate) } else { merge_long(symbols, &mut candidate) }
}

fn merge_short(symbols: &mut Vec<Symbol>, candidate: &mut impl FnMut(&Symbol, &Symbol) -> Option<Candidate>) {
    // pairs[i] is what symbols i and i + 1 would become.
    let mut pairs = [None; SHORT];
    let mut n = symbols.len();
    for i in 1..n {
        pairs[i - 1] = candidate(&symbols[i - 1], &symbols[i]);
    }
    loop {
        let best = pairs[..n.saturating_sub(1)].iter().enumerate().filter_map(|(i, p)| p.map(|p| (p.key, i, p.id))).min();
        let Some((_, i, id)) = best else { break };
        symbols[i].end = symbols[i + 1].end;
        symbols[i].id = id;
        symbols.remove(i + 1);
        n -= 1;
        pairs.copy_within(i + 1..n, i);
        pairs[i] = if i + 1 < n { candidate(&symbols[i], &symbols[i + 1]) } else { None };
        if i > 0 {
            pairs[i - 1] = candidate(&symbols[i - 1], &symbols[i]);
        }
    }
}

fn merge_long(symbols: &mut Vec<Symbol>, candidate: &mut impl FnMut(&Symbol, &Symbol) -> Option<Candidate>) {
    let n = symbols.len();
    for (i, s) in symbols.iter_mut().enumerate() {
        s.prev = if i > 0 { i as u32 - 1 } else { NONE };
        s.next = if i + 1 < n { i as u32 + 1 } else { NONE };
    }
    // (key, left symbol, length in bytes, resulting token). An entry is stale when its left symbol went, or when the two cover another length:
    // a symbol only ever grows to the right, so the length tells.
    let mut heap = BinaryHeap::with_capacity(n);
    let mut look = |symbols: &[Symbol], left: u32, heap: &mut BinaryHeap<Reverse<(u32, u32, u32, u32)>>| {
        let (a, right) = (&symbols[left as usize], symbols[left as usize].next);
        if right != NONE {
            let b = &symbols[right as usize];
            if let Some(c) = candidate(a, b) {
                heap.push(Reverse((c.key, left, b.end - a.start, c.id)));
            }
        }
    };
    for left in 0..n as u32 {
        look(symbols, left, &mut heap);
    }
    while let Some(Reverse((_, left, length, id))) = heap.pop() {
        let a = symbols[left as usize];
        if a.start == a.end || a.next == NONE {
            continue;
        }
        let b = symbols[a.next as usize];
        if b.end - a.start != length {
            continue;
        }
        symbols[a.next as usize].end = b.start;
        let a_mut = &mut symbols[left as usize];
        (a_mut.end, a_mut.id, a_mut.next) = (b.end, id, b.next);
        if b.next != NONE {
            symbols[b.next as usize].prev = left;
        }
        if a.prev != NONE {
            look(symbols, a.prev, &mut heap);
        }
        look(symbols, left, &mut heap);
    }
    symbols.retain(|s| s.start != s.end);
}

/// Merges by rank: from two tokens to the rank of their merge and its result.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranks(IntMap<(u32, u32)>);

impl Ranks {
    pub fn new(merges: &[super::Merge]) -> Ranks {
        let mut map = IntMap::with_capacity_and_hasher(merges.len(), Default::default());
        for (rank, m) in merges.iter().enumerate() {
            map.entry(u64::from(m.left) << 32 | u64::from(m.right)).or_insert((rank as u32, m.result));
        }
        Ranks(map)
    }

    pub fn get(&self, left: u32, right: u32) -> Option<Candidate> {
        self.0.get(&(u64::from(left) << 32 | u64::from(right))).map(|&(key, id)| Candidate { key, id })
    }
}

/// Scores as keys of which the lowest is best.
pub(super) fn score_key(score: f32) -> u32 {
    // -0.0 and 0.0 are equal scores.
    let bits = (score + 0.0).to_bits();
    let ascending = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    !ascending
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_order_from_high_to_low() {
        let keys: Vec<u32> = [f32::INFINITY, 2.0, 0.5, 0.0, -0.5, -1000.0].iter().map(|s| score_key(*s)).collect();
        assert!(keys.is_sorted() && score_key(-0.0) == score_key(0.0));
    }

    /// Letters merge with their neighbour when the sum of their ids is even, lower sums first: enough to make chains and ties.
    #[test]
    fn heap_and_scan_agree() {
        let rule = |a: &Symbol, b: &Symbol| {
            let sum = a.id.wrapping_mul(7).wrapping_add(b.id.wrapping_mul(3)) % 61;
            (!sum.is_multiple_of(3)).then_some(Candidate { key: sum / 4, id: sum })
        };
        let mut seed = 1u64;
        for n in 0..=SHORT {
            for _ in 0..200 {
                let symbols: Vec<Symbol> = (0..n)
                    .map(|i| {
                        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                        Symbol::new(i, i + 1, (seed >> 33) as u32 % 5)
                    })
                    .collect();
                let (mut a, mut b) = (symbols.clone(), symbols);
                merge_short(&mut a, &mut { rule });
                merge_long(&mut b, &mut { rule });
                let key = |s: &Vec<Symbol>| s.iter().map(|s| (s.start, s.end, s.id)).collect::<Vec<_>>();
                assert_eq!(key(&a), key(&b));
            }
        }
    }
}
