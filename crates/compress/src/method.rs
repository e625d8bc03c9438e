//! METHODS: how the codes of a plan's formats are chosen. The formats and the file are the plan's; a method only decides which of the weights that they can
//! hold are written.
//!
//! To add one: a row in [`METHODS`], and a [`Work`] where it needs more than the importance of columns.

use crate::Error;
use crate::calibrate::Texts;
use crate::fold::{self, Folding};
use crate::gptq::{Gptq, Importance, Inputs, Knobs, Start};
use crate::plan::{Plan, Step};
use nibble_engine::source::Source;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What a method must be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing but the weights.
    Nothing,
    /// An importance matrix.
    Importance,
    /// Calibration texts, to be run through the model.
    Texts,
}

/// One method.
#[derive(Debug)]
pub struct Method {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it does and what it costs, in a line.
    pub about: &'static str,
    /// What it must be given.
    pub needs: Needs,
    /// For methods that work layer by layer.
    pub knobs: Option<Knobs>,
    /// Whether types are chosen by measurement too, within the bytes that the recipe's would take where no other budget is given.
    pub allocates: bool,
    /// For methods that move scales between neighbouring tensors before codes are chosen.
    pub fold: Option<fold::Knobs>,
}

/// A matrix as a method made it.
pub struct Made {
    /// Blocks of the step's format, rows as the source stores them; of NF4 the codes, two a byte.
    pub bytes: Vec<u8>,
    /// Of NF4 the scale of each block.
    pub scales: Vec<f32>,
}

/// Told how much of a layer is done (0 to 1) and what is being done.
pub type Note<'a> = dyn FnMut(f64, &str) + 'a;

/// A method at work, layer by layer in their order.
pub trait Work {
    /// The matrices outside the layers that the method makes; it is called before the first layer, as they are written first.
    fn outside(&mut self, steps: &[Step], note: &mut Note) -> Result<HashMap<String, Made>, Error>;
    /// The matrices of layer `i` that the method makes, by the steps' names. What it leaves out is encoded in the plain way.
    fn layer(&mut self, i: usize, steps: &[Step], note: &mut Note) -> Result<HashMap<String, Made>, Error>;
}

/// Error feedback as measured best (bench/record). Of damping and shrinking the two do the same on small models, 0.1 to 0.3 of either; shrinking does not depend on
/// a few loud columns, which large models have.
pub const GPTQ: Knobs = Knobs {
    damping: 0.01,
    shrinking: 0.2,
    starts: &[Start::Before],
    sorted: true,
    sweeps: 4,
    refits: 1,
    importance: Importance::Diagonal,
    inputs: Inputs::Site,
    relative: true,
    guided: None,
    head: Some(0.3),
};

/// Activation-aware scales: the powers of loudness that were published, and some that look at the weights too, as later programs do.
pub const AWQ: fold::Knobs = fold::Knobs {
    loudness: fold::Loudness::Mean,
    exponents: &[
        (0.0, 0.0),
        (0.1, 0.0),
        (0.2, 0.0),
        (0.3, 0.0),
        (0.4, 0.0),
        (0.5, 0.0),
        (0.6, 0.0),
        (0.8, 0.0),
        (1.0, 0.0),
        (0.3, 0.3),
        (0.5, 0.5),
        (0.7, 0.3),
        (1.0, 1.0),
    ],
    judge: fold::Judge::Moments,
};

/// SmoothQuant's scales, b = 1 - a, around the published half.
pub const SMOOTHQUANT: fold::Knobs = fold::Knobs {
    loudness: fold::Loudness::Most,
    exponents: &[(0.0, 0.0), (0.3, 0.7), (0.4, 0.6), (0.5, 0.5), (0.6, 0.4), (0.7, 0.3), (0.8, 0.2)],
    judge: fold::Judge::Outputs,
};

/// A method that does nothing but round; rows say what they do beside it.
const PLAIN: Method = Method { name: "", about: "", needs: Needs::Nothing, knobs: None, fold: None, allocates: false };

/// Every method, the cheapest first.
pub static METHODS: &[Method] = &[
    Method { name: "rtn", about: "each weight by itself; needs nothing", ..PLAIN },
    Method {
        name: "imatrix",
        about: "each weight by itself, weighted by how much its input counts; needs an importance matrix",
        needs: Needs::Importance,
        ..PLAIN
    },
    Method {
        name: "smoothquant",
        about: "for q8_0: loud activations are made quieter before products round them, norms and neighbours take it up; runs a text through the model",
        needs: Needs::Texts,
        fold: Some(SMOOTHQUANT),
        ..PLAIN
    },
    Method {
        name: "awq",
        about: "weighted, and columns with loud inputs get finer steps, for which norms and neighbours make up; runs a text through the model",
        needs: Needs::Texts,
        fold: Some(AWQ),
        ..PLAIN
    },
    Method {
        name: "gptq",
        about: "weights make up for each other's errors, layer by layer; runs a text through the model",
        needs: Needs::Texts,
        knobs: Some(GPTQ),
        ..PLAIN
    },
    Method {
        name: "best",
        about: "gptq, and each tensor's type by what it does to the output, in as many bytes; about four times gptq's time",
        needs: Needs::Texts,
        knobs: Some(GPTQ),
        allocates: true,
        ..PLAIN
    },
];

impl Method {
    /// The method of that name.
    pub fn by_name(name: &str) -> Option<&'static Method> {
        METHODS.iter().find(|m| m.name.eq_ignore_ascii_case(name))
    }

    /// Whether second moments in a file will do in place of a text: those of the inputs, errors counted in proportion to the residual stream.
    pub fn takes_second_moments(&self) -> bool {
        self.fold.is_none() && self.knobs.is_some_and(|knobs| knobs.relative && knobs.guided.is_none())
    }

    /// Starts the method's own work, where it has any.
    pub(crate) fn start<'a>(
        &self,
        source: &'a Source,
        plan: &'a Plan,
        threads: usize,
        cancel: &'a AtomicBool,
    ) -> Result<Option<Box<dyn Work + 'a>>, Error> {
        let stored = plan.options.second_moments.clone();
        let texts = || match (&plan.options.texts, &stored) {
            (_, Some(stored)) => Ok(Arc::new(Texts { name: stored.dataset.clone(), chunks: Vec::new() })),
            (Some(texts), None) => Ok(texts.clone()),
            (None, None) => Err(Error::NoTexts { method: self.name }),
        };
        Ok(match (self.knobs, self.fold) {
            (Some(knobs), fold) => {
                let gptq = Gptq::new(source, plan, knobs, &texts()?, threads, cancel)?;
                Some(Box::new(gptq.folding(fold).with_stored(stored)))
            }
            (None, Some(fold)) => Some(Box::new(Folding::new(source, fold, &texts()?, threads, cancel)?)),
            (None, None) => None,
        })
    }
}
