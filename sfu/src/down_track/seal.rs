//! Writing and sealing a packet of a subscription.

use super::{DownTrack, egress::*};
use crate::{
    api::{MidElement, SendBatch},
    bwe::sent::Stream,
    codec::Codec,
    dependency_descriptor,
    history::Packet,
    layers::PictureIds,
    rewrite::Rewritten,
    rtp::{FIXED_HEADER_LEN, SeqNo},
    sent_headers::Seal,
    srtp::MAX_RTP_OVERHEAD,
    stats::DropReason,
};

impl DownTrack {
    /// The transport-wide number of the next packet; `None` where it has none.
    pub(super) fn next_number(&self, egress: &Egress<'_>) -> Option<SeqNo> {
        self.parameters?.transport_cc?;
        match &egress.estimator {
            Some(estimator) => Some(estimator.next_seq()),
            None => self.delivery.is_due(egress.now).then_some(*egress.number),
        }
    }

    /// The packet's Dependency Descriptor with the subscriber's frame number; `None` where the subscriber takes none.
    pub(super) fn dependencies(
        &self,
        packet: &Packet<'_>,
        rewritten: &Rewritten,
    ) -> Option<Dependencies> {
        let id = self
            .parameters
            .and_then(|parameters| parameters.dependencies)
            .filter(|_| !packet.dependencies.is_empty())?;
        let mut dependencies = Dependencies::new(id, packet.dependencies)?;
        if let Some(number) = rewritten
            .picture
            .and_then(|ids: PictureIds| ids.frame_number)
        {
            dependency_descriptor::rewrite(dependencies.descriptor(), number);
        }
        Some(dependencies)
    }

    pub(super) fn seal_content(
        &mut self,
        sent: &Sent<'_>,
        content: &[u8],
        rewritten: &Rewritten,
        egress: &mut Egress<'_>,
        out: &mut impl SendBatch,
    ) -> Result<Gone, DropReason> {
        if rewritten.picture.is_none() || !matches!(self.codec, Codec::Vp8 | Codec::Vp9) {
            return self.seal_from(sent, content, egress, out);
        }
        let codec = self.codec;
        self.seal(sent, content.len(), egress, out, |room| {
            room.copy_from_slice(content);
            rewrite_payload(codec, room, rewritten);
        })
    }

    /// Writes a packet into the send buffer and seals it there. `fill` writes its payload of `len` bytes: the only
    /// copy.
    pub(super) fn seal(
        &mut self,
        sent: &Sent<'_>,
        len: usize,
        egress: &mut Egress<'_>,
        out: &mut impl SendBatch,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<Gone, DropReason> {
        let (buffer, header_len) = self.begin(sent, len, egress, out)?;
        fill(&mut buffer[header_len..header_len + len]);
        let sealed = egress
            .sender
            .seal_rtp(buffer, header_len, len, sent.header.ssrc, sent.index)
            .map_err(|_| DropReason::Malformed)?;
        let seal = Seal::of(&buffer[..sealed]);
        self.finish(Gone { len: sealed, seal }, sent, egress, out)
    }

    /// Like [`Self::seal`], for a payload that goes out as it came: it is read where it lies.
    fn seal_from(
        &mut self,
        sent: &Sent<'_>,
        payload: &[u8],
        egress: &mut Egress<'_>,
        out: &mut impl SendBatch,
    ) -> Result<Gone, DropReason> {
        let (buffer, header_len) = self.begin(sent, payload.len(), egress, out)?;
        let sealed = egress
            .sender
            .seal_rtp_from(buffer, header_len, payload, sent.header.ssrc, sent.index)
            .map_err(|_| DropReason::Malformed)?;
        let seal = Seal::of(&buffer[..sealed]);
        self.finish(Gone { len: sealed, seal }, sent, egress, out)
    }

    /// Takes the packet's number. False when the number is used: nothing is sealed twice.
    fn take_number(&mut self, sent: &Sent<'_>) -> bool {
        if sent.header.ssrc == self.ssrc {
            return self.sealed.take(sent.index);
        }
        let is_next = sent.index == self.rtx_index;
        self.rtx_index += u64::from(is_next);
        is_next
    }

    /// Reserves room for a packet with `len` bytes of payload and writes its header. Returns the room and the length of
    /// the header. From here on the packet's number is used.
    fn begin<'o>(
        &mut self,
        sent: &Sent<'_>,
        len: usize,
        egress: &Egress<'_>,
        out: &'o mut impl SendBatch,
    ) -> Result<(&'o mut [u8], usize), DropReason> {
        let parameters = self.parameters.ok_or(DropReason::UnknownStream)?;
        let mid = parameters.mid.filter(|_| sent.mid);
        let number = parameters
            .transport_cc
            .zip(sent.transport_cc)
            .map(|(id, number)| (id, number.0.to_be_bytes()));
        let mut elements: [(u8, &[u8]); 3] = [(0, &[]); 3];
        let present = [
            number.as_ref().map(|(id, number)| (*id, &number[..])),
            mid.as_ref().map(MidElement::element),
            sent.dependencies.as_ref().map(Dependencies::element),
        ];
        let mut count = 0;
        for element in present.into_iter().flatten() {
            elements[count] = element;
            count += 1;
        }
        let elements = &elements[..count];
        let extensions: usize = elements
            .iter()
            .map(|(_, value)| MAX_ELEMENT_OVERHEAD + value.len())
            .sum();
        let buffer = out
            .reserve(
                egress.to,
                FIXED_HEADER_LEN + extensions + len + MAX_RTP_OVERHEAD,
            )
            .ok_or(DropReason::SendBufferFull)?;
        if sent.again.is_none() && !self.take_number(sent) {
            return Err(DropReason::NumberTaken);
        }
        let header_len = sent.header.write(buffer, elements);
        Ok((buffer, header_len.map_err(|_| DropReason::Malformed)?))
    }

    fn finish(
        &self,
        gone: Gone,
        sent: &Sent<'_>,
        egress: &mut Egress<'_>,
        out: &mut impl SendBatch,
    ) -> Result<Gone, DropReason> {
        if sent.again.is_some_and(|before| before != gone.seal) {
            return Err(DropReason::NumberTaken);
        }
        out.commit(gone.len);
        if sent.again.is_some() || sent.transport_cc.is_none() {
            return Ok(gone);
        }
        let stream = match self.delivery.is_proven() {
            true => Stream::Known,
            false => Stream::New,
        };
        match &mut egress.estimator {
            Some(estimator) => estimator.sent(gone.len, stream, egress.now),
            None => egress.number.0 = egress.number.0.wrapping_add(1),
        }
        Ok(gone)
    }
}
