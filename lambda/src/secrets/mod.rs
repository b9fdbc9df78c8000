//! AWS Secrets Manager: the secrets that a configuration calls by name, and the gateway's own keys.
//!
//! **Nothing is asked, and no client made, before something is needed.** **No error repeats a value, an account or a role**;
//! what AWS says beside its error's name goes to the log.
//!
//! | module | is about |
//! |---|---|
//! | [`store`] | the servers' secrets |
//! | [`own`] | the seal key and the admin key |

pub(crate) mod own;
pub(crate) mod store;

#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use portcullis_core::control::StoreError;
use portcullis_core::secrets::Secret;

use crate::aws::Account;

/// The stage of the value that counts.
const CURRENT: &str = "AWSCURRENT";
/// The stage of the value before it.
const PREVIOUS: &str = "AWSPREVIOUS";

/// What AWS says where there is no such secret, or it has no value at a stage.
const NOT_FOUND: &str = "ResourceNotFoundException";
/// What it says of a secret that is in no state for this, such as one that was removed.
const NOT_NOW: &str = "InvalidRequestException";

/// Secrets Manager, as an account has it.
#[derive(Debug)]
pub(crate) struct Manager {
    account: Account,
    client: OnceLock<Client>,
}

/// A value of a secret, and what AWS calls its version.
struct Version {
    id: String,
    value: Secret,
}

/// Why Secrets Manager did not do what it was asked for, in words that are safe to show.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Secrets Manager {reason}")]
pub(crate) struct Trouble {
    /// What AWS calls it.
    code: String,
    reason: String,
}

impl Manager {
    /// Names the account; asks nothing of it.
    pub(crate) fn new(account: Account) -> Self {
        Self { account, client: OnceLock::new() }
    }

    fn client(&self) -> &Client {
        self.client.get_or_init(|| self.account.secrets_manager())
    }

    /// Reads the value that a secret has at a stage; nothing where there is none.
    async fn version(&self, id: &str, stage: &str) -> Result<Option<Version>, Trouble> {
        let get = self.client().get_secret_value().secret_id(id).version_stage(stage);
        let found = match get.send().await.map_err(|error| trouble("GetSecretValue", id, &error)) {
            Ok(found) => found,
            Err(trouble) if trouble.code == NOT_FOUND => return Ok(None),
            Err(trouble) => return Err(trouble),
        };
        let odd = |what: String| Trouble::new(format!("has a value that cannot be used: {what}"));
        let text = found.secret_string.ok_or_else(|| odd("it is binary; put it as a text".into()))?;
        let value = Secret::new(text).map_err(|error| odd(error.to_string()))?;
        Ok(Some(Version { id: found.version_id.unwrap_or_default(), value }))
    }
}

impl Trouble {
    fn new(reason: impl Into<String>) -> Self {
        Self { code: String::new(), reason: reason.into() }
    }
}

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        Self(trouble.to_string())
    }
}

/// Says why an action on a secret failed.
fn trouble<E: ProvideErrorMetadata>(action: &str, id: &str, error: &SdkError<E>) -> Trouble {
    let (code, detail) = (error.code().unwrap_or_default(), error.message().unwrap_or_default());
    let reason = match (error, code) {
        (SdkError::TimeoutError(_), _) => "does not answer in time".to_owned(),
        (SdkError::DispatchFailure(_), _) => "is out of reach".to_owned(),
        (SdkError::ServiceError(_), "AccessDeniedException") if detail.contains("KMS") => {
            "refuses: the function's role needs kms:Decrypt, and to write kms:GenerateDataKey, for the key of the secret".into()
        }
        (SdkError::ServiceError(_), "AccessDeniedException") => {
            format!("refuses: the function's role needs secretsmanager:{action} for the secret")
        }
        (SdkError::ServiceError(_), "") => "answers with an error".to_owned(),
        (SdkError::ServiceError(_), code) => format!("answers {code} to {action}"),
        _ => "does not answer as it should".to_owned(),
    };
    if code != NOT_FOUND {
        tracing::warn!(action, secret = id, %reason, detail, "Secrets Manager did not do what it was asked for");
    }
    Trouble { code: code.to_owned(), reason }
}
