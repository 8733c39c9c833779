//! The web client, embedded in the binary.

use std::{collections::HashMap, io::Write};

use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use flate2::{Compression, write::GzEncoder};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "../web-client/dist"]
struct WebClient;

const PAGE: &str = "index.html";

/// For a binary that was built before the web client was.
const NOT_BUILT: &str = "<!doctype html><html lang=en><meta charset=utf-8><title>Conclave</title>\
<h1>The web client is missing</h1><p>This server was built without it. Build it (<code>npm ci && npm run build</code> \
in <code>web-client</code>), then build the server again. LiveKit clients can connect all the same.";

/// Names that carry a hash of their content never change.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// Everything else is asked for anew, and answered with 304 while it is the same.
const REVALIDATE: &str = "no-cache";

/// No byte from anybody else, no script but ours, nobody's frame (`wasm-unsafe-eval`: encryption and video effects).
const SECURITY: [(HeaderName, &str); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' blob: data:; media-src 'self' blob:; \
         worker-src 'self' blob:; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; frame-ancestors 'none'; \
         base-uri 'none'; form-action 'self'; object-src 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(self), microphone=(self), display-capture=(self), geolocation=(), payment=(), usb=()",
    ),
];

/// The files of the web client, each once as it is and once compressed.
pub(super) struct Assets(HashMap<String, Asset>);

struct Asset {
    plain: Bytes,
    gzip: Option<Bytes>,
    mime: String,
    etag: HeaderValue,
    cache: &'static str,
}

impl Assets {
    /// Reads what is embedded.
    pub(super) fn load() -> Self {
        let files = WebClient::iter().filter_map(|path| {
            let file = WebClient::get(&path)?;
            let hash = file.metadata.sha256_hash();
            let cache = if path.starts_with("assets/") {
                IMMUTABLE
            } else {
                REVALIDATE
            };
            Some((
                path.into_owned(),
                Asset::new(
                    file.data.into_owned().into(),
                    file.metadata.mimetype(),
                    hash,
                    cache,
                ),
            ))
        });
        Self(files.collect())
    }

    /// The page, which finds its way by the address.
    pub(super) fn page(&self, request: &HeaderMap) -> Response {
        match self.0.get(PAGE) {
            Some(asset) => asset.respond(request),
            None => {
                let html = HeaderValue::from_static("text/html; charset=utf-8");
                secured((StatusCode::OK, [(header::CONTENT_TYPE, html)], NOT_BUILT).into_response())
            }
        }
    }

    /// A file by its path, or 404.
    pub(super) fn file(&self, path: &str, request: &HeaderMap) -> Response {
        match self.0.get(path.trim_start_matches('/')) {
            Some(asset) => asset.respond(request),
            None => (StatusCode::NOT_FOUND, "404 page not found").into_response(),
        }
    }
}

impl Asset {
    fn new(plain: Bytes, mime: &str, hash: [u8; 32], cache: &'static str) -> Self {
        let hash: String = hash[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let etag = HeaderValue::try_from(format!("\"{hash}\""))
            .unwrap_or(HeaderValue::from_static("\"\""));
        let text = mime.starts_with("text/")
            || ["javascript", "json", "svg", "wasm"]
                .iter()
                .any(|t| mime.contains(t));
        let mime = if mime.starts_with("text/") {
            format!("{mime}; charset=utf-8")
        } else {
            mime.to_owned()
        };
        let gzip = text
            .then(|| gzip(&plain))
            .filter(|gzip| gzip.len() < plain.len());
        Self {
            plain,
            gzip,
            mime,
            etag,
            cache,
        }
    }

    fn respond(&self, request: &HeaderMap) -> Response {
        let named = |name, text: &str| {
            request
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
                .is_some_and(|value| value.contains(text))
        };
        let common = [
            (header::CACHE_CONTROL, HeaderValue::from_static(self.cache)),
            (header::ETAG, self.etag.clone()),
            (header::VARY, HeaderValue::from_static("accept-encoding")),
        ];
        if self
            .etag
            .to_str()
            .is_ok_and(|etag| named(header::IF_NONE_MATCH, etag))
        {
            return secured((StatusCode::NOT_MODIFIED, common).into_response());
        }
        let gzip = self
            .gzip
            .as_ref()
            .filter(|_| named(header::ACCEPT_ENCODING, "gzip"));
        let body = gzip.unwrap_or(&self.plain).clone();
        let mut response =
            secured((common, [(header::CONTENT_TYPE, self.mime.as_str())], body).into_response());
        if gzip.is_some() {
            response
                .headers_mut()
                .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

fn gzip(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing into a vector does not fail.
    let _ = encoder.write_all(plain);
    encoder.finish().unwrap_or_default().into()
}

fn secured(mut response: Response) -> Response {
    for (name, value) in SECURITY {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asset() -> Asset {
        Asset::new(
            vec![b'a'; 4096].into(),
            "text/javascript",
            [7; 32],
            IMMUTABLE,
        )
    }

    fn request(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_file_is_compressed_for_those_who_read_it() {
        let response = asset().respond(&request(header::ACCEPT_ENCODING, "gzip, br"));
        assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
        let response = asset().respond(&HeaderMap::new());
        assert!(!response.headers().contains_key(header::CONTENT_ENCODING));
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "text/javascript; charset=utf-8"
        );
    }

    #[test]
    fn an_unchanged_file_is_not_sent_again() {
        let etag = asset().etag.to_str().unwrap().to_owned();
        let response = asset().respond(&request(header::IF_NONE_MATCH, &etag));
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
        let response = asset().respond(&request(header::IF_NONE_MATCH, "\"other\""));
        assert_eq!(response.status(), StatusCode::OK);
    }

    #[test]
    fn without_a_web_client_the_page_says_so() {
        let response = Assets(HashMap::new()).page(&HeaderMap::new());
        assert_eq!(response.status(), StatusCode::OK);
        assert!(
            response.headers()[header::CONTENT_SECURITY_POLICY]
                .to_str()
                .unwrap()
                .contains("default-src 'self'")
        );
        assert_eq!(
            Assets(HashMap::new())
                .file("/x.js", &HeaderMap::new())
                .status(),
            StatusCode::NOT_FOUND
        );
    }
}
