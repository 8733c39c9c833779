//! The parser from SDP text to values.

use super::description::{
    Candidate, Codec, Direction, ExtMap, Feedback, Fingerprint, HashAlgorithm, MAX_SDP_BYTES,
    MAX_SECTIONS, MediaDescription, MediaType, Msid, Rid, SdpError, SdpProblem, SessionDescription,
    Setup, SimulcastStream, Ssrc, TransportAttributes,
};

/// The longest line that is read, bytes. The longest real attributes but `a=group` are candidates and H.264 parameters,
/// both below 1 KB.
const MAX_LINE_BYTES: usize = 4096;
/// The most lines of one kind for each format: there are 128 payload types, each with a handful of feedback lines.
const MAX_PER_FORMAT: usize = 16;
const MAX_FORMATS: usize = 128;
const MAX_EXTENSIONS: usize = 64;
const MAX_SSRCS: usize = 64;
const MAX_RIDS: usize = 16;
const MAX_CANDIDATES: usize = 128;
const MAX_FINGERPRINTS: usize = 8;
const MAX_MID_BYTES: usize = 64;
/// The longest rid, bytes: it must fit into a one-byte header extension (RFC 8852).
const MAX_RID_BYTES: usize = 16;

type Parsed<T> = Result<T, SdpProblem>;

impl SessionDescription {
    /// Parses a description.
    ///
    /// # Errors
    /// [`SdpError`], with the line, when an essential line is malformed, or the text exceeds a limit. Unknown and
    /// unreadable lines and attributes are skipped: see the module's documentation.
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        if text.len() > MAX_SDP_BYTES {
            return Err(SdpError {
                line: 0,
                problem: SdpProblem::TooLong,
            });
        }
        let mut parser = Parser::default();
        for (index, line) in text.lines().enumerate() {
            parser.line(index, line).map_err(|problem| SdpError {
                line: index + 1,
                problem,
            })?;
        }
        if parser.lines == 0 {
            return Err(SdpError {
                line: 0,
                problem: SdpProblem::NotSdp,
            });
        }
        let mut session = parser.finish();
        session.text_bytes = text.len();
        Ok(session)
    }
}

const MALFORMED_CANDIDATE: SdpProblem = SdpProblem::Malformed("candidate");

/// Attributes that say over which transport we talk to whom, and which section is which. One that cannot be read is not
/// guessed.
const ESSENTIAL: [&str; 5] = ["mid", "ice-ufrag", "ice-pwd", "fingerprint", "setup"];

#[derive(Default)]
struct Parser<'a> {
    session: SessionDescription,
    lines: usize,
    bundle_seen: bool,
    /// Attributes that name payload types, kept until the section ends: they may precede their `rtpmap`.
    pending: Pending<'a>,
}

#[derive(Default)]
struct Pending<'a> {
    fmtp: Vec<(u8, &'a str)>,
    feedback: Vec<(Option<u8>, &'a str)>,
    /// The track's msid according to `a=ssrc` lines, used where there is no `a=msid`.
    msid: Option<Msid>,
}

impl<'a> Parser<'a> {
    fn line(&mut self, index: usize, line: &'a str) -> Parsed<()> {
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(());
        }
        if index == 0 && line != "v=0" {
            return Err(SdpProblem::NotSdp);
        }
        self.lines += 1;
        let (kind, value) = line.split_once('=').ok_or(SdpProblem::NotSdp)?;
        if kind != "a" && (line.len() > MAX_LINE_BYTES || has_controls(line)) {
            return match line.len() > MAX_LINE_BYTES {
                true => Err(SdpProblem::LineTooLong),
                false => Err(SdpProblem::NotSdp),
            };
        }
        match kind {
            "m" => {
                self.end_section();
                if self.session.media.len() == MAX_SECTIONS {
                    return Err(SdpProblem::TooManySections);
                }
                self.session.media.push(media_line(value)?);
                Ok(())
            }
            "o" => self.origin(value),
            "a" => {
                let (name, value) = match value.split_once(':') {
                    Some((name, value)) => (name, Some(value)),
                    None => (value, None),
                };
                let text = value.unwrap_or_default();
                let is_plain = !has_controls(text)
                    && (text.len() <= MAX_LINE_BYTES || (name == "group" && text.is_ascii()));
                match is_plain {
                    true => self.attribute(name, value).or_else(|problem| {
                        // Other attributes cost themselves and no more.
                        match ESSENTIAL.contains(&name) {
                            true => Err(problem),
                            false => Ok(()),
                        }
                    }),
                    false if ESSENTIAL.contains(&name) => Err(SdpProblem::NotSdp),
                    false => Ok(()),
                }
            }
            _ if kind.len() == 1 => Ok(()),
            _ => Err(SdpProblem::NotSdp),
        }
    }

    /// Reads `o=`. Only the numbers are kept; some clients write a session id beyond 63 bits.
    fn origin(&mut self, value: &str) -> Parsed<()> {
        let mut words = value.split_ascii_whitespace().skip(1);
        let mut number = || -> Parsed<u64> {
            let word = words.next().ok_or(SdpProblem::Malformed("o="))?;
            if word.is_empty() || !word.bytes().all(|b| b.is_ascii_digit()) {
                return Err(SdpProblem::Malformed("o="));
            }
            Ok(word.parse().unwrap_or(u64::MAX))
        };
        self.session.session_id = number()?;
        self.session.session_version = number()?;
        Ok(())
    }

    /// Reads an attribute: as a whole, or not at all.
    fn attribute(&mut self, name: &str, value: Option<&'a str>) -> Parsed<()> {
        let Some(section) = self.session.media.last_mut() else {
            return self.session_attribute(name, value);
        };
        if transport_attribute(&mut section.transport, name, value)? {
            return Ok(());
        }
        if let Some(direction) = value.is_none().then(|| Direction::from_str(name)).flatten() {
            section.direction = direction;
            return Ok(());
        }
        match (name, value) {
            ("mid", Some(value)) => {
                let mid = token(value, MAX_MID_BYTES).ok_or(SdpProblem::Malformed("mid"))?;
                if section.mid.replace(mid.to_owned()).is_some() {
                    return Err(SdpProblem::Repeated("mid"));
                }
            }
            ("bundle-only", None) => section.bundle_only = true,
            ("rtcp-mux", None) => section.rtcp_mux = true,
            ("rtcp-rsize", None) => section.rtcp_rsize = true,
            ("extmap-allow-mixed", None) => section.extmap_allow_mixed = true,
            ("end-of-candidates", None) => section.end_of_candidates = true,
            ("candidate", Some(value)) => push(
                &mut section.candidates,
                candidate(value)?,
                MAX_CANDIDATES,
                "candidate",
            )?,
            ("rtpmap", Some(value)) => rtpmap(section, value)?,
            ("fmtp", Some(value)) => self.pending.fmtp(value)?,
            ("rtcp-fb", Some(value)) => self.pending.feedback(value)?,
            ("extmap", Some(value)) => push(
                &mut section.extensions,
                extmap(value)?,
                MAX_EXTENSIONS,
                "extmap",
            )?,
            ("msid", Some(value)) => {
                let named = msid(value)?;
                section.msid.get_or_insert(named);
            }
            ("ssrc", Some(value)) => {
                if let Some(named) = ssrc(section, value)? {
                    self.pending.msid.get_or_insert(named);
                }
            }
            ("ssrc-group", Some(value)) => ssrc_group(section, value)?,
            ("rid", Some(value)) => rid(section, value)?,
            ("simulcast", Some(value)) => simulcast(section, value)?,
            ("sctp-port", Some(value)) => {
                let port = value.trim().parse().ok().filter(|port| *port != 0);
                section.sctp_port = Some(port.ok_or(SdpProblem::Malformed("sctp-port"))?);
            }
            ("max-message-size", Some(value)) => {
                let size = value
                    .trim()
                    .parse()
                    .map_err(|_| SdpProblem::Malformed("max-message-size"))?;
                section.max_message_size = Some(size);
            }
            _ => {}
        }
        Ok(())
    }

    fn session_attribute(&mut self, name: &str, value: Option<&str>) -> Parsed<()> {
        let session = &mut self.session;
        if transport_attribute(&mut session.transport, name, value)? {
            return Ok(());
        }
        match (name, value) {
            ("ice-lite", None) => session.ice_lite = true,
            ("extmap-allow-mixed", None) => session.extmap_allow_mixed = true,
            ("group", Some(value)) => {
                let mut words = value.split_ascii_whitespace();
                // A second group would be a second transport: its sections count as not bundled.
                if words.next() == Some("BUNDLE") && !std::mem::replace(&mut self.bundle_seen, true)
                {
                    let mids = words.filter_map(|word| token(word, MAX_MID_BYTES));
                    session.bundle = mids.take(MAX_SECTIONS).map(str::to_owned).collect();
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn end_section(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        let Some(section) = self.session.media.last_mut() else {
            return;
        };
        section.msid = section.msid.take().or(pending.msid);
        let mut fmtp = [""; MAX_FORMATS];
        for (payload_type, parameters) in pending.fmtp {
            if let Some(slot) = fmtp.get_mut(usize::from(payload_type)) {
                *slot = parameters;
            }
        }
        let mut feedback = [Feedback::default(); MAX_FORMATS];
        let mut of_all = Feedback::default();
        for (payload_type, name) in pending.feedback {
            match payload_type.and_then(|pt| feedback.get_mut(usize::from(pt))) {
                Some(feedback) => feedback.add(name),
                None => of_all.add(name),
            }
        }
        for codec in &mut section.codecs {
            let number = usize::from(codec.payload_type);
            codec.fmtp = fmtp.get(number).copied().unwrap_or_default().to_owned();
            codec.feedback = feedback.get(number).map_or(of_all, |own| own.and(of_all));
        }
        // Preference is the order of the m= line, not that of the rtpmap lines.
        let mut rank = [usize::MAX; MAX_FORMATS];
        for (position, format) in section.formats.iter().enumerate().rev() {
            if let Some(rank) = payload_type_of(format).and_then(|pt| rank.get_mut(usize::from(pt)))
            {
                *rank = position;
            }
        }
        let rank = |codec: &Codec| {
            rank.get(usize::from(codec.payload_type))
                .copied()
                .unwrap_or(usize::MAX)
        };
        section.codecs.retain(|codec| rank(codec) != usize::MAX);
        section.codecs.sort_by_key(rank);
    }

    fn finish(mut self) -> SessionDescription {
        self.end_section();
        let mut session = self.session;
        let everywhere = !session.media.is_empty()
            && session
                .media
                .iter()
                .all(|m| m.extmap_allow_mixed || m.kind == MediaType::Application);
        session.extmap_allow_mixed |= everywhere;
        session
    }
}

impl<'a> Pending<'a> {
    fn fmtp(&mut self, value: &'a str) -> Parsed<()> {
        let (payload_type, parameters) =
            value.split_once(' ').ok_or(SdpProblem::Malformed("fmtp"))?;
        let payload_type = payload_type_of(payload_type).ok_or(SdpProblem::Malformed("fmtp"))?;
        push(
            &mut self.fmtp,
            (payload_type, parameters.trim()),
            MAX_FORMATS,
            "fmtp",
        )
    }

    fn feedback(&mut self, value: &'a str) -> Parsed<()> {
        let (payload_type, feedback) = value
            .split_once(' ')
            .ok_or(SdpProblem::Malformed("rtcp-fb"))?;
        let payload_type = match payload_type {
            "*" => None,
            number => Some(payload_type_of(number).ok_or(SdpProblem::Malformed("rtcp-fb"))?),
        };
        push(
            &mut self.feedback,
            (payload_type, feedback.trim()),
            MAX_FORMATS * MAX_PER_FORMAT,
            "rtcp-fb",
        )
    }
}

fn media_line(value: &str) -> Parsed<MediaDescription> {
    const MALFORMED: SdpProblem = SdpProblem::Malformed("m=");
    let mut words = value.split_ascii_whitespace();
    let kind = match token(words.next().ok_or(MALFORMED)?, 32).ok_or(MALFORMED)? {
        "audio" => MediaType::Audio,
        "video" => MediaType::Video,
        "application" => MediaType::Application,
        other => MediaType::Other(other.to_owned()),
    };
    let port = words
        .next()
        .and_then(|port| port.parse().ok())
        .ok_or(MALFORMED)?;
    let proto = words
        .next()
        .filter(|proto| proto.len() <= 64 && proto.split('/').all(is_token))
        .ok_or(MALFORMED)?;
    let mut section = MediaDescription::new(kind, port, proto);
    for format in words.take(MAX_FORMATS) {
        let format = token(format, 64).ok_or(MALFORMED)?;
        section.formats.push(format.to_owned());
    }
    if section.formats.is_empty() {
        return Err(MALFORMED);
    }
    Ok(section)
}

/// Reads an attribute of ICE or DTLS. Returns whether it was one.
fn transport_attribute(
    transport: &mut TransportAttributes,
    name: &str,
    value: Option<&str>,
) -> Parsed<bool> {
    match (name, value) {
        ("ice-ufrag", Some(value)) => {
            transport.ice_ufrag =
                Some(ice_chars(value, 4).ok_or(SdpProblem::Malformed("ice-ufrag"))?);
        }
        ("ice-pwd", Some(value)) => {
            transport.ice_pwd = Some(ice_chars(value, 22).ok_or(SdpProblem::Malformed("ice-pwd"))?);
        }
        ("ice-options", Some(value)) => {
            for option in value.split_ascii_whitespace() {
                push(
                    &mut transport.ice_options,
                    option.to_owned(),
                    MAX_PER_FORMAT,
                    "ice-options",
                )?;
            }
        }
        ("fingerprint", Some(value)) => {
            if let Some(fingerprint) = fingerprint(value)? {
                push(
                    &mut transport.fingerprints,
                    fingerprint,
                    MAX_FINGERPRINTS,
                    "fingerprint",
                )?;
            }
        }
        ("setup", Some(value)) => {
            transport.setup = Some(match value.trim() {
                "active" => Setup::Active,
                "passive" => Setup::Passive,
                "actpass" => Setup::ActPass,
                "holdconn" => Setup::HoldConn,
                _ => return Err(SdpProblem::Malformed("setup")),
            });
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// A ufrag (`min` 4) or password (`min` 22) of up to 256 ice-chars (RFC 8839, section 5.4). Some clients write `=`, `-`
/// and `_` too.
fn ice_chars(value: &str, min: usize) -> Option<String> {
    let value = value.trim();
    let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'-' | b'_');
    ((min..=256).contains(&value.len()) && value.bytes().all(valid)).then(|| value.to_owned())
}

/// A fingerprint; `None` for a hash that we do not know: RFC 8122 allows several, and one that we know suffices.
fn fingerprint(value: &str) -> Parsed<Option<Fingerprint>> {
    const MALFORMED: SdpProblem = SdpProblem::Malformed("fingerprint");
    let (algorithm, digest) = value.trim().split_once(' ').ok_or(MALFORMED)?;
    let algorithm = match algorithm.to_ascii_lowercase().as_str() {
        "sha-256" => HashAlgorithm::Sha256,
        "sha-384" => HashAlgorithm::Sha384,
        "sha-512" => HashAlgorithm::Sha512,
        _ => return Ok(None),
    };
    let byte = |text: &str| match text.as_bytes() {
        [high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
            u8::from_str_radix(text, 16).ok()
        }
        _ => None,
    };
    let digest: Option<Vec<u8>> = digest.trim().split(':').map(byte).collect();
    match digest {
        Some(digest) if digest.len() == algorithm.digest_len() => {
            Ok(Some(Fingerprint { algorithm, digest }))
        }
        _ => Err(MALFORMED),
    }
}

fn candidate(value: &str) -> Parsed<Candidate> {
    let mut words = value.split_ascii_whitespace();
    let mut word = || words.next().ok_or(MALFORMED_CANDIDATE);
    let mut candidate = Candidate {
        foundation: word()?.to_owned(),
        component: word()?.parse().map_err(|_| MALFORMED_CANDIDATE)?,
        transport: word()?.to_ascii_lowercase(),
        priority: word()?.parse().map_err(|_| MALFORMED_CANDIDATE)?,
        address: word()?.to_owned(),
        port: word()?.parse().map_err(|_| MALFORMED_CANDIDATE)?,
        kind: match (word()?, word()?) {
            ("typ", kind) => kind.to_owned(),
            _ => return Err(MALFORMED_CANDIDATE),
        },
        tcp_type: None,
    };
    // Pairs of a name and a value follow.
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        if name == "tcptype" {
            candidate.tcp_type = Some(value.to_ascii_lowercase());
        }
    }
    Ok(candidate)
}

fn rtpmap(section: &mut MediaDescription, value: &str) -> Parsed<()> {
    const MALFORMED: SdpProblem = SdpProblem::Malformed("rtpmap");
    let (payload_type, encoding) = value.split_once(' ').ok_or(MALFORMED)?;
    let payload_type = payload_type_of(payload_type).ok_or(MALFORMED)?;
    let mut parts = encoding.trim().splitn(3, '/');
    let name = token(parts.next().unwrap_or_default(), 64).ok_or(MALFORMED)?;
    let clock_rate = parts
        .next()
        .and_then(|rate| rate.parse().ok())
        .filter(|rate| *rate != 0)
        .ok_or(MALFORMED)?;
    let channels = match parts.next() {
        Some(channels) => channels.parse().map_err(|_| MALFORMED)?,
        None => 1,
    };
    if section
        .codecs
        .iter()
        .any(|codec| codec.payload_type == payload_type)
    {
        return Err(SdpProblem::Repeated("rtpmap"));
    }
    let codec = Codec {
        payload_type,
        name: name.to_owned(),
        clock_rate,
        channels,
        fmtp: String::new(),
        feedback: Feedback::default(),
    };
    push(&mut section.codecs, codec, MAX_FORMATS, "rtpmap")
}

fn extmap(value: &str) -> Parsed<ExtMap> {
    const MALFORMED: SdpProblem = SdpProblem::Malformed("extmap");
    let mut words = value.split_ascii_whitespace();
    let id = words.next().ok_or(MALFORMED)?;
    let (id, direction) = match id.split_once('/') {
        Some((id, direction)) => (id, Some(Direction::from_str(direction).ok_or(MALFORMED)?)),
        None => (id, None),
    };
    let id = id.parse().map_err(|_| MALFORMED)?;
    let uri = words.next().ok_or(MALFORMED)?.to_owned();
    Ok(ExtMap { id, direction, uri })
}

/// Reads `a=msid`. A section with several streams lists its track once per stream: the first line counts.
fn msid(value: &str) -> Parsed<Msid> {
    let mut words = value.split_ascii_whitespace();
    let stream = words.next().ok_or(SdpProblem::Malformed("msid"))?;
    Ok(Msid {
        stream: stream.to_owned(),
        track: words.next().map(str::to_owned),
    })
}

/// Reads `a=ssrc`. Returns the track's msid where the line has one: before RFC 8830 it was written there.
fn ssrc(section: &mut MediaDescription, value: &str) -> Parsed<Option<Msid>> {
    const MALFORMED: SdpProblem = SdpProblem::Malformed("ssrc");
    let (ssrc, attribute) = value.split_once(' ').unwrap_or((value, ""));
    let ssrc = ssrc.trim().parse().map_err(|_| MALFORMED)?;
    let attribute = attribute.trim();
    let cname = attribute.strip_prefix("cname:").map(str::to_owned);
    match section.ssrcs.iter_mut().find(|known| known.ssrc == ssrc) {
        Some(known) => known.cname = known.cname.take().or(cname),
        None => push(&mut section.ssrcs, Ssrc { ssrc, cname }, MAX_SSRCS, "ssrc")?,
    }
    Ok(attribute
        .strip_prefix("msid:")
        .and_then(|value| msid(value).ok()))
}

fn ssrc_group(section: &mut MediaDescription, value: &str) -> Parsed<()> {
    let mut words = value.split_ascii_whitespace();
    if words.next() != Some("FID") {
        return Ok(());
    }
    let mut number = || {
        words
            .next()
            .and_then(|word| word.parse().ok())
            .ok_or(SdpProblem::Malformed("ssrc-group"))
    };
    let pair = (number()?, number()?);
    if pair.0 == pair.1 {
        return Err(SdpProblem::Malformed("ssrc-group"));
    }
    push(&mut section.fid_groups, pair, MAX_SSRCS, "ssrc-group")
}

fn rid(section: &mut MediaDescription, value: &str) -> Parsed<()> {
    const MALFORMED: SdpProblem = SdpProblem::Malformed("rid");
    let mut words = value.split_ascii_whitespace();
    let id = words.next().filter(|id| is_rid(id)).ok_or(MALFORMED)?;
    let send = match words.next() {
        Some("send") => true,
        Some("recv") => false,
        _ => return Err(MALFORMED),
    };
    if section.rids.iter().any(|known| known.id == id) {
        return Err(SdpProblem::Repeated("rid"));
    }
    push(
        &mut section.rids,
        Rid {
            id: id.to_owned(),
            send,
        },
        MAX_RIDS,
        "rid",
    )
}

/// Reads `a=simulcast` of RFC 8853 and of the drafts before it (`send rid=q;h;f`). Payload types in the latter (`recv
/// pt=96`) name no stream.
fn simulcast(section: &mut MediaDescription, value: &str) -> Parsed<()> {
    const MALFORMED: SdpProblem = SdpProblem::Malformed("simulcast");
    let mut simulcast = section.simulcast.clone();
    let mut words = value.split_ascii_whitespace();
    while let Some(direction) = words.next() {
        let list = words.next().ok_or(MALFORMED)?;
        let streams = match list.split_once('=') {
            Some(("rid", list)) => rid_list(list)?,
            Some(("pt", _)) => continue,
            Some(_) => return Err(MALFORMED),
            None => rid_list(list)?,
        };
        match direction {
            "send" => simulcast.send = streams,
            "recv" => simulcast.receive = streams,
            _ => return Err(MALFORMED),
        }
    }
    section.simulcast = simulcast;
    Ok(())
}

fn rid_list(list: &str) -> Parsed<Vec<SimulcastStream>> {
    const MALFORMED: SdpProblem = SdpProblem::Malformed("simulcast");
    let stream = |alternatives: &str| {
        let first = alternatives.split(',').next().unwrap_or_default();
        let (rid, paused) = first
            .strip_prefix('~')
            .map_or((first, false), |rid| (rid, true));
        is_rid(rid).then(|| SimulcastStream {
            rid: rid.to_owned(),
            paused,
        })
    };
    let streams = list.split(';').take(MAX_RIDS + 1).map(stream);
    let streams: Vec<_> = streams.collect::<Option<_>>().ok_or(MALFORMED)?;
    let repeated = |(i, stream): (usize, &SimulcastStream)| {
        let before = streams.iter().take(i);
        before.into_iter().any(|other| other.rid == stream.rid)
    };
    if streams.iter().enumerate().any(repeated) || streams.len() > MAX_RIDS {
        return Err(MALFORMED);
    }
    Ok(streams)
}

fn push<T>(list: &mut Vec<T>, item: T, max: usize, what: &'static str) -> Parsed<()> {
    if list.len() >= max {
        return Err(SdpProblem::TooMany(what));
    }
    list.push(item);
    Ok(())
}

fn has_controls(text: &str) -> bool {
    text.bytes().any(|byte| byte < 0x20 && byte != b'\t')
}

fn payload_type_of(text: &str) -> Option<u8> {
    text.parse().ok().filter(|payload_type| *payload_type < 128)
}

fn is_rid(text: &str) -> bool {
    (1..=MAX_RID_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn token(text: &str, max: usize) -> Option<&str> {
    let text = text.trim();
    (text.len() <= max && is_token(text)).then_some(text)
}

/// Whether the text is a token (RFC 8866, section 9: token-char).
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| {
            b.is_ascii_graphic()
                && !matches!(
                    b,
                    b'"' | b'(' | b')' | b',' | b'/' | b':'..=b'@' | b'[' | b'\\' | b']'
                )
        })
}
