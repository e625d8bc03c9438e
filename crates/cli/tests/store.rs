//! The store's commands end to end: pull, list, show, create, cp, rm, verify, and a name of the store wherever MODEL stands.

mod common;
#[path = "../../store/tests/hub/mod.rs"]
mod hub;

use std::path::Path;
use std::process::Command;

use common::{Outcome, arg, command, finish, nibble, tiny};
use hub::{Hub, gguf};

/// The program with a store of its own and a stand-in for the hub.
fn with(dir: &Path, hub: Option<&Hub>, args: &[&str]) -> Command {
    let mut command = command(args);
    command.current_dir(dir).env("NIBBLE_MODELS", dir.join("store")).env("HF_HOME", dir.join("hf"));
    if let Some(hub) = hub {
        command.env_remove("HF_HUB_OFFLINE").env("HF_ENDPOINT", hub.endpoint());
    }
    command
}

fn run(dir: &Path, hub: Option<&Hub>, args: &[&str]) -> Outcome {
    finish(&mut with(dir, hub, args), None)
}

/// Files in an archive's place, a directory that is not there, a model that is not there to go: each says what to do instead.
#[test]
fn usual_mistakes_with_models_get_their_own_words() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = scratch.path();
    std::fs::write(dir.join("m.gguf"), gguf(7, 20_000)).unwrap();
    std::fs::write(dir.join("notes.txt"), "hello").unwrap();
    run(dir, None, &["unpack", "m.gguf"])
        .exits(1)
        .says(&["m.gguf is a GGUF file, not an archive", "try: nibble create NAME --from m.gguf"]);
    run(dir, None, &["unpack", "notes.txt"]).exits(1).says(&["notes.txt is not a ZIP archive"]);
    run(dir, None, &["create", "story", "--from", "m.gguf"]).exits(0);
    run(dir, None, &["pack", "story", "-o", "new/x.zip"]).exits(1).says(&["new/x.zip: ", "try: mkdir -p new"]);
    run(dir, None, &["rm", "stroy"]).exits(1).says(&["no model stroy:latest", "try: story:latest"]);
    let gone = run(dir, None, &["rm", "quite-another"]).exits(1).says(&["try: nibble list shows"]);
    assert!(!gone.stderr.contains("pull"), "{}", gone.stderr);
    std::fs::write(dir.join("cut.gguf"), &gguf(7, 20_000)[..9_000]).unwrap();
    run(dir, None, &["inspect", "cut.gguf"]).exits(1).says(&["cut.gguf: ", "try: download or copy it again"]);
    run(dir, None, &["create", "cut", "--from", "cut.gguf"]).exits(1).says(&["try: download or copy it again"]);
}

#[test]
fn a_proxy_is_gone_through_unless_the_host_is_excepted() {
    let dir = tempfile::tempdir().unwrap();
    let hub = Hub::start();
    hub.put("org/repo/m-Q4_K_M.gguf", gguf(1, 50_000));
    // A name that nobody but the proxy knows.
    let pull = |variables: &[(&str, &str)]| {
        let mut command = with(dir.path(), None, &["pull", "org/repo"]);
        command.env_remove("HF_HUB_OFFLINE").env("HF_ENDPOINT", "http://hub.invalid");
        variables.iter().for_each(|(name, value)| _ = command.env(name, value));
        finish(&mut command, None)
    };
    pull(&[("HTTP_PROXY", &hub.endpoint()), ("NO_PROXY", "hub.invalid")]).exits(1).says(&["hub.invalid", "try: "]);
    assert!(hub.state.connects.lock().unwrap().is_empty());
    pull(&[("HTTP_PROXY", &hub.endpoint())]).exits(0).says(&["hf.co/org/repo:Q4_K_M"]);
    let connects = hub.state.connects.lock().unwrap();
    assert!(!connects.is_empty() && connects.iter().all(|host| host == "hub.invalid:80"), "{connects:?}");
}

#[test]
fn a_model_is_pulled_listed_shown_copied_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let hub = Hub::start();
    hub.put("org/repo/m-Q4_K_M.gguf", gguf(1, 100_000));
    hub.put("org/repo/m-Q8_0.gguf", gguf(2, 200_000));
    run(dir, None, &["list"]).exits(0).says(&["no models yet"]);
    run(dir, Some(&hub), &["pull", "org/repo"]).exits(0).says(&["hf.co/org/repo:Q4_K_M", "nibble run"]);
    run(dir, Some(&hub), &["pull", "org/repo:q8_0", "--name", "big"]).exits(0);
    run(dir, Some(&hub), &["pull", "org/repo:q3_k_s"]).exits(1).says(&["no GGUF file of type q3_k_s", "try: Q4_K_M, Q8_0"]);
    run(dir, Some(&hub), &["pull", "org/none"]).exits(1).says(&["no such repository"]);
    run(dir, None, &["pull", "org/repo"]).exits(1).says(&["offline mode is on", "try: unset HF_HUB_OFFLINE"]);
    let list = run(dir, None, &["list", "--json"]).exits(0).json();
    assert_eq!((list[0]["name"].as_str(), list[1]["name"].as_str()), (Some("big:latest"), Some("hf.co/org/repo:Q4_K_M")));
    assert_eq!(list[1]["details"]["quantization_level"], "Q4_K_M");
    assert_eq!(run(dir, None, &["ls", "--json"]).exits(0).json(), list);
    run(dir, None, &["run", "llama3.2"]).exits(1).says(&["llama3.2 does not exist", "nibble pull llama3.2"]);
    run(dir, None, &["list", "ORG"]).exits(0).prints(&["NAME", "hf.co/org/repo:Q4_K_M", "98.1 KiB", " ago"]);
    run(dir, None, &["show", "org/repo"]).exits(0).prints(&["architecture", "llama", "context length", "2,048"]);
    let path = run(dir, None, &["show", "big", "--path"]).exits(0).stdout;
    assert_eq!(std::fs::read(path.trim_end()).unwrap(), gguf(2, 200_000));
    run(dir, None, &["cp", "org/repo", "small"]).exits(0).says(&["hf.co/org/repo:Q4_K_M is small:latest too"]);
    run(dir, None, &["verify"]).exits(0).prints(&["3 models whole"]);
    run(dir, None, &["rm", "org/repo", "nothing"]).exits(1).says(&["no model nothing:latest in the store"]);
    run(dir, None, &["rm", "org/repo", "small"]).exits(0).says(&["removed small:latest, 98"]);
    run(dir, None, &["inspect", "big"]).exits(0).prints(&["llama"]);
    run(dir, None, &["inspect", "bgi"]).exits(1).says(&["bgi does not exist", "try: big:latest"]);
    run(dir, None, &["inspect", "org/other"]).exits(1).says(&["nibble pull org/other"]);
    let blob = std::path::PathBuf::from(path.trim_end());
    std::fs::write(&blob, b"damaged").unwrap();
    run(dir, None, &["verify"]).exits(1).prints(&["of big:latest: 7 bytes"]).says(&["the store is not sound", "nibble verify --repair"]);
    run(dir, None, &["verify", "--repair", "--json"]).exits(1);
    run(dir, None, &["show", "big"]).exits(1).says(&["though big:latest is made of it", "try: nibble pull"]);
    run(dir, Some(&hub), &["pull", "org/repo:q8_0", "--name", "big"]).exits(0);
    run(dir, None, &["verify"]).exits(0).prints(&["1 model whole"]);
}

#[test]
fn the_token_is_found_where_the_hubs_own_tools_keep_it() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let hub = Hub::start();
    hub.put("org/repo/m-Q4_K_M.gguf", gguf(1, 1000));
    hub.faults(|faults| faults.token = Some("hf_abc".into()));
    run(dir, Some(&hub), &["pull", "org/repo"]).exits(1).says(&["or one that only a token opens", "HF_TOKEN"]);
    let pull = |name: &str, value: &str| finish(with(dir, Some(&hub), &["pull", "org/repo"]).env(name, value), None);
    pull("HF_TOKEN", "hf_wrong").exits(1).says(&["the one given is not accepted"]);
    pull("HF_TOKEN", " hf_abc\n").exits(0);
    std::fs::write(dir.join("token"), "hf_abc\n").unwrap();
    pull("HF_TOKEN_PATH", arg(&dir.join("token"))).exits(0);
    pull("HF_HOME", arg(dir)).exits(0);
    run(dir, Some(&hub), &["pull", "org/repo"]).exits(1);
    hub.faults(|faults| (faults.token, faults.gated) = (None, true));
    run(dir, None, &["rm", "org/repo"]).exits(0);
    run(dir, Some(&hub), &["pull", "org/repo"]).exits(1).says(&["access is denied (403)", "accept the terms at http://127.0.0.1"]);
}

#[test]
fn a_checkpoint_is_quantized_on_the_way_and_runs_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let hub = Hub::start();
    for entry in std::fs::read_dir(tiny()).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        hub.put(&format!("org/tiny/{name}"), std::fs::read(entry.path()).unwrap());
        // Only weights are kept outside of git.
        hub.change(&format!("org/tiny/{name}"), |file| file.lfs = name.ends_with(".safetensors"));
    }
    run(dir, Some(&hub), &["pull", "org/tiny:q8_0", "--name", "tiny", "--keep-checkpoint", "kept"]).exits(0).says(&["tiny:latest", "Q8_0"]);
    assert_eq!(std::fs::read(dir.join("kept/model.safetensors")).unwrap(), std::fs::read(tiny().join("model.safetensors")).unwrap());
    assert!(!dir.join("kept/README.md").exists());
    let quantized = dir.join("direct.gguf");
    nibble(&["quantize", arg(&tiny()), "-t", "q8_0", "-o", arg(&quantized)]).exits(0);
    let path = run(dir, None, &["show", "tiny", "--path"]).exits(0).stdout;
    assert!(std::fs::read(path.trim_end()).unwrap() == std::fs::read(&quantized).unwrap(), "the same bytes as nibble quantize writes");
    let prompt = ["Once upon a time", "-n", "8", "--temp", "0"];
    let by_name = run(dir, None, &[&["run", "tiny"][..], &prompt].concat()).exits(0).stdout;
    let by_path = nibble(&[&["run", arg(&quantized)][..], &prompt].concat()).exits(0).stdout;
    assert_eq!(by_name, by_path);
    run(dir, None, &["quantize", "tiny", "-t", "q4_0", "--allow-requantize"]).exits(0).prints(&["tiny-Q4_0.gguf"]);
    run(dir, None, &["verify"]).exits(0).prints(&["1 model whole"]);
    assert_eq!(std::fs::read_dir(dir.join("store/downloads")).unwrap().count(), 0);
}

#[test]
fn a_modelfile_is_made_into_a_model_and_printed_again() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(dir.join("m.gguf"), gguf(1, 5000)).unwrap();
    std::fs::write(dir.join("Modelfile"), "FROM ./m.gguf\nPARAMETER stop \"<|x|>\"\nSYSTEM \"\"\"Be\nbrief.\"\"\"\nLICENSE MIT\n").unwrap();
    run(dir, None, &["create", "mine"]).exits(0).says(&["made mine:latest"]);
    let printed = run(dir, None, &["show", "mine", "--modelfile"])
        .exits(0)
        .prints(&["SYSTEM \"\"\"Be\nbrief.\"\"\"\n", "PARAMETER stop <|x|>\n"])
        .stdout;
    finish(&mut with(dir, None, &["create", "again", "-f", "-"]), Some(printed.as_bytes())).exits(0);
    assert_eq!(run(dir, None, &["show", "again", "--modelfile"]).exits(0).stdout, printed);
    run(dir, None, &["show", "again", "--system"]).exits(0).prints(&["Be\nbrief.\n"]);
    run(dir, None, &["show", "again", "--parameters"]).exits(0).prints(&["stop <|x|>\n"]);
    run(dir, None, &["create", "tiny", "--from", arg(&tiny()), "-t", "q4_0"]).exits(0).says(&["Q4_0"]);
    run(dir, None, &["create", "x", "--from", arg(&tiny()), "-t", "q9"]).exits(1).says(&["q9 is no type of GGUF files", "try: q4_k_m"]);
    run(dir, None, &["create", "x", "-f", "none"]).exits(1).says(&["none: ", "--from MODEL"]);
    std::fs::write(dir.join("bad"), "FROM ./m.gguf\nPARAMTER x 1\n").unwrap();
    run(dir, None, &["create", "x", "-f", "bad"]).exits(1).says(&["bad line 2: \"PARAMTER\" is no command; did you mean PARAMETER?"]);
    std::fs::write(dir.join("bad"), "FROM ./m.gguf\nPARAMETER temprature 1\n").unwrap();
    run(dir, None, &["create", "x", "-f", "bad"]).exits(1).says(&["bad line 2: no parameter temprature; did you mean temperature?"]);
    run(dir, None, &["create", "x", "-f", "."]).exits(1).says(&["try: -f ./Modelfile"]);
    // A file that is not there is not looked for among the models.
    run(dir, None, &["create", "x", "--from", "n.gguf"]).exits(1).says(&["n.gguf: cannot open", "try: m.gguf"]);
    run(dir, None, &["show", "mien"]).exits(1).says(&["try: mine:latest"]);
    run(dir, None, &["create", "../x"]).exits(1).says(&["\"..\" is no valid namespace"]);
}

#[test]
fn a_model_is_packed_and_taken_in_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(dir.join("m.gguf"), gguf(1, 50_000)).unwrap();
    std::fs::write(dir.join("Modelfile"), "FROM ./m.gguf\nSYSTEM Be brief.\n").unwrap();
    run(dir, None, &["create", "mine"]).exits(0);
    run(dir, None, &["pack", "mine"]).exits(0).says(&["mine.zip", "nibble unpack takes it in"]);
    run(dir, None, &["pack", "mine"]).exits(1).says(&["mine.zip exists already", "--force"]);
    run(dir, None, &["pack", "m.gguf", "-o", "file.zip"]).exits(0);
    std::fs::create_dir(dir.join("out")).unwrap();
    run(dir, None, &["pack", "mine", "-o", "out"]).exits(0).says(&["out/mine.zip"]);
    run(dir, None, &["pack", "mine", "-o", "out"]).exits(1).says(&["out/mine.zip exists already"]);
    run(dir, None, &["pack", "mine", "-o", "no/"]).exits(1).says(&["no/: there is no directory no/", "try: mkdir -p no/"]);
    let whole = std::fs::read(dir.join("mine.zip")).unwrap();
    std::fs::write(dir.join("cut.zip"), &whole[..whole.len() / 2]).unwrap();
    run(dir, None, &["unpack", "cut.zip"]).exits(1).says(&["cut.zip: the end of the archive is missing: it is cut short"]);
    run(dir, None, &["unpack", "mime.zip"]).exits(1).says(&["mime.zip: cannot open", "try: mine.zip"]);
    run(dir, None, &["pack", "none"]).exits(1).says(&["none does not exist"]);
    let mut there = with(dir, None, &["unpack", "mine.zip"]);
    finish(there.env("NIBBLE_MODELS", dir.join("there")), None).exits(0).says(&["mine:latest"]);
    finish(with(dir, None, &["show", "mine", "--system"]).env("NIBBLE_MODELS", dir.join("there")), None).exits(0).prints(&["Be brief."]);
    run(dir, None, &["unpack", "file.zip", "other:v1"]).exits(0).says(&["other:v1"]);
    run(dir, None, &["unpack", "m.gguf"]).exits(1).says(&["m.gguf is a GGUF file"]);
    run(dir, None, &["pull", "none.gguf"]).exits(1).says(&["none.gguf: cannot open"]);
}
