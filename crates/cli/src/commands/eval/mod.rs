//! `nibble eval`: how good a model is. Its own commands are the rows of PARTS.
//!
//! To add one: a file here with `ROW`, and its name in PARTS.

pub mod job;
mod kl;
mod merge;
mod perplexity;
pub mod tasks;
mod tensors;

use anyhow::Result;
use clap::ArgMatches;

use super::{Row, command};
use crate::terminal::Console;

/// The row of COMMANDS.
pub const ROW: Row = Row {
    name: "eval",
    about: "Measure how good a model is: perplexity, divergence from another model, tasks, which tensor hurts",
    details: "Every measurement of a text goes chunk by chunk. With -o FILE what is done is kept in FILE.part every few seconds: after Ctrl-C, or a loss of power, \
              the same command goes on from there, and gives the same bytes as one that was never stopped.\n\n\
              A measurement can be cut into shards, each made by its own process on any machine (--shard 0/8 to --shard 7/8), and put together by nibble eval merge: exactly the \
              figures of one run. Something else does the distributing. As an array of Slurm:\n\n  \
              #SBATCH --array=0-7\n  \
              nibble eval perplexity model.gguf --text wiki.txt --shard $SLURM_ARRAY_TASK_ID/8 -o ppl-$SLURM_ARRAY_TASK_ID.json\n\n\
              As a job of Kubernetes with completionMode: Indexed and completions: 8, on a volume that all pods share:\n\n  \
              command: [sh, -c, \"nibble eval perplexity /data/model.gguf --text /data/wiki.txt --shard $JOB_COMPLETION_INDEX/8 -o /data/ppl-$JOB_COMPLETION_INDEX.json\"]\n\n\
              A pod or a task that is started again goes on where it was. In the end: nibble eval merge ppl-*.json -o ppl.json",
    examples: &[
        ("perplexity, as llama-perplexity computes it", "nibble eval perplexity model.gguf --text wiki.test.raw"),
        ("what quantizing did, beside the original", "nibble eval kl model-Q4_K_M.gguf --reference Llama-3.2-1B --text wiki.test.raw"),
        ("questions with known answers", "nibble eval tasks model.gguf --tasks arc_easy --data bench"),
        ("one of eight shards", "nibble eval perplexity model.gguf --text wiki.test.raw --shard 3/8 -o ppl-3.json"),
        ("all of them", "nibble eval merge ppl-0.json ppl-1.json -o ppl.json"),
    ],
    args: |command| {
        let command = command.subcommand_required(true).arg_required_else_help(true);
        PARTS.iter().fold(command, |command, row| command.subcommand(self::command(row)))
    },
    run,
};

/// Every command of `nibble eval`, in the order of the help.
static PARTS: &[&Row] = &[&perplexity::ROW, &kl::ROW, &tasks::ROW, &tensors::ROW, &merge::ROW];

fn run(matches: &ArgMatches, console: &Console) -> Result<()> {
    let (name, arguments) = matches.subcommand().expect("clap requires a subcommand");
    let row = PARTS.iter().find(|row| row.name == name).expect("clap knows only the names of the table");
    (row.run)(arguments, console)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_an_about_and_examples_that_parse() {
        for row in PARTS {
            assert!(row.about.len() > 10 && !row.about.ends_with('.'), "{}: about {:?}", row.name, row.about);
            assert!(!row.examples.is_empty(), "{}: no example", row.name);
            for (_, line) in row.examples {
                let words: Vec<&str> = line.split_whitespace().collect();
                assert_eq!(&words[..3], ["nibble", "eval", row.name], "{line}");
                if let Err(error) = crate::commands::program().try_get_matches_from(&words) {
                    panic!("{line}: {error}");
                }
            }
        }
    }
}
