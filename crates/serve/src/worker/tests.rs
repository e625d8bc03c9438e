//! The thread with models/tiny: nothing lost, nothing mixed up, nobody left waiting.

use super::*;
use nibble_engine::sampler::{Guide, Sampler};
use nibble_engine::speculate::Speculator;
use nibble_engine::text::{Tokenizer, Vocab};
use nibble_engine::{Options, Stop, generate};
use std::path::Path;

fn model(context: usize) -> Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/tiny");
    Model::open(&path, Options { threads: Some(2), context: Some(context), ..Options::default() }).unwrap()
}

fn tokenizer(model: &Model) -> Tokenizer {
    Tokenizer::new(Vocab::of(model.source()).unwrap())
}

fn request(prompt: Vec<u32>, seed: u64, most: usize) -> Request {
    let sampling = Sampling { seed, temperature: 1.2, ..Sampling::default() };
    Request {
        prompt,
        context: 512,
        most: Some(most),
        sampling,
        ends: vec![],
        resumed: None,
        constraint: None,
        bias: vec![],
        logprobs: None,
        echo: false,
    }
}

/// A prompt that differs from every other from its first word on, or shares a beginning with some.
fn prompt(tokenizer: &Tokenizer, i: usize) -> Vec<u32> {
    let begin =
        ["Once upon a time there was", "A dog and a cat lived in a house.", "The sun", "One day a little girl went to the park with"]
            [i % 4];
    tokenizer.encode(&format!("{begin} number {i} {}", "and then ".repeat(i % 7)))
}

/// All tokens, and the last event.
fn all(events: &mut Events) -> (Vec<u32>, Event) {
    let mut tokens = Vec::new();
    loop {
        match events.from.blocking_recv().expect("an end comes before the channel closes") {
            Event::Prompt { .. } | Event::Read(_) => {}
            Event::Token(token) => tokens.push(token.id),
            end => return (tokens, end),
        }
    }
}

fn done(event: Event) -> Report {
    match event {
        Event::Done(report) => report,
        other => panic!("expected the end, found {other:?}"),
    }
}

/// What the engine alone answers.
fn alone(model: &Model, request: &Request) -> Vec<u32> {
    let mut session = model.session().unwrap();
    let mut sampler = Sampler::new(request.sampling.clone()).unwrap();
    let (mut tokens, stop) = (Vec::new(), Stop { ends: &request.ends, most: request.most, cancel: None });
    generate(&mut session, &request.prompt, &mut sampler, &stop, &mut |event| {
        if let nibble_engine::Event::Token(token) = event {
            tokens.push(token);
        }
        true
    })
    .unwrap();
    tokens
}

/// Sixty-four requests on three slots, of different lengths, coming while others are answered: each gets what it would get alone.
#[test]
fn answers_do_not_depend_on_their_company() {
    let model = model(512);
    let tokenizer = tokenizer(&model);
    let make = |i: usize| request(prompt(&tokenizer, i), i as u64, 3 + i % 11);
    let expected: Vec<Vec<u32>> = (0..64).map(|i| alone(&model, &make(i))).collect();
    let worker = Worker::start(model, 3, 64, true).unwrap();
    let mut events: Vec<Events> = (0..64).map(|i| worker.submit(make(i)).unwrap()).collect();
    for (i, events) in events.iter_mut().enumerate() {
        let (tokens, end) = all(events);
        assert_eq!(tokens, expected[i], "request {i}");
        let report = done(end);
        assert_eq!((report.generated, report.prompt), (tokens.len(), make(i).prompt.len()));
        assert!(report.cut && report.reused < report.prompt);
    }
    assert_eq!(worker.load(), (0, 0));
}

/// A worker that guesses this many tokens each time, whether it pays or not.
fn guessing(model: Model, parallel: usize, count: usize) -> Worker {
    Worker::with(model, parallel, 64, move || Some(Speculator::fixed(Lookup::new(), count))).unwrap()
}

/// Greedy and drawn, with and without penalties, a bias, a guide, probabilities, an end in the middle, and to the end of the context: guesses change nothing.
#[test]
fn guesses_change_no_answer() {
    let text = "the cat and the dog and the cat and the dog and the cat and the dog and the ";
    let make = |tokenizer: &Tokenizer, vocab: usize, i: usize| {
        let prompt = tokenizer.encode(&format!("{} {i} {}", &text[..i % 20], text.repeat(1 + i % 3)));
        let context = if i.is_multiple_of(5) { prompt.len() + 20 } else { 512 };
        let mut request = Request { context, most: (!i.is_multiple_of(4)).then_some(30 + i), ..request(prompt, i as u64, 0) };
        if request.most.is_none() && request.context == 512 {
            request.most = Some(60);
        }
        request.sampling.temperature = [0.0, 0.7, 1.2][i % 3];
        request.sampling.repeat_penalty = [1.0, 1.1][i / 3 % 2];
        request.logprobs = i.is_multiple_of(7).then_some(2);
        if i % 6 == 1 {
            request.constraint = Some(Thirds::new(vocab, 1000, false));
        }
        if i % 6 == 2 {
            request.bias = vec![(prompt_token(tokenizer), 4.0)];
        }
        if i % 4 == 3 {
            request.ends = vec![prompt_token(tokenizer)];
        }
        request
    };
    let plain = model(512);
    let (tokenizer, vocab) = (tokenizer(&plain), plain.config().vocab);
    let plain = Worker::with(plain, 1, 64, || None).unwrap();
    for count in [1, 5] {
        let worker = guessing(model(512), 1, count);
        let mut right = 0;
        for i in 0..24 {
            let (tokens, end) = every(&mut plain.submit(make(&tokenizer, vocab, i)).unwrap());
            let (same, ended) = every(&mut worker.submit(make(&tokenizer, vocab, i)).unwrap());
            assert_eq!(same, tokens, "request {i} with {count} guesses");
            let (end, ended) = (done(end), done(ended));
            assert_eq!(
                (ended.cut, ended.full, ended.generated, ended.prompt),
                (end.cut, end.full, end.generated, end.prompt),
                "request {i}"
            );
            // What the slot holds is what it would hold, so the same is taken over.
            assert_eq!(ended.reused, end.reused, "request {i}");
            assert_eq!(end.guesses.drafted, 0);
            right += ended.guesses.accepted;
        }
        assert!(right > 50, "{right} guesses were right");
    }
}

fn prompt_token(tokenizer: &Tokenizer) -> u32 {
    tokenizer.encode(" cat")[0]
}

/// All tokens with their probabilities, and the last event.
fn every(events: &mut Events) -> (Vec<Token>, Event) {
    let mut tokens = Vec::new();
    loop {
        match events.from.blocking_recv().expect("an end comes before the channel closes") {
            Event::Prompt { .. } => {}
            Event::Token(token) => tokens.push(token),
            end => return (tokens, end),
        }
    }
}

/// Guessing begins, ends and begins again as others come and go.
#[test]
fn guesses_do_not_depend_on_company() {
    let model_ = model(512);
    let tokenizer = tokenizer(&model_);
    let make = |i: usize| Request { most: Some(20 + 15 * (i % 4)), ..request(prompt(&tokenizer, i), i as u64, 0) };
    let expected: Vec<Vec<u32>> = (0..24).map(|i| alone(&model_, &make(i))).collect();
    let worker = guessing(model_, 2, 4);
    let mut events: Vec<Events> = (0..24).map(|i| worker.submit(make(i)).unwrap()).collect();
    for (i, events) in events.iter_mut().enumerate() {
        assert_eq!(all(events).0, expected[i], "request {i}");
    }
}

/// What a full context has ended goes on elsewhere with the sampler and the guide as they were.
#[test]
fn an_answer_goes_on_with_its_sampler_and_its_guide() {
    let model = model(512);
    let tokenizer = tokenizer(&model);
    let vocab = model.config().vocab;
    let worker = Worker::start(model, 1, 4, true).unwrap();
    let make = |context: usize, most: usize| Request {
        context,
        constraint: Some(Thirds::new(vocab, 1000, false)),
        ..request(prompt(&tokenizer, 2), 9, most)
    };
    let whole = all(&mut worker.submit(make(512, 40)).unwrap()).0;
    let first = make(512, 40);
    let (context, mut text) = (first.prompt.len() + 12, first.prompt.clone());
    let mut events = worker.submit(make(context, 40)).unwrap();
    let (tokens, end) = all(&mut events);
    let report = done(end);
    assert!(report.full && report.cut && tokens.len() == 13 && tokens == whole[..13]);
    let rest = events.rest().unwrap();
    assert!(events.rest().is_none());
    text.extend(&tokens);
    let next = Request { prompt: text, most: Some(27), resumed: Some(rest.sampler), constraint: rest.constraint, ..request(vec![], 0, 0) };
    let (more, end) = all(&mut worker.resume(next));
    assert_eq!([tokens, more].concat(), whole);
    assert!(!done(end).full);
    assert_eq!(worker.load(), (0, 0));
}

#[test]
fn a_beginning_that_has_been_read_is_not_read_again() {
    let model = model(512);
    let tokenizer = tokenizer(&model);
    let long = tokenizer.encode(&"The little fox went into the wood and met a bear. ".repeat(12));
    let mut longer = long.clone();
    longer.extend(tokenizer.encode("Then it"));
    let expected = alone(&model, &request(longer.clone(), 5, 8));
    let worker = Worker::start(model, 2, 4, true).unwrap();
    let (_, end) = all(&mut worker.submit(request(long.clone(), 1, 4)).unwrap());
    assert_eq!(done(end).reused, 0);
    // Idle: taken over. What the first answer added is forgotten.
    let (tokens, end) = all(&mut worker.submit(request(longer.clone(), 5, 8)).unwrap());
    assert_eq!((tokens, done(end).reused), (expected.clone(), long.len()));
    // At work: copied.
    let mut busy = worker.submit(request(longer.clone(), 6, 200)).unwrap();
    while !matches!(busy.from.blocking_recv(), Some(Event::Token(_))) {}
    let (tokens, end) = all(&mut worker.submit(request(longer.clone(), 5, 8)).unwrap());
    assert_eq!((tokens, done(end).reused), (expected, longer.len() - 1));
    assert_eq!(done(all(&mut busy).1).generated, 200);
}

#[test]
fn who_hangs_up_makes_room() {
    let model = model(512);
    let tokenizer = tokenizer(&model);
    let worker = Worker::start(model, 1, 2, true).unwrap();
    let mut first = worker.submit(request(prompt(&tokenizer, 1), 1, 480)).unwrap();
    while !matches!(first.from.blocking_recv(), Some(Event::Token(_))) {}
    let gone = worker.submit(request(prompt(&tokenizer, 2), 2, 480)).unwrap();
    let mut stays = worker.submit(request(prompt(&tokenizer, 3), 3, 5)).unwrap();
    // One works, two wait: that is all there is room for.
    let full = worker.submit(request(prompt(&tokenizer, 4), 4, 5)).err().unwrap();
    assert_eq!(full.waiting, 2);
    assert!(full.retry_after >= 1);
    assert_eq!(worker.load(), (1, 2));
    drop(gone);
    drop(first);
    assert_eq!(all(&mut stays).0.len(), 5);
    // In the middle of its prompt, too.
    let long = tokenizer.encode(&"The little fox went into the wood and met a bear. ".repeat(40));
    drop(worker.submit(request(long, 1, 5)).unwrap());
    assert_eq!(all(&mut worker.submit(request(prompt(&tokenizer, 3), 3, 5)).unwrap()).0.len(), 5);
    assert_eq!(worker.load(), (0, 0));
}

#[test]
fn stop_ends_an_answer_and_tells_what_it_took() {
    let model = model(512);
    let tokenizer = tokenizer(&model);
    let worker = Worker::start(model, 1, 0, true).unwrap();
    let mut events = worker.submit(request(prompt(&tokenizer, 1), 1, 480)).unwrap();
    while !matches!(events.from.blocking_recv(), Some(Event::Token(_))) {}
    events.stop();
    let (rest, end) = all(&mut events);
    let report = done(end);
    assert_eq!(report.generated, rest.len() + 1);
    assert!(!report.cut && report.generated < 480);
}

#[test]
fn an_answer_ends_with_the_context() {
    let model = model(64);
    let tokenizer = tokenizer(&model);
    let worker = Worker::start(model, 2, 4, true).unwrap();
    let prompt = prompt(&tokenizer, 2);
    let wanted = |context: usize| Request { context, most: None, ..request(prompt.clone(), 1, 0) };
    for context in [64, 40] {
        let (tokens, end) = all(&mut worker.submit(wanted(context)).unwrap());
        assert!(done(end).cut);
        // The last token needs no place of its own.
        assert_eq!(tokens.len(), context - prompt.len() + 1);
    }
    let too_long = Request { prompt: vec![1; 65], ..wanted(64) };
    let (tokens, end) = all(&mut worker.submit(too_long).unwrap());
    assert!(tokens.is_empty() && matches!(&end, Event::Failed(why) if why.contains("65")), "{end:?}");
    let (tokens, end) = all(&mut worker.submit(Request { most: Some(0), ..wanted(64) }).unwrap());
    assert!(tokens.is_empty() && done(end).cut);
}

/// In pieces of a prompt, after the same prompt was read already, and with an answer of nothing: each token of the prompt but the first has the
/// probability that the engine's logits give it, and the answer is what it would be.
#[test]
fn the_prompts_tokens_have_probabilities_too() {
    let model = model(512);
    let vocab = model.config().vocab;
    let text = tokenizer(&model).encode(&"The cat sat on the mat and looked at the dog. ".repeat(8));
    assert!(text.len() > 64, "longer than a step");
    let mut session = model.session().unwrap();
    let expected: Vec<f64> = (0..text.len() - 1)
        .map(|i| {
            let logits = session.feed(&text[i..=i]).unwrap();
            let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = logits.iter().map(|&x| f64::from(x - most).exp()).sum();
            f64::from(logits[text[i + 1] as usize] - most) - sum.ln()
        })
        .collect();
    drop(session);
    let answer = alone(&model, &request(text.clone(), 5, 3));
    let worker = Worker::start(model, 2, 64, true).unwrap();
    for most in [3, 0, 3] {
        let mut events = worker.submit(Request { echo: true, logprobs: Some(2), ..request(text.clone(), 5, most) }).unwrap();
        let (mut read, mut said) = (vec![], vec![]);
        let report = loop {
            match events.from.blocking_recv().unwrap() {
                Event::Prompt { .. } => {}
                Event::Read(tokens) => read.extend(tokens),
                Event::Token(token) => said.push(token.id),
                end => break done(end),
            }
        };
        assert_eq!(read.iter().map(|token| token.id).collect::<Vec<_>>(), text[1..]);
        for (token, expected) in read.iter().zip(&expected) {
            assert!((f64::from(token.logprob.unwrap()) - expected).abs() < 1e-4, "{token:?}, expected {expected}");
            assert!(token.top.len() == 2 && token.top.iter().all(|(id, _)| (*id as usize) < vocab) && token.top[0].1 >= token.top[1].1);
        }
        assert_eq!((&said[..], report.reused, report.generated, report.cut), (&answer[..most], 0, most, true));
    }
}

/// Allows every third token, and fails or panics after so many.
struct Thirds {
    words: Vec<u32>,
    left: usize,
    panics: bool,
    /// Instead of failing, it is finished then.
    ends: bool,
}

impl Thirds {
    fn new(vocab: usize, left: usize, panics: bool) -> Box<Thirds> {
        let mut words = vec![0; vocab.div_ceil(32)];
        (0..vocab).step_by(3).for_each(|token| words[token / 32] |= 1 << (token % 32));
        Box::new(Thirds { words, left, panics, ends: false })
    }
}

impl Guide for Thirds {
    fn allowed(&mut self) -> Result<&[u32], String> {
        if self.left == 0 {
            assert!(!self.panics, "the test's own panic");
            return Err("no more".to_string());
        }
        Ok(&self.words)
    }

    fn accept(&mut self, token: u32) -> Result<(), String> {
        self.left -= 1;
        if token.is_multiple_of(3) { Ok(()) } else { Err(format!("{token} was not allowed")) }
    }

    fn is_finished(&self) -> bool {
        self.ends && self.left == 0
    }
}

#[test]
fn a_guide_is_followed_and_its_failure_is_its_own_request_s() {
    let model = model(512);
    let tokenizer = tokenizer(&model);
    let vocab = model.config().vocab;
    let worker = Worker::start(model, 2, 4, true).unwrap();
    let guided = |left, panics| Request { constraint: Some(Thirds::new(vocab, left, panics)), ..request(prompt(&tokenizer, 1), 1, 6) };
    let (tokens, end) = all(&mut worker.submit(guided(100, false)).unwrap());
    assert!(tokens.len() == 6 && tokens.iter().all(|token| token.is_multiple_of(3)));
    done(end);
    let mut other = worker.submit(request(prompt(&tokenizer, 2), 1, 60)).unwrap();
    let (tokens, end) = all(&mut worker.submit(guided(4, false)).unwrap());
    assert_eq!((tokens.len(), end), (4, Event::Failed("no more".to_string())));
    assert_eq!(all(&mut other).0.len(), 60);
    // What is finished ends by itself, and was not cut.
    let mut three = Thirds::new(vocab, 3, false);
    three.ends = true;
    let (tokens, end) = all(&mut worker.submit(Request { constraint: Some(three), ..request(prompt(&tokenizer, 1), 1, 60) }).unwrap());
    assert!(tokens.len() == 3 && !done(end).cut);
}

#[test]
fn a_panic_ends_what_was_in_the_making_and_nothing_else() {
    let model = model(512);
    let tokenizer = tokenizer(&model);
    let vocab = model.config().vocab;
    let worker = Worker::start(model, 2, 8, true).unwrap();
    let expected = all(&mut worker.submit(request(prompt(&tokenizer, 1), 1, 6)).unwrap()).0;
    let mut other = worker.submit(request(prompt(&tokenizer, 2), 1, 480)).unwrap();
    let guide: Box<dyn Guide> = Thirds::new(vocab, 3, true);
    let mut bad = worker.submit(Request { constraint: Some(guide), ..request(prompt(&tokenizer, 1), 1, 6) }).unwrap();
    assert!(matches!(all(&mut bad), (tokens, Event::Failed(_)) if tokens.len() == 3));
    assert!(matches!(all(&mut other).1, Event::Failed(_)));
    assert_eq!(all(&mut worker.submit(request(prompt(&tokenizer, 1), 1, 6)).unwrap()).0, expected);
    assert_eq!(worker.load(), (0, 0));
}

#[test]
fn probabilities_are_those_of_the_logits() {
    let model = model(512);
    let tokenizer = tokenizer(&model);
    let prompt = prompt(&tokenizer, 1);
    let mut session = model.session().unwrap();
    let logits: Vec<f64> = session.feed(&prompt).unwrap().iter().map(|&x| f64::from(x)).collect();
    let sum: f64 = logits.iter().map(|x| x.exp()).sum();
    drop(session);
    let worker = Worker::start(model, 1, 0, true).unwrap();
    let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
    let wanted = Request { logprobs: Some(5), sampling: greedy, ..request(prompt, 1, 1) };
    let mut events = worker.submit(wanted).unwrap();
    let token = loop {
        if let Some(Event::Token(token)) = events.from.blocking_recv() {
            break token;
        }
    };
    assert_eq!(token.top.len(), 5);
    assert_eq!((token.top[0].0, Some(token.top[0].1)), (token.id, token.logprob));
    for (i, &(id, log)) in token.top.iter().enumerate() {
        assert!((f64::from(log) - (logits[id as usize] - sum.ln())).abs() < 1e-4);
        assert!(i == 0 || token.top[i - 1].1 >= log);
        assert!(logits.iter().filter(|&&x| x > logits[id as usize]).count() == i);
    }
}

#[test]
fn texts_become_vectors_beside_answers() {
    let model = model(512);
    let tokenizer = tokenizer(&model);
    let texts: Vec<Vec<u32>> = ["A cat sleeps.", "A dog barks at the moon."].iter().map(|text| tokenizer.encode(text)).collect();
    let mut last = Vec::new();
    model.session().unwrap().feed_hidden(&texts[0], &mut |_, hidden| last = hidden.to_vec()).unwrap();
    let worker = Worker::start(model, 1, 4, true).unwrap();
    let mut answer = worker.submit(request(prompt(&tokenizer, 2), 1, 100)).unwrap();
    let of = |pooling| worker.embed(texts.clone(), pooling).unwrap().blocking_recv().unwrap().unwrap();
    assert_eq!(of(Pooling::Last)[0], last);
    let mean = of(Pooling::Mean);
    assert!(mean.len() == 2 && mean[0] != mean[1] && mean[0] != last && mean[0].len() == last.len());
    let too_long = worker.embed(vec![vec![1; 100_000_000]], Pooling::Mean).unwrap().blocking_recv().unwrap();
    assert!(too_long.is_err());
    assert_eq!(all(&mut answer).0.len(), 100);
    assert_eq!(worker.load(), (0, 0));
}
