//! A chat on a terminal: turns with a history, commands, and an answer that Ctrl-C stops.

mod prompt;
mod saved;
mod show;

use std::time::Instant;

use anyhow::Result;
use nibble_engine::sampler::Sampler;
use nibble_engine::speculate::Speculator;
use nibble_engine::text::leave_out;
use nibble_engine::{Finish, Session};
use nibble_store::Parameters;

use crate::answer::{Encoded, Message, PromptCache, Speaker};
use crate::commands::run::{Options, Overflow, SamplingOptions};
use crate::exit::Problem;
use crate::interrupt::Chatting;
use crate::terminal::{self, Console};
use crate::thinking::Think;
use crate::{format, hints, settings};
use prompt::{Input, Prompt};

/// Opens the model and talks until the person leaves. `given` is what the command line said; `options`, with what the model of the store comes with.
pub fn start(given: &Options, options: Options, console: &Console) -> Result<()> {
    if !console.stdout_is_terminal {
        return Err(Problem::usage("a chat needs a terminal on stdin and stdout; give a PROMPT for one answer").into());
    }
    let mut chat = Chat::open(given, options, console)?;
    let mut prompt = Prompt::open()?;
    let listening = Chatting::start();
    while let Leave::For(next) = chat.talk(&mut prompt, &listening)? {
        chat = *next;
    }
    Ok(())
}

/// A conversation with its settings.
struct Chat<'a> {
    speaker: Speaker,
    /// What the command line said, for the next model.
    given: &'a Options,
    options: Options,
    console: &'a Console,
    sampler: Sampler,
    /// The sampling settings of the command line, the model of the store and `/set parameter`.
    flags: SamplingOptions,
    system: Option<String>,
    turns: Vec<Message>,
    verbose: bool,
    /// Tokens of the context in use after the last answer.
    used: usize,
}

/// Why a conversation ends.
enum Leave<'a> {
    /// The person leaves.
    Bye,
    /// Another one was loaded.
    For(Box<Chat<'a>>),
}

impl<'a> Chat<'a> {
    /// Opens the model and says how to go on.
    fn open(given: &'a Options, options: Options, console: &'a Console) -> Result<Chat<'a>> {
        console.note(format!(
            "loading {}",
            options.entry.as_ref().map_or_else(|| options.model.display().to_string(), |e| e.name.to_string())
        ));
        let begun = Instant::now();
        let speaker = Speaker::open(&options, console)?;
        if speaker.template.is_none() && options.system.is_some() {
            return Err(Problem::failure("--system needs a chat template, and the model has none")
                .hint("put the instruction into the prompt")
                .into());
        }
        match &speaker.template {
            Some(_) => console.note("/help lists the commands, /bye leaves"),
            None if options.raw => console.note("each line is continued on its own; /help lists the commands, /bye leaves"),
            None => {
                console.note("the model has no chat template: each line is continued on its own; /help lists the commands, /bye leaves");
            }
        }
        if options.verbose {
            console.note(format!("ready in {}", crate::units::duration(begun.elapsed())));
        }
        let chat = Chat {
            sampler: speaker.sampler()?,
            speaker,
            given,
            console,
            flags: options.sampling.clone(),
            system: options.system.clone(),
            turns: options.first_messages(),
            verbose: options.verbose,
            used: 0,
            options,
        };
        // What was said before, as a session that was saved goes on.
        for message in &chat.turns {
            let mark = if message.role == "user" { ">>> " } else { "" };
            terminal::print(&format!("{mark}{}\n{}", message.content, if mark.is_empty() { "\n" } else { "" }))?;
        }
        Ok(chat)
    }

    fn talk(&mut self, prompt: &mut Prompt, listening: &Chatting) -> Result<Leave<'a>> {
        // The model is lent to the session for the whole chat, while the settings around it change.
        let model = self.speaker.model.clone();
        let mut session = model.session()?;
        let cache = self.options.prompt_cache.clone();
        let kept = PromptCache::open(cache.as_deref(), &mut session, None)?;
        let speculation = self.speaker.speculation();
        let mut speculator = speculation.speculator(&model)?;
        loop {
            listening.rearm();
            let done = match prompt.next()? {
                Input::Bye => {
                    kept.save(&session)?;
                    return Ok(Leave::Bye);
                }
                Input::Say(text) => self.say(&text, &mut session, speculator.as_mut(), listening),
                Input::Retry => match self.take_last() {
                    Some(text) => self.say(&text, &mut session, speculator.as_mut(), listening),
                    None => Err(anyhow::anyhow!("there is no message yet to answer again")),
                },
                Input::History(keep) => {
                    prompt.keep(keep);
                    Ok(())
                }
                // This one stays until the next is there: where that fails, the conversation goes on.
                Input::Load(name) => match self.next(&name) {
                    Ok(None) => Ok(()),
                    Ok(Some(next)) => {
                        kept.save(&session)?;
                        return Ok(Leave::For(next));
                    }
                    Err(error) => Err(error),
                },
                other => self.command(other),
            };
            if let Err(error) = done {
                if error.downcast_ref::<Full>().is_some() && self.options.overflow == Overflow::Error {
                    return Err(error);
                }
                terminal::error_to_stderr("error", &hints::chain(&error), hints::hint(&error).as_deref());
            }
        }
    }

    /// `/load`: the chat that takes this one's place, unless it goes on with another conversation itself.
    fn next(&mut self, name: &str) -> Result<Option<Box<Chat<'a>>>> {
        let Some(options) = self.load(name)? else { return Ok(None) };
        Ok(Some(Box::new(Chat { verbose: self.verbose, ..Chat::open(self.given, options, self.console)? })))
    }

    /// Does what needs no answer of the model.
    fn command(&mut self, input: Input) -> Result<()> {
        match input {
            Input::Help(about) => terminal::print(&prompt::help(about.as_deref()))?,
            Input::Wrong(text) => terminal::line_to_stderr(&text),
            Input::Clear => {
                self.turns.clear();
                self.used = 0;
                self.sampler = self.speaker.sampler()?;
                self.console.note("the conversation is forgotten");
            }
            Input::System(_) if self.speaker.template.is_none() => {
                terminal::line_to_stderr("without a chat template there is no system message");
            }
            Input::System(Some(text)) => {
                self.system = Some(text);
                self.turns.clear();
                self.console.note("the system message is set; the conversation begins anew");
            }
            Input::System(None) => terminal::print(&format!("{}\n", self.system.as_deref().unwrap_or("no system message")))?,
            Input::Parameter(name, value) => self.parameter(&name, &value)?,
            Input::Format(what) => {
                self.speaker.follow(what.as_deref().map(format::grammar).transpose()?.as_ref())?;
                self.console.note(if what.is_some() { "answers follow the format from now on" } else { "answers are any text again" });
            }
            Input::Verbose(on) => self.verbose = on,
            Input::Show(what) => terminal::print(&self.show(&what)?)?,
            Input::Save(name) => self.save(&name)?,
            Input::Think(think) => {
                let note = if think == Think::No {
                    "the model answers at once from now on"
                } else {
                    "the model thinks before it answers from now on"
                };
                self.speaker.think(Some(think))?;
                self.console.note(note);
            }
            Input::Bye | Input::Say(_) | Input::Retry | Input::History(_) | Input::Load(_) => {}
        }
        Ok(())
    }

    /// `/set parameter`: taken if the sampler takes it, else nothing changes.
    fn parameter(&mut self, name: &str, value: &str) -> Result<()> {
        let mut one = Parameters::default();
        one.set(name, value)?;
        match name.to_ascii_lowercase().as_str() {
            "stop" => self.speaker.stops.extend(one.stop()),
            "num_predict" => self.speaker.most = one.integer("num_predict").and_then(|n| usize::try_from(n).ok()),
            "num_ctx" | "num_thread" | "num_batch" | "draft_num_predict" => {
                return Err(Problem::failure(format!("{name} is fixed while a model is loaded"))
                    .hint("--ctx, --threads or --draft-max at the start")
                    .into());
            }
            _ => {
                // The seed of this chat stays, unless it is what is set.
                let known = SamplingOptions { seed: Some(self.speaker.sampling.seed), ..SamplingOptions::default() };
                let flags = SamplingOptions::of(&one).or(&self.flags);
                let sampling = settings::sampling(&flags.clone().or(&known), self.speaker.model.source());
                self.sampler = Sampler::new(sampling.clone())?;
                (self.flags, self.speaker.sampling) = (flags, sampling);
            }
        }
        self.console.note(format!("{name} is {value} from the next answer on"));
        Ok(())
    }

    /// Takes the last question, and what was answered, off the conversation.
    fn take_last(&mut self) -> Option<String> {
        let at = self.turns.iter().rposition(|m| m.role == "user")?;
        self.turns.drain(at..).next().map(|m| m.content)
    }

    fn say(&mut self, text: &str, session: &mut Session, speculator: Option<&mut Speculator>, listening: &Chatting) -> Result<()> {
        let before = self.turns.len();
        let answer = self.encode(text, session.context()).and_then(|asked| {
            let (cancel, mut voice) = (Some(listening.flag()), self.speaker.voice());
            self.speaker.answer(session, &asked, &mut self.sampler, speculator, cancel, &mut |piece| voice.show(piece))
        });
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                // The conversation goes on as if the message had not been sent.
                self.turns.truncate(before.min(self.turns.len()));
                if self.turns.last().is_some_and(|m| m.role == "user" && m.content == text) {
                    self.turns.pop();
                }
                return Err(error);
            }
        };
        terminal::print("\n\n")?;
        self.speaker.explain(&answer.report);
        if answer.report.finish == Finish::Cancelled {
            self.console.note("(stopped)");
        } else if answer.cut {
            self.console.warn("the answer was cut before it followed the format to its end");
        }
        if self.speaker.template.is_some() {
            self.turns.push(Message::assistant(&answer.text));
        }
        let context = session.context();
        self.used = answer.report.prompt + answer.report.generated;
        if self.verbose {
            terminal::line_to_stderr(&self.speaker.timing(&answer.report));
            terminal::line_to_stderr(&format!("{} of {context} tokens of context in use", self.used.min(context)));
        } else if self.used * 5 >= context * 4 && self.speaker.template.is_some() && answer.report.finish != Finish::ContextFull {
            let then = match self.options.overflow {
                Overflow::Shift => "the oldest turns will be dropped when it is full",
                Overflow::Stop | Overflow::Error => "/clear begins anew, a larger --ctx holds more",
            };
            self.console.note(format!("{} of {context} tokens of context in use; {then}", self.used.min(context)));
        }
        Ok(())
    }

    /// The tokens of the conversation with one message more. Turns are dropped only where that was asked for, and never silently.
    fn encode(&mut self, text: &str, context: usize) -> Result<Encoded> {
        let Some(template) = self.speaker.template.clone() else { return Ok(self.speaker.encode_text(text)) };
        self.turns.push(Message::user(text));
        // A quarter of the context is room for an answer, unless answers are shorter.
        let room = (context / 4).min(self.speaker.most.unwrap_or(usize::MAX)).max(1);
        let encode = |turns: &[Message]| {
            let conversation: Vec<Message> = self.system.iter().map(|s| Message::system(s)).chain(turns.iter().cloned()).collect();
            self.speaker.encode_chat(&template, &conversation)
        };
        let (mut begin, mut asked) = (0, encode(&self.turns)?);
        if self.options.overflow == Overflow::Shift && asked.tokens.len() + room > context {
            let roles: Vec<&str> = self.turns.iter().map(|turn| turn.role.as_str()).collect();
            let fitting = leave_out(&roles, |begin| {
                let asked = encode(&self.turns[begin..])?;
                anyhow::Ok((asked.tokens.len() + room <= context).then_some((begin, asked)))
            })?;
            // The message alone has to do with less room for its answer.
            let last = roles.len() - 1;
            (begin, asked) = fitting.map_or_else(|| Ok((last, encode(&self.turns[last..])?)), anyhow::Ok)?;
        }
        let tokens = asked.tokens.len();
        if tokens >= context {
            return Err(Full { tokens, context, turns: self.turns.len() - begin > 1 }.into());
        }
        if begin > 0 {
            // A turn is a question with all that follows it up to the next.
            let dropped = self.turns.drain(..begin).filter(|turn| turn.role == "user").count();
            let turns = if dropped == 1 { "turn was" } else { "turns were" };
            self.console.warn(format!("the context is full: the oldest {dropped} {turns} dropped; the model no longer knows of them"));
        }
        Ok(asked)
    }
}

/// A message does not fit into the context.
#[derive(Debug)]
pub struct Full {
    tokens: usize,
    context: usize,
    turns: bool,
}

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = if self.turns { "the conversation with this message" } else { "the message" };
        write!(f, "the context is full: {what} takes {} tokens, and it holds {} with an answer; it was not sent", self.tokens, self.context)
    }
}

impl std::error::Error for Full {}

impl Full {
    /// What to try.
    pub fn hint(&self) -> String {
        match self.turns {
            true => "/clear to begin anew, /save to keep it first; --overflow shift drops old turns, a larger --ctx holds more".into(),
            false => "a shorter message, or a larger --ctx at the start".into(),
        }
    }
}
