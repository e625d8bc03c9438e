//! The loop over windows: tokens in, the numbers of each scored position out.
//!
//! Of a window the tokens before the first scored position go through the model in its own batches, without logits. From there on they go in pieces, each with the
//! logits after every token of it, so that there is never more of them in memory than a piece's. A reference model that runs beside takes the same pieces. What is
//! done with a row is done on the model's own threads, a row each; nothing depends on their number or on the pieces.

use std::ops::Range;

use nibble_engine::logits::{Row, divergence};
use nibble_engine::{Model, Session};

use super::Fault;
use super::base::{Base, Rows, Versus, Writer};
use super::record::{self, Chunk, Floats};
use super::windows::{Passage, Window};

/// What a model is compared with.
#[derive(Clone, Copy)]
pub enum Against<'a> {
    /// Nothing: perplexity only.
    Nothing,
    /// A file of what a reference said. Its chunks are the passage's windows.
    Base(&'a Base),
    /// Another model, beside this one.
    Model(&'a Model),
}

/// Logits of a piece, in floats: enough tokens for the kernels of many tokens, and 32 MiB at most where that many take no more.
const PIECE: usize = 8 << 20;

pub(super) fn piece(model: &Model) -> usize {
    (PIECE / model.config().vocab).clamp(32, model.options().batch.max(32))
}

/// Takes the windows of a range through the model, in order. `each` gets every chunk when it is complete, with the length of the base file that is being written; what it
/// returns as an error ends the run.
pub fn run<'m>(
    model: &'m Model,
    passage: &Passage,
    range: Range<usize>,
    against: Against<'m>,
    mut save: Option<&mut Writer>,
    each: &mut dyn FnMut(Chunk, Option<u64>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let vocab = model.config().vocab;
    let context = passage.windows.iter().map(|w| w.len).max().unwrap_or(1);
    let session = |model| Session::new(model, context);
    if let Against::Base(base) = against
        && base.head().vocab != vocab
    {
        return Err(Fault::Vocabulary { path: base.path().to_path_buf(), found: base.head().vocab, expected: vocab });
    }
    let mut beside = match against {
        Against::Model(reference) if reference.config().vocab != vocab => {
            let path = reference.source().path().to_path_buf();
            return Err(Fault::Vocabulary { path, found: reference.config().vocab, expected: vocab });
        }
        Against::Model(reference) => Some(session(reference)?),
        _ => None,
    };
    let mut scorer = Scorer { session: session(model)?, piece: piece(model) };
    for index in range {
        let window = passage.windows[index];
        let rows = match against {
            Against::Base(base) => Some(base.chunk(index)?),
            _ => None,
        };
        let (chunk, written) = scorer.window(passage, index, window, rows.as_ref(), beside.as_mut(), save.as_deref_mut())?;
        if let Against::Base(base) = against {
            base.release(index);
        }
        each(chunk, written)?;
    }
    Ok(())
}

/// The numbers of one position.
#[derive(Clone, Copy)]
struct Point {
    nll: f64,
    versus: Option<Versus>,
    valid: bool,
}

struct Scorer<'m> {
    session: Session<'m>,
    piece: usize,
}

impl<'m> Scorer<'m> {
    fn window(
        &mut self,
        passage: &Passage,
        index: usize,
        window: Window,
        rows: Option<&Rows>,
        mut beside: Option<&mut Session<'m>>,
        mut save: Option<&mut Writer>,
    ) -> Result<(Chunk, Option<u64>), Fault> {
        let ids = passage.ids(window);
        let scored = &passage.tokens[window.scored()];
        let errors = rows.is_some_and(Rows::has_error);
        let mut points = vec![];
        for session in std::iter::once(&mut self.session).chain(beside.as_deref_mut()) {
            session.truncate(0);
            if window.first > 0 {
                session.feed(&ids[..window.first])?;
            }
        }
        // The last token's logits would predict what is not in the window.
        for (n, piece) in ids[window.first..ids.len() - 1].chunks(self.piece).enumerate() {
            let from = n * self.piece;
            self.session.feed_rows(piece)?;
            if let Some(beside) = beside.as_deref_mut() {
                beside.feed_rows(piece)?;
            }
            let (session, reference, writer) = (&self.session, beside.as_deref(), save.as_deref());
            let point = |i: usize, out: &mut Vec<u8>| {
                let (logits, next) = (session.row(i), scored[from + i]);
                let row = Row::of(logits);
                if !row.is_valid() {
                    return Point { nll: f64::NAN, versus: None, valid: false };
                }
                if let Some(writer) = writer {
                    writer.encode(logits, &row, next, out);
                }
                let versus = match (rows, reference) {
                    (Some(rows), _) => Some(rows.versus(from + i, logits, &row, next)),
                    (_, Some(reference)) => Some(beside_model(reference.row(i), logits, &row, next)),
                    _ => None,
                };
                let valid = versus.is_none_or(|v| !v.kl.is_nan());
                Point { nll: -row.log_prob(logits[next as usize]), versus, valid }
            };
            let nothing = Point { nll: 0.0, versus: None, valid: false };
            let mut made: Vec<(Point, Vec<u8>)> = vec![(nothing, vec![]); piece.len()];
            session.model().pool().chunks(&mut made, 1, |i, out| out[0].0 = point(i, &mut out[0].1));
            if let Some(i) = made.iter().position(|(point, _)| !point.valid) {
                return Err(Fault::NotNumbers { chunk: index, position: window.first + from + i });
            }
            let (new, encoded): (Vec<Point>, Vec<Vec<u8>>) = made.into_iter().unzip();
            points.extend(new);
            if let Some(writer) = save.as_deref_mut() {
                writer.rows(&encoded)?;
            }
        }
        let written = save.map(Writer::end_chunk).transpose()?;
        let bytes = passage.bytes[window.scored()].iter().map(|&n| u64::from(n)).sum();
        Ok((chunk(index, bytes, &points, errors), written))
    }
}

/// A row of logits beside the reference's own.
fn beside_model(reference: &[f32], logits: &[f32], row: &Row, next: u32) -> Versus {
    let base = Row::of(reference);
    Versus {
        nll_base: -base.log_prob(reference[next as usize]),
        kl: divergence(reference, &base, logits, row),
        error: 0.0,
        same_top: base.top == row.top,
    }
}

fn chunk(index: usize, bytes: u64, points: &[Point], errors: bool) -> Chunk {
    let floats = |value: &dyn Fn(&Point) -> f64| Floats(points.iter().map(|p| value(p) as f32).collect());
    let of = |value: fn(&Versus) -> f64| floats(&|p: &Point| p.versus.as_ref().map_or(0.0, value));
    let versus = points.iter().all(|p| p.versus.is_some()).then(|| record::Versus {
        nll_base: of(|v| v.nll_base),
        kl: of(|v| v.kl),
        kl_error: errors.then(|| of(|v| v.error)),
        same_top: points.iter().map(|p| if p.versus.is_some_and(|v| v.same_top) { '1' } else { '0' }).collect(),
    });
    Chunk { index, bytes, nll: floats(&|p| p.nll), versus }
}
