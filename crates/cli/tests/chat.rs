//! A chat, as a person at a terminal sees it.

mod common;
#[path = "common/terminal.rs"]
mod terminal;

use common::{arg, command, finish, nibble, tiny};
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
    assert!(ask(&mut chat, "/set parameter num_ctx 512").contains("try:\x1b[0m --ctx"));
    assert!(ask(&mut chat, "/show parameters").contains("top_k               7"));
    assert!(ask(&mut chat, "/show info").contains("of 1,024 tokens") || ask(&mut chat, "/show info").contains("context"));
    assert!(ask(&mut chat, "/show template").contains("message"));
    let modelfile = ask(&mut chat, "/show modelfile");
    assert!(modelfile.contains("FROM ") && modelfile.contains("PARAMETER top_k 7"), "{modelfile}");
    assert!(ask(&mut chat, "/show everything").contains("try:\x1b[0m /show info"));
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
fn a_conversation_is_kept_in_a_file() {
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("kept/fox.json");
    let mut first = chat(state.path(), &["-n", "8", "--system", "You are a fox."]);
    ask(&mut first, "Tell me a story.");
    assert!(ask(&mut first, &format!("/save {}", arg(&file))).contains("2 messages are in"));
    // A directory has no file that could be a model of the store.
    assert!(ask(&mut first, "/save fox").contains("/save chat.json"));
    let goes_on = ask(&mut first, "And then?");
    first.types("/bye");
    assert!(first.ends().success());
    // Where earlier versions kept a chat by a bare name.
    let earlier = state.path().join("nibble/chats");
    std::fs::create_dir_all(&earlier).unwrap();
    std::fs::copy(&file, earlier.join("old.json")).unwrap();
    for name in [arg(&file), "old"] {
        let mut second = chat(state.path(), &["-n", "8"]);
        assert!(ask(&mut second, "/load ./nothing.json").contains("nothing.json"));
        assert!(ask(&mut second, "/load nothing").contains("no model nothing"));
        assert!(ask(&mut second, &format!("/load {name}")).contains("2 messages"));
        assert!(ask(&mut second, "/show system").contains("You are a fox."));
        assert_eq!(ask(&mut second, "And then?").trim(), goes_on.trim());
        second.types("/bye");
        assert!(second.ends().success());
    }
    assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing half written is left");
}

#[test]
fn a_session_is_saved_as_a_model_and_loaded_again() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let with = |args: &[&str]| {
        let mut command = command(args);
        command.current_dir(dir).env("NIBBLE_MODELS", dir.join("store")).env("XDG_STATE_HOME", dir);
        command
    };
    let run = |args: &[&str]| finish(&mut with(args), None).exits(0);
    std::fs::write(dir.join("Modelfile"), format!("FROM {}\nPARAMETER top_k 9\nPARAMETER stop QQQ\nLICENSE MIT\n", arg(&tiny()))).unwrap();
    run(&["create", "base"]);
    run(&["create", "other", "--from", arg(&tiny()), "-t", "q4_0"]);
    let mut first = Terminal::start(&mut with(&["run", "base", "--temp", "0", "-n", "8"]));
    first.shows(">>> ");
    ask(&mut first, "/set system You are a fox.");
    ask(&mut first, "/set parameter min_p 0.25");
    ask(&mut first, "Tell me a story.");
    // Another model's name is not taken, and what cannot be a name is told.
    assert!(ask(&mut first, "/save other").contains("other:latest is another model already"));
    assert!(ask(&mut first, "/save a b c").contains("error"));
    assert!(ask(&mut first, "/save fox").contains("made fox:latest, with 2 messages"));
    let goes_on = ask(&mut first, "And then?");
    // The same name once more: it is the session's own.
    assert!(ask(&mut first, "/save fox").contains("with 4 messages"));
    ask(&mut first, "/clear");
    assert!(ask(&mut first, "/save short").contains("with 0 messages"));
    // Another model is loaded, and the one that cannot be leaves this one in place.
    assert!(ask(&mut first, "/load nothing").contains("no model nothing"));
    first.types("/load other");
    first.shows("loading other:latest");
    first.shows(">>> ");
    assert!(ask(&mut first, "/show info").contains("other:latest"));
    assert!(ask(&mut first, "/show system").contains("no system message"));
    // Going back shows what was said, and the settings are there again.
    first.types("/load fox");
    first.shows("loading fox:latest");
    first.shows(">>> Tell me a story.");
    first.shows(">>> And then?");
    first.shows(">>> ");
    assert!(ask(&mut first, "/show system").contains("You are a fox."));
    let shown = ask(&mut first, "/show parameters");
    for line in ["temperature         0", "top_k               9", "min_p               0.25", "num_predict         8", "\"QQQ\""] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    first.types("/bye");
    assert!(first.ends().success());
    let file = run(&["show", "fox", "--modelfile"]).stdout;
    for line in ["PARAMETER top_k 9", "PARAMETER min_p 0.25", "SYSTEM You are a fox.", "MESSAGE user Tell me a story.", "LICENSE MIT"] {
        assert!(file.contains(line), "{line}: {file}");
    }
    assert!(!file.contains("seed"), "the seed that was drawn is no setting: {file}");
    let short = run(&["show", "short", "--modelfile"]).stdout;
    assert!(short.contains("SYSTEM You are a fox.") && !short.contains("MESSAGE"), "{short}");
    run(&["verify"]).prints(&["4 models whole"]);
    // Outside of the chat too, the session goes on where it was: first the question after the first answer, then the second one.
    let json = run(&["show", "fox", "--json"]).json();
    let said = json["messages"][3]["content"].as_str().unwrap().trim().to_string();
    assert!(goes_on.contains(&said), "{said:?} in {goes_on:?}");
}

#[test]
fn a_session_of_a_file_becomes_a_model_with_a_copy_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let gguf = dir.join("m.gguf");
    nibble(&["quantize", arg(&tiny()), "-t", "q8_0", "-o", arg(&gguf)]).exits(0);
    let with = |args: &[&str]| {
        let mut command = command(args);
        command.current_dir(dir).env("NIBBLE_MODELS", dir.join("store")).env("XDG_STATE_HOME", dir);
        command
    };
    let mut chat = Terminal::start(&mut with(&["run", "m.gguf", "--temp", "0", "-n", "8"]));
    chat.shows(">>> ");
    ask(&mut chat, "Tell me a story.");
    assert!(ask(&mut chat, "/save fox").contains("made fox:latest, with 2 messages"));
    assert!(ask(&mut chat, "/save fox").contains("made fox:latest, with 2 messages"));
    chat.presses(4);
    assert!(chat.ends().success());
    std::fs::remove_file(&gguf).unwrap();
    finish(&mut with(&["run", "fox", "And then?"]), None).exits(0);
}

/// While an answer comes, a person may write the next messages; a terminal without marks for pasted text sends its lines so too.
#[test]
fn what_is_typed_ahead_is_not_lost() {
    let state = tempfile::tempdir().unwrap();
    let mut chat = chat(state.path(), &["-n", "4"]);
    chat.types("\"\"\"one\rtwo\"\"\"\r/show context\r/set verbose\r/bye");
    chat.shows("1 turns");
    assert!(chat.ends().success());
    assert!(chat.seen.contains("/set verbose"), "{}", chat.seen);
}

#[test]
fn what_is_pasted_is_one_message() {
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("pasted.json");
    let mut chat = chat(state.path(), &["-n", "4"]);
    // As a terminal sends it after the program has asked for it: between two marks, with carriage returns for line breaks.
    assert!(chat.seen.contains("\x1b[?2004h"), "the program asks for marks: {:?}", chat.seen);
    chat.types("\x1b[200~The fox ran.\rIt saw the sea.\r\r  /bye\rThe end.\x1b[201~");
    chat.shows("The end.");
    chat.shows(">>> ");
    assert!(ask(&mut chat, "/show context").contains("1 turns"));
    ask(&mut chat, &format!("/save {}", arg(&file)));
    chat.types("/bye");
    assert!(chat.ends().success());
    let saved: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(saved["messages"][0]["content"], "The fox ran.\nIt saw the sea.\n\n  /bye\nThe end.");
}

/// A store with a model whose template begins a thought where it is asked to.
fn thinker(dir: &std::path::Path) {
    let config: serde_json::Value = serde_json::from_slice(&std::fs::read(tiny().join("tokenizer_config.json")).unwrap()).unwrap();
    let own = match config["chat_template"].as_str() {
        Some(text) => text.to_string(),
        None => std::fs::read_to_string(tiny().join("chat_template.jinja")).unwrap(),
    };
    let template = format!("{own}{{% if enable_thinking is defined and enable_thinking %}}<think>{{% endif %}}");
    std::fs::write(dir.join("Modelfile"), format!("FROM {}\nTEMPLATE \"\"\"{template}\"\"\"\n", arg(&tiny()))).unwrap();
    finish(command(&["create", "thinker"]).current_dir(dir).env("NIBBLE_MODELS", dir.join("store")), None).exits(0);
}

#[test]
fn thoughts_are_shown_apart_and_are_no_part_of_the_conversation() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    thinker(dir);
    let with = |args: &[&str]| {
        let mut command = command(args);
        command.current_dir(dir).env("NIBBLE_MODELS", dir.join("store")).env("XDG_STATE_HOME", dir);
        command
    };
    let once = |more: &[&str]| finish(&mut with(&[&["run", "thinker", "Hello", "--temp", "0", "-n", "6"], more].concat()), None);
    // The model never ends the thought that its template has begun, so there is no answer.
    let thought = once(&["--think", "--json"]).exits(0).json();
    assert!(thought["text"] == "" && thought["thinking"].as_str().is_some_and(|text| !text.is_empty()), "{thought}");
    let plain = once(&["--think"]).exits(0).stdout;
    assert!(plain.starts_with("Thinking...\n") && plain.contains(thought["thinking"].as_str().unwrap()), "{plain}");
    assert_eq!(once(&["--think=high", "--hidethinking"]).exits(0).stdout.trim(), "");
    let at_once = once(&["--think=false", "--json"]).exits(0).json();
    assert!(at_once.get("thinking").is_none() && at_once["text"] != "", "{at_once}");
    assert_eq!(once(&["--json"]).exits(0).json()["text"], at_once["text"], "by itself the template does not begin a thought");
    once(&["--think=much"]).exits(2).says(&["low, medium or high"]);
    // A thought follows no format, and what comes of it does not reach a program that wants the format.
    let five = ["--format", "{\"const\": 5}", "--json"];
    let thought = once(&[&["--think"], &five[..]].concat()).exits(1).says(&["cut before it followed --format"]).json();
    assert!(thought["text"] == "" && thought["thinking"].as_str().is_some_and(|text| text.len() > 5), "{thought}");
    assert_eq!(once(&["--think", "--format", "{\"const\": 5}"]).exits(1).stdout.trim(), "");
    for more in [&["--think=false"][..], &[]] {
        let plain = once(&[more, &five[..]].concat()).exits(0).json();
        assert!(plain["text"] == "5" && plain.get("thinking").is_none(), "{plain}");
    }
    let tiny = tiny();
    nibble(&["run", arg(&tiny), "--think", "Hello"]).exits(1).says(&["cannot be asked to think", "try: "]);
    // In a chat.
    let mut chat = Terminal::start(&mut with(&["run", "thinker", "--temp", "0", "-n", "6"]));
    chat.shows(">>> ");
    assert!(!ask(&mut chat, "Hello").contains("Thinking"));
    ask(&mut chat, "/set think");
    let dimmed = ask(&mut chat, "Hello");
    assert!(dimmed.contains("\x1b[2mThinking..."), "{dimmed:?}");
    ask(&mut chat, "/set nothink");
    assert!(!ask(&mut chat, "Hello").contains("Thinking"));
    ask(&mut chat, "/save ./said.json");
    chat.types("/bye");
    assert!(chat.ends().success());
    let saved: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.join("said.json")).unwrap()).unwrap();
    assert_eq!(saved["messages"][3]["content"], "", "what was thought is not said");
    let mut plain = Terminal::start(with(&["run", "thinker", "--temp", "0", "-n", "6", "--think"]).env("NO_COLOR", "1"));
    plain.shows(">>> ");
    assert!(!ask(&mut plain, "Hello").contains("\x1b[2m"));
    plain.presses(4);
    assert!(plain.ends().success());
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
