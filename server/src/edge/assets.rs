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

/// The page of a binary that was built before the web client was.
const NOT_BUILT: &str = "<!doctype html><html lang=en><meta charset=utf-8><title>Conclave</title>\
<h1>The web client is missing</h1><p>This server was built without it. Build it (<code>npm ci && npm run build</code> \
in <code>web-client</code>), then build the server again. LiveKit clients can connect all the same.";

/// Caching of files whose names carry a hash of their content: they never change.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// Caching of all other files: asked for anew, and answered with 304 while they are the same.
const REVALIDATE: &str = "no-cache";

/// The content security policy: no byte from anybody else, no script but ours, no framing (`wasm-unsafe-eval`:
/// encryption and video effects).
const POLICY: [&str; 10] = [
    "default-src 'self'",
    "img-src 'self' blob: data:",
    "media-src 'self' blob:",
    "worker-src 'self' blob:",
    "script-src 'self' 'wasm-unsafe-eval'",
    "style-src 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
    "form-action 'self'",
    "object-src 'none'",
];

const SECURITY: [(HeaderName, &str); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(self), microphone=(self), display-capture=(self), geolocation=(), payment=(), usb=()",
    ),
];

/// Adds the headers that go with every answer, a 404 too. `host` is the host that was asked. Signal connections to it
/// are the only connections that a page may make: not every browser takes them for `'self'`.
pub(super) fn secure(response: &mut Response, host: Option<&HeaderValue>) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    let host = host.and_then(|host| host.to_str().ok());
    let connect = match host.filter(|host| !host.is_empty() && host.chars().all(is_name)) {
        Some(host) => format!("connect-src 'self' ws://{host} wss://{host}"),
        None => "connect-src 'self'".to_owned(),
    };
    let policy = format!("{}; {connect}", POLICY.join("; "));
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in SECURITY {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// The build of the web client has each text file once more, compressed with brotli, under this name.
const BROTLI: &str = ".br";

/// The files of the web client, each as it is and compressed.
pub(super) struct Assets(HashMap<String, Asset>);

struct Asset {
    plain: Bytes,
    brotli: Option<Bytes>,
    gzip: Option<Bytes>,
    mime: String,
    etag: HeaderValue,
    cache: &'static str,
}

impl Assets {
    /// Reads the embedded files.
    pub(super) fn load() -> Self {
        let files = WebClient::iter().filter_map(|path| {
            if path.ends_with(BROTLI) {
                return None;
            }
            let file = WebClient::get(&path)?;
            let brotli = WebClient::get(&format!("{path}{BROTLI}"));
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
                    brotli.map(|file| file.data.into_owned().into()),
                    file.metadata.mimetype(),
                    hash,
                    cache,
                ),
            ))
        });
        Self(files.collect())
    }

    /// The page, which finds its content by the address.
    pub(super) fn page(&self, request: &HeaderMap) -> Response {
        match self.0.get(PAGE) {
            Some(asset) => asset.respond(request),
            None => {
                let html = HeaderValue::from_static("text/html; charset=utf-8");
                (StatusCode::OK, [(header::CONTENT_TYPE, html)], NOT_BUILT).into_response()
            }
        }
    }

    /// A file by its path, or 404: for a person a page that leads on, for a program a few words.
    pub(super) fn file(&self, path: &str, request: &HeaderMap) -> Response {
        let reads_pages = request
            .get(header::ACCEPT)
            .and_then(|accept| accept.to_str().ok())
            .is_some_and(|accept| accept.contains("text/html"));
        match self.0.get(path.trim_start_matches('/')) {
            Some(asset) => asset.respond(request),
            None if reads_pages => {
                // The condition of the request is ignored: a page that was here all along would be answered without a
                // body.
                let mut anew = request.clone();
                anew.remove(header::IF_NONE_MATCH);
                let mut page = self.page(&anew);
                *page.status_mut() = StatusCode::NOT_FOUND;
                page
            }
            None => (StatusCode::NOT_FOUND, "404 page not found").into_response(),
        }
    }
}

impl Asset {
    fn new(
        plain: Bytes,
        brotli: Option<Bytes>,
        mime: &str,
        hash: [u8; 32],
        cache: &'static str,
    ) -> Self {
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
            brotli,
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
            return (StatusCode::NOT_MODIFIED, common).into_response();
        }
        let (body, encoding) = match (&self.brotli, &self.gzip) {
            (Some(brotli), _) if named(header::ACCEPT_ENCODING, "br") => (brotli, Some("br")),
            (_, Some(gzip)) if named(header::ACCEPT_ENCODING, "gzip") => (gzip, Some("gzip")),
            _ => (&self.plain, None),
        };
        let mime = [(header::CONTENT_TYPE, self.mime.as_str())];
        let mut response = (common, mime, body.clone()).into_response();
        if let Some(encoding) = encoding {
            response
                .headers_mut()
                .insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn asset() -> Asset {
        Asset::new(
            vec![b'a'; 4096].into(),
            Some(vec![b'b'; 4].into()),
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
        let encoding = |asset: Asset, accepted: &str| {
            let response = asset.respond(&request(header::ACCEPT_ENCODING, accepted));
            response.headers()[header::CONTENT_ENCODING].clone()
        };
        assert_eq!(encoding(asset(), "gzip, deflate, br, zstd"), "br");
        assert_eq!(encoding(asset(), "gzip, deflate"), "gzip");
        let mut without = asset();
        without.brotli = None;
        assert_eq!(encoding(without, "gzip, br"), "gzip");
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
        assert_eq!(
            Assets(HashMap::new())
                .file("/x.js", &HeaderMap::new())
                .status(),
            StatusCode::NOT_FOUND
        );
    }

    #[test]
    fn an_address_that_is_none_leads_a_person_on() {
        let assets = Assets(HashMap::from([(PAGE.to_owned(), asset())]));
        let browser = request(header::ACCEPT, "text/html,application/xhtml+xml");
        let response = assets.file("/nope", &browser);
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert!(response.headers().contains_key(header::ETAG));
        let program = assets.file("/nope", &HeaderMap::new());
        assert_eq!(program.status(), StatusCode::NOT_FOUND);
        assert!(!program.headers().contains_key(header::ETAG));
    }

    #[test]
    fn a_page_connects_to_the_server_it_came_from_and_to_no_other() {
        let policy = |host: &str| {
            let mut response = StatusCode::NOT_FOUND.into_response();
            let host = HeaderValue::from_str(host).unwrap();
            secure(&mut response, Some(&host));
            let policy = &response.headers()[header::CONTENT_SECURITY_POLICY];
            let policy = policy.to_str().unwrap().to_owned();
            let rule = policy
                .split("; ")
                .find(|rule| rule.starts_with("connect-src"));
            rule.unwrap().to_owned()
        };
        assert_eq!(
            policy("meet.example.org:7880"),
            "connect-src 'self' ws://meet.example.org:7880 wss://meet.example.org:7880"
        );
        for odd in ["", "a b", "a;script-src", "*", "a, b", "'none'"] {
            assert_eq!(policy(odd), "connect-src 'self'", "{odd}");
        }
    }
}
