//! Children that misbehave cost one answer each.
#![cfg(unix)]
#![allow(clippy::expect_used, reason = "tests")]

use septum_decoder::{Damage, DecodeError, DecodeRequest, DecoderPool, FrameLayout, PoolLimits};
use std::time::{Duration, Instant};

fn pool(num_children: usize, limits: PoolLimits) -> DecoderPool {
    DecoderPool::new(
        vec![env!("CARGO_BIN_EXE_decode-child-for-tests").into()],
        num_children,
        limits,
    )
}

fn request(photometric: &str) -> DecodeRequest {
    DecodeRequest {
        transfer_syntax: "1.2.840.10008.1.2.1".into(),
        layout: FrameLayout {
            rows: 600,
            columns: 500,
            samples_per_pixel: 1,
            bits_allocated: 8,
            bits_stored: 8,
            high_bit: 7,
            signed: false,
            planar: false,
        },
        photometric: photometric.into(),
        frame: (0..300_000u32).map(|index| index as u8).collect(),
    }
}

/// A misbehaving request fails as expected, and the next one works.
fn check(photometric: &str, limits: PoolLimits, expected: DecodeError) {
    let pool = pool(1, limits);
    let sound = request("MONOCHROME2");
    for _ in 0..2 {
        assert_eq!(
            pool.decode(&request(photometric)),
            Err(expected.clone()),
            "{photometric}"
        );
        let decoded = pool.decode(&sound).expect("the next request works");
        assert_eq!(decoded.samples, sound.frame);
    }
}

#[test]
fn crashes_cost_one_answer() {
    check("ABORT", PoolLimits::default(), DecodeError::Crashed);
    check("PANIC", PoolLimits::default(), DecodeError::Crashed);
}

#[test]
fn a_memory_bomb_costs_one_answer() {
    check("BOMB", PoolLimits::default(), DecodeError::Crashed);
}

#[test]
fn a_hang_costs_one_answer() {
    let started = Instant::now();
    let limits = PoolLimits {
        timeout: Duration::from_millis(700),
        ..PoolLimits::default()
    };
    check("HANG", limits, DecodeError::TimedOut);
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn answers_of_another_shape_are_refused() {
    check("OVERSIZED", PoolLimits::default(), DecodeError::InvalidAnswer);
    check("RESHAPED", PoolLimits::default(), DecodeError::InvalidAnswer);
}

/// Without the filter these requests would be answered: the mode returns and decoding goes on.
#[cfg(target_os = "linux")]
#[test]
fn forbidden_system_calls_kill() {
    for mode in ["OPEN", "SOCKET", "THREAD", "PROCESS"] {
        check(mode, PoolLimits::default(), DecodeError::Crashed);
    }
}

#[test]
fn a_damaged_frame_keeps_its_child() {
    let pool = pool(1, PoolLimits::default());
    let mut short = request("MONOCHROME2");
    short.frame.truncate(10);
    for _ in 0..3 {
        assert_eq!(pool.decode(&short), Err(DecodeError::Damaged(Damage::Truncated)));
    }
    let mut unknown = request("MONOCHROME2");
    unknown.transfer_syntax = "1.2.840.10008.1.2.4.100".into();
    assert!(matches!(pool.decode(&unknown), Err(DecodeError::Unsupported { .. })));
    let mut huge = request("MONOCHROME2");
    huge.layout.rows = 65535;
    huge.layout.columns = 65535;
    assert_eq!(pool.decode(&huge), Err(DecodeError::Damaged(Damage::Shape)));
    assert!(pool.decode(&request("MONOCHROME2")).is_ok());
}

#[test]
fn children_are_replaced_after_their_term() {
    let limits = PoolLimits {
        max_requests_per_child: 1,
        ..PoolLimits::default()
    };
    let pool = pool(1, limits);
    for _ in 0..3 {
        assert!(pool.decode(&request("MONOCHROME2")).is_ok());
    }
}

#[test]
fn many_threads_share_few_children() {
    let pool = pool(2, PoolLimits::default());
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let pool = &pool;
            scope.spawn(move || {
                for round in 0..5 {
                    let mut request = request("MONOCHROME2");
                    request.frame.fill(thread * 16 + round);
                    let decoded = pool.decode(&request).expect("decodes");
                    assert_eq!(decoded.samples, request.frame);
                }
            });
        }
    });
}

#[test]
fn a_missing_program_is_our_failure() {
    let pool = DecoderPool::new(vec!["/nonexistent/septum".into()], 1, PoolLimits::default());
    let expected = DecodeError::NotStarted(std::io::ErrorKind::NotFound);
    assert_eq!(pool.decode(&request("MONOCHROME2")), Err(expected.clone()));
    assert_eq!(pool.decode(&request("MONOCHROME2")), Err(expected));
}
