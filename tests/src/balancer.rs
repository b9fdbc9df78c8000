//! A load balancer: each connection goes to the next of its backends, in turn; one that refuses it is passed over.
//!
//! The agents of these tests make a connection for every request, so requests go round in turn as well.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A balancer that listens until the test program ends.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    backends: Arc<Mutex<Vec<u16>>>,
}

impl Balancer {
    /// A balancer before these ports of this machine.
    pub fn before(ports: &[u16]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let backends = Arc::new(Mutex::new(ports.to_vec()));
        let turns = Arc::clone(&backends);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let turns = Arc::clone(&turns);
                thread::spawn(move || connect(&near, &turns));
            }
        });
        Self { address, backends }
    }

    /// The MCP endpoint of its backends.
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Puts one backend in the place of another.
    pub fn replace(&self, old: u16, new: u16) {
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        backends.iter_mut().filter(|port| **port == old).for_each(|port| *port = new);
    }
}

fn connect(near: &TcpStream, backends: &Mutex<Vec<u16>>) -> Option<()> {
    let ports = {
        let mut backends = backends.lock().unwrap_or_else(PoisonError::into_inner);
        backends.rotate_left(1);
        backends.clone()
    };
    let far = ports.into_iter().find_map(|port| TcpStream::connect(("127.0.0.1", port)).ok())?;
    let (near_again, far_again) = (near.try_clone().ok()?, far.try_clone().ok()?);
    let near = near.try_clone().ok()?;
    thread::spawn(move || copy(near, far));
    copy(far_again, near_again);
    Some(())
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    // Either side may go at any time: that ends the connection, and nothing else.
    io::copy(&mut from, &mut to).ok();
    to.shutdown(Shutdown::Both).ok();
    from.shutdown(Shutdown::Both).ok();
}
