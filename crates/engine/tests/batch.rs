//! Several sessions in one step: each gets the bits that it would get alone, whatever the mixture, the threads, the kernels and the type of the cache.

mod common;

use common::{emulated, golden_config, tiny, tokens, write_model};
use nibble_engine::{Batch, Error, Feed, KvType, Model, Options, Rows};
use nibble_kernels::Isa;
use std::path::Path;

fn model(path: &Path, threads: usize, kv: KvType, isa: Option<Isa>) -> Model {
    Model::open(path, Options { threads: Some(threads), kv, isa, context: Some(400), memory: Some(u64::MAX), ..Options::default() })
        .unwrap()
}

/// The steps of four texts: how many tokens each takes in each step. One at a time and many, over a border of the cache's chunks, some left out.
const STEPS: [[usize; 4]; 8] =
    [[5, 0, 1, 250], [1, 3, 0, 1], [1, 1, 1, 1], [40, 1, 1, 10], [1, 1, 17, 0], [0, 2, 1, 1], [1, 1, 1, 1], [1, 0, 0, 0]];

fn check(model: &Model, what: &str) {
    (0..3).for_each(|shift| check_rows(model, shift, what));
}

/// `shift`: so that each part has its logits wanted, or not, once.
fn check_rows(model: &Model, shift: usize, what: &str) {
    let vocab = model.config().vocab;
    // An emulated processor takes minutes for what the real one does in a second: there no part is long.
    let steps = STEPS.map(|step| step.map(|count| if emulated() { count.min(6) } else { count }));
    let lengths: Vec<usize> = (0..4).map(|i| steps.iter().map(|step| step[i]).sum()).collect();
    let ids = tokens(lengths.iter().sum(), vocab);
    let mut rest = &ids[..];
    let texts: Vec<&[u32]> = lengths.iter().map(|&n| rest.split_off(..n).unwrap()).collect();

    let alone: Vec<Vec<f32>> = texts
        .iter()
        .map(|text| {
            let (mut session, mut all) = (model.session().unwrap(), Vec::new());
            session.feed_each(text, &mut |_, logits| all.extend_from_slice(logits)).unwrap();
            all
        })
        .collect();

    let mut sessions: Vec<_> = texts.iter().map(|_| model.session().unwrap()).collect();
    let mut batch = Batch::new(model);
    for (n, step) in steps.iter().enumerate() {
        // In some steps the same for all texts, in the others not.
        let rows = |i: usize| [Rows::All, Rows::Last, Rows::None][(n + shift + n / 3 % 2 * i) % 3];
        let from: Vec<usize> = sessions.iter().map(|session| session.tokens().len()).collect();
        let mut feeds: Vec<Feed> = sessions
            .iter_mut()
            .enumerate()
            .filter(|(i, _)| step[*i] > 0)
            .map(|(i, session)| Feed { ids: &texts[i][from[i]..from[i] + step[i]], rows: rows(i), session })
            .collect();
        batch.step(&mut feeds).unwrap();
        for (feed, i) in (0..4).filter(|&i| step[i] > 0).enumerate() {
            let rows = match rows(i) {
                Rows::None => 0,
                Rows::Last => 1,
                Rows::All => step[i],
            };
            let end = from[i] + step[i];
            assert!(batch.logits(feed) == &alone[i][(end - rows) * vocab..end * vocab], "step {n}, text {i}: {what}");
        }
    }
}

#[test]
fn any_mixture_gives_the_bits_of_each_alone() {
    for kv in if emulated() { &[KvType::F16][..] } else { &[KvType::F16, KvType::Q8_0] } {
        let kv = *kv;
        check(&model(&tiny(), 2, kv, None), &format!("{kv:?}"));
    }
    if emulated() {
        return;
    }
    for threads in [1, 3] {
        check(&model(&tiny(), threads, KvType::F16, None), &format!("{threads} threads"));
    }
    for isa in Isa::ALL {
        check(&model(&tiny(), 2, KvType::F16, Some(*isa)), &format!("{isa:?}"));
    }
}

#[test]
fn windows_and_biases_hold_in_a_mixture() {
    for name in ["window", "biases"] {
        let folder = tempfile::tempdir().unwrap();
        write_model(folder.path(), &golden_config(name));
        let most = nibble_engine::source::Source::open(folder.path()).unwrap().config().context;
        if most >= 400 {
            check(&model(folder.path(), 2, KvType::F32, None), name);
        } else {
            panic!("{name}: a context of {most} is too short for the steps");
        }
    }
}

#[test]
fn nothing_is_fed_when_one_text_cannot_be() {
    let model = model(&tiny(), 1, KvType::F16, None);
    let (mut a, mut b) = (model.session().unwrap(), model.session().unwrap());
    let mut batch = Batch::new(&model);
    let long = tokens(401, model.config().vocab);
    let mut feeds = [Feed { session: &mut a, ids: &[1], rows: Rows::Last }, Feed { session: &mut b, ids: &long, rows: Rows::Last }];
    assert!(matches!(batch.step(&mut feeds), Err((1, Error::ContextFull { tokens: 401, held: 0, context: 400 }))));
    assert!(a.tokens().is_empty() && b.tokens().is_empty());
    assert!(matches!(batch.step(&mut [Feed { session: &mut a, ids: &[], rows: Rows::Last }]), Err((0, Error::NoTokens))));
    batch.step(&mut []).unwrap();
}

/// A session that takes over what another has read goes on as if it had read it.
#[test]
fn a_copied_beginning_goes_on_as_the_original() {
    // The types of cache differ in what a row's bytes mean, which copying does not look at: one is enough where that takes minutes.
    for kv in KvType::all().filter(|kv| !emulated() || *kv == KvType::F16) {
        // Nor do weights matter to it, but there must be more positions than a chunk of the cache has: a small model where each takes long.
        let folder = tempfile::tempdir().unwrap();
        write_model(folder.path(), &golden_config("biases"));
        let model = if emulated() { model(folder.path(), 2, kv, None) } else { model(&tiny(), 2, kv, None) };
        let text = tokens(300, model.config().vocab);
        let (mut first, mut second) = (model.session().unwrap(), model.session().unwrap());
        first.feed(&text[..290]).unwrap();
        second.feed(&text[50..60]).unwrap();
        second.copy_from(&first, 270).unwrap();
        assert_eq!(second.tokens(), &text[..270]);
        assert!(second.cache_bytes() >= 270 * model.need().token as usize);
        first.truncate(270);
        assert!(second.feed(&text[280..]).unwrap() == first.feed(&text[280..]).unwrap(), "{kv:?}");
        assert!(second.copy_from(&first, 291).is_err());
    }
}

/// What embeddings are made of: the same whether a text is read in one batch or in several, and as many rows as tokens.
#[test]
fn hidden_states_come_for_every_token() {
    let text = tokens(40, 4096);
    let of = |batch: usize| {
        let model = Model::open(&tiny(), Options { threads: Some(2), batch, memory: Some(u64::MAX), ..Options::default() }).unwrap();
        let (mut session, mut all, mut positions) = (model.session().unwrap(), Vec::new(), Vec::new());
        session
            .feed_hidden(&text, &mut |pos, hidden| {
                positions.push(pos);
                all.extend_from_slice(hidden);
            })
            .unwrap();
        assert_eq!(positions, (0..40).collect::<Vec<_>>());
        assert_eq!(all.len(), 40 * model.config().dim);
        all
    };
    assert!(of(256) == of(7));
}
