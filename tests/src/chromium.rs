//! A real browser, Chromium, and the people who use it (`interop/browser/drive.cjs`).

use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Deserialize;

use crate::http::Request;
use crate::toolbox;
use crate::upstream::Upstream;

/// Somebody with a browser window of their own: nobody else has its cookies.
#[derive(Debug)]
pub struct Person(String);

/// Where somebody came to, and on what way.
#[derive(Debug, Clone, Deserialize)]
pub struct Walk {
    /// The address of the last page.
    pub url: String,
    /// Its status.
    pub status: u16,
    /// Its title.
    pub title: String,
    /// What it shows.
    pub text: String,
    /// Every document on the way.
    pub pages: Vec<Page>,
}

/// A document on somebody's way.
#[derive(Debug, Clone, Deserialize)]
pub struct Page {
    /// `HOST:PORT`.
    pub host: String,
    /// The path of its address.
    pub path: String,
    /// Its status.
    pub status: u16,
    /// Its title; none where it led on by itself.
    #[serde(default)]
    pub title: Option<String>,
}

impl Person {
    /// Somebody who signs in by this name wherever they are asked to, and agrees to everything.
    pub fn named(name: &str) -> Self {
        static WINDOWS: AtomicUsize = AtomicUsize::new(0);
        let window = WINDOWS.fetch_add(1, Ordering::Relaxed);
        Self(format!("{}/{window}?name={name}", shared().url()))
    }

    /// The same with an API key, which they paste where they are asked for one.
    #[must_use]
    pub fn with_key(self, key: &str) -> Self {
        Self(format!("{}&key={key}", self.0))
    }

    /// Has them go to a page, and on to where that leads.
    pub fn visit(&self, url: &str) -> Walk {
        let response = Request::post(&self.0).body(url).send();
        let (status, text) = (response.status, response.text());
        assert_eq!(status, 200, "{url}: {text}\n{}", shared().log());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Where their browser takes addresses, for real clients.
    pub fn browser(&self) -> &str {
        &self.0
    }
}

impl Walk {
    /// The titles of the pages that somebody had to look at.
    pub fn titles(&self) -> Vec<&str> {
        self.pages.iter().filter_map(|page| page.title.as_deref()).collect()
    }
}

/// The browser that all tests of this program share; it ends with the program.
fn shared() -> &'static Upstream {
    static SHARED: OnceLock<Upstream> = OnceLock::new();
    SHARED.get_or_init(|| {
        let folder = toolbox::scratch().keep();
        let mut command = Command::new(toolbox::node());
        command.arg(toolbox::interop("browser/drive.cjs")).arg("--chromium").arg(toolbox::chromium());
        command.env("NODE_PATH", toolbox::browser_modules()).env("TMPDIR", &folder).env("HOME", &folder);
        Upstream::start(&command)
    })
}
