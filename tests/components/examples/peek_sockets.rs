//! Opens sockets and resolves names through the standard library, past `http`, and reports what worked. The address is
//! where it connects to.

use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

use fanfare_sdk::serde_json::json;

fanfare_components::channel! {
    send |attempt| {
        let report = json!({
            "connected": TcpStream::connect(attempt.address_or("127.0.0.1:80")).is_ok(),
            "listening": TcpListener::bind("127.0.0.1:0").is_ok(),
            "datagrams": UdpSocket::bind("127.0.0.1:0").is_ok(),
            "resolved": "localhost:80".to_socket_addrs().is_ok(),
        });
        Ok(fanfare_sdk::Receipt::new().detail(report.to_string()))
    }
}
