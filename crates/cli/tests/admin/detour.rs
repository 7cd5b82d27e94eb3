//! A way to a broker that takes time, so that what comes between two requests of a command has room.
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a test delays bytes")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Listens on a free port, and takes connections on to `broker`, requests with this delay. It lasts as long as the test.
pub(crate) fn detour(broker: &str, delay: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let broker = broker.to_owned();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let broker = TcpStream::connect(&broker).expect("it listens");
            let (back, requests) = (broker.try_clone(), client.try_clone());
            let (mut back, mut requests) = (back.expect("cloned"), requests.expect("cloned"));
            thread::spawn(move || carry(&mut requests, broker, delay));
            thread::spawn(move || carry(&mut back, client, Duration::ZERO));
        }
    });
    address
}

fn carry(from: &mut TcpStream, mut to: TcpStream, delay: Duration) {
    let mut buffer = [0; 4_096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        thread::sleep(delay);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    // The other side may have closed it already.
    let _ = to.shutdown(Shutdown::Both);
}
