//! An HTTP/1.1 client that sends exactly the headers and bytes it is given.
//!
//! **It repairs nothing**: a header may be given twice, hold any bytes, or contradict the body; a body may be cut off.
//! Only `Host`, `Content-Length` and `Connection: close` are added, and only where they were not given. One connection
//! is made for each request, so that a test that ends one ends nothing else.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use http::Uri;
use serde_json::Value;

use crate::gateway::Host;
use crate::sse::Events;
use crate::wait::PATIENCE;

/// A request, byte by byte.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    url: Uri,
    target: Option<String>,
    headers: Vec<(String, Vec<u8>)>,
    body: Option<Vec<u8>>,
}

impl Request {
    /// A request of any method to an `http://HOST:PORT/PATH` URL.
    pub fn new(method: &str, url: &str) -> Self {
        let url = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
        Self { method: method.to_owned(), url, target: None, headers: Vec::new(), body: None }
    }

    /// A GET request.
    pub fn get(url: &str) -> Self {
        Self::new("GET", url)
    }

    /// A POST request.
    pub fn post(url: &str) -> Self {
        Self::new("POST", url)
    }

    /// Appends a header as it stands; one that is there already stays there.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sends it to another server than the one it was made for.
    #[must_use]
    pub fn to(mut self, url: &str) -> Self {
        self.url = url.parse().unwrap_or_else(|error| panic!("{url}: {error}"));
        self
    }

    /// Puts this on the request line in place of the URL's path and query.
    #[must_use]
    pub fn target(mut self, target: &str) -> Self {
        self.target = Some(target.to_owned());
        self
    }

    /// Sets the body's bytes.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sets a JSON body and its content type.
    #[must_use]
    pub fn json(self, body: &Value) -> Self {
        self.header("Content-Type", "application/json").body(body.to_string())
    }

    /// The request as it goes on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let path = self.url.path_and_query().map_or("/", |target| target.as_str());
        let target = self.target.as_deref().unwrap_or(path);
        let mut bytes = format!("{} {target} HTTP/1.1\r\n", self.method).into_bytes();
        let mut write = |name: &str, value: &[u8]| {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        };
        if !self.has("Host") {
            write("Host", authority(&self.url).as_bytes());
        }
        for (name, value) in &self.headers {
            write(name, value);
        }
        if let Some(body) = &self.body
            && !self.has("Content-Length")
            && !self.has("Transfer-Encoding")
        {
            write("Content-Length", body.len().to_string().as_bytes());
        }
        if !self.has("Connection") {
            write("Connection", b"close");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }

    /// Sends it, and answers as soon as the head of the response is there.
    pub fn send(&self) -> Response {
        exchange(&authority(&self.url), &self.bytes(), self.method == "HEAD")
    }

    /// Sends it, and waits for nothing; dropping the connection resets it.
    pub fn begin(&self) -> TcpStream {
        let mut stream = connect(&authority(&self.url)).expect("the server listens");
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("a socket can be reset");
        stream.write_all(&self.bytes()).expect("the server reads");
        stream
    }

    /// Sends it; `None` where no connection could be made or no answer came.
    pub fn try_send(&self) -> Option<Response> {
        try_exchange(&authority(&self.url), &self.bytes(), self.method == "HEAD").ok()
    }

    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name))
    }
}

/// Sends bytes that need not be a request at all to `HOST:PORT`, and reads what comes back as a response.
pub fn send_bytes(authority: &str, bytes: &[u8]) -> Response {
    exchange(authority, bytes, false)
}

/// A response whose body may still be on its way.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    headers: Vec<(String, String)>,
    body: Body,
}

impl Response {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Every header of that name, in order.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers
            .iter()
            .filter(move |(given, _)| given.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Every header, in order.
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// Whether the body is a stream of server-sent events.
    pub fn is_stream(&self) -> bool {
        self.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"))
    }

    /// The whole body.
    pub fn bytes(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.body.read_to_end(&mut bytes).expect("the body can be read");
        bytes
    }

    /// The whole body as text.
    pub fn text(self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// The whole body as text, or why it broke off.
    pub fn try_text(mut self) -> std::io::Result<String> {
        let mut bytes = Vec::new();
        self.body.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The whole body as a JSON document.
    pub fn json(self) -> Value {
        let status = self.status;
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{status}, {error}: {text:?}"))
    }

    /// The body as a stream of events; dropping it closes the connection.
    pub fn events(self) -> Events<Body> {
        Events::new(self.body)
    }

    /// Every JSON-RPC message of the answer, be it one document or a stream that is read to its end.
    pub fn messages(self) -> Vec<Value> {
        if self.is_stream() {
            return self.events().filter(|event| !event.data.is_empty()).map(|event| event.json()).collect();
        }
        vec![self.json()]
    }
}

/// A response's body, decoded.
#[derive(Debug)]
pub struct Body {
    stream: BufReader<TcpStream>,
    framing: Framing,
}

#[derive(Debug)]
enum Framing {
    Length(u64),
    Chunked { left: u64, first: bool },
    UntilClosed,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match &mut self.framing {
            Framing::UntilClosed => self.stream.read(buffer),
            Framing::Length(left) => {
                let read = (&mut self.stream).take(*left).read(buffer)?;
                *left -= read as u64;
                whole(read, *left, buffer)
            }
            Framing::Chunked { left, first } => {
                if *left == 0 {
                    match next_chunk(&mut self.stream, *first)? {
                        0 => {
                            self.framing = Framing::Length(0);
                            return Ok(0);
                        }
                        size => (*left, *first) = (size, false),
                    }
                }
                let read = (&mut self.stream).take(*left).read(buffer)?;
                *left -= read as u64;
                whole(read, *left, buffer)
            }
        }
    }
}

/// An end that comes while something is `left` is an error, not the body's end.
fn whole(read: usize, left: u64, buffer: &[u8]) -> std::io::Result<usize> {
    if read == 0 && left > 0 && !buffer.is_empty() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(read)
}

fn next_chunk(stream: &mut impl BufRead, first: bool) -> std::io::Result<u64> {
    if !first {
        read_line(stream)?;
    }
    let line = read_line(stream)?;
    let size = line.split(';').next().unwrap_or_default().trim();
    u64::from_str_radix(size, 16).map_err(|_| std::io::Error::other(format!("{line:?} is no chunk's size")))
}

fn authority(url: &Uri) -> String {
    let host = url.host().expect("a URL to send to has a host");
    format!("{host}:{}", url.port_u16().unwrap_or(80))
}

fn exchange(authority: &str, bytes: &[u8], headless: bool) -> Response {
    try_exchange(authority, bytes, headless).unwrap_or_else(|error| panic!("{authority}: {error}"))
}

fn try_exchange(authority: &str, bytes: &[u8], bodiless: bool) -> std::io::Result<Response> {
    let mut stream = connect(authority)?;
    // A server may answer and hang up before it has read everything.
    let sent = stream.write_all(bytes);
    let mut stream = BufReader::new(stream);
    let (status, headers) = match read_head(&mut stream) {
        Ok(head) => head,
        Err(error) => return Err(sent.err().unwrap_or(error)),
    };
    let framing = framing(status, &headers, bodiless);
    Ok(Response { status, headers, body: Body { stream, framing } })
}

fn connect(authority: &str) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(authority)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    if Host::chosen() == Host::Edge {
        // The platform's runtime takes the end of what a client sends for no more than that: whoever leaves resets.
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    }
    Ok(stream)
}

fn read_head(stream: &mut impl BufRead) -> std::io::Result<(u16, Vec<(String, String)>)> {
    loop {
        let line = read_line(stream)?;
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| std::io::Error::other(format!("{line:?} is no status line")))?;
        let mut headers = Vec::new();
        loop {
            let line = read_line(stream)?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        if status >= 200 {
            return Ok((status, headers));
        }
    }
}

fn read_line(stream: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = Vec::new();
    if stream.read_until(b'\n', &mut line)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned())
}

fn framing(status: u16, headers: &[(String, String)], bodiless: bool) -> Framing {
    let find =
        |name: &str| headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, v)| v);
    if bodiless || status == 204 || status == 304 {
        return Framing::Length(0);
    }
    if find("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        return Framing::Chunked { left: 0, first: true };
    }
    find("content-length")
        .and_then(|length| length.parse().ok())
        .map_or(Framing::UntilClosed, Framing::Length)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::Request;

    /// Answers one connection with these bytes, and gives its URL and what the request was.
    fn answering(answer: &'static str) -> (String, thread::JoinHandle<String>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let url = format!("http://{}/path?query", listener.local_addr().expect("it is bound"));
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client connects");
            let mut buffer = [0; 1024];
            let read = stream.read(&mut buffer).expect("a request comes");
            stream.write_all(answer.as_bytes()).expect("the client listens");
            String::from_utf8_lossy(&buffer[..read]).into_owned()
        });
        (url, server)
    }

    fn body(answer: &'static str) -> String {
        let (url, _server) = answering(answer);
        Request::get(&url).send().text()
    }

    #[test]
    fn a_request_goes_out_as_it_was_given() {
        let (url, server) = answering("HTTP/1.1 204 No Content\r\n\r\n");
        let request =
            Request::post(&url).header("Host", "elsewhere").header("X", "1").header("X", "2").body("{}");
        assert_eq!(request.send().status, 204);
        let expected = "POST /path?query HTTP/1.1\r\nHost: elsewhere\r\nX: 1\r\nX: 2\r\nContent-Length: 2\r\n\
            Connection: close\r\n\r\n{}";
        assert_eq!(server.join().expect("the server does not panic"), expected);
    }

    #[test]
    fn every_framing_of_a_body_is_read() {
        assert_eq!(body("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello and more"), "hello");
        assert_eq!(body("HTTP/1.1 200 OK\r\n\r\nhello"), "hello");
        let chunked = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
            2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n";
        assert_eq!(body(chunked), "hello");
    }

    #[test]
    #[should_panic(expected = "the body can be read")]
    fn a_body_that_is_cut_off_fails_the_test() {
        body("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello");
    }

    #[test]
    fn a_stream_is_read_event_by_event() {
        let answer =
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {\"a\":1}\n\ndata: 2\n\n";
        let (url, _server) = answering(answer);
        assert_eq!(
            Request::get(&url).send().messages(),
            [serde_json::json!({ "a": 1 }), serde_json::json!(2)]
        );
    }
}
