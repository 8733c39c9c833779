"""Somebody on the native SDK who speaks in words (bursts of a sine) and listens to agents, driven by JSON lines like
participant.py; and PyPI's client of AgentDispatchService.
"""

import asyncio
import math

import numpy as np
from google.protobuf import json_format
from livekit import api, rtc
from livekit.protocol import agent_dispatch as messages

from commands import obey

RATE = 48000
FRAME = 480
TONE = 440


class Caller:
    def __init__(self):
        self.room = None
        self.service = None
        self.source = None
        self.talking = 0
        self.loud_frames = {}
        self.texts = []
        self.tasks = []

    async def serve(self, url, key, secret):
        self.service = api.LiveKitAPI(url, key, secret)
        return True

    async def dispatches(self, method, room, agent_name="", metadata="", dispatch=""):
        service = self.service.agent_dispatch
        try:
            if method == "create":
                answer = await service.create_dispatch(messages.CreateAgentDispatchRequest(room=room, agent_name=agent_name, metadata=metadata))
            elif method == "delete":
                answer = await service.delete_dispatch(dispatch, room)
            elif method == "get":
                answer = await service.get_dispatch(dispatch, room)
            else:
                answer = await service.list_dispatch(room)
        except api.TwirpError as error:
            return {"code": error.code, "status": error.status, "message": error.message}
        if isinstance(answer, list):
            return [json_format.MessageToDict(one) for one in answer]
        return json_format.MessageToDict(answer) if answer else None

    async def join(self, url, token):
        self.room = rtc.Room()
        self.room.on("track_subscribed", self.subscribed)
        self.room.register_text_stream_handler("lk.transcription", self.written)
        await self.room.connect(url, token)
        self.source = rtc.AudioSource(RATE, 1)
        track = rtc.LocalAudioTrack.create_audio_track("microphone", self.source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=False)
        await self.room.local_participant.publish_track(track, options)
        self.tasks.append(asyncio.create_task(self.hum()))
        return True

    async def hum(self):
        time = np.arange(FRAME) / RATE
        number = 0
        while True:
            wave = 10000 * np.sin(2 * math.pi * TONE * (time + number * FRAME / RATE)) if self.talking else np.zeros(FRAME)
            await self.source.capture_frame(rtc.AudioFrame(wave.astype(np.int16).tobytes(), RATE, 1, FRAME))
            number += 1

    async def say(self, words):
        for _ in range(words):
            self.talking = True
            await asyncio.sleep(0.5)
            self.talking = False
            await asyncio.sleep(0.7)
        return True

    def subscribed(self, track, publication, person):
        if track.kind == rtc.TrackKind.KIND_AUDIO:
            self.tasks.append(asyncio.create_task(self.listen(track, person.identity)))

    async def listen(self, track, identity):
        async for event in rtc.AudioStream(track, sample_rate=RATE, num_channels=1):
            samples = np.frombuffer(event.frame.data, dtype=np.int16).astype(np.float64)
            time = np.arange(len(samples)) / RATE
            power = np.mean(samples**2)
            line = abs(np.mean(samples * np.exp(-2j * math.pi * TONE * time))) ** 2 * 2
            if power > 1e5 and line / power > 0.5:
                self.loud_frames[identity] = self.loud_frames.get(identity, 0) + 1

    def written(self, reader, identity):
        async def read():
            self.texts.append({"text": await reader.read_all(), "from": identity})

        self.tasks.append(asyncio.create_task(read()))

    async def tell(self, topic):
        await self.room.local_participant.publish_data("", topic=topic)
        return True

    async def state(self):
        people = self.room.remote_participants.values()
        return {
            "people": [
                {"identity": one.identity, "name": one.name, "kind": one.kind, "attributes": dict(one.attributes), "tracks": len(one.track_publications)}
                for one in people
            ],
            "heard": self.loud_frames,
            "texts": self.texts,
        }

    async def leave(self):
        for task in self.tasks:
            task.cancel()
        await self.room.disconnect()
        return True


async def main():
    caller = Caller()
    await obey(caller)
    if caller.service:
        await caller.service.aclose()


asyncio.run(main())
