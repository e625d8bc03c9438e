//! What will be measured, and what the context is too short for.

use nibble_engine::KvType;
use nibble_engine::arch::Config;
use serde::{Deserialize, Serialize};

use super::report::{Skipped, Test};

/// Tokens of the prompt before the first token of an answer: a short question.
pub const FIRST_PROMPT: usize = 20;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Tokens of each prompt test.
    pub prompts: Vec<usize>,
    /// Tokens that each generation test feeds; 0 for none.
    pub generate: usize,
    /// Tokens that the cache holds before generation, for each generation test.
    pub depths: Vec<usize>,
    /// Threads, each of which all tests are done with; empty: as many as the engine takes by itself.
    pub threads: Vec<usize>,
    /// How often each test is repeated; at least 1.
    pub repetitions: usize,
    /// The longest context to use; `None`: the model's own.
    pub context: Option<usize>,
    /// What the KV cache keeps an element in. Not written: the report has it as the model's cache.
    #[serde(skip)]
    pub kv: KvType,
    /// Measure the machine's limits too.
    pub limits: bool,
}

/// One speed to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// [`Test::Prompt`] or [`Test::Generation`].
    pub test: Test,
    /// Tokens fed while the time runs.
    pub tokens: usize,
    /// Tokens in the cache before.
    pub depth: usize,
}

/// The cells of a model, prompts first, then by depth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What is measured.
    pub cells: Vec<Cell>,
    /// What is not, and why.
    pub skipped: Vec<Skipped>,
    /// Tokens of context that the cells and the first token need.
    pub context: usize,
}

impl Plan {
    /// For a model of that shape. The cells that its context, or the one asked for, is too short for are left out.
    pub fn new(settings: &Settings, config: &Config) -> Plan {
        Plan::within(settings, config.context)
    }

    fn within(settings: &Settings, model: usize) -> Plan {
        let (limit, whose) = match settings.context {
            Some(asked) if asked < model => (asked, "asked for"),
            _ => (model, "of the model"),
        };
        let prompts = sorted(&settings.prompts).into_iter().filter(|&n| n > 0);
        let prompts = prompts.map(|tokens| Cell { test: Test::Prompt, tokens, depth: 0 });
        let depths = if settings.generate == 0 { vec![] } else { sorted(&settings.depths) };
        let generations = depths.into_iter().map(|depth| Cell { test: Test::Generation, tokens: settings.generate, depth });
        let (cells, left): (Vec<Cell>, Vec<Cell>) =
            prompts.chain(generations).partition(|cell| cell.tokens.saturating_add(cell.depth) <= limit);
        let skipped = left.into_iter().map(|cell| {
            let needs = cell.tokens.saturating_add(cell.depth);
            let why = format!("needs {needs} tokens of context, and that {whose} is {limit}");
            Skipped { test: cell.test, tokens: cell.tokens, depth: cell.depth, why }
        });
        let context = cells.iter().map(|cell| cell.tokens + cell.depth).chain([FIRST_PROMPT.min(limit)]).max().unwrap_or(1);
        Plan { skipped: skipped.collect(), cells, context }
    }

    /// Tokens of the prompt before the first token: fewer where the context has no room for them.
    pub fn first_prompt(&self) -> usize {
        FIRST_PROMPT.min(self.context)
    }
}

fn sorted(numbers: &[usize]) -> Vec<usize> {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            prompts: vec![512, 16, 16, 0],
            generate: 64,
            depths: vec![4096, 0, 512],
            threads: vec![],
            repetitions: 5,
            context: None,
            kv: KvType::default(),
            limits: false,
        }
    }

    #[test]
    fn what_does_not_fit_is_skipped_and_said() {
        let plan = Plan::within(&settings(), 600);
        let cells: Vec<(usize, usize)> = plan.cells.iter().map(|c| (c.tokens, c.depth)).collect();
        assert_eq!((cells, plan.context), (vec![(16, 0), (512, 0), (64, 0), (64, 512)], 576));
        assert_eq!(plan.skipped.len(), 1);
        assert_eq!(plan.skipped[0].why, "needs 4160 tokens of context, and that of the model is 600");
        let plan = Plan::within(&Settings { context: Some(100), ..settings() }, 600);
        assert_eq!((plan.cells.len(), plan.context), (2, 64));
        assert!(plan.skipped.iter().all(|s| s.why.ends_with("that asked for is 100")), "{:?}", plan.skipped);
        // One that is exactly long enough, and one too short for the first token's prompt.
        assert_eq!(Plan::within(&settings(), 576).skipped.len(), 1);
        assert_eq!(Plan::within(&settings(), 575).skipped.len(), 2);
        assert_eq!(Plan::within(&settings(), 10).first_prompt(), 10);
    }

    #[test]
    fn none_can_be_asked_for() {
        let plan = Plan::within(&Settings { prompts: vec![0], generate: 0, ..settings() }, 600);
        assert_eq!((plan.cells.len(), plan.skipped.len(), plan.first_prompt()), (0, 0, 20));
    }
}
