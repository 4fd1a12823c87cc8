use super::*;

const FIELDS: Fields = &[
    ("name", Compare::Text),
    ("count", Compare::Number),
    ("tags", Compare::Text),
    ("created", Compare::Time),
];

fn wanted(pairs: &[(&str, &str)], user_zone: Option<&str>) -> Outcome<Wanted> {
    let pairs = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Wanted::read(&Parameters::new(pairs)?, &[], FIELDS, user_zone)
}

fn rows() -> Vec<Map<String, Value>> {
    [
        json!({"name": "a", "count": 2, "tags": [{"tag": "x"}, {"tag": "yes"}], "created": "2020-01-02 03:04:05.500000+00"}),
        json!({"name": "ab", "count": 10, "created": "2020-01-02 06:04:05.000000+00",
               "customfields": [{"uuid": "7", "value": "x"}]}),
        json!({"name": null, "count": 1}),
    ]
    .into_iter()
    .filter_map(|row| row.as_object().cloned())
    .collect()
}

fn found(pairs: &[(&str, &str)]) -> String {
    let wanted = wanted(pairs, None).expect("a list");
    let reply = wanted.page("rows", rows()).0;
    let counts = reply["rows"].as_array().expect("rows").iter();
    counts.map(|row| row["count"].to_string()).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_condition_holds_for_what_it_should() {
    for (pairs, expected) in [
        (&[][..], "2 10 1"),
        (&[("filter.name.equals", "a")], "2"),
        (&[("filter.name.equals_or_null", "a")], "2 1"),
        (&[("filter.name.not_equals", "a")], "10"),
        (&[("filter.name.not_equals_or_null", "a")], "10 1"),
        (&[("filter.name.like", "a%")], "2 10"),
        (&[("filter.name.like", "%b")], "10"),
        (&[("filter.name.like", "a")], "2"),
        (&[("filter.name.in", "[\"ab\",\"c\"]")], "10"),
        (&[("filter.name.in_or_null", "[\"ab\",\"c\"]")], "10 1"),
        (&[("filter.count.gt", "2")], "10"),
        (&[("filter.count.ge", "2")], "2 10"),
        (&[("filter.count.lt", "2")], "1"),
        (&[("filter.count.le", "2")], "2 1"),
        (&[("filter.count.in", "[1,10]")], "10 1"),
        (&[("filter.created.equals", "2020-01-02 03:04:05")], "2"),
        (&[("filter.created.equals", "2020-01-02 03:04:05.1")], ""),
        (&[("filter.created.ge", "2020-01-02 04:00:00")], "10"),
        (
            &[
                ("filter.created.equals", "2020-01-02 06:04:05"),
                ("filter.tz", "+03:00"),
            ],
            "2",
        ),
        (&[("filter.customfield-7.equals", "x")], "10"),
        (&[("filter.tags.equals", "yes")], "2"),
        (&[("filter.tags.like", "%e%")], "2"),
        (&[("filter.tags.equals", "tag")], ""),
        (&[("filter.name.like", "a%"), ("filter.count.gt", "2")], "10"),
        (&[("sort_by", "count-asc")], "1 2 10"),
        (&[("sort_by", "count-desc")], "10 2 1"),
        (&[("sort_by", "name-desc,count-asc")], "1 10 2"),
        (
            &[("sort_by", "count-asc"), ("page.rows", "1"), ("page.number", "2")],
            "2",
        ),
    ] {
        assert_eq!(found(pairs), expected, "{pairs:?}");
    }
}

#[test]
fn what_makes_no_sense_is_named() {
    for (pairs, expected) in [
        (&[("filter.password.equals", "a")][..], ("INVALID_FIELD", "password")),
        (&[("filter.name->'x'.equals", "a")], ("INVALID_FIELD", "name->'x'")),
        (&[("filter.name.is", "a")], ("INVALID_CONDITION", "is")),
        (&[("filter.name.in", "a")], ("INVALID_CONDITION", "name")),
        (&[("filter.created.gt", "soon")], ("INVALID_CONDITION", "created")),
        (&[("sort_by", "password-asc")], ("INVALID_SORT_FIELD", "password")),
        (&[("sort_by", "name-up")], ("INVALID_SORT_ORDER", "name")),
        (&[("sort_by", "name")], ("INVALID_SORT_ORDER", "name")),
        (&[("page.rows", "5001")], ("INVALID_INTEGER", "page.rows")),
        (&[("page.number", "0")], ("INVALID_INTEGER", "page.number")),
    ] {
        match wanted(pairs, None) {
            Err(Fault::Error { token, subtype, .. }) => {
                assert_eq!((token, subtype), (expected.0, Some(json!(expected.1))), "{pairs:?}");
            }
            other => panic!("{pairs:?}: {other:?}"),
        }
    }
}

#[test]
fn the_users_zone_comes_first() {
    let pairs = [("filter.created.equals", "2020-01-02 06:04:05"), ("filter.tz", "UTC")];
    let wanted = wanted(&pairs, Some("+03:00")).expect("a list");
    assert!(wanted.matches(&rows()[0]) && !wanted.matches(&rows()[1]));
}

#[test]
fn patterns_are_read_piece_by_piece() {
    for (text, pattern, expected) in [
        ("abc", "abc", true),
        ("abc", "ab", false),
        ("abc", "%", true),
        ("abc", "a%c", true),
        ("abc", "%b%", true),
        ("abc", "%d%", false),
        ("aa", "a%a", true),
        ("a", "a%a", false),
        ("", "%", true),
        ("", "", true),
    ] {
        assert_eq!(is_like(text, pattern), expected, "{text} {pattern}");
    }
}
