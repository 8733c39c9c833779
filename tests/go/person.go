package main

import (
	"errors"
	"fmt"
	"sort"
	"sync"

	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/webrtc/v4"
)

// A participant. Its fields behind the mutex are written by the SDK's callbacks.
type person struct {
	busy   chan struct{}
	room   *lksdk.Room
	ending chan struct{}

	mutex  sync.Mutex
	senses map[string]*sense
	texts  []string
	events []string
}

func newPerson() *person {
	return &person{senses: map[string]*sense{}}
}

func (p *person) note(event string) {
	p.mutex.Lock()
	p.events = append(p.events, event)
	p.mutex.Unlock()
}

func (p *person) join(given command) (any, error) {
	p.ending = make(chan struct{})
	callback := lksdk.NewRoomCallback()
	callback.OnTrackSubscribed = p.subscribed
	callback.OnTrackUnsubscribed = func(_ *webrtc.TrackRemote, publication *lksdk.RemoteTrackPublication, _ *lksdk.RemoteParticipant) {
		p.mutex.Lock()
		delete(p.senses, publication.SID())
		p.mutex.Unlock()
	}
	callback.OnDataPacket = func(data lksdk.DataPacket, from lksdk.DataReceiveParams) {
		if packet, ok := data.(*lksdk.UserDataPacket); ok {
			p.mutex.Lock()
			p.texts = append(p.texts, from.SenderIdentity+": "+string(packet.Payload))
			p.mutex.Unlock()
		}
	}
	callback.OnReconnecting = func() { p.note("reconnecting") }
	callback.OnReconnected = func() { p.note("reconnected") }
	callback.OnDisconnected = func() { p.note("disconnected") }
	var options []lksdk.ConnectOption
	if given.Single {
		options = append(options, lksdk.WithSinglePeerConnection())
	}
	room := lksdk.NewRoom(callback)
	if err := room.JoinWithToken(given.URL, given.Token, options...); err != nil {
		return nil, err
	}
	p.room = room
	return map[string]string{"identity": room.LocalParticipant.Identity()}, nil
}

func (p *person) subscribed(track *webrtc.TrackRemote, publication *lksdk.RemoteTrackPublication, from *lksdk.RemoteParticipant) {
	one := newSense(from.Identity(), publication.Source().String(), track)
	p.mutex.Lock()
	p.senses[publication.SID()] = one
	p.mutex.Unlock()
	go one.read(track, func() { from.WritePLI(track.SSRC()) })
}

// What it receives now, by track.
func (p *person) counts(command) (any, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	all := map[string]count{}
	for sid, one := range p.senses {
		all[sid] = one.count()
	}
	return all, nil
}

func (p *person) send(given command) (any, error) {
	if p.room == nil {
		return nil, errors.New("not in a room")
	}
	packet := lksdk.UserData([]byte(given.Text))
	return true, p.room.LocalParticipant.PublishDataPacket(packet, lksdk.WithDataPublishReliable(given.Reliable))
}

func (p *person) got(command) (any, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return append([]string{}, p.texts...), nil
}

func (p *person) happened(command) (any, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return append([]string{}, p.events...), nil
}

func (p *person) people(command) (any, error) {
	names := []string{}
	for _, other := range p.room.GetRemoteParticipants() {
		names = append(names, other.Identity())
	}
	sort.Strings(names)
	return names, nil
}

func (p *person) simulate(given command) (any, error) {
	scenarios := map[string]lksdk.SimulateScenario{
		"signal":         lksdk.SimulateSignalReconnect,
		"full-reconnect": lksdk.SimulateNodeFailure,
		"server-leave":   lksdk.SimulateServerLeave,
	}
	scenario, known := scenarios[given.Text]
	if !known {
		return nil, fmt.Errorf("no such scenario: %s", given.Text)
	}
	p.room.Simulate(scenario)
	return true, nil
}

func (p *person) leave(command) (any, error) {
	if p.room != nil {
		close(p.ending)
		p.room.Disconnect()
		p.room = nil
	}
	return true, nil
}
