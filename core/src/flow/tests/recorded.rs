//! A gateway whose trail has some lines, for those who read it.

use http::request::Builder;
use http::{Method, Request, header};

use super::{Memory, ask, modern_server};
use crate::audit::{Chain, Decision, Entry, Writing};
use crate::body::{Body, Reply};
use crate::config::Config;
use crate::control::Managed;
use crate::front::admin::AdminKey;
use crate::front::gate::Exposure;
use crate::gateway::{Gateway, Options, SealKeys};

/// The credential of who governs it.
const KEY: &str = "k";

/// So many lines of a chain, a second after each other: every third entry was denied, the others as `entry` has them.
pub(super) fn lines(count: u64, entry: impl Fn(u64) -> Entry) -> Vec<String> {
    let mut chain = Chain::default();
    let entry = |id: u64| Entry {
        time: 1_785_196_800_000 + id * 1000,
        method: "tools/call",
        decision: if id.is_multiple_of(3) { Decision::Denied } else { Decision::Allowed },
        ..entry(id)
    };
    (1..=count).map(|_| chain.add(|id, prev| entry(id).line(id, prev, &Writing::default()))).collect()
}

pub(super) struct Stage {
    pub(super) host: Memory,
    pub(super) gateway: Gateway<Memory>,
}

impl Stage {
    /// A gateway with these lines, or none that it could read, and an admin credential.
    pub(super) fn of(lines: Option<Vec<String>>) -> Self {
        Self::with(lines, AdminKey::new(KEY))
    }

    pub(super) fn with(lines: Option<Vec<String>>, admin_key: Option<AdminKey>) -> Self {
        let host = Memory::new(modern_server);
        host.keep_trail();
        if let Some(lines) = lines {
            host.read_trail(lines);
        }
        let options = Options {
            config: Config::default(),
            seal_keys: SealKeys { first: [1; 32], others: Vec::new() },
            exposure: Exposure::Loopback,
            started_by: Vec::new(),
            admin_key,
            managed: Managed::ByFiles("a file".into()),
        };
        let gateway = Gateway::start(host.clone(), options).expect("it starts");
        Self { host, gateway }
    }

    fn request(method: Method, path: &str) -> Builder {
        Request::builder().method(method).uri(format!("/admin/v1/{path}")).header(header::HOST, "localhost")
    }

    /// Asks with a key; answers the status, the kind and the text.
    pub(super) fn ask(&self, method: Method, path: &str, key: &str) -> String {
        let request = Self::request(method, path).header(header::AUTHORIZATION, format!("Bearer {key}"));
        ask(&self.host, &self.gateway, request.body(Body::default()).expect("a request"))
    }

    /// Reads as who governs.
    pub(super) fn read(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        let request = Self::request(Method::GET, path).header(header::AUTHORIZATION, format!("Bearer {KEY}"));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.host.run(Box::pin(self.gateway.serve(request.body(Body::default()).expect("a request"))))
    }

    /// Returns the status of an answer and its text.
    pub(super) fn text(&self, reply: Reply) -> (u16, String) {
        let status = reply.status().as_u16();
        let body = self.host.run(reply.into_body().collect(usize::MAX)).expect("a body");
        (status, String::from_utf8_lossy(&body).into_owned())
    }
}
