//! Somebody between a client and a server, who sees every exchange and changes what he likes.
//!
//! Each connection carries one exchange.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// What becomes of an answer on its way; told are the request and the answer.
pub type Change = Box<dyn FnMut(&[u8], &mut Vec<u8>) + Send>;

/// One request and its answer, byte by byte.
pub type Seen = (Vec<u8>, Vec<u8>);

#[derive(Default)]
struct State {
    seen: Vec<Seen>,
    change: Option<Change>,
}

/// Somebody in between, who listens until the test program ends.
pub struct Between {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl std::fmt::Debug for Between {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Between({})", self.address)
    }
}

impl Between {
    /// Somebody before a port of this machine.
    pub fn before(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || pass(near, port, &shared));
            }
        });
        Self { address, state }
    }

    /// His URL, without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What he has seen so far, as it was before he changed it.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.state).seen.clone()
    }

    /// Has him change answers from now on.
    pub fn changing(&self, change: impl FnMut(&[u8], &mut Vec<u8>) + Send + 'static) {
        lock(&self.state).change = Some(Box::new(change));
    }

    /// Has him change nothing any more.
    pub fn passing(&self) {
        lock(&self.state).change = None;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pass(mut near: TcpStream, port: u16, state: &Mutex<State>) -> Option<()> {
    let request = read_request(&mut near)?;
    let mut far = TcpStream::connect(("127.0.0.1", port)).ok()?;
    far.write_all(&request).ok()?;
    let mut answer = Vec::new();
    far.read_to_end(&mut answer).ok()?;
    {
        let mut state = lock(state);
        state.seen.push((request.clone(), answer.clone()));
        if let Some(change) = &mut state.change {
            change(&request, &mut answer);
        }
    }
    near.write_all(&answer).ok()?;
    near.shutdown(Shutdown::Both).ok()
}

/// Reads a request, which is made the last one of its connection.
fn read_request(near: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        read_more(near, &mut bytes)?;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    while bytes.len() < end + 4 + length.unwrap_or(0) {
        read_more(near, &mut bytes)?;
    }
    bytes.splice(end..end, b"\r\nConnection: close".iter().copied());
    Some(bytes)
}

fn read_more(near: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<()> {
    let mut part = [0; 4096];
    let read = near.read(&mut part).ok().filter(|read| *read > 0)?;
    bytes.extend_from_slice(&part[..read]);
    Some(())
}
