//! `nibble man`: the manual pages, made from the table.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Arg, ArgMatches, value_parser};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::Row;
use crate::exit;
use crate::terminal::{self, Console};

/// The row of COMMANDS.
pub const ROW: Row = Row {
    name: "man",
    about: "Print the manual page, or write a page for each command into a directory",
    details: "",
    examples: &[("read it here", "nibble man | man -l -"), ("install the pages of all commands", "nibble man ~/.local/share/man/man1")],
    args: |command| {
        command.arg(
            Arg::new("dir")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .help("Directory that gets nibble.1 and nibble-COMMAND.1; made if it is not there. Without it nibble.1 goes to stdout"),
        )
    },
    run,
};

fn run(matches: &ArgMatches, console: &Console) -> Result<()> {
    let pages = pages()?;
    let Some(dir) = matches.get_one::<PathBuf>("dir") else {
        return Ok(terminal::print(&String::from_utf8_lossy(&pages[0].1))?);
    };
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    for (name, text) in &pages {
        write(&dir.join(name), text)?;
    }
    console.note(format!("{} pages in {}", pages.len(), dir.display()));
    Ok(())
}

fn write(path: &Path, text: &[u8]) -> Result<()> {
    std::fs::write(path, text).with_context(|| path.display().to_string())
}

/// File name and text of every page, `nibble.1` first.
pub fn pages() -> Result<Vec<(String, Vec<u8>)>> {
    let mut program = super::program();
    program.build();
    let mut top = render(program.clone())?;
    top.extend(exit_status().into_bytes());
    let mut pages = vec![("nibble.1".to_string(), top)];
    add(&program, "nibble", &mut pages)?;
    Ok(pages)
}

/// The pages of a command's commands, and of theirs.
fn add(of: &clap::Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    for command in of.get_subcommands().filter(|c| c.get_name() != "help") {
        let name = format!("{name}-{}", command.get_name());
        pages.push((format!("{name}.1"), render(command.clone().display_name(&name))?));
        add(command, &name, pages)?;
    }
    Ok(())
}

/// The section that manual pages have for exit codes, at the end of the first page.
fn exit_status() -> String {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for row in exit::CODES {
        roff.control("TP", []);
        roff.text([bold(row.code.to_string()), roman(format!(" ({})", row.name))]);
        roff.text([roman(row.about)]);
    }
    // Without what begins a page: this one has begun.
    roff.to_roff()
}

fn render(command: clap::Command) -> Result<Vec<u8>> {
    let mut text = vec![];
    Man::new(command).render(&mut text)?;
    Ok(text)
}
