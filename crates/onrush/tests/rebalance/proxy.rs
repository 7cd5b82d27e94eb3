//! A TCP proxy that can stop to carry bytes, or close what it carries.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::spawn;

/// What becomes of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// They arrive.
    Up,
    /// They wait, and nobody is told.
    Stalled,
}

/// See the module.
pub(crate) struct Proxy {
    pub(crate) address: String,
    state: Arc<State>,
}

struct State {
    link: Mutex<Link>,
    changed: Condvar,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub(crate) fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let state = Arc::new(State {
            link: Mutex::new(Link::Up),
            changed: Condvar::new(),
            open: Mutex::default(),
        });
        let (target, shared) = (target.to_owned(), Arc::clone(&state));
        spawn(move || {
            for inbound in listener.incoming() {
                let _ = inbound.and_then(|inbound| carry(inbound, &target, &shared));
            }
        });
        Self { address, state }
    }

    pub(crate) fn set(&self, link: Link) {
        *self.state.link.lock().unwrap_or_else(PoisonError::into_inner) = link;
        self.state.changed.notify_all();
    }

    /// Closes all connections; new ones are taken.
    pub(crate) fn cut(&self) {
        for stream in self.state.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn carry(inbound: TcpStream, target: &str, state: &Arc<State>) -> io::Result<()> {
    let outbound = TcpStream::connect(target)?;
    let mut open = state.open.lock().unwrap_or_else(PoisonError::into_inner);
    open.extend([inbound.try_clone()?, outbound.try_clone()?]);
    for (from, to) in [(inbound.try_clone()?, outbound.try_clone()?), (outbound, inbound)] {
        let state = Arc::clone(state);
        spawn(move || pass(from, to, &state));
    }
    Ok(())
}

fn pass(mut from: TcpStream, mut to: TcpStream, state: &State) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let link = state.link.lock().unwrap_or_else(PoisonError::into_inner);
        let is_up = state.changed.wait_while(link, |link| *link == Link::Stalled);
        drop(is_up);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
