//! `nibble verify`: whether the store holds what it says.

use anyhow::Result;
use clap::{ArgMatches, Args, FromArgMatches};
use nibble_store::{Damage, Name, Verified};
use serde_json::json;

use super::Row;
use crate::exit::Problem;
use crate::terminal::{self, Console};
use crate::transfer::{CANCEL, Transfer};
use crate::{models, units};

/// The row of COMMANDS.
pub const ROW: Row = Row {
    name: "verify",
    about: "Hash every file of the store and say what is damaged, missing or left over",
    details: "Exits with 1 where a model is not whole. What was left half made by processes that died is removed. With --repair damaged files go too, \
              so that nibble pull fetches just them anew, and files that belong to no model, and downloads that were broken off.",
    examples: &[("look", "nibble verify"), ("and tidy up", "nibble verify --repair"), ("for a script", "nibble verify --json")],
    args: |command| Options::augment_args(command),
    run,
};

// The command line of `verify`. No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug)]
#[allow(missing_docs)]
struct Options {
    /// Remove damaged files, files of no model and broken downloads
    #[arg(long)]
    repair: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn run(matches: &ArgMatches, console: &Console) -> Result<()> {
    let options = Options::from_arg_matches(matches)?;
    let mut transfer = Transfer::new(console);
    let verified = models::store()?.verify(options.repair, &mut |told| transfer.tell(told), &CANCEL)?;
    drop(transfer);
    match options.json {
        true => terminal::print_json(&to_json(&verified))?,
        false => terminal::print(&to_text(&verified))?,
    }
    if verified.is_sound() {
        return Ok(());
    }
    let of: Vec<&Name> = verified.damaged.iter().flat_map(|(_, _, names)| names).collect();
    let problem = Problem::failure("the store is not sound");
    Err(match (of.first(), options.repair) {
        (Some(name), true) => problem.hint(format!("nibble pull {name}, or nibble rm {name}")),
        (Some(_), false) => problem.hint("nibble verify --repair, and then pull the models again"),
        (None, _) => problem.hint("remove the manifests named above"),
    }
    .into())
}

fn words(damage: &Damage) -> String {
    match damage {
        Damage::Missing => "missing".into(),
        Damage::Length { expected, found } => format!("{found} bytes, {expected} expected"),
        Damage::Content { found } => format!("damaged: its SHA-256 is {found}"),
    }
}

fn joined(names: &[Name]) -> String {
    match names.is_empty() {
        true => "no model".into(),
        false => names.iter().map(Name::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn to_text(verified: &Verified) -> String {
    let mut text = format!(
        "{} whole, {}, {}\n",
        units::several(verified.models.len() as u64, "model", "models"),
        units::several(verified.blobs, "file", "files"),
        units::bytes(verified.bytes)
    );
    for (digest, damage, names) in &verified.damaged {
        text.push_str(&format!("{digest} of {}: {}\n", joined(names), words(damage)));
    }
    for fault in &verified.faults {
        text.push_str(&format!("{}\n", terminal::printable(&fault.to_string())));
    }
    if verified.buried > 0 {
        text.push_str(&format!("removed {} that dead processes had left\n", units::bytes(verified.buried)));
    }
    let fate = if verified.repaired { "removed" } else { "--repair removes them" };
    if !verified.unused.is_empty() {
        let bytes = verified.unused.iter().map(|(_, size)| size).sum();
        text.push_str(&format!("{} files of no model, {}: {fate}\n", verified.unused.len(), units::bytes(bytes)));
    }
    if !verified.partial.is_empty() {
        let bytes = verified.partial.iter().map(|(_, size)| size).sum();
        let fate = if verified.repaired { fate } else { "nibble pull goes on with them, --repair removes them" };
        text.push_str(&format!("{} downloads broken off, {}: {fate}\n", verified.partial.len(), units::bytes(bytes)));
    }
    text
}

fn to_json(verified: &Verified) -> serde_json::Value {
    let damaged = |(digest, damage, names): &(nibble_store::Digest, Damage, Vec<Name>)| json!({"digest": digest.to_string(), "fault": words(damage), "models": names});
    json!({
        "sound": verified.is_sound(),
        "models": verified.models,
        "files": verified.blobs,
        "bytes": verified.bytes,
        "damaged": verified.damaged.iter().map(damaged).collect::<Vec<_>>(),
        "faults": verified.faults.iter().map(|fault| fault.to_string()).collect::<Vec<_>>(),
        "buried_bytes": verified.buried,
        "unused": verified.unused.iter().map(|(digest, size)| json!({"digest": digest.to_string(), "bytes": size})).collect::<Vec<_>>(),
        "partial": verified.partial.iter().map(|(path, size)| json!({"path": path.display().to_string(), "bytes": size})).collect::<Vec<_>>(),
        "repaired": verified.repaired,
    })
}
