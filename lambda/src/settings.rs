//! What the environment says. Every complaint says what to set.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use portcullis_core::control::Strangers;
use portcullis_core::{AdminKey, SealKeys};

use crate::secrets::own::{Origin, Own};

/// How a function is set up.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The table that environments share; without one they share nothing.
    pub(crate) table: Option<String>,
    /// The file of the package with the configuration; where there is a table, with the one before any was pushed.
    pub(crate) file: Option<PathBuf>,
    /// Where the gateway's own keys come from.
    pub(crate) own: Own,
    /// How the names of the servers' secrets begin; without that there are none.
    pub(crate) secrets: Option<String>,
    /// The KMS key that new secrets are encrypted with.
    pub(crate) secrets_key: Option<String>,
    /// The KMS keys that wrap what connections are sealed under: the first one does, all of them open; without any, the seal
    /// keys wrap.
    pub(crate) connection_keys: Vec<String>,
    /// The control plane that says what is served, where one does.
    pub(crate) control: Option<Control>,
    /// Whether callers that prove nothing are admitted.
    pub(crate) strangers: Strangers,
    /// How answers are given.
    pub(crate) answers: Answers,
}

/// Who says what is served.
pub(crate) struct Control {
    /// The control plane's URL.
    pub(crate) url: String,
    /// The token to join its fleet with, needed once.
    pub(crate) token: Option<String>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Control({})", self.url)
    }
}

/// How answers are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// As the front that an event comes from is known to take them.
    AsFront,
    /// As streams, whatever the front.
    Streamed,
    /// Whole, whatever the front.
    Whole,
}

impl Settings {
    /// Reads the settings from an environment.
    pub(crate) fn read(env: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let text =
            |name: &str| env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let (table, file) = (text("PORTCULLIS_TABLE"), text("PORTCULLIS_CONFIG").map(PathBuf::from));
        if table.is_none() && file.is_none() {
            bail!(
                "there is no configuration: set PORTCULLIS_TABLE to the name of a DynamoDB table, or PORTCULLIS_CONFIG to \
                 the name of a file in the function's package"
            );
        }
        let own = own(&text)?;
        let answers = match text("PORTCULLIS_ANSWERS").as_deref() {
            None => Answers::AsFront,
            Some("streamed") => Answers::Streamed,
            Some("whole") => Answers::Whole,
            Some(_) => bail!(
                "PORTCULLIS_ANSWERS is neither `streamed` nor `whole`: unset it to answer as each front takes it"
            ),
        };
        let strangers = match text("PORTCULLIS_INSECURE").as_deref() {
            Some("1" | "true" | "yes") => Strangers::Admitted,
            _ => Strangers::KeptOut,
        };
        let token = text("PORTCULLIS_ENROLMENT");
        let control = text("PORTCULLIS_CONTROL").map(|url| Control { url, token });
        if control.is_some() && table.is_none() {
            bail!(
                "PORTCULLIS_CONTROL needs PORTCULLIS_TABLE, the name of a DynamoDB table: what the control plane says is kept \
                 there"
            );
        }
        let (secrets, secrets_key) = (text("PORTCULLIS_SECRET_PREFIX"), text("PORTCULLIS_SECRET_KMS_KEY"));
        let connection_keys =
            text("PORTCULLIS_CONNECTION_KMS_KEY").as_deref().map(listed).unwrap_or_default();
        Ok(Self { table, file, own, secrets, secrets_key, connection_keys, control, strangers, answers })
    }
}

/// Returns what commas separate.
fn listed(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Reads where the gateway's own keys come from. A key that is given comes before a secret that is named.
fn own(text: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Own> {
    let seal_keys = match (text("PORTCULLIS_SEAL_KEY"), text("PORTCULLIS_SEAL_KEY_SECRET")) {
        (Some(keys), _) => Origin::Given(SealKeys::parse(&keys).context("PORTCULLIS_SEAL_KEY")?),
        (None, Some(id)) => Origin::Secret(id),
        (None, None) => bail!(
            "there is no PORTCULLIS_SEAL_KEY, which seals what agents carry: make one with `openssl rand -base64 32`, or \
             set PORTCULLIS_SEAL_KEY_SECRET to the name of the secret that has it"
        ),
    };
    let given = text("PORTCULLIS_ADMIN_KEY").as_deref().and_then(AdminKey::new).map(Origin::Given);
    let admin_key = given.or_else(|| text("PORTCULLIS_ADMIN_KEY_SECRET").map(Origin::Secret));
    Ok(Own { seal_keys, admin_key })
}

/// Returns what a configuration may refer to: not what is the gateway's own, nor the role's.
pub(crate) fn variable(name: &str) -> Option<String> {
    let is_reserved = ["PORTCULLIS_", "AWS_"].iter().any(|prefix| name.starts_with(prefix));
    if is_reserved { None } else { std::env::var(name).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

    /// Returns what is said of an environment.
    fn check(variables: &[(&str, &str)]) -> String {
        let env = |name: &str| {
            let found = variables.iter().find(|(given, _)| *given == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        match Settings::read(&env) {
            Ok(settings) => format!("{:?} {:?} {:?}", settings.table, settings.file, settings.answers),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn every_complaint_says_what_to_set() {
        let key = ("PORTCULLIS_SEAL_KEY", KEY);
        let file = ("PORTCULLIS_CONFIG", "portcullis.yaml");
        insta::assert_snapshot!(check(&[]), @"there is no configuration: set PORTCULLIS_TABLE to the name of a DynamoDB table, or PORTCULLIS_CONFIG to the name of a file in the function's package");
        insta::assert_snapshot!(check(&[file, ("PORTCULLIS_SEAL_KEY", " ")]), @"there is no PORTCULLIS_SEAL_KEY, which seals what agents carry: make one with `openssl rand -base64 32`, or set PORTCULLIS_SEAL_KEY_SECRET to the name of the secret that has it");
        insta::assert_snapshot!(check(&[file, ("PORTCULLIS_SEAL_KEY", "x")]), @"PORTCULLIS_SEAL_KEY: expected base64 of 32 bytes, several separated by commas; make one with `openssl rand -base64 32`");
        insta::assert_snapshot!(check(&[file, key, ("PORTCULLIS_CONTROL", "https://control.example.com")]), @"PORTCULLIS_CONTROL needs PORTCULLIS_TABLE, the name of a DynamoDB table: what the control plane says is kept there");
        insta::assert_snapshot!(check(&[file, key, ("PORTCULLIS_ANSWERS", "buffered")]), @"PORTCULLIS_ANSWERS is neither `streamed` nor `whole`: unset it to answer as each front takes it");
        insta::assert_snapshot!(check(&[file, key, ("PORTCULLIS_TABLE", "")]), @r#"None Some("portcullis.yaml") AsFront"#);
        insta::assert_snapshot!(check(&[file, key, ("PORTCULLIS_TABLE", "t"), ("PORTCULLIS_ANSWERS", "whole")]), @r#"Some("t") Some("portcullis.yaml") Whole"#);
    }

    #[test]
    fn of_several_keys_of_kms_the_first_comes_first() {
        assert_eq!(
            listed("alias/new, arn:aws:kms:eu-west-1:1:key/old,"),
            ["alias/new", "arn:aws:kms:eu-west-1:1:key/old"]
        );
        assert_eq!(listed(" , "), Vec::<String>::new());
    }

    #[test]
    fn what_is_the_gateways_or_the_roles_is_not_the_configurations() {
        assert!(variable("PATH").is_some());
        assert_eq!([variable("PORTCULLIS_SEAL_KEY"), variable("AWS_SECRET_ACCESS_KEY")], [None, None]);
    }
}
