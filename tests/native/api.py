"""The server SDK of PyPI and a guest on the native SDK, driven by JSON lines like participant.py.

`call` carries out a method of RoomService; `join` and what follows is a participant that notes what happens to it.
"""

import asyncio

from google.protobuf import json_format
from livekit import api, rtc
from livekit.protocol import room as messages

from commands import obey

METHODS = {
    "create_room": messages.CreateRoomRequest,
    "list_rooms": messages.ListRoomsRequest,
    "delete_room": messages.DeleteRoomRequest,
    "list_participants": messages.ListParticipantsRequest,
    "get_participant": messages.RoomParticipantIdentity,
    "remove_participant": messages.RoomParticipantIdentity,
    "mute_published_track": messages.MuteRoomTrackRequest,
    "update_participant": messages.UpdateParticipantRequest,
    "update_subscriptions": messages.UpdateSubscriptionsRequest,
    "send_data": messages.SendDataRequest,
    "update_room_metadata": messages.UpdateRoomMetadataRequest,
    "forward_participant": messages.ForwardParticipantRequest,
    "move_participant": messages.MoveParticipantRequest,
    "perform_rpc": getattr(messages, "PerformRpcRequest", None),
}

EVENTS = [
    "connected",
    "disconnected",
    "reconnecting",
    "reconnected",
    "moved",
    "room_metadata_changed",
    "participant_metadata_changed",
    "participant_name_changed",
    "participant_attributes_changed",
    "track_muted",
    "track_unmuted",
    "track_published",
    "track_unpublished",
    "local_track_unpublished",
    "track_subscribed",
    "track_unsubscribed",
    "token_refreshed",
]


class Guest:
    def __init__(self):
        self.room = None
        self.service = None
        self.events = []
        self.data = []
        self.hum = None

    async def methods(self):
        """The methods this version of the SDK has."""
        return [name for name, message in METHODS.items() if message and hasattr(api.room_service.RoomService, name)]

    async def serve(self, url, key, secret):
        self.service = api.LiveKitAPI(url, key, secret)
        return True

    async def call(self, method, request):
        message = json_format.ParseDict(request, METHODS[method]())
        try:
            answer = await getattr(self.service.room, method)(message)
        except api.TwirpError as error:
            return {"code": error.code, "message": error.message, "status": error.status}
        return {"answer": json_format.MessageToDict(answer, preserving_proto_field_name=True) if answer is not None else {}}

    async def receive(self, key, secret, body, token):
        """The SDK's opinion about a webhook."""
        receiver = api.WebhookReceiver(api.TokenVerifier(key, secret))
        return receiver.receive(body, token).event

    async def join(self, url, token):
        self.room = rtc.Room()
        for name in EVENTS:
            self.room.on(name, lambda *detail, name=name: self.events.append(name))
        self.room.on("data_received", lambda packet: self.data.append({"data": packet.data.decode(), "topic": packet.topic, "from": packet.participant and packet.participant.identity}))
        await self.room.connect(url, token)
        local = self.room.local_participant

        @local.register_rpc_method("greet")
        async def greet(invocation):
            return f"hello {invocation.payload}"

        @local.register_rpc_method("refuse")
        async def refuse(invocation):
            raise rtc.RpcError(101, "not today")

        @local.register_rpc_method("fail")
        async def fail(invocation):
            raise ValueError("a bug of the application")

        @local.register_rpc_method("sleep")
        async def sleep(invocation):
            await asyncio.sleep(30)
            return "late"

        return {"sid": local.sid, "identity": local.identity}

    async def publish(self):
        source = rtc.AudioSource(48000, 1)
        track = rtc.LocalAudioTrack.create_audio_track("microphone", source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        publication = await self.room.local_participant.publish_track(track, options)

        async def hum():
            while True:
                await source.capture_frame(rtc.AudioFrame(bytes([1, 0] * 480), 48000, 1, 480))

        self.hum = asyncio.create_task(hum())
        return publication.sid

    async def state(self):
        room = self.room
        local = room.local_participant
        return {
            "room": room.name,
            "connected": room.isconnected(),
            "metadata": room.metadata,
            "name": local.name,
            "own": local.metadata,
            "attributes": dict(local.attributes),
            "people": sorted(room.remote_participants),
            "tracks": [track.sid for track in local.track_publications.values()],
            "muted": [track.muted for track in local.track_publications.values()],
            "heard": sorted(
                publication.sid
                for person in room.remote_participants.values()
                for publication in person.track_publications.values()
                if publication.subscribed
            ),
            "events": self.events,
            "data": self.data,
        }

    async def forget(self):
        """Whatever happened until now."""
        self.events, self.data = [], []
        if self.hum:
            self.hum.cancel()
        return True

    async def leave(self):
        if self.hum:
            self.hum.cancel()
        await self.room.disconnect()
        return True


async def main():
    guest = Guest()
    await obey(guest)
    if guest.service:
        await guest.service.aclose()


asyncio.run(main())
