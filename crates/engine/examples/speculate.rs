//! What speculation saves on this machine: the time of a batch of n tokens against one, then generation without and with lookup, in turns.
//!
//!     cargo run --release -p nibble-engine --example speculate -- MODEL [THREADS [TOKENS [ROUNDS]]]
//!
//! The prompt is a run of tokens that stands in it four times. A model with random weights soon repeats itself when it is greedy, so
//! what it generates is the most repetitive text there is: the saving is the most that lookup can bring with this model here.

use nibble_engine::sampler::{Sampler, Sampling};
use nibble_engine::speculate::{DEFAULT_MOST, Lookup, Speculator};
use nibble_engine::{Event, Model, Options, Stop, generate_with};
use std::error::Error;
use std::path::Path;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, rest @ ..] = args.as_slice() else { return Err("speculate MODEL [THREADS [TOKENS [ROUNDS]]]".into()) };
    let number = |i: usize, default: usize| rest.get(i).map_or(Ok(default), |n| n.parse());
    let (threads, tokens, rounds) = (number(0, 1)?, number(1, 64)?, number(2, 3)?);
    let model = Model::open(Path::new(model), Options { threads: Some(threads), context: Some(2048), ..Options::default() })?;
    let vocab = model.config().vocab;
    let prompt: Vec<u32> = (0..128usize).map(|i| ((i % 32) * 7919 % vocab) as u32).collect();

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

    let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
    let mut speculator = Speculator::new(Lookup::new(), DEFAULT_MOST);
    let mut answer = |speculate: bool| -> Result<(Vec<u32>, f64), nibble_engine::Error> {
        let mut out = Vec::new();
        let (mut sampler, stop) = (Sampler::new(greedy.clone())?, Stop { most: Some(tokens), ..Stop::default() });
        let with = speculate.then_some(&mut speculator);
        let report = generate_with(&mut model.session()?, &prompt, &mut sampler, with, &stop, &mut |event| {
            if let Event::Token(t) = event {
                out.push(t);
            }
            true
        })?;
        let s = report.speculation;
        println!(
            "{:7} {:7.1} tokens/s, {} of {} drafts right",
            if speculate { "lookup" } else { "plain" },
            report.rate(),
            s.accepted,
            s.drafted
        );
        Ok((out, report.rate()))
    };
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        let (plain, lookup) = (answer(false)?, answer(true)?);
        assert_eq!(plain.0, lookup.0, "speculation changed the text");
        ratios.push(lookup.1 / plain.1);
    }
    ratios.sort_by(f64::total_cmp);
    println!("ratio: median {:.2}, from {:.2} to {:.2}", ratios[rounds / 2], ratios[0], ratios[rounds - 1]);
    Ok(())
}
