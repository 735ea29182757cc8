from __future__ import annotations

import asyncio
import socket

from steps.serving.server import bind


def test_an_answer_is_sent_without_waiting_for_more_to_send() -> None:
    async def turned_off() -> list[int]:
        found: list[int] = []

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                accepted = transport.get_extra_info("socket")
                found.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
                transport.close()

        with bind("127.0.0.1", 0) as bound:
            bound.listen()
            server = await asyncio.get_running_loop().create_server(Protocol, sock=bound)
            reader, writer = await asyncio.open_connection("127.0.0.1", bound.getsockname()[1])
            await reader.read()
            writer.close()
            server.close()
        return found

    assert [bool(one) for one in asyncio.run(turned_off())] == [True]
