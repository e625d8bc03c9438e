//! As whom a registry is spoken to: nobody, a user and password with every request, or a token that somebody gives for these.
//!
//! Nothing is sent before the registry asks for it (401). User and password then go to the registry itself (Basic), or to the giver of tokens that the
//! registry names (Bearer), which may be another host: that is what they are for there. They go no further, redirects are not followed with them, and from
//! a registry that speaks TLS they do not go where nobody does. A token goes to the registry's own origin and no other.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use super::challenge::{self, Bearer, Challenge};
use super::{Login, base};
use crate::http::{Trouble, sort, text, wait};
use crate::url::{shown, with_query};
use crate::{Hub, Name, ServerFault};

/// The longest answer of a giver of tokens, in bytes.
const MAX_ANSWER: u64 = 1 << 20;
/// Seconds that a token is good for at least, and where it does not say it (distribution's specification).
const LEAST_LIFE: u64 = 60;

/// As whom the model of one name is asked for or given to its registry.
pub(crate) struct Access {
    base: String,
    /// `repository:ns/model`, and what is to be done there.
    repository: String,
    actions: &'static str,
    login: Option<Login>,
    held: Mutex<Option<Held>>,
}

/// What the registry has been given.
#[derive(Clone)]
struct Held {
    header: String,
    /// Who gave the token, and when another one is better asked for.
    renew: Option<(Bearer, Instant)>,
}

impl Access {
    /// To fetch.
    pub(crate) fn to_pull(hub: &Hub, name: &Name) -> Access {
        Access::new(hub, name, "pull")
    }

    /// To publish.
    pub(crate) fn to_push(hub: &Hub, name: &Name) -> Access {
        Access::new(hub, name, "pull,push")
    }

    fn new(hub: &Hub, name: &Name, actions: &'static str) -> Access {
        let repository = format!("repository:{}/{}", name.namespace(), name.model());
        Access { base: base(hub, name), repository, actions, login: hub.logins.of(name.host()).cloned(), held: Mutex::default() }
    }

    /// The address of the model's repository: what opens the door is for its origin.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Whether there are a user and a password.
    pub(crate) fn has_login(&self) -> bool {
        self.login.is_some()
    }

    /// What to send, once the registry has asked for it. A token that is about to run out is replaced first: a body need not be sent twice then.
    pub(crate) fn authorization(&self, agent: &ureq::Agent) -> Result<Option<String>, Trouble> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Held { renew: Some((bearer, until)), .. }) = held.as_ref()
            && Instant::now() >= *until
        {
            let bearer = bearer.clone();
            *held = Some(self.token(agent, bearer)?);
        }
        Ok(held.as_ref().map(|held| held.header.clone()))
    }

    /// Finds what the registry wants, by its 401 to a request that was sent with `used`. After an error nothing is left to try.
    pub(crate) fn challenged(&self, agent: &ureq::Agent, headers: &ureq::http::HeaderMap, used: Option<&str>) -> Result<(), Trouble> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        // Another connection has been asked the same, and has something new.
        if held.as_ref().is_some_and(|held| Some(held.header.as_str()) != used) {
            return Ok(());
        }
        let mut bearer = None;
        let mut basic = false;
        for challenge in challenge::of(headers) {
            match challenge {
                Challenge::Bearer(found) => bearer = bearer.or(Some(found)),
                Challenge::Basic => basic = true,
            }
        }
        *held = Some(match (bearer, &self.login) {
            (Some(bearer), _) => self.token(agent, bearer)?,
            (None, Some(login)) if basic && used != Some(&login.basic()) => Held { header: login.basic(), renew: None },
            _ => return Err(self.closed()),
        });
        Ok(())
    }

    fn closed(&self) -> Trouble {
        Trouble::Fatal(ServerFault::Credentials { given: self.has_login() })
    }

    /// Asks for a token. Without a user it is one for everybody, which many registries want too.
    fn token(&self, agent: &ureq::Agent, bearer: Bearer) -> Result<Held, Trouble> {
        let realm = bearer.realm.as_str();
        let refuse = |why: String| Trouble::nonsense(format!("tokens for it are given at {}, {why}", shown(realm)));
        if !realm.starts_with("https://") && (self.base.starts_with("https://") || !realm.starts_with("http://")) {
            return Err(refuse("which is no https address: nothing is asked for there".into()));
        }
        let mut url = realm.to_string();
        if let Some(service) = &bearer.service {
            url = with_query(&url, "service", service);
        }
        url = with_query(&url, "scope", &self.scope(bearer.scope.as_deref()));
        if let Some(login) = &self.login {
            url = with_query(&url, "account", login.user());
        }
        let mut request = agent.get(&url).header("accept", "application/json");
        if let Some(login) = &self.login {
            request = request.header("authorization", login.basic());
        }
        let asked = Instant::now();
        let mut answer = request.call().map_err(sort)?;
        match answer.status().as_u16() {
            200..=299 => {}
            401 | 403 => return Err(self.closed()),
            status @ (408 | 425 | 429 | 500..=599) => {
                let after = text(answer.headers(), "retry-after").and_then(|text| wait(text, SystemTime::now()));
                return Err(Trouble::Pass { message: format!("{} answered {status}", shown(realm)), after });
            }
            status => return Err(refuse(format!("which answered {status}"))),
        }
        let body = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_vec().map_err(sort)?;
        let json: Value = serde_json::from_slice(&body).map_err(|error| refuse(format!("which answered no JSON: {error}")))?;
        let token = ["token", "access_token"].iter().find_map(|field| json[field].as_str().filter(|token| !token.is_empty()));
        let token = token.filter(|token| token.bytes().all(|c| c.is_ascii_graphic())).ok_or_else(|| refuse("which gave none".into()))?;
        let life = Duration::from_secs(json["expires_in"].as_u64().unwrap_or(LEAST_LIFE).clamp(LEAST_LIFE, 1 << 20));
        Ok(Held { header: format!("Bearer {token}"), renew: Some((bearer, asked + life.mul_f64(0.75))) })
    }

    /// What a token is asked for. The repository is the registry's word, since it may stand behind others; what is to be done there is ours.
    fn scope(&self, wanted: Option<&str>) -> String {
        let repository = wanted.and_then(|scope| scope.rsplit_once(':')).map(|(repository, _)| repository);
        let repository = repository.filter(|repository| repository.starts_with("repository:") && !repository.contains(' '));
        format!("{}:{}", repository.unwrap_or(&self.repository), self.actions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_asked_for_what_is_to_be_done() {
        let name: Name = "nas:5000/me/m".parse().unwrap();
        let push = Access::to_push(&Hub::default(), &name);
        for (wanted, asked) in [
            (None, "repository:me/m:pull,push"),
            (Some("*"), "repository:me/m:pull,push"),
            (Some("repository:me/m:pull"), "repository:me/m:pull,push"),
            (Some("repository:cache/me/m:pull"), "repository:cache/me/m:pull,push"),
            (Some("registry:catalog:*"), "repository:me/m:pull,push"),
        ] {
            assert_eq!(push.scope(wanted), asked, "{wanted:?}");
        }
        assert_eq!(Access::to_pull(&Hub::default(), &name).scope(None), "repository:me/m:pull");
    }

    #[test]
    fn passwords_do_not_leave_tls() {
        let hub = |insecure| Hub { insecure, ..Hub::default() };
        let name: Name = "nas:5000/me/m".parse().unwrap();
        let ask = |insecure, realm: &str| {
            let agent = ureq::Agent::new_with_defaults();
            let bearer = Bearer { realm: realm.into(), service: None, scope: None };
            match Access::to_push(&hub(insecure), &name).token(&agent, bearer) {
                Err(Trouble::Fatal(fault)) => fault.to_string(),
                other => panic!("{:?}", other.map(|held| held.header)),
            }
        };
        assert!(ask(false, "http://nas:5000/token").contains("no https address"));
        for insecure in [false, true] {
            assert!(ask(insecure, "file:///etc/passwd").contains("no https address"));
            assert!(ask(insecure, "token").contains("no https address"));
        }
    }

    /// The giver of the next one is not there, which is how it shows that it was asked.
    #[test]
    fn a_token_that_is_about_to_run_out_is_not_sent() {
        let name: Name = "localhost:5000/me/m".parse().unwrap();
        let (access, agent) = (Access::to_push(&Hub::default(), &name), ureq::Agent::new_with_defaults());
        let hold = |until| {
            let bearer = Bearer { realm: "http://127.0.0.1:1/token".into(), service: None, scope: None };
            *access.held.lock().unwrap() = Some(Held { header: "Bearer old".into(), renew: Some((bearer, until)) });
            access.authorization(&agent)
        };
        assert_eq!(hold(Instant::now() + Duration::from_secs(3600)).unwrap().as_deref(), Some("Bearer old"));
        assert!(matches!(hold(Instant::now()), Err(Trouble::Pass { .. })));
    }
}
