//! What several conversations gain from sharing the reading of the weights.
//!
//!     cargo run --release -p nibble-engine --example streams -- MODEL.gguf [THREADS [TOKENS [STREAMS...]]]
//!
//! For each number of streams: tokens a second of all of them together, one token each a step, beside the same streams one after another. The two are
//! measured in turn, so that both have the same neighbours; shown is the median of the rounds.

use nibble_engine::{Batch, Feed, Model, Options, Rows, Session};
use std::time::Instant;

const ROUNDS: usize = 3;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let path = words.next().ok_or("usage: streams MODEL.gguf [THREADS [TOKENS [STREAMS...]]]")?;
    let numbers: Vec<usize> = words.map(|word| word.parse()).collect::<Result<_, _>>()?;
    let threads = numbers.first().copied();
    let tokens = numbers.get(1).copied().unwrap_or(24).max(1);
    let streams = if numbers.len() > 2 { &numbers[2..] } else { &[2, 4, 8, 16][..] };
    let model = Model::open(path.as_ref(), Options { threads, context: Some(64 + tokens), ..Options::default() })?;
    let vocab = model.config().vocab as u32;
    println!("{path}, {} threads, {tokens} tokens a stream after 32", model.threads());
    println!("| streams | together, tokens/s | one after another | ratio |\n|---|---|---|---|");
    for &count in streams {
        let mut rounds: Vec<(f64, f64)> = Vec::new();
        for _ in 0..ROUNDS {
            let mut sessions: Vec<Session> = (0..count).map(|_| model.session()).collect::<Result<_, _>>()?;
            let prompt = |i: usize| -> Vec<u32> { (0..32).map(|t| (i as u32 * 977 + t * 31) % vocab).collect() };
            for (i, session) in sessions.iter_mut().enumerate() {
                session.feed(&prompt(i))?;
            }
            let mut batch = Batch::new(&model);
            let begun = Instant::now();
            for step in 0..tokens {
                let ids: Vec<[u32; 1]> = (0..count).map(|i| [(step * 7 + i) as u32 % vocab]).collect();
                let mut feeds: Vec<Feed> =
                    sessions.iter_mut().zip(&ids).map(|(session, ids)| Feed { session, ids, rows: Rows::Last }).collect();
                batch.step(&mut feeds).map_err(|(_, error)| error)?;
            }
            let together = (count * tokens) as f64 / begun.elapsed().as_secs_f64();
            let begun = Instant::now();
            for (i, session) in sessions.iter_mut().enumerate() {
                session.truncate(32);
                for step in 0..tokens {
                    session.feed(&[(step * 7 + i) as u32 % vocab])?;
                }
            }
            rounds.push((together, (count * tokens) as f64 / begun.elapsed().as_secs_f64()));
        }
        let median = |of: &dyn Fn(&(f64, f64)) -> f64| {
            let mut all: Vec<f64> = rounds.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        println!("| {count} | {:.1} | {:.1} | {:.2} |", median(&|r| r.0), median(&|r| r.1), median(&|r| r.0 / r.1));
    }
    Ok(())
}
