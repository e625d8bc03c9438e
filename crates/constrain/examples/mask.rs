//! What a grammar costs with a given vocabulary: `cargo run --release -p nibble-constrain --example mask -- DIR`, DIR holding tokenizer.json.
//!
//! Answers are random tokens among those allowed, which leads the parser through more states than any model does.

use nibble_constrain::{Grammar, Vocabulary};
use nibble_engine::text::{Tokenizer, Vocab};
use serde_json::json;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).ok_or("mask DIR")?;
    let tokenizer = Tokenizer::new(Vocab::open(dir.as_ref())?);
    let start = Instant::now();
    let vocabulary = Vocabulary::new(&tokenizer)?;
    println!("{} tokens laid out in {:.1?}", vocabulary.len(), start.elapsed());
    let person = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string"}, "age": {"type": "integer", "minimum": 0, "maximum": 150}, "mail": {"type": "string", "format": "email"},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 20}}, "kind": {"enum": ["fox", "owl", "hare"]}
        },
        "required": ["name", "age", "mail", "tags", "kind"], "additionalProperties": false
    });
    for (name, grammar) in [("json", Grammar::json()), ("schema", Grammar::json_schema(&person)?)] {
        let start = Instant::now();
        let compiled = vocabulary.compile(&grammar)?;
        let compile = start.elapsed();
        let mut times: Vec<Duration> = vec![];
        let mut dice = 1u64;
        for _ in 0..50 {
            let mut constraint = compiled.clone();
            for _ in 0..100 {
                if constraint.is_finished() {
                    break;
                }
                let start = Instant::now();
                let words = constraint.allowed()?;
                times.push(start.elapsed());
                let choices: Vec<u32> = (0..words.len() as u32 * 32).filter(|t| words[*t as usize / 32] >> (t % 32) & 1 == 1).collect();
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                constraint.accept(choices[(dice >> 33) as usize % choices.len()])?;
            }
        }
        times.sort_unstable();
        let mean = times.iter().sum::<Duration>() / times.len() as u32;
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
        println!(
            "{name}: compiled in {compile:.1?}; {} masks: mean {mean:.1?}, median {:.1?}, 99 % {:.1?}, longest {:.1?}",
            times.len(),
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
    Ok(())
}
