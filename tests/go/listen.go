package main

import (
	"sync"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media/samplebuilder"
)

// Packets out of order that are waited for.
const maxLate = 128

// How often a picture that has not begun is asked for.
const askEvery = 500 * time.Millisecond

// What somebody receives of one track.
type sense struct {
	from, source, codec string

	mutex  sync.Mutex
	counts count
}

type count struct {
	From   string `json:"from"`
	Source string `json:"source"`
	Codec  string `json:"codec"`
	// RTP packets with a payload.
	Packets int `json:"packets"`
	// Whole frames, from the first key frame on where there are key frames.
	Frames int `json:"frames"`
	Keys   int `json:"keys"`
	// Of the last key frame.
	Height int `json:"height"`
}

func newSense(from, source string, track *webrtc.TrackRemote) *sense {
	return &sense{from: from, source: source, codec: track.Codec().MimeType}
}

func (s *sense) count() count {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	counts := s.counts
	counts.From, counts.Source, counts.Codec = s.from, s.source, s.codec
	return counts
}

func (s *sense) read(track *webrtc.TrackRemote, ask func()) {
	var depacketizer rtp.Depacketizer
	switch s.codec {
	case webrtc.MimeTypeVP8:
		depacketizer = &codecs.VP8Packet{}
	case webrtc.MimeTypeH264:
		depacketizer = &codecs.H264Packet{}
	default:
		depacketizer = &codecs.OpusPacket{}
	}
	builder := samplebuilder.New(maxLate, depacketizer, track.Codec().ClockRate)
	asked := time.Time{}
	for {
		packet, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		if len(packet.Payload) == 0 {
			continue
		}
		builder.Push(packet)
		s.mutex.Lock()
		s.counts.Packets++
		for sample := builder.Pop(); sample != nil; sample = builder.Pop() {
			s.take(sample.Data)
		}
		waits := track.Kind() == webrtc.RTPCodecTypeVideo && s.counts.Keys == 0
		s.mutex.Unlock()
		if waits && time.Since(asked) > askEvery {
			asked = time.Now()
			ask()
		}
	}
}

func (s *sense) take(frame []byte) {
	switch s.codec {
	case webrtc.MimeTypeVP8:
		// RFC 6386, section 9.1.
		if len(frame) >= 10 && frame[0]&1 == 0 {
			s.counts.Keys++
			s.counts.Height = int(frame[8]) | int(frame[9]&0x3f)<<8
		}
	case webrtc.MimeTypeH264:
		for _, unit := range units(frame) {
			if unit[0]&0x1f == 5 {
				s.counts.Keys++
			}
		}
	default:
		s.counts.Frames++
		return
	}
	if s.counts.Keys > 0 {
		s.counts.Frames++
	}
}

// NAL units of a frame as it stands in a file (H.264, annex B).
func units(frame []byte) [][]byte {
	var found [][]byte
	start := -1
	for i := 0; i+3 <= len(frame); i++ {
		if frame[i] != 0 || frame[i+1] != 0 || frame[i+2] != 1 {
			continue
		}
		if start >= 0 {
			end := i
			for end > start && frame[end-1] == 0 {
				end--
			}
			found = append(found, frame[start:end])
		}
		start = i + 3
		i += 2
	}
	if start >= 0 && start < len(frame) {
		found = append(found, frame[start:])
	}
	return found
}
