//! Which slot a request gets, and how much memory all of them may take.
//!
//! A slot is a session with what it has read. What makes a slot worth taking is how much of the prompt it holds; what speaks against it is how much
//! else would be forgotten. So a free slot most of whose tokens begin the prompt is taken as it is; otherwise the one that has been idle longest is, and
//! what another slot knows of the prompt, at work or not, is copied. Copying is reading and writing the cache's bytes once, far less than computing them.

use super::answer::Answer;
use nibble_engine::{Error, Model, Session};

/// Below so many tokens in common a copy is not worth it.
const WORTH_COPYING: usize = 16;

/// A session, and who is using it.
pub struct Slot<'m> {
    pub session: Session<'m>,
    pub answer: Option<Answer>,
    /// Tokens of context that its answer may come to need.
    pub reserved: usize,
    /// When it was used last, on the clock of [`Slots`].
    used: u64,
}

impl Slot<'_> {
    /// A number that no other answer has, be it in this slot or another.
    pub fn used(&self) -> u64 {
        self.used
    }
}

/// All slots.
pub struct Slots<'m> {
    model: &'m Model,
    pub slots: Vec<Slot<'m>>,
    most: usize,
    /// Tokens that all slots together may hold.
    room: usize,
    clock: u64,
}

impl<'m> Slots<'m> {
    /// Up to `most` slots, in the memory that is available beside the weights.
    pub fn new(model: &'m Model, most: usize) -> Slots<'m> {
        let need = model.need();
        let available = model.options().memory.or_else(nibble_engine::memory::available);
        // Loading has seen to it that one context fits.
        let room = available.and_then(|bytes| need.longest(bytes)).map_or(usize::MAX, |tokens| tokens as usize).max(model.context());
        Slots { model, slots: Vec::new(), most, room, clock: 0 }
    }

    /// Answers in the making.
    pub fn running(&self) -> usize {
        self.slots.iter().filter(|slot| slot.answer.is_some()).count()
    }

    /// A free slot for a prompt that may come to need `reserved` tokens: its index, and how many tokens of the prompt it holds. None while there is none, or
    /// no memory for it.
    pub fn take(&mut self, prompt: &[u32], reserved: usize) -> Result<Option<(usize, usize)>, Error> {
        if self.running() >= self.most || !self.make_room(prompt, reserved) {
            return Ok(None);
        }
        let common: Vec<usize> = self.slots.iter().map(|slot| in_common(slot.session.tokens(), prompt)).collect();
        let free = |i: &usize| self.slots[*i].answer.is_none();
        let best = (0..self.slots.len()).max_by_key(|&i| (common[i], self.slots[i].used));
        let whole = (0..self.slots.len()).filter(free).filter(|&i| 2 * common[i] > self.slots[i].session.tokens().len());
        let slot = match whole.max_by_key(|&i| common[i]) {
            Some(i) => i,
            None if self.slots.len() < self.most => {
                let session = Session::new(self.model, self.model.context())?;
                self.slots.push(Slot { session, answer: None, reserved: 0, used: 0 });
                self.slots.len() - 1
            }
            None => (0..self.slots.len()).filter(free).min_by_key(|&i| self.slots[i].used).expect("fewer run than there are slots"),
        };
        self.clock += 1;
        self.slots[slot].used = self.clock;
        self.slots[slot].reserved = reserved;
        let mut kept = self.slots[slot].session.reuse(prompt);
        if let Some(from) = best.filter(|&from| from != slot && common[from] >= kept + WORTH_COPYING) {
            kept = common[from];
            let [to, from] = self.slots.get_disjoint_mut([slot, from]).expect("two slots");
            to.session.copy_from(&from.session, kept)?;
        }
        Ok(Some((slot, kept)))
    }

    /// Whether there is memory for a slot of so many tokens; idle ones that are in the way forget what they hold, the longest idle first, and what the prompt
    /// shares last.
    fn make_room(&mut self, prompt: &[u32], reserved: usize) -> bool {
        loop {
            let held: usize =
                self.slots.iter().map(|slot| if slot.answer.is_some() { slot.reserved } else { slot.session.tokens().len() }).sum();
            if held.saturating_add(reserved) <= self.room {
                return true;
            }
            let idle = self.slots.iter_mut().filter(|slot| slot.answer.is_none() && !slot.session.tokens().is_empty());
            match idle.min_by_key(|slot| (in_common(slot.session.tokens(), prompt) > 0, slot.used)) {
                Some(slot) => slot.session.truncate(0),
                // What is running is in the way; with nothing running, there is nothing to wait for.
                None => return self.running() == 0,
            }
        }
    }

    /// Forgets all: after a panic nobody knows what the sessions hold.
    pub fn clear(&mut self) -> Vec<Answer> {
        self.slots.drain(..).filter_map(|slot| slot.answer).collect()
    }
}

/// How many tokens of the prompt a slot holds that need not be read; the prompt's last always is, as its logits are wanted.
fn in_common(held: &[u32], prompt: &[u32]) -> usize {
    let common = held.iter().zip(prompt).take_while(|(a, b)| a == b).count();
    common.min(prompt.len().saturating_sub(1))
}
