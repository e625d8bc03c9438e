//! Answers of `/v1/responses` that are kept, so that a client can ask for one again and a later request can go on from it.
//!
//! They live in memory and end with the server. There are at most so many, in so many bytes; the oldest leave first. A conversation is a list of items that
//! its answers share, so its memory grows with what is said and not with how often it is gone on from; and it can be gone on from by its newest answer
//! when its first ones have left. Items and answers are held as JSON text: it is what they take, and what is sent again.

use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of an item or an answer beside its texts: its own fields, and its places in the tables.
const OVERHEAD: usize = 256;

/// A message, a call, its result or a thought of a conversation.
#[derive(Debug)]
pub struct Item {
    id: String,
    /// Whether the server made the id. One that a client chose may be another client's too, so nobody finds an item by it.
    named_here: bool,
    json: Box<str>,
    /// Kept answers whose conversation it is part of; changed under the lock alone.
    holders: AtomicUsize,
}

impl Item {
    /// `value` is the item with its `id`, which the server made.
    pub fn new(value: &Value) -> Arc<Item> {
        Self::make(value, true)
    }

    /// The same with an `id` that a client chose: it can be seen in its conversation, but not referred to.
    pub fn given(value: &Value) -> Arc<Item> {
        Self::make(value, false)
    }

    fn make(value: &Value, named_here: bool) -> Arc<Item> {
        let id = value["id"].as_str().unwrap_or_default().to_string();
        Arc::new(Item { id, named_here, json: value.to_string().into(), holders: AtomicUsize::new(0) })
    }

    /// What it is called by.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// It as a client sees it.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.json).unwrap_or_default()
    }

    fn bytes(&self) -> usize {
        self.json.len() + 2 * self.id.len() + OVERHEAD
    }
}

/// An answer with its conversation.
#[derive(Debug)]
pub struct Answer {
    /// What it is called by.
    pub id: String,
    /// The response object.
    pub json: Box<str>,
    /// The conversation: what came before, what was asked, what was answered.
    pub items: Vec<Arc<Item>>,
    /// How many of the items the model was given; the others it made.
    pub input: usize,
}

impl Answer {
    fn bytes(&self) -> usize {
        self.json.len() + 2 * self.id.len() + OVERHEAD + size_of_val(self.items.as_slice())
    }
}

#[derive(Default)]
struct State {
    /// By age.
    answers: BTreeMap<u64, Arc<Answer>>,
    /// The answers' places, by id.
    places: HashMap<String, u64>,
    /// The items of all answers that the server has named, by id.
    items: HashMap<String, Arc<Item>>,
    next: u64,
    bytes: usize,
}

/// The kept answers.
pub struct Kept {
    most: usize,
    most_bytes: usize,
    state: Mutex<State>,
}

impl Kept {
    /// Room for `most` answers that together, with their conversations, take no more than `most_bytes`.
    pub fn new(most: usize, most_bytes: usize) -> Kept {
        Kept { most, most_bytes, state: Mutex::default() }
    }

    /// Whether any are kept at all.
    pub fn is_on(&self) -> bool {
        self.most > 0
    }

    /// The answer of that id, if it is still here.
    pub fn get(&self, id: &str) -> Option<Arc<Answer>> {
        let state = self.lock();
        state.answers.get(state.places.get(id)?).cloned()
    }

    /// The item that the server called so, if an answer that is here has it.
    pub fn item(&self, id: &str) -> Option<Arc<Item>> {
        self.lock().items.get(id).cloned()
    }

    /// How many there are, and the bytes that they take.
    pub fn size(&self) -> (usize, usize) {
        let state = self.lock();
        (state.answers.len(), state.bytes)
    }

    /// Keeps an answer; the oldest make room. False: it would not even fit alone.
    pub fn keep(&self, answer: Answer) -> bool {
        let alone = answer.bytes() + answer.items.iter().map(|item| item.bytes()).sum::<usize>();
        if self.most == 0 || alone > self.most_bytes {
            return false;
        }
        let mut state = self.lock();
        state.add(answer);
        while state.answers.len() > self.most || state.bytes > self.most_bytes {
            let Some(oldest) = state.answers.keys().next().copied() else { break };
            state.remove(oldest);
        }
        true
    }

    /// Forgets an answer. Conversations that go on from it keep what they need of it. False: it is not here.
    pub fn forget(&self, id: &str) -> bool {
        let mut state = self.lock();
        let place = state.places.get(id).copied();
        place.is_some_and(|place| state.remove(place))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, answer: Answer) {
        for item in &answer.items {
            if item.holders.fetch_add(1, Relaxed) == 0 {
                self.bytes += item.bytes();
            }
            if item.named_here {
                self.items.insert(item.id.clone(), item.clone());
            }
        }
        self.bytes += answer.bytes();
        self.places.insert(answer.id.clone(), self.next);
        self.answers.insert(self.next, Arc::new(answer));
        self.next += 1;
    }

    fn remove(&mut self, place: u64) -> bool {
        let Some(answer) = self.answers.remove(&place) else { return false };
        self.places.remove(&answer.id);
        self.bytes -= answer.bytes();
        for item in &answer.items {
            if item.holders.fetch_sub(1, Relaxed) == 1 {
                self.bytes -= item.bytes();
                if self.items.get(&item.id).is_some_and(|known| Arc::ptr_eq(known, item)) {
                    self.items.remove(&item.id);
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn item(id: &str, text: &str) -> Arc<Item> {
        Item::new(&json!({"id": id, "text": text}))
    }

    fn answer(id: &str, items: &[Arc<Item>]) -> Answer {
        Answer { id: id.into(), json: json!({"id": id}).to_string().into(), items: items.to_vec(), input: 0 }
    }

    #[test]
    fn the_oldest_leave_and_take_with_them_what_nobody_else_needs() {
        let kept = Kept::new(2, 1 << 20);
        let (a, b, c) = (item("a", "x"), item("b", "y"), item("c", "z"));
        assert!(kept.keep(answer("1", std::slice::from_ref(&a))));
        let one = kept.size().1;
        assert!(kept.keep(answer("2", &[a.clone(), b.clone()])));
        assert!(kept.keep(answer("3", std::slice::from_ref(&c))));
        assert!(kept.get("1").is_none() && kept.get("2").is_some() && kept.get("3").is_some());
        // The second still needs it.
        assert_eq!(kept.item("a").unwrap().value(), json!({"id": "a", "text": "x"}));
        assert!(kept.forget("2") && !kept.forget("2"));
        assert!(kept.item("a").is_none() && kept.item("b").is_none() && kept.item("c").is_some());
        assert_eq!(kept.size(), (1, one), "the sums are those of the one that is left");
        assert!(kept.forget("3"));
        assert_eq!(kept.size(), (0, 0));
    }

    #[test]
    fn bytes_are_limited_and_shared_items_count_once() {
        let text = "x".repeat(10_000);
        let kept = Kept::new(1000, 50_000);
        let shared = item("s", &text);
        for i in 0..40 {
            assert!(kept.keep(answer(&format!("r{i}"), std::slice::from_ref(&shared))));
        }
        assert_eq!(kept.size().0, 40, "one conversation, gone on from often");
        for i in 0..40 {
            assert!(kept.keep(answer(&format!("q{i}"), &[item(&format!("i{i}"), &text)])));
            assert!(kept.size().1 <= 50_000, "{:?}", kept.size());
        }
        assert!(kept.get("q39").is_some() && kept.get("q30").is_none() && kept.item("s").is_none());
        let before = kept.size();
        assert!(!kept.keep(answer("huge", &[item("h", &"x".repeat(60_000))])), "larger than all the room");
        assert_eq!(kept.size(), before, "nothing had to go for it");
        assert!(!Kept::new(0, 50_000).keep(answer("1", &[])));
    }

    #[test]
    fn nothing_is_found_by_an_id_that_a_client_chose() {
        let kept = Kept::new(10, 1 << 20);
        let given = Item::given(&json!({"id": "a", "text": "a client's"}));
        kept.keep(answer("1", &[given]));
        assert!(kept.item("a").is_none());
        kept.keep(answer("2", &[item("a", "the server's")]));
        assert_eq!(kept.item("a").unwrap().value()["text"], "the server's");
        kept.forget("1");
        assert_eq!(kept.item("a").unwrap().value()["text"], "the server's");
    }
}
