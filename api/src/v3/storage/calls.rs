//! Copies of studies as service calls: `/study/clone`, `/study/split`.

use std::collections::HashSet;
use std::sync::Arc;

use septum_core::access::Permission;
use septum_core::ids::Uid;
use septum_engine::derive::PixelChange;
use septum_engine::share;

use super::copies::{Plan, derived_uid};
use super::error::{Kind, StorageError};
use super::jobs;
use super::scope::Seen;
use crate::hidden::Hidden;
use crate::http::problem::Problem;
use crate::v3::ask::Ask;
use crate::v3::fault::{Fault, Outcome};
use crate::v3::reply::Reply;
use crate::v3::shares;
use crate::v3::study_record::must_be_there;

/// The stored study that a call is about, of which all may be seen.
fn seen(ask: &Ask) -> Outcome<Seen> {
    let (name, namespace) = ask.study()?;
    must_be_there(ask, name, namespace)?;
    if !Hidden::of(ask.principal()?, namespace.id).is_empty() {
        return Err(Fault::not_permitted());
    }
    // Announced, and nothing came yet.
    let study = name
        .find(ask.services(), namespace)
        .map_err(|_| Fault::new("NOT_AVAILABLE"))?;
    let uid = ask.services().summaries.open(&study.row)?.summary.study_uid.clone();
    Ok(Seen {
        namespace: Arc::clone(namespace),
        study,
        uid,
    })
}

/// Runs plans once, however often the call is sent, and gives the UID that the first try said.
async fn run(ask: &Ask, what: &[&str], study_uid: String, plans: Vec<Plan>) -> Outcome<String> {
    let parts: Vec<&[u8]> = [ask.entry.path]
        .iter()
        .chain(what)
        .map(|part| part.as_bytes())
        .collect();
    let key = jobs::key(ask.principal()?.user, &parts);
    let work = async move {
        for plan in plans {
            plan.run(|_| PixelChange::Keep).await?;
        }
        Ok(())
    };
    let jobs = Arc::clone(&ask.app.storage.jobs);
    let done = jobs.start(key, None, study_uid, work).await;
    done.map(|(study_uid, _)| study_uid).map_err(fault)
}

fn fault(error: StorageError) -> Fault {
    match error.kind() {
        Kind::NoImages => Fault::new("NOT_AVAILABLE"),
        Kind::Unknown => Problem::overloaded(5).into(),
        _ => Fault::about("FAILED", error.message()),
    }
}

/// `/study/clone`: the same study once more, under another UID.
pub async fn clone(ask: &Ask) -> Outcome {
    let (name, namespace) = ask.study()?;
    let _granted = ask.authorize(Permission::StudyView, namespace.id)?;
    let from = seen(ask)?;
    let renews = (
        ask.parameters.is_set("new_series_uids")?,
        ask.parameters.is_set("new_image_uids")?,
    );
    let study_uid = Uid::random().as_str().to_owned();
    let plan = Plan {
        app: Arc::clone(&ask.app),
        source: ask.source()?,
        from,
        to: Arc::clone(namespace),
        study_uid: study_uid.clone(),
        series: None,
        renews,
        seed: study_uid.clone(),
    };
    let what = [&name.to_string(), &format!("{renews:?}")[..]];
    let study_uid = run(ask, &what, study_uid, vec![plan]).await?;
    Ok(Reply::of("study_uid", study_uid))
}

/// `/study/split`: a study of its own for each series, or with `no_split` one for all, in another namespace.
pub async fn split(ask: &Ask) -> Outcome {
    let from = seen(ask)?;
    let into = shares::destination(ask)?;
    let is_whole = ask.parameters.is_set("no_split")?;
    let (name, _) = ask.study()?;
    if share::storage_namespace(&from.study)? != from.namespace.id {
        // Of a share: who shared it did not give it away in pieces.
        let _granted = ask.authorize(Permission::StudyDuplicate, from.namespace.id)?;
    }
    let summary = ask.services().summaries.open(&from.study.row)?;
    let series: Vec<Option<String>> = if is_whole {
        vec![None]
    } else {
        let of_study = summary.summary.series.iter();
        of_study.map(|series| Some(series.series_uid.clone())).collect()
    };
    let seed = Uid::random().as_str().to_owned();
    let mut plans = Vec::with_capacity(series.len());
    for one in series {
        plans.push(Plan {
            app: Arc::clone(&ask.app),
            source: ask.source()?,
            from: from.clone(),
            to: Arc::clone(&into),
            study_uid: derived_uid(&seed, one.as_deref().unwrap_or(&from.uid)),
            series: one.map(|uid| HashSet::from([uid])),
            renews: (true, true),
            seed: seed.clone(),
        });
    }
    let (name, to) = (name.to_string(), into.id.to_string());
    let what = [name.as_str(), to.as_str(), if is_whole { "whole" } else { "series" }];
    run(ask, &what, seed, plans).await?;
    Ok(Reply::done())
}
