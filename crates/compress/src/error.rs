//! What can go wrong on the way from a checkpoint to a smaller one.

use crate::calibrate::ImatrixFault;
use std::io;
use std::path::PathBuf;

/// Why a plan or a run failed. The messages name the file and the tensor, and what to do where something can be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Source(#[from] nibble_engine::Error),
    /// The tokenizer cannot be read.
    #[error(transparent)]
    Text(#[from] nibble_engine::text::TextError),
    /// A container file is not as it should be.
    #[error(transparent)]
    Container(#[from] nibble_container::Error),
    /// A file cannot be read or written.
    #[error("{}: {error}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        error: io::Error,
    },
    /// Tensors for which the architecture has no place. Dropping them would give a different model.
    #[error("{}: no place in the architecture for {}: {}", .path.display(), tensors(.names.len()), some(.names))]
    Unknown {
        /// The checkpoint.
        path: PathBuf,
        /// Their names in the checkpoint.
        names: Vec<String>,
    },
    /// A tensor has been quantized before.
    #[error(
        "{tensor} is {found} already: quantizing it again to {wanted} adds a second loss. Start from the original checkpoint, or allow it with --allow-requantize"
    )]
    Requantize {
        /// The tensor.
        tensor: String,
        /// The format that it has.
        found: &'static str,
        /// The format of the recipe.
        wanted: &'static str,
    },
    /// The output would overwrite what is being read.
    #[error("{}: this is what the weights are read from; choose another output", .path.display())]
    SameFile {
        /// The path.
        path: PathBuf,
    },
    /// The output directory is there already.
    #[error("{}: there is something already; choose a new directory", .path.display())]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// The disk is too full.
    #[error("{}: the output needs {need} bytes, and {free} are free", .path.display())]
    Space {
        /// The output.
        path: PathBuf,
        /// Bytes that will be written.
        need: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// A weight is infinite or not a number.
    #[error("{tensor}: row {row} holds a value that is infinite or not a number, which {format} cannot hold; the checkpoint is damaged")]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// Its first such row.
        row: usize,
        /// The format of the recipe.
        format: &'static str,
    },
    /// The recipe wants another kind of source.
    #[error("{}: {recipe} is made from a Hugging Face directory of unquantized weights; {found}", .path.display())]
    WrongSource {
        /// The checkpoint.
        path: PathBuf,
        /// The recipe.
        recipe: &'static str,
        /// What the source is.
        found: &'static str,
    },
    /// An importance matrix cannot be read.
    #[error("{}: {fault}", .path.display())]
    Imatrix {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: ImatrixFault,
    },
    /// An importance matrix has other columns than the model.
    #[error("{tensor}: the importance matrix has {found} values, the matrix {expected} columns; it belongs to another model")]
    ImatrixColumns {
        /// The tensor.
        tensor: String,
        /// Values in the importance matrix.
        found: usize,
        /// Columns of the tensor.
        expected: usize,
    },
    /// A method needs an importance matrix and there is none.
    #[error("the method {method} needs an importance matrix")]
    NoImatrix {
        /// The method.
        method: &'static str,
    },
    /// A method needs texts and there are none.
    #[error("the method {method} needs a calibration text")]
    NoTexts {
        /// The method.
        method: &'static str,
    },
    /// A list of tensors' types cannot be used.
    #[error("{name}: line {line}: {what}")]
    Types {
        /// The list.
        name: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// A budget that nothing fits in.
    #[error("a budget of {budget} bytes is too small: with the smallest types of all the file has {least}")]
    Budget {
        /// Bytes of the file that may be.
        budget: u64,
        /// Bytes of the smallest file.
        least: u64,
    },
    /// Measurements of something else.
    #[error("{}: {what}; another file for the measurements, or remove this one", .path.display())]
    Measurements {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A layer has a part that scales cannot be moved past, or nobody has shown that they can.
    #[error("the method {method} moves scales between the tensors of a layer, and it is not known to be exact with {tensor}")]
    NoFold {
        /// The method.
        method: &'static str,
        /// The first such tensor.
        tensor: String,
    },
    /// A calibration text is too short.
    #[error("{name}: {tokens} tokens, which is not one chunk of {context}")]
    ShortText {
        /// The text.
        name: String,
        /// Its tokens.
        tokens: usize,
        /// Tokens of a chunk.
        context: usize,
    },
    /// A file of second moments cannot be used.
    #[error("{}: {what}", .path.display())]
    SecondMoments {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A method that does not take second moments.
    #[error("the method {method} does not take second moments")]
    TakesNoMoments {
        /// The method.
        method: &'static str,
    },
    /// A part of names that is in none.
    #[error("no matrix of this model that has second moments has {pattern:?} in its name")]
    NoSuchMatrix {
        /// The part.
        pattern: String,
    },
    /// The second moments of inputs cannot be decomposed.
    #[error("{site}: what the matrix is fed is infinite or no number; the checkpoint is damaged")]
    Moments {
        /// Where the inputs go.
        site: String,
    },
    /// The user stopped the run; nothing is left behind.
    #[error("stopped; nothing was written")]
    Cancelled,
}

fn tensors(n: usize) -> String {
    if n == 1 { "a tensor".to_owned() } else { format!("{n} tensors") }
}

/// The first few names.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text += ", ...";
    }
    text
}
