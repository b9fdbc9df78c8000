//! What SCIM clients are told of the service: what it can do, and the schemas of what it keeps (RFC 7643 §5 to §7).

use serde_json::{Value, json};

use super::resource::Kind;

const CONFIG: &str = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig";
const TYPE: &str = "urn:ietf:params:scim:schemas:core:2.0:ResourceType";
const SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:Schema";
const KINDS: [Kind; 2] = [Kind::User, Kind::Group];

/// Says what the service can do.
pub(crate) fn provider(base: &str) -> Value {
    json!({
        "schemas": [CONFIG],
        "patch": { "supported": true },
        "bulk": { "supported": false, "maxOperations": 0, "maxPayloadSize": 0 },
        "filter": { "supported": true, "maxResults": super::MOST },
        "changePassword": { "supported": false },
        "sort": { "supported": false },
        "etag": { "supported": true },
        "authenticationSchemes": [{
            "type": "oauthbearertoken",
            "name": "Bearer token",
            "description": "The secret that `console.scim.token` names",
            "primary": true,
        }],
        "meta": { "resourceType": "ServiceProviderConfig", "location": format!("{base}/scim/v2/ServiceProviderConfig") },
    })
}

/// Says which kinds of resources there are.
pub(crate) fn resource_types(base: &str) -> Vec<Value> {
    let one = |kind: &Kind| {
        let name = kind.as_str();
        json!({
            "schemas": [TYPE],
            "id": name,
            "name": name,
            "endpoint": format!("/{name}s"),
            "schema": kind.schema(),
            "schemaExtensions": [],
            "meta": { "resourceType": "ResourceType", "location": format!("{base}/scim/v2/ResourceTypes/{name}") },
        })
    };
    KINDS.iter().map(one).collect()
}

/// Says what resources are made of.
pub(crate) fn schemas(base: &str) -> Vec<Value> {
    let one = |kind: &Kind| {
        let attributes = kind.attributes().iter().filter(|(name, ..)| *name != "externalId");
        let attributes: Vec<_> = attributes
            .map(|(name, subs, several)| {
                let mut said = attribute(name, *several, *name == kind.name());
                if !subs.is_empty() {
                    said["type"] = "complex".into();
                    said["subAttributes"] = subs.iter().map(|sub| attribute(sub, false, false)).collect();
                }
                said
            })
            .collect();
        json!({
            "schemas": [SCHEMA],
            "id": kind.schema(),
            "name": kind.as_str(),
            "description": format!("A {} as the gateway keeps it", kind.as_str().to_lowercase()),
            "attributes": attributes,
            "meta": { "resourceType": "Schema", "location": format!("{base}/scim/v2/Schemas/{}", kind.schema()) },
        })
    };
    KINDS.iter().map(one).collect()
}

fn attribute(name: &str, several: bool, is_name: bool) -> Value {
    let is_flag = matches!(name, "active" | "primary");
    json!({
        "name": name,
        "type": if is_flag { "boolean" } else { "string" },
        "multiValued": several,
        "description": format!("`{name}`, as RFC 7643 has it"),
        "required": is_name,
        "caseExact": false,
        "mutability": "readWrite",
        "returned": "default",
        "uniqueness": if is_name { "server" } else { "none" },
    })
}
