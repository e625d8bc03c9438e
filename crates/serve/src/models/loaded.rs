//! A model in memory, and the lease by which a request holds it there.

use super::origin::{Origin, capabilities};
use crate::error::Problem;
use crate::keep_alive::KeepAlive;
use crate::metrics::Gauge;
use crate::talk::{Think, Tools, Turn, messages};
use crate::worker::{Pooling, Worker};
use nibble_constrain::{Constraint, Error as GrammarError, Grammar, Vocabulary};
use nibble_engine::sampler::Sampling;
use nibble_engine::source::Source;
use nibble_engine::text::{Clock, Prompt, Render, Template, TextError, Tokenizer, Vocab, template_thinks};
use nibble_engine::{DEFAULT_CONTEXT, Model};
use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

/// Compiled grammars that are kept: programs use few, again and again.
const MOST_GRAMMARS: usize = 16;

/// A grammar that cannot be used is the client's; a vocabulary that allows none is the model's.
pub fn grammar_problem(error: &GrammarError) -> Problem {
    match error {
        GrammarError::Vocabulary { .. } => Problem::internal(error.to_string()),
        _ => Problem::bad(error.to_string()).param("format"),
    }
}

/// How the file says that vectors are made: GGUF's `pooling_type`, 1 for the mean and 3 for the last. A model of language that says nothing gives the last
/// token's, which alone has seen the whole text; so does Ollama.
fn pooling(source: &Source) -> Pooling {
    let key = format!("{}.pooling_type", source.config().arch.name);
    let declared = source.checkpoint().metadata().and_then(|metadata| metadata.value(&key)).and_then(|value| value.integer());
    if declared == Some(1) { Pooling::Mean } else { Pooling::Last }
}

/// How many requests a model takes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// That it answers at a time.
    pub parallel: usize,
    /// That may wait.
    pub queue: usize,
    /// Guess the tokens of an answer that is alone.
    pub speculate: bool,
}

/// A model in memory with all that is needed to talk with it.
pub struct Loaded {
    origin: Origin,
    tokenizer: Arc<Tokenizer>,
    /// The template, or what is wrong with it, for requests that need one.
    template: Option<Result<Template, String>>,
    recommended: Sampling,
    worker: Worker,
    context: usize,
    /// The longest context that the model was made for.
    most_context: usize,
    bytes: u64,
    weights: u64,
    vocab: usize,
    width: usize,
    pooling: Pooling,
    vocabulary: OnceLock<Result<Arc<Vocabulary>, String>>,
    /// The grammars used last, compiled, the latest at the end.
    grammars: Mutex<Vec<(String, Constraint)>>,
    stay: Mutex<Stay>,
    wake: Arc<Notify>,
}

/// How long a model stays.
struct Stay {
    /// Requests that hold it.
    active: usize,
    keep: KeepAlive,
    /// When it was used last, or loaded.
    used: Instant,
}

impl Loaded {
    /// Opens it; takes as long as that takes.
    pub fn open(
        origin: Origin,
        mut options: nibble_engine::Options,
        context: Option<usize>,
        limits: Limits,
        keep: KeepAlive,
        wake: Arc<Notify>,
    ) -> Result<Loaded, nibble_engine::Error> {
        let source = Arc::new(Source::open(&origin.path)?);
        let most_context = source.config().context;
        // More than the model was made for is no use; a prompt that then does not fit is an error that says so.
        let context = context.or(options.context).unwrap_or(DEFAULT_CONTEXT).min(most_context);
        options.context = Some(context);
        options.adapters = origin.adapters.clone();
        let mut vocab = Vocab::of(&source)?;
        vocab.chat_template = origin.template.clone().or(vocab.chat_template).filter(|source| !source.is_empty());
        let template = vocab.chat_template.is_some().then(|| Template::of(&vocab).map_err(|error| error.to_string()));
        let tokenizer = Arc::new(Tokenizer::new(vocab));
        let recommended = nibble_engine::recommended(&source);
        let model = Model::load(source.clone(), options)?;
        let need = model.need();
        let (vocab, width) = (model.config().vocab, model.config().dim);
        let pooling = pooling(&source);
        Ok(Loaded {
            tokenizer,
            template,
            recommended,
            context,
            most_context,
            bytes: need.total(context),
            weights: need.weights,
            vocab,
            width,
            pooling,
            vocabulary: OnceLock::new(),
            grammars: Mutex::default(),
            worker: Worker::start(model, limits.parallel, limits.queue, limits.speculate)?,
            stay: Mutex::new(Stay { active: 0, keep, used: Instant::now() }),
            wake,
            origin,
        })
    }

    /// Whether it is this version, with room for a context of so many tokens.
    pub fn serves(&self, origin: &Origin, context: Option<usize>) -> bool {
        self.origin.digest == origin.digest && context.is_none_or(|wanted| wanted.min(self.most_context) <= self.context)
    }

    fn stay(&self) -> MutexGuard<'_, Stay> {
        self.stay.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request begins. Every call needs a [`Lease`] made after it, which ends it.
    pub fn enter(&self) {
        self.stay().active += 1;
    }

    fn leave(&self) {
        let mut stay = self.stay();
        stay.active -= 1;
        stay.used = Instant::now();
        let idle = stay.active == 0;
        drop(stay);
        if idle {
            self.wake.notify_one();
        }
    }

    /// It is to go as soon as nobody uses it.
    pub fn leave_soon(&self) {
        self.stay().keep = KeepAlive::For(Duration::ZERO);
    }

    /// Whether nobody uses it.
    pub fn is_idle(&self) -> bool {
        self.active() == 0
    }

    /// Requests that hold it.
    pub fn active(&self) -> usize {
        self.stay().active
    }

    /// When it was used last.
    pub fn last_used(&self) -> Instant {
        self.stay().used
    }

    /// When it is to go if nobody uses it; `None`: never.
    pub fn due(&self) -> Option<Instant> {
        let stay = self.stay();
        stay.keep.end(stay.used)
    }

    /// The same for people; of one that stays forever, in a hundred years.
    pub fn expires(&self) -> SystemTime {
        let stay = self.stay();
        let from = if stay.active > 0 { Instant::now() } else { stay.used };
        let left = stay.keep.end(from).map_or(Duration::from_secs(100 * 365 * 86_400), |at| at.saturating_duration_since(Instant::now()));
        SystemTime::now() + left
    }

    /// Where it comes from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.origin.name
    }

    /// What was opened.
    pub fn path(&self) -> &Path {
        &self.origin.path
    }

    /// Tokens of context.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Numbers of a text's vector.
    pub fn width(&self) -> usize {
        self.width
    }

    /// How a text's vector is made of its tokens'.
    pub fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// Bytes that it takes with one context.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of its weights.
    pub fn weights(&self) -> u64 {
        self.weights
    }

    /// The sampling that its makers recommend.
    pub fn recommended(&self) -> &Sampling {
        &self.recommended
    }

    /// Its template as text; empty without one.
    pub fn template_source(&self) -> &str {
        self.tokenizer.vocab().chat_template.as_deref().unwrap_or_default()
    }

    /// The system message of its Modelfile.
    pub fn system(&self) -> Option<&str> {
        self.origin.system.as_deref()
    }

    /// Who computes.
    pub fn worker(&self) -> &Worker {
        &self.worker
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// Whether it can think before it answers.
    pub fn thinks(&self) -> bool {
        template_thinks(self.template_source())
    }

    /// Whether it has a template.
    pub fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// What holds an answer to a grammar. Takes long the first time; not for the server's own threads.
    pub fn constraint(&self, grammar: &Grammar) -> Result<Constraint, Problem> {
        let key = grammar.key();
        let mut kept = self.grammars.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = kept.iter().position(|(known, _)| *known == key) {
            let found = kept.remove(at);
            let constraint = found.1.clone();
            kept.push(found);
            return Ok(constraint);
        }
        drop(kept);
        let made = self.vocabulary()?.compile(grammar).map_err(|error| grammar_problem(&error))?;
        let mut kept = self.grammars.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST_GRAMMARS {
            kept.remove(0);
        }
        kept.push((key, made.clone()));
        Ok(made)
    }

    /// The tokens as constraints walk them; made when the first answer needs them.
    fn vocabulary(&self) -> Result<Arc<Vocabulary>, Problem> {
        let made = self.vocabulary.get_or_init(|| Vocabulary::new(&self.tokenizer).map(Arc::new).map_err(|error| error.to_string()));
        made.clone().map_err(|error| Problem::internal(format!("{}: its answers cannot be constrained: {error}", self.name())))
    }

    /// What it is doing.
    pub fn gauge(&self) -> Gauge {
        let (running, waiting) = self.worker.load();
        Gauge { model: self.name().to_string(), running, waiting, bytes: self.bytes }
    }

    /// The conversation with what the Modelfile puts before it.
    pub fn opening(&self, turns: Vec<Turn>) -> Vec<Turn> {
        let mut all: Vec<Turn> = self.origin.messages.iter().map(|(role, content)| Turn::new(role, content.clone())).collect();
        all.extend(turns);
        match self.system() {
            Some(system) if !all.iter().any(|turn| turn.role == "system") => {
                all.insert(0, Turn::new("system", system.to_string()));
                all
            }
            _ => all,
        }
    }

    /// A conversation as the text that the model reads, by its own template or another.
    pub fn render(&self, turns: &[Turn], tools: &Tools, think: &Think, template: Option<&str>) -> Result<Prompt, Problem> {
        let other = template.map(|source| self.other_template(source)).transpose()?;
        let own = self.template.as_ref();
        let template = match (&other, own) {
            (Some(other), _) => other,
            (None, Some(Ok(own))) => own,
            (None, Some(Err(error))) => return Err(Problem::internal(format!("{}: its template cannot be used: {error}", self.name()))),
            (None, None) => {
                return Err(Problem::bad(format!(
                    "{} has no chat template: it is a base model. /api/generate and /v1/completions continue a text",
                    self.name()
                )));
            }
        };
        if !tools.is_empty() && other.is_none() && !capabilities(self.template_source()).contains(&"tools") {
            return Err(Problem::bad(format!("{} does not support tools", self.name())).param("tools"));
        }
        if matches!(think, Think::Yes(_)) && !self.thinks() {
            return Err(Problem::bad(format!("{} does not support thinking", self.name())).param("think"));
        }
        let render = Render {
            messages: messages(turns),
            tools: tools.to_value(),
            add_generation_prompt: true,
            now: Clock { seconds: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64) },
            extra: think.variables(),
        };
        template.render(&render, Some(&self.tokenizer)).map_err(|error| match error {
            error @ (TextError::Refused { .. } | TextError::Template { .. }) => Problem::bad(error.to_string()).param("messages"),
            error => Problem::internal(error.to_string()),
        })
    }

    fn other_template(&self, source: &str) -> Result<Template, Problem> {
        let refuse = |error: String| Problem::bad(format!("template: {error}")).param("template");
        let source = nibble_store::template::jinja(source).map_err(|error| refuse(error.to_string()))?;
        Template::with(&source, self.tokenizer.vocab()).map_err(|error| refuse(error.to_string()))
    }

    /// Tokens of a text. `special`: special tokens in it are read as such; `ends`: the token that begins every text is put before it, where the model has one.
    pub fn encode(&self, text: &str, special: bool, ends: bool) -> Vec<u32> {
        let prompt = if special { Prompt::special(text) } else { Prompt::literal(text) };
        self.tokenizer.encode_prompt(&prompt, ends)
    }

    /// Refuses tokens that the model does not have.
    pub fn check_tokens(&self, tokens: &[u32]) -> Result<(), Problem> {
        match tokens.iter().find(|&&id| id as usize >= self.vocab) {
            Some(id) => Err(Problem::bad(format!("token {id} is not below the vocabulary's size, {}", self.vocab))),
            None => Ok(()),
        }
    }

    /// The text of tokens.
    pub fn decode(&self, tokens: &[u32]) -> Result<String, Problem> {
        self.check_tokens(tokens)?;
        Ok(self.tokenizer.decode(tokens))
    }

    /// The bytes of a token.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        self.tokenizer.token_bytes(id).into_owned()
    }
}

/// While this lives, the model stays.
pub struct Lease {
    loaded: Arc<Loaded>,
    waited: Duration,
}

impl Lease {
    /// Takes over an [`Loaded::enter`]. `keep` is what the request wishes, `waited` how long it waited for the model.
    pub fn new(loaded: Arc<Loaded>, keep: Option<KeepAlive>, waited: Duration) -> Lease {
        if let Some(keep) = keep {
            loaded.stay().keep = keep;
        }
        Lease { loaded, waited }
    }

    /// How long the request waited for the model to be there.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

impl Clone for Lease {
    fn clone(&self) -> Lease {
        self.loaded.enter();
        Lease { loaded: self.loaded.clone(), waited: self.waited }
    }
}

impl Deref for Lease {
    type Target = Loaded;

    fn deref(&self) -> &Loaded {
        &self.loaded
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.loaded.leave();
    }
}
