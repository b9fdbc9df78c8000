//! Server-sent events, read from any stream of bytes.

use std::io::{BufRead, BufReader, Read};

use serde_json::Value;

/// One event of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Its `event` field.
    pub event: Option<String>,
    /// Its `id` field.
    pub id: Option<String>,
    /// Its `retry` field, as it stood.
    pub retry: Option<String>,
    /// Its `data` lines, joined; empty where it has none.
    pub data: String,
    /// Its comment lines.
    pub comments: Vec<String>,
}

impl Event {
    /// The data as a JSON document.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error} in the event {self:?}"))
    }
}

/// The events of a stream, one by one, each as soon as it is complete; ends where the stream ends.
#[derive(Debug)]
pub struct Events<R: Read> {
    lines: BufReader<R>,
}

impl<R: Read> Events<R> {
    /// Reads events from `stream`.
    pub fn new(stream: R) -> Self {
        Self { lines: BufReader::new(stream) }
    }
}

impl<R: Read> Iterator for Events<R> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let mut event = Event::default();
        let mut data: Vec<String> = Vec::new();
        let mut empty = true;
        loop {
            let mut line = Vec::new();
            let read = self.lines.read_until(b'\n', &mut line).expect("the stream can be read");
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            if read == 0 || (line.is_empty() && !empty) {
                event.data = data.join("\n");
                return (!empty).then_some(event);
            }
            if line.is_empty() {
                continue;
            }
            empty = false;
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match field {
                "" => event.comments.push(value),
                "event" => event.event = Some(value),
                "id" => event.id = Some(value),
                "retry" => event.retry = Some(value),
                "data" => data.push(value),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, Events};

    fn check(stream: &str, expected: &[Event]) {
        assert_eq!(Events::new(stream.as_bytes()).collect::<Vec<_>>(), expected);
    }

    fn event(data: &str) -> Event {
        Event { data: data.to_owned(), ..Event::default() }
    }

    #[test]
    fn lines_of_data_are_joined() {
        check("data: a\ndata:b\n\n", &[event("a\nb")]);
    }

    #[test]
    fn carriage_returns_and_extra_blank_lines_do_not_matter() {
        check("\r\ndata: a\r\n\r\n\r\ndata: b\r\n\r\n", &[event("a"), event("b")]);
    }

    #[test]
    fn an_event_that_the_end_cuts_off_is_still_seen() {
        check("data: a", &[event("a")]);
    }

    #[test]
    fn fields_and_comments_are_kept() {
        let expected = Event {
            event: Some("message".to_owned()),
            id: Some("7".to_owned()),
            comments: vec!["hello".to_owned()],
            ..event("{}")
        };
        check(": hello\nevent: message\nid: 7\ndata: {}\n\n", &[expected]);
    }
}
