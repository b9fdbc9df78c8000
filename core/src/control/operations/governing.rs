//! The operations of the control plane proper, which a gateway that is only governed does without.

use super::described::about;
use super::{Audience, Does, Operation, op};

/// What is done by a gateway that governs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Governing {
    Describe,
    ShowMe,
}

const fn govern(
    name: &'static str,
    does: Governing,
    audience: Audience,
    said: super::Description,
) -> Operation {
    op(name, Does::Govern(does), audience, said)
}

pub(super) const OPERATIONS: &[Operation] = &[
    govern(
        "GET /admin/v1/openapi.json",
        Governing::Describe,
        Audience::Anyone,
        about("describes this API (OpenAPI 3.1)").gives(&[(200, "{openapi: string, *: any}")]),
    ),
    govern(
        "GET /admin/v1/me",
        Governing::ShowMe,
        Audience::Anyone,
        about("says who asks, in which role, and what this gateway is").gives(&[(200, "Me")]),
    ),
];
