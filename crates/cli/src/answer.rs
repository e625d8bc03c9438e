//! From a prompt to an answer on stdout: opens the model, encodes what the person wrote, runs the engine's loop and prints whole characters.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use nibble_constrain::{Constraint, Grammar, Thought, Vocabulary};
use nibble_engine::sampler::Guide;
use nibble_engine::sampler::{Sampler, Sampling};
use nibble_engine::speculate::Speculator;
use nibble_engine::text::{
    Clock, Parted, Prompt, Render, Stream, Template, ThoughtSplitter, Tokenizer, Value, Vocab, opens_thought, template_thinks,
};
use nibble_engine::{Event, Finish, Model, Report, Session, Stop, generate_guided, state};
use serde::{Deserialize, Serialize};

use crate::commands::run::Options;
use crate::exit::Problem;
use crate::hints;
use crate::settings;
use crate::speculation::Speculation;
use crate::terminal::{self, Console};
use crate::thinking::{Piece, Think, Voice};
use crate::units;

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// Its text.
    pub content: String,
}

impl Message {
    /// What frames the conversation.
    pub fn system(text: &str) -> Message {
        Message { role: "system".to_string(), content: text.to_string() }
    }

    /// What the person says.
    pub fn user(text: &str) -> Message {
        Message { role: "user".to_string(), content: text.to_string() }
    }

    /// Said by one of the two.
    pub fn is_turn(&self) -> bool {
        matches!(self.role.as_str(), "user" | "assistant")
    }

    /// As the template sees it.
    fn to_value(&self) -> Value {
        Value::from_pairs([("role", self.role.as_str()), ("content", self.content.as_str())])
    }

    /// What the model said.
    pub fn assistant(text: &str) -> Message {
        Message { role: "assistant".to_string(), content: text.to_string() }
    }
}

/// A model with all that is needed to talk with it.
pub struct Speaker {
    pub model: Arc<Model>,
    pub template: Option<Template>,
    tokenizer: Tokenizer,
    speculation: Arc<Speculation>,
    pub sampling: Sampling,
    pub stops: Vec<String>,
    pub most: Option<usize>,
    /// Whether the model is to think; without a word, as its template has it.
    think: Option<Think>,
    hide_thoughts: bool,
    console: Console,
    loading: Duration,
    /// What every answer must follow, and the same made ready for answers without a thought.
    format: Option<(Grammar, Constraint)>,
    /// The vocabulary as grammars need it, once one was asked for.
    vocabulary: Option<Vocabulary>,
}

/// A prompt as tokens.
pub struct Encoded {
    pub tokens: Vec<u32>,
    /// It ends within a thought, which the answer goes on with.
    opened: bool,
}

/// One answer and what it took.
pub struct Answer {
    pub text: String,
    /// What was thought before it.
    pub thinking: String,
    pub report: Report,
    /// It had to follow a format and does not to its end: it was cut.
    pub cut: bool,
}

impl Speaker {
    /// Opens the model. The context is checked against the model's and the memory before the weights are touched.
    pub fn open(options: &Options, console: &Console) -> Result<Speaker> {
        let start = Instant::now();
        let model = Arc::new(Model::open(&options.model, settings::engine(options))?);
        crate::adapters::say_ignored(model.ignored(), console);
        let mut vocab = Vocab::of(model.source())?;
        if let Some(template) = options.entry.as_ref().map(|entry| entry.jinja()).transpose()?.flatten() {
            vocab.chat_template = Some(template);
        }
        let tokenizer = Tokenizer::new(vocab);
        let wanted = !options.raw && tokenizer.vocab().chat_template.is_some();
        let template = wanted.then(|| Template::of(tokenizer.vocab())).transpose()?;
        let speculation = Arc::new(Speculation::open(options, &model, tokenizer.vocab())?);
        let sampling = settings::sampling(&options.sampling, model.source());
        let mut speaker = Speaker {
            model,
            template,
            tokenizer,
            speculation,
            sampling,
            stops: options.stop.clone(),
            most: options.max_tokens.and_then(|n| usize::try_from(n).ok()),
            think: None,
            hide_thoughts: options.hidethinking,
            console: *console,
            loading: Duration::ZERO,
            format: None,
            vocabulary: None,
        };
        speaker.think(options.think.clone())?;
        speaker.follow(options.format.as_deref().map(crate::format::grammar).transpose()?.as_ref())?;
        speaker.loading = start.elapsed();
        Ok(speaker)
    }

    /// Makes every answer from now on follow a grammar, or none.
    pub fn follow(&mut self, grammar: Option<&Grammar>) -> Result<()> {
        self.format = match grammar {
            Some(grammar) => {
                // Half a second for a large vocabulary, so that it is laid out once.
                let vocabulary = match self.vocabulary.take() {
                    Some(vocabulary) => vocabulary,
                    None => Vocabulary::new(&self.tokenizer)?,
                };
                let plain = self.vocabulary.insert(vocabulary).compile(grammar)?;
                Some((grammar.clone(), plain))
            }
            None => None,
        };
        Ok(())
    }

    /// Has the model think from now on, or not. One that cannot is not asked to.
    pub fn think(&mut self, think: Option<Think>) -> Result<()> {
        if matches!(think, Some(Think::Yes(_))) && !self.thinks() {
            return Err(Problem::failure("the model cannot be asked to think: its chat template knows nothing of it")
                .hint("a model that was trained to, such as DeepSeek-R1-Distill-Llama-8B")
                .into());
        }
        self.think = think;
        Ok(())
    }

    /// Whether the model's template knows of thinking.
    fn thinks(&self) -> bool {
        self.template.is_some() && self.template_source().is_some_and(template_thinks)
    }

    /// Shows one answer on stdout. Where it must follow a format and goes to a program, the thought is not shown: what comes out is what was asked for.
    pub fn voice(&self) -> Voice<std::io::Stdout> {
        let hide = self.hide_thoughts || self.format.is_some() && !std::io::stdout().is_terminal();
        Voice::new(std::io::stdout(), self.console.styles_stdout(), hide)
    }

    /// The chat template's source.
    pub fn template_source(&self) -> Option<&str> {
        self.tokenizer.vocab().chat_template.as_deref()
    }

    /// The sampler of a conversation.
    pub fn sampler(&self) -> Result<Sampler> {
        Ok(Sampler::new(self.sampling.clone())?)
    }

    /// Who guesses the tokens of a conversation; `None`: nobody.
    pub fn speculator(&self) -> Result<Option<Speculator<'_>>> {
        self.speculation.speculator(&self.model)
    }

    /// Who guesses, apart from the speaker.
    pub fn speculation(&self) -> Arc<Speculation> {
        self.speculation.clone()
    }

    /// Tokens of a text to continue. What the person typed is text: no special token is read from it.
    pub fn encode_text(&self, text: &str) -> Encoded {
        Encoded { tokens: self.tokenizer.encode_prompt(&Prompt::literal(text), true), opened: false }
    }

    /// Tokens of a conversation up to where the model speaks.
    pub fn encode_chat(&self, template: &Template, messages: &[Message]) -> Result<Encoded> {
        // Whoever wants a format wants the answer, unless a thought was asked for.
        let think = self.think.clone().or(self.format.is_some().then_some(Think::No));
        let render = Render {
            messages: messages.iter().map(Message::to_value).collect(),
            add_generation_prompt: true,
            // Of the world's time: the zone of this place is not known without asking the C library.
            now: Clock { seconds: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64) },
            extra: think.filter(|_| self.thinks()).map_or_else(Vec::new, |think| think.variables()),
            ..Render::default()
        };
        let prompt = template.render(&render, Some(&self.tokenizer))?;
        Ok(Encoded { tokens: self.tokenizer.encode_prompt(&prompt, false), opened: opens_thought(&prompt.text) })
    }

    /// Whether an answer may begin with a thought, which follows no format.
    fn thought(&self, prompt: &Encoded) -> Thought {
        match &self.think {
            _ if !self.thinks() => Thought::None,
            _ if prompt.opened => Thought::Opened,
            Some(Think::Yes(_)) => Thought::Possible,
            Some(Think::No) | None => Thought::None,
        }
    }

    /// What an answer to a prompt must follow, if anything: after its thought, the format.
    fn guide(&self, prompt: &Encoded) -> Result<Option<Constraint>> {
        Ok(match (&self.format, &self.vocabulary, self.thought(prompt)) {
            (None, ..) => None,
            (Some((grammar, _)), Some(vocabulary), thought) if thought != Thought::None => {
                Some(vocabulary.compile(&grammar.clone().after(thought))?)
            }
            (Some((_, plain)), ..) => Some(plain.clone()),
        })
    }

    /// Answers a prompt; `show` gets it as it comes, what is thought apart from what is said.
    pub fn answer(
        &self,
        session: &mut Session,
        prompt: &Encoded,
        sampler: &mut Sampler,
        speculator: Option<&mut Speculator>,
        cancel: Option<&AtomicBool>,
        show: &mut dyn FnMut(Piece) -> std::io::Result<()>,
    ) -> Result<Answer> {
        let mut stream = Stream::new(self.stops.clone());
        let (mut text, mut thinking) = (String::new(), String::new());
        // One that thinks although it was asked not to is shown to.
        let parts = self.thinks() && (self.format.is_none() || self.thought(prompt) != Thought::None);
        let mut splitter = if parts { ThoughtSplitter::new(prompt.opened) } else { ThoughtSplitter::off() };
        let mut shown = Ok(());
        let mut stopped = false;
        let stop = Stop { ends: self.tokenizer.ends(), most: self.most, cancel };
        let mut reading = Reading::new(&self.console);
        let chat = self.template.is_some();
        let mut out = |parted: Parted| {
            if !parted.thinking.is_empty() {
                thinking.push_str(&parted.thinking);
                show(Piece::Thought(&parted.thinking))?;
            }
            // The blank that SentencePiece puts before a word, and the line breaks after a header, are no part of a chat's answer.
            let piece = if chat && text.is_empty() { parted.text.trim_start() } else { &parted.text };
            if piece.is_empty() {
                return Ok(());
            }
            text.push_str(piece);
            show(Piece::Said(piece))
        };
        let mut guide = self.guide(prompt)?;
        let asked = guide.as_mut().map(|guide| guide as &mut dyn Guide);
        let report = generate_guided(session, &prompt.tokens, sampler, asked, speculator, &stop, &mut |event| match event {
            Event::Prompt { done, total } => {
                reading.at(done, total);
                true
            }
            Event::Token(id) => {
                let chunk = stream.push(&self.tokenizer.token_bytes(id));
                stopped = chunk.stopped;
                shown = out(splitter.push(&chunk.text));
                shown.is_ok() && !stopped
            }
        })?;
        shown?;
        out(splitter.push(&stream.finish()))?;
        out(splitter.finish())?;
        // A stop text may end an answer before the format does.
        let cut = guide.is_some_and(|mut guide| stopped || !guide.is_complete());
        Ok(Answer { text, thinking: thinking.trim().to_string(), report, cut })
    }

    /// The line of `--verbose`.
    pub fn timing(&self, report: &Report) -> String {
        let drafts = match report.speculation.drafted {
            0 => String::new(),
            drafted => format!(", {} of {drafted} guesses right", report.speculation.accepted),
        };
        format!(
            "prompt {} tokens ({} known) in {} ({:.1} tokens/s), answer {} tokens in {} ({:.1} tokens/s{drafts}), load {}, {} threads, seed {}",
            report.prompt,
            report.reused,
            units::duration(report.prompt_time),
            report.prompt_rate(),
            report.generated,
            units::duration(report.time),
            report.rate(),
            units::duration(self.loading),
            self.model.threads(),
            self.sampling.seed,
        )
    }

    /// Tells why an answer ended when that is not what the person asked for.
    pub fn explain(&self, report: &Report) {
        if report.finish == Finish::ContextFull {
            let most = self.model.config().context;
            let more = match self.model.context() < most {
                true => format!("; --ctx takes up to {most}"),
                false => String::new(),
            };
            self.console.warn(format!("the answer stops here because the context of {} tokens is full{more}", self.model.context()));
        }
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Told<'a> {
    text: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    thinking: &'a str,
    /// `end`: the model ended it. `length`: --max-tokens. `context`: no room left. `stop`: a text of --stop. `cancelled`.
    finish: &'static str,
    prompt_tokens: usize,
    /// Those of them that --prompt-cache had.
    known_tokens: usize,
    tokens: usize,
    /// Guesses that were computed, and those of them that were right.
    drafted_tokens: usize,
    accepted_tokens: usize,
    context: usize,
    seed: u64,
    threads: usize,
    timings: Timings,
}

#[derive(Serialize)]
struct Timings {
    load_seconds: f64,
    prompt_seconds: f64,
    prompt_tokens_per_second: f64,
    answer_seconds: f64,
    tokens_per_second: f64,
}

/// One prompt, one answer.
pub fn once(options: &Options, prompt: &str, console: &Console) -> Result<()> {
    let speaker = Speaker::open(options, console)?;
    let asked = match &speaker.template {
        Some(template) => {
            let mut messages: Vec<Message> = options.system.iter().map(|text| Message::system(text)).collect();
            messages.extend(options.first_messages());
            messages.push(Message::user(prompt));
            speaker.encode_chat(template, &messages)?
        }
        None => {
            if let Some(system) = &options.system {
                return Err(no_template_for(system).into());
            }
            speaker.encode_text(prompt)
        }
    };
    let mut session = speaker.model.session()?;
    let kept = PromptCache::open(options.prompt_cache.as_deref(), &mut session, Some(&asked.tokens))?;
    let mut speculator = speaker.speculator()?;
    let mut voice = speaker.voice();
    let answer = speaker.answer(&mut session, &asked, &mut speaker.sampler()?, speculator.as_mut(), None, &mut |piece| {
        if options.json { Ok(()) } else { voice.show(piece) }
    })?;
    if options.json {
        terminal::print_json(&speaker.told(&answer))?;
    } else if !answer.text.ends_with('\n') {
        terminal::print("\n")?;
    }
    speaker.explain(&answer.report);
    if options.verbose {
        terminal::line_to_stderr(&speaker.timing(&answer.report));
    }
    kept.save(&session)?;
    match answer.cut {
        true => Err(Problem::failure("the answer was cut before it followed --format to its end")
            .hint("a larger -n or --ctx, or a schema with bounds (maxLength, maxItems)")
            .into()),
        false => Ok(()),
    }
}

/// The file of `--prompt-cache`, if there is one.
pub struct PromptCache<'a> {
    path: Option<&'a Path>,
    /// The tokens that the file holds.
    held: Vec<u32>,
}

impl<'a> PromptCache<'a> {
    /// Takes in what the prompt begins with, or all without a prompt. A file that is not there yet holds nothing.
    pub fn open(path: Option<&'a Path>, session: &mut Session, prompt: Option<&[u32]>) -> Result<PromptCache<'a>> {
        let held = match path {
            Some(path) if path.exists() => state::load(session, path, prompt)?,
            // Said now rather than after the answer.
            Some(path) => hints::check_place(path, false).map(|()| vec![])?,
            None => vec![],
        };
        Ok(PromptCache { path, held })
    }

    /// Keeps what the session holds now, unless the file has it already.
    pub fn save(&self, session: &Session) -> Result<()> {
        match self.path {
            Some(path) if !self.held.starts_with(session.tokens()) => Ok(state::save(session, path)?),
            _ => Ok(()),
        }
    }
}

fn no_template_for(_system: &str) -> Problem {
    Problem::failure("--system needs a chat template, and the model has none").hint("put the instruction into the prompt")
}

impl Speaker {
    fn told<'a>(&self, answer: &'a Answer) -> Told<'a> {
        let report = &answer.report;
        Told {
            text: &answer.text,
            thinking: &answer.thinking,
            finish: match report.finish {
                Finish::End(_) | Finish::Complete => "end",
                Finish::Length => "length",
                Finish::ContextFull => "context",
                Finish::Cancelled => "cancelled",
                Finish::Stopped => "stop",
            },
            prompt_tokens: report.prompt,
            known_tokens: report.reused,
            tokens: report.generated,
            drafted_tokens: report.speculation.drafted,
            accepted_tokens: report.speculation.accepted,
            context: self.model.context(),
            seed: self.sampling.seed,
            threads: self.model.threads(),
            timings: Timings {
                load_seconds: self.loading.as_secs_f64(),
                prompt_seconds: report.prompt_time.as_secs_f64(),
                prompt_tokens_per_second: report.prompt_rate(),
                answer_seconds: report.time.as_secs_f64(),
                tokens_per_second: report.rate(),
            },
        }
    }
}

/// How far a long prompt is read, on a terminal.
struct Reading {
    shown: bool,
    wanted: bool,
}

impl Reading {
    fn new(console: &Console) -> Reading {
        Reading { shown: false, wanted: console.stderr_is_terminal && !console.quiet }
    }

    fn at(&mut self, done: usize, total: usize) {
        if self.wanted && done < total {
            self.shown = true;
            let _ = write!(std::io::stderr(), "\rreading the prompt: {done} of {total} tokens");
        } else if self.shown {
            self.shown = false;
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
