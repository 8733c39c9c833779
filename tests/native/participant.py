"""A participant on the native LiveKit SDK, driven by JSON lines: one command a line in, one answer a line out.

Commands: {"id": 1, "do": "join", ...}; answers: {"id": 1, "ok": ...} or {"id": 1, "error": "..."}.
Its own sound is a sine, its own picture a hue with a white bar; of others it tells spectrum, size, hue and frames.
"""

import asyncio
import colorsys
import math
from collections import deque

import numpy as np
from livekit import rtc

from commands import obey

RATE = 48000
SAMPLES = 16384


class Ear:
    """The last third of a second of one remote track."""

    def __init__(self, track):
        self.pieces = deque()
        self.length = 0
        self.heard_at = 0.0
        self.began_at = None
        self.stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1)
        self.task = asyncio.create_task(self.run())

    async def run(self):
        async for event in self.stream:
            piece = np.frombuffer(event.frame.data, dtype=np.int16)
            if self.began_at is None and piece.any():
                self.began_at = asyncio.get_running_loop().time()
            self.pieces.append(piece)
            self.length += len(piece)
            self.heard_at = asyncio.get_running_loop().time()
            while self.length - len(self.pieces[0]) >= SAMPLES:
                self.length -= len(self.pieces.popleft())

    def spectrum(self, tones):
        # A track that stands still is silent, whatever was heard last.
        stale = asyncio.get_running_loop().time() - self.heard_at > 1
        samples = np.concatenate(self.pieces).astype(np.float64) / 32768 if self.pieces and not stale else []
        if len(samples) < SAMPLES // 2:
            return {"loudness": 0.0, "shares": {str(tone): 0.0 for tone in tones}}
        mean = float(np.mean(samples**2))
        window = np.hanning(len(samples))
        time = np.arange(len(samples)) / RATE
        shares = {}
        for tone in tones:
            line = np.sum(window * samples * np.exp(-2j * math.pi * tone * time))
            shares[str(tone)] = float(2 * abs(line) ** 2 / np.sum(window) ** 2 / mean) if mean > 1e-9 else 0.0
        return {"loudness": math.sqrt(mean), "shares": shares}

    async def close(self):
        self.task.cancel()
        await self.stream.aclose()


class Eye:
    """The frames of one remote track: how many, and the last."""

    def __init__(self, track):
        self.frames = 0
        self.last = None
        self.began_at = None
        self.stream = rtc.VideoStream(track, capacity=2)
        self.task = asyncio.create_task(self.run())

    async def run(self):
        async for event in self.stream:
            self.frames += 1
            self.last = event.frame
            if self.began_at is None:
                self.began_at = asyncio.get_running_loop().time()

    def view(self):
        if self.last is None:
            return {"frames": self.frames, "width": 0, "height": 0, "hue": None, "bar": None}
        frame = self.last.convert(rtc.VideoBufferType.RGBA)
        width, height = frame.width, frame.height
        pixels = np.frombuffer(frame.data, dtype=np.uint8).reshape(height, width, 4)
        pixels = pixels[:: max(1, height // 36), :: max(1, width // 64), :3].astype(np.float64)
        spread = pixels.max(axis=2) - pixels.min(axis=2)
        coloured = pixels[spread > 60]
        hue = None
        if len(coloured) > 100:
            hue = colorsys.rgb_to_hsv(*(coloured.mean(axis=0) / 255))[0] * 360
        pale = ((spread < 60) & (pixels.max(axis=2) > 150)).sum(axis=0)
        bar = float(pale.argmax()) / pixels.shape[1]
        return {"frames": self.frames, "width": width, "height": height, "hue": hue, "bar": bar}

    async def close(self):
        self.task.cancel()
        await self.stream.aclose()


class Participant:
    def __init__(self):
        self.room = None
        self.ears = {}
        self.eyes = {}
        self.events = []
        self.texts = []
        self.packets = []
        self.data_track = None
        self.data_tracks = {}
        self.data_frames = []
        self.tasks = []
        self.microphone = None
        self.camera = None

    async def join(self, url, token, single=True, instruments=True):
        """Without `instruments` the tracks of others are counted, not analysed: for crowds."""
        self.room = rtc.Room()
        self.instruments = instruments
        room = self.room
        # What the room before still has to say is nobody's business any more.
        room.on("track_subscribed", lambda *what: self.room is room and self.subscribed(*what))
        room.on("track_unsubscribed", lambda *what: self.room is room and self.unsubscribed(*what))
        for name in ("reconnecting", "reconnected", "disconnected"):
            room.on(name, lambda *detail, name=name: self.events.append({"name": name, "detail": str(detail)}))
        room.register_text_stream_handler("lk.chat", self.chat)
        room.on("data_track_published", lambda track: self.data_tracks.update({track.info.name: track}))
        room.on("data_received", lambda packet: self.packets.append(bytes(packet.data).decode()))
        self.joined_at = asyncio.get_running_loop().time()
        await room.connect(url, token, rtc.RoomOptions(single_peer_connection=single))
        self.connected_at = asyncio.get_running_loop().time()
        return {"identity": room.local_participant.identity}

    def subscribed(self, track, publication, participant):
        key = (participant.identity, publication.source)
        if not self.instruments:
            return
        if track.kind == rtc.TrackKind.KIND_AUDIO:
            self.ears[key] = Ear(track)
        else:
            self.eyes[key] = Eye(track)

    def unsubscribed(self, track, publication, participant):
        key = (participant.identity, publication.source)
        gone = (self.ears if track.kind == rtc.TrackKind.KIND_AUDIO else self.eyes).pop(key, None)
        if gone is not None:
            asyncio.create_task(gone.close())

    def chat(self, reader, identity):
        async def read():
            self.texts.append({"from": identity, "text": await reader.read_all()})

        self.tasks.append(asyncio.create_task(read()))

    async def publish(self, tone, hue, width=640, height=360, fps=15, camera=True):
        local = self.room.local_participant
        source = rtc.AudioSource(RATE, 1, queue_size_ms=1000)
        self.microphone = rtc.LocalAudioTrack.create_audio_track("microphone", source)
        await local.publish_track(self.microphone, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE))
        self.tasks.append(asyncio.create_task(self.hum(source, tone)))

        if not camera:
            return True
        picture = rtc.VideoSource(width, height)
        self.camera = rtc.LocalVideoTrack.create_video_track("camera", picture)
        options = rtc.TrackPublishOptions(
            source=rtc.TrackSource.SOURCE_CAMERA,
            video_codec=rtc.VideoCodec.VP8,
            simulcast=True,
            video_encoding=rtc.VideoEncoding(max_bitrate=800_000, max_framerate=fps),
        )
        await local.publish_track(self.camera, options)
        self.tasks.append(asyncio.create_task(self.paint(picture, hue, width, height, fps)))
        return True

    async def hum(self, source, tone):
        """A sine that breathes, so that a voice codec does not take it for background noise."""
        position = 0
        size = RATE // 100
        while True:
            time = (position + np.arange(size)) / RATE
            loudness = 0.3 + 0.1 * np.sin(2 * math.pi * 3 * time)
            sound = (loudness * np.sin(2 * math.pi * tone * time) * 32767).astype(np.int16)
            await source.capture_frame(rtc.AudioFrame(sound.tobytes(), RATE, 1, size))
            position += size

    async def paint(self, source, hue, width, height, fps):
        red, green, blue = (int(255 * part) for part in colorsys.hls_to_rgb(hue / 360, 0.45, 0.9))
        surface = np.empty((height, width, 4), dtype=np.uint8)
        loop = asyncio.get_running_loop()
        start, frame = loop.time(), 0
        while True:
            surface[:] = (red, green, blue, 255)
            left = ((frame * 8) % 640) * width // 640
            surface[:, left : left + width // 12] = 255
            source.capture_frame(rtc.VideoFrame(width, height, rtc.VideoBufferType.RGBA, surface.tobytes()))
            frame += 1
            await asyncio.sleep(max(0, start + frame / fps - loop.time()))

    async def listen(self, tones):
        muted = self.muted(rtc.TrackSource.SOURCE_MICROPHONE)
        heard = {identity: {"missing": True, "muted": is_muted} for identity, is_muted in muted.items()}
        for (identity, source), ear in self.ears.items():
            if source == rtc.TrackSource.SOURCE_MICROPHONE:
                heard[identity] = {"muted": muted.get(identity), "played": True, **ear.spectrum(tones)}
        return heard

    async def look(self, source="camera"):
        wanted = rtc.TrackSource.SOURCE_CAMERA if source == "camera" else rtc.TrackSource.SOURCE_SCREENSHARE
        muted = self.muted(wanted)
        seen = {identity: {"missing": True, "muted": is_muted} for identity, is_muted in muted.items()}
        for (identity, kind), eye in self.eyes.items():
            if kind == wanted:
                seen[identity] = {"muted": muted.get(identity), **eye.view()}
        return seen

    def muted(self, source):
        return {
            person.identity: publication.muted
            for person in self.room.remote_participants.values()
            for publication in person.track_publications.values()
            if publication.source == source
        }

    async def mute(self, what, muted):
        track = self.microphone if what == "microphone" else self.camera
        track.mute() if muted else track.unmute()
        return True

    async def say(self, text):
        await self.room.local_participant.send_text(text, topic="lk.chat")
        return True

    async def said(self):
        return self.texts

    async def send(self, text, reliable):
        await self.room.local_participant.publish_data(text, reliable=reliable)
        return True

    async def got(self):
        return self.packets

    async def publish_data(self, name):
        self.data_track = await self.room.local_participant.publish_data_track(name=name)
        return True

    async def push(self, text):
        self.data_track.try_push(rtc.DataTrackFrame(payload=text.encode()))
        return True

    async def subscribe_data(self, name):
        while name not in self.data_tracks:
            await asyncio.sleep(0.02)
        stream = self.data_tracks[name].subscribe()

        async def read():
            async for frame in stream:
                self.data_frames.append(bytes(frame.payload).decode())

        self.tasks.append(asyncio.create_task(read()))
        return True

    async def frames(self):
        return self.data_frames

    async def beginnings(self):
        """Milliseconds from the wish to join until connected, the first sound and the first picture of others."""

        def first(senses):
            moments = [one.began_at for one in senses.values() if one.began_at is not None]
            return round(1000 * (min(moments) - self.joined_at), 1) if moments else None

        connected = round(1000 * (self.connected_at - self.joined_at), 1)
        return {"connected": connected, "sound": first(self.ears), "picture": first(self.eyes)}

    async def happened(self):
        return self.events

    async def state(self):
        return {
            "connected": self.room.isconnected(),
            "state": rtc.ConnectionState.Name(self.room.connection_state),
            "people": sorted(person.identity for person in self.room.remote_participants.values()),
            "tracks": sum(
                publication.subscribed
                for person in self.room.remote_participants.values()
                for publication in person.track_publications.values()
            ),
        }

    async def simulate(self, scenario):
        kinds = {"full-reconnect": "SIMULATE_FULL_RECONNECT", "signal": "SIMULATE_SIGNAL_RECONNECT"}
        value = rtc.SimulateScenarioKind.Value(kinds.get(scenario, scenario))
        await self.room.simulate_scenario(value)
        return True

    async def inbound(self):
        """Counters of what is received, by track identifier."""
        stats = await self.room.get_rtc_stats()
        counters = []
        for entry in [*stats.publisher_stats, *stats.subscriber_stats]:
            if entry.WhichOneof("stats") != "inbound_rtp":
                continue
            received, inbound, stream = entry.inbound_rtp.received, entry.inbound_rtp.inbound, entry.inbound_rtp.stream
            counters.append(
                {
                    "ssrc": stream.ssrc,
                    "kind": stream.kind,
                    "packetsReceived": received.packets_received,
                    "packetsLost": received.packets_lost,
                    "framesDecoded": inbound.frames_decoded,
                    "concealedSamples": inbound.concealed_samples,
                    "totalSamplesReceived": inbound.total_samples_received,
                }
            )
        return counters

    async def leave(self):
        room, self.room = self.room, None
        for task in self.tasks:
            task.cancel()
        for one in [*self.ears.values(), *self.eyes.values()]:
            await one.close()
        self.ears, self.eyes, self.tasks = {}, {}, []
        await room.disconnect()
        return True


asyncio.run(obey(Participant()))
