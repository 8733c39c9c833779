"""A worker of PyPI livekit-agents as applications write them, without a model: its agents repeat what they hear, and write
down how many words they heard. A word is a burst of sound.

Arguments: name of the agent, kind of job (room, publisher, participant). Address and key come from the environment.
"""

import asyncio
import sys

import numpy as np
from livekit import rtc
from livekit.agents import AgentServer, JobContext, JobRequest
from livekit.agents.worker import ServerType

RATE = 48000

KINDS = {"room": ServerType.ROOM, "publisher": ServerType.PUBLISHER}


class Echo:
    """Repeats one track and counts its words."""

    def __init__(self, room, source, track, speaker):
        self.room = room
        self.source = source
        self.speaker = speaker
        self.track = track
        self.words = 0
        self.loud = False

    async def run(self):
        stream = rtc.AudioStream(self.track, sample_rate=RATE, num_channels=1)
        quiet = 0
        async for event in stream:
            await self.source.capture_frame(event.frame)
            samples = np.frombuffer(event.frame.data, dtype=np.int16).astype(np.float64)
            loudness = np.sqrt(np.mean(samples**2))
            quiet = 0 if loudness > 1000 else quiet + len(samples)
            if loudness > 3000 and not self.loud:
                self.loud = True
                self.words += 1
                await self.write()
            elif quiet > RATE // 4:
                self.loud = False

    async def write(self):
        writer = await self.room.local_participant.stream_text(
            topic="lk.transcription",
            sender_identity=self.speaker,
            attributes={"lk.transcribed_track_id": self.track.sid, "lk.transcription_final": "true"},
        )
        await writer.write(f"{self.speaker} has said {self.words}")
        await writer.aclose()


async def entrypoint(ctx: JobContext):
    tasks = []
    source = rtc.AudioSource(RATE, 1)

    def listen(track, publication, person):
        if track.kind == rtc.TrackKind.KIND_AUDIO:
            tasks.append(asyncio.create_task(Echo(ctx.room, source, track, person.identity).run()))

    def obey(packet):
        if packet.topic == "leave":
            ctx.shutdown("asked to leave")

    ctx.room.on("track_subscribed", listen)
    ctx.room.on("data_received", obey)
    await ctx.connect()
    await ctx.room.local_participant.set_attributes({"metadata of the job": ctx.job.metadata or "none"})
    track = rtc.LocalAudioTrack.create_audio_track("echo", source)
    await ctx.room.local_participant.publish_track(track, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE))


async def request(job: JobRequest):
    await job.accept(name=f"Echo of {job.agent_name or 'everybody'}")


def main():
    name, kind = sys.argv[1:3]
    # Nothing but the agents: no port that others may have, no spare processes on a small machine.
    server = AgentServer(host="127.0.0.1", port=0, num_idle_processes=0, load_fnc=lambda: 0.1, initialize_process_timeout=60)
    server.rtc_session(entrypoint, agent_name=name, type=KINDS[kind], on_request=request)

    @server.once("worker_registered")
    def registered(worker, *_):
        print(f'{{"registered": "{worker}"}}', flush=True)

    asyncio.run(server.run())


if __name__ == "__main__":
    main()
