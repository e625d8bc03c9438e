//! The choice of one type a tensor: the least sum of costs within a number of bytes, the multiple-choice knapsack, by dynamic programming over bytes.

/// Cells of the table at most. Sizes of a model's tensors have large common divisors, so that up to here the answer is mostly exact; beyond, sizes are rounded up,
/// and what rounding leaves over is spent afterwards.
const CELLS: u64 = 1 << 17;

/// One way to store a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Bytes that it takes.
    pub bytes: u64,
    /// What it costs.
    pub cost: f64,
}

/// Of each item the place of one choice, so that their bytes are at most `capacity`. `None` where even the smallest are too large.
pub fn solve(items: &[Vec<Choice>], capacity: u64) -> Option<Vec<usize>> {
    let smallest: Vec<usize> = items.iter().map(|item| least(item, |c| c.bytes as f64)).collect::<Option<_>>()?;
    let bytes = |chosen: &[usize]| -> u64 { items.iter().zip(chosen).map(|(item, &c)| item[c].bytes).sum() };
    let free = capacity.checked_sub(bytes(&smallest))?;
    // Of every item only what it takes beyond its smallest choice is counted.
    let more = |i: usize, c: usize| items[i][c].bytes - items[i][smallest[i]].bytes;
    let all = (0..items.len()).flat_map(|i| (0..items[i].len()).map(move |c| more(i, c)));
    let unit = all.fold(0, divisor).max(free.div_ceil(CELLS)).max(1);
    let cells = (free / unit) as usize;

    // best[x]: the least cost of the items so far within x units; taken[i][x]: what item i is then.
    let mut best = vec![0.0; cells + 1];
    let mut taken: Vec<Vec<u8>> = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        let before = std::mem::replace(&mut best, vec![f64::INFINITY; cells + 1]);
        let mut own = vec![smallest[i] as u8; cells + 1];
        for (c, choice) in item.iter().enumerate() {
            let units = more(i, c).div_ceil(unit) as usize;
            for x in units..=cells {
                let cost = before[x - units] + choice.cost;
                if cost < best[x] {
                    (best[x], own[x]) = (cost, c as u8);
                }
            }
        }
        taken.push(own);
    }
    let mut chosen = smallest.clone();
    let mut x = cells;
    for i in (0..items.len()).rev() {
        chosen[i] = usize::from(taken[i][x]);
        x -= more(i, chosen[i]).div_ceil(unit) as usize;
    }
    spend(items, capacity - bytes(&chosen), &mut chosen);
    Some(chosen)
}

/// Spends what is left over: as long as a better choice of one item fits, the one that wins most.
fn spend(items: &[Vec<Choice>], mut left: u64, chosen: &mut [usize]) {
    loop {
        let mut most = (0.0, None);
        for (i, item) in items.iter().enumerate() {
            let now = item[chosen[i]];
            for (c, choice) in item.iter().enumerate() {
                if choice.bytes <= now.bytes + left && now.cost - choice.cost > most.0 {
                    most = (now.cost - choice.cost, Some((i, c)));
                }
            }
        }
        let Some((i, c)) = most.1 else { return };
        left = left + items[i][chosen[i]].bytes - items[i][c].bytes;
        chosen[i] = c;
    }
}

fn least(item: &[Choice], of: impl Fn(&Choice) -> f64) -> Option<usize> {
    (0..item.len()).min_by(|&a, &b| of(&item[a]).total_cmp(&of(&item[b])))
}

fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::{CELLS, Choice, solve};

    /// SplitMix64.
    fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn case(state: &mut u64, items: usize, unit: u64) -> Vec<Vec<Choice>> {
        let item = |state: &mut u64| {
            let count = 1 + random(state) % 4;
            (0..count).map(|_| Choice { bytes: unit * (1 + random(state) % 40), cost: (random(state) % 1000) as f64 }).collect()
        };
        (0..items).map(|_| item(state)).collect()
    }

    /// Every combination.
    fn tried(items: &[Vec<Choice>], capacity: u64) -> Option<f64> {
        let Some((first, rest)) = items.split_first() else { return Some(0.0) };
        let each = first.iter().filter(|c| c.bytes <= capacity).filter_map(|c| Some(c.cost + tried(rest, capacity - c.bytes)?));
        each.min_by(f64::total_cmp)
    }

    #[test]
    fn it_is_the_best_of_all_combinations() {
        let mut state = 7;
        for round in 0..300 {
            let items = case(&mut state, 1 + round % 6, 32);
            let capacity = random(&mut state) % 6000;
            let found = solve(&items, capacity);
            let cost = found.as_ref().map(|f| items.iter().zip(f).map(|(item, &c)| item[c].cost).sum::<f64>());
            assert_eq!(cost, tried(&items, capacity), "{items:?} {capacity}");
            let bytes = found.map_or(0, |f| items.iter().zip(&f).map(|(item, &c)| item[c].bytes).sum::<u64>());
            assert!(bytes <= capacity, "{bytes} of {capacity}");
        }
    }

    /// Sizes without a common divisor and far more bytes than cells: never above, and hardly worse than with twice the cells' rounding.
    #[test]
    fn a_large_budget_is_kept_and_used() {
        let mut state = 9;
        let prime = 1_000_003;
        let mut items = case(&mut state, 60, prime);
        items.iter_mut().flatten().for_each(|c| c.bytes += random(&mut state) % 1000);
        let capacity = 60 * 40 * prime;
        assert!(capacity / 2 > CELLS * 100);
        let value = |capacity: u64| {
            let found = solve(&items, capacity).unwrap();
            let sum = |of: fn(&Choice) -> f64| items.iter().zip(&found).map(|(item, &c)| of(&item[c])).sum::<f64>();
            assert!(sum(|c| c.bytes as f64) <= capacity as f64);
            sum(|c| c.cost)
        };
        // Rounding up takes less than a unit of each item; with that much less it cannot be better.
        let lost = 60 * capacity.div_ceil(CELLS);
        assert!(value(capacity) <= value(capacity - lost));
        assert!(value(capacity) <= value(capacity / 2));
        assert_eq!(solve(&items, 1000), None);
    }
}
