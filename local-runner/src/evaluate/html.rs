//! A report as one page: no script, nothing loaded from anywhere, in light and in dark.
//!
//! **Everything that comes from the server goes through [`Text`]**, which neither HTML nor the eye takes for anything else: what
//! is invisible or turns the direction of a text is spelled out.

use std::fmt::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_core::audit::digest;
use portcullis_core::inspect::is_invisible;

use super::judge::{bytes, is_nearby, is_of_a_cloud};
use super::report::{Calls, Report, Risk, Severity, Tool, Trace, Unseen, Verdict, Wanted};

const STYLE: &str = include_str!("page.css");
/// The bounds that a server has where nothing is written: what its meters are of.
const MEMORY: u64 = 512 << 20;
const TASKS: u64 = 128;
/// How many places of the network are shown.
const PLACES: usize = 40;

/// Returns the page.
pub(crate) fn render(report: &Report) -> String {
    let mut page = Page(String::with_capacity(32 << 10));
    page.head(report);
    page.verdict(report);
    page.tiles(report);
    page.risks(&report.risks);
    page.wanted(report);
    page.tools(&report.tools);
    page.timeline(report);
    page.profile(report);
    page.foot(report);
    page.0
}

/// A text in HTML, whatever is in it.
struct Text<'t>(&'t str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\n' | '\t' => f.write_char(c)?,
                c if c.is_control() || is_invisible(c) => write!(f, "{}", c.escape_unicode())?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A text of ours in HTML, in which backticks stand around code.
struct Said<'t>(&'t str);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.0.split('`').enumerate() {
            match at % 2 {
                0 => write!(f, "{}", Text(part))?,
                _ => write!(f, "<span class=\"mono\">{}</span>", Text(part))?,
            }
        }
        Ok(())
    }
}

struct Page(String);

impl fmt::Write for Page {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push_str(text);
        Ok(())
    }
}

/// Writes to a page, which cannot fail.
macro_rules! put {
    ($page:expr, $($argument:tt)*) => {
        let _ = write!($page, $($argument)*);
    };
}

impl Page {
    fn head(&mut self, report: &Report) {
        let style = style_hash();
        put!(
            self,
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{style}'; \
             base-uri 'none'; form-action 'none'\">\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
             <meta name=\"referrer\" content=\"no-referrer\"><title>{}: {}</title><style>{STYLE}</style><main><header>{MARK}\
             <div><b>Portcullis</b><br>Evaluation of a server</div><time>{}</time></header>",
            Text(&report.server),
            word(report.verdict).0,
            Text(&report.at)
        );
    }

    fn verdict(&mut self, report: &Report) {
        let (word, sign, sentence) = word(report.verdict);
        let itself = report.calls_itself.as_deref().unwrap_or("Says no name of its own");
        let version = report.version.as_deref().unwrap_or_default();
        put!(
            self,
            "<section class=\"card verdict {word}\"><svg viewBox=\"0 0 24 24\" fill=\"none\" stroke=\"currentColor\" \
             stroke-width=\"1.6\" stroke-linecap=\"round\" stroke-linejoin=\"round\" aria-hidden=\"true\">\
             <path d=\"M12 2.5 4 5.6v5.6c0 5 3.3 8.6 8 10.3 4.7-1.7 8-5.3 8-10.3V5.6z\"/><path d=\"{sign}\"/></svg>\
             <div><span class=\"word\">{word}</span><h1>{}</h1><p class=\"soft\">{} {}</p></div><p>{sentence}</p></section>",
            Text(&report.server),
            Text(itself),
            Text(version)
        );
    }

    fn tiles(&mut self, report: &Report) {
        let ready = report.identities.iter().find_map(|identity| identity.ready);
        let calls: usize = report.tools.iter().map(|tool| tool.calls.len()).sum();
        let usage = &report.usage;
        put!(self, "<div class=\"tiles\">");
        self.tile(
            &count(report.risks.iter().filter(|risk| risk.severity <= Severity::Low).count()),
            "risks",
            None,
        );
        self.tile(&count(report.tools.len()), &format!("tools, {calls} calls made"), None);
        self.tile(&ready.map_or("never".to_owned(), seconds), "until it served", None);
        if usage.seen {
            self.tile(&bytes(usage.memory), "of memory at most", Some((usage.memory, MEMORY)));
            self.tile(&usage.tasks.to_string(), "processes and threads", Some((usage.tasks, TASKS)));
            self.tile(&seconds(usage.processor), "of processor time", None);
        }
        put!(self, "</div>");
    }

    fn tile(&mut self, value: &str, what: &str, of: Option<(u64, u64)>) {
        put!(self, "<div class=\"card tile\"><b>{}</b><span>{}</span>", Text(value), Text(what));
        if let Some((value, most)) = of {
            let part = (value.saturating_mul(100) / most).clamp(1, 100);
            let much = if part >= 80 { " much" } else { "" };
            put!(
                self,
                "<svg viewBox=\"0 0 100 4\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect class=\"track\" width=\"100\" \
                 height=\"4\"/><rect class=\"fill{much}\" width=\"{part}\" height=\"4\"/></svg>"
            );
        }
        put!(self, "</div>");
    }

    fn risks(&mut self, risks: &[Risk]) {
        put!(self, "<h2>Risks</h2><div class=\"card\">");
        if risks.is_empty() {
            put!(
                self,
                "<div class=\"risk\"><span><span class=\"pill none\">none</span></span><div>Nothing was found that speaks \
                 against it.</div></div>"
            );
        }
        for risk in risks {
            let about = if risk.about.is_empty() { "The server" } else { &risk.about };
            let severity = risk.severity.word();
            put!(
                self,
                "<div class=\"risk\"><span><span class=\"pill {severity}\">{severity}</span></span><div><b>{}</b> {}\
                 <p class=\"soft\">{}</p>",
                Text(about),
                Text(&risk.what),
                Said(&risk.why)
            );
            if !risk.evidence.is_empty() {
                put!(self, "<code>{}</code>", Text(&risk.evidence));
            }
            put!(self, "</div></div>");
        }
        put!(self, "</div>");
    }

    /// Where it wanted to go, and what else it used.
    fn wanted(&mut self, report: &Report) {
        match report.wanted.as_deref() {
            None => {
                put!(
                    self,
                    "<h2>Network</h2><div class=\"card line soft\">What it wanted was not recorded.</div>"
                );
            }
            Some([]) => {
                put!(
                    self,
                    "<h2>Network</h2><div class=\"card line\"><span class=\"pill none\">none</span> It tried to reach nothing.</div>"
                );
            }
            Some(wanted) => self.hosts(wanted, report.profile.contains("      network:\n")),
        }
        put!(self, "<h2>Files and programs</h2><div class=\"cols\">");
        if let Some(Trace { read, written, denied, programs, connections }) = &report.trace {
            self.list("Files that it read", read);
            self.list("Files that it wrote", written);
            self.list("Files that it was refused", denied);
            self.list("Programs that it started", programs);
            if !connections.is_empty() {
                self.list("Addresses that it tried", connections);
            }
        } else {
            self.list("Programs that ran", &report.usage.programs);
            self.list("Files", &["not recorded".to_owned()]);
        }
        put!(self, "</div>");
        self.unseen(&report.unseen);
    }

    fn hosts(&mut self, wanted: &[Wanted], some_can_be_granted: bool) {
        let note = if some_can_be_granted {
            "nothing of it went anywhere"
        } else {
            "nothing of that can be granted"
        };
        put!(
            self,
            "<h2>Network<small>{note}</small></h2><div class=\"card scroll\"><table><thead><tr><th>Where to<th>How<th>When<th>\
             <th class=\"num\">Times</thead><tbody>"
        );
        for place in wanted.iter().take(PLACES) {
            let kind = match place.port {
                None => "name looked up",
                Some(_) if place.udp => "UDP",
                Some(443) => "TLS",
                Some(_) => "TCP",
            };
            put!(self, "<tr><td class=\"place\"><span class=\"mono\"><b>{}</b>", Text(&place.host));
            if let Some(port) = place.port {
                put!(self, "<span class=\"soft\">:{port}</span>");
            }
            put!(self, "</span>");
            if let Some(tls) = &place.tls {
                put!(self, "<p class=\"soft\">asks TLS for <span class=\"mono\">{}</span></p>", Text(tls));
            }
            put!(self, "<td class=\"soft\">{kind}<td class=\"soft\">{}<td>", Text(&place.during.join(", ")));
            if let Some((word, class)) = remark(place) {
                put!(self, "<span class=\"pill {class}\">{word}</span>");
            }
            put!(self, "<td class=\"num\">{}", place.times);
        }
        put!(self, "</tbody></table>");
        if wanted.len() > PLACES {
            put!(self, "<p class=\"more soft\">and {} more</p>", wanted.len() - PLACES);
        }
        put!(self, "</div>");
    }

    fn unseen(&mut self, unseen: &[Unseen]) {
        if unseen.is_empty() {
            return;
        }
        put!(
            self,
            "<h2>Not seen<small>where nobody looked, nothing was found</small></h2><div class=\"card line\"><dl>"
        );
        for Unseen { what, why } in unseen {
            put!(self, "<dt>{}</dt><dd class=\"soft\">{}</dd>", Text(what), Said(why));
        }
        put!(self, "</dl></div>");
    }

    fn list(&mut self, title: &str, entries: &[String]) {
        const SHOWN: usize = 12;
        put!(self, "<section class=\"card\"><h3>{title}</h3><ul>");
        for entry in entries.iter().take(SHOWN) {
            put!(self, "<li class=\"mono\">{}</li>", Text(entry));
        }
        match entries.len() {
            0 => {
                put!(self, "<li class=\"soft\">nothing</li>");
            }
            more if more > SHOWN => {
                put!(self, "<li class=\"soft\">and {} more</li>", more - SHOWN);
            }
            _ => {}
        }
        put!(self, "</ul></section>");
    }

    fn tools(&mut self, tools: &[Tool]) {
        put!(
            self,
            "<h2>Tools<small>{}</small></h2><div class=\"card scroll\"><table><thead><tr><th>Tool<th>Says that it is<th>Found<th>Calls\
             <th class=\"num\">Slowest<th class=\"num\">Largest</thead><tbody>",
            tools.len()
        );
        for tool in tools {
            self.tool(tool);
        }
        put!(self, "</tbody></table></div>");
    }

    fn tool(&mut self, tool: &Tool) {
        put!(
            self,
            "<tr><td><span class=\"mono\"><b>{}</b></span><p class=\"soft\">{}</p><td>",
            Text(&tool.name),
            Text(&tool.description)
        );
        for hint in &tool.hints {
            let class = match hint.as_str() {
                "read-only" => "reads",
                "destructive" => "destructive",
                "open world" => "open",
                _ => "",
            };
            put!(self, "<span class=\"pill {class}\">{}</span> ", Text(hint));
        }
        put!(self, "<td>");
        if let Some(severity) = tool.severity {
            put!(self, "<span class=\"pill {0}\">{0}</span>", severity.word());
        }
        let mut outcomes: Vec<(&str, usize)> = Vec::new();
        for call in &tool.calls {
            match outcomes.iter_mut().find(|(outcome, _)| *outcome == call.outcome) {
                Some((_, times)) => *times += 1,
                None => outcomes.push((&call.outcome, 1)),
            }
        }
        let outcomes: Vec<_> = outcomes.iter().map(|(outcome, times)| format!("{times} {outcome}")).collect();
        match outcomes.join(", ") {
            none if none.is_empty() => {
                put!(self, "<td class=\"soft\">not called");
            }
            outcomes => {
                put!(self, "<td>{}", Text(&outcomes));
            }
        }
        let most = |of: fn(&super::report::Call) -> u64| tool.calls.iter().map(of).max();
        let slowest = most(|call| call.took).map(seconds).unwrap_or_default();
        let largest = most(|call| call.bytes).map(bytes).unwrap_or_default();
        put!(self, "<td class=\"num\">{slowest}<td class=\"num\">{largest}");
    }

    fn timeline(&mut self, report: &Report) {
        put!(
            self,
            "<h2>Timeline</h2><div class=\"card line\"><svg viewBox=\"0 0 1000 34\" preserveAspectRatio=\"none\" \
             aria-hidden=\"true\"><line x1=\"6\" y1=\"17\" x2=\"994\" y2=\"17\"/>"
        );
        for moment in &report.timeline {
            let at = 6 + moment.at.min(report.took) * 988 / report.took.max(1);
            put!(self, "<circle cx=\"{at}\" cy=\"17\" r=\"6\"/>");
        }
        put!(self, "</svg><ul>");
        for moment in &report.timeline {
            put!(
                self,
                "<li><span class=\"soft\">{}</span><span>{}</span></li>",
                seconds(moment.at),
                Text(&moment.what)
            );
        }
        put!(self, "</ul></div>");
    }

    fn profile(&mut self, report: &Report) {
        put!(
            self,
            "<h2>The least that it needs<small>proposed from what was seen</small></h2><pre>{}</pre>",
            Text(&report.profile)
        );
        if !report.stderr.is_empty() {
            put!(
                self,
                "<h2>Standard error<small>{}</small></h2><details class=\"card\"><summary>Show how it begins</summary><pre>{}\
                 </pre></details>",
                bytes(report.stderr_bytes),
                Text(&report.stderr)
            );
        }
    }

    fn foot(&mut self, report: &Report) {
        let calls = match report.calls {
            Calls::None => "No tool was called",
            Calls::Safe => "Tools that only read were called",
            Calls::All => "All tools were called",
        };
        let missing = match report.place.missing.join(", ") {
            missing if missing.is_empty() => String::new(),
            missing => format!("; nothing kept it from: {missing}"),
        };
        let ending = match &report.ending.by {
            Some(by) => format!("It left at {by}, after {}", seconds(report.ending.took)),
            None => "It ended by itself".to_owned(),
        };
        put!(
            self,
            "<footer>{calls}, in the place “{}”{}. {ending}. Where nothing is found, nothing is proved.<br>\
             <span class=\"mono\">{}</span><br>portcullis {}</footer></main></html>\n",
            Text(&report.place.name),
            Text(&missing),
            Text(&report.command.join(" ")),
            Text(&report.portcullis)
        );
    }
}

/// The hash by which the page's policy knows its style, and no other.
fn style_hash() -> String {
    let digits = digest(STYLE.as_bytes());
    let digit =
        |at: usize| u8::from_str_radix(digits.get(at..at + 2).unwrap_or_default(), 16).unwrap_or_default();
    STANDARD.encode((0..digits.len()).step_by(2).map(digit).collect::<Vec<_>>())
}

/// The sign of the program.
const MARK: &str = "<svg viewBox=\"0 0 64 64\" fill=\"none\" stroke=\"currentColor\" aria-hidden=\"true\"><path stroke-width=\"6\" \
                    d=\"M8 60V28a24 24 0 0 1 48 0v32\"/><path stroke-width=\"4\" \
                    d=\"M20 14v38M32 8v46M44 14v38M11 26h42M11 40h42\"/></svg>";

/// A verdict's word, the sign in its shield, and what it means.
fn word(verdict: Verdict) -> (&'static str, &'static str, &'static str) {
    match verdict {
        Verdict::Trustworthy => (
            "trustworthy",
            "m8.5 12 2.5 2.5 4.5-5",
            "Nothing was found that speaks against it. Grant it what it needs, and no more.",
        ),
        Verdict::Review => {
            ("review", "M12 7.5v5m0 3.5v.01", "Somebody should look at what was found before it is used.")
        }
        Verdict::Dangerous => (
            "dangerous",
            "m9 9 6 6m0-6-6 6",
            "It does what no server should. Do not use it where anything can be lost.",
        ),
    }
}

/// What is to be said of a place, and how that looks.
fn remark(place: &Wanted) -> Option<(&'static str, &'static str)> {
    match place.granted {
        _ if is_of_a_cloud(&place.host) => Some(("cloud metadata", "high")),
        _ if place.tls.is_some() => Some(("another host", "medium")),
        Some(true) => Some(("granted", "none")),
        _ if is_nearby(&place.host) => Some(("private network", "medium")),
        Some(false) => Some(("not granted", "low")),
        None => None,
    }
}

fn count(count: usize) -> String {
    count.to_string()
}

/// Says how long something took.
fn seconds(milliseconds: u64) -> String {
    match milliseconds {
        0..1000 => format!("{milliseconds} ms"),
        _ => format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::{Call, Moment};
    use super::*;

    #[test]
    fn nothing_of_a_server_acts_in_the_page() {
        let nasty = "<script>alert(1)</script>\"'\u{202e}\u{1b}[2J";
        let mut report = Report { server: nasty.into(), at: nasty.into(), ..Report::default() };
        report.calls_itself = Some(nasty.into());
        report.version = Some(nasty.into());
        report.stderr = nasty.into();
        report.profile = nasty.into();
        report.command = vec![nasty.into()];
        report.timeline = vec![Moment { at: 1, what: nasty.into() }];
        let call = Call { outcome: nasty.into(), ..Call::default() };
        let (name, description) = (nasty.to_owned(), nasty.to_owned());
        report.tools =
            vec![Tool { name, description, hints: vec![nasty.into()], calls: vec![call], ..Tool::default() }];
        let [code, about, what, why, evidence] = [(); 5].map(|()| nasty.to_owned());
        report.risks = vec![Risk { severity: Severity::High, code, about, what, why, evidence }];
        let read = vec![nasty.to_owned()];
        report.trace = Some(Trace { read, ..Trace::default() });
        let (host, tls, during) = (nasty.to_owned(), Some(nasty.to_owned()), vec![nasty.to_owned()]);
        report.wanted = Some(vec![Wanted { host, tls, during, ..Wanted::default() }]);
        report.unseen = vec![Unseen::new(nasty, nasty)];
        let page = render(&report);
        assert!(!page.contains("<script") && !page.contains('\u{202e}') && !page.contains('\u{1b}'));
        assert!(page.contains("&lt;script&gt;") && page.contains("\\u{202e}"));
        assert!(!page.contains("\"'"), "a quote ends an attribute");
    }

    #[test]
    fn code_is_shown_as_such() {
        assert_eq!(Said("<a> `b<` c").to_string(), "&lt;a&gt; <span class=\"mono\">b&lt;</span> c");
    }

    #[test]
    fn the_style_is_the_one_that_the_policy_knows() {
        let page = render(&Report::default());
        assert!(page.contains(&format!("style-src 'sha256-{}'", style_hash())));
        assert_eq!(style_hash().len(), 44);
        assert!(!page.contains("style=\""), "the policy lets none through");
    }

    #[test]
    fn says_how_long_something_took() {
        assert_eq!((seconds(12), seconds(1290)), ("12 ms".to_owned(), "1.2 s".to_owned()));
    }
}
