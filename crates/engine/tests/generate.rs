//! The generation loop: every way to end, what a session keeps, and what is refused.

mod common;

use common::{golden_config, tokens, write_model};
use nibble_engine::sampler::{Guide, Sampler, Sampling};
use nibble_engine::speculate::{Lookup, Speculator};
use nibble_engine::{Error, Event, Finish, Model, Options, Stop, generate, generate_guided};
use std::sync::atomic::{AtomicBool, Ordering};

fn model(context: usize) -> (tempfile::TempDir, Model) {
    let folder = tempfile::tempdir().unwrap();
    write_model(folder.path(), &golden_config("biases"));
    let options = Options { context: Some(context), threads: Some(2), batch: 4, memory: Some(u64::MAX), ..Options::default() };
    let model = Model::open(folder.path(), options).unwrap();
    (folder, model)
}

fn greedy() -> Sampler {
    Sampler::new(Sampling { temperature: 0.0, ..Sampling::default() }).unwrap()
}

fn collect(model: &Model, prompt: &[u32], stop: Stop) -> (Vec<u32>, Finish) {
    let mut out = Vec::new();
    let mut session = model.session().unwrap();
    let report = generate(&mut session, prompt, &mut greedy(), &stop, &mut |event| {
        if let Event::Token(t) = event {
            out.push(t);
        }
        true
    })
    .unwrap();
    assert_eq!((report.generated, report.prompt), (out.len(), prompt.len()));
    (out, report.finish)
}

#[test]
fn every_way_to_end() {
    let (_folder, model) = model(32);
    let prompt = tokens(10, 64);
    let (free, finish) = collect(&model, &prompt, Stop::default());
    // 22 tokens fit behind the prompt, and one more is sampled from the last logits.
    assert_eq!((free.len(), finish), (23, Finish::ContextFull));
    let (five, finish) = collect(&model, &prompt, Stop { most: Some(5), ..Stop::default() });
    assert_eq!((five.as_slice(), finish), (&free[..5], Finish::Length));
    assert_eq!(collect(&model, &prompt, Stop { most: Some(0), ..Stop::default() }), (vec![], Finish::Length));
    // Any of several end tokens ends, and is not part of the answer.
    let end = free[3];
    let first = free.iter().position(|&t| t == end).unwrap();
    let (cut, finish) = collect(&model, &prompt, Stop { ends: &[999, end], ..Stop::default() });
    assert_eq!((cut.as_slice(), finish), (&free[..first], Finish::End(end)));
    let full = tokens(32, 64);
    assert_eq!(collect(&model, &full, Stop::default()).1, Finish::ContextFull);
}

#[test]
fn cancelling_and_stopping() {
    let (_folder, model) = model(64);
    let prompt = tokens(20, 64);
    let cancel = AtomicBool::new(false);
    let stop = Stop { cancel: Some(&cancel), ..Stop::default() };
    let mut session = model.session().unwrap();
    // In the prompt, after the second batch of four.
    let report = generate(&mut session, &prompt, &mut greedy(), &stop, &mut |event| {
        if matches!(event, Event::Prompt { done: 8, total: 20 }) {
            cancel.store(true, Ordering::Relaxed);
        }
        true
    });
    assert_eq!((report.unwrap().finish, session.tokens()), (Finish::Cancelled, &prompt[..8]));
    cancel.store(false, Ordering::Relaxed);
    // In the answer; what had been read of the prompt is not read again.
    let report = generate(&mut session, &prompt, &mut greedy(), &stop, &mut |event| {
        if matches!(event, Event::Token(_)) {
            cancel.store(true, Ordering::Relaxed);
        }
        true
    });
    let report = report.unwrap();
    assert_eq!((report.finish, report.generated, report.reused), (Finish::Cancelled, 1, 8));
    cancel.store(false, Ordering::Relaxed);
    let report = generate(&mut session, &prompt, &mut greedy(), &stop, &mut |event| matches!(event, Event::Prompt { .. }));
    assert_eq!(report.unwrap().finish, Finish::Stopped);
    let report = generate(&mut session, &tokens(30, 60), &mut greedy(), &stop, &mut |_| false);
    assert_eq!(report.unwrap().finish, Finish::Stopped);
}

#[test]
fn a_chat_reads_only_what_is_new_and_gives_the_same() {
    let (_folder, model) = model(64);
    let mut session = model.session().unwrap();
    let stop = Stop { most: Some(6), ..Stop::default() };
    let mut talk = tokens(12, 64);
    let say = |session: &mut nibble_engine::Session, prompt: &[u32]| {
        let mut out = Vec::new();
        let report = generate(session, prompt, &mut greedy(), &stop, &mut |event| {
            if let Event::Token(t) = event {
                out.push(t);
            }
            true
        });
        (out, report.unwrap().reused)
    };
    let (answer, reused) = say(&mut session, &talk);
    assert_eq!(reused, 0);
    talk.extend(&answer);
    talk.extend([7, 9, 11]);
    let (warm, reused) = say(&mut session, &talk);
    // The answer's last token had not been fed.
    assert_eq!(reused, 12 + 5);
    let (cold, reused) = say(&mut model.session().unwrap(), &talk);
    assert_eq!((&warm, reused), (&cold, 0));
    // A prompt that parts ways early, and the very same one: its last token is fed again.
    talk[4] = 1;
    let (_, reused) = say(&mut session, &talk);
    assert_eq!(reused, 4);
    let (_, reused) = say(&mut session, &talk.clone());
    assert_eq!(reused, talk.len() - 1);
}

#[test]
fn what_does_not_fit_is_refused_with_both_numbers() {
    let (folder, model) = model(16);
    let mut session = model.session().unwrap();
    let error = generate(&mut session, &tokens(17, 64), &mut greedy(), &Stop::default(), &mut |_| true).unwrap_err();
    assert!(matches!(error, Error::PromptTooLong { tokens: 17, context: 16 }), "{error}");
    assert!(error.to_string().contains("17") && error.to_string().contains("16"));
    assert!(matches!(generate(&mut session, &[], &mut greedy(), &Stop::default(), &mut |_| true), Err(Error::NoTokens)));
    assert!(matches!(session.feed(&[64]), Err(Error::Token { id: 64, vocab: 64 })));
    session.feed(&[1, 2, 3]).unwrap();
    assert!(matches!(session.feed(&[1; 14]), Err(Error::ContextFull { tokens: 14, held: 3, context: 16 })));
    let open = |context, memory| Model::open(folder.path(), Options { context: Some(context), memory: Some(memory), ..Options::default() });
    assert!(matches!(open(16385, u64::MAX), Err(Error::ContextRange { asked: 16385, most: 16384 })));
    assert!(matches!(open(0, u64::MAX), Err(Error::ContextRange { asked: 0, .. })));
    // Two layers of two heads of 24, keys and values, two bytes each: 384 bytes a token.
    let need = open(1, u64::MAX).unwrap().need();
    assert_eq!(need.token, 384);
    // And a row of scores in each thread.
    let (fixed, each) = (need.total(0), need.token + need.scores);
    match open(1000, fixed + each * 700).map(|_| ()) {
        Err(Error::Memory { context: 1000, fits: Some(700), .. }) => {}
        other => panic!("{other:?}"),
    }
    assert!(open(700, fixed + each * 700).is_ok());
    assert!(matches!(open(10, fixed / 2), Err(Error::Memory { fits: None, .. })));
}

/// Allows tokens by turns, those of an even id first, and is done after `left`.
struct Turns {
    said: Vec<u32>,
    most: usize,
    mask: Vec<u32>,
}

impl Turns {
    fn new(most: usize) -> Turns {
        Turns { said: vec![], most, mask: vec![] }
    }
}

impl Guide for Turns {
    fn allowed(&mut self) -> Result<&[u32], String> {
        if self.said.len() == 40 {
            return Err("forty is enough".into());
        }
        self.mask = vec![if self.said.len().is_multiple_of(2) { 0x5555_5555 } else { 0xaaaa_aaaa }; 2];
        Ok(&self.mask)
    }
    fn accept(&mut self, token: u32) -> Result<(), String> {
        self.said.push(token);
        Ok(())
    }
    fn is_finished(&self) -> bool {
        self.said.len() == self.most
    }
}

#[test]
fn a_guide_is_followed_with_and_without_drafts() {
    let (_folder, model) = model(128);
    let prompt = tokens(20, 64);
    let run = |most: usize, drafts: bool| {
        let mut guide = Turns::new(most);
        let mut speculator = drafts.then(|| Speculator::new(Lookup::new(), 4));
        let mut session = model.session().unwrap();
        let report = generate_guided(
            &mut session,
            &prompt,
            &mut greedy(),
            Some(&mut guide),
            speculator.as_mut(),
            &Stop { most: Some(60), ..Stop::default() },
            &mut |_| true,
        );
        (guide.said, report.map(|r| r.finish))
    };
    let (said, finish) = run(12, false);
    assert_eq!((said.len(), finish.unwrap()), (12, Finish::Complete));
    assert!(said.iter().enumerate().all(|(i, t)| *t as usize % 2 == i % 2), "{said:?}");
    assert_eq!(run(12, true).0, said);
    // A guide that knows no way on ends the answer with its own words.
    assert!(matches!(run(60, true).1, Err(Error::Guide(why)) if why == "forty is enough"));
}
