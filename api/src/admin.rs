//! The listener for operators: metrics and health, plain HTTP, on loopback unless configured otherwise.
//!
//! Shows counts and states, nothing about patients or accounts.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix_web::dev::Server;
use actix_web::{App, HttpResponse, HttpServer, web};
use septum_engine::archive::Archive;

/// Starts the listener's server.
///
/// # Errors
/// Where the socket cannot be used.
pub fn serve(listener: TcpListener, archive: Arc<Archive>) -> std::io::Result<Server> {
    let server = HttpServer::new(move || {
        let (metrics, ready) = (Arc::clone(&archive), Arc::clone(&archive));
        App::new()
            .service(web::resource("/metrics").route(web::get().to(move || {
                let text = metrics.metrics();
                async move {
                    HttpResponse::Ok()
                        .content_type("text/plain; version=0.0.4; charset=utf-8")
                        .body(text)
                }
            })))
            .service(web::resource("/healthz").route(web::get().to(|| async { HttpResponse::Ok().body("alive\n") })))
            .service(web::resource("/readyz").route(web::get().to(move || {
                let is_ready = ready.is_ready();
                async move {
                    if is_ready {
                        HttpResponse::Ok().body("ready\n")
                    } else {
                        HttpResponse::ServiceUnavailable().body("not ready\n")
                    }
                }
            })))
    });
    Ok(server
        .workers(1)
        .max_connections(64)
        .disable_signals()
        .listen(listener)?
        .run())
}

/// Binds a listener; the error names the setting.
///
/// # Errors
/// Where the address is taken or not this machine's.
pub fn bind(setting: &str, address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address)
        .map_err(|error| std::io::Error::new(error.kind(), format!("{setting} = \"{address}\": {error}")))
}
