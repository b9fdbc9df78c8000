//! What a server offered at a time, to whom, and how two such offers differ.

use serde_json::Value;

/// What a server listed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Offered {
    /// What it says of itself as a whole.
    pub(super) instructions: Option<String>,
    pub(super) tools: Vec<Value>,
    pub(super) prompts: Vec<Value>,
    pub(super) resources: Vec<Value>,
}

/// How an item differs between two offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    /// The item: `tool "add"`, or `instructions`.
    pub(super) item: String,
    /// How: `is new`, `is gone`, or which members differ.
    pub(super) how: String,
    /// What it is in the later offer.
    pub(super) evidence: String,
}

impl Offered {
    /// Names an item of one of the lists.
    pub(super) fn items(&self) -> impl Iterator<Item = (String, &Value)> {
        let tools = self.tools.iter().map(|item| (called("tool", item, "name"), item));
        let prompts = self.prompts.iter().map(|item| (called("prompt", item, "name"), item));
        let resources = self.resources.iter().map(|item| {
            let key = if item.get("uri").is_some() { "uri" } else { "uriTemplate" };
            (called("resource", item, key), item)
        });
        tools.chain(prompts).chain(resources)
    }

    /// Returns how a later offer differs. The order of the lists does not count.
    pub(super) fn differences(&self, later: &Self) -> Vec<Difference> {
        let (before, after): (Vec<_>, Vec<_>) = (self.items().collect(), later.items().collect());
        let mut found = Vec::new();
        if self.instructions != later.instructions {
            let evidence = later.instructions.clone().unwrap_or_default();
            found.push(Difference { item: "instructions".into(), how: "differ".into(), evidence });
        }
        for (name, item) in &before {
            match after.iter().find(|(other, _)| other == name) {
                None => found.push(difference(name, "is gone", item)),
                Some((_, other)) => {
                    let members = differing(item, other);
                    if let Some(first) = members.first() {
                        let evidence = other.get(first).unwrap_or(&Value::Null);
                        let evidence = evidence.as_str().map_or_else(|| evidence.to_string(), str::to_owned);
                        let how = format!("differs in its {}", members.join(", "));
                        found.push(Difference { item: name.clone(), how, evidence });
                    }
                }
            }
        }
        let is_new = |name: &str| before.iter().all(|(other, _)| other != name);
        found.extend(
            after
                .iter()
                .filter(|(name, _)| is_new(name))
                .map(|(name, item)| difference(name, "is new", item)),
        );
        found
    }
}

fn difference(item: &str, how: &str, value: &Value) -> Difference {
    let evidence = value.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
    Difference { item: item.to_owned(), how: how.to_owned(), evidence }
}

fn called(kind: &str, item: &Value, key: &str) -> String {
    format!("{kind} \"{}\"", item.get(key).and_then(Value::as_str).unwrap_or_default())
}

/// The members that mean something to a model or a client, as far as they differ.
fn differing(one: &Value, other: &Value) -> Vec<&'static str> {
    let members = ["description", "title", "inputSchema", "annotations", "arguments", "mimeType"];
    members.into_iter().filter(|member| one.get(member) != other.get(member)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn order_makes_no_difference() {
        let (a, b) = (json!({ "name": "a" }), json!({ "name": "b" }));
        assert_eq!(tools(&[&a, &b]).differences(&tools(&[&b, &a])), []);
    }

    #[test]
    fn says_what_differs() {
        let before = tools(&[&json!({ "name": "a", "description": "A." }), &json!({ "name": "b" })]);
        let changed = json!({ "name": "a", "description": "Other.", "annotations": {} });
        let after = tools(&[&changed, &json!({ "name": "c", "description": "C." })]);
        let said: Vec<_> = before
            .differences(&after)
            .into_iter()
            .map(|found| format!("{} {}: {}", found.item, found.how, found.evidence))
            .collect();
        assert_eq!(
            said,
            [
                "tool \"a\" differs in its description, annotations: Other.",
                "tool \"b\" is gone: ",
                "tool \"c\" is new: C.",
            ]
        );
    }

    #[test]
    fn instructions_count() {
        let after = Offered { instructions: Some("Other.".into()), ..Offered::default() };
        assert_eq!(Offered::default().differences(&after)[0].item, "instructions");
    }

    fn tools(tools: &[&Value]) -> Offered {
        Offered { tools: tools.iter().copied().cloned().collect(), ..Offered::default() }
    }
}
