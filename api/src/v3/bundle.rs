//! Several calls in one request: done in order, each may use what earlier ones answered as `{{studies.[0].uuid}}`.

use actix_web::http::StatusCode;
use serde_json::{Map, Value};

use super::dispatch::{Caller, find};
use super::fault::{Fault, Outcome};
use super::parameters::{BODY_BYTES_MAX, Parameters};
use crate::http::problem::Problem;

/// Most calls in a bundle.
const CALLS_MAX: usize = 100;
/// Most bytes of all answers together.
const ANSWERS_BYTES_MAX: usize = 64 << 20;

/// Does the calls and gives their answers, in order.
///
/// # Errors
/// 400 where the body is no list of calls.
pub async fn answer(caller: &Caller<'_>, body: &[u8]) -> Outcome<Value> {
    let malformed = || Fault::Problem(Problem::bad_request("a bundle is a JSON list of objects with a URL"));
    let calls: Vec<Map<String, Value>> = serde_json::from_slice(body).map_err(|_| malformed())?;
    if calls.len() > CALLS_MAX || calls.iter().any(|call| !call.get("URL").is_some_and(Value::is_string)) {
        return Err(malformed());
    }
    let mut answers: Vec<Value> = Vec::new();
    let mut num_bytes = 0;
    for call in calls {
        let (status, mut answer) = match one(caller, call, &answers).await {
            Ok(answer) => (StatusCode::OK, answer),
            Err(fault) => match fault.parts() {
                Ok(parts) => parts,
                // One call that could not be answered takes no answer from the others.
                Err(problem) => {
                    let mut answer = Map::new();
                    answer.insert("status".into(), "ERROR".into());
                    answer.insert("error_type".into(), "EXCEPTION".into());
                    (problem.status(), answer)
                }
            },
        };
        answer.insert("HTTP_STATUS_CODE".into(), status.as_u16().into());
        let answer = Value::Object(answer);
        num_bytes += answer.to_string().len();
        answers.push(answer);
        if num_bytes > ANSWERS_BYTES_MAX {
            return Err(malformed());
        }
    }
    Ok(Value::Array(answers))
}

async fn one(caller: &Caller<'_>, call: Map<String, Value>, answers: &[Value]) -> Outcome<Map<String, Value>> {
    let url = call.get("URL").and_then(Value::as_str).unwrap_or_default();
    let entry = find(url).ok_or_else(|| Fault::new("NOT_SUPPORTED"))?;
    let mut pairs = Vec::new();
    // What is put in counts as if it had been sent.
    let mut room = BODY_BYTES_MAX as usize;
    for (name, value) in call.iter().filter(|(name, _)| *name != "URL") {
        let text = match value {
            Value::String(text) => substituted(text, answers, room),
            Value::Bool(flag) => Some(u8::from(*flag).to_string()),
            Value::Null => Some(String::new()),
            other => substituted(&other.to_string(), answers, room),
        };
        let text = text.ok_or_else(|| Fault::new("INVALID_PARAMETERS"))?;
        room = room.saturating_sub(text.len());
        pairs.push((name.clone(), text));
    }
    caller.call(entry, Parameters::new(pairs)?).await
}

/// `{{path}}` replaced by what the latest answer that has it says there. What no answer has is left as it is. `None` where
/// that is more than `room` bytes.
fn substituted(text: &str, answers: &[Value], room: usize) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, tail)) = rest.split_once("{{") {
        if out.len() > room {
            return None;
        }
        out.push_str(before);
        let Some((path, after)) = tail.split_once("}}") else {
            out.push_str("{{");
            rest = tail;
            continue;
        };
        match answers.iter().rev().find_map(|answer| looked_up(answer, path.trim())) {
            Some(Value::String(found)) => out.push_str(found),
            Some(found) => out.push_str(&found.to_string()),
            None => {
                out.push_str("{{");
                out.push_str(path);
                out.push_str("}}");
            }
        }
        rest = after;
    }
    out.push_str(rest);
    (out.len() <= room).then_some(out)
}

fn looked_up<'a>(answer: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(answer, |value, step| {
        match step.strip_prefix('[').and_then(|step| step.strip_suffix(']')) {
            Some(index) => value.get(index.parse::<usize>().ok()?),
            None => value.get(step),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn earlier_answers_are_put_in() {
        let answers = [
            json!({"sid": "old"}),
            json!({"sid": "s", "studies": [{"uuid": "u"}], "n": 3}),
        ];
        for (text, expected) in [
            ("{{sid}}", "s"),
            ("a {{studies.[0].uuid}} b {{n}}", "a u b 3"),
            ("{{studies.[1].uuid}}", "{{studies.[1].uuid}}"),
            ("{{open", "{{open"),
            ("{{{{sid}}}}", "{{{{sid}}}}"),
            ("plain", "plain"),
        ] {
            assert_eq!(substituted(text, &answers, 64).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(substituted(&"{{sid}}".repeat(65), &answers, 64), None);
    }
}
