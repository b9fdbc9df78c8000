//! Users who enter a code at a server's authorization server, while their browser waits.

use std::time::Duration;

use super::{Browser, OWN, Page, Stage, accepted, link};
use crate::ports::Clock as _;
use crate::upstream::lock;

const GRANT: &str = "grant: device_code, client_id: gateway-1";

impl Stage {
    /// A stage whose authorization server gives codes for users to enter.
    fn of_devices(oauth: &str) -> Self {
        let stage = Self::with(&format!("gateway: {{ public_url: '{OWN}' }}"), oauth);
        let device = r#""device_authorization_endpoint":"https://as.test/device","registration_endpoint""#;
        lock(&stage.doubles).instead.push(("\"registration_endpoint\"", device));
        stage
    }

    /// Has the user of a key agree to connect; returns the browser, and the page that it waits at.
    fn agree(&self, asked: &str) -> (Browser, String) {
        let mut browser = Browser::default();
        let page = self.open(&mut browser, &link(asked));
        let page = self.submit(&mut browser, &page, 1);
        let waiting = page.onward.unwrap_or_else(|| panic!("it ends here: {}", page.text));
        (browser, waiting)
    }

    /// Lets seconds pass, and opens a page again, and whatever that leads to; returns where that is, too.
    fn look(&self, browser: &mut Browser, at: &str, seconds: u64) -> (String, Page) {
        self.host.run(self.host.sleep(Duration::from_secs(seconds)));
        let page = self.open(browser, at);
        match page.onward.clone() {
            Some(next) => (next.clone(), self.open(browser, &next)),
            None => (at.to_owned(), page),
        }
    }

    fn says(&self, error: Option<&'static str>) {
        lock(&self.doubles).withheld = error;
    }
}

const ASKED: &str = "token by urn:ietf:params:oauth:grant-type:device_code for https://mine.test/mcp";

#[test]
fn a_user_enters_a_code_and_the_call_goes_on() {
    let stage = Stage::of_devices(&format!("{GRANT}, parameters: {{ audience: api }}"));
    let asked = stage.call(1, "mine__echo", "");
    stage.seen();
    let (mut browser, waiting) = stage.agree(&asked);
    assert!(waiting.starts_with("https://gw.test/oauth/callback?state="), "{waiting}");
    assert_eq!(
        stage.seen(),
        [
            "device scope=offline_access+read&resource=https%3A%2F%2Fmine.test%2Fmcp&audience=api&client_id=gateway-1"
        ]
    );
    let page = stage.open(&mut browser, &waiting);
    assert_eq!((page.title(), page.refresh.as_deref()), ("200 Enter this code".into(), Some("5")));
    assert!(page.text.contains("<dd>WDJB-&#60;b&#62;</dd>"), "{}", page.text);
    assert!(
        page.text.contains("href=\"https://as.test/go?a=1&#38;b\" target=\"_blank\" rel=\"noreferrer\""),
        "{}",
        page.text
    );
    assert!(!page.text.contains("d3vice"), "{}", page.text);
    let (same, page) = stage.look(&mut browser, &waiting, 3);
    assert_eq!((&same, page.refresh.as_deref()), (&waiting, Some("2")));
    assert_eq!(stage.seen(), [""; 0], "nobody is asked before it is time");
    let (next, page) = stage.look(&mut browser, &waiting, 2);
    assert!(next != waiting && page.refresh.as_deref() == Some("5"));
    assert_eq!(stage.seen(), [ASKED], "once");
    stage.says(Some("slow_down"));
    let (next, page) = stage.look(&mut browser, &next, 5);
    assert_eq!(page.refresh.as_deref(), Some("10"));
    stage.says(Some("server"));
    let (next, page) = stage.look(&mut browser, &next, 10);
    assert_eq!(page.refresh.as_deref(), Some("15"), "a provider that fails is asked again");
    stage.says(None);
    let (_, page) = stage.look(&mut browser, &next, 15);
    assert_eq!((page.title(), page.refresh), ("200 Connected".into(), None));
    stage.seen();
    assert!(stage.call(1, "mine__echo", &accepted(&asked)).contains("\"content\""));
    assert_eq!(stage.seen(), ["call with t0k3n-1"]);
    assert!(stage.call(2, "mine__echo", "").contains("input_required"), "it is nobody else's");
}

#[test]
fn only_the_browser_that_began_waits() {
    let stage = Stage::of_devices(GRANT);
    let (browser, waiting) = stage.agree(&stage.call(1, "mine__echo", ""));
    stage.says(None);
    stage.host.run(stage.host.sleep(Duration::from_secs(6)));
    stage.seen();
    for (mut other, url) in [
        (Browser::default(), waiting.clone()),
        (Browser(browser.0.clone()), waiting.replace("state=", "state=x")),
    ] {
        assert_eq!(stage.open(&mut other, &url).title(), "400 This cannot be connected", "{url}");
    }
    assert_eq!(stage.seen(), [""; 0], "nobody was asked");
    let mut browser = browser;
    let (_, page) = stage.look(&mut browser, &waiting, 900);
    assert_eq!(page.title(), "400 This cannot be connected", "it has ended");
}

#[test]
fn who_does_not_consent_is_not_connected() {
    for error in ["access_denied", "expired_token", "invalid_grant"] {
        let stage = Stage::of_devices(GRANT);
        let (mut browser, waiting) = stage.agree(&stage.call(1, "mine__echo", ""));
        stage.says(Some(error));
        let (_, page) = stage.look(&mut browser, &waiting, 5);
        assert_eq!((page.title(), page.refresh), ("502 This cannot be connected".into(), None));
        assert!(page.text.contains(error), "{}", page.text);
        assert!(stage.call(1, "mine__echo", "").contains("input_required"));
    }
}

#[test]
fn a_code_is_got_where_tokens_are_made_and_nowhere_else() {
    let check = |oauth: &str, instead: &[(&'static str, &'static str)]| {
        let stage = Stage::of_devices(&format!("{GRANT}, {oauth}"));
        lock(&stage.doubles).instead.extend(instead);
        let mut browser = Browser::default();
        let page = stage.open(&mut browser, &link(&stage.call(1, "mine__echo", "")));
        stage.seen();
        let page = stage.submit(&mut browser, &page, 1);
        (page.title(), page.text, stage.seen().len())
    };
    let nowhere = ("\"device_authorization_endpoint\"", "\"x\"");
    let at = "device_authorization_endpoint: 'https://as.test/device'";
    assert_eq!(check(at, &[nowhere]).0, "302 ");
    let (title, text, seen) = check("", &[nowhere]);
    assert_eq!((&*title, seen), ("502 This cannot be connected", 0));
    assert!(text.contains("set `auth.oauth.device_authorization_endpoint`"), "{text}");
    // What the user consents to there could be redeemed here, by whoever the server names.
    let (title, text, seen) = check("device_authorization_endpoint: 'https://github.test/device'", &[]);
    assert_eq!((&*title, seen), ("502 This cannot be connected", 0));
    assert!(text.contains("on another host than it makes tokens"), "{text}");
    let page = ("https://as.test/go", "javascript:alert(1)//");
    assert_eq!(check("", &[page]).0, "502 This cannot be connected");
}
