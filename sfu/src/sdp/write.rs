//! The writer from values to SDP text, always in the same order.

use std::fmt::{Display, Formatter, Result};

use super::description::{
    Candidate, Codec, MediaDescription, MediaType, SessionDescription, SimulcastStream,
    TransportAttributes,
};

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
                write!(f, " {mid}")?;
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
            write!(f, " {format}")?;
        }
        f.write_str("\r\nc=IN IP4 0.0.0.0\r\n")?;
        if let Some(mid) = &self.mid {
            write!(f, "a=mid:{mid}\r\n")?;
        }
        flag(f, self.bundle_only, "bundle-only")?;
        transport(f, &self.transport)?;
        for candidate in &self.candidates {
            write!(f, "a={candidate}\r\n")?;
        }
        flag(f, self.end_of_candidates, "end-of-candidates")?;
        if self.kind != MediaType::Application {
            write!(f, "a={}\r\n", self.direction.as_str())?;
        }
        flag(f, self.rtcp_mux, "rtcp-mux")?;
        flag(f, self.rtcp_rsize, "rtcp-rsize")?;
        flag(f, self.extmap_allow_mixed, "extmap-allow-mixed")?;
        for extension in &self.extensions {
            write!(f, "a=extmap:{}", extension.id)?;
            if let Some(direction) = extension.direction {
                write!(f, "/{}", direction.as_str())?;
            }
            write!(f, " {}\r\n", extension.uri)?;
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
            write!(f, "a=msid:{}", msid.stream)?;
            if let Some(track) = &msid.track {
                write!(f, " {track}")?;
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
            write!(f, "a=ssrc:{}", ssrc.ssrc)?;
            if let Some(cname) = &ssrc.cname {
                write!(f, " cname:{cname}")?;
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

fn flag(f: &mut Formatter<'_>, set: bool, name: &str) -> Result {
    if set {
        write!(f, "a={name}\r\n")
    } else {
        Ok(())
    }
}

fn transport(f: &mut Formatter<'_>, transport: &TransportAttributes) -> Result {
    if let Some(ufrag) = &transport.ice_ufrag {
        write!(f, "a=ice-ufrag:{ufrag}\r\n")?;
    }
    if let Some(pwd) = &transport.ice_pwd {
        write!(f, "a=ice-pwd:{pwd}\r\n")?;
    }
    if !transport.ice_options.is_empty() {
        write!(f, "a=ice-options:{}\r\n", transport.ice_options.join(" "))?;
    }
    for fingerprint in &transport.fingerprints {
        write!(f, "a=fingerprint:{} ", fingerprint.algorithm.as_str())?;
        for (i, byte) in fingerprint.digest.iter().enumerate() {
            write!(f, "{}{byte:02X}", if i == 0 { "" } else { ":" })?;
        }
        f.write_str("\r\n")?;
    }
    match transport.setup {
        Some(setup) => write!(f, "a=setup:{}\r\n", setup.as_str()),
        None => Ok(()),
    }
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
    write!(f, "a=rtpmap:{payload_type} {name}/{clock_rate}")?;
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
            write!(f, "a=rtcp-fb:{payload_type} {name}\r\n")?;
        }
    }
    if fmtp.is_empty() {
        Ok(())
    } else {
        write!(f, "a=fmtp:{payload_type} {fmtp}\r\n")
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
