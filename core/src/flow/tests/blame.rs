//! What is said of a server that compresses what is no answer.

use super::*;

fn gzipped(status: u16) -> Answer {
    let mut answer = json_answer(status, "\u{1f}\u{8b}")?;
    answer.headers_mut().insert(header::CONTENT_ENCODING, http::HeaderValue::from_static("gzip"));
    Ok(answer)
}

#[test]
fn a_compressed_refusal_is_known_by_its_status() {
    for (status, said) in [
        (401, "asks for authorization (HTTP 401 Unauthorized); set its credential in `headers`"),
        (429, "answered HTTP 429 Too Many Requests"),
        (200, "compressed its answer, which was not asked for (Content-Encoding: gzip)"),
    ] {
        let host = Memory::new(move |request| match method_and_id(request).0.as_str() {
            "tools/call" => gzipped(status),
            _ => modern_server(request),
        });
        let gateway = gateway(&host, &["a"]);
        let answer = ask(&host, &gateway, modern("1", "tools/call", r#""name":"a__echo""#));
        assert!(answer.contains(said), "{answer}");
    }
}

#[test]
fn a_compressed_page_for_the_probe_leads_to_the_older_era() {
    let mut server = legacy_server(0);
    let host = Memory::new(move |request| match method_and_id(request).0.as_str() {
        "server/discover" => gzipped(404),
        _ => server(request),
    });
    let gateway = gateway(&host, &["a"]);
    let answer = ask(&host, &gateway, modern("1", "tools/list", ""));
    assert!(answer.contains("a__echo"), "{answer}");
}
