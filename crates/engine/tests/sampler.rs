//! The sampler: each step alone on numbers worked out by hand, then properties over random logits.

use nibble_engine::sampler::{SampleError, Sampler, Sampling};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Everything off, temperature 1.
fn off() -> Sampling {
    Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, ..Sampling::default() }
}

/// The tokens that occur in many draws.
fn support(settings: Sampling, logits: &[f32], recent: &[u32]) -> BTreeSet<u32> {
    let mut sampler = Sampler::new(settings).unwrap();
    recent.iter().for_each(|&t| sampler.accept(t));
    (0..2000).map(|_| sampler.sample(logits).unwrap()).collect()
}

fn set(ids: &[u32]) -> BTreeSet<u32> {
    ids.iter().copied().collect()
}

/// Logits of the probabilities 0.5, 0.25, 0.15, 0.1, in the order of the ids 2, 0, 3, 1.
fn four() -> Vec<f32> {
    [0.25f32, 0.1, 0.5, 0.15].map(|p| p.ln() + 3.0).to_vec()
}

#[test]
fn each_truncation_alone() {
    assert_eq!(support(off(), &four(), &[]), set(&[0, 1, 2, 3]));
    assert_eq!(support(Sampling { top_k: 2, ..off() }, &four(), &[]), set(&[0, 2]));
    assert_eq!(support(Sampling { top_k: 9, ..off() }, &four(), &[]).len(), 4);
    assert_eq!(support(Sampling { top_p: 0.49, ..off() }, &four(), &[]), set(&[2]));
    assert_eq!(support(Sampling { top_p: 0.7, ..off() }, &four(), &[]), set(&[0, 2]));
    assert_eq!(support(Sampling { top_p: 0.8, ..off() }, &four(), &[]), set(&[0, 2, 3]));
    assert_eq!(support(Sampling { top_p: 0.0, ..off() }, &four(), &[]), set(&[2]));
    assert_eq!(support(Sampling { min_p: 0.25, ..off() }, &four(), &[]), set(&[0, 2, 3]));
    assert_eq!(support(Sampling { min_p: 1.0, ..off() }, &four(), &[]), set(&[2]));
    // Entropy 1.208: surprises 1.386 (0.25), 2.303, 0.693, 1.897; distances 0.178, 1.095, 0.515, 0.689.
    assert_eq!(support(Sampling { typical: 0.2, ..off() }, &four(), &[]), set(&[0]));
    assert_eq!(support(Sampling { typical: 0.7, ..off() }, &four(), &[]), set(&[0, 2]));
}

#[test]
fn draws_follow_the_probabilities() {
    let mut sampler = Sampler::new(off()).unwrap();
    let mut counts = [0u32; 4];
    for _ in 0..20000 {
        counts[sampler.sample(&four()).unwrap() as usize] += 1;
    }
    // Four standard deviations of a binomial of 20,000 draws are at most 283.
    for (count, p) in counts.iter().zip([0.25, 0.1, 0.5, 0.15]) {
        assert!((*count as f64 - 20000.0 * p).abs() < 283.0, "{counts:?}");
    }
}

#[test]
fn penalties() {
    let greedy = |s: Sampling, logits: &[f32], recent: &[u32]| support(Sampling { temperature: 0.0, ..s }, logits, recent);
    let logits = [2.0, 1.9, -1.0, -1.1];
    assert_eq!(greedy(Sampling { repeat_penalty: 1.2, ..off() }, &logits, &[0]), set(&[1]));
    assert_eq!(greedy(Sampling { repeat_penalty: 1.2, ..off() }, &logits[2..], &[0]), set(&[1]));
    assert_eq!(greedy(Sampling { presence_penalty: 0.2, ..off() }, &logits, &[0, 0, 1]), set(&[0]));
    assert_eq!(greedy(Sampling { frequency_penalty: 0.2, ..off() }, &logits, &[0, 0, 1]), set(&[1]));
    // Only the last ones count, and a token past the vocabulary is nobody's.
    assert_eq!(greedy(Sampling { presence_penalty: 9.0, repeat_last: 1, ..off() }, &logits, &[0, 77]), set(&[0]));
    assert_eq!(greedy(Sampling { presence_penalty: 9.0, repeat_last: 0, ..off() }, &logits, &[0]), set(&[0]));
}

#[test]
fn greedy_takes_the_lowest_id_among_equals() {
    let mut sampler = Sampler::new(Sampling { temperature: 0.0, ..Sampling::default() }).unwrap();
    assert_eq!(sampler.sample(&[-1.0, 3.0, 3.0, 0.0]), Ok(1));
    assert_eq!(sampler.sample(&[-0.0, 0.0]), Ok(0));
    assert_eq!(sampler.sample(&[f32::NEG_INFINITY, -9.0]), Ok(1));
}

#[test]
fn nonsense_is_refused() {
    let mut sampler = Sampler::new(Sampling::default()).unwrap();
    assert!(matches!(sampler.sample(&[1.0, f32::NAN]), Err(SampleError::Logit { token: 1, .. })));
    assert!(matches!(sampler.sample(&[f32::INFINITY, 1.0]), Err(SampleError::Logit { token: 0, .. })));
    assert_eq!(sampler.sample(&[f32::NEG_INFINITY; 3]), Err(SampleError::Nothing { count: 3 }));
    assert_eq!(sampler.sample(&[]), Err(SampleError::Nothing { count: 0 }));
    for bad in [
        Sampling { temperature: -1.0, ..off() },
        Sampling { temperature: f32::NAN, ..off() },
        Sampling { top_p: 1.5, ..off() },
        Sampling { min_p: -0.1, ..off() },
        Sampling { repeat_penalty: 0.0, ..off() },
        Sampling { typical: f32::INFINITY, ..off() },
        Sampling { presence_penalty: f32::NAN, ..off() },
    ] {
        assert!(matches!(Sampler::new(bad.clone()), Err(SampleError::Setting { .. })), "{bad:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_settings_choose_a_possible_token_and_a_seed_repeats(
        logits in prop::collection::vec(-30f32..30.0, 1..200),
        (temperature, top_k, top_p) in (0f32..3.0, 0usize..300, 0f32..=1.0),
        (min_p, typical, seed) in (0f32..=1.0, 0f32..=1.0, any::<u64>()),
    ) {
        let settings = Sampling { temperature, top_k, top_p, min_p, typical, seed, repeat_penalty: 1.1, ..off() };
        let run = || {
            let mut sampler = Sampler::new(settings.clone()).unwrap();
            (0..8).map(|_| {
                let token = sampler.sample(&logits).unwrap();
                sampler.accept(token);
                token
            }).collect::<Vec<_>>()
        };
        let first = run();
        prop_assert!(first.iter().all(|&t| (t as usize) < logits.len()));
        prop_assert_eq!(first, run());
    }

    #[test]
    fn top_k_of_one_and_a_tiny_temperature_are_greedy(logits in prop::collection::vec(-30f32..30.0, 1..200), seed in any::<u64>()) {
        let pick = |s: Sampling| Sampler::new(Sampling { seed, ..s }).unwrap().sample(&logits).unwrap();
        let greedy = pick(Sampling { temperature: 0.0, ..off() });
        prop_assert_eq!(pick(Sampling { top_k: 1, ..off() }), greedy);
        prop_assert_eq!(pick(Sampling { top_p: 0.0, ..off() }), greedy);
        let best = logits[greedy as usize];
        let cold = pick(Sampling { temperature: 1e-6, ..off() });
        prop_assert!((logits[cold as usize] - best).abs() < 1e-3);
    }
}

#[test]
fn only_allowed_tokens_are_drawn_and_all_of_them_can_be() {
    // 70 tokens: the mask's last word is not full, and its third is missing altogether.
    let logits: Vec<f32> = (0..70).map(|i| (i % 7) as f32).collect();
    let allowed = [1 << 3 | 1 << 31, 1 << 5];
    let mut sampler =
        Sampler::new(Sampling { temperature: 5.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 1, ..Sampling::default() }).unwrap();
    let drawn: std::collections::BTreeSet<u32> = (0..300).map(|_| sampler.sample_among(&logits, Some(&allowed)).unwrap()).collect();
    assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [3, 31, 37]);
    // Truncation sees the allowed tokens only: none of the seven likeliest is among them.
    let mut greedy = Sampler::new(Sampling { temperature: 1.0, top_k: 1, ..Sampling::default() }).unwrap();
    assert_eq!(greedy.sample_among(&logits, Some(&allowed)), Ok(3)); // Tokens 3 and 31 share a logit, the lowest id wins.
    assert_eq!(greedy.sample_among(&logits, Some(&[])), Err(SampleError::Nothing { count: 70 }));
    assert_eq!(greedy.sample_among(&logits, None), greedy.sample(&logits));
}
