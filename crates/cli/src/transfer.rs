//! What the store tells, on the terminal: a bar for each file, notes between them.

use std::sync::atomic::AtomicBool;

use nibble_store::{Progress as Told, Work};

use crate::progress::Progress;
use crate::terminal::Console;

/// Never set: Ctrl-C ends the program itself, see `interrupt`.
pub static CANCEL: AtomicBool = AtomicBool::new(false);

/// Shows what is told.
pub struct Transfer<'a> {
    console: &'a Console,
    current: Option<(Work, String, Progress)>,
}

impl<'a> Transfer<'a> {
    /// Nothing is shown yet.
    pub fn new(console: &'a Console) -> Transfer<'a> {
        Transfer { console, current: None }
    }

    /// Takes one thing told.
    pub fn tell(&mut self, told: Told) {
        match told {
            Told::Step(_) => self.current = None,
            Told::Note(text) => {
                self.current = None;
                self.console.note(text);
            }
            Told::Bytes { work, file, completed, total, .. } => {
                // Of a quantization and a verification the file is only what is being worked on.
                let one = matches!(work, Work::Quantize | Work::Verify);
                let same = self.current.as_ref().is_some_and(|(was, name, _)| *was == work && (one || *name == file));
                if !same {
                    // The bar before goes before the next one comes.
                    self.current = None;
                    let bar = Progress::bytes(self.console, total, completed);
                    self.current = Some((work, file.clone(), bar));
                }
                if let Some((_, _, bar)) = &self.current {
                    let what = match work {
                        Work::Download | Work::Upload => file,
                        Work::Verify => "verifying".to_string(),
                        Work::Copy => format!("copying {file}"),
                        Work::Quantize => format!("quantizing {file}"),
                        Work::Pack => file,
                    };
                    bar.update(completed, &what);
                }
            }
        }
    }
}
