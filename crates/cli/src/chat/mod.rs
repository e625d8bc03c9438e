//! A chat on a terminal: turns with a history, commands, and an answer that Ctrl-C stops.

mod prompt;

use std::io::Write;

use anyhow::Result;
use nibble_engine::Finish;

use crate::answer::{Message, PromptCache, Speaker};
use crate::commands::run::Options;
use crate::exit::Problem;
use crate::hints;
use crate::interrupt::Chatting;
use crate::terminal::{self, Console};
use prompt::{HELP, Input, Prompt};

/// Opens the model and talks until the person leaves.
pub fn start(options: &Options, console: &Console) -> Result<()> {
    if !console.stdout_is_terminal {
        return Err(Problem::usage("a chat needs a terminal on stdin and stdout; give a PROMPT for one answer").into());
    }
    console.note(format!("loading {}", options.model.display()));
    let speaker = Speaker::open(options, console)?;
    if speaker.template.is_none() && options.system.is_some() {
        return Err(Problem::failure("--system needs a chat template, and the model has none")
            .hint("put the instruction into the prompt")
            .into());
    }
    match &speaker.template {
        Some(_) => console.note("/help lists the commands, /bye leaves"),
        None if options.raw => console.note("each line is continued on its own; /help lists the commands, /bye leaves"),
        None => console.note("the model has no chat template: each line is continued on its own; /help lists the commands, /bye leaves"),
    }
    let mut session = speaker.model.session()?;
    let kept = PromptCache::open(options.prompt_cache.as_deref(), &mut session, None)?;
    let mut speculator = speaker.speculator()?;
    let mut sampler = speaker.sampler()?;
    let mut prompt = Prompt::open()?;
    let mut system = options.system.clone();
    let mut turns: Vec<Message> = vec![];
    let listening = Chatting::start();
    loop {
        listening.rearm();
        match prompt.next()? {
            Input::Bye => return kept.save(&session),
            Input::Help => terminal::print(HELP)?,
            Input::Clear => {
                turns.clear();
                sampler = speaker.sampler()?;
                console.note("the conversation is forgotten");
            }
            Input::System(_) if speaker.template.is_none() => {
                terminal::line_to_stderr("without a chat template there is no system message")
            }
            Input::System(Some(text)) => {
                system = Some(text);
                turns.clear();
                console.note("the system message is set; the conversation begins anew");
            }
            Input::System(None) => terminal::print(&format!("{}\n", system.as_deref().unwrap_or("no system message")))?,
            Input::Unknown(command) => terminal::line_to_stderr(&format!("{command} is not a command; /help lists them")),
            Input::Say(text) => {
                let tokens = match &speaker.template {
                    None => Ok(speaker.encode_text(&text)),
                    Some(template) => {
                        turns.push(Message::user(&text));
                        let conversation: Vec<Message> = system.iter().map(|s| Message::system(s)).chain(turns.iter().cloned()).collect();
                        speaker.encode_chat(template, &conversation)
                    }
                };
                let answer = tokens.and_then(|tokens| {
                    speaker.answer(&mut session, &tokens, &mut sampler, speculator.as_mut(), Some(listening.flag()), &mut |piece| {
                        let mut out = std::io::stdout().lock();
                        out.write_all(piece.as_bytes())?;
                        out.flush()
                    })
                });
                match answer {
                    Ok(answer) => {
                        terminal::print("\n\n")?;
                        speaker.explain(&answer.report);
                        if answer.report.finish == Finish::Cancelled {
                            console.note("(stopped)");
                        }
                        if options.verbose {
                            terminal::line_to_stderr(&speaker.timing(&answer.report));
                        }
                        turns.push(Message::assistant(&answer.text));
                    }
                    Err(error) => {
                        // The conversation goes on as if the message had not been sent.
                        turns.pop();
                        terminal::line_to_stderr(&format!("error: {}", hints::chain(&error)));
                        terminal::line_to_stderr("try: /clear to begin anew, a shorter message, or a larger --ctx at the start");
                    }
                }
            }
        }
    }
}
