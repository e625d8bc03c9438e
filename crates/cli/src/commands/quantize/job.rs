//! One quantization: the library's run with progress on the terminal, and an existing directory put aside until the new one is whole.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nibble_compress::recipe::Recipe;
use nibble_compress::{Control, Plan, Report};
use nibble_engine::source::Source;

use crate::progress::Progress;
use crate::terminal::Console;

/// Never set: Ctrl-C ends the program itself, see `interrupt`.
static CANCEL: AtomicBool = AtomicBool::new(false);

/// What a run has done, and how long it took.
pub struct Done {
    pub report: Report,
    pub bytes_before: u64,
    pub threads: usize,
    pub time: Duration,
}

/// As many threads as the system has cores for us.
pub fn all_cores() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

/// Carries a plan out, with progress.
pub fn run(source: &Source, plan: &Plan, out: &Path, threads: usize, console: &Console) -> Result<Done> {
    let start = Instant::now();
    let bytes_before = source.checkpoint().files().map(|map| map.len() as u64).sum();
    let progress = Progress::new(console, plan.bytes_out());
    let mut show = |now: nibble_compress::Progress| progress.update(now.done, now.tensor);
    let aside = Aside::of(out);
    let target = aside.as_ref().map_or(out, |aside| &aside.new);
    let report = nibble_compress::run(source, plan, target, Control { threads, progress: &mut show, cancel: &CANCEL })?;
    if let Some(aside) = aside {
        aside.exchange(out)?;
    }
    progress.finish();
    Ok(Done { report, bytes_before, threads, time: start.elapsed() })
}

/// Quantizes without a word.
pub fn quiet(input: &Path, recipe: &'static Recipe, out: &Path) -> Result<()> {
    let source = Source::open(input)?;
    let plan = nibble_compress::plan(&source, recipe, nibble_compress::Options::default())?;
    nibble_compress::run(&source, &plan, out, Control { threads: all_cores(), progress: &mut |_| {}, cancel: &CANCEL })?;
    Ok(())
}

/// A directory that is to be replaced: a rename cannot do it, so the new one is made beside it and the two change places when it is whole.
struct Aside {
    new: PathBuf,
    old: PathBuf,
}

impl Aside {
    /// For a directory with something in it; `output::check` has seen that it may go.
    fn of(out: &Path) -> Option<Aside> {
        let full = out.is_dir() && std::fs::read_dir(out).is_ok_and(|mut list| list.next().is_some());
        let beside = |what: &str| {
            let mut name = out.file_name()?.to_os_string();
            name.push(format!(".{what}-{}", std::process::id()));
            Some(out.with_file_name(name))
        };
        full.then(|| Some(Aside { new: beside("new")?, old: beside("old")? })).flatten()
    }

    fn exchange(self, out: &Path) -> Result<()> {
        let rename = |from: &Path, to: &Path| std::fs::rename(from, to).with_context(|| format!("{} to {}", from.display(), to.display()));
        rename(out, &self.old)?;
        rename(&self.new, out)?;
        std::fs::remove_dir_all(&self.old).with_context(|| self.old.display().to_string())
    }
}
