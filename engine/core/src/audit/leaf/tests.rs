use super::*;

fn leaf() -> Leaf {
    let user = Actor::User(UserId::from_bytes([0x0a; 16]));
    let study = ObjectRef::One(ObjectKind::Study, [0x0b; 16]);
    Leaf {
        source: Some(IpAddr::from([192, 0, 2, 1])),
        account: Some(AccountId::from_bytes([0x0c; 16])),
        detail: Some(b"sealed".to_vec()),
        ..Leaf::new(
            3,
            1_700_000_000_000,
            user,
            Action::new("study.read"),
            study,
            Outcome::Success,
        )
    }
}

#[test]
fn golden() {
    let expected = concat!(
        r#"{"v":1,"seq":3,"time_ms":1700000000000,"actor":"user:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a","#,
        r#""action":"study.read","object":"study:0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b","outcome":"success","#,
        r#""source":"192.0.2.1","account":"0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c","detail":"c2VhbGVk"}"#,
    );
    assert_eq!(String::from_utf8(leaf().to_bytes()).unwrap(), expected);
    assert_eq!(Leaf::from_bytes(expected.as_bytes()), Ok(leaf()));
}

#[test]
fn a_short_leaf_round_trips() {
    let object = ObjectRef::System;
    for actor in [Actor::System, Actor::Anonymous] {
        for outcome in [Outcome::Success, Outcome::Denied, Outcome::Rejected, Outcome::Failed] {
            let leaf = Leaf::new(u64::MAX, 0, actor, Action::new("server.start"), object, outcome);
            assert_eq!(Leaf::from_bytes(&leaf.to_bytes()), Ok(leaf));
        }
    }
}

#[test]
fn other_forms_are_refused() {
    let text = String::from_utf8(leaf().to_bytes()).unwrap();
    for (changed, expected) in [
        (text.replace(",", ", "), LeafError::NotCanonical),
        (text.replace("0a0a", "0A0A"), LeafError::NotCanonical),
        (text.replace("192.0.2.1", "::ffff:192.0.2.1x"), LeafError::Malformed),
        (
            text.replace(
                r#""seq":3,"time_ms":1700000000000"#,
                r#""time_ms":1700000000000,"seq":3"#,
            ),
            LeafError::NotCanonical,
        ),
        (text.replace("}", r#","more":1}"#), LeafError::Malformed),
        (text.replace(r#""v":1"#, r#""v":2"#), LeafError::Malformed),
        (text.replace("study.read", "1.2.3"), LeafError::Malformed),
        (text.replace("study:", "patient:"), LeafError::Malformed),
        (text.replace("success", "great"), LeafError::Malformed),
        (text.replace("study.read", r"study\u002eread"), LeafError::NotCanonical),
        (format!("{text}\n"), LeafError::NotCanonical),
        (String::new(), LeafError::Malformed),
        ("x".repeat(LEAF_BYTES_MAX + 1), LeafError::TooLong(LEAF_BYTES_MAX + 1)),
    ] {
        assert_eq!(Leaf::from_bytes(changed.as_bytes()), Err(expected), "{changed:.300}");
    }
}

#[test]
fn actions_hold_no_identifiers() {
    for (name, expected) in [
        ("study.read", true),
        ("a", true),
        ("", false),
        ("1.2.3", false),
        (".a", false),
        ("a1", false),
        ("a b", false),
    ] {
        assert_eq!(Action::parse(name).is_some(), expected, "{name}");
    }
    assert!(Action::parse(&"a".repeat(65)).is_none());
}
