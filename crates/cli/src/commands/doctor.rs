//! `nibble doctor`: what this device can do, what will fit, and what may be in the way.

mod shapes;

use std::path::Path;

use anyhow::Result;
use clap::{ArgMatches, Args, FromArgMatches};
use nibble_engine::pool::cores::Cores;
use nibble_engine::source::Source;
use nibble_engine::{Adapter, KvType, memory};
use nibble_evaluate::limits::{self, Limits};
use nibble_evaluate::machine::Machine;
use nibble_kernels::Isa;
use serde_json::json;

use super::Row;
use crate::terminal::{self, Console};
use crate::{adapters, hints, models, units};

/// The row of COMMANDS.
pub const ROW: Row = Row {
    name: "doctor",
    about: "Look at this device: processor, memory, disk, what fits, what is in the way",
    details: "The read bandwidth and the peak of 8-bit multiplications are measured for two seconds, with the threads that nibble would use: generating a token \
              reads every weight once, so bandwidth divided by a model's bytes is the most tokens a second. Of each model of the store it says how long a \
              context fits into the memory that is free now, with its adapters in memory where it has some, and of models that many have it says so before \
              one is fetched: these sizes are computed from the numbers of each one's config.json.",
    examples: &[
        ("what can this device do", "nibble doctor"),
        ("for a bug report or a script", "nibble doctor --json"),
        ("without measuring", "nibble doctor --no-limits"),
    ],
    args: |command| Options::augment_args(command),
    run,
};

// The command line of `doctor`. No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug)]
#[allow(missing_docs)]
struct Options {
    /// Do not measure bandwidth and multiplications
    #[arg(long)]
    no_limits: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How long a context of a model fits.
struct Fit {
    name: String,
    weights: u64,
    /// Bytes of the adapters that it comes with.
    adapters: u64,
    contexts: Contexts,
}

/// The types of cache that are looked at.
const CACHES: [KvType; 2] = [KvType::F16, KvType::Q8_0];

/// A type of cache, and the tokens that fit; none where not even the weights do.
type Contexts = Vec<(KvType, Option<u64>)>;

fn run(matches: &ArgMatches, console: &Console) -> Result<()> {
    let options = Options::from_arg_matches(matches)?;
    let (machine, cores) = (Machine::here(), Cores::detect());
    let threads = cores.fast.len().min(machine.cores).max(1);
    let available = memory::available();
    let sets: Vec<&str> = Isa::ALL.iter().filter(|isa| isa.available()).map(|isa| isa.name()).collect();
    let limits = if options.no_limits {
        None
    } else {
        console.note("measuring for two seconds");
        limits::limits(&[threads]).pop()
    };
    let root = models::root()?;
    // The folder may not be there yet: what its nearest parent lies on is what it will lie on.
    let free = root.ancestors().find(|path| path.exists()).and_then(nibble_container::whole::free_space);
    let (fits, unfit) = fits(available)?;
    let would = shapes::would(available)?;
    let place = place();
    let mut advice = advice(&machine, &cores, available, free);
    advice.extend(unfit);
    if options.json {
        let fits: Vec<_> = fits
            .iter()
            .map(|fit| json!({"model": fit.name, "weights": fit.weights, "adapters": fit.adapters, "longest_context": contexts_json(&fit.contexts)}))
            .collect();
        return terminal::print_json(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "machine": machine,
            "instruction_sets": sets,
            "fast_cores": cores.fast,
            "cores_differ": cores.mixed,
            "threads": threads,
            "memory_available": available,
            "limits": limits,
            "store": root,
            "disk_free": free,
            "place": place,
            "models": fits,
            "shapes": shapes::to_json(&would),
            "advice": advice,
        }));
    }
    let mut rows = vec![
        vec!["nibble".into(), format!("{} on {} {}", env!("CARGO_PKG_VERSION"), machine.system, machine.architecture)],
        vec!["processor".into(), format!("{}, {} cores to use", terminal::printable(&machine.cpu), machine.cores)],
        vec!["kernels".into(), sets.join(" ")],
        vec!["threads".into(), threads_text(&cores, threads)],
        vec!["memory free".into(), available.map_or("the system does not tell".into(), units::bytes)],
    ];
    if let Some(Limits { read_bytes_per_second, int8_macs_per_second, .. }) = &limits {
        let read = read_bytes_per_second.map_or("too little memory to measure".into(), |rate| format!("{:.1} GB/s", rate / 1e9));
        rows.push(vec!["reads".into(), read]);
        rows.push(vec!["multiplies".into(), format!("{:.0} G 8-bit integers/s", int8_macs_per_second / 1e9)]);
    }
    rows.push(vec!["models".into(), terminal::printable(&root.display().to_string())]);
    rows.push(vec!["disk free".into(), free.map_or("the system does not tell".into(), units::bytes)]);
    rows.push(vec!["runs in".into(), place.join(", ")]);
    let mut text: String = rows.iter().map(|row| format!("{:<12} {}\n", row[0], row[1])).collect();
    if !fits.is_empty() {
        let header: Vec<String> = fits[0].contexts.iter().map(|(kv, _)| context_title(*kv)).collect();
        // Few models have any.
        let adapters = fits.iter().any(|fit| fit.adapters > 0);
        let header: Vec<&str> =
            ["MODEL", "WEIGHTS"].into_iter().chain(adapters.then_some("ADAPTERS")).chain(header.iter().map(String::as_str)).collect();
        let rows: Vec<Vec<String>> = fits
            .iter()
            .map(|fit| {
                let contexts = fit.contexts.iter().map(|(_, tokens)| context_text(*tokens));
                let of = adapters.then(|| if fit.adapters == 0 { "none".to_string() } else { units::bytes(fit.adapters) });
                [fit.name.clone(), units::bytes(fit.weights)].into_iter().chain(of).chain(contexts).collect()
            })
            .collect();
        text.push('\n');
        text.push_str(&terminal::table(&header, &rows));
    }
    text.push('\n');
    text.push_str(&shapes::table(&would));
    terminal::print(&text)?;
    if let Some(largest) = available.and_then(|bytes| shapes::largest(&would, bytes)) {
        console.note(format!("the largest of them that fits: {largest}; nibble pull fetches one"));
    }
    advice.iter().for_each(|line| console.warn(line));
    Ok(())
}

fn threads_text(cores: &Cores, threads: usize) -> String {
    let list: Vec<String> = cores.fast.iter().map(usize::to_string).collect();
    let which = if cores.mixed { "the fast ones: " } else { "" };
    format!("{threads} ({which}processors {})", list.join(" "))
}

/// The longest contexts of the models of the store with their adapters, up to what each was made for; and of those that cannot be run, why.
fn fits(available: Option<u64>) -> Result<(Vec<Fit>, Vec<String>)> {
    let store = models::store()?;
    let (mut fits, mut unfit) = (Vec::new(), Vec::new());
    for model in store.list()?.models {
        let open = |entry: nibble_store::Entry| -> Result<(Source, Vec<Adapter>)> {
            let source = Source::open(&entry.model)?;
            let adapters = adapters::of_entry(&entry).iter().map(|lora| Adapter::open(lora, &source)).collect::<Result<_, _>>()?;
            Ok((source, adapters))
        };
        let (source, adapters) = match store.resolve(&model.name).map_err(anyhow::Error::from).and_then(open) {
            Ok(opened) => opened,
            Err(error) => {
                unfit.push(format!("{} cannot be run: {}", model.name, hints::chain(&error)));
                continue;
            }
        };
        let options = |kv| nibble_engine::Options { kv, ..nibble_engine::Options::default() };
        let need = |kv| nibble_engine::need_adapted(&source, &options(kv), kv, &adapters);
        let config = source.config();
        let contexts = contexts(config.context as u64, config.head_dim, available, &need);
        let weights = source.tensors().iter().map(|tensor| source.stored_bytes(tensor)).sum();
        let adapters = adapters.iter().map(Adapter::bytes).sum();
        fits.push(Fit { name: model.name.to_string(), weights, adapters, contexts });
    }
    Ok((fits, unfit))
}

/// The longest contexts that fit, with each type of cache that the model can have, up to what it was made for.
fn contexts(most: u64, head_dim: usize, available: Option<u64>, need: &dyn Fn(KvType) -> memory::Need) -> Contexts {
    let of = |kv: KvType| (kv, available.map_or(Some(most), |bytes| need(kv).longest(bytes)).map(|tokens| tokens.min(most)));
    CACHES.into_iter().filter(|kv| kv.row_bytes(head_dim).is_some()).map(of).collect()
}

fn context_title(kv: KvType) -> String {
    format!("CONTEXT, {}", kv.name().to_uppercase())
}

fn context_text(tokens: Option<u64>) -> String {
    tokens.map_or("does not fit".into(), units::grouped)
}

fn contexts_json(contexts: &Contexts) -> serde_json::Map<String, serde_json::Value> {
    contexts.iter().map(|(kv, tokens)| (kv.name().to_string(), json!(tokens))).collect()
}

/// Where the program runs, as far as that changes what it may do.
fn place() -> Vec<String> {
    let mut place = Vec::new();
    if std::env::var_os("TERMUX_VERSION").is_some() {
        place.push("Termux".to_string());
    }
    if std::env::var_os("PROOT_TMP_DIR").is_some() {
        place.push("proot".to_string());
    }
    if ["/.dockerenv", "/run/.containerenv"].iter().any(|path| Path::new(path).exists()) {
        place.push("a container".to_string());
    }
    let readable = |folder: &str, file: &str| {
        std::fs::read_dir(folder)
            .is_ok_and(|entries| entries.flatten().any(|entry| std::fs::read_to_string(entry.path().join(file)).is_ok()))
    };
    place.push(format!("power {}", if readable("/sys/class/power_supply", "current_now") { "can be read" } else { "cannot be read" }));
    place.push(format!("temperatures {}", if readable("/sys/class/thermal", "temp") { "can be read" } else { "cannot be read" }));
    place
}

/// What is in the way, each with what to do.
fn advice(machine: &Machine, cores: &Cores, available: Option<u64>, free: Option<u64>) -> Vec<String> {
    const GIB: u64 = 1 << 30;
    let mut advice = Vec::new();
    if Isa::best() == Isa::Scalar {
        advice.push("there are no kernels for this processor's instructions: plain code runs, many times slower".to_string());
    }
    if available.is_some_and(|bytes| bytes < 2 * GIB) {
        advice.push(
            "less than 2 GiB of memory are free: close other programs, or take a model of 1 billion parameters and --kv q8_0".to_string(),
        );
    }
    if free.is_some_and(|bytes| bytes < 3 * GIB) {
        advice.push("less than 3 GiB of disk are free where models lie: export NIBBLE_MODELS=DIR puts them elsewhere".to_string());
    }
    if std::env::var_os("TERMUX_VERSION").is_some() {
        advice.push("Android may end programs in the background: termux-wake-lock keeps this one".to_string());
    }
    if cores.mixed && cores.fast.len() < machine.cores {
        advice.push(format!("{} slower cores are left out: threads on them would hold up the fast ones", machine.cores - cores.fast.len()));
    }
    advice
}
