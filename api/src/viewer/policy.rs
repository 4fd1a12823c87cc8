//! Content security policies (CSP level 3) of the viewer's page and of its workers.

/// Of the page. `blob:` and `data:` are what the viewer makes itself: thumbnails, documents to show, workers. Styles on
/// elements are how it lays things out. `object-src 'self'` because an element for a document, still without an address,
/// counts as this site's.
pub const PAGE: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; \
    connect-src 'self' blob: data:; img-src 'self' blob: data:; media-src 'self' blob:; font-src 'self' data:; \
    style-src 'self' 'unsafe-inline'; object-src 'self' blob:; frame-src 'self' blob:; manifest-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Of a script, which counts where it is a worker's: the decoders, compiled to WebAssembly, make functions of text to
/// call between the two worlds. A worker sees no document and reaches nothing but this server.
pub const SCRIPT: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval' 'unsafe-eval'; connect-src 'self' \
    blob: data:; worker-src 'self' blob:; frame-ancestors 'none'";

/// Of everything else.
pub const OTHER: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

/// The policy of a file of this media type.
pub fn of(media_type: &str) -> &'static str {
    if media_type.starts_with("text/html") {
        PAGE
    } else if media_type.starts_with("text/javascript") {
        SCRIPT
    } else {
        OTHER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_runs_nothing_made_of_text() {
        let scripts = PAGE
            .split(';')
            .find(|part| part.contains("script-src"))
            .expect("is there");
        assert_eq!(scripts.trim(), "script-src 'self' 'wasm-unsafe-eval'");
        for text in [PAGE, SCRIPT, OTHER] {
            assert!(
                text.starts_with("default-src 'none';") && !text.contains("  "),
                "{text}"
            );
            assert!(
                !text.contains("http:") && !text.contains("https:") && !text.contains('*'),
                "{text}"
            );
        }
        assert_eq!(of("text/javascript; charset=utf-8"), SCRIPT);
        assert_eq!(of("image/svg+xml"), OTHER);
    }
}
