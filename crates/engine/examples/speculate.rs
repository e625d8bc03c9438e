//! What looking up earlier text saves on this machine: the time of a batch of n tokens against one, then generation without and with lookup, in turns.
//!
//!     cargo run --release -p nibble-engine --example speculate -- MODEL [THREADS [TOKENS [ROUNDS]]]
//!
//! Two texts, whatever the model would say, so that a model with random weights will do (the work is the same): an edit, in which the prompt is this file and
//! the answer the same file with a name changed; and one without repetition, random tokens. Tokens are words and the characters between them. What
//! the batches cost is real, and so is what the drafts are worth for such a text.

use nibble_engine::sampler::Sampler;
use nibble_engine::speculate::{DEFAULT_MOST, Lookup, Speculator};
use nibble_engine::{Event, Model, Options, Stop, generate_with};
use std::error::Error;
use std::path::Path;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, rest @ ..] = args.as_slice() else { return Err("speculate MODEL [THREADS [TOKENS [ROUNDS]]]".into()) };
    let number = |i: usize, default: usize| rest.get(i).map_or(Ok(default), |n| n.parse());
    let (threads, tokens, rounds) = (number(0, 1)?, number(1, 256)?, number(2, 3)?);
    let model = Model::open(Path::new(model), Options { threads: Some(threads), context: Some(2048), ..Options::default() })?;
    let vocab = model.config().vocab;
    let tokens_of =
        |text: &str| -> Vec<u32> { words(text).map(|w| w.bytes().fold(7, |h, b| (h * 31 + b as usize) % vocab) as u32).collect() };
    let mut prompt = tokens_of(FILE);
    prompt.truncate(1024);

    let mut session = model.session()?;
    session.feed(&prompt)?;
    let mut times = [f64::INFINITY; DEFAULT_MOST + 1];
    for _ in 0..rounds + 1 {
        for (n, best) in (1..).zip(&mut times) {
            let start = Instant::now();
            session.feed_rows(&prompt[..n])?;
            *best = best.min(start.elapsed().as_secs_f64());
            session.truncate(prompt.len());
        }
    }
    let curve: Vec<String> = times.iter().map(|t| format!("{:.2}", t / times[0])).collect();
    println!("one token {:.2} ms; a batch of 1, 2, 3 ... tokens: {}", 1e3 * times[0], curve.join(" "));

    let edited = tokens_of(&FILE.replace("session", "dialogue"));
    let noise: Vec<u32> = (0..tokens).map(|i| (i * i * 7919 % vocab) as u32).collect();
    for (name, text) in [("edit", edited), ("no repetition", noise)] {
        let text = &text[..tokens.min(text.len())];
        let mut speculator = Speculator::new(Lookup::new(), DEFAULT_MOST);
        let mut answer = |speculate: bool| -> Result<f64, nibble_engine::Error> {
            let (mut sampler, stop) = (Sampler::reciting(text), Stop { most: Some(text.len()), ..Stop::default() });
            let with = speculate.then_some(&mut speculator);
            session.truncate(prompt.len() - 1);
            let mut out = Vec::new();
            let report = generate_with(&mut session, &prompt, &mut sampler, with, &stop, &mut |event| {
                if let Event::Token(t) = event {
                    out.push(t);
                }
                true
            })?;
            assert_eq!(out, text, "speculation changed the text");
            let (s, how) = (report.speculation, if speculate { "lookup" } else { "plain" });
            println!("{name}: {how:7} {:7.1} tokens/s, {} of {} drafts right", report.rate(), s.accepted, s.drafted);
            Ok(report.rate())
        };
        let mut ratios = Vec::new();
        for _ in 0..rounds {
            let plain = answer(false)?;
            ratios.push(answer(true)? / plain);
        }
        ratios.sort_by(f64::total_cmp);
        println!("{name}: ratio, median {:.2}, from {:.2} to {:.2}", ratios[rounds / 2], ratios[0], ratios[rounds - 1]);
    }
    Ok(())
}

/// This file.
const FILE: &str = include_str!("speculate.rs");

/// Words, and what is between them character by character.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(|c: char| !c.is_alphanumeric() && c != '_').flat_map(|piece| {
        let end = piece.trim_end_matches(|c: char| !c.is_alphanumeric() && c != '_').len();
        [&piece[..end], &piece[end..]].into_iter().filter(|w| !w.is_empty())
    })
}
