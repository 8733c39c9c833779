//! The writer from values to SDP text, always in the same order.

use std::fmt::{Display, Formatter, Result, Write as _};

use super::description::{
    Candidate, Codec, MediaDescription, MediaType, SessionDescription, SimulcastStream,
    TransportAttributes,
};

impl SessionDescription {
    /// The description as text, of which about so many bytes are expected.
    pub(crate) fn to_text(&self, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes);
        // Writing into a string does not fail.
        let _ = write!(text, "{self}");
        text
    }
}

impl Display for SessionDescription {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str("v=0\r\n")?;
        write!(
            f,
            "o=- {} {} IN IP4 127.0.0.1\r\n",
            self.session_id, self.session_version
        )?;
        f.write_str("s=-\r\nt=0 0\r\n")?;
        if !self.bundle.is_empty() {
            f.write_str("a=group:BUNDLE")?;
            for mid in &self.bundle {
                texts(f, &[" ", mid])?;
            }
            f.write_str("\r\n")?;
        }
        flag(f, self.ice_lite, "ice-lite")?;
        flag(f, self.extmap_allow_mixed, "extmap-allow-mixed")?;
        f.write_str("a=msid-semantic: WMS *\r\n")?;
        transport(f, &self.transport)?;
        self.media.iter().try_for_each(|section| section.fmt(f))
    }
}

impl Display for MediaDescription {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let kind = match &self.kind {
            MediaType::Audio => "audio",
            MediaType::Video => "video",
            MediaType::Application => "application",
            MediaType::Other(other) => other,
        };
        write!(f, "m={kind} {} {}", self.port, self.proto)?;
        for format in &self.formats {
            texts(f, &[" ", format])?;
        }
        f.write_str("\r\nc=IN IP4 0.0.0.0\r\n")?;
        if let Some(mid) = &self.mid {
            texts(f, &["a=mid:", mid, "\r\n"])?;
        }
        flag(f, self.bundle_only, "bundle-only")?;
        transport(f, &self.transport)?;
        for candidate in &self.candidates {
            write!(f, "a={candidate}\r\n")?;
        }
        flag(f, self.end_of_candidates, "end-of-candidates")?;
        if self.kind != MediaType::Application {
            texts(f, &["a=", self.direction.as_str(), "\r\n"])?;
        }
        flag(f, self.rtcp_mux, "rtcp-mux")?;
        flag(f, self.rtcp_rsize, "rtcp-rsize")?;
        flag(f, self.extmap_allow_mixed, "extmap-allow-mixed")?;
        for extension in &self.extensions {
            texts(f, &["a=extmap:", &extension.id.to_string()])?;
            if let Some(direction) = extension.direction {
                texts(f, &["/", direction.as_str()])?;
            }
            texts(f, &[" ", &extension.uri, "\r\n"])?;
        }
        self.codecs.iter().try_for_each(|c| codec(f, c))?;
        self.streams(f)?;
        if let Some(port) = self.sctp_port {
            write!(f, "a=sctp-port:{port}\r\n")?;
        }
        if let Some(size) = self.max_message_size {
            write!(f, "a=max-message-size:{size}\r\n")?;
        }
        Ok(())
    }
}

impl MediaDescription {
    fn streams(&self, f: &mut Formatter<'_>) -> Result {
        if let Some(msid) = &self.msid {
            texts(f, &["a=msid:", &msid.stream])?;
            if let Some(track) = &msid.track {
                texts(f, &[" ", track])?;
            }
            f.write_str("\r\n")?;
        }
        for rid in &self.rids {
            write!(
                f,
                "a=rid:{} {}\r\n",
                rid.id,
                if rid.send { "send" } else { "recv" }
            )?;
        }
        let simulcast = &self.simulcast;
        if !simulcast.send.is_empty() || !simulcast.receive.is_empty() {
            f.write_str("a=simulcast:")?;
            streams(f, "send", &simulcast.send)?;
            if !simulcast.send.is_empty() && !simulcast.receive.is_empty() {
                f.write_str(" ")?;
            }
            streams(f, "recv", &simulcast.receive)?;
            f.write_str("\r\n")?;
        }
        for (primary, rtx) in &self.fid_groups {
            write!(f, "a=ssrc-group:FID {primary} {rtx}\r\n")?;
        }
        for ssrc in &self.ssrcs {
            texts(f, &["a=ssrc:", &ssrc.ssrc.to_string()])?;
            if let Some(cname) = &ssrc.cname {
                texts(f, &[" cname:", cname])?;
            }
            f.write_str("\r\n")?;
        }
        Ok(())
    }
}

impl Display for Candidate {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self {
            foundation,
            component,
            transport,
            priority,
            address,
            port,
            kind,
            tcp_type,
        } = self;
        write!(
            f,
            "candidate:{foundation} {component} {transport} {priority} {address} {port} typ {kind}"
        )?;
        match tcp_type {
            Some(tcp_type) => write!(f, " tcptype {tcp_type}"),
            None => Ok(()),
        }
    }
}

/// Writes texts one after the other. A description in a large meeting has thousands of lines: `write!` takes several
/// times as long for each.
fn texts(f: &mut Formatter<'_>, texts: &[&str]) -> Result {
    texts.iter().try_for_each(|text| f.write_str(text))
}

fn flag(f: &mut Formatter<'_>, set: bool, name: &str) -> Result {
    if set {
        texts(f, &["a=", name, "\r\n"])
    } else {
        Ok(())
    }
}

fn transport(f: &mut Formatter<'_>, transport: &TransportAttributes) -> Result {
    if let Some(ufrag) = &transport.ice_ufrag {
        texts(f, &["a=ice-ufrag:", ufrag, "\r\n"])?;
    }
    if let Some(pwd) = &transport.ice_pwd {
        texts(f, &["a=ice-pwd:", pwd, "\r\n"])?;
    }
    if !transport.ice_options.is_empty() {
        let options = transport.ice_options.join(" ");
        texts(f, &["a=ice-options:", &options, "\r\n"])?;
    }
    for fingerprint in &transport.fingerprints {
        let algorithm = fingerprint.algorithm.as_str();
        let digest = in_hex(&fingerprint.digest);
        texts(f, &["a=fingerprint:", algorithm, " ", &digest, "\r\n"])?;
    }
    match transport.setup {
        Some(setup) => texts(f, &["a=setup:", setup.as_str(), "\r\n"]),
        None => Ok(()),
    }
}

/// Bytes in capital hexadecimal digits, with colons in between.
fn in_hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(value.into(), 16).map(|d| d.to_ascii_uppercase());
    let mut text = String::with_capacity(3 * bytes.len());
    for byte in bytes {
        if !text.is_empty() {
            text.push(':');
        }
        text.extend([digit(byte >> 4), digit(byte & 0xf)].into_iter().flatten());
    }
    text
}

fn codec(f: &mut Formatter<'_>, codec: &Codec) -> Result {
    let Codec {
        payload_type,
        name,
        clock_rate,
        channels,
        fmtp,
        feedback,
    } = codec;
    let (format, clock_rate) = (payload_type.to_string(), clock_rate.to_string());
    texts(f, &["a=rtpmap:", &format, " ", name, "/", &clock_rate])?;
    if *channels > 1 {
        write!(f, "/{channels}")?;
    }
    f.write_str("\r\n")?;
    for (on, name) in [
        (feedback.transport_cc, "transport-cc"),
        (feedback.remb, "goog-remb"),
        (feedback.fir, "ccm fir"),
        (feedback.nack, "nack"),
        (feedback.pli, "nack pli"),
    ] {
        if on {
            texts(f, &["a=rtcp-fb:", &format, " ", name, "\r\n"])?;
        }
    }
    if fmtp.is_empty() {
        Ok(())
    } else {
        texts(f, &["a=fmtp:", &format, " ", fmtp, "\r\n"])
    }
}

fn streams(f: &mut Formatter<'_>, direction: &str, streams: &[SimulcastStream]) -> Result {
    for (i, stream) in streams.iter().enumerate() {
        match i {
            0 => write!(f, "{direction} ")?,
            _ => f.write_str(";")?,
        }
        write!(f, "{}{}", if stream.paused { "~" } else { "" }, stream.rid)?;
    }
    Ok(())
}
