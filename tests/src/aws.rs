//! What stands in for AWS: an emulator, and a proxy before it that fails as AWS does.
//!
//! One emulator serves all tests of a program, each with a table of its own, which is made from `infra/table.json`.
//! Another one, by other people, stands in for Secrets Manager: it knows more of it.
//! Where `PORTCULLIS_TEST_DYNAMODB` names the URL of another that runs already, its opinion is asked instead.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::{env, fs, process, thread};

use serde_json::{Value, json};

use crate::http::{Request, Response};
use crate::process::Background;
use crate::toolbox;
use crate::upstream::free_port;
use crate::wait;

/// What the names of DynamoDB's operations begin with.
const DYNAMODB: &str = "DynamoDB_20120810.";
/// What those of Secrets Manager begin with.
const SECRETS: &str = "secretsmanager.";
/// What those of KMS begin with.
const KMS: &str = "TrentService.";

/// An emulator of AWS that listens on a port of this machine.
#[derive(Debug)]
pub struct Emulator {
    process: Option<Mutex<Background>>,
    url: String,
}

impl Emulator {
    /// The one that all tests of this program share; it ends with the program.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Emulator> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    fn start() -> Self {
        if let Ok(url) = env::var("PORTCULLIS_TEST_DYNAMODB") {
            return Self { process: None, url };
        }
        let port = free_port();
        let folder = toolbox::scratch().keep();
        let mut command = Command::new(toolbox::ministack());
        command
            .env("BIND_HOST", "127.0.0.1")
            .env("GATEWAY_PORT", port.to_string())
            .env("SERVICES", "dynamodb,kms,secretsmanager")
            .env("LOG_LEVEL", "WARNING")
            .env("TMPDIR", &folder)
            .env("STATE_DIR", &folder)
            .current_dir(&folder);
        Self::running(&command, port, "/_ministack/ready")
    }

    /// The one for Secrets Manager, which all tests of this program share.
    pub fn of_secrets() -> &'static Self {
        static SHARED: OnceLock<Emulator> = OnceLock::new();
        SHARED.get_or_init(|| {
            let port = free_port();
            let mut command = Command::new(toolbox::moto());
            command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
            command.current_dir(toolbox::scratch().keep());
            Self::running(&command, port, "/moto-api/data.json")
        })
    }

    /// Starts an emulator and waits until it answers at a path of its own.
    fn running(command: &Command, port: u16, ready: &str) -> Self {
        let process = Some(Mutex::new(Background::start(command)));
        let emulator = Self { process, url: format!("http://127.0.0.1:{port}") };
        let ready = Request::get(&format!("{}{ready}", emulator.url));
        let is_ready = || ready.try_send().is_some_and(|answer| answer.status == 200);
        let waited = wait::until(wait::PATIENCE, || is_ready().then_some(()));
        assert!(waited.is_some(), "the emulator is not ready; it said:\n{}", emulator.log());
        emulator
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn log(&self) -> String {
        let process =
            self.process.as_ref().map(|process| process.lock().unwrap_or_else(PoisonError::into_inner));
        process.map(|process| process.log()).unwrap_or_default()
    }

    /// Makes an empty table, as `infra/table.json` describes it; returns its name.
    pub fn table(&self) -> String {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let name = format!("portcullis-{}-{}", process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let text =
            fs::read_to_string(toolbox::repository("infra/table.json")).expect("a description of the table");
        let mut table: Value = serde_json::from_str(&text).expect("JSON");
        let table = table.as_object_mut().expect("an object");
        let ttl = table.remove("TimeToLiveSpecification").expect("a time to live");
        table.remove("PointInTimeRecoverySpecification").expect("recovery to a point in time");
        table.insert("TableName".into(), name.as_str().into());
        self.ask("CreateTable", &Value::Object(table.clone()));
        self.ask("UpdateTimeToLive", &json!({"TableName": name, "TimeToLiveSpecification": ttl}));
        name
    }

    /// Asks DynamoDB for something, and returns its answer.
    pub fn ask(&self, operation: &str, what: &Value) -> Value {
        self.ask_service("dynamodb", &format!("{DYNAMODB}{operation}"), what)
    }

    /// Asks Secrets Manager for something, and returns its answer.
    pub fn ask_secrets(&self, operation: &str, what: &Value) -> Value {
        self.ask_service("secretsmanager", &format!("{SECRETS}{operation}"), what)
    }

    /// Asks KMS for something, and returns its answer.
    pub fn ask_kms(&self, operation: &str, what: &Value) -> Value {
        self.ask_service("kms", &format!("{KMS}{operation}"), what)
    }

    /// Makes a key of KMS; returns its ARN.
    pub fn kms_key(&self) -> String {
        let made = self.ask_kms("CreateKey", &json!({}));
        made["KeyMetadata"]["Arn"].as_str().unwrap_or_else(|| panic!("no key: {made}")).to_owned()
    }

    /// Asks KMS for something that it refuses; returns what it calls that.
    pub fn refusal_of_kms(&self, operation: &str, what: &Value) -> String {
        let answer = self.send("kms", &format!("{KMS}{operation}"), what);
        let status = answer.status;
        let said = answer.json();
        assert_eq!(status, 400, "{operation}: {said}");
        said["__type"].as_str().unwrap_or_else(|| panic!("no type: {said}")).to_owned()
    }

    fn ask_service(&self, service: &str, operation: &str, what: &Value) -> Value {
        let answer = self.send(service, operation, what);
        let status = answer.status;
        let said = answer.json();
        assert_eq!(status, 200, "{operation}: {said}");
        said
    }

    fn send(&self, service: &str, operation: &str, what: &Value) -> Response {
        let credential = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/eu-west-1/{service}/aws4_request, SignedHeaders=host, \
             Signature=0"
        );
        Request::post(&self.url)
            .header("X-Amz-Target", operation)
            .header("Content-Type", "application/x-amz-json-1.0")
            .header("Authorization", credential)
            .header("X-Amz-Date", "20260101T000000Z")
            .body(what.to_string())
            .send()
    }
}

/// What becomes of one request to AWS.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// It is passed on, and so is its answer.
    None,
    /// It is answered with an error of that name, and passed on to nobody.
    Error(&'static str),
    /// Of a batch, the first is passed on, and the rest is told not to have been done.
    FirstOnly,
    /// It is passed on, and its answer is lost.
    AnswerLost,
    /// It is lost.
    Lost,
}

/// One request to AWS.
#[derive(Debug, Clone)]
pub struct Asked {
    /// How many came before it.
    pub number: usize,
    /// What is asked for, such as `PutItem`.
    pub operation: String,
    /// With which document.
    pub what: Value,
}

/// The names and values of a request's headers.
type Headers = Vec<(String, String)>;

/// Decides what becomes of requests.
type Fate = dyn FnMut(&Asked) -> Fault + Send;

/// A way to the emulator on which things go wrong. It listens until the test program ends.
#[derive(Debug)]
pub struct Flaky {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Flaky {
    /// Stands before an emulator; `fate` decides what becomes of each request.
    pub fn before(emulator: &Emulator, fate: impl FnMut(&Asked) -> Fault + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (asked, fate): (_, Arc<Mutex<Box<Fate>>>) =
            (Arc::default(), Arc::new(Mutex::new(Box::new(fate))));
        let (url, count) = (emulator.url().to_owned(), Arc::clone(&asked));
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let (url, count, fate) = (url.clone(), Arc::clone(&count), Arc::clone(&fate));
                thread::spawn(move || serve(&near, &url, &count, &fate));
            }
        });
        Self { address, asked }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests have come.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// Serves one connection until either side has enough.
fn serve(near: &TcpStream, url: &str, count: &AtomicUsize, fate: &Mutex<Box<Fate>>) -> Option<()> {
    let mut reader = BufReader::new(near.try_clone().ok()?);
    loop {
        let (headers, body) = read_request(&mut reader)?;
        let header = |name: &str| headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name));
        let asked = Asked {
            number: count.fetch_add(1, Ordering::SeqCst),
            operation: header("x-amz-target")?.1.rsplit('.').next()?.to_owned(),
            what: serde_json::from_slice(&body).ok()?,
        };
        let fault = (fate.lock().unwrap_or_else(PoisonError::into_inner))(&asked);
        let pass_on = |what: &Value| {
            let kept = ["x-amz-target", "content-type", "authorization", "x-amz-date"];
            let headers = kept.iter().filter_map(|name| header(name));
            headers
                .fold(Request::post(url), |request, (name, value)| request.header(name, value))
                .body(what.to_string())
        };
        let (status, said) = match fault {
            Fault::None => answer(&pass_on(&asked.what))?,
            Fault::FirstOnly => first_only(&asked, |what| answer(&pass_on(what)))?,
            Fault::Error(name) => {
                let status = if name.starts_with("Internal") { 500 } else { 400 };
                (
                    status,
                    json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{name}"), "message": "on purpose"}),
                )
            }
            Fault::AnswerLost => {
                answer(&pass_on(&asked.what))?;
                return near.shutdown(std::net::Shutdown::Both).ok();
            }
            Fault::Lost => return near.shutdown(std::net::Shutdown::Both).ok(),
        };
        let said = said.to_string();
        let head = format!(
            "HTTP/1.1 {status} OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: {}\r\n\r\n",
            said.len()
        );
        (&*near).write_all(&[head.as_bytes(), said.as_bytes()].concat()).ok()?;
    }
}

/// Has the first of a batch done; returns its answer, with the rest as what was not done.
fn first_only(asked: &Asked, pass_on: impl Fn(&Value) -> Option<(u16, Value)>) -> Option<(u16, Value)> {
    let (pointer, name) = match asked.operation.as_str() {
        "BatchGetItem" => ("/Keys", "UnprocessedKeys"),
        _ => ("", "UnprocessedItems"),
    };
    let (mut first, mut rest) = (asked.what.clone(), asked.what["RequestItems"].clone());
    for (table, rest) in rest.as_object_mut()? {
        let all = rest.pointer_mut(pointer)?.as_array_mut()?;
        let kept = vec![all.remove(0)];
        *first["RequestItems"][table].pointer_mut(pointer)? = Value::Array(kept);
    }
    let (status, mut said) = pass_on(&first)?;
    said[name] = rest;
    Some((status, said))
}

fn answer(request: &Request) -> Option<(u16, Value)> {
    let answer = request.try_send()?;
    Some((answer.status, answer.json()))
}

/// Reads the headers and the body of the next request; nothing where there is none.
fn read_request(reader: &mut impl BufRead) -> Option<(Headers, Vec<u8>)> {
    let mut headers = Vec::new();
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    loop {
        line.clear();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => headers.push((name.to_owned(), value.trim().to_owned())),
            None => break,
        }
    }
    let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let mut body = vec![0; length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some((headers, body))
}
