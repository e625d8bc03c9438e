//! From second moments in a file, without a text: the inputs are those of the original model, and no layer is run.

use super::{Gptq, takes};
use crate::Error;
use crate::calibrate::SecondMoments;
use crate::calibrate::second_moments::head;
use crate::method::{Made, Note};
use crate::plan::Step;
use crate::run::stopped;
use nibble_engine::walk::Site;
use std::collections::HashMap;

impl Gptq<'_> {
    /// The output matrix, where the file has its input.
    pub(super) fn stored_outside(&self, file: &SecondMoments, steps: &[Step], note: &mut Note) -> Result<HashMap<String, Made>, Error> {
        let name = head(self.source);
        let step = steps.iter().find(|s| s.canonical == name && takes(s));
        let (Some(step), Some(damping)) = (step, self.knobs.head) else { return Ok(HashMap::new()) };
        note(0.0, &step.name);
        self.stored(file, name, damping, &[step], note)
    }

    /// The matrices of layer `i`; those whose input the file does not have are left out.
    pub(super) fn stored_layer(
        &self,
        file: &SecondMoments,
        i: usize,
        steps: &[Step],
        note: &mut Note,
    ) -> Result<HashMap<String, Made>, Error> {
        let mut made = HashMap::new();
        for (nth, site) in Site::ALL.into_iter().enumerate() {
            let wanted = self.wanted(i, site, steps);
            let steps: Vec<&Step> = wanted.into_iter().map(|(_, step)| step).collect();
            if steps.is_empty() {
                continue;
            }
            let name = format!("blk.{i}.{}.weight", site.matrices()[0]);
            note(nth as f64 / 4.0, &name);
            made.extend(self.stored(file, &name, self.knobs.damping, &steps, &mut |_, name| note(nth as f64 / 4.0 + 0.15, name))?);
        }
        Ok(made)
    }

    fn stored(
        &self,
        file: &SecondMoments,
        name: &str,
        damping: f32,
        steps: &[&Step],
        note: &mut Note,
    ) -> Result<HashMap<String, Made>, Error> {
        let Some(moments) = file.read(name)? else { return Ok(HashMap::new()) };
        // Sums of squares are never less than nothing in any direction: other numbers are no sums of squares.
        let problem = self.problem(moments, damping, name).map_err(|error| match error {
            Error::Moments { site } => file.fault(format!("{site}: these are no second moments (not positive definite)")),
            other => other,
        })?;
        let mut made = HashMap::new();
        for step in steps {
            stopped(self.cancel)?;
            note(0.15, &step.name);
            made.insert(step.name.clone(), self.matrix(&problem, step)?);
        }
        Ok(made)
    }
}
