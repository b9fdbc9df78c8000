//! What hosted servers reached of the network and tried to, counted for metrics.

use std::sync::{Arc, Mutex, PoisonError};

use portcullis_core::audit::Decision;
use portcullis_core::metrics::Gauge;
use portcullis_core::sorted::SortedMap;

/// What was counted since the gateway started. Cheap to clone; every clone speaks of the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traffic(Arc<Mutex<Counted>>);

#[derive(Debug, Default)]
struct Counted {
    /// By server, and by what was decided.
    attempts: SortedMap<(Arc<str>, &'static str), usize>,
    bytes: SortedMap<Arc<str>, usize>,
}

impl Traffic {
    /// Counts an attempt that is over.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "there are no gates"))]
    pub(crate) fn count(&self, server: &Arc<str>, decision: Decision, bytes: u64) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counted.attempts.entry((server.clone(), decision.as_str())).or_default() += 1;
        *counted.bytes.entry(server.clone()).or_default() += usize::try_from(bytes).unwrap_or(0);
    }

    /// Returns what was counted.
    pub(crate) fn gauges(&self) -> Vec<Gauge> {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let server = |server: &Arc<str>| ("portcullis_server", server.to_string());
        let attempts = counted.attempts.iter().map(|((name, decision), count)| Gauge {
            name: "portcullis_egress_attempts",
            help: "Attempts of hosted servers to reach something that are over, by what was decided.",
            labels: vec![server(name), ("decision", (*decision).to_owned())],
            value: *count,
        });
        let bytes = counted.bytes.iter().map(|(name, bytes)| Gauge {
            name: "portcullis_egress_bytes",
            help: "Bytes of those attempts, both ways.",
            labels: vec![server(name)],
            value: *bytes,
        });
        attempts.chain(bytes).collect()
    }
}
