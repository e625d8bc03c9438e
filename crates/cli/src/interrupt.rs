//! Ctrl-C and its relatives. One thread waits for the signals, so that what they do is ordinary code.
//!
//! Outside a chat, a signal removes every file that is only half written and ends the program with 128 + its number (130 for Ctrl-C). In a chat the
//! first Ctrl-C only asks the answer to stop; a second one before it has stopped ends the program. A server is asked to stop by the first of any of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// There is a chat, in which Ctrl-C stops the answer and not the program.
static CHATTING: AtomicBool = AtomicBool::new(false);
/// Ctrl-C was pressed in a chat since the last answer.
static STOP: AtomicBool = AtomicBool::new(false);
/// What asks the server to stop, until it was asked.
static SERVER: Mutex<Option<Box<dyn Fn() + Send>>> = Mutex::new(None);
/// The program is being ended by a signal or a panic.
static ENDING: AtomicBool = AtomicBool::new(false);

/// The signals that are taken.
pub const SIGNALS: [i32; 3] = [SIGHUP, SIGINT, SIGTERM];

/// What the program leaves with after a signal, as a shell tells it: 128 and its number. CODES in `exit` has a row for each.
pub fn code(signal: i32) -> u8 {
    128u8.saturating_add(u8::try_from(signal).unwrap_or(0))
}

/// Starts the thread that waits for signals. Without it (no threads left) the default action of the signals stays in force.
pub fn install() {
    let Ok(mut signals) = Signals::new(SIGNALS) else { return };
    let waiting = std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if signal == SIGINT && CHATTING.load(Ordering::SeqCst) && !STOP.swap(true, Ordering::SeqCst) {
                continue;
            }
            let server = SERVER.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(stop) = server {
                stop();
                continue;
            }
            abandon_and_exit(code(signal));
        }
    });
    drop(waiting);
}

/// Removes what is half written, puts the cursor back and ends the program.
pub fn abandon_and_exit(code: u8) -> ! {
    ENDING.store(true, Ordering::SeqCst);
    nibble_container::whole::abandon_all();
    crate::scratch::abandon_all();
    crate::progress::show_cursor();
    std::process::exit(i32::from(code))
}

/// Called where the program would end by itself. If a signal is ending it, that one has the last word: what the main thread runs into once its files
/// are gone is no error to report.
pub fn let_signals_end() {
    while ENDING.load(Ordering::SeqCst) {
        std::thread::park();
    }
}

/// While this lives, the first signal asks a server to stop.
pub struct Serving(());

impl Serving {
    /// Tells how to ask.
    pub fn start(stop: impl Fn() + Send + 'static) -> Serving {
        *SERVER.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(stop));
        Serving(())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        SERVER.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// While this lives, the first Ctrl-C only sets a flag.
pub struct Chatting(());

impl Chatting {
    /// Starts listening, with the flag down.
    pub fn start() -> Chatting {
        STOP.store(false, Ordering::SeqCst);
        CHATTING.store(true, Ordering::SeqCst);
        Chatting(())
    }

    /// Puts the flag down for the next turn.
    pub fn rearm(&self) {
        STOP.store(false, Ordering::SeqCst);
    }

    /// Up since Ctrl-C was pressed.
    pub fn flag(&self) -> &'static AtomicBool {
        &STOP
    }
}

impl Drop for Chatting {
    fn drop(&mut self) {
        CHATTING.store(false, Ordering::SeqCst);
    }
}
