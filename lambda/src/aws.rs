//! How the function reaches AWS: where, as whom, and with how much patience.
//!
//! What says so is what the platform puts into the environment. **It is read once**: an environment of the platform does
//! not outlive its credentials.

use std::time::Duration;

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region, SharedHttpClient};
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};

/// How often a request is tried where AWS is busy, does not answer, or its answer is lost.
const ATTEMPTS: u32 = 6;
/// How long is waited at most before the second attempt; each later one waits for longer, by chance.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// How long is waited at most before any attempt.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(2);
/// How long all attempts together may take.
const OPERATION: Duration = Duration::from_secs(8);

/// An account of AWS, as this function uses it.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    region: Region,
    credentials: Credentials,
    http: SharedHttpClient,
    /// Where all services stand, where an emulator takes their place.
    endpoint: Option<String>,
    /// Finds the variables that say the same of one service.
    variable: fn(&str) -> Option<String>,
}

impl Account {
    /// Reads from the environment which account this is; fails with the name of the variable that is missing.
    pub(crate) fn from_env() -> anyhow::Result<Self> {
        Self::read(variable)
    }

    fn read(variable: fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let needed = |name| variable(name).ok_or_else(|| anyhow::anyhow!("{name} is not set"));
        let credentials = Credentials::new(
            needed("AWS_ACCESS_KEY_ID")?,
            needed("AWS_SECRET_ACCESS_KEY")?,
            variable("AWS_SESSION_TOKEN"),
            None,
            "environment",
        );
        Ok(Self {
            region: Region::new(needed("AWS_REGION")?),
            credentials,
            http: aws_smithy_http_client::Builder::new()
                .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
                .build_https(),
            endpoint: variable("AWS_ENDPOINT_URL"),
            variable,
        })
    }

    /// Returns the account that an emulator stands for.
    #[cfg(test)]
    pub(crate) fn of_emulator(url: String) -> Self {
        let http = aws_smithy_http_client::Builder::new().build_http();
        let credentials = Credentials::new("test", "test", None, None, "test");
        Self { region: Region::new("eu-west-1"), credentials, http, endpoint: Some(url), variable: |_| None }
    }

    /// Returns the credentials.
    pub(crate) fn credentials(&self) -> Credentials {
        self.credentials.clone()
    }

    /// Returns the region.
    pub(crate) fn region(&self) -> Region {
        self.region.clone()
    }

    /// Returns the client by which all of AWS is asked.
    pub(crate) fn http(&self) -> SharedHttpClient {
        self.http.clone()
    }

    /// Returns where a service stands that is not where the region has it: what `AWS_ENDPOINT_URL_SERVICE` says, else
    /// `AWS_ENDPOINT_URL`.
    pub(crate) fn endpoint(&self, service: &str) -> Option<String> {
        (self.variable)(&format!("AWS_ENDPOINT_URL_{service}")).or_else(|| self.endpoint.clone())
    }

    /// Returns how often a request is tried.
    pub(crate) fn retries() -> RetryConfig {
        RetryConfig::standard()
            .with_max_attempts(ATTEMPTS)
            .with_initial_backoff(FIRST_PAUSE)
            .with_max_backoff(LONGEST_PAUSE)
    }

    /// Returns how long is waited for an answer.
    pub(crate) fn timeouts() -> TimeoutConfig {
        TimeoutConfig::builder()
            .connect_timeout(ATTEMPT)
            .operation_attempt_timeout(ATTEMPT)
            .operation_timeout(OPERATION)
            .build()
    }

    /// Returns a client of DynamoDB.
    pub(crate) fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        let mut config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(self.region())
            .credentials_provider(self.credentials())
            .http_client(self.http())
            .retry_config(Self::retries())
            .timeout_config(Self::timeouts());
        config.set_endpoint_url(self.endpoint("DYNAMODB"));
        aws_sdk_dynamodb::Client::from_conf(config.build())
    }

    /// Returns a client of KMS.
    pub(crate) fn kms(&self) -> aws_sdk_kms::Client {
        let mut config = aws_sdk_kms::Config::builder()
            .behavior_version(aws_sdk_kms::config::BehaviorVersion::latest())
            .region(self.region())
            .credentials_provider(self.credentials())
            .http_client(self.http())
            .retry_config(Self::retries())
            .timeout_config(Self::timeouts());
        config.set_endpoint_url(self.endpoint("KMS"));
        aws_sdk_kms::Client::from_conf(config.build())
    }

    /// Returns a client of Secrets Manager.
    pub(crate) fn secrets_manager(&self) -> aws_sdk_secretsmanager::Client {
        let mut config = aws_sdk_secretsmanager::Config::builder()
            .behavior_version(aws_sdk_secretsmanager::config::BehaviorVersion::latest())
            .region(self.region())
            .credentials_provider(self.credentials())
            .http_client(self.http())
            .retry_config(Self::retries())
            .timeout_config(Self::timeouts());
        config.set_endpoint_url(self.endpoint("SECRETS_MANAGER"));
        aws_sdk_secretsmanager::Client::from_conf(config.build())
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let missing = |variable| Account::read(variable).map(drop).unwrap_err().to_string();
        assert_eq!(missing(|_| None), "AWS_ACCESS_KEY_ID is not set");
        assert_eq!(missing(|name| (name != "AWS_REGION").then(|| "x".into())), "AWS_REGION is not set");
    }

    #[test]
    fn one_service_may_stand_elsewhere() {
        let variable = |name: &str| (name == "AWS_ENDPOINT_URL_DYNAMODB").then(|| "http://one".into());
        let account = Account { variable, ..Account::of_emulator("http://all".into()) };
        assert_eq!(account.endpoint("DYNAMODB").as_deref(), Some("http://one"));
        assert_eq!(account.endpoint("SECRETS_MANAGER").as_deref(), Some("http://all"));
    }
}
