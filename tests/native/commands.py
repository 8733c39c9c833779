"""How a test drives a program: one JSON command a line, one JSON answer a line."""

import asyncio
import json
import sys


async def obey(someone):
    """Carries out what the standard input says, with the methods of `someone`, until it ends."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        command = json.loads(line)
        number, verb = command.pop("id"), command.pop("do")
        try:
            answer = {"id": number, "ok": await getattr(someone, verb)(**command)}
        except Exception as error:  # told to the test, which decides
            answer = {"id": number, "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
