//! The handler of SIGBUS, and the table of mappings that it looks addresses up in.
//!
//! A handler may run in the middle of anything, so it takes no lock, allocates nothing and calls only what POSIX lists as safe: `write`,
//! `unlink`, `rmdir`, `_exit`, `sigaction`. The table is an array of slots of atomics. A slot is claimed by compare-and-swap, filled, and only
//! then marked as live; dropping a mapping frees its slot before the memory is unmapped. The handler needs no more than that: it asks for
//! the slot of an address that a thread is reading at this moment, and whoever reads holds the mapping, so that slot is live and stays.

use std::path::Path;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

const FREE: usize = 0;
const CLAIMED: usize = 1;
const LIVE: usize = 2;

struct Slot {
    state: AtomicUsize,
    start: AtomicUsize,
    end: AtomicUsize,
    name: AtomicPtr<u8>,
    name_len: AtomicUsize,
}

/// As many mappings as a process has at once: models have some tens of files. A mapping past the last slot is not watched, no more.
static SLOTS: [Slot; 1024] = [const {
    Slot {
        state: AtomicUsize::new(FREE),
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        name: AtomicPtr::new(ptr::null_mut()),
        name_len: AtomicUsize::new(0),
    }
}; 1024];

/// The handler that was there before, never freed.
static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());

/// A mapping's place in the table. It must be dropped before the mapping.
pub(super) struct Watch {
    slot: Option<&'static Slot>,
    /// What the slot points to.
    _name: Box<[u8]>,
}

impl Watch {
    pub(super) fn new(bytes: &[u8], path: &Path) -> Watch {
        static INSTALL: Once = Once::new();
        INSTALL.call_once(install);
        let mut name = path.as_os_str().as_encoded_bytes().to_vec().into_boxed_slice();
        let free = |slot: &&Slot| slot.state.compare_exchange(FREE, CLAIMED, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        let slot = SLOTS.iter().find(free);
        if let Some(slot) = slot {
            slot.start.store(bytes.as_ptr() as usize, Ordering::Relaxed);
            slot.end.store(bytes.as_ptr() as usize + bytes.len(), Ordering::Relaxed);
            slot.name.store(name.as_mut_ptr(), Ordering::Relaxed);
            slot.name_len.store(name.len(), Ordering::Relaxed);
            slot.state.store(LIVE, Ordering::Release);
        }
        Watch { slot, _name: name }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            slot.state.store(FREE, Ordering::Release);
        }
    }
}

fn install() {
    // SAFETY: sigaction is plain data, for which zeros are a value; both calls get pointers to it that are good for their time. What was there
    // is kept before the new handler can run. The handler is a function of the type that SA_SIGINFO demands. SA_ONSTACK: a thread that
    // has an alternative stack, as those of the standard library have, is served on it.
    unsafe {
        let mut previous: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(libc::SIGBUS, ptr::null(), &mut previous) != 0 {
            return;
        }
        PREVIOUS.store(Box::into_raw(Box::new(previous)), Ordering::Release);
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_bus_error as extern "C" fn(_, _, _) as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        libc::sigemptyset(&mut action.sa_mask);
        libc::sigaction(libc::SIGBUS, &action, ptr::null_mut());
    }
}

/// The name of the mapped file that an address lies in.
fn find(address: usize) -> Option<(*const u8, usize)> {
    SLOTS
        .iter()
        .filter(|slot| slot.state.load(Ordering::Acquire) == LIVE)
        .find(|slot| (slot.start.load(Ordering::Relaxed)..slot.end.load(Ordering::Relaxed)).contains(&address))
        .map(|slot| (slot.name.load(Ordering::Relaxed).cast_const(), slot.name_len.load(Ordering::Relaxed)))
}

extern "C" fn on_bus_error(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the system calls this with a valid siginfo of SIGBUS, which has an address.
    let address = unsafe { (*info).si_addr() } as usize;
    if let Some((name, len)) = find(address) {
        // SAFETY: the slot is live, because the thread that is interrupted here reads its mapping; so the name is alive too.
        let name = unsafe { std::slice::from_raw_parts(name, len) };
        complain(b"error: ");
        complain(name);
        complain(b": the file became shorter while it was being read; its contents can no longer be trusted. ");
        complain(b"Wait until nothing writes to it, then run the command again (if nothing does, the disk may be failing)\n");
        crate::whole::abandon_in_signal();
        // SAFETY: _exit takes any code and does not return.
        unsafe { libc::_exit(super::SHRUNK_EXIT_CODE) }
    }
    // SAFETY: the pointer was made by Box::into_raw before the handler was installed and is never freed. A handler is called with the arguments
    // that its flag says it takes; SIG_DFL and SIG_IGN are no functions, and for them the default comes back: on return the read
    // faults again and ends the process as it would have without this handler.
    unsafe {
        let previous = &*PREVIOUS.load(Ordering::Acquire);
        match previous.sa_sigaction {
            libc::SIG_DFL | libc::SIG_IGN => {
                let mut default: libc::sigaction = std::mem::zeroed();
                default.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(libc::SIGBUS, &default, ptr::null_mut());
            }
            handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
                let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = std::mem::transmute(handler);
                handler(signal, info, context);
            }
            handler => {
                let handler: extern "C" fn(libc::c_int) = std::mem::transmute(handler);
                handler(signal);
            }
        }
    }
}

/// Writes to standard error, with nothing in between.
fn complain(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: pointer and length are of one slice.
        let written = unsafe { libc::write(libc::STDERR_FILENO, bytes.as_ptr().cast(), bytes.len()) };
        if written <= 0 {
            return;
        }
        bytes = &bytes[written as usize..];
    }
}
