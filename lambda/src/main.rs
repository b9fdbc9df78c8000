//! Portcullis on AWS Lambda: the platform's events become core's requests, and core's answers the platform's. Nothing is
//! decided here about MCP.

use portcullis_native::HttpClient;

use crate::host::{Function, Reading, Stores};
use crate::settings::Settings;
use crate::underway::Underway;

mod aws;
mod host;
mod settings;
mod table;
mod underway;

fn main() -> anyhow::Result<()> {
    let _settings = Settings::read(&|name| std::env::var(name).ok())?;
    let _host =
        Function::new(HttpClient::default(), Stores::default(), Reading::default(), Underway::default());
    Ok(())
}
