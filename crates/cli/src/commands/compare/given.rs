//! Measurements made before, perhaps by many machines: the files that `nibble eval ... -o` and `nibble eval merge` write. They find their model by its
//! fingerprint.

use std::path::PathBuf;

use anyhow::{Context, Result};
use nibble_evaluate::quality::record::{Chunk, Run};
use nibble_evaluate::tasks::{Report, report};

use crate::exit::Problem;

/// All that was given.
#[derive(Default)]
pub struct Given {
    reports: Vec<Report>,
    runs: Vec<Run>,
}

impl Given {
    /// Reads the files; one that is no such file, or only a shard, is refused.
    pub fn read(paths: &[PathBuf]) -> Result<Given> {
        #[derive(serde::Deserialize)]
        struct Kind {
            kind: String,
        }
        let mut given = Given::default();
        for path in paths {
            let shown = path.display();
            let text = std::fs::read_to_string(path).with_context(|| shown.to_string())?;
            let other = |why: String| Problem::failure(format!("{shown}: {why}")).hint("a file that nibble eval wrote with -o");
            let kind: Kind = serde_json::from_str(&text).map_err(|error| other(error.to_string()))?;
            let (whole, shard) = if kind.kind == report::KIND {
                let found = Report::parse(&text).map_err(other)?;
                let asked: usize = found.parts.iter().map(|p| p.asked).sum();
                let whole = (found.answers.len() == asked, found.shard.clone());
                given.reports.push(found);
                whole
            } else {
                let found = Run::parse(&text).map_err(other)?;
                let whole = (found.is_complete() && found.shard == "0/1", found.shard.clone());
                given.runs.push(found);
                whole
            };
            if !whole {
                let words = format!("{shown} is shard {shard}, or not complete");
                return Err(Problem::failure(words).hint("nibble eval merge puts shards together").into());
            }
        }
        let mut references = given.runs.iter().filter_map(|run| run.reference.as_ref());
        if let Some(first) = references.next()
            && let Some(another) = references.find(|r| r.fingerprint != first.fingerprint)
        {
            let words = format!("divergences from {} and from {} do not compare", first.path, another.path);
            return Err(Problem::failure(words).hint("files of one reference").into());
        }
        Ok(given)
    }

    /// The answers of a model.
    pub fn report(&self, fingerprint: &str) -> Option<&Report> {
        self.reports.iter().find(|report| report.model.fingerprint == fingerprint)
    }

    /// The positions of a text, those beside a reference if there are such, and what was read, in words.
    pub fn text(&self, fingerprint: &str) -> Option<(&[Chunk], String)> {
        let mut of = self.runs.iter().filter(|run| run.model.fingerprint == fingerprint);
        let run = of.clone().find(|run| run.reference.is_some()).or_else(|| of.next())?;
        let against = run.reference.as_ref().map_or_else(String::new, |r| format!(", the reference {}", r.path));
        Some((&run.chunks, format!("{}, {} chunks of {} tokens{against}", run.text.path, run.text.chunks, run.cut.context)))
    }
}
