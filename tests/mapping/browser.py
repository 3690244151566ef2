"""A browser at an application of FastAPI, without a network."""

import asyncio
from typing import Any

import httpx
from fastapi import FastAPI


class Browser:
    """A browser at an application, which keeps its cookies."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self.cookies = httpx.Cookies()

    def get(self, path: str) -> httpx.Response:
        """Request a page."""
        return asyncio.run(self._request("GET", path))

    def post(self, path: str, data: dict[str, str]) -> httpx.Response:
        """Send a form."""
        return asyncio.run(self._request("POST", path, data=data))

    async def _request(self, method: str, path: str, **options: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://app", cookies=self.cookies
        ) as client:
            answer = await client.request(method, path, **options)
            self.cookies = client.cookies
            return answer
