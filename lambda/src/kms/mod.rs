//! AWS KMS: what wraps the keys under which users' connections are sealed.
//!
//! **A key is wrapped for one connection, and opens as that one's alone**: the encryption context says whose it is, by
//! digests. AWS writes it into its own log, which so tells whose key was opened, and names nobody.
//! **Only what KMS says for good makes a key lost**; whatever it may say otherwise at another time is an error. **Nothing is
//! asked, and no client made, before a connection is needed.**

mod opened;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use aws_sdk_kms::Client;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::operation::decrypt::DecryptError;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use portcullis_core::control::StoreError;
use portcullis_core::oauth::connection::{ConnectionKey, DataKey, drawer};
use portcullis_core::ports::KeyWrap;
use zeroize::Zeroizing;

use self::opened::Opened;
use crate::aws::Account;

/// What a key begins with that is wrapped here. The gateway's seal keys wrap nothing that has a `:`.
const MARK: &str = "kms:";
/// The longest text that KMS opens, in bytes.
const LONGEST: usize = 6144;

/// Wraps under keys of KMS.
pub(crate) struct Kms {
    account: Account,
    client: OnceLock<Client>,
    /// What wraps under the first of these is opened under any.
    keys: Vec<String>,
    opened: Opened,
}

impl Kms {
    /// Names the keys, the first of which wraps; asks nothing. `clock` tells milliseconds since the Unix epoch.
    pub(crate) fn new(
        account: Account,
        keys: Vec<String>,
        clock: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        Self { account, client: OnceLock::new(), keys, opened: Opened::new(Arc::new(clock)) }
    }

    fn client(&self) -> &Client {
        self.client.get_or_init(|| self.account.kms())
    }

    async fn generated(&self, key: &ConnectionKey) -> Result<DataKey, StoreError> {
        let generate = self.client().generate_data_key().set_key_id(self.keys.first().cloned());
        let generate = generate.key_spec(DataKeySpec::Aes256).set_encryption_context(Some(context(key)));
        let made = generate.send().await.map_err(|error| trouble("GenerateDataKey", &error))?;
        let (plain, wrapped) = (made.plaintext.and_then(plain), made.ciphertext_blob);
        let (Some(plain), Some(wrapped)) = (plain, wrapped) else {
            return Err(StoreError("has its keys in KMS, which made none of 32 bytes".into()));
        };
        let made = DataKey { plain, wrapped: format!("{MARK}{}", URL_SAFE_NO_PAD.encode(wrapped)) };
        self.opened.keep(key, &made);
        Ok(made)
    }

    async fn unwrapped(&self, key: &ConnectionKey, wrapped: String) -> Result<Option<DataKey>, StoreError> {
        let Some(blob) = wrapped.strip_prefix(MARK).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()) else {
            return Ok(None);
        };
        if blob.is_empty() || blob.len() > LONGEST {
            return Ok(None);
        }
        if let Some(plain) = self.opened.find(key, &wrapped) {
            return Ok(Some(DataKey { plain, wrapped }));
        }
        for id in &self.keys {
            if let Some(plain) = self.decrypted(key, id, &blob).await? {
                let opened = DataKey { plain, wrapped };
                self.opened.keep(key, &opened);
                return Ok(Some(opened));
            }
        }
        Ok(None)
    }

    /// Opens under one key of KMS; nothing where it was not wrapped under that, or not for this connection.
    async fn decrypted(
        &self,
        key: &ConnectionKey,
        id: &str,
        blob: &[u8],
    ) -> Result<Option<Zeroizing<[u8; 32]>>, StoreError> {
        let decrypt = self.client().decrypt().key_id(id).set_encryption_context(Some(context(key)));
        match decrypt.ciphertext_blob(Blob::new(blob)).send().await {
            Ok(opened) => Ok(opened.plaintext.and_then(plain)),
            Err(error) if error.as_service_error().is_some_and(is_for_good) => Ok(None),
            Err(error) => Err(trouble("Decrypt", &error)),
        }
    }
}

impl KeyWrap for Kms {
    fn generate(&self, key: ConnectionKey) -> BoxFuture<'_, Result<DataKey, StoreError>> {
        async move { self.generated(&key).await }.boxed()
    }

    fn unwrap(
        &self,
        key: ConnectionKey,
        wrapped: String,
    ) -> BoxFuture<'_, Result<Option<DataKey>, StoreError>> {
        async move { self.unwrapped(&key, wrapped).await }.boxed()
    }
}

/// What a key is for, as AWS binds and logs it. The texts are those of the table: a principal's `connection#...` and the
/// connection's `c#...` in it.
fn context(key: &ConnectionKey) -> HashMap<String, String> {
    HashMap::from([
        ("portcullis".into(), "connection".into()),
        ("principal".into(), drawer(&key.principal)),
        ("connection".into(), key.digest()),
    ])
}

fn plain(blob: Blob) -> Option<Zeroizing<[u8; 32]>> {
    let bytes = Zeroizing::new(blob.into_inner());
    <[u8; 32]>::try_from(bytes.as_slice()).ok().map(Zeroizing::new)
}

/// Tells whether KMS says that a key did not wrap a text, or not for that connection. That it does not know a key is not
/// for good: its name may be mistaken.
fn is_for_good(error: &DecryptError) -> bool {
    error.is_invalid_ciphertext_exception() || error.is_incorrect_key_exception()
}

/// Says why KMS did not do what it was asked for, in words that are safe to show.
fn trouble<E: ProvideErrorMetadata>(action: &str, error: &SdkError<E>) -> StoreError {
    let (code, detail) = (error.code().unwrap_or_default(), error.message().unwrap_or_default());
    let reason = match (error, code) {
        (SdkError::TimeoutError(_), _) => "does not answer in time".to_owned(),
        (SdkError::DispatchFailure(_), _) => "is out of reach".to_owned(),
        (SdkError::ServiceError(_), "AccessDeniedException") => {
            format!("refuses: the function's role needs kms:{action} for the key that PORTCULLIS_CONNECTION_KMS_KEY names")
        }
        (SdkError::ServiceError(_), "NotFoundException") => {
            "does not know a key that PORTCULLIS_CONNECTION_KMS_KEY names".to_owned()
        }
        (SdkError::ServiceError(_), "DisabledException" | "KMSInvalidStateException") => {
            "cannot use them for now: a key that PORTCULLIS_CONNECTION_KMS_KEY names is disabled or to be deleted"
                .to_owned()
        }
        (SdkError::ServiceError(_), "") => "answers with an error".to_owned(),
        (SdkError::ServiceError(_), code) => format!("answers {code} to {action}"),
        _ => "does not answer as it should".to_owned(),
    };
    tracing::warn!(action, %reason, detail, "KMS did not do what it was asked for");
    StoreError(format!("has its keys in KMS, which {reason}"))
}
