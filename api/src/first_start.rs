//! What happens once: the first administrator, and the demo's studies.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use septum_engine::archive::Archive;
use septum_engine::pipeline::messages::Source;
use septum_testkit::demo_studies;

use crate::auth;

/// The name of the first administrator.
pub const ADMINISTRATOR: &str = "admin@localhost";
/// Sets the first administrator's password.
pub const PASSWORD_VARIABLE: &str = "SEPTUM_ADMIN_PASSWORD";
/// Asks for the demo's studies.
pub const DEMO_VARIABLE: &str = "SEPTUM_DEMO";

/// Makes the first administrator where nobody can sign in yet, and prints a made-up password once, on stdout.
///
/// # Errors
/// Where the given password is too short or long, or the catalogue takes no user.
pub async fn administrator(archive: &Arc<Archive>, url: &str) -> Result<(), String> {
    let accounts = &archive.services.accounts;
    let failed = |error: septum_engine::EngineError| error.to_string();
    if !accounts.has_no_user().map_err(failed)? {
        println!("Septum is at {url}");
        return Ok(());
    }
    let given = std::env::var(PASSWORD_VARIABLE)
        .ok()
        .filter(|password| !password.is_empty());
    if let Some(password) = &given {
        let length = password.chars().count();
        if !(auth::PASSWORD_CHARACTERS_MIN..=auth::PASSWORD_CHARACTERS_MAX).contains(&length) {
            return Err(format!(
                "{PASSWORD_VARIABLE} must have {} to {} characters",
                auth::PASSWORD_CHARACTERS_MIN,
                auth::PASSWORD_CHARACTERS_MAX
            ));
        }
    }
    let password = given.clone().unwrap_or_else(auth::random_password);
    let hashed = tokio::task::spawn_blocking({
        let password = password.clone();
        move || auth::hash(&password)
    });
    let hash = hashed.await.ok().flatten().ok_or("the password could not be hashed")?;
    accounts
        .put_user(ADMINISTRATOR, hash, true, None)
        .await
        .map_err(failed)?;
    println!("Septum is at {url}");
    println!("User name:   {ADMINISTRATOR}");
    match given {
        Some(_) => println!("Password:    as {PASSWORD_VARIABLE} says"),
        None => println!("Password:    {password}   (shown only this once)"),
    }
    Ok(())
}

/// Whether the demo is asked for.
pub fn wants_demo() -> bool {
    std::env::var(DEMO_VARIABLE).is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// Stores the demo's studies into the first namespace, through the pipeline like anything else. Again does no harm: what
/// is there already is a duplicate.
///
/// # Errors
/// What the engine says of the first instance that it does not take.
pub async fn demo(archive: &Arc<Archive>) -> septum_engine::Result<()> {
    let services = &archive.services;
    let namespace = services
        .accounts
        .namespaces()?
        .into_iter()
        .next()
        .ok_or(septum_engine::EngineError::NotFound)?;
    let user = services
        .accounts
        .user(ADMINISTRATOR)?
        .ok_or(septum_engine::EngineError::NotFound)?
        .id;
    let start = Instant::now();
    let (mut num_instances, mut num_bytes) = (0_u64, 0_u64);
    for spec in demo_studies() {
        for index in 0..spec.num_instances() {
            let made = tokio::task::spawn_blocking({
                let spec = spec.clone();
                move || spec.instance(index)
            });
            let instance = made.await.map_err(|_| septum_engine::EngineError::Panicked)?;
            num_bytes += instance.bytes.len() as u64;
            let source = Source { user, address: None };
            let mut intake = archive.pipeline.admit(Arc::clone(&namespace), source).await?;
            intake.push(Bytes::from(instance.bytes)).await?;
            intake.finish().await.1?;
            num_instances += 1;
        }
        tracing::info!(
            instances = num_instances,
            mebibytes = num_bytes >> 20,
            "demo study stored"
        );
    }
    tracing::info!(
        instances = num_instances,
        mebibytes = num_bytes >> 20,
        seconds = start.elapsed().as_secs(),
        "the demo is loaded"
    );
    Ok(())
}
