//! What those who govern order of the fleet: who may enrol, who is no longer in it, and which version goes where.

use super::described::about;
use super::governing::PART;
use super::{Audience, Does, Governing, Operation, op};

/// What is ordered of the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    ShowGateways,
    ShowGateway,
    RemoveGateway,
    ShowEnrolments,
    MakeEnrolment,
    WithdrawEnrolment,
    ShowRollouts,
    ShowRollout,
    BeginRollout,
    PromoteRollout,
    AbortRollout,
}

const fn order(name: &'static str, order: Order, audience: Audience, said: super::Description) -> Operation {
    op(name, Does::Govern(Governing::Fleet(order)), audience, said)
}

pub(super) const OPERATIONS: &[Operation] = &[
    order(
        "GET /admin/v1/gateways",
        Order::ShowGateways,
        Audience::Readers,
        about("lists the gateways that are governed from here, and how each of them is")
            .asks(PART)
            .gives(&[(200, "{items: Governed[], next: string|null}")]),
    ),
    order(
        "GET /admin/v1/gateways/{id}",
        Order::ShowGateway,
        Audience::Readers,
        about("shows one of these gateways").gives(&[(200, "Governed")]),
    ),
    order(
        "DELETE /admin/v1/gateways/{id}",
        Order::RemoveGateway,
        Audience::Admins,
        about("removes a gateway from the fleet: it is given nothing any more")
            .gives(&[(200, "{id: string, removed: boolean}")]),
    ),
    order(
        "GET /admin/v1/enrolments",
        Order::ShowEnrolments,
        Audience::Readers,
        about("lists the enrolments that wait for their gateway")
            .asks(PART)
            .gives(&[(200, "{items: Enrolment[], next: string|null}")]),
    ),
    order(
        "POST /admin/v1/enrolments",
        Order::MakeEnrolment,
        Audience::Admins,
        about("makes a token by which one gateway joins the fleet, once; `token` is shown this once")
            .takes("{name: string, labels?: {*: string}|null, expires?: time|null}")
            .gives(&[(201, "NewEnrolment")]),
    ),
    order(
        "DELETE /admin/v1/enrolments/{id}",
        Order::WithdrawEnrolment,
        Audience::Admins,
        about("withdraws an enrolment that waits").gives(&[(200, "{id: string, removed: boolean}")]),
    ),
    order(
        "GET /admin/v1/rollouts",
        Order::ShowRollouts,
        Audience::Readers,
        about("lists the rollouts: the open one, then those that have ended, the newest first")
            .asks(PART)
            .gives(&[(200, "{items: Rollout[], next: string|null}")]),
    ),
    order(
        "POST /admin/v1/rollouts",
        Order::BeginRollout,
        Audience::Writers,
        about(
            "has a version go to the gateways of the first stage; without a version it is the one that is pushed next",
        )
        .takes("{version?: integer|null, stages: Stage[], note?: string|null}")
        .gives(&[(201, "Rollout")]),
    ),
    order(
        "GET /admin/v1/rollouts/{id}",
        Order::ShowRollout,
        Audience::Readers,
        about("shows a rollout").gives(&[(200, "Rollout")]),
    ),
    order(
        "POST /admin/v1/rollouts/{id}/promote",
        Order::PromoteRollout,
        Audience::Writers,
        about("has a rollout go on to its next stage, after the last one or with `all` to all gateways")
            .takes("{all?: boolean}")
            .gives(&[(200, "Rollout")]),
    ),
    order(
        "POST /admin/v1/rollouts/{id}/abort",
        Order::AbortRollout,
        Audience::Writers,
        about("has all gateways go back to what was for all before the rollout").gives(&[(200, "Rollout")]),
    ),
];

/// What the answers are made of.
pub(super) const SCHEMAS: &[(&str, &str)] = &[
    (
        "Governed",
        "{id: string, name: string, labels: {*: string}, state: 'current'|'behind'|'refused'|'silent', host: string, \
         program: string, enrolled: time, enrolled_by: string, seen: time, wanted: integer, version: integer, \
         snapshot: integer, refused: string|null, rejected: string|null, servers: any[], counts: {*: integer}}",
    ),
    (
        "Enrolment",
        "{id: string, name: string, labels: {*: string}, created: time, expires: time, created_by: string}",
    ),
    (
        "NewEnrolment",
        "{id: string, name: string, labels: {*: string}, created: time, expires: time, created_by: string, token: string, \
         fleet: string}",
    ),
    ("Stage", "{gateways?: string[], labels?: {*: string}, agents?: string[]}"),
    (
        "Rollout",
        "{id: string, version: integer, base: integer, stages: Stage[], reached: integer, \
         state: 'open'|'promoted'|'aborted', began: time, ended: time|null, by: string, ended_by: string|null, note: string}",
    ),
];
