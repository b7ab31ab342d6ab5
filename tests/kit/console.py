"""The console as somebody without a browser uses it."""

import re

import httpx

from tests.kit.api_world import NO_TLS, TOKENS, Api
from tests.kit.html_reader import Reader


class Browser:
    """Somebody who keeps cookies, sends forms with what is in them, and says where they were."""

    def __init__(self, api: Api, who: str | None = None) -> None:
        self.client = httpx.Client(base_url=api.url, verify=NO_TLS)
        self.headers = {"origin": api.url}
        if who is not None:
            assert self.sign_in(TOKENS[who]).status_code == 303

    def sign_in(self, token: str, **more: str) -> httpx.Response:
        return self.client.post("/console/sign-in", data={"token": token, **more}, headers=self.headers)

    def see(self, path: str, status: int = 200) -> str:
        answer = self.client.get(path)
        assert answer.status_code == status, answer.text
        return answer.text

    def send(self, path: str, **fields: str) -> httpx.Response:
        """Open the page of a form and send it, with these fields changed."""
        page = self.see(path)
        hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.partition("<main>")[2]))
        return self.client.post(path, data=hidden | fields, headers=self.headers)


def texts(page: str) -> str:
    reader = Reader()
    reader.feed(page)
    return " ".join(" ".join(reader.text).split())
