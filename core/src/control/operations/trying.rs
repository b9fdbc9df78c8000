//! The operations that try a configuration before it is in force.

use super::described::{about, param};
use super::governing::{Governing, govern};
use super::{Audience, Operation};

pub(super) const OPERATIONS: &[Operation] = &[
    govern(
        "POST /admin/v1/simulate",
        Governing::Simulate,
        Audience::Readers,
        about("says what would become of recorded calls, and of what agents are listed, with other files, or with a definition approved")
            .takes("Trial")
            .gives(&[(200, "Simulated")]),
    ),
    govern(
        "POST /admin/v1/config/diff",
        Governing::Compare,
        Audience::Readers,
        about("says how a configuration differs from a version, `from`, or from the newest one")
            .takes("{from?: integer|null, files: {*: string}, overlays?: {*: string}}")
            .gives(&[(200, "Difference")]),
    ),
    govern(
        "GET /admin/v1/config/versions/{version}/diff",
        Governing::CompareVersions,
        Audience::Readers,
        about("says how another version differs from this one")
            .asks(&[param("to", "integer", "the other version, instead of the newest one")])
            .gives(&[(200, "Difference")]),
    ),
];

pub(super) const SCHEMAS: &[(&str, &str)] = &[
    (
        "Difference",
        "{files: {name: string, unified: string}[], changes: {what: \
         'server'|'group'|'variant'|'agent'|'setting'|'overlay', name: string, kind: 'added'|'removed'|'changed'}[]}",
    ),
    (
        "Trial",
        "{files?: {*: string}, overlays?: {*: string}, approve?: {server: string, tool?: string|null}, since?: string, \
         cursor?: string|null}",
    ),
    (
        "Simulated",
        "{considered: integer, skipped: integer, refused: SimulatedCalls[], allowed: SimulatedCalls[], \
         unknown: SimulatedCalls[], left_out: integer, \
         listed: {agent: string, added: string[], removed: string[], changed: string[]}[], assumed: string[], \
         unread: {server: string, reason: string}[], remarks: string[], next: string|null}",
    ),
    (
        "SimulatedCalls",
        "{agent: string, kind: 'tool'|'prompt'|'resource', name: string, server: string|null, times: integer, last: time, \
         rule: string, origin: {file: string, line: integer, field: string}|null}",
    ),
];
