//! `nibble demo`: the main job on the model that is built into the program: quantize it, compare sizes and losses, tell a story.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Arg, ArgAction, ArgMatches};
use nibble_compress::recipe::Recipe;
use nibble_engine::sampler::{Sampler, Sampling};
use nibble_engine::text::{Prompt, Stream, Tokenizer, Vocab};
use nibble_engine::{Event, Model, Stop, generate};
use serde::Serialize;

use super::Row;
use super::quantize::{job, output};
use crate::scratch::Scratch;
use crate::terminal::{self, Console};
use crate::units;

/// The row of COMMANDS.
pub const ROW: Row = Row {
    name: "demo",
    about: "Quantize the built-in model to several types, compare them, and tell a story",
    details: "The model has 5.8 million parameters and tells simple stories. KL is the mean divergence, in nats a token, of each type's predictions from those \
              of the BF16 original over a short text; perplexity is over the same text. Everything is written to a temporary directory and removed.",
    examples: &[("in under a minute", "nibble demo"), ("for a script", "nibble demo --json")],
    args: |command| {
        command
            .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print one JSON object instead of the table and the story"))
    },
    run,
};

/// The files of models/tiny.
const FILES: &[(&str, &[u8])] = &[
    ("config.json", include_bytes!("../../../../models/tiny/config.json")),
    ("generation_config.json", include_bytes!("../../../../models/tiny/generation_config.json")),
    ("model.safetensors", include_bytes!("../../../../models/tiny/model.safetensors")),
    ("tokenizer.json", include_bytes!("../../../../models/tiny/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../../../../models/tiny/tokenizer_config.json")),
];

/// What each type is judged by: stories of the kind that the model knows, kept out of its training (models/train/stories.py, --held).
const TEXT: &str = include_str!("demo/text.txt");
/// The types of the table, by size.
const TYPES: &[&str] = &["Q8_0", "Q6_K", "Q4_K_M", "Q4_0", "IQ4_XS", "NF4"];
/// The one that tells the story.
const TELLER: &str = "Q4_K_M";
const OPENING: &str = "Once upon a time, a little rabbit";
/// The most tokens of the story.
const LENGTH: usize = 320;

/// What `--json` prints.
#[derive(Serialize)]
struct Told {
    parameters: u64,
    types: Vec<Measured>,
    story: String,
    tokens_per_second: f64,
    seconds: f64,
}

/// One row of the table.
#[derive(Serialize)]
struct Measured {
    #[serde(rename = "type")]
    name: String,
    /// Of its tensors.
    bytes: u64,
    bits_per_weight: f64,
    /// Nats a token, against BF16.
    mean_kl: f64,
    perplexity: f64,
    /// How often it has the same first choice as BF16.
    same_top: f64,
}

fn run(matches: &ArgMatches, console: &Console) -> Result<()> {
    let start = Instant::now();
    let json = matches.get_flag("json");
    let scratch = Scratch::new("nibble-demo")?;
    let original = scratch.path().join("tiny");
    std::fs::create_dir(&original).with_context(|| original.display().to_string())?;
    for (name, bytes) in FILES {
        let path = original.join(name);
        std::fs::write(&path, bytes).with_context(|| path.display().to_string())?;
    }
    let model = open(&original)?;
    let parameters: u64 = model.source().tensors().iter().map(|t| t.spec.shape.iter().product::<usize>() as u64).sum();
    if !json {
        terminal::print(&format!("The built-in model has {} parameters.\n\n", units::count(parameters)))?;
    }
    let tokenizer = Tokenizer::new(Vocab::of(model.source())?);
    let tokens = tokenizer.encode_prompt(&Prompt::literal(TEXT), true);
    let truth = log_probabilities(&model, &tokens)?;
    let bytes = model.source().tensors().iter().map(|t| model.source().stored_bytes(t)).sum();
    let mut types = vec![measure("BF16", bytes, parameters, &truth, &truth, &tokens)];
    let mut teller = None;
    for name in TYPES {
        let recipe = Recipe::by_name(name).with_context(|| format!("{name} is no type"))?;
        console.note(format!("quantizing to {name}"));
        let out = scratch.path().join(output::file_name("tiny", recipe));
        job::quiet(&original, recipe, &out)?;
        let model = open(&out)?;
        let bytes = model.source().tensors().iter().map(|t| model.source().stored_bytes(t)).sum();
        types.push(measure(name, bytes, parameters, &truth, &log_probabilities(&model, &tokens)?, &tokens));
        if *name == TELLER {
            teller = Some(model);
        }
    }
    if !json {
        terminal::print(&table(&types))?;
        terminal::print(&format!("\n{TELLER} tells a story:\n\n{OPENING}"))?;
    }
    let teller = teller.context("the story's type is not in the table")?;
    let (story, rate) = tell(&teller, &tokenizer, json)?;
    let seconds = start.elapsed().as_secs_f64();
    if json {
        return terminal::print_json(&Told { parameters, types, story, tokens_per_second: rate, seconds });
    }
    terminal::print(&format!("\n\n{rate:.0} tokens/s; all of this took {}.\n", units::duration(start.elapsed())))?;
    terminal::print("Next: nibble quantize DIR on a checkpoint of your own; nibble help lists the commands.\n")?;
    Ok(())
}

fn open(path: &Path) -> Result<Model> {
    Ok(Model::open(path, nibble_engine::Options { context: Some(1024), ..nibble_engine::Options::default() })?)
}

/// log p of every token of the vocabulary after each token of the text but the last: one row a position.
fn log_probabilities(model: &Model, tokens: &[u32]) -> Result<Vec<Vec<f32>>> {
    let mut rows = vec![];
    model.session()?.feed_each(&tokens[..tokens.len() - 1], &mut |_, logits| {
        let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|&x| f64::from(x - top).exp()).sum();
        let norm = top + sum.ln() as f32;
        rows.push(logits.iter().map(|x| x - norm).collect());
    })?;
    Ok(rows)
}

fn measure(name: &str, bytes: u64, parameters: u64, truth: &[Vec<f32>], own: &[Vec<f32>], tokens: &[u32]) -> Measured {
    let n = truth.len().max(1) as f64;
    let divergence = |p: &[f32], q: &[f32]| p.iter().zip(q).map(|(&p, &q)| f64::from(p).exp() * f64::from(p - q)).sum::<f64>();
    let top = |row: &[f32]| row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(i, _)| i);
    let surprise: f64 = own.iter().zip(&tokens[1..]).map(|(row, &next)| -f64::from(row[next as usize])).sum();
    Measured {
        name: name.to_string(),
        bytes,
        bits_per_weight: 8.0 * bytes as f64 / parameters as f64,
        mean_kl: truth.iter().zip(own).map(|(p, q)| divergence(p, q)).sum::<f64>().max(0.0) / n,
        perplexity: (surprise / n).exp(),
        same_top: truth.iter().zip(own).filter(|(p, q)| top(p) == top(q)).count() as f64 / n,
    }
}

fn table(types: &[Measured]) -> String {
    let rows: Vec<Vec<String>> = types
        .iter()
        .map(|t| {
            vec![
                t.name.clone(),
                units::grouped(t.bytes),
                format!("{:.3}", t.bits_per_weight),
                format!("{:.5}", t.mean_kl),
                format!("{:.2}", t.perplexity),
                format!("{:.1} %", 100.0 * t.same_top),
            ]
        })
        .collect();
    terminal::table(&["type", "bytes of tensors", "bits per weight", "mean KL", "perplexity", "same first choice"], &rows)
}

/// Tells the story, always the same, and how many tokens a second that took.
fn tell(model: &Model, tokenizer: &Tokenizer, silent: bool) -> Result<(String, f64)> {
    let mut session = model.session()?;
    let mut sampler = Sampler::new(Sampling { temperature: 0.0, ..Sampling::default() })?;
    let prompt = tokenizer.encode_prompt(&Prompt::literal(OPENING), true);
    let stop = Stop { ends: tokenizer.ends(), most: Some(LENGTH), cancel: None };
    let mut stream = Stream::default();
    let mut story = OPENING.to_string();
    let mut shown = Ok(());
    let report = generate(&mut session, &prompt, &mut sampler, &stop, &mut |event| {
        if let Event::Token(id) = event {
            let text = stream.push(&tokenizer.token_bytes(id)).text;
            story.push_str(&text);
            shown = if silent { Ok(()) } else { terminal::print(&text) };
        }
        shown.is_ok()
    })?;
    shown?;
    Ok((story, report.rate()))
}
