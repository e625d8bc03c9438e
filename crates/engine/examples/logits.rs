//! Writes the logits of every position as raw little-endian f32, for comparison with other engines (bench/peers).
//!
//!     cargo run --release -p nibble-engine --example logits -- MODEL IDS [f16|f32|q8_0|q4_0] > logits.bin
//!
//! MODEL: a GGUF or a Hugging Face directory. IDS: a file of token ids, u32 little endian; lines of at most CONTEXT ids are runs of their own when a
//! fourth argument gives CONTEXT.

use nibble_engine::{KvType, Model, Options};
use std::error::Error;
use std::io::Write;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, ids, rest @ ..] = args.as_slice() else { return Err("logits MODEL IDS [f16|f32|q8_0|q4_0] [CONTEXT]".into()) };
    let kv = match rest.first().map(String::as_str) {
        None => KvType::F16,
        Some(name) => KvType::by_name(name).ok_or_else(|| format!("no KV type {name}"))?,
    };
    let ids: Vec<u32> = std::fs::read(ids)?.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
    let context = rest.get(1).map_or(Ok(ids.len()), |n| n.parse())?;
    let model = Model::open(Path::new(model), Options { kv, context: Some(context), ..Options::default() })?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut session = model.session()?;
    for run in ids.chunks(context) {
        session.truncate(0);
        let mut bytes = Vec::new();
        session.feed_each(run, &mut |_, logits| {
            bytes.clear();
            bytes.extend(logits.iter().flat_map(|x| x.to_le_bytes()));
            // A closed pipe shows in the flush.
            let _ = out.write_all(&bytes);
        })?;
    }
    Ok(out.flush()?)
}
