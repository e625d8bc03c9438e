//! `nibble run`: one answer from a prompt, or a chat on a terminal.

use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::builder::PossibleValuesParser;
use clap::{ArgMatches, Args, FromArgMatches};

use super::Row;
use crate::adapters::{self, Adapters};
use crate::exit::Problem;
use crate::speculation::How;
use crate::terminal::Console;
use crate::thinking::Think;
use crate::{answer, chat, hints};

/// The row of COMMANDS.
pub const ROW: Row = Row {
    name: "run",
    about: "Answer a prompt, or chat on a terminal",
    details: "With PROMPT (or text piped into stdin) there is one answer, streamed to stdout. A model with a chat template gets the prompt as \
              the user's message; a model without one, or any model under --raw, continues the text. Without a prompt, on a terminal, a \
              chat begins: /help lists what it understands.\n\n\
              The candidates of each token pass, in this order: repeat, frequency and presence penalties over the last --repeat-last-n tokens, \
              top-k, typical, top-p, min-p, temperature. A setting that is not given comes from the model's generation_config.json where there \
              is one. --temp 0 always takes the most likely token; with it, or with --seed, the same command gives the same text on \
              any number of threads.\n\n\
              Where memory is slower than arithmetic, several tokens cost little more than one. So the next tokens are guessed from what stands in the \
              prompt and the answer already (--speculate ngram) or by a smaller model of the same vocabulary (--draft), and computed together; \
              those that the model would have chosen itself stay. The answer is the same, token by token, with any setting and any seed. How \
              many are guessed follows what they have saved so far; where they save nothing, none are.\n\n\
              What a thinking model thinks is shown before the answer, between \"Thinking...\" and \"...done thinking.\", dimmed on a terminal; \
              it is no part of the conversation that follows. With --format a model thinks only where --think says so: the \
              thought follows no format, the answer after it does, and a program that reads the output gets the answer alone.\n\n\
              --adapter runs the model with a LoRA adapter beside its weights, which stay as they are; nibble quantize --adapter makes one file of both, \
              which costs no time when it runs.\n\n\
              --prompt-cache FILE keeps keys and values of prompt and answer in FILE. The next prompt that begins alike is read from where it \
              begins to differ; with -n 0 a document can be read beforehand. A file of another model is refused.",
    examples: &[
        ("one answer", "nibble run model.gguf \"Why is the sky blue?\""),
        ("a chat", "nibble run model.gguf"),
        ("continue a text, always in the same way", "nibble run model.gguf --raw --temp 0 -n 100 \"Once upon a time\""),
        (
            "a document as the prompt, a JSON object as the answer",
            "nibble run model.gguf --json --system \"Summarise in one sentence.\" < notes.txt",
        ),
        ("an answer that follows a JSON schema", "nibble run model.gguf --format schema.json \"Name three animals.\""),
        ("with an adapter at half its strength", "nibble run model.gguf --adapter lora.gguf:0.5 \"Hello\""),
        ("a small model guesses for a large one", "nibble run large.gguf --draft small.gguf \"Write a haiku.\""),
        (
            "a document that is read once for many questions",
            "nibble run model.gguf --prompt-cache notes.state --system \"$(cat notes.txt)\" \"Who wrote this?\"",
        ),
    ],
    args: |command| Options::augment_args(command),
    run,
};

// The command line of `run`. No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug, Clone)]
#[allow(missing_docs)]
pub struct Options {
    /// A .gguf file (of a split one, any part), a .safetensors file or a Hugging Face directory, NF4 ones included
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
    /// The prompt; `-` reads it from stdin, as does a pipe without PROMPT
    #[arg(value_name = "PROMPT")]
    pub prompt: Option<String>,
    /// At most N tokens of answer; without it, or with -1, until the model ends or the context is full
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-1..))]
    pub max_tokens: Option<i64>,
    /// Tokens of context, prompt and answer together; without it, the model's own up to 4096
    #[arg(short = 'c', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub ctx: Option<u64>,
    /// What the KV cache keeps an element in: f16, q8_0 (half of that, nearly as good), q4_0 (a quarter, worse answers) or f32
    #[arg(long, visible_alias = "kv-type", value_name = "TYPE", value_parser = kv_types(), default_value = "f16")]
    pub kv: String,
    /// The system message of the chat template
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// No chat template: continue the text of the prompt
    #[arg(long, visible_alias = "complete", conflicts_with = "system")]
    pub raw: bool,
    /// End the answer where it says TEXT, which is not printed; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Threads; without it, one for each of the fast cores
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Option<u32>,
    /// Processors to run on, such as 4-7,0; without it, the fast ones where a device has several kinds
    #[arg(long, value_name = "LIST", value_parser = core_list)]
    pub cores: Option<Cpus>,
    /// Who guesses tokens ahead, to be verified together; the answer stays the same [default: draft with --draft, else ngram]
    #[arg(long, value_name = "WHO")]
    pub speculate: Option<How>,
    /// A small model with the same vocabulary that guesses for MODEL
    #[arg(long, visible_alias = "model-draft", value_name = "MODEL")]
    pub draft: Option<PathBuf>,
    /// Guess at most N tokens at a time; without it, 15
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub draft_max: Option<u32>,
    /// Take what the prompt has in common with FILE as read, and keep prompt and answer in FILE
    #[arg(long, value_name = "FILE")]
    pub prompt_cache: Option<PathBuf>,
    /// Answers must be JSON: `json` for any object, or a JSON schema, as a file or in braces
    #[arg(long, value_name = "json|FILE|SCHEMA")]
    pub format: Option<String>,
    /// Whether a model that can is to think before it answers, perhaps so much: true, false, low, medium or high; without it, as the model does
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = Think::read)]
    pub think: Option<Think>,
    /// Do not show what the model thinks
    #[arg(long, visible_alias = "hide-thinking")]
    pub hidethinking: bool,
    /// What a chat does when its context is full
    #[arg(long, value_name = "WHAT", default_value = "stop")]
    pub overflow: Overflow,
    /// Print one JSON object at the end instead of streaming the text
    #[arg(long)]
    pub json: bool,
    /// Print times and rates to stderr at the end
    #[arg(long, short)]
    pub verbose: bool,
    #[command(flatten)]
    pub adapters: Adapters,
    #[command(flatten)]
    pub sampling: SamplingOptions,
    /// The model of the store, where MODEL is one.
    #[arg(skip)]
    pub entry: Option<Box<nibble_store::Entry>>,
}

/// What a chat does when its context is full.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// Say so and wait: nothing is dropped
    Stop,
    /// Drop the oldest turns after the system message, and say so
    Shift,
    /// End with an error
    Error,
}

impl Options {
    /// Takes over what a model of the store comes with; what the command line says stays.
    pub fn take(&mut self, entry: Box<nibble_store::Entry>) {
        let of = &entry.parameters;
        let whole = |name: &str| of.integer(name).and_then(|n| u64::try_from(n).ok());
        self.model = entry.model.clone();
        if self.adapters.given.is_empty() {
            self.adapters.given = adapters::of_entry(&entry);
        }
        self.sampling = std::mem::take(&mut self.sampling).or(&SamplingOptions::of(of));
        self.ctx = self.ctx.or(whole("num_ctx").filter(|n| *n > 0));
        self.max_tokens = self.max_tokens.or(of.integer("num_predict"));
        self.threads = self.threads.or(whole("num_thread").filter(|n| (1..=1024).contains(n)).map(|n| n as u32));
        if self.stop.is_empty() {
            self.stop = of.stop();
        }
        if !self.raw {
            self.system = self.system.take().or(entry.system.clone());
        }
        self.entry = Some(entry);
    }

    /// The messages that every chat with the model begins with.
    pub fn first_messages(&self) -> Vec<answer::Message> {
        let of = self.entry.iter().flat_map(|entry| &entry.messages);
        of.map(|m| answer::Message { role: m.role.clone(), content: m.content.clone() }).filter(answer::Message::is_turn).collect()
    }
}

// The sampler's flags. Unset ones fall to the model's generation_config, then to the engine's defaults.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Sampling")]
#[allow(missing_docs)]
pub struct SamplingOptions {
    /// Temperature; 0 always takes the most likely token
    #[arg(long, visible_alias = "temperature", value_name = "T", value_parser = not_negative)]
    pub temp: Option<f32>,
    /// Keep the K most likely tokens; 0 keeps all
    #[arg(long, value_name = "K")]
    pub top_k: Option<usize>,
    /// Keep the most likely tokens that together reach P
    #[arg(long, value_name = "P", value_parser = fraction)]
    pub top_p: Option<f32>,
    /// Keep tokens at least P times as likely as the best
    #[arg(long, value_name = "P", value_parser = fraction)]
    pub min_p: Option<f32>,
    /// Keep tokens of typical surprise that together reach P; 1 keeps all
    #[arg(long, visible_alias = "typical-p", value_name = "P", value_parser = fraction)]
    pub typical: Option<f32>,
    /// Divide (or, below 0, multiply) the logits of recent tokens; 1 is off
    #[arg(long, value_name = "X", value_parser = positive)]
    pub repeat_penalty: Option<f32>,
    /// Subtract X times the count of a recent token from its logit
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = finite)]
    pub frequency_penalty: Option<f32>,
    /// Subtract X from the logit of every recent token
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = finite)]
    pub presence_penalty: Option<f32>,
    /// Tokens that count as recent; 0 switches the penalties off
    #[arg(long, value_name = "N")]
    pub repeat_last_n: Option<usize>,
    /// Seed of the random choices; without it, a new one each time (--verbose and --json tell it)
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

impl SamplingOptions {
    /// Those that a Modelfile or `/set parameter` sets.
    pub fn of(parameters: &nibble_store::Parameters) -> SamplingOptions {
        let number = |name: &str| parameters.number(name).map(|x| x as f32);
        let whole = |name: &str| parameters.integer(name);
        SamplingOptions {
            temp: number("temperature"),
            top_k: whole("top_k").map(|k| k.max(0) as usize),
            top_p: number("top_p"),
            min_p: number("min_p"),
            typical: number("typical_p"),
            repeat_penalty: number("repeat_penalty"),
            frequency_penalty: number("frequency_penalty"),
            presence_penalty: number("presence_penalty"),
            // -1 is the whole context, which no answer exceeds.
            repeat_last_n: whole("repeat_last_n").map(|n| usize::try_from(n).unwrap_or(1 << 24)),
            seed: whole("seed").and_then(|n| u64::try_from(n).ok()),
        }
    }

    /// As a Modelfile would set them: those that are set.
    pub fn parameters(&self) -> Result<nibble_store::Parameters> {
        let rows: [(&str, Option<String>); 10] = [
            ("temperature", self.temp.map(|x| x.to_string())),
            ("top_k", self.top_k.map(|n| n.to_string())),
            ("top_p", self.top_p.map(|x| x.to_string())),
            ("min_p", self.min_p.map(|x| x.to_string())),
            ("typical_p", self.typical.map(|x| x.to_string())),
            ("repeat_penalty", self.repeat_penalty.map(|x| x.to_string())),
            ("frequency_penalty", self.frequency_penalty.map(|x| x.to_string())),
            ("presence_penalty", self.presence_penalty.map(|x| x.to_string())),
            ("repeat_last_n", self.repeat_last_n.map(|n| n.to_string())),
            ("seed", self.seed.map(|n| n.to_string())),
        ];
        let mut parameters = nibble_store::Parameters::default();
        for (name, value) in rows {
            value.map_or(Ok(()), |value| parameters.set(name, &value))?;
        }
        Ok(parameters)
    }

    /// What is not set here is as in `other`.
    pub fn or(self, other: &SamplingOptions) -> SamplingOptions {
        SamplingOptions {
            temp: self.temp.or(other.temp),
            top_k: self.top_k.or(other.top_k),
            top_p: self.top_p.or(other.top_p),
            min_p: self.min_p.or(other.min_p),
            typical: self.typical.or(other.typical),
            repeat_penalty: self.repeat_penalty.or(other.repeat_penalty),
            frequency_penalty: self.frequency_penalty.or(other.frequency_penalty),
            presence_penalty: self.presence_penalty.or(other.presence_penalty),
            repeat_last_n: self.repeat_last_n.or(other.repeat_last_n),
            seed: self.seed.or(other.seed),
        }
    }
}

/// Processor numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cpus(pub Vec<usize>);

/// Reads a list of processors, here and in other commands.
pub fn core_list(text: &str) -> Result<Cpus, String> {
    nibble_engine::pool::cores::parse_list(text).map(Cpus).ok_or_else(|| "not a list of processors such as 4-7,0".to_string())
}

/// The types of KV cache as values of `--kv`, here and in other commands.
pub fn kv_types() -> PossibleValuesParser {
    PossibleValuesParser::new(nibble_engine::KvType::all().map(|kv| kv.name()).collect::<Vec<_>>())
}

fn finite(text: &str) -> Result<f32, String> {
    text.parse::<f32>().ok().filter(|x| x.is_finite()).ok_or_else(|| "not a number".to_string())
}

fn not_negative(text: &str) -> Result<f32, String> {
    finite(text).and_then(|x| if x >= 0.0 { Ok(x) } else { Err("must not be negative".to_string()) })
}

fn positive(text: &str) -> Result<f32, String> {
    finite(text).and_then(|x| if x > 0.0 { Ok(x) } else { Err("must be greater than 0".to_string()) })
}

fn fraction(text: &str) -> Result<f32, String> {
    finite(text).and_then(|x| if (0.0..=1.0).contains(&x) { Ok(x) } else { Err("must be from 0 to 1".to_string()) })
}

fn run(matches: &ArgMatches, console: &Console) -> Result<()> {
    let given = Options::from_arg_matches(matches)?;
    let mut options = given.clone();
    if let crate::models::Found::Entry(entry) = crate::models::find(&options.model)? {
        options.take(entry);
    }
    hints::check_checkpoint(&options.model)?;
    match prompt(&options, console)? {
        Some(prompt) => answer::once(&options, &prompt, console),
        None => chat::start(&given, options, console),
    }
}

/// The prompt from the command line or from a pipe; none means a chat.
fn prompt(options: &Options, console: &Console) -> Result<Option<String>> {
    match options.prompt.as_deref() {
        Some("-") => {}
        Some(text) => return Ok(Some(text.to_string())),
        None if console.stdin_is_terminal && options.json => return Err(Problem::usage("--json needs a prompt").into()),
        None if console.stdin_is_terminal => return Ok(None),
        None => {}
    }
    let mut bytes = vec![];
    std::io::stdin().lock().read_to_end(&mut bytes).context("stdin")?;
    let mut text = String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        Problem::failure(format!("stdin: the prompt is not UTF-8 text (byte {at})")).hint("iconv -t utf-8")
    })?;
    // The newline that ends the last line of a file, and of `echo`, is not part of the prompt.
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err(Problem::usage("no prompt: stdin is empty and no PROMPT is given").hint(ROW.examples[0].1).into());
    }
    Ok(Some(text))
}
