//! What a long job tells while it goes on: enough for a bar and for the status lines of Ollama's API.

use crate::Digest;

/// One thing told. It is always told on the thread that called.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// A step has begun.
    Step(Step),
    /// Bytes of a file have been worked on. Of one `file` in one `work`, `completed` never becomes less.
    Bytes {
        /// What is done with them.
        work: Work,
        /// The file's name in the repository, or the tensor's that is being quantized.
        file: String,
        /// The file's SHA-256, where it is known beforehand.
        digest: Option<Digest>,
        /// Bytes that are done.
        completed: u64,
        /// Bytes in all.
        total: u64,
    },
    /// Something a person should know: a download begun anew, a file that was there already, another process that is waited for.
    Note(String),
}

/// The steps of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The list of files is being fetched.
    Listing,
    /// The files are all there and are being hashed.
    Verifying,
    /// A layer of a created model is being made.
    Layers,
    /// The manifest is being written.
    Manifest,
    /// The manifest of a model that is to be published is being read.
    Retrieving,
    /// The manifest is being given to the registry.
    Publishing,
    /// Everything is done.
    Success,
}

/// What is done with the bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Work {
    /// They are fetched over the network.
    Download,
    /// They are sent over the network.
    Upload,
    /// They are hashed.
    Verify,
    /// They are copied into the store.
    Copy,
    /// They are made from a checkpoint.
    Quantize,
    /// They are put into an archive or taken out of one.
    Pack,
}

impl Progress {
    /// The `status` of Ollama's progress lines: `pulling manifest`, `pulling dde5aa3fc5ff`, `verifying sha256 digest`, `writing manifest`, `success`.
    pub fn status(&self) -> String {
        match self {
            Progress::Step(Step::Listing) => "pulling manifest".into(),
            Progress::Step(Step::Verifying) => "verifying sha256 digest".into(),
            Progress::Step(Step::Layers) => "creating new layer".into(),
            Progress::Step(Step::Manifest) => "writing manifest".into(),
            Progress::Step(Step::Retrieving) => "retrieving manifest".into(),
            Progress::Step(Step::Publishing) => "pushing manifest".into(),
            Progress::Step(Step::Success) => "success".into(),
            Progress::Bytes { work, file, digest, .. } => {
                let what = digest.map_or_else(|| file.clone(), |digest| digest.short());
                match work {
                    Work::Download => format!("pulling {what}"),
                    Work::Upload => format!("pushing {what}"),
                    Work::Verify => "verifying sha256 digest".into(),
                    Work::Copy => format!("copying {what}"),
                    Work::Quantize => format!("quantizing {file}"),
                    Work::Pack => format!("packing {file}"),
                }
            }
            Progress::Note(text) => text.clone(),
        }
    }
}

/// Who is told. A closure `|progress: Progress| …` will do.
pub type Listener<'a> = &'a mut dyn FnMut(Progress);
