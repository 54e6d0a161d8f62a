"""How long connections stay open. Nothing here depends on how fast this machine is."""

import asyncio

import pytest

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def talk(make_service, listening):
    """Let a function talk with a server in this loop: it is passed what opens a connection."""

    def run(talk, keep_alive_s=60.0, **limits):
        async def main():
            opened = []
            async with listening(make_service(limits=limits), timeout_keep_alive=keep_alive_s) as address:

                async def connect():
                    opened.append(await asyncio.open_connection(*address))
                    return opened[-1]

                try:
                    await asyncio.wait_for(talk(connect), 60)
                finally:
                    for _, writer in opened:
                        writer.close()

        asyncio.run(main())

    return run


async def ask(reader, writer, sent=GET):
    writer.write(sent)
    await reader.readuntil(b"ok\n")


@pytest.mark.parametrize("is_quick", [False, True])
def test_an_idle_connection_outlives_the_time_for_headers(talk, digit, is_quick):
    asked = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(digit) + digit

    async def idle(connect):
        reader, writer = await connect()
        for _ in range(2):
            if is_quick:
                writer.write(asked)
                await reader.readuntil(b"request_id")
                await reader.readuntil(b"}")
            else:
                await ask(reader, writer)
            await asyncio.sleep(0.3)
        await ask(reader, writer)

    talk(idle, header_s=0.2)


def test_an_idle_connection_is_closed_at_last(talk):
    async def idle(connect):
        reader, writer = await connect()
        await ask(reader, writer)
        assert await reader.read() == b""

    talk(idle, keep_alive_s=0.2)


@pytest.mark.parametrize("beginning", [b"GET /healthz HTT", b"\r\n"])
def test_a_request_that_only_begins_does_not_hold_a_connection(talk, beginning):
    async def begin(connect):
        reader, writer = await connect()
        await ask(reader, writer)
        writer.write(beginning)
        assert await reader.read() == b""

    talk(begin, header_s=0.2)


def test_where_all_connections_are_taken_the_longest_idle_one_goes(talk):
    async def many(connect):
        idle = [await connect() for _ in range(3)]
        for each in (idle[1], idle[0], idle[2]):
            await ask(*each)
            await asyncio.sleep(0.01)
        await ask(*await connect())
        assert await idle[1][0].read() == b""
        for each in (idle[0], idle[2]):
            await ask(*each)

    talk(many, connections=3)
