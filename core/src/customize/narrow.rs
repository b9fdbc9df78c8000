//! What is left of a result: the part that is selected, and texts up to a length.
//!
//! **What cannot be selected is not replaced by the whole**: the caller is told that it is not there.

use std::borrow::Cow;

use super::value::at;
use crate::config::Narrowing;
use crate::wire::json::{Json, Malformed, quote};
use crate::wire::message::ObjectWriter;

/// Returns what two narrowings come to, the first one done first; nothing where nothing is changed.
pub(super) fn compose(first: Option<&Narrowing>, then: &Narrowing) -> Result<Option<Narrowing>, String> {
    if let Some(pointer) = then.select.as_ref().filter(|p| !p.is_empty() && !p.starts_with('/')) {
        return Err(format!("selects {pointer:?}, which is no JSON Pointer: one begins with \"/\""));
    }
    let inner = first.and_then(|first| first.select.as_deref());
    let select = match (inner, then.select.as_deref()) {
        (None, None) => None,
        (inner, outer) => Some([inner.unwrap_or_default(), outer.unwrap_or_default()].concat()),
    };
    let cut = first.and_then(|first| first.cut).into_iter().chain(then.cut).min();
    Ok(Some(Narrowing { select, cut }).filter(|both| *both != Narrowing::default()))
}

/// Returns what is left of an answer, a whole JSON-RPC message, and whether it is the error of a tool. What is no result
/// stays as it is.
pub(crate) fn narrow_answer(answer: &[u8], narrowing: &Narrowing) -> Result<(String, bool), Malformed> {
    let json = Json::check(answer)?;
    let mut is_tool_error = false;
    let mut out = ObjectWriter::with_capacity(answer.len().min(64 << 10));
    for (key, value) in json.members() {
        if key != "result" {
            out.member(&key, value.text());
            continue;
        }
        let result = narrow(value.text(), narrowing)?;
        is_tool_error = Json::known(&result).get("isError").and_then(Json::as_bool) == Some(true);
        out.member(&key, &result);
    }
    Ok((out.finish(), is_tool_error))
}

/// Returns what is left of a result, which is JSON text. What is no final result stays as it is.
pub(super) fn narrow(result: &str, narrowing: &Narrowing) -> Result<String, Malformed> {
    let json = Json::check(result.as_bytes())?;
    match json.get("resultType").and_then(Json::as_str).as_deref() {
        Some("task") => {
            return Ok(failed(json, "The server answers with a task, whose result cannot be narrowed."));
        }
        Some("input_required") => return Ok(result.to_owned()),
        _ => {}
    }
    if !json.is_object() {
        return Ok(failed(json, "The server answers with what is no result."));
    }
    let is_error = json.get("isError").and_then(Json::as_bool) == Some(true);
    let selected = match narrowing.select.as_deref().filter(|pointer| !is_error && !pointer.is_empty()) {
        None => Cow::Borrowed(result),
        Some(pointer) => Cow::Owned(select(json, pointer)),
    };
    Ok(match narrowing.cut {
        None => selected.into_owned(),
        Some(most) => cut_result(Json::known(&selected), most),
    })
}

/// Returns a result of which only the part at `pointer` is kept.
fn select(result: Json<'_>, pointer: &str) -> String {
    let structured = result.get("structuredContent").filter(|content| !content.is_null());
    let found = match structured {
        Some(content) => at(content, pointer).map(|part| part.text().to_owned()),
        None => in_texts(result, pointer),
    };
    let Some(found) = found else {
        return failed(
            result,
            &format!("The result has nothing at {pointer}, which is all that this tool shows of it."),
        );
    };
    let part = Json::known(&found);
    let text = part.as_str().unwrap_or_else(|| part.text().into());
    // Structured content that is no object exists in one revision only; its text says the same.
    let structured = part.is_object().then_some(part);
    rewritten(result, &text_block(&text), structured)
}

/// Returns the part of the first text of a result that is JSON and has it.
fn in_texts(result: Json<'_>, pointer: &str) -> Option<String> {
    let blocks = result.get("content").into_iter().flat_map(Json::elements);
    let mut texts = blocks.filter_map(|block| block.get("text")?.as_str());
    texts.find_map(|text| at(Json::check(text.as_bytes()).ok()?, pointer).map(|part| part.text().to_owned()))
}

fn failed(result: Json<'_>, why: &str) -> String {
    let text = rewritten(result, &text_block(why), None);
    let mut out = ObjectWriter::with_capacity(text.len());
    let kept = |key: &str| !matches!(key, "isError" | "resultType" | "taskId" | "task");
    for (key, value) in Json::known(&text).members().filter(|(key, _)| kept(key)) {
        out.member(&key, value.text());
    }
    if result.get("resultType").is_some() {
        out.string("resultType", "complete");
    }
    out.member("isError", "true");
    out.finish()
}

fn text_block(text: &str) -> String {
    format!("[{{\"type\":\"text\",\"text\":{}}}]", quote(text))
}

/// Returns a result with other content, everything else as it is.
fn rewritten(result: Json<'_>, content: &str, structured: Option<Json<'_>>) -> String {
    let mut out = ObjectWriter::with_capacity(content.len() * 2 + 64);
    out.member("content", content);
    if let Some(structured) = structured {
        out.member("structuredContent", structured.text());
    }
    for (key, value) in result.members().filter(|(key, _)| key != "content" && key != "structuredContent") {
        out.member(&key, value.text());
    }
    out.finish()
}

/// Cuts the texts of a tool's or a prompt's result.
fn cut_result(result: Json<'_>, most: usize) -> String {
    let mut out = ObjectWriter::with_capacity(result.text().len());
    for (key, value) in result.members() {
        match key.as_ref() {
            "content" | "messages" => out.member(&key, &cut_blocks(value, most)),
            _ => out.member(&key, value.text()),
        };
    }
    out.finish()
}

/// Cuts the texts of content, one block or several: also those in embedded resources, and in messages of a prompt.
fn cut_blocks(content: Json<'_>, most: usize) -> String {
    if content.is_array() {
        let blocks: Vec<_> = content.elements().map(|block| cut_blocks(block, most)).collect();
        return format!("[{}]", blocks.join(","));
    }
    if !content.is_object() {
        return content.text().to_owned();
    }
    let mut out = ObjectWriter::with_capacity(content.text().len());
    for (key, value) in content.members() {
        match key.as_ref() {
            "text" => match value.as_str().and_then(|text| cut(&text, most)) {
                Some(text) => out.string("text", &text),
                None => out.member("text", value.text()),
            },
            "content" | "resource" => out.member(&key, &cut_blocks(value, most)),
            _ => out.member(&key, value.text()),
        };
    }
    out.finish()
}

/// Returns a text up to a length, with a note, where it is longer.
fn cut(text: &str, most: usize) -> Option<String> {
    let (end, _) = text.char_indices().nth(most)?;
    let all = text.chars().count();
    Some(format!("{}\n[cut: {most} of {all} characters]", &text[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(select: Option<&str>, cut: Option<usize>, result: &str, expected: &str) {
        let narrowing = Narrowing { select: select.map(Into::into), cut };
        let narrowed = narrow(result, &narrowing).unwrap();
        assert_eq!(narrowed, expected);
        Json::check(narrowed.as_bytes()).unwrap();
    }

    const RESULT: &str = r#"{"content":[{"type":"text","text":"all"}],"structuredContent":{"a/b":[{"x":1.0},"two"]},"_meta":{"k":1},"isError":false}"#;

    #[test]
    fn keeps_the_part_that_is_selected() {
        check(
            Some("/a~1b/0"),
            None,
            RESULT,
            r#"{"content":[{"type":"text","text":"{\"x\":1.0}"}],"structuredContent":{"x":1.0},"_meta":{"k":1},"isError":false}"#,
        );
        check(
            Some("/a~1b/1"),
            None,
            RESULT,
            r#"{"content":[{"type":"text","text":"two"}],"_meta":{"k":1},"isError":false}"#,
        );
        check(Some(""), None, RESULT, RESULT);
        check(
            Some("/b"),
            None,
            r#"{"content":[{"type":"text","text":"no JSON"},{"type":"image"},{"type":"text","text":"{\"b\":[1,2]}"}]}"#,
            r#"{"content":[{"type":"text","text":"[1,2]"}]}"#,
        );
    }

    #[test]
    fn says_what_cannot_be_selected_and_shows_nothing_else() {
        let missing = |pointer: &str| {
            format!(
                r#"{{"content":[{{"type":"text","text":"The result has nothing at {pointer}, which is all that this tool shows of it."}}],"_meta":{{"k":1}},"isError":true}}"#
            )
        };
        for pointer in ["/a", "/a~1b/2", "/a~1b/00", "/a~1b/-", "/a~1b/0/x/y", "/a~1b/1/0"] {
            check(Some(pointer), None, RESULT, &missing(pointer));
        }
        check(
            Some("/x"),
            None,
            r#"{"content":[{"type":"text","text":"plain"}],"resultType":"complete"}"#,
            r#"{"content":[{"type":"text","text":"The result has nothing at /x, which is all that this tool shows of it."}],"resultType":"complete","isError":true}"#,
        );
    }

    #[test]
    fn an_error_of_the_tool_stays_one() {
        let error = r#"{"content":[{"type":"text","text":"no such repo"}],"isError":true}"#;
        check(Some("/x"), None, error, error);
        check(
            Some("/x"),
            Some(2),
            error,
            r#"{"content":[{"type":"text","text":"no\n[cut: 2 of 12 characters]"}],"isError":true}"#,
        );
    }

    #[test]
    fn what_is_no_result_yet_stays_and_a_task_is_none() {
        let asks = r#"{"resultType":"input_required","inputRequests":{}}"#;
        check(Some("/x"), Some(1), asks, asks);
        check(
            None,
            Some(1),
            r#"{"resultType":"task","taskId":"t"}"#,
            r#"{"content":[{"type":"text","text":"The server answers with a task, whose result cannot be narrowed."}],"resultType":"complete","isError":true}"#,
        );
    }

    #[test]
    fn cuts_between_characters() {
        check(
            None,
            Some(3),
            r#"{"content":[{"type":"text","text":"aé\ud83d\ude00\nz","x":1},{"type":"text","text":"abc"},{"type":"resource","resource":{"uri":"u","text":"long"}}]}"#,
            r#"{"content":[{"type":"text","text":"aé😀\n[cut: 3 of 5 characters]","x":1},{"type":"text","text":"abc"},{"type":"resource","resource":{"uri":"u","text":"lon\n[cut: 3 of 4 characters]"}}]}"#,
        );
        check(
            None,
            Some(0),
            r#"{"messages":[{"role":"user","content":{"type":"text","text":"ab"}}],"description":"long"}"#,
            r#"{"messages":[{"role":"user","content":{"type":"text","text":"\n[cut: 0 of 2 characters]"}}],"description":"long"}"#,
        );
    }

    #[test]
    fn two_narrowings_are_one() {
        let narrowing = |select: Option<&str>, cut| Narrowing { select: select.map(Into::into), cut };
        let both = |first: Narrowing, then| compose(Some(&first), &then).unwrap();
        assert_eq!(
            both(narrowing(Some("/a"), Some(5)), narrowing(Some("/b"), Some(9))),
            Some(narrowing(Some("/a/b"), Some(5)))
        );
        assert_eq!(both(narrowing(None, None), narrowing(None, None)), None);
        assert_eq!(
            both(narrowing(Some("/a"), None), narrowing(None, Some(1))),
            Some(narrowing(Some("/a"), Some(1)))
        );
        assert!(compose(None, &narrowing(Some("a"), None)).is_err());
    }
}
