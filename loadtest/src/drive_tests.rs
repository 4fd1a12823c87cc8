//! The driver against a small server in this process.

use super::*;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

/// Answers every request with `status` after `pause`, until the listener's test ends.
fn serve(status: u16, pause: Duration) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let turn = std::sync::Arc::new(Mutex::new(()));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let turn = std::sync::Arc::clone(&turn);
            thread::spawn(move || answer(stream.unwrap(), status, pause, &turn));
        }
    });
    Endpoint::new(format!("http://127.0.0.1:{port}/base").parse().unwrap(), None, None).unwrap()
}

fn answer(stream: TcpStream, status: u16, pause: Duration, turn: &Mutex<()>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    loop {
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
        }
        // One at a time, so that the server has a capacity.
        let held = turn.lock().unwrap();
        thread::sleep(pause);
        drop(held);
        let sent = write!(writer, "HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nhi");
        if sent.is_err() {
            return;
        }
    }
}

fn requests(count: usize) -> Vec<Request> {
    (0..count)
        .map(|number| Request::read(Kind::Frame, format!("/{number}"), 10))
        .collect()
}

#[test]
fn every_request_is_sent_once_and_counted() {
    let endpoint = serve(200, Duration::ZERO);
    let plan = Plan::new(requests(50), None, 3, Pacing::Closed, 0);
    let outcome = plan.drive(&endpoint, &Accepts::default(), None);
    let tally = &outcome.tallies[&Kind::Frame];
    assert_eq!((tally.num_good, tally.failures.len()), (50, 0));
    assert_eq!((tally.received_bytes, tally.native_bytes), (100, 500));
    assert_eq!(tally.latency, tally.service);
}

#[test]
fn refusals_are_counted_by_status() {
    let endpoint = serve(503, Duration::ZERO);
    let outcome = Plan::new(requests(5), None, 2, Pacing::Closed, 0).drive(&endpoint, &Accepts::default(), None);
    let tally = &outcome.tallies[&Kind::Frame];
    assert_eq!(tally.num_good, 0);
    assert_eq!(tally.failures, BTreeMap::from([("status 503".into(), 5)]));
}

#[test]
fn an_open_loop_charges_the_wait_of_those_who_would_have_come() {
    // 25 ms each and one at a time; one comes every 5 ms: the last of 20 waits for all before it.
    let endpoint = serve(200, Duration::from_millis(25));
    let pacing = Pacing::Open {
        rate: 200.0,
        arrivals: crate::schedule::Arrivals::Even,
        seed: 1,
    };
    let outcome = Plan::new(requests(20), None, 1, pacing, 0).drive(&endpoint, &Accepts::default(), None);
    let tally = &outcome.tallies[&Kind::Frame];
    let (latency, service) = (tally.latency.latency(), tally.service.latency());
    assert!(latency.max_ms > 380.0, "{latency:?}");
    assert!(latency.p50_ms > 4.0 * service.p50_ms, "{latency:?} {service:?}");
    assert!(outcome.seconds >= 0.5);
}

#[test]
fn an_open_loop_does_not_send_early() {
    let endpoint = serve(200, Duration::ZERO);
    let pacing = Pacing::Open {
        rate: 100.0,
        arrivals: crate::schedule::Arrivals::Even,
        seed: 1,
    };
    let outcome = Plan::new(requests(21), None, 4, pacing, 0).drive(&endpoint, &Accepts::default(), None);
    assert!(outcome.seconds >= 0.2, "{}", outcome.seconds);
}

#[test]
fn a_stopped_plan_ends() {
    let endpoint = serve(200, Duration::from_millis(1));
    let stop = AtomicBool::new(false);
    let plan = Plan::new(requests(1_000_000), None, 1, Pacing::Closed, 0);
    let outcome = thread::scope(|scope| {
        let driven = scope.spawn(|| plan.drive(&endpoint, &Accepts::default(), Some(&stop)));
        thread::sleep(Duration::from_millis(50));
        stop.store(true, Ordering::Relaxed);
        driven.join().unwrap()
    });
    assert!(outcome.tallies[&Kind::Frame].num_good < 1000);
}

#[test]
fn a_connection_that_the_server_has_closed_is_opened_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    // Promises to keep the connection, and closes it.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
            let _ = write!(stream, "HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\nhi");
        }
    });
    let endpoint = Endpoint::new(address.parse().unwrap(), None, None).unwrap();
    let pacing = Pacing::Open {
        rate: 20.0,
        arrivals: crate::schedule::Arrivals::Even,
        seed: 1,
    };
    let outcome = Plan::new(requests(6), None, 1, pacing, 0).drive(&endpoint, &Accepts::default(), None);
    assert_eq!(outcome.tallies[&Kind::Frame].num_good, 6);
}
