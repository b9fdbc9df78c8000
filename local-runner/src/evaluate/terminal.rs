//! A report for a terminal: what matters, in a page.

use std::fmt::Write as _;

use super::judge::bytes;
use super::plain;
use super::report::{Report, Severity, Verdict, Wanted};
use crate::commands::counted;

/// How wide texts are.
const WIDTH: usize = 100;

/// Whether colours are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colours {
    Shown,
    None,
}

impl Colours {
    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Shown => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            Self::None => text.to_owned(),
        }
    }

    fn of(self, severity: Severity, text: &str) -> String {
        let code = match severity {
            Severity::High => "1;31",
            Severity::Medium => "1;33",
            Severity::Low => "36",
            Severity::Note => "2",
        };
        self.paint(code, text)
    }
}

/// Writes the report.
pub(crate) fn render(report: &Report, colours: Colours) -> String {
    let mut out = String::new();
    let (word, code) = match report.verdict {
        Verdict::Trustworthy => ("trustworthy", "1;32"),
        Verdict::Review => ("review", "1;33"),
        Verdict::Dangerous => ("dangerous", "1;31"),
    };
    let itself = report.calls_itself.as_deref().unwrap_or("without a name of its own");
    let version = report.version.as_deref().unwrap_or_default();
    let _ = writeln!(out, "{}: {}", plain(&report.server), colours.paint(code, word));
    let _ = writeln!(out, "{}", colours.paint("2", plain(&format!("{itself} {version}")).trim()));
    risks(report, colours, &mut out);
    facts(report, &mut out);
    let _ = writeln!(out, "\nThe least that it needs:\n");
    for line in report.profile.lines() {
        let _ = writeln!(out, "  {line}");
    }
    out
}

fn risks(report: &Report, colours: Colours, out: &mut String) {
    if report.risks.is_empty() {
        let _ = writeln!(out, "\nNothing was found that speaks against it.");
    }
    let mut last = None;
    for risk in &report.risks {
        if last != Some(risk.severity) {
            out.push('\n');
            last = Some(risk.severity);
        }
        let about = if risk.about.is_empty() { "the server".to_owned() } else { plain(&risk.about) };
        let severity = colours.of(risk.severity, &format!("{:<6}", risk.severity.word()));
        let _ = writeln!(out, "{severity}  {about} {}", plain(&risk.what));
        let evidence = plain(&risk.evidence);
        if !evidence.is_empty() {
            let _ = writeln!(out, "        {}", colours.paint("2", &cut(&evidence, WIDTH)));
        }
    }
}

fn facts(report: &Report, out: &mut String) {
    let mut fact = |name: &str, value: String| {
        let _ = writeln!(out, "{name:<10}{}", cut(&plain(&value), 2 * WIDTH));
    };
    fact("\nplace", report.place.name.clone());
    if !report.place.missing.is_empty() {
        fact("", format!("does not keep it from: {}", report.place.missing.join(", ")));
    }
    let called = report.tools.iter().filter(|tool| !tool.calls.is_empty()).count();
    let calls: usize = report.tools.iter().map(|tool| tool.calls.len()).sum();
    fact(
        "offers",
        format!(
            "{} ({called} of them called, {}), {}, {}",
            counted(report.tools.len(), "tool"),
            counted(calls, "call"),
            counted(report.prompts, "prompt"),
            counted(report.resources, "resource")
        ),
    );
    fact("network", listed(wanted(report)));
    if let Some(trace) = &report.trace {
        fact("reads", listed(trace.read.clone()));
        fact("writes", listed(trace.written.clone()));
        fact("starts", listed(trace.programs.clone()));
    }
    let usage = &report.usage;
    if usage.seen {
        let (memory, tasks) = (bytes(usage.memory), usage.tasks);
        fact(
            "takes",
            format!("{memory}, {tasks} processes and threads, {} ms of processor time", usage.processor),
        );
    }
    let ready = report.identities.iter().find_map(|identity| identity.ready);
    let began = ready.map_or("never".to_owned(), |ready| format!("after {ready} ms"));
    let ended = report.ending.by.as_deref().unwrap_or("by itself");
    for unseen in &report.unseen {
        fact("not seen", format!("{}: {}", unseen.what, unseen.why));
    }
    fact("serves", format!("{began}; leaves at {ended}, after {} ms", report.ending.took));
}

/// Names things, or says that there are none.
fn listed(things: Vec<String>) -> String {
    if things.is_empty() { "nothing".to_owned() } else { things.join(", ") }
}

/// Says what a server wanted of the network.
fn wanted(report: &Report) -> Vec<String> {
    match &report.wanted {
        None => vec!["not recorded".to_owned()],
        Some(wanted) => {
            let note = |wanted: &Wanted| if wanted.granted == Some(false) { " (not granted)" } else { "" };
            wanted.iter().map(|wanted| wanted.place() + note(wanted)).collect()
        }
    }
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::{Risk, Tool};
    use super::*;

    #[test]
    fn nothing_of_a_server_acts_on_the_terminal() {
        let nasty = "a\u{1b}[2J\u{202e}\r\nb";
        let risk = Risk {
            severity: Severity::High,
            code: "x".into(),
            about: nasty.into(),
            what: nasty.into(),
            why: nasty.into(),
            evidence: nasty.into(),
        };
        let report = Report {
            server: "own".into(),
            calls_itself: Some(nasty.into()),
            version: Some(nasty.into()),
            risks: vec![risk],
            tools: vec![Tool { name: nasty.into(), ..Tool::default() }],
            ..Report::default()
        };
        let text = render(&report, Colours::None);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{text:?}");
    }

    #[test]
    fn colours_are_shown_where_they_are_wanted() {
        let report = Report { verdict: Verdict::Dangerous, ..Report::default() };
        assert!(render(&report, Colours::Shown).contains("\u{1b}[1;31mdangerous"));
        assert!(!render(&report, Colours::None).contains('\u{1b}'));
    }
}
