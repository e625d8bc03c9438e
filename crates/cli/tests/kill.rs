//! kill -9 at random moments of pull, create and rm: the store is always sound, and what was begun can be ended. `NIBBLE_KILLS` says how often (30).

mod common;
#[path = "../../store/tests/hub/mod.rs"]
mod hub;

use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use common::{Outcome, command, finish};
use hub::{Hub, gguf};
use nibble_store::{Name, Store};

static GO_ON: AtomicBool = AtomicBool::new(false);

fn nibble(dir: &Path, hub: &Hub, args: &[&str]) -> std::process::Command {
    let mut command = command(args);
    command.current_dir(dir).env("NIBBLE_MODELS", dir.join("store")).env_remove("HF_HUB_OFFLINE").env("HF_ENDPOINT", hub.endpoint());
    command
}

fn run(dir: &Path, hub: &Hub, args: &[&str]) -> Outcome {
    finish(&mut nibble(dir, hub, args), None)
}

/// SplitMix64: the same moments, as parts of the time that a command takes, in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn kill(mut child: Child) -> bool {
    let over = child.try_wait().expect("waits").is_some();
    let _ = child.kill();
    let _ = child.wait();
    !over
}

/// What must hold after every sudden death.
fn is_sound(store: &Store, moment: &str) {
    let verified = store.verify(false, &mut |_| {}, &GO_ON).expect("verifies");
    assert!(verified.is_sound(), "{moment}: {verified:?}");
    let listing = store.list().expect("lists");
    assert!(listing.faults.is_empty(), "{moment}: {:?}", listing.faults);
    for model in listing.models {
        let entry = store.resolve(&model.name).unwrap_or_else(|error| panic!("{moment}: {error}"));
        nibble_container::Checkpoint::open(&entry.model).unwrap_or_else(|error| panic!("{moment}: {error}"));
    }
}

#[test]
fn the_store_is_sound_whenever_a_process_dies() {
    let kills: usize = std::env::var("NIBBLE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(30);
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let hub = Hub::start();
    let weights = gguf(1, 9 << 20);
    hub.put("org/repo/m-Q4_K_M.gguf", weights.clone());
    // So that there are many moments in which a pull can die.
    hub.faults(|faults| faults.throttle = Some((256 << 10, Duration::from_millis(10))));
    std::fs::write(dir.join("m.gguf"), gguf(2, 6 << 20)).unwrap();
    std::fs::write(dir.join("Modelfile"), "FROM ./m.gguf\nSYSTEM Be brief.\nPARAMETER stop x\n").unwrap();
    let store = Store::open(dir.join("store")).unwrap();
    let commands: [&[&str]; 3] = [&["pull", "org/repo", "--quiet"], &["create", "made", "--quiet"], &["rm", "made", "--quiet"]];
    let made: Name = "made".parse().unwrap();
    let pulled: Name = "hf.co/org/repo:Q4_K_M".parse().unwrap();
    // How long each takes when nobody disturbs it.
    let mut times = [Duration::ZERO; 3];
    for (time, args) in times.iter_mut().zip(commands) {
        let start = Instant::now();
        run(dir, &hub, args).exits(0);
        *time = start.elapsed();
    }
    store.remove(&pulled).unwrap();
    let mut random = Random(20_261_128);
    let mut killed = [0; 3];
    let mut resumed = 0;
    for round in 0..kills {
        let which = round % 3;
        // What the command needs to have something to do.
        match which {
            0 if store.find(&pulled).is_ok() => drop(store.remove(&pulled).unwrap()),
            2 if store.find(&made).is_err() => drop(run(dir, &hub, commands[1]).exits(0)),
            _ => {}
        }
        let moment = times[which].mul_f64(random.fraction());
        let child = nibble(dir, &hub, commands[which]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(moment);
        killed[which] += usize::from(kill(child));
        let words = format!("round {round}, {:?} after {moment:?}", commands[which]);
        is_sound(&store, &words);
        let partial = store.verify(false, &mut |_| {}, &GO_ON).unwrap().partial;
        // Now and then it is gone on with at once, else the next one finds what this one left.
        if random.next().is_multiple_of(3) {
            // A request that the dead one sent may still be on its way.
            hub.settle();
            let before = hub.served();
            let outcome = run(dir, &hub, commands[which]);
            match which {
                2 => assert!(outcome.code == Some(0) || outcome.stderr.contains("no model made"), "{words}: {}", outcome.stderr),
                _ => drop(outcome.exits(0)),
            }
            is_sound(&store, &words);
            if which == 0
                && let Some((_, there)) = partial.first()
            {
                assert!(hub.served() - before <= weights.len() as u64 - there + 1, "{words}: what was there is not fetched again");
                resumed += usize::from(*there > 0);
            }
        }
    }
    for args in &commands[..2] {
        run(dir, &hub, args).exits(0);
    }
    assert_eq!(std::fs::read(store.resolve(&pulled).unwrap().model).unwrap(), weights);
    run(dir, &hub, &["verify", "--repair"]).exits(0);
    let verified = store.verify(false, &mut |_| {}, &GO_ON).unwrap();
    assert!(verified.is_sound() && verified.models.len() == 2 && verified.unused.is_empty() && verified.partial.is_empty(), "{verified:?}");
    run(dir, &hub, &["rm", "made", "org/repo"]).exits(0);
    for folder in ["blobs", "staging", "downloads", "manifests"] {
        let left = common::files_below(&dir.join("store").join(folder));
        assert!(left.is_empty(), "{folder}: {left:?}");
    }
    println!("killed in the middle: {} of {kills} pull, create and rm {killed:?}; {resumed} pulls went on", killed.iter().sum::<usize>());
    assert!(killed[0] > 0 && killed[1] > 0, "no command was ever in the middle of its work: {killed:?}");
}

#[test]
fn two_processes_at_once_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let hub = Hub::start();
    let weights = gguf(3, 5 << 20);
    hub.put("org/repo/m-Q4_K_M.gguf", weights.clone());
    hub.put("org/repo/m-Q8_0.gguf", gguf(4, 1 << 20));
    hub.faults(|faults| faults.throttle = Some((256 << 10, Duration::from_millis(5))));
    let lines: [&[&str]; 4] = [
        &["pull", "org/repo"],
        &["pull", "org/repo", "--name", "other"],
        &["pull", "org/repo:q8_0"],
        &["pull", "org/repo:q8_0", "--name", "big"],
    ];
    let children: Vec<Child> =
        lines.iter().map(|args| nibble(dir, &hub, args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let store = Store::open(dir.join("store")).unwrap();
    is_sound(&store, "four at once");
    assert_eq!(store.names().unwrap().len(), 4);
    assert!(hub.served() <= weights.len() as u64 + gguf(4, 1 << 20).len() as u64 + 4, "each file is fetched once: {}", hub.served());
}

/// A run that dies leaves what it had written. The next one to the same output removes it and says so; what others write stays.
#[cfg(unix)]
#[test]
fn what_a_killed_run_has_left_goes_with_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let tiny = common::tiny();
    // gptq works for a while on what it has begun to write.
    let args = ["quantize", common::arg(&tiny), "-t", "q4_0", "--method", "gptq", "-o", "out.gguf", "--threads", "1"];
    let partial = || {
        let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("out.gguf.partial-")).collect::<Vec<String>>()
    };
    let mut child = command(&args).current_dir(dir).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while partial().is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it wrote anything");
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(kill(child), "it was not over");
    assert_eq!(partial().len(), 1);
    let _other = nibble_container::whole::AtomicFile::create(dir.join("out.gguf")).unwrap();
    std::fs::write(dir.join("out.gguf.partial-1-0"), [0; 2048]).unwrap();
    let quick = ["quantize", common::arg(&tiny), "-t", "q4_0", "-o", "out.gguf"];
    finish(command(&quick).current_dir(dir), None).exits(0).says(&["removed what", "killed", "beside the output"]);
    assert_eq!(partial().len(), 1, "that of this process, which is at work");
    let again = finish(command(&[&quick[..], &["--force"]].concat()).current_dir(dir), None).exits(0);
    assert!(!again.stderr.contains("removed"), "{}", again.stderr);
}
