//! `nibble show`: what a model of the store is and how it is used.

use std::path::Path;

use anyhow::Result;
use clap::{ArgMatches, Args, FromArgMatches};
use nibble_container::Checkpoint;
use nibble_store::{Entry, Modelfile};
use serde_json::json;

use super::Row;
use crate::terminal::{self, Console, printable};
use crate::{models, units};

/// The row of COMMANDS.
pub const ROW: Row = Row {
    name: "show",
    about: "Show a model of the store: details, parameters, template, system message, licence",
    details: "nibble inspect shows what is in the file itself.",
    examples: &[
        ("the overview", "nibble show assistant"),
        ("a Modelfile that makes the same model", "nibble show assistant --modelfile"),
        ("for a script", "nibble show assistant --json"),
    ],
    args: |command| Options::augment_args(command),
    run,
};

// The command line of `show`. No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("what"))]
#[allow(missing_docs)]
struct Options {
    /// The model
    #[arg(value_name = "NAME")]
    name: String,
    /// Only a Modelfile that makes the same model
    #[arg(long, group = "what")]
    modelfile: bool,
    /// Only the parameters
    #[arg(long, group = "what")]
    parameters: bool,
    /// Only the chat template
    #[arg(long, group = "what")]
    template: bool,
    /// Only the system message
    #[arg(long, group = "what")]
    system: bool,
    /// Only the licence
    #[arg(long, group = "what")]
    license: bool,
    /// Only the path of the model's file
    #[arg(long, group = "what")]
    path: bool,
    /// Print JSON
    #[arg(long, group = "what")]
    json: bool,
}

fn run(matches: &ArgMatches, _console: &Console) -> Result<()> {
    let options = Options::from_arg_matches(matches)?;
    let entry = models::store()?.resolve(&models::parse(&options.name)?)?;
    let line = |text: &str| if text.is_empty() || text.ends_with('\n') { text.to_string() } else { format!("{text}\n") };
    let text = if options.json {
        return terminal::print_json(&to_json(&entry)?);
    } else if options.modelfile {
        format!("# nibble create NAME -f FILE makes this model again.\n{}", Modelfile::of(&entry))
    } else if options.parameters {
        entry.parameters.lines().iter().map(|(name, value)| format!("{name} {value}\n")).collect()
    } else if options.template {
        line(&template(&entry)?)
    } else if options.system {
        line(entry.system.as_deref().unwrap_or_default())
    } else if options.license {
        line(&entry.licenses.join("\n"))
    } else if options.path {
        line(&entry.model.display().to_string())
    } else {
        overview(&entry)?
    };
    Ok(terminal::print(&text)?)
}

/// The template of the manifest, else the model file's own.
fn template(entry: &Entry) -> Result<String> {
    if let Some(template) = &entry.template {
        return Ok(template.clone());
    }
    let checkpoint = Checkpoint::open(&entry.model)?;
    Ok(checkpoint
        .metadata()
        .and_then(|metadata| metadata.find::<&str>("tokenizer.chat_template").ok().flatten())
        .unwrap_or_default()
        .to_string())
}

fn overview(entry: &Entry) -> Result<String> {
    let checkpoint = Checkpoint::open(&entry.model)?;
    let field = |key: &str| {
        let value = checkpoint.metadata()?.value(&format!("{}.{key}", entry.details.family))?.integer()?;
        Some(units::grouped(u64::try_from(value).ok()?))
    };
    let mut text = String::new();
    let mut section = |title: &str, rows: Vec<(String, String)>| {
        if !rows.is_empty() {
            let wide = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
            text.push_str(&format!("{title}\n"));
            for (name, value) in rows {
                text.push_str(format!("  {name:<wide$}  {}", printable(&value)).trim_end());
                text.push('\n');
            }
            text.push('\n');
        }
    };
    let mut model = vec![
        ("name".to_string(), entry.name.to_string()),
        ("id".into(), entry.digest.short()),
        ("size".into(), units::bytes(entry.size)),
        ("architecture".into(), entry.details.family.clone()),
        ("parameters".into(), entry.details.parameter_size.clone()),
        ("type".into(), entry.details.quantization_level.clone()),
    ];
    for (title, key) in [("context length", "context_length"), ("embedding length", "embedding_length")] {
        model.extend(field(key).map(|value| (title.to_string(), value)));
    }
    section("Model", model);
    section("Parameters", entry.parameters.lines());
    let first_lines = |text: &str, most: usize| {
        let mut lines: Vec<(String, String)> = text.lines().take(most).map(|line| (printable(line), String::new())).collect();
        if text.lines().count() > most {
            lines.push(("…".into(), String::new()));
        }
        lines
    };
    section("System", entry.system.as_deref().map_or_else(Vec::new, |system| first_lines(system, 5)));
    section(
        "Messages",
        entry
            .messages
            .iter()
            .map(|message| (message.role.clone(), message.content.lines().next().unwrap_or_default().to_string()))
            .collect(),
    );
    section("Template", entry.template.as_deref().map_or_else(Vec::new, |template| first_lines(template, 5)));
    section("License", entry.licenses.first().map_or_else(Vec::new, |license| first_lines(license, 3)));
    section("Adapters", entry.adapters.iter().map(|path| Ok((path.display().to_string(), adapter(path)?))).collect::<Result<_>>()?);
    text.pop();
    Ok(text)
}

/// An adapter in a few words.
fn adapter(path: &Path) -> Result<String> {
    let checkpoint = Checkpoint::open(path)?;
    let ranks: Vec<u64> =
        checkpoint.tensors().filter(|view| view.name.ends_with(".lora_b")).filter_map(|view| view.shape.last().copied()).collect();
    let rank = match (ranks.iter().min(), ranks.iter().max()) {
        (Some(least), Some(most)) if least < most => format!("rank {least} to {most}"),
        (_, most) => format!("rank {}", most.copied().unwrap_or(0)),
    };
    Ok(format!("{} matrices, {rank}", ranks.len()))
}

fn to_json(entry: &Entry) -> Result<serde_json::Value> {
    let modified = entry.modified.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    Ok(json!({
        "name": entry.name,
        "digest": entry.digest.hex(),
        "size": entry.size,
        "modified": modified,
        "details": entry.details,
        "path": entry.model.display().to_string(),
        "parameters": entry.parameters.to_json(),
        "template": template(entry)?,
        "system": entry.system,
        "messages": entry.messages,
        "licenses": entry.licenses,
        "adapters": entry.adapters.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
        "modelfile": Modelfile::of(entry).to_string(),
    }))
}
