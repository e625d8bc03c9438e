//! Methods side by side, without the program around them; bench/peers/methods.py runs it.
//!
//!     methods calibrate MODEL OUT.{gguf,dat} [TEXT]
//!     methods quantize MODEL TYPE METHOD OUT [imatrix=FILE] [text=FILE] [damping=0.01] [shrinking=0] [starts=nearest,before,turn] [sorted=1] [sweeps=4] [refits=1]
//!         [importance=diagonal|left] [inputs=original|layer|site] [relative=1] [guided=no] [head=0.1|no] [double=0]
//!         [fold=awq|smoothquant|gptq (none)] [exponents=a/b,...] [budget=SIZE] [keep=MEASUREMENTS] [list=TYPES, written] [types=TYPES, read]
//!     methods kl BASE TEXT CHUNKS FILE...
//!
//! `kl` prints each file's mean divergence from BASE over the second halves of chunks of 512 tokens, and its ratio to the first file's with a bootstrap
//! interval of 95 % over chunks.

use nibble_compress::allocate::{self, Budget, Types};
use nibble_compress::calibrate::{Collect, Imatrix, Texts, collect, texts};
use nibble_compress::gptq::{Importance, Inputs, Knobs, Start};
use nibble_compress::method::Needs;
use nibble_compress::recipe::Recipe;
use nibble_compress::{Control, METHODS, Method, Options, method, plan, run};
use nibble_engine::source::Source;
use nibble_engine::{Model, Options as Run};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;
static CANCEL: AtomicBool = AtomicBool::new(false);

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match &words[..] {
        ["calibrate", model, out, text @ ..] => calibrate(model, out, text.first().copied()),
        ["quantize", model, kind, method, out, rest @ ..] => quantize(model, kind, method, out, rest),
        ["kl", base, text, chunks, files @ ..] => kl(base, text, chunks.parse()?, files),
        _ => Err("see the head of examples/methods.rs".into()),
    }
}

fn load(source: &Source, file: Option<&str>) -> Result<Texts> {
    Ok(match file {
        None => Texts::new(source, texts::OWN_NAME, texts::OWN, texts::CONTEXT, usize::MAX)?,
        Some(file) => Texts::new(source, file, &std::fs::read_to_string(file)?, texts::CONTEXT, usize::MAX)?,
    })
}

fn calibrate(model: &str, out: &str, text: Option<&str>) -> Result<()> {
    let source = Source::open(Path::new(model))?;
    let texts = load(&source, text)?;
    let start = Instant::now();
    let how = Collect { threads: 2, resume: None, save_every: Duration::MAX, output: false, progress: &mut |_, _, _| {}, cancel: &CANCEL };
    let imatrix = collect(&source, &texts, how)?;
    if out.ends_with(".dat") {
        imatrix.write_legacy(Path::new(out))?
    } else {
        imatrix.write(Path::new(out))?
    };
    println!("{} chunks, {:.1} s", texts.chunks.len(), start.elapsed().as_secs_f64());
    Ok(())
}

fn quantize(model: &str, kind: &str, name: &str, out: &str, rest: &[&str]) -> Result<()> {
    let source = Source::open(Path::new(model))?;
    let known = METHODS.iter().find(|m| m.name == name).ok_or("no such method")?;
    let mut knobs: Knobs = known.knobs.unwrap_or(method::GPTQ);
    let mut fold = known.fold;
    let mut options = Options::default();
    let (mut text, mut budget, mut keep, mut list) = (None, None, None, None);
    for word in rest {
        let (key, value) = word.split_once('=').ok_or("key=value")?;
        match key {
            "imatrix" => (options.imatrix, options.imatrix_name) = (Some(Arc::new(Imatrix::open(Path::new(value))?)), value.to_owned()),
            "text" => text = Some(value),
            "types" => options.types = Some(Arc::new(Types::parse(value, &std::fs::read_to_string(value)?)?)),
            "budget" => budget = Some(Budget::parse(value).ok_or("no budget")?),
            "keep" => keep = Some(Path::new(value)),
            "list" => list = Some(value),
            "double" => options.double_quant = value == "1",
            "damping" => knobs.damping = value.parse()?,
            "shrinking" => knobs.shrinking = value.parse()?,
            "relative" => knobs.relative = value == "1",
            "guided" => knobs.guided = value.parse().ok(),
            "head" => knobs.head = value.parse().ok(),
            "sorted" => knobs.sorted = value == "1",
            "refits" => knobs.refits = value.parse()?,
            "sweeps" => knobs.sweeps = value.parse()?,
            "starts" => {
                let start = |s: &str| match s {
                    "nearest" => Start::Nearest,
                    "before" => Start::Before,
                    _ => Start::Turn,
                };
                knobs.starts = Box::leak(value.split(',').map(start).collect::<Vec<_>>().into_boxed_slice());
            }
            "fold" => fold = METHODS.iter().find(|m| m.name == value).ok_or("no such method")?.fold,
            "exponents" => {
                let fold = fold.as_mut().ok_or("no fold")?;
                let pair = |pair: &str| -> Result<(f32, f32)> {
                    let (a, b) = pair.split_once('/').unwrap_or((pair, "0"));
                    Ok((a.parse()?, b.parse()?))
                };
                fold.exponents = Box::leak(value.split(',').map(pair).collect::<Result<Vec<_>>>()?.into_boxed_slice());
            }
            "importance" => knobs.importance = if value == "left" { Importance::Left } else { Importance::Diagonal },
            "inputs" => {
                knobs.inputs = match value {
                    "original" => Inputs::Original,
                    "layer" => Inputs::Layer,
                    _ => Inputs::Site,
                }
            }
            _ => return Err(format!("no {key}").into()),
        }
    }
    if known.needs == Needs::Texts || budget.is_some() {
        options.texts = Some(Arc::new(load(&source, text)?));
    }
    if known.needs == Needs::Texts {
        options.method = Box::leak(Box::new(Method { knobs: known.knobs.map(|_| knobs), fold, ..*known }));
    } else {
        options.method = known;
    }
    let recipe = Recipe::by_name(kind).ok_or("no such type")?;
    let start = Instant::now();
    let budget = budget.or_else(|| (known.allocates && options.types.is_none()).then_some(Budget::SameAs(recipe)));
    if let Some(budget) = budget {
        let how = allocate::How { threads: 2, keep, progress: &mut |_, _, _| {}, cancel: &CANCEL };
        let found = allocate::allocate(&source, recipe, &options, budget, how)?;
        println!(
            "expected {:.6}, of the recipe {:.6}, {:.1} s",
            found.expected,
            found.of_recipe.unwrap_or(0.0),
            start.elapsed().as_secs_f64()
        );
        if let Some(file) = list {
            std::fs::write(file, found.types.text())?;
        }
        options.types = Some(found.types);
    }
    let plan = plan(&source, recipe, options)?;
    let _ = std::fs::remove_dir_all(out);
    run(&source, &plan, Path::new(out), Control { threads: 2, progress: &mut |_| {}, cancel: &CANCEL })?;
    println!("{:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Log-probabilities of one chunk's second half.
fn scored(model: &Model, ids: &[u32], mut each: impl FnMut(usize, &[f32])) -> Result<()> {
    let mut session = model.session()?;
    let half = ids.len() / 2;
    let mut logs = Vec::new();
    session.feed(&ids[..half])?;
    session.feed_each(&ids[half..], &mut |pos, logits| {
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = logits.iter().map(|x| (x - most).exp()).sum();
        logs.clear();
        logs.extend(logits.iter().map(|x| x - most - sum.ln()));
        each(pos - half, &logs);
    })?;
    Ok(())
}

fn kl(base: &str, text: &str, chunks: usize, files: &[&str]) -> Result<()> {
    let open = |path: &str| Model::open(Path::new(path), Run { context: Some(512), threads: Some(2), ..Run::default() });
    let model = open(base)?;
    let texts = Texts::new(model.source(), text, &std::fs::read_to_string(text)?, 512, chunks)?;
    let vocab = model.config().vocab;
    let mut reference = Vec::new();
    for ids in &texts.chunks {
        let mut rows = Vec::new();
        scored(&model, ids, |_, logs| rows.extend_from_slice(logs))?;
        reference.push(rows);
    }
    let mut first: Vec<f64> = Vec::new();
    for file in files {
        let model = open(file)?;
        let (mut means, mut same, mut count) = (Vec::new(), 0usize, 0usize);
        for (ids, rows) in texts.chunks.iter().zip(&reference) {
            let mut sum = 0.0;
            scored(&model, ids, |t, logs| {
                let base = &rows[t * vocab..][..vocab];
                sum += base.iter().zip(logs).map(|(p, q)| f64::from(p.exp() * (p - q))).sum::<f64>();
                let top = |x: &[f32]| (0..vocab).max_by(|&a, &b| x[a].total_cmp(&x[b]));
                same += usize::from(top(base) == top(logs));
                count += 1;
            })?;
            means.push(sum / (ids.len() - ids.len() / 2) as f64);
        }
        let mean = means.iter().sum::<f64>() / means.len() as f64;
        let name = Path::new(file).file_name().unwrap_or_default().to_string_lossy();
        print!("{name}\t{mean:.6}\tsame top {:.2} %", 100.0 * same as f64 / count as f64);
        if first.is_empty() {
            first.clone_from(&means);
            println!();
        } else {
            let (low, high) = bootstrap(&means, &first);
            println!("\tratio {:.4} [{low:.4}, {high:.4}]", mean / (first.iter().sum::<f64>() / first.len() as f64));
        }
    }
    Ok(())
}

/// The interval of the ratio of two means, paired by chunk.
fn bootstrap(a: &[f64], b: &[f64]) -> (f64, f64) {
    let mut state = 1u64;
    let mut random = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let mut ratios: Vec<f64> = (0..4000)
        .map(|_| {
            let (mut x, mut y) = (0.0, 0.0);
            for _ in 0..a.len() {
                let i = random(a.len());
                x += a[i];
                y += b[i];
            }
            x / y
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    (ratios[100], ratios[3899])
}
