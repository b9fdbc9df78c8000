//! What a server is reached by, as an approval binds it: the program with its arguments, its folder and its environment, or the
//! URL. Credentials may change while a server stays approved: headers are left out, and secrets count by their names.

use crate::audit;
use crate::config::{Command, Hosting, Isolation, Network, Per, Registry, Transport};

/// Returns the digest of what a server is reached by.
pub(crate) fn launch(transport: &Transport) -> String {
    let mut said = String::new();
    let mut take = |text: &str| {
        // With its length, so that no two lists of texts read alike.
        said.push_str(&text.len().to_string());
        said.push(':');
        said.push_str(text);
    };
    match transport {
        Transport::Http(endpoint) | Transport::Sse(endpoint) => {
            take("url");
            take(endpoint.url.as_str());
        }
        Transport::Stdio(command) => {
            take("command");
            take(&command.program);
            command.args.iter().for_each(|arg| take(arg));
            take("cwd");
            take(command.cwd.as_deref().unwrap_or_default());
            take("env");
            for (name, value) in &command.env {
                take(name);
                take(value);
            }
            take("secrets");
            for (name, text) in &command.secret_env {
                take(name);
                text.names().into_iter().for_each(|secret| take(secret.as_str()));
            }
            command.hosting().into_iter().for_each(|hosting| profile(hosting, &mut take));
        }
    }
    audit::digest(said.as_bytes())
}

/// Names what a hosted server comes from, and what it may use and reach. How much of the machine it may use, and for how long it
/// stays, may change.
fn profile(hosting: &Hosting, take: &mut impl FnMut(&str)) {
    take("host");
    take(hosting.image.as_ref().map_or("", |image| &image.digest));
    if let Some(package) = &hosting.package {
        take(registry(package.registry));
        take(&package.name);
        take(&package.version);
        take(package.integrity.as_deref().unwrap_or_default());
    }
    take(match hosting.isolation {
        Isolation::Process => "process",
        Isolation::Namespaces => "namespaces",
        Isolation::Container => "container",
        Isolation::Kernel => "kernel",
    });
    take(match hosting.per {
        Per::Gateway => "gateway",
        Per::Identity => "identity",
        Per::Agent => "agent",
    });
    match &hosting.network {
        Network::None => take("none"),
        Network::Unrestricted => take("unrestricted"),
        Network::Places(places) => {
            for place in places {
                take(&place.host);
                take(&place.port.to_string());
                take(if place.private { "private" } else { "public" });
            }
        }
    }
    for mount in &hosting.mounts {
        take(&mount.path);
        take(&mount.to);
        take(if mount.write { "write" } else { "read" });
    }
}

fn registry(registry: Registry) -> &'static str {
    match registry {
        Registry::Npm => "npm",
        Registry::Pypi => "pypi",
    }
}

/// Says what a server is reached by, for people: without the values of its environment, and without a URL's query.
pub(crate) fn described(transport: &Transport) -> String {
    match transport {
        Transport::Http(endpoint) | Transport::Sse(endpoint) => {
            let mut url = endpoint.url.clone();
            if url.query().is_some() {
                url.set_query(Some("..."));
            }
            url.to_string()
        }
        Transport::Stdio(command) => {
            let words =
                std::iter::once(&command.program).chain(&command.args).filter(|word| !word.is_empty());
            let words = words.map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
            let source = source(command);
            if source.is_empty() { words } else { format!("{source} {words}").trim_end().to_owned() }
        }
    }
}

/// Says where a hosted server's program comes from.
fn source(command: &Command) -> String {
    let Some(hosting) = command.hosting() else { return String::new() };
    match (&hosting.image, &hosting.package) {
        (Some(image), _) => format!("image {}@{}", image.name, image.digest),
        (None, Some(package)) => {
            format!("{} {}@{}", registry(package.registry), package.name, package.version)
        }
        (None, None) => String::new(),
    }
}

/// Writes a word so that it is seen where it ends.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@+,%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) { word.to_owned() } else { format!("{word:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Command, Endpoint};

    fn command(args: &[&str], env: &[(&str, &str)]) -> Transport {
        Transport::Stdio(Command {
            program: "npx".into(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ..Command::default()
        })
    }

    fn endpoint(url: &str, header: &'static str) -> Transport {
        let headers = [(http::header::AUTHORIZATION, http::HeaderValue::from_static(header))];
        let (url, headers) = (url.parse().unwrap(), headers.into_iter().collect());
        Transport::Http(Endpoint { url, headers, secret_headers: Vec::new(), sign_on: None, consent: None })
    }

    #[test]
    fn what_runs_other_code_is_another_launch() {
        let plain = launch(&command(&["-y", "a"], &[]));
        assert_eq!(plain, launch(&command(&["-y", "a"], &[])));
        for other in [
            command(&["-y a"], &[]),
            command(&["a", "-y"], &[]),
            command(&["-y", "a", ""], &[]),
            command(&["-y", "a"], &[("NODE_OPTIONS", "--require x")]),
            command(&["-y", "a", "cwd"], &[]),
        ] {
            assert_ne!(plain, launch(&other), "{other:?}");
        }
        let (here, there) = ("https://a.example/mcp", "https://b.example/mcp");
        assert_eq!(launch(&endpoint(here, "Bearer 1")), launch(&endpoint(here, "Bearer 2")));
        assert_ne!(launch(&endpoint(here, "Bearer 1")), launch(&endpoint(there, "Bearer 1")));
    }

    #[test]
    fn where_a_hosted_server_comes_from_and_what_it_may_reach_is_bound() {
        use crate::config::{Bounds, Image};
        let hosted = |change: &dyn Fn(&mut Hosting)| {
            let image = Image { name: "a".into(), digest: "sha256:1".into() };
            let mut hosting = Hosting { image: Some(image), ..Hosting::default() };
            change(&mut hosting);
            let mut command = Command { program: "npx".into(), ..Command::default() };
            command.hosting = Some(Box::new(hosting));
            Transport::Stdio(command)
        };
        let plain = launch(&hosted(&|_| ()));
        assert_ne!(plain, launch(&command(&[], &[])));
        let changes: [&dyn Fn(&mut Hosting); 5] = [
            &|hosting| hosting.image.iter_mut().for_each(|image| image.digest = "sha256:2".into()),
            &|hosting| hosting.network = Network::Unrestricted,
            &|hosting| hosting.isolation = Isolation::Process,
            &|hosting| hosting.per = Per::Identity,
            &|hosting| hosting.per = Per::Agent,
        ];
        for change in changes {
            assert_ne!(plain, launch(&hosted(change)), "{:?}", hosted(change));
        }
        let less = |hosting: &mut Hosting| hosting.bounds = Bounds { pids: Some(1), ..Bounds::default() };
        assert_eq!(plain, launch(&hosted(&less)));
        insta::assert_snapshot!(described(&hosted(&|_| ())), @"image a@sha256:1 npx");
    }

    #[test]
    fn it_is_shown_without_what_may_be_a_secret() {
        insta::assert_snapshot!(described(&command(&["-y", "a b"], &[("KEY", "s3cret")])), @r#"npx -y "a b""#);
        insta::assert_snapshot!(described(&endpoint("https://a.example/mcp?key=s3cret", "x")), @"https://a.example/mcp?...");
    }
}
