//! What gateways have left that are gone: processes, control groups and containers, by what is written down of them.
//!
//! **Where nothing is written of such a gateway, nothing is looked for**, and an engine only where one is written. **What could not
//! be removed stays written**, for the next gateway.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::Signal;

use super::engine::Engine;
use super::groups::{self, Hierarchy};
use super::marks;
use super::records::{Record, Records};

/// Ends and removes it.
pub(super) async fn sweep(records: &Records) {
    let left = records.left();
    if left.is_empty() {
        return;
    }
    let Ok((mut left, ended)) = tokio::task::spawn_blocking(move || here(left)).await else { return };
    if ended > 0 {
        tracing::info!(ended, "processes of gateways that are gone were ended");
    }
    let mut engines: Vec<_> = left.iter().filter_map(|(_, record)| record.engine.clone()).collect();
    engines.sort();
    engines.dedup();
    for address in engines {
        if let Err(why) = of_engine(&address, &left).await {
            tracing::warn!(address, why, "containers of gateways that are gone cannot be looked for");
            left.retain(|(_, record)| record.engine.as_deref() != Some(&address));
        }
    }
    for (file, _) in left {
        let _ = fs::remove_file(file);
    }
}

/// Ends what is left on this machine; returns how many processes there were besides those in control groups.
fn here(left: Vec<(PathBuf, Record)>) -> (Vec<(PathBuf, Record)>, usize) {
    let ended = left.iter().filter(|(_, record)| record.signal(Signal::SIGKILL)).count();
    left.iter().flat_map(|(_, record)| &record.groups).for_each(|folder| groups::remove_left(folder));
    if let Some(hierarchy) = Hierarchy::seen() {
        hierarchy.sweep();
    }
    (left, ended + marks::sweep())
}

/// Removes what is left in an engine.
async fn of_engine(address: &str, left: &[(PathBuf, Record)]) -> Result<(), String> {
    let (engine, _) = Engine::at(address).await?;
    let ours = left.iter().filter(|(_, record)| record.engine.as_deref() == Some(address));
    let mut removed = 0;
    for (_, record) in ours.filter(|(_, record)| record.is_container()) {
        removed += usize::from(engine.remove(&record.id).await?);
    }
    removed += engine.sweep().await;
    if removed > 0 {
        tracing::info!(removed, "containers of gateways that are gone were removed");
    }
    Ok(())
}
