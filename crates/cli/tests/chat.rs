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
