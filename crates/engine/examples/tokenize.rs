//! Encodes strings from standard input, for comparison with the reference libraries (`bench/peers/tokenizer_fuzz.py`).
//!
//! `tokenize SOURCE plain|special [PRE]`, where SOURCE is a directory, a tokenizer.json, a GGUF file, a tokenizer.model, or `vocab.json,merges.txt` with the
//! name PRE of the pre-tokenizer. Input: for each string its length as a little-endian u32, then its bytes. Output: for each the number of ids as
//! u32, then the ids. Standard error: seconds to load, seconds to encode, bytes.

use nibble_engine::text::{Tokenizer, Vocab};
use std::error::Error;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Instant;

fn load(source: &str, pre: Option<&str>) -> Result<Vocab, Box<dyn Error>> {
    if let Some((vocab, merges)) = source.split_once(',') {
        let (v, m) = (std::fs::read_to_string(vocab)?, std::fs::read_to_string(merges)?);
        return Ok(Vocab::from_vocab_and_merges(vocab, &v, &m, pre.ok_or("the name of a pre-tokenizer is needed")?)?);
    }
    let path = Path::new(source);
    Ok(match path.extension().and_then(|e| e.to_str()) {
        _ if path.is_dir() => Vocab::open(path)?,
        Some("gguf") => Vocab::from_gguf(source, &nibble_container::gguf::Gguf::parse(&std::fs::read(path)?)?.metadata)?,
        Some("json") => Vocab::from_tokenizer_json(source, &std::fs::read_to_string(path)?)?,
        _ => Vocab::from_sentencepiece(source, &std::fs::read(path)?)?,
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [source, mode, rest @ ..] = args.as_slice() else { return Err("usage: tokenize SOURCE plain|special [PRE]".into()) };
    let start = Instant::now();
    let tokenizer = Tokenizer::new(load(source, rest.first().map(String::as_str))?);
    let loaded = start.elapsed();
    let mut input = Vec::new();
    std::io::stdin().lock().read_to_end(&mut input)?;
    let mut texts = Vec::new();
    let mut at = 0;
    while let Some(four) = input.get(at..at + 4) {
        let length = u32::from_le_bytes(four.try_into()?) as usize;
        texts.push(std::str::from_utf8(input.get(at + 4..at + 4 + length).ok_or("the input ends within a string")?)?);
        at += 4 + length;
    }
    let start = Instant::now();
    let ids: Vec<Vec<u32>> =
        texts.iter().map(|t| if mode == "special" { tokenizer.encode_special(t) } else { tokenizer.encode(t) }).collect();
    let encoded = start.elapsed();
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for ids in &ids {
        out.write_all(&(ids.len() as u32).to_le_bytes())?;
        for id in ids {
            out.write_all(&id.to_le_bytes())?;
        }
    }
    out.flush()?;
    eprintln!("{} {} {}", loaded.as_secs_f64(), encoded.as_secs_f64(), texts.iter().map(|t| t.len()).sum::<usize>());
    Ok(())
}
