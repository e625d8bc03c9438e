//! A chat, as a person at a terminal sees it.

mod common;
#[path = "common/terminal.rs"]
mod terminal;

use common::{arg, command, tiny};
use nix::sys::signal::Signal;
use terminal::Terminal;

#[test]
fn a_chat_answers_remembers_and_leaves() {
    let state = tempfile::tempdir().unwrap();
    let mut chat =
        Terminal::start(command(&["run", arg(&tiny()), "--temp", "0", "-n", "8", "--verbose"]).env("XDG_STATE_HOME", state.path()));
    chat.shows(">>> ");
    chat.types("/help");
    chat.shows("/system TEXT");
    chat.shows(">>> ");
    chat.types("Tell me a story.");
    chat.shows("\n");
    // What it says depends on the model, the line about the time does not.
    let first = chat.shows("prompt ");
    chat.shows("(0 known)");
    chat.shows(">>> ");
    // A line that goes on.
    chat.types("One \\");
    chat.shows("... ");
    chat.types("two");
    chat.shows("prompt ");
    // The first turn has not been read again.
    let known: usize = chat.shows(" known)").rsplit('(').next().unwrap().parse().unwrap();
    assert!(known > 10, "{known} tokens known");
    chat.shows(">>> ");
    // After /clear the same question gets the same answer.
    chat.types("/clear");
    chat.shows(">>> ");
    chat.types("Tell me a story.");
    chat.shows("\n");
    assert_eq!(chat.shows("prompt ").trim(), first.trim());
    chat.shows(">>> ");
    chat.types("/system You are a fox.");
    chat.shows(">>> ");
    chat.types("/system");
    chat.shows("You are a fox.");
    chat.shows(">>> ");
    chat.types("/nonsense");
    chat.shows("/nonsense");
    chat.shows(">>> ");
    chat.types("/bye");
    assert!(chat.ends().success());
    let history = std::fs::read_to_string(state.path().join("nibble/history")).unwrap();
    assert!(history.contains("Tell me a story."), "{history}");
}

#[test]
fn ctrl_c_stops_the_answer_and_keeps_the_chat() {
    let state = tempfile::tempdir().unwrap();
    // A stop text that never comes and a raised temperature keep the answer going for a while.
    let mut chat =
        Terminal::start(command(&["run", arg(&tiny()), "--raw", "--temp", "2", "--seed", "3"]).env("XDG_STATE_HOME", state.path()));
    chat.shows(">>> ");
    chat.types("Once upon a time");
    chat.shows("\n");
    chat.signals(Signal::SIGINT);
    chat.shows(">>> ");
    chat.presses(4); // Ctrl-D
    assert!(chat.ends().success());
}

/// A chat at temperature 0 with state of its own.
fn chat(state: &std::path::Path, more: &[&str]) -> Terminal {
    let tiny = tiny();
    let mut args = vec!["run", arg(&tiny), "--temp", "0"];
    args.extend(more);
    let mut chat = Terminal::start(command(&args).env("XDG_STATE_HOME", state));
    chat.shows(">>> ");
    chat
}

/// Types a line and gives what is shown up to the next prompt.
#[track_caller]
fn ask(chat: &mut Terminal, line: &str) -> String {
    chat.types(line);
    chat.shows("\n");
    chat.shows(">>> ")
}

#[test]
fn settings_are_set_and_shown() {
    let state = tempfile::tempdir().unwrap();
    let mut chat = chat(state.path(), &["-n", "6", "--stop", "ZZZ"]);
    ask(&mut chat, "/set parameter top_k 7");
    ask(&mut chat, "/set parameter stop QQQ");
    let shown = ask(&mut chat, "/show parameters");
    for line in [
        "temperature         0",
        "top_k               7",
        "num_predict         6",
        "stop                \"ZZZ\"",
        "stop                \"QQQ\"",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    assert!(ask(&mut chat, "/set parameter top_p 7").contains("top-p is 7"));
    assert!(ask(&mut chat, "/set parameter nonsense 7").contains("nonsense"));
    assert!(ask(&mut chat, "/set parameter num_ctx 512").contains("try: --ctx"));
    assert!(ask(&mut chat, "/show parameters").contains("top_k               7"));
    assert!(ask(&mut chat, "/show info").contains("of 1,024 tokens") || ask(&mut chat, "/show info").contains("context"));
    assert!(ask(&mut chat, "/show template").contains("message"));
    assert!(ask(&mut chat, "/show everything").contains("try: /show info"));
    assert!(ask(&mut chat, "/help save").contains("/save NAME"));
    ask(&mut chat, "/set verbose");
    assert!(ask(&mut chat, "Hello").contains("tokens of context in use"));
    ask(&mut chat, "/set quiet");
    assert!(!ask(&mut chat, "Hello").contains("tokens/s"));
    assert!(ask(&mut chat, "/show context").contains("2 turns"));
    chat.types("/bye");
    assert!(chat.ends().success());
}

#[test]
fn a_format_holds_until_it_is_taken_back() {
    let state = tempfile::tempdir().unwrap();
    let mut chat = chat(state.path(), &[]);
    ask(&mut chat, "/set format {\"enum\": [\"owl\", \"hare\"]}");
    let said = ask(&mut chat, "Who are you?");
    assert!(said.contains("\"owl\"") || said.contains("\"hare\""), "{said}");
    assert!(ask(&mut chat, "/set format {\"uniqueItems\": true}").contains("uniqueItems"));
    ask(&mut chat, "/set parameter num_predict 8");
    ask(&mut chat, "/set noformat");
    let free = ask(&mut chat, "Who are you?");
    assert!(!free.contains("\"owl\"") && !free.contains("\"hare\""), "{free}");
    chat.presses(4);
    assert!(chat.ends().success());
}

#[test]
fn messages_of_several_lines_and_other_answers() {
    let state = tempfile::tempdir().unwrap();
    let mut chat = chat(state.path(), &["-n", "8"]);
    assert!(ask(&mut chat, "/retry").contains("no message"));
    let first = ask(&mut chat, "Tell me a story.");
    assert_eq!(ask(&mut chat, "/retry").trim(), first.trim());
    chat.types("\"\"\"One");
    chat.shows("... ");
    chat.types("two\"\"\"");
    chat.shows(">>> ");
    assert!(ask(&mut chat, "/show context").contains("2 turns"));
    chat.types("/bye");
    assert!(chat.ends().success());
}

#[test]
fn a_chat_is_saved_and_gone_on_with() {
    let state = tempfile::tempdir().unwrap();
    let mut first = chat(state.path(), &["-n", "8", "--system", "You are a fox."]);
    ask(&mut first, "Tell me a story.");
    assert!(ask(&mut first, "/save fox").contains("2 messages are in"));
    let goes_on = ask(&mut first, "And then?");
    first.types("/bye");
    assert!(first.ends().success());
    let mut second = chat(state.path(), &["-n", "8"]);
    assert!(ask(&mut second, "/load nothing").contains("nothing.json"));
    assert!(ask(&mut second, "/load fox").contains("2 messages"));
    assert!(ask(&mut second, "/show system").contains("You are a fox."));
    assert_eq!(ask(&mut second, "And then?").trim(), goes_on.trim());
    second.types("/bye");
    assert!(second.ends().success());
    assert_eq!(std::fs::read_dir(state.path().join("nibble/chats")).unwrap().count(), 1, "nothing half written is left");
}

#[test]
fn a_full_context_is_said_and_nothing_is_dropped_unasked() {
    let state = tempfile::tempdir().unwrap();
    let long = "The fox went over the hill and saw the sea. ".repeat(4);
    // Stop: the message that does not fit is not sent, the chat stays.
    let mut stop = chat(state.path(), &["-n", "8", "--ctx", "200"]);
    let mut full = String::new();
    for _ in 0..30 {
        full = ask(&mut stop, "The fox saw it.");
        if full.contains("the context is full") {
            break;
        }
    }
    assert!(full.contains("it was not sent") && full.contains("--overflow shift"), "{full}");
    assert!(stop.seen.contains("tokens of context in use"), "a warning came first");
    ask(&mut stop, "/clear");
    assert!(!ask(&mut stop, "Hello").contains("error"));
    stop.types("/bye");
    assert!(stop.ends().success());
    // Shift: the oldest turns go, and it is said.
    let mut shift = chat(state.path(), &["-n", "8", "--ctx", "200", "--overflow", "shift", "--system", "You are a fox."]);
    let said: Vec<String> = (0..6).map(|_| ask(&mut shift, &long)).collect();
    assert!(said.iter().any(|s| s.contains("dropped")) && said.iter().all(|s| !s.contains("error")), "{said:?}");
    assert!(ask(&mut shift, "/show system").contains("You are a fox."));
    shift.types("/bye");
    assert!(shift.ends().success());
    // Error: the chat ends.
    let mut error = chat(state.path(), &["-n", "8", "--ctx", "40", "--overflow", "error"]);
    error.types(&long);
    error.shows("the context is full");
    assert_eq!(error.ends().code(), Some(1));
}
