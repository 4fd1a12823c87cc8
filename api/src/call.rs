//! One request that was let in: who asks, for what, and proof that they may.

use std::net::IpAddr;
use std::sync::Arc;

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use septum_core::access::{Granted, Object, Permission, Principal, authorize};
use septum_core::audit::{Action, Actor, ObjectKind, ObjectRef, Outcome};
use septum_core::ids::{AccountId, NamespaceId, SeriesInstanceUid, SopInstanceUid, StudyInstanceUid, VersionId};
use septum_engine::accounts::Namespace;
use septum_engine::ledger::Event;
use septum_engine::pipeline::messages::Source;
use septum_engine::retrieve::StudyRef;
use septum_engine::services::Services;
use septum_engine::{EngineError, exceptions};

use crate::app::App;
use crate::http::body::BodyReader;
use crate::http::coding::Coding;
use crate::http::precondition;
use crate::http::problem::{Answer, Problem};

/// A request on its way through a handler. Only the dispatcher makes one, after `authorize` said yes.
pub struct Call {
    /// Shared state.
    pub app: Arc<App>,
    /// The request.
    pub request: HttpRequest,
    /// Who asks.
    pub principal: Arc<Principal>,
    /// What was permitted, one for each of `namespaces`, or one for the system.
    pub granted: Vec<Granted>,
    /// The namespaces the request is about: the one of the path, or all that the caller may see.
    pub namespaces: Vec<Arc<Namespace>>,
    /// The client's address.
    pub address: Option<IpAddr>,
    /// `https://host:port` as the client used it.
    pub base_url: String,
    /// The route's action, for the audit log.
    pub action: Action,
    /// The body, until it is taken.
    pub payload: Option<web::Payload>,
}

impl Call {
    /// What the engine's parts share.
    pub fn services(&self) -> &Arc<Services> {
        &self.app.archive.services
    }

    /// Who asks, for change records.
    pub fn source(&self) -> Source {
        Source {
            user: self.principal.user,
            address: self.address,
        }
    }

    /// A part of the path; empty where the route has none of that name.
    pub fn path(&self, name: &str) -> &str {
        self.request.match_info().get(name).unwrap_or_default()
    }

    /// The study's UID in the path.
    ///
    /// # Errors
    /// 400 where it is no UID; also for the other two.
    pub fn study_uid(&self) -> Answer<String> {
        StudyInstanceUid::parse(self.path("study"))
            .map(|uid| uid.as_str().to_owned())
            .map_err(no_uid)
    }

    /// The series' UID in the path.
    ///
    /// # Errors
    /// As [`Self::study_uid`].
    pub fn series_uid(&self) -> Answer<String> {
        SeriesInstanceUid::parse(self.path("series"))
            .map(|uid| uid.as_str().to_owned())
            .map_err(no_uid)
    }

    /// The series' UID in the path, where the route has one.
    ///
    /// # Errors
    /// As [`Self::study_uid`].
    pub fn series_uid_if_any(&self) -> Answer<Option<String>> {
        if self.path("series").is_empty() {
            Ok(None)
        } else {
            self.series_uid().map(Some)
        }
    }

    /// The SOP Instance UID in the path.
    ///
    /// # Errors
    /// As [`Self::study_uid`].
    pub fn instance_uid(&self) -> Answer<String> {
        SopInstanceUid::parse(self.path("instance"))
            .map(|uid| uid.as_str().to_owned())
            .map_err(no_uid)
    }

    /// Asks for a permission beside the route's, in a namespace that the route reaches.
    ///
    /// # Errors
    /// 403 where it is not given.
    pub fn authorize(&self, permission: Permission, namespace: NamespaceId) -> Answer<()> {
        let granted = authorize(Some(&self.principal), permission, Object::Namespace(namespace));
        granted
            .map(|_| ())
            .map_err(|denied| Problem::forbidden(denied.to_string()))
    }

    /// The version asked for by `?version=`.
    ///
    /// # Errors
    /// 400 where it is no version's id.
    pub fn version(&self) -> Answer<Option<VersionId>> {
        match self.query("version") {
            None => Ok(None),
            Some(text) => VersionId::parse(&text)
                .map(Some)
                .ok_or_else(|| Problem::bad_request("the parameter `version` is not the id of a version")),
        }
    }

    /// A parameter of the query.
    pub fn query(&self, name: &str) -> Option<String> {
        crate::http::query_pairs(&self.request)
            .into_iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }

    /// The one namespace of the path.
    ///
    /// # Errors
    /// 404 on routes over several namespaces.
    pub fn namespace(&self) -> Answer<&Arc<Namespace>> {
        match self.namespaces.as_slice() {
            [one] => Ok(one),
            _ => Err(Problem::not_found()),
        }
    }

    /// The address of the DICOMweb service the request's study lies in.
    pub fn service_url(&self, namespace: &Namespace) -> String {
        let exception = self.path("exception");
        let held = if exception.is_empty() {
            String::new()
        } else {
            format!("/exceptions/{exception}")
        };
        format!("{}/namespaces/{}{held}/dicomweb", self.base_url, namespace.id)
    }

    /// The address of the request, as the client used it.
    pub fn address(&self) -> String {
        format!("{}{}{}", self.base_url, self.request.path(), self.query_part())
    }

    /// The query with its question mark, if there is one.
    fn query_part(&self) -> String {
        match self.request.query_string() {
            "" => String::new(),
            query => format!("?{query}"),
        }
    }

    /// The addresses of single frames, of which the path may name several: `end` stands behind the number.
    pub fn frame_addresses(&self, end: &str) -> FrameAddresses {
        let address = format!("{}{}", self.base_url, self.request.path());
        let resources = ["/frames/", "/bulkdata/", "/rendered"];
        let length = resources.iter().filter_map(|resource| address.rfind(resource)).min();
        FrameAddresses {
            start: format!("{}/frames/", &address[..length.unwrap_or(address.len())]),
            end: format!("{end}{}", self.query_part()),
        }
    }

    /// The study of the path, in whichever namespace it is.
    ///
    /// # Errors
    /// 404 where there is none; 409 naming the addresses where several namespaces have it.
    pub fn study(&self) -> Answer<(Arc<Namespace>, StudyRef)> {
        self.study_of(&self.study_uid()?)
    }

    /// The study of that UID, in whichever namespace it is.
    ///
    /// # Errors
    /// As [`Self::study`].
    pub fn study_of(&self, uid: &str) -> Answer<(Arc<Namespace>, StudyRef)> {
        let services = self.services();
        let exception = self.path("exception");
        if !exception.is_empty() {
            let namespace = self.namespace()?;
            let study = exceptions::find(services, namespace, exception)?;
            // The id alone names the study, yet an address that contradicts itself is no address.
            let is_same = StudyRef::find_held(services, namespace, uid)?
                .iter()
                .any(|held| held.row_key == study.row_key);
            return if is_same {
                Ok((Arc::clone(namespace), study))
            } else {
                Err(Problem::not_found())
            };
        }
        let mut found = Vec::new();
        for (namespace, granted) in self.namespaces.iter().zip(&self.granted) {
            debug_assert!(granted.covers(granted.permission(), namespace.id));
            match StudyRef::find(services, namespace, uid) {
                Ok(study) => found.push((Arc::clone(namespace), study)),
                Err(EngineError::NotFound) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match found.len() {
            0 => Err(Problem::not_found()),
            1 => found.pop().ok_or_else(Problem::not_found),
            _ => {
                let choices: Vec<String> = found
                    .iter()
                    .map(|(namespace, _)| format!("{}/studies/{uid}", self.service_url(namespace)))
                    .collect();
                Err(
                    Problem::conflict("several namespaces have a study of this UID; ask for one of `choices`")
                        .with_member("choices", choices.into()),
                )
            }
        }
    }

    /// Audits that something is read. After an error nothing may be sent (invariant 8).
    ///
    /// # Errors
    /// 503 while the audit log takes no entries.
    pub async fn audit(&self, object: ObjectRef, account: Option<AccountId>) -> Answer<()> {
        self.app
            .archive
            .audit
            .note(self.event(object, account, Outcome::Success))
            .await
            .map_err(Problem::from)
    }

    /// Audits that a study, or something in it, is read.
    ///
    /// # Errors
    /// As [`Self::audit`].
    pub async fn audit_study(&self, study: &StudyRef) -> Answer<()> {
        self.audit(
            ObjectRef::One(ObjectKind::Study, *study.id().as_bytes()),
            Some(study.account.account),
        )
        .await
    }

    /// Audits that namespaces are searched or listed.
    ///
    /// # Errors
    /// As [`Self::audit`].
    pub async fn audit_namespaces(&self) -> Answer<()> {
        for namespace in &self.namespaces {
            let object = ObjectRef::One(ObjectKind::Namespace, *namespace.id.as_bytes());
            self.audit(object, Some(namespace.account)).await?;
        }
        Ok(())
    }

    /// Audits what became of something, where the answer does not depend on it.
    pub async fn audit_outcome(&self, object: ObjectRef, account: Option<AccountId>, outcome: Outcome) {
        if self
            .app
            .archive
            .audit
            .note(self.event(object, account, outcome))
            .await
            .is_err()
        {
            tracing::warn!("a refusal could not be audited");
        }
    }

    fn event(&self, object: ObjectRef, account: Option<AccountId>, outcome: Outcome) -> Event {
        Event {
            actor: Actor::User(self.principal.user),
            action: self.action.clone(),
            object,
            outcome,
            source: self.address,
            account,
        }
    }

    /// The body, once, out of its content coding.
    ///
    /// # Errors
    /// 400 when it was taken before; 415 for a coding that is not known.
    pub fn body(&mut self) -> Answer<BodyReader> {
        let mut codings = self.request.headers().get_all(header::CONTENT_ENCODING);
        let coding = match (codings.next(), codings.next()) {
            (None, _) => Some(Coding::Identity),
            (Some(coding), None) => coding.to_str().ok().and_then(Coding::parse),
            (Some(_), Some(_)) => None,
        };
        let coding = coding.ok_or_else(Problem::unsupported_coding)?;
        let payload = self
            .payload
            .take()
            .ok_or_else(|| Problem::bad_request("there is no body"))?;
        Ok(BodyReader::new(payload, coding, self.app.body))
    }

    /// Whether the client has exactly this already: then 304.
    pub fn not_modified(&self, etag: &str) -> Option<HttpResponse> {
        precondition::is_known(self.request.headers(), etag).then(|| {
            let mut response = HttpResponse::NotModified();
            response
                .insert_header((header::ETAG, header_value(etag)))
                .insert_header((header::VARY, "Accept"));
            response.finish()
        })
    }

    /// To be asked before anything that is there is changed: none of that has a strong validator, so `If-Match` can only
    /// name that it is there.
    ///
    /// # Errors
    /// 412 where it names more.
    pub fn may_change(&self) -> Answer<()> {
        if precondition::is_match(self.request.headers(), None) {
            Ok(())
        } else {
            Err(Problem::precondition_failed())
        }
    }

    /// Whether permission `permission` was granted for this call.
    pub fn has(&self, permission: Permission) -> bool {
        self.granted.iter().any(|granted| granted.permission() == permission)
    }
}

/// See [`Call::frame_addresses`].
pub struct FrameAddresses {
    start: String,
    end: String,
}

impl FrameAddresses {
    /// The address of a frame, from 1.
    pub fn of(&self, number: u32) -> String {
        format!("{}{number}{}", self.start, self.end)
    }
}

fn no_uid(_: septum_core::ids::UidError) -> Problem {
    Problem::bad_request("the address holds something that is not a UID")
}

/// Text of ours as a header; never fails, since it is plain ASCII.
pub fn header_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}
