//! Questions in the middle of a call, between an agent and a server of different eras: pure.
//!
//! A stateless server asks by answering `input_required`, a session-based one by a request of its own. Either is read
//! as a [`Round`] of [`Question`]s. [`Dialogue`] leads a session's agent through the rounds of a stateless server:
//! **it ends after [`ROUNDS`] rounds, whatever anybody answers.**

use crate::error::{Refusal, code};
use crate::screen::{DECLINED, Screen};
use crate::session::Interaction;
use crate::shape::can_be_asked;
use crate::sorted::SortedMap;
use crate::upstream::handshake::shorten;
use crate::wire::json::{Json, quote};
use crate::wire::message::{self, Message, ObjectWriter};

/// The most rounds of one call.
pub(crate) const ROUNDS: u32 = 32;

/// Something that a server asks an agent for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// The key under which its answer comes.
    pub(crate) key: String,
    /// `elicitation/create`, `sampling/createMessage` or `roots/list`.
    pub(crate) method: String,
    /// Its parameters, as JSON text, where there are any.
    pub(crate) params: Option<String>,
}

/// What a server asks for before it goes on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Round {
    pub(crate) questions: Vec<Question>,
    /// The keys of what nobody is asked, which counts as declined.
    pub(crate) declined: Vec<String>,
    /// The server's own state, as JSON text.
    pub(crate) state: Option<String>,
}

/// What is next in a dialogue.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The agent is asked these.
    Ask(Vec<Question>),
    /// The server is called again with these members of `params`, as JSON text.
    Retry(Vec<(&'static str, String)>),
    /// The call has failed.
    Fail(Refusal),
}

/// The rounds of one call of a session at a stateless server.
#[derive(Debug)]
pub(crate) struct Dialogue {
    interaction: Interaction,
    rounds: u32,
    state: Option<String>,
    /// The keys of what counts as declined in this round.
    declined: Vec<String>,
    /// The answers of this round by their keys, as JSON text; none where the agent has not answered yet.
    answers: SortedMap<String, Option<String>>,
}

impl Round {
    /// Reads a server's answer, as far as the screen lets its questions through; nothing where it asks for no input.
    pub(crate) fn read(answer: &[u8], screen: Screen<'_>) -> Option<Self> {
        memchr::memmem::find(answer, b"input_required")?;
        let Ok(Message::Response { outcome: Ok(result), .. }) = message::parse(Json::check(answer).ok()?)
        else {
            return None;
        };
        if result.get("resultType").and_then(Json::as_str).as_deref() != Some("input_required") {
            return None;
        }
        let (requests, declined) =
            result.get("inputRequests").map(|r| screen.requests(r)).unwrap_or_default();
        let requests = Json::known(&requests).members();
        let questions = requests.map(|(key, request)| Question::read(key.into_owned(), request)).collect();
        let state = result.get("requestState").map(|state| state.text().to_owned());
        Some(Self { questions, declined, state })
    }

    /// Reads what an error of a session-based server asks for: that its user visits pages (2025-11-25, -32042).
    pub(crate) fn of_error(answer: &[u8]) -> Option<Self> {
        let json = Json::check(answer).ok()?;
        let elicitations = json.get("error")?.get("data")?.get("elicitations")?;
        let questions: Vec<_> = elicitations
            .elements()
            .filter(|params| params.get("url").is_some())
            .enumerate()
            .map(|(number, params)| Question {
                key: format!("visit{}", number + 1),
                method: "elicitation/create".into(),
                params: Some(params.text().to_owned()),
            })
            .collect();
        (!questions.is_empty()).then_some(Self { questions, ..Self::default() })
    }

    /// Tells whether all it asks for is that pages are visited.
    pub(crate) fn only_visits(&self) -> bool {
        !self.questions.is_empty() && self.questions.iter().all(Question::mode_is_url)
    }

    /// Returns the error that asks an agent to visit pages and call again (2025-11-25).
    pub(crate) fn to_error(&self, request_id: &str) -> Refusal {
        let id = |question: &Question| format!("{}-{}", request_id.trim_matches('"'), question.key);
        let pages: Vec<_> =
            self.questions.iter().filter_map(|q| q.with_elicitation_id(&id(q)).params).collect();
        let data = format!("{{\"elicitations\":[{}]}}", pages.join(","));
        Refusal::new(code::URL_ELICITATION_REQUIRED, "This request needs the user to visit a page first")
            .with_data(data)
    }
}

impl Question {
    fn read(key: String, request: Json<'_>) -> Self {
        let method = request.get("method").and_then(Json::as_str).unwrap_or_default().into_owned();
        Self { key, method, params: request.get("params").map(|params| params.text().to_owned()) }
    }

    /// Tells whether an agent can be asked this.
    pub(crate) fn can_be_put(&self, interaction: Interaction) -> bool {
        can_be_asked(interaction, &self.method, self.params())
    }

    fn params(&self) -> Option<Json<'_>> {
        self.params.as_ref().and_then(|params| Json::check(params.as_bytes()).ok())
    }

    /// Tells whether it asks for a page to be visited.
    pub(crate) fn mode_is_url(&self) -> bool {
        let mode = self.params().and_then(|params| params.get("mode")).and_then(Json::as_str);
        self.method == "elicitation/create" && mode.as_deref() == Some("url")
    }

    /// Returns the question as a session's agent is asked it: a page to visit has an id there (2025-11-25).
    pub(crate) fn with_elicitation_id(&self, id: &str) -> Self {
        if !self.mode_is_url() {
            return self.clone();
        }
        let mut params = self.params_without("elicitationId");
        params.string("elicitationId", id);
        Self { params: Some(params.finish()), ..self.clone() }
    }

    fn params_without(&self, left_out: &str) -> ObjectWriter {
        let mut out = ObjectWriter::default();
        for (key, value) in self.params().iter().flat_map(|p| p.members()).filter(|(key, _)| key != left_out)
        {
            out.member(&key, value.text());
        }
        out
    }

    /// Returns the entry of `inputRequests` that asks this of a stateless agent, which knows no `elicitationId`.
    fn to_entry(&self) -> String {
        let mut entry = ObjectWriter::default();
        entry.string("method", &self.method);
        if self.params.is_some() {
            entry.member("params", &self.params_without("elicitationId").finish());
        }
        entry.finish()
    }
}

/// Returns the result that asks a stateless agent; `state` is the sealed text it brings back.
pub(crate) fn input_required(questions: &[Question], state: &str, server_info: &str) -> String {
    let mut requests = ObjectWriter::default();
    for question in questions {
        requests.member(&question.key, &question.to_entry());
    }
    let mut result = ObjectWriter::default();
    result.string("resultType", "input_required");
    result.member("inputRequests", &requests.finish()).string("requestState", state);
    result.member("_meta", &format!("{{\"io.modelcontextprotocol/serverInfo\":{server_info}}}"));
    result.finish()
}

impl Dialogue {
    /// Begins a dialogue with an agent that can be asked this.
    pub(crate) fn new(interaction: Interaction) -> Self {
        Self { interaction, rounds: 0, state: None, declined: Vec::new(), answers: SortedMap::new() }
    }

    /// The server asks for input.
    pub(crate) fn required(&mut self, round: Round) -> Step {
        self.rounds += 1;
        if self.rounds > ROUNDS {
            return fail(format!("the server has asked for input {ROUNDS} times in one call"));
        }
        if let Some(question) = round.questions.iter().find(|q| !q.can_be_put(self.interaction)) {
            return fail(format!(
                "the server asks for {}, which this client cannot give",
                shorten(&question.method)
            ));
        }
        self.state = round.state;
        self.declined = round.declined;
        self.answers = round.questions.iter().map(|question| (question.key.clone(), None)).collect();
        if round.questions.is_empty() { self.retry() } else { Step::Ask(round.questions) }
    }

    /// The agent has answered a question; nothing while others are open.
    pub(crate) fn answered(&mut self, key: &str, outcome: Result<Json<'_>, Json<'_>>) -> Option<Step> {
        let answer = self.answers.get_mut(key).filter(|answer| answer.is_none())?;
        match outcome {
            Ok(result) => *answer = Some(result.text().to_owned()),
            Err(error) => {
                let text = error.get("message").and_then(Json::as_str).unwrap_or_default();
                return Some(fail(format!("the client gave no answer to the server: {}", shorten(&text))));
            }
        }
        let is_whole = self.answers.values().all(Option::is_some);
        is_whole.then(|| self.retry())
    }

    /// Returns how many rounds there have been.
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds
    }

    fn retry(&mut self) -> Step {
        let mut members = Vec::new();
        let answers = std::mem::take(&mut self.answers);
        if !answers.is_empty() || !self.declined.is_empty() {
            let mut responses = ObjectWriter::default();
            for (key, answer) in &answers {
                responses.member(key, answer.as_deref().unwrap_or("{}"));
            }
            for key in &self.declined {
                responses.member(key, DECLINED);
            }
            members.push(("inputResponses", responses.finish()));
        }
        members.extend(self.state.take().map(|state| ("requestState", state)));
        Step::Retry(members)
    }
}

fn fail(message: String) -> Step {
    Step::Fail(Refusal::new(code::INTERNAL, message))
}

/// Returns a question as the request that a session's agent gets, under the id by which its answer is known.
pub(crate) fn request(question: &Question, id: &str) -> String {
    let mut out = ObjectWriter::default();
    out.string("jsonrpc", "2.0").member("id", &quote(id)).string("method", &question.method);
    if let Some(params) = &question.params {
        out.member("params", params);
    }
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::tests::before_a_server;
    use proptest::prelude::*;

    const ALL: Interaction =
        Interaction { form: true, url: true, sampling: true, sampling_tools: true, roots: true };

    fn answer(result: &str) -> Vec<u8> {
        message::result("7", result).into_bytes()
    }

    fn round(result: &str) -> Round {
        before_a_server(|screen| Round::read(&answer(result), screen)).expect("it asks")
    }

    #[test]
    fn reads_what_a_server_asks_for() {
        let asks = r#"{"inputRequests":{"k":{"method":"roots/list"},"e":{"method":"elicitation/create","params":{"message":"?"}}},"requestState":"s","resultType":"input_required"}"#;
        let round = round(asks);
        insta::assert_snapshot!(format!("{round:?}"), @r#"Round { questions: [Question { key: "k", method: "roots/list", params: None }, Question { key: "e", method: "elicitation/create", params: Some("{\"message\":\"Server \\\"notes\\\" asks:\\n> ?\"}") }], declined: [], state: Some("\"s\"") }"#);
        let text = r#"{"content":[{"type":"text","text":"input_required"}],"resultType":"complete"}"#;
        let check = |answer: &[u8]| before_a_server(|screen| Round::read(answer, screen));
        assert_eq!(check(&answer(text)), None);
        assert_eq!(check(b"input_required"), None);
    }

    #[test]
    fn a_page_to_visit_is_asked_for_in_every_form() {
        let error = br#"{"jsonrpc":"2.0","id":1,"error":{"code":-32042,"message":"visit","data":{"elicitations":[{"mode":"url","elicitationId":"e1","url":"https://x.example","message":"Please"}]}}}"#;
        let round = Round::of_error(error).expect("it asks");
        assert!(round.only_visits());
        insta::assert_snapshot!(input_required(&round.questions, "sealed", "{}"), @r#"{"resultType":"input_required","inputRequests":{"visit1":{"method":"elicitation/create","params":{"mode":"url","url":"https://x.example","message":"Please"}}},"requestState":"sealed","_meta":{"io.modelcontextprotocol/serverInfo":{}}}"#);
        insta::assert_snapshot!(round.to_error("\"7\"").to_json(), @r#"{"code":-32042,"message":"This request needs the user to visit a page first","data":{"elicitations":[{"mode":"url","url":"https://x.example","message":"Please","elicitationId":"7-visit1"}]}}"#);
        assert_eq!(Round::of_error(br#"{"error":{"code":-32042,"message":"visit"}}"#), None);
    }

    #[test]
    fn answers_are_gathered_before_the_server_is_called_again() {
        let mut dialogue = Dialogue::new(ALL);
        let asks = r#"{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"},"b":{"method":"roots/list"}},"requestState":"s1"}"#;
        assert!(matches!(dialogue.required(round(asks)), Step::Ask(questions) if questions.len() == 2));
        let roots = Json::check(b"{\"roots\":[]}").unwrap();
        assert_eq!(dialogue.answered("b", Ok(roots)), None);
        assert_eq!(dialogue.answered("b", Ok(roots)), None, "only the first answer counts");
        assert_eq!(dialogue.answered("c", Ok(roots)), None, "nobody asked");
        let retry = dialogue.answered("a", Ok(roots));
        let expected = vec![
            ("inputResponses", r#"{"a":{"roots":[]},"b":{"roots":[]}}"#.to_owned()),
            ("requestState", "\"s1\"".to_owned()),
        ];
        assert_eq!(retry, Some(Step::Retry(expected)));
        let bare = dialogue.required(round(r#"{"resultType":"input_required","requestState":"s2"}"#));
        assert_eq!(bare, Step::Retry(vec![("requestState", "\"s2\"".into())]));
    }

    #[test]
    fn what_nobody_is_asked_counts_as_declined() {
        let asks = r#"{"resultType":"input_required","inputRequests":{"a":{"method":"elicitation/create","params":{"mode":"url","url":"data:x","message":"?"}},"b":{"method":"roots/list"}},"requestState":"s1"}"#;
        let mut dialogue = Dialogue::new(ALL);
        assert!(matches!(dialogue.required(round(asks)), Step::Ask(questions) if questions.len() == 1));
        let retry = dialogue.answered("b", Ok(Json::check(b"{}").unwrap()));
        let responses =
            |text: &str| vec![("inputResponses", text.to_owned()), ("requestState", "\"s1\"".to_owned())];
        assert_eq!(retry, Some(Step::Retry(responses(r#"{"b":{},"a":{"action":"decline"}}"#))));
        let alone = asks.replace(r#","b":{"method":"roots/list"}"#, "");
        assert_eq!(dialogue.required(round(&alone)), Step::Retry(responses(r#"{"a":{"action":"decline"}}"#)));
    }

    #[test]
    fn what_the_agent_cannot_give_fails_the_call() {
        let asks = round(
            r#"{"resultType":"input_required","inputRequests":{"a":{"method":"sampling/createMessage"}}}"#,
        );
        let mut dialogue = Dialogue::new(Interaction { form: true, ..Interaction::default() });
        assert!(matches!(dialogue.required(asks.clone()), Step::Fail(_)));
        let mut dialogue = Dialogue::new(ALL);
        dialogue.required(asks);
        let error = Json::check(b"{\"code\":-1,\"message\":\"no\"}").unwrap();
        assert!(matches!(dialogue.answered("a", Err(error)), Some(Step::Fail(_))));
    }

    proptest! {
        #[test]
        fn a_dialogue_ends(moves in proptest::collection::vec((0u8..4, "[ab]"), 200)) {
            let mut dialogue = Dialogue::new(ALL);
            let mut calls = 0;
            for (kind, key) in moves {
                let step = match kind {
                    0 => Some(dialogue.required(round(r#"{"resultType":"input_required","requestState":"s"}"#))),
                    1 => Some(dialogue.required(round(r#"{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"},"b":{"method":"roots/list"}}}"#))),
                    2 => dialogue.answered(&key, Ok(Json::check(b"{}").unwrap())),
                    _ => dialogue.answered(&key, Err(Json::check(b"{}").unwrap())),
                };
                match step {
                    Some(Step::Fail(_)) => break,
                    Some(Step::Retry(_)) => calls += 1,
                    _ => {}
                }
            }
            prop_assert!(calls <= ROUNDS, "{calls} calls");
        }
    }
}
