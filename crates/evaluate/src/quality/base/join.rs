//! The base files of shards as one: the bytes that a single run would have written.

use std::io::Write;
use std::path::Path;

use nibble_container::whole::AtomicFile;

use super::{Base, Head};
use crate::quality::Fault;

/// Lays base files side by side. `order`: their fingerprints, from the text's beginning to its end; in what order the files are given does not matter. `out` appears whole or not
/// at all. Memory: the text's tokens, and a chunk.
pub fn join(bases: &[Base], order: &[String], out: &Path) -> Result<(), Fault> {
    let ordered = ordered(bases, order)?;
    let Some(first) = ordered.first() else { return Err(Fault::Shards("there are no base files".into())) };
    let (codec, of) = (first.codec, first.head());
    for base in &ordered {
        let head = base.head();
        let unlike = |what, a: String, b: String| if a == b { Ok(()) } else { Err(Fault::Unlike { what, a, b }) };
        unlike("the format of the base", codec.name.to_string(), base.codec.name.to_string())?;
        unlike("the chunks' length in the base", of.context.to_string(), head.context.to_string())?;
        unlike("the vocabulary of the base", of.vocab.to_string(), head.vocab.to_string())?;
        let kept = |head: &Head| format!("{} entries, down to {}", head.most, head.rest);
        unlike("what a row of the base keeps", kept(of), kept(head))?;
    }
    let tokens = ordered.iter().flat_map(|base| &base.head().tokens).copied().collect();
    let mut file = AtomicFile::create(out)?;
    let mut put = |bytes: &[u8]| file.write_all(bytes).map_err(Fault::io(out));
    put(&(codec.head)(&Head { tokens, ..of.clone() }))?;
    for base in ordered {
        for (i, chunk) in base.chunks.iter().enumerate() {
            if codec.framed {
                put(&(chunk.len() as u64).to_le_bytes())?;
            }
            put(&base.map[chunk.clone()])?;
            base.release(i);
        }
    }
    Ok(file.commit()?)
}

/// The files in the order of their fingerprints; none missing, none left over.
fn ordered<'a>(bases: &'a [Base], order: &[String]) -> Result<Vec<&'a Base>, Fault> {
    let mut left: Vec<(String, &Base)> = bases.iter().map(|base| (base.name(), base)).collect();
    let mut found = vec![];
    for wanted in order {
        let at = left.iter().position(|(name, _)| name == wanted);
        let at =
            at.ok_or_else(|| Fault::Shards(format!("of the {} base files that they wrote, one is not here ({wanted})", order.len())))?;
        found.push(left.remove(at).1);
    }
    match left.first() {
        Some((_, base)) => Err(Fault::Shards(format!("{} was written by none of them", base.path.display()))),
        None => Ok(found),
    }
}
