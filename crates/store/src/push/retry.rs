//! How often, and after which wait, something is tried again.

use super::Job;
use crate::http::{Trouble, pause, sleep};
use crate::{Error, Progress, Result, ServerFault};

/// Failures in a row, without progress between, after which it is given up: as of downloads.
const MAX_FAILURES: u32 = 10;
/// The same of a first question, as of lists: who has misspelt a host should not wait for minutes.
const FIRST_FAILURES: u32 = 5;
/// A wait as long as this is told, in seconds.
const WORTH_TELLING: u64 = 4;

/// The failures of one job.
pub(super) struct Retry<'a> {
    job: &'a Job,
    url: &'a str,
    /// What is being sent, for people.
    what: &'a str,
    failures: u32,
    most: u32,
}

impl<'a> Retry<'a> {
    pub(super) fn new(job: &'a Job, url: &'a str, what: &'a str) -> Retry<'a> {
        Retry { job, url, what, failures: 0, most: MAX_FAILURES }
    }

    /// For a question on which nothing has been spent yet.
    pub(super) fn first(self) -> Retry<'a> {
        Retry { most: FIRST_FAILURES, ..self }
    }

    /// The server is there.
    pub(super) fn answered(&mut self) {
        self.most = MAX_FAILURES;
    }

    /// Something got further than ever.
    pub(super) fn progress(&mut self) {
        self.failures = 0;
    }

    /// Waits as long as is right, or says that it is over.
    pub(super) fn after(&mut self, trouble: Trouble) -> Result<()> {
        self.job.check_stop()?;
        let (message, after) = match trouble {
            Trouble::Fatal(fault) => return Err(self.job.fault(self.url, fault)),
            Trouble::Pass { message, after } => (message, after),
        };
        self.failures += 1;
        if self.failures >= self.most {
            return Err(self.job.fault(self.url, ServerFault::Connection { message, attempts: self.failures }));
        }
        let time = pause(self.job.client.hub.backoff, self.failures, after);
        if time.as_secs() >= WORTH_TELLING {
            self.job.tell(Progress::Note(format!("{}: {message}; trying again in {} s", self.what, time.as_secs())));
        }
        sleep(time, &|| self.job.stopped());
        if self.job.stopped() { Err(Error::Cancelled) } else { Ok(()) }
    }
}
