//! How many tokens to draft: as many as promise the most text a second, by what batches have cost and drafts have been worth so far.
//!
//! A draft of k tokens gives 1 + r0 + r0 r1 + ... tokens of text, where ri is the chance that draft i is right when those before it were, and costs
//! a batch of k + 1 tokens and k times a draft. Both sides are measured, none is assumed:
//!
//! - **Chances**, by the strength of the draft (for [`super::Lookup`] the length of the match, which grows with each draft that is right): the part of
//!   the last few dozen drafts that was right. A drafter that costs nothing is watched when nothing of it is fed, too.
//! - **Times** of a batch of each size: a running mean. A size that was never tried lies on the line between its neighbours; past the largest, on
//!   the line through one token and that one. So sizes are tried one after the other as they promise to pay, not by plan.
//!
//! What is not tried is not measured, and what did not pay once may pay later: another program has ended, or the text has become repetitive. So
//! the time of a size that is not used fades towards the time of one token, that one towards nothing, and what is known of a drafter that rests, and so is not watched, is
//! slowly forgotten. A probe comes the sooner the nearer drafting is to paying, and costs the less. In the simulations below, all this costs 1 % of the
//! time where no draft pays, and 3 % against the best fixed length where they do; on a machine where every fifth batch is held up, 8 % and 11 %.

/// Strengths that are told apart: 0, 1, 2, 3, 4 to 7, 8 to 15, 16 to 31, more.
const CLASSES: usize = 8;
/// The part of a measured time that goes into the mean when it is longer, and when it is shorter. Other programs only ever make a batch longer, and on
/// a busy machine often: the mean stays near the times that they left alone.
const WEIGHTS: (f64, f64) = (0.1, 0.5);
/// Most that one measured time may be against the mean: while this process is held up by another, time passes that says nothing.
const OUTLIER: f64 = 2.0;
/// Drafts that a chance is the mean of.
const MEMORY: f64 = 32.0;
/// Time of each further token of a batch before any batch was measured, as a part of the time of one.
const SLOPE: f64 = 0.25;
/// What a batch takes of the distance between the time of a size that it does not have and the time of one token is one part in so many, for each time
/// that the size was measured, up to [`SURE`]. A probe every few hundred tokens: often enough for an answer to profit, seldom enough not
/// to matter; and sooner after a single bad measurement.
const FADE: f64 = 128.0;
const SURE: f64 = 8.0;
/// What a token without a draft leaves of the evidence about a drafter that is not watched meanwhile, and of the time of a draft.
const KEEP_SEEN: f64 = 1.0 - 1.0 / 256.0;
const KEEP_DRAFT: f64 = 1.0 - 1.0 / 1024.0;

/// Drafts of one strength, the old ones counting less and less.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    right: f64,
    all: f64,
}

impl Seen {
    /// Laplace's rule of succession: one half where nothing is known.
    fn chance(self) -> f64 {
        (self.right + 1.0) / (self.all + 2.0)
    }

    fn keep(&mut self, part: f64) {
        self.right *= part;
        self.all *= part;
    }
}

/// Measured times and chances.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Of a batch of i + 1 tokens.
    batch: Vec<Option<Time>>,
    /// Of one draft.
    draft: Option<Time>,
    /// By strength.
    seen: [Seen; CLASSES],
    free: bool,
}

/// A mean of measured times.
#[derive(Debug, Clone, Copy)]
struct Time {
    seconds: f64,
    measured: f64,
}

impl Time {
    fn with(old: Option<Time>, new: f64) -> Time {
        let Some(Time { seconds, measured }) = old else { return Time { seconds: new, measured: 1.0 } };
        let weight = if new > seconds { WEIGHTS.0 } else { WEIGHTS.1 };
        Time { seconds: seconds + (new.min(seconds * OUTLIER) - seconds) * weight, measured: (measured + 1.0).min(SURE) }
    }
}

impl Pace {
    /// For drafts of at most `most` tokens. `free`: drafts cost nothing and are made for every token.
    pub fn new(most: usize, free: bool) -> Pace {
        Pace { batch: vec![None; most + 1], draft: None, seen: [Seen::default(); CLASSES], free }
    }

    /// The class of draft `i` of a draft of this strength. A match that went on is a longer match; a model stays as good as it is.
    fn class(&self, strength: usize, i: usize) -> usize {
        match strength + if self.free { i } else { 0 } {
            few @ 0..4 => few,
            more => (more.ilog2() as usize + 2).min(CLASSES - 1),
        }
    }

    /// Tokens to draft, at most `most`.
    pub fn length(&self, strength: usize, most: usize) -> usize {
        // Without the time of one token there is nothing to compare with.
        let Some(one) = self.batch[0].map(|time| time.seconds) else { return 0 };
        let (mut best, mut chance, mut text) = ((0, 1.0 / one), 1.0, 1.0);
        let (mut lines, draft) = (Lines::new(&self.batch, one), self.draft.map_or(0.0, |time| time.seconds));
        for k in 1..=most.min(self.batch.len() - 1) {
            chance *= self.seen[self.class(strength, k - 1)].chance();
            text += chance;
            let rate = text / (lines.next(k) + k as f64 * draft);
            if rate > best.1 {
                best = (k, rate);
            }
        }
        best.0
    }

    /// A batch with `drafts` drafts took so long, and making them so long.
    pub fn took(&mut self, drafts: usize, drafting: std::time::Duration, time: std::time::Duration) {
        let Some(known) = self.batch.get(drafts).copied() else { return };
        self.batch[drafts] = Some(Time::with(known, time.as_secs_f64()));
        if drafts > 0 && !self.free {
            self.draft = Some(Time::with(self.draft, drafting.as_secs_f64() / drafts as f64));
        }
        self.fade(drafts);
    }

    /// Of a draft of this strength the first `right` tokens were right, and then one was wrong or it is not known.
    pub fn saw(&mut self, strength: usize, right: usize, wrong: bool) {
        for i in 0..right + usize::from(wrong) {
            let class = self.class(strength, i);
            let seen = &mut self.seen[class];
            seen.keep(1.0 - 1.0 / MEMORY);
            seen.all += 1.0;
            seen.right += f64::from(i < right);
        }
    }

    fn fade(&mut self, used: usize) {
        let least = self.batch.iter().flatten().map(|time| time.seconds).fold(f64::INFINITY, f64::min);
        let Some(one) = &mut self.batch[0] else { return };
        if used > 0 {
            one.seconds -= one.seconds / (FADE * one.measured);
        }
        // One token takes no longer than several: a time that says so was measured while another program ran.
        one.seconds = one.seconds.min(least);
        let one = one.seconds;
        for (drafts, time) in self.batch.iter_mut().enumerate() {
            if let Some(time) = time.as_mut().filter(|time| drafts != used && time.seconds > one) {
                time.seconds -= (time.seconds - one) / (FADE * time.measured);
            }
        }
        if used == 0 && !self.free {
            self.draft.iter_mut().for_each(|time| time.seconds *= KEEP_DRAFT);
            self.seen.iter_mut().for_each(|seen| seen.keep(KEEP_SEEN));
        }
    }
}

/// The times of batches of 1, 2, 3 ... drafts, on lines where they were not measured.
struct Lines<'a> {
    times: &'a [Option<Time>],
    one: f64,
    /// The last measured size and its time, and the next, if any.
    from: (usize, f64),
    to: Option<(usize, f64)>,
}

impl<'a> Lines<'a> {
    fn new(times: &'a [Option<Time>], one: f64) -> Lines<'a> {
        Lines { times, one, from: (0, one), to: Some((0, one)) }
    }

    fn next(&mut self, k: usize) -> f64 {
        if let Some(to) = self.to.filter(|to| k > to.0) {
            self.from = to;
            self.to = (k..self.times.len()).find_map(|i| self.times[i].map(|t| (i, t.seconds)));
        }
        let (at, time) = self.from;
        let slope = match (self.to, at) {
            (Some((to, later)), _) if to > at => (later - time) / (to - at) as f64,
            (_, 0) => self.one * SLOPE,
            _ => ((time - self.one) / at as f64).max(0.0),
        };
        time + slope * (k - at) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use std::time::Duration;

    /// A machine that is only numbers: seconds of a batch of n tokens, and the chance that a draft is right.
    struct Machine<'a> {
        batch: &'a dyn Fn(usize) -> f64,
        draft: f64,
        chance: f64,
    }

    const MOST: usize = 15;

    impl Machine<'_> {
        /// Seconds a token over `tokens` tokens of text; `fixed` overrides the pace.
        fn run(&self, pace: &mut Pace, tokens: usize, fixed: Option<usize>, rng: &mut Rng) -> f64 {
            let (mut done, mut time) = (0, 0.0);
            while done < tokens {
                let k = fixed.unwrap_or_else(|| pace.length(2, MOST));
                let right = (0..MOST).take_while(|_| rng.uniform() < self.chance).count();
                let (drafting, batch) = (k as f64 * self.draft, (self.batch)(k + 1));
                pace.took(k, Duration::from_secs_f64(drafting), Duration::from_secs_f64(batch));
                let shown = if pace.free { k.max(1) } else { k };
                pace.saw(2, right.min(shown), right < shown);
                time += drafting + batch;
                done += right.min(k) + 1;
            }
            time / done as f64
        }

        /// Seconds a token: with the pace, without drafts, and with the best fixed length.
        fn compare(&self, free: bool) -> (f64, f64, f64) {
            let fixed = |k| self.run(&mut Pace::new(MOST, free), 4000, Some(k), &mut Rng::new(5));
            let best = (0..=MOST).map(fixed).fold(f64::INFINITY, f64::min);
            (self.run(&mut Pace::new(MOST, free), 4000, None, &mut Rng::new(5)), fixed(0), best)
        }
    }

    /// One token waits for memory; a batch pays for arithmetic once that takes longer.
    fn memory_bound(n: usize) -> f64 {
        f64::max(0.030, 0.007 * n as f64) + 0.001 * n as f64
    }

    /// No better than one token after the other.
    fn arithmetic_bound(n: usize) -> f64 {
        0.030 * n as f64
    }

    #[test]
    fn costs_next_to_nothing_where_it_does_not_pay() {
        for (free, draft) in [(true, 0.0), (false, 0.002)] {
            for chance in [0.0, 0.05, 0.3, 0.6] {
                let (paced, plain, _) = Machine { batch: &arithmetic_bound, draft, chance }.compare(free);
                assert!(paced < plain * 1.03, "{free} {chance}: {paced} against {plain}");
            }
            let (paced, plain, _) = Machine { batch: &memory_bound, draft, chance: 0.0 }.compare(free);
            assert!(paced < plain * 1.03, "{free}: {paced} against {plain}");
        }
        // A draft model that takes as long as the model.
        let (paced, plain, _) = Machine { batch: &memory_bound, draft: 0.031, chance: 0.9 }.compare(false);
        assert!(paced < plain * 1.03, "{paced} against {plain}");
    }

    #[test]
    fn comes_near_the_best_length_where_it_pays() {
        for (free, draft) in [(true, 0.0), (false, 0.002)] {
            for chance in [0.5, 0.8, 0.95, 1.0] {
                let (paced, plain, best) = Machine { batch: &memory_bound, draft, chance }.compare(free);
                assert!(paced < plain && paced < best * 1.08, "{free} {chance}: {paced}, plain {plain}, best {best}");
            }
        }
    }

    #[test]
    fn tries_again_after_a_while() {
        // While another program has the other core, batches cost a multiple; then it ends. And: a text that nobody could guess becomes one that repeats.
        for free in [true, false] {
            let mut rng = Rng::new(1);
            let mut pace = Pace::new(MOST, free);
            let machine = |batch, chance| Machine { batch, draft: 0.001, chance };
            machine(&arithmetic_bound, 0.8).run(&mut pace, 2000, None, &mut rng);
            assert_eq!(pace.length(2, MOST), 0);
            machine(&memory_bound, 0.8).run(&mut pace, 2000, None, &mut rng);
            assert!(pace.length(2, MOST) >= 2);
            machine(&memory_bound, 0.0).run(&mut pace, 300, None, &mut rng);
            assert_eq!(pace.length(2, MOST), 0);
            machine(&memory_bound, 1.0).run(&mut pace, 1000, None, &mut rng);
            assert!(pace.length(2, MOST) >= 3);
        }
    }

    #[test]
    fn a_busy_machine_hides_neither_gain_nor_loss() {
        // Every fifth batch is held up by another program for up to twice the time of a token.
        let noise = std::cell::RefCell::new(Rng::new(9));
        let held = |time: f64| {
            let mut noise = noise.borrow_mut();
            time + if noise.uniform() < 0.2 { 0.06 * noise.uniform() } else { 0.0 }
        };
        let (paced, plain, best) = Machine { batch: &|n| held(memory_bound(n)), draft: 0.0, chance: 0.8 }.compare(true);
        assert!(paced < best * 1.15 && paced < plain * 0.45, "{paced}, plain {plain}, best {best}");
        let (paced, plain, _) = Machine { batch: &|n| held(arithmetic_bound(n)), draft: 0.0, chance: 0.5 }.compare(true);
        assert!(paced < plain * 1.08, "{paced} against {plain}");
    }

    #[test]
    fn the_first_token_is_for_measuring_and_strong_matches_get_longer_drafts() {
        let mut pace = Pace::new(MOST, true);
        assert_eq!(pace.length(2, MOST), 0);
        pace.took(0, Duration::ZERO, Duration::from_millis(30));
        assert!(pace.length(2, MOST) >= 1);
        assert_eq!(pace.length(2, 0), 0);
        for n in 1..=MOST {
            pace.took(n, Duration::ZERO, Duration::from_secs_f64(memory_bound(n + 1)));
        }
        for _ in 0..20 {
            pace.saw(2, 0, true);
            pace.saw(9, 5, false);
        }
        assert_eq!(pace.length(2, MOST), 0);
        assert!(pace.length(9, MOST) >= 3);
    }
}
