//! Free ports of 127.0.0.1. A port is free when asked for; a server that then finds it taken fails to start and says so.

use std::net::{Ipv4Addr, TcpListener};

/// `N` different free ports: all are held until the last is found.
pub fn free<const N: usize>() -> std::io::Result<[u16; N]> {
    let mut ports = [0; N];
    let mut held = Vec::with_capacity(N);
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}
