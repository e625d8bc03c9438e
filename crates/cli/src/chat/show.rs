//! `/show`: what is known of the model and the conversation.

use anyhow::Result;

use super::Chat;
use crate::exit::Problem;
use crate::units;

impl Chat<'_> {
    /// The text of `/show WHAT`.
    pub(super) fn show(&self, what: &str) -> Result<String> {
        Ok(match what {
            "info" => self.info(),
            "parameters" => self.parameters(),
            "system" => format!("{}\n", self.system.as_deref().unwrap_or("no system message")),
            "template" => format!("{}\n", self.speaker.template_source().unwrap_or("no chat template").trim_end()),
            "license" => self.license(),
            // Of the session: what /save would make a model of.
            "modelfile" => self.modelfile()?.to_string(),
            "context" => self.context(),
            _ => {
                return Err(Problem::failure(format!("/show {what} is not known"))
                    .hint("/show info, parameters, system, template, license, modelfile or context")
                    .into());
            }
        })
    }

    fn info(&self) -> String {
        let model = &self.speaker.model;
        let config = model.config();
        let mut rows = vec![("file".to_string(), self.options.model.display().to_string())];
        if let Some(entry) = &self.options.entry {
            rows.insert(0, ("model".to_string(), entry.name.to_string()));
        }
        rows.push(("layers".into(), config.layers.to_string()));
        rows.push(("width".into(), config.dim.to_string()));
        rows.push(("vocabulary".into(), units::grouped(config.vocab as u64)));
        rows.push((
            "context".into(),
            format!("{} of {} tokens", units::grouped(model.context() as u64), units::grouped(config.context as u64)),
        ));
        rows.push((
            "KV cache".into(),
            format!("{}, {} when full", self.options.kv, units::bytes(model.need().token * model.context() as u64)),
        ));
        rows.push(("weights".into(), units::bytes(model.need().weights)));
        rows.push(("threads".into(), model.threads().to_string()));
        lines(&rows)
    }

    fn parameters(&self) -> String {
        let s = &self.speaker.sampling;
        let mut rows: Vec<(String, String)> = [
            ("temperature", s.temperature.to_string()),
            ("top_k", s.top_k.to_string()),
            ("top_p", s.top_p.to_string()),
            ("min_p", s.min_p.to_string()),
            ("typical_p", s.typical.to_string()),
            ("repeat_penalty", s.repeat_penalty.to_string()),
            ("repeat_last_n", s.repeat_last.to_string()),
            ("presence_penalty", s.presence_penalty.to_string()),
            ("frequency_penalty", s.frequency_penalty.to_string()),
            ("seed", s.seed.to_string()),
            ("num_predict", self.speaker.most.map_or("no limit".to_string(), |n| n.to_string())),
            ("num_ctx", self.speaker.model.context().to_string()),
        ]
        .map(|(name, value)| (name.to_string(), value))
        .into();
        rows.extend(self.speaker.stops.iter().map(|stop| ("stop".to_string(), format!("{stop:?}"))));
        lines(&rows)
    }

    fn license(&self) -> String {
        let of_entry = self.options.entry.as_ref().map(|entry| entry.licenses.join("\n\n")).filter(|text| !text.is_empty());
        let of_file = || match self.speaker.model.source().checkpoint().metadata()?.value("general.license")? {
            nibble_container::gguf::Value::String(text) => Some(text.to_string()),
            _ => None,
        };
        format!("{}\n", of_entry.or_else(of_file).unwrap_or_else(|| "the model says nothing of its license".to_string()).trim_end())
    }

    fn context(&self) -> String {
        let context = self.speaker.model.context();
        let turns = self.turns.iter().filter(|m| m.role == "user").count();
        let used = self.used.min(context);
        format!("{used} of {context} tokens in use ({} %), {turns} turns; --overflow {:?}\n", used * 100 / context, self.options.overflow)
            .to_lowercase()
    }
}

fn lines(rows: &[(String, String)]) -> String {
    rows.iter().map(|(name, value)| format!("{name:<20}{}\n", crate::terminal::printable(value))).collect()
}
