package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
)

const (
	framesPerSecond = 15
	soundFrame      = 20 * time.Millisecond
)

// The same for everybody: a sine of 440 Hz; a red picture with a white bar that moves, in sizes by height.
var (
	tone []([]byte)
	h264 = map[int][][]byte{}
	vp8  [][]byte
)

func load(folder, sound string) error {
	file, err := os.ReadFile(sound)
	if err != nil {
		return err
	}
	for len(file) >= 2 {
		length := int(binary.LittleEndian.Uint16(file))
		tone = append(tone, file[2:2+length])
		file = file[2+length:]
	}
	for _, size := range [][2]int{{160, 90}, {320, 180}, {640, 360}} {
		name := fmt.Sprintf("red-%dx%d.h264", size[0], size[1])
		file, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			return err
		}
		h264[size[1]] = pictures(file)
	}
	file, err = os.ReadFile(filepath.Join(folder, "red-320x180.ivf"))
	if err != nil {
		return err
	}
	// A header of 32 bytes, then for each frame its length, a time of 8 bytes, its bytes.
	for file = file[32:]; len(file) >= 12; {
		length := int(binary.LittleEndian.Uint32(file))
		vp8 = append(vp8, file[12:12+length])
		file = file[12+length:]
	}
	return nil
}

// Access units: each ends with a slice.
func pictures(file []byte) [][]byte {
	var all [][]byte
	var picture []byte
	for _, unit := range units(file) {
		picture = append(picture, 0, 0, 0, 1)
		picture = append(picture, unit...)
		if kind := unit[0] & 0x1f; kind == 1 || kind == 5 {
			all = append(all, picture)
			picture = nil
		}
	}
	return all
}

func (p *person) publish(given command) (any, error) {
	if p.room == nil {
		return nil, errors.New("not in a room")
	}
	sids := []string{}
	for _, what := range given.What {
		publication, err := p.publishOne(what)
		if err != nil {
			return nil, err
		}
		sids = append(sids, publication.SID())
	}
	return sids, nil
}

func (p *person) publishOne(what string) (*lksdk.LocalTrackPublication, error) {
	local := p.room.LocalParticipant
	options := &lksdk.TrackPublicationOptions{Name: what, VideoWidth: 320, VideoHeight: 180}
	switch what {
	case "opus":
		capability := webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}
		track, err := lksdk.NewLocalTrack(capability)
		if err != nil {
			return nil, err
		}
		p.play(track, tone, soundFrame, nil)
		return local.PublishTrack(track, &lksdk.TrackPublicationOptions{Name: what})
	case "vp8":
		track, again, err := picture(webrtc.MimeTypeVP8)
		if err != nil {
			return nil, err
		}
		p.play(track, vp8, time.Second/framesPerSecond, again)
		return local.PublishTrack(track, options)
	case "h264":
		track, again, err := picture(webrtc.MimeTypeH264)
		if err != nil {
			return nil, err
		}
		p.play(track, h264[180], time.Second/framesPerSecond, again)
		return local.PublishTrack(track, options)
	case "h264-simulcast":
		layers := []struct {
			quality livekit.VideoQuality
			height  int
		}{
			{livekit.VideoQuality_LOW, 90}, {livekit.VideoQuality_MEDIUM, 180}, {livekit.VideoQuality_HIGH, 360},
		}
		var tracks []*lksdk.LocalTrack
		name := fmt.Sprintf("simulcast-%s-%d", local.Identity(), time.Now().UnixNano())
		for _, layer := range layers {
			size := &livekit.VideoLayer{Quality: layer.quality, Width: uint32(layer.height * 16 / 9), Height: uint32(layer.height)}
			track, again, err := picture(webrtc.MimeTypeH264, lksdk.WithSimulcast(name, size))
			if err != nil {
				return nil, err
			}
			p.play(track, h264[layer.height], time.Second/framesPerSecond, again)
			tracks = append(tracks, track)
		}
		return local.PublishSimulcastTrack(tracks, &lksdk.TrackPublicationOptions{Name: what})
	}
	return nil, fmt.Errorf("no such media: %s", what)
}

// A track, and a flag that a receiver wants its picture to begin again.
func picture(mime string, options ...lksdk.LocalTrackOptions) (*lksdk.LocalTrack, *atomic.Bool, error) {
	again := &atomic.Bool{}
	wanted := func(packet rtcp.Packet) {
		switch packet.(type) {
		case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
			again.Store(true)
		}
	}
	capability := webrtc.RTPCodecCapability{MimeType: mime, ClockRate: 90000}
	track, err := lksdk.NewLocalTrack(capability, append(options, lksdk.WithRTCPHandler(wanted))...)
	return track, again, err
}

// Plays frames in a loop once the track is bound, until the person leaves.
func (p *person) play(track *lksdk.LocalTrack, frames [][]byte, each time.Duration, again *atomic.Bool) {
	ending := p.ending
	go func() {
		ticks := time.NewTicker(each)
		defer ticks.Stop()
		for next := 0; ; {
			select {
			case <-ending:
				return
			case <-ticks.C:
			}
			if !track.IsBound() {
				next = 0
				continue
			}
			if again != nil && again.Swap(false) {
				next = 0
			}
			_ = track.WriteSample(media.Sample{Data: frames[next], Duration: each}, nil)
			next = (next + 1) % len(frames)
		}
	}()
}

func (p *person) unpublish(given command) (any, error) {
	return true, p.room.LocalParticipant.UnpublishTrack(given.Sid)
}
