//! Reports of evaluations, as they are kept: what was found of a server when it ran among things made for it, and whether that speaks
//! for approving what it is.
//!
//! **What nobody has watched is not approved** where the configuration says so, and neither is what was found dangerous: of
//! several reports of one package or image, the newest counts. Who reviews decides on everything between.

use serde_json::{Value, json};

use super::answer::Fault;

/// The collection that reports lie in, by the name of the server that was evaluated.
pub const REPORTS: &str = "evaluation";
/// The largest report that is taken, in bytes.
pub(crate) const LARGEST: usize = 256 << 10;
/// The form of reports that is known.
const FORMAT: u64 = 1;
const VERDICTS: [&str; 3] = ["trustworthy", "review", "dangerous"];

/// The report of an evaluation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Evaluation(Value);

impl Evaluation {
    /// Reads what is kept.
    pub(crate) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok().and_then(|report| Self::of(report, None).ok())
    }

    /// Takes a report, of this server where one is named.
    pub(crate) fn of(report: Value, server: Option<&str>) -> Result<Self, Fault> {
        if report["format"].as_u64() != Some(FORMAT) {
            return Err(Fault::field(
                "format",
                "expected a report as `portcullis evaluate --json` prints it",
            ));
        }
        if !report["verdict"].as_str().is_some_and(|verdict| VERDICTS.contains(&verdict)) {
            return Err(Fault::field("verdict", "expected one of trustworthy, review, dangerous"));
        }
        if report["at"].as_str().and_then(crate::audit::parse_time).is_none() {
            return Err(Fault::field("at", "expected the time of the evaluation"));
        }
        let name = report["server"].as_str().filter(|name| !name.is_empty());
        if name.is_none() || server.is_some_and(|server| Some(server) != name) {
            return Err(Fault::field("server", "expected the server's name, as the path has it"));
        }
        Ok(Self(report))
    }

    /// Returns the text that is kept.
    pub(crate) fn to_text(&self) -> String {
        self.0.to_string()
    }

    /// Returns the whole report.
    pub(crate) fn report(&self) -> &Value {
        &self.0
    }

    fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_default()
    }

    pub(crate) fn server(&self) -> &str {
        self.text("server")
    }

    /// Returns which package or image was evaluated, as strict mode compares it; nothing where it was none.
    pub(crate) fn identity(&self) -> Option<&str> {
        self.0["identity"].as_str()
    }

    fn at(&self) -> u64 {
        crate::audit::parse_time(self.text("at")).unwrap_or_default()
    }

    /// Says in short what was found.
    pub(crate) fn summary(&self) -> Value {
        let risks = self.0["risks"].as_array().map(Vec::as_slice).unwrap_or_default();
        let grave = |severity: &str| risks.iter().filter(|risk| risk["severity"] == severity).count();
        json!({
            "server": self.server(),
            "identity": self.identity(),
            "at": self.text("at"),
            "verdict": self.text("verdict"),
            "risks": { "high": grave("high"), "medium": grave("medium"), "low": grave("low") },
        })
    }
}

/// Returns the newest report of what is identified so.
pub(crate) fn newest<'e>(all: &'e [Evaluation], identity: &str) -> Option<&'e Evaluation> {
    all.iter().filter(|one| one.identity() == Some(identity)).max_by_key(|one| one.at())
}

/// Refuses what servers of an entry are, unless each of them that could be watched was, and was not found dangerous. Nobody can
/// watch what runs elsewhere, at a URL.
pub(crate) fn expect_passed(identities: &[String], all: &[Evaluation]) -> Result<(), Fault> {
    for identity in identities.iter().filter(|identity| !identity.starts_with("url:")) {
        let refuse = |why: &str| {
            Err(Fault::new(http::StatusCode::CONFLICT, "not-evaluated", format!("{identity} {why}")))
        };
        match newest(all, identity) {
            None => {
                return refuse(
                    "was not evaluated, and `registry.require_evaluation` wants that before it is approved: \
                     `portcullis evaluate SERVER --url URL` does it and sends the report",
                );
            }
            Some(found) if found.text("verdict") == "dangerous" => {
                return refuse(&format!("was found dangerous when it was evaluated as {:?}", found.server()));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(server: &str, identity: &str, at: &str, verdict: &str) -> Value {
        json!({ "format": 1, "server": server, "identity": identity, "at": at, "verdict": verdict,
                "risks": [{ "severity": "low" }, { "severity": "note" }] })
    }

    fn check(identities: &[&str], reports: &[(&str, &str, &str)]) -> String {
        let all: Vec<_> = reports
            .iter()
            .map(|(identity, at, verdict)| Evaluation::of(report("s", identity, at, verdict), None).unwrap())
            .collect();
        let identities: Vec<_> = identities.iter().map(ToString::to_string).collect();
        expect_passed(&identities, &all).map_or_else(|fault| fault.detail, |()| "passes".to_owned())
    }

    #[test]
    fn what_can_be_watched_has_to_have_been() {
        let (one, two) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
        assert_eq!(check(&["url:https://a.test/"], &[]), "passes");
        assert_eq!(check(&["npm:a@1"], &[("npm:a@1", one, "trustworthy")]), "passes");
        assert_eq!(check(&["npm:a@1"], &[("npm:a@1", one, "review")]), "passes");
        assert!(check(&["npm:a@1"], &[("npm:a@2", one, "trustworthy")]).contains("was not evaluated"));
        let both = ["npm:a@1", "oci:sha256:00"];
        assert!(
            check(&both, &[("npm:a@1", one, "trustworthy")]).starts_with("oci:sha256:00 was not evaluated")
        );
        let turned = [("npm:a@1", two, "dangerous"), ("npm:a@1", one, "trustworthy")];
        assert!(check(&["npm:a@1"], &turned).contains("was found dangerous"));
        let mended = [("npm:a@1", one, "dangerous"), ("npm:a@1", two, "review")];
        assert_eq!(check(&["npm:a@1"], &mended), "passes");
    }

    #[test]
    fn a_report_is_taken_as_it_is_printed_and_nothing_else() {
        let whole = report("s", "npm:a@1", "2026-01-01T00:00:00Z", "review");
        let taken = Evaluation::of(whole.clone(), Some("s")).unwrap();
        assert_eq!(Evaluation::read(&taken.to_text()), Some(taken.clone()));
        let said = taken.summary();
        assert_eq!(
            (&said["verdict"], &said["risks"]["low"], &said["risks"]["high"]),
            (&json!("review"), &json!(1), &json!(0))
        );
        for (key, value) in
            [("format", json!(2)), ("verdict", json!("fine")), ("at", json!("today")), ("server", json!("t"))]
        {
            let mut wrong = whole.clone();
            wrong[key] = value;
            let refused = Evaluation::of(wrong, Some("s")).unwrap_err();
            assert!(refused.detail.starts_with(key), "{}", refused.detail);
        }
    }
}
