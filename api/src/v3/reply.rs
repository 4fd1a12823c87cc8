//! What a call answers, and which fields of it go out.

use actix_web::HttpResponse;
use actix_web::http::header;
use serde_json::{Map, Value, json};

use super::fault::{Fault, Outcome};
use super::parameters::Parameters;

/// What a handler gives: fields beside `status`, at the top level.
#[derive(Debug, Default)]
pub struct Reply(pub Map<String, Value>);

impl Reply {
    /// Nothing but that it is done.
    pub fn done() -> Self {
        Self::default()
    }

    /// One field.
    pub fn of(name: &str, value: impl Into<Value>) -> Self {
        Self::done().with(name, value)
    }

    /// One field more.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// The body: what `fields.*` leaves of it, and that all is well. `object` is what the calls of this group call theirs.
    pub fn body(self, object: &str, parameters: &Parameters) -> Outcome<Map<String, Value>> {
        let mut body = self.0;
        for (name, _) in parameters.starting("fields.") {
            let wanted = names(parameters, &format!("fields.{name}"))?;
            let plural = name
                .strip_suffix('y')
                .map_or_else(|| format!("{name}s"), |stem| format!("{stem}ies"));
            if name == "_top" {
                body.retain(|key, _| wanted.contains(key));
            } else if let Some(Value::Array(rows)) = list_of(&mut body, name, &plural) {
                for row in rows.iter_mut().filter_map(Value::as_object_mut) {
                    row.retain(|key, _| wanted.contains(key));
                }
            } else if let Some(Value::Object(inner)) = body.get_mut(name) {
                inner.retain(|key, _| wanted.contains(key));
            } else if name == object {
                body.retain(|key, _| wanted.contains(key));
            }
        }
        body.insert("status".into(), "OK".into());
        Ok(body)
    }
}

fn list_of<'a>(body: &'a mut Map<String, Value>, name: &str, plural: &str) -> Option<&'a mut Value> {
    let key = match name {
        "keyimage" => "images",
        _ if body.contains_key(plural) => plural,
        _ => return None,
    };
    body.get_mut(key)
}

fn names(parameters: &Parameters, parameter: &str) -> Outcome<Vec<String>> {
    let list = parameters.list(parameter)?.unwrap_or_default();
    list.into_iter()
        .map(|name| match name {
            Value::String(name) => Ok(name),
            _ => Err(Fault::about("NOT_LIST", parameter)),
        })
        .collect()
}

/// A body as an answer, in gzip where the client takes that and it is worth it.
pub fn response(body: &Value, takes_gzip: bool) -> HttpResponse {
    const WORTH_BYTES: usize = 1024;
    let text = body.to_string();
    let mut response = HttpResponse::Ok();
    response
        .content_type("application/json")
        .insert_header((header::VARY, "Accept-Encoding"));
    if takes_gzip && text.len() >= WORTH_BYTES {
        let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        if let Ok(packed) = std::io::Write::write_all(&mut coder, text.as_bytes()).and_then(|()| coder.finish()) {
            response.insert_header((header::CONTENT_ENCODING, "gzip"));
            return response.body(packed);
        }
    }
    response.body(text)
}

/// A flag in an answer: a number, never a boolean.
pub fn flag(value: bool) -> Value {
    json!(u8::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(fields: &[(&str, &str)]) -> Map<String, Value> {
        let pairs = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let parameters = Parameters::new(pairs).expect("few");
        let reply = Reply::of("uuid", "1")
            .with("name", "a")
            .with("groups", json!([{"uuid": "2", "name": "b"}]));
        reply.body("group", &parameters).expect("well-formed")
    }

    #[test]
    fn fields_are_selected() {
        let keys = |fields: &[(&str, &str)]| body(fields).keys().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(keys(&[]), "groups name status uuid");
        assert_eq!(keys(&[("fields._top", "[\"name\"]")]), "name status");
        assert_eq!(
            body(&[("fields.group", "[\"uuid\"]")])["groups"],
            json!([{"uuid": "2"}])
        );
        assert_eq!(keys(&[("fields.unknown", "[\"uuid\"]")]), "groups name status uuid");
    }
}
