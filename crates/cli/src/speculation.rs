//! `--speculate`, `--draft` and `--draft-max`: which drafter guesses the tokens of an answer.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use clap::ValueEnum;
use nibble_engine::source::Source;
use nibble_engine::speculate::{DEFAULT_MOST, DraftModel, Lookup, Speculator, same_vocabulary};
use nibble_engine::text::Vocab;
use nibble_engine::{Error, Model, memory};

use crate::commands::run::Options;
use crate::exit::Problem;
use crate::hints;

/// Who drafts.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Nobody: one token after the other
    Off,
    /// The text itself: what followed the last tokens before
    Ngram,
    /// The model of --draft
    Draft,
}

/// The drafter that was asked for.
pub struct Speculation {
    how: How,
    most: usize,
    draft: Option<Model>,
}

impl Speculation {
    /// Opens the draft model, if there is one. It has to have the vocabulary of `target` and to fit into memory beside it.
    pub fn open(options: &Options, target: &Model, vocab: &Vocab) -> Result<Speculation> {
        let most = options.draft_max.map_or(DEFAULT_MOST, |n| n as usize);
        let (how, draft) = match (options.speculate, &options.draft) {
            (None, None) => (How::Ngram, None),
            (None | Some(How::Draft), Some(path)) => (How::Draft, Some(open(path, target, vocab)?)),
            (Some(How::Draft), None) => {
                return Err(Problem::usage("--speculate draft needs a draft model").hint("--draft SMALL.gguf").into());
            }
            (Some(_), Some(_)) => {
                return Err(Problem::usage("--draft is for --speculate draft only").hint("leave one of the two out").into());
            }
            (Some(how), None) => (how, None),
        };
        Ok(Speculation { how, most, draft })
    }

    /// A speculator for answers of `target`; `None` when it is off.
    pub fn speculator(&self, target: &Model) -> Result<Option<Speculator<'_>>> {
        Ok(match (self.how, &self.draft) {
            (How::Off, _) => None,
            (_, Some(draft)) => Some(Speculator::new(DraftModel::new(draft, target)?, self.most)),
            (_, None) => Some(Speculator::new(Lookup::new(), self.most)),
        })
    }
}

fn open(path: &Path, target: &Model, vocab: &Vocab) -> Result<Model> {
    // The flag is of the large model; a small one has what it came with.
    let (path, adapters) = &crate::adapters::Adapters::default().find(path)?;
    hints::check_checkpoint(path)?;
    let source = Source::open(path)?;
    same_vocabulary(&Vocab::of(&source)?, vocab).map_err(Error::from)?;
    let options = target.options();
    let beside = target.need().total(target.context());
    let options = nibble_engine::Options {
        context: Some(target.context().min(source.config().context)),
        memory: options.memory.or_else(memory::available).map(|bytes| bytes.saturating_sub(beside)),
        adapters: adapters.clone(),
        ..options.clone()
    };
    Ok(Model::load(Arc::new(source), options)?)
}
