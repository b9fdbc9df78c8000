//! The operations that try something: a configuration before it is in force, a tool as an agent.

use super::described::{about, param};
use super::governing::{Governing, PART, govern};
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
        "POST /admin/v1/tools/call",
        Governing::CallTool,
        Audience::Writers,
        about("calls a tool as an agent, for real; rules, approvals and limits hold, and the trail names the agent and who tried")
            .takes("{agent?: string|null, name: string, arguments?: {*: any}|null}")
            .gives(&[(200, "Called")]),
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
    govern(
        "GET /admin/v1/hosted",
        Governing::ShowHosted,
        Audience::Readers,
        about("lists the servers that this gateway hosts, what they are, and what was found when they were evaluated")
            .asks(PART)
            .gives(&[(200, "{items: Hosted[], next: string|null}")]),
    ),
    govern(
        "GET /admin/v1/evaluations",
        Governing::ShowEvaluations,
        Audience::Readers,
        about("lists the reports of evaluations that are kept, the newest of each server")
            .asks(PART)
            .gives(&[(200, "{items: Evaluation[], next: string|null}")]),
    ),
    govern(
        "GET /admin/v1/evaluations/{server}",
        Governing::ShowEvaluation,
        Audience::Readers,
        about("returns the report of a server's evaluation").gives(&[(200, "Report")]),
    ),
    govern(
        "PUT /admin/v1/evaluations/{server}",
        Governing::KeepEvaluation,
        Audience::Writers,
        about("keeps the report of an evaluation, as `portcullis evaluate --json` prints it")
            .takes("Report")
            .gives(&[(200, "Evaluation")]),
    ),
];

pub(super) const SCHEMAS: &[(&str, &str)] = &[
    (
        "Evaluation",
        "{server: string, identity: string|null, at: time, verdict: 'trustworthy'|'review'|'dangerous', \
         risks: {high: integer, medium: integer, low: integer}}",
    ),
    (
        "Report",
        "{format: integer, server: string, identity?: string|null, at: time, verdict: 'trustworthy'|'review'|'dangerous', \
         *: any}",
    ),
    (
        "Hosted",
        "{name: string, status: 'up'|'starting'|'down'|'off', reason?: string, identity: string|null, host: any, \
         evaluation: Evaluation|null}",
    ),
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
    ("Called", "{result: any}|{error: {message: string, code?: any, *: any}}"),
    (
        "SimulatedCalls",
        "{agent: string, kind: 'tool'|'prompt'|'resource', name: string, server: string|null, times: integer, last: time, \
         rule: string, origin: {file: string, line: integer, field: string}|null}",
    ),
];
