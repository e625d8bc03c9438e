//! `nibble push`: a model to a registry.

use anyhow::Result;
use clap::{ArgMatches, Args, FromArgMatches};
use nibble_store::Error;

use super::Row;
use crate::exit::Problem;
use crate::terminal::{self, Console};
use crate::transfer::{CANCEL, Transfer};
use crate::{models, units};

/// The row of COMMANDS.
pub const ROW: Row = Row {
    name: "push",
    about: "Publish a model at a registry of your own, from which nibble pull fetches it",
    details: "NAME begins with the registry: HOST[:PORT]/NAMESPACE/MODEL[:TAG]; nibble cp gives a model such a name. Any registry that speaks Docker's \
              protocol will do, such as registry:2, Harbor or Gitea. What is there already is not sent; where a connection breaks, the upload goes on \
              from what the registry has of it; the model appears when it is whole, and has the id there that it has here.\n\n\
              A registry of this device (localhost, 127.0.0.1) is spoken to over http, any other over https unless --insecure is given.\n\n\
              Users and passwords are those that `docker login HOST` keeps in config.json below $DOCKER_CONFIG or ~/.docker, under \"auths\"; they go to \
              HOST, and to who gives tokens for it, and nowhere else. Programs that keep passwords for docker (credsStore, credHelpers) are not run.\n\n\
              Ollama's own registry takes only what is signed with the key of an Ollama account: ollama push does that.",
    examples: &[
        ("a name at a registry, and there it goes", "nibble push nas.local:5000/me/assistant"),
        ("over a home network without certificates", "nibble push --insecure nas.local:5000/me/assistant"),
        ("for a script", "nibble push localhost:5000/me/assistant:q4_k_m --json"),
    ],
    args: |command| Options::augment_args(command),
    run,
};

// The command line of `push`. No doc comment here: clap would take it for the command's about.
#[derive(Args, Debug)]
#[allow(missing_docs)]
struct Options {
    /// The model, by a name that begins with the registry
    #[arg(value_name = "NAME")]
    name: String,
    /// Speak http to a registry that is not of this device: whoever is between can read along, passwords too
    #[arg(long)]
    insecure: bool,
    /// Print what was sent as JSON when it is there
    #[arg(long)]
    json: bool,
}

fn run(matches: &ArgMatches, console: &Console) -> Result<()> {
    let options = Options::from_arg_matches(matches)?;
    let name = models::parse(&options.name)?;
    let hub = nibble_store::Hub { insecure: options.insecure, ..models::hub() };
    let mut transfer = Transfer::new(console);
    let pushed = models::store()?.push(&name, &hub, &mut |told| transfer.tell(told), &CANCEL).map_err(not_here)?;
    drop(transfer);
    if options.json {
        return terminal::print_json(&serde_json::json!({
            "name": pushed.name, "digest": pushed.digest.hex(), "size": pushed.size,
            "blobs": pushed.blobs, "sent": pushed.sent, "sent_bytes": pushed.sent_bytes,
        }));
    }
    let sent = match pushed.sent {
        0 => "all its files were there already".to_string(),
        _ => format!("{} of {} files sent, {}", pushed.sent, pushed.blobs, units::bytes(pushed.sent_bytes)),
    };
    console.note(format!("{name} is at {}, id {}; {sent}", name.host(), pushed.digest.short(), name = pushed.name));
    Ok(())
}

/// Who has the model under another name wants it to have this one first.
fn not_here(error: Error) -> anyhow::Error {
    match &error {
        Error::NotFound { name } => {
            let hint =
                models::near(name).map_or("nibble list shows the models that are here".into(), |near| format!("nibble cp {near} {name}"));
            Problem::failure(error.to_string()).hint(hint).into()
        }
        _ => error.into(),
    }
}
